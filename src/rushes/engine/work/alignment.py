"""How well a clip's caption fits its frames: the cosine of their vectors in the space of the encoder, in the table `alignment`.

The vectors of the frames are those of the table `embeddings`; only texts are encoded here. An encoder takes short texts, so a caption is
cut into pieces, sentences where they are short enough, and the cosines are averaged.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from rushes.engine.jobs import Clips, Outcome
from rushes.engine.pipe import Progress
from rushes.engine.stages import embeddings_fingerprint, resources
from rushes.engine.work.context import Context
from rushes.engine.work.vectors import frame_vectors
from rushes.errors import Failure, ScoreError
from rushes.no_pandas import let_pandas_in
from rushes.rows.scanned import Rows, attempt_row
from rushes.store.tables import ALIGNMENT, CAPTIONS

if TYPE_CHECKING:
    from rushes.models.encoder import Encoder

_ENDS = re.compile(r"(?<=[.!?\u3002\uff01\uff1f;\uff1b\n])\s*")


def align(context: Context, job: Clips, progress: Progress) -> Outcome:
    """Compares the captions of a video's clips with the clips' frames."""
    began, stamp, settings = time.monotonic(), context.stamp(), context.recipe.scores
    threads = max(1, int(resources(context.recipe, job.stage).cpus))
    with context.alive():
        encoder = _encoder(settings.encoder, settings.encoder_revision, threads)
    fingerprint, video = context.prints[job.stage], job.video.video_id
    vectors = frame_vectors(context.store, embeddings_fingerprint(context.recipe) or "", [video]).get(video, {})
    texts = _texts(context, video)
    rows: Rows = {ALIGNMENT.name: [], "errors": []}
    for clip in job.clips:
        name, inside = clip["clip_id"], [row for pts, row in vectors.items() if clip["start_pts"] <= pts < clip["end_pts"]]
        if not inside:
            error = ScoreError("no frame of the clip has an embedding", step=job.stage, mend="raise frames.per_s, or scores.encoder_images")
            failed = attempt_row({**clip, "uri": job.video.uri}, Failure.of(error), job.stage, name, 1, permanent=True)
            rows["errors"].append(stamp.on(failed, fingerprint))
            continue
        row = {"clip_id": name, "video_id": video, "agreement": cosine(encoder, texts[name], inside), "model": settings.encoder}
        rows[ALIGNMENT.name].append(stamp.on(row, fingerprint))
        progress(0.0)
    context.write(rows, ALIGNMENT)
    made, lost = (float(len(rows[table])) for table in (ALIGNMENT.name, "errors"))
    return Outcome(counts={"alignment_made": made, "alignment_failed": lost}, busy={job.stage: time.monotonic() - began})


def cosine(encoder: Encoder, text: str, frames: Sequence[Any]) -> float:
    """The mean over the pieces of a text of the cosine with the mean of some frames' vectors, -1 to 1."""
    mean = np.mean(np.stack(frames).astype(np.float32), axis=0)
    found = encoder.texts(list(pieces(text, lambda piece: encoder.tokens(piece) <= encoder.longest)))
    return float(np.mean(found @ mean) / max(float(np.linalg.norm(mean)), 1e-9))


def pieces(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """A text in pieces that fit: its sentences; one that is too long is halved, between words where it has some, until its parts fit."""
    for sentence in filter(None, map(str.strip, _ENDS.split(text))):
        yield from _halves(sentence, fits)


def _halves(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    if fits(text) or len(text) < 2:
        yield text
        return
    middle = text.find(" ", len(text) // 2)
    middle = middle if 0 < middle < len(text) - 1 else len(text) // 2
    for half in (text[:middle].strip(), text[middle:].strip()):
        yield from _halves(half, fits) if half else ()


@lru_cache(maxsize=1)
def _encoder(model: str, revision: str | None, threads: int) -> Encoder:
    """The encoder, which stays loaded in this process. It encodes texts on the CPU."""
    let_pandas_in()
    import torch

    from rushes.models.device import choose
    from rushes.models.encoder import Encoder

    device = choose("cpu")
    torch.set_num_threads(threads)
    return Encoder.load(model, revision, device)


def _texts(context: Context, video: str) -> dict[str, str]:
    rows: Any = context.store.read(CAPTIONS, columns=["text"], fingerprints=[context.prints["captions"]], only={"video_id": [video]})
    return dict(zip(rows["clip_id"].to_pylist(), rows["text"].to_pylist(), strict=True))
