"""The guarded child of operators: one pass over a video, or clip files of it. Runs as `python -m rushes.operators.child`.

It never imports daft. What is large (frames) goes to the parent through a file, not through the pipe of answers.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from io import BufferedRandom
from typing import Any

import pyarrow as pa

from rushes.errors import Failure, ProbeError
from rushes.media import storage
from rushes.media.address import public_uri, split_stream
from rushes.media.cut import ClipSpan, cut_clips
from rushes.media.decode import Decoder
from rushes.media.encoding import encoding_of
from rushes.media.error_translation import read_error
from rushes.media.file_clock import pieces_of, pieces_text
from rushes.media.guard import serve
from rushes.media.identity import of_stream, video_id
from rushes.operators.columns import CLIP
from rushes.operators.from_engine import (
    FAILURE,
    SameFile,
    Series,
    Stamp,
    Video,
    captioned_pts,
    clip_columns,
    clip_reasons,
    clip_rows,
    content_threshold,
    fingerprints,
    quarantined,
)
from rushes.recipe import Recipe
from rushes.records import Span
from rushes.scan.one_pass import SampledFrame, Scan, scan
from rushes.scan.sparse import scan_sparse

Progress = Callable[[float], None]


class Frames:
    """The sampled frames of one video, in a file without a name until it is known which of them are wanted."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="rushes-")  # noqa: SIM115 - open until `close`
        self._places: dict[int, tuple[int, int]] = {}

    def add(self, frame: SampledFrame) -> None:
        """Takes the next frame, in order of pts."""
        self._places[frame.pts] = (self._file.tell(), len(frame.jpeg))
        self._file.write(frame.jpeg)

    def chosen(self, clip: Mapping[str, Any], most: int, window_s: float) -> list[dict[str, Any]]:
        """At most so many of the frames of a clip, or of each of its windows, evenly spread, as `columns.FRAME`."""
        found = []
        for pts in captioned_pts(list(self._places), dict(clip), window_s, most):
            at, size = self._places[pts]
            self._file.seek(at)
            found.append({"pts": pts, "jpeg": self._file.read(size)})
        return found

    def forget(self) -> None:
        """Drops all frames."""
        self._places = {}

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()


def scan_video(job: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """One pass over a video; its clips are written to the file `into` as an Arrow stream of `columns.CLIP`, one clip a batch.

    Args:
        job: `uri`, `recipe`, `into`; `window_s`: that of the captions that the frames are for.
        progress: called with the seconds decoded so far.
    """
    with taken_over(job["into"]) as file:
        recipe = Recipe.model_validate(job["recipe"])
        shown, size, name, same = identified(job["uri"], recipe)
        frames = None if recipe.frames.keep == "none" else Frames()
        try:
            with opened(job["uri"], recipe) as source:
                take = frames.add if frames else None
                stream = recipe.scan.stream_index
                how: dict[str, Any] = {"uri": shown, "size_bytes": size, "stream": stream, "on_frame": take, "progress": progress}
                found = _sparse(source, recipe, how, frames) or scan(source, recipe, **how)
            same.check()
            form = pa.schema(list(CLIP))
            with pa.ipc.new_stream(file, form) as out:
                for row in clips(found, name, shown, recipe, frames, job["window_s"]):
                    out.write_batch(pa.RecordBatch.from_pylist([row], form))
        finally:
            if frames:
                frames.close()
        return {"video_id": name, "footage_s": found.footage_s, "n_corrupt": found.n_corrupt}


def _sparse(source: str | Any, recipe: Recipe, how: Mapping[str, Any], frames: Frames | None) -> Scan | None:
    """The sparse pass, where the recipe asks for it and the video allows it; else the frames that it gave are forgotten."""
    if recipe.scan.mode != "sparse":
        return None
    found = scan_sparse(source, recipe, threshold=content_threshold(recipe), **how)
    if isinstance(found, Scan):
        return found
    if frames:
        frames.forget()
    if not isinstance(source, str):
        source.seek(0)
    return None


def clips(found: Scan, name: str, shown: str, recipe: Recipe, frames: Frames | None, window_s: float) -> Iterator[dict[str, Any]]:
    """The clips of a pass as rows of `columns.CLIP`, one after the other, so that the frames of one at a time are in memory.

    Args:
        found: the pass.
        name: the `video_id`.
        shown: the uri as it may be shown.
        recipe: `shots`, `rules` and `frames` are looked at.
        frames: the frames sampled in the pass; None where none are wanted.
        window_s: `captions.window_s`.
    """
    rows = clip_rows(Series.of(name, found), recipe, fingerprints(recipe), Stamp("", datetime.now(UTC)))
    video = {**found.facts.as_row(), "uri": shown, "first_pts": int(found.pts[0])}
    reasons = clip_reasons(recipe, rows["clips"], rows["measures"], video)
    for clip, measured, broken in zip(rows["clips"], rows["measures"], reasons, strict=True):
        columns = clip_columns(clip, measured, video)
        wanted = frames is not None and (recipe.frames.keep == "all" or not broken)
        chosen = frames.chosen(clip, recipe.frames.per_clip, window_s) if frames and wanted else []
        judged = {"verdict": "dropped" if broken else "kept", "reasons": broken}
        yield {**columns, **judged, "frames": chosen, "time_pieces": pieces_text(found.pieces)}


def cut_video(job: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Clip files of one video. Its source is opened once to read the container's facts, and once to cut all clips.

    Args:
        job: `uri`, `recipe`, `folder`, and `spans`: (clip_id, start_pts, end_pts) of each clip. `video_id`, if given: the content that the
            spans are of. `time_pieces`, if given: as in the table `videos`. `names`, if given: clip_id -> name of its file, which is then
            an mp4 where clips are encoded.
        progress: called often.

    Raises:
        ProbeError: the source cannot be read, or its content is another one.
    """
    recipe = Recipe.model_validate(job["recipe"])
    assert recipe.clips.mode != "reference"
    shown, size, name, same = identified(job["uri"], recipe)
    if job.get("video_id") not in (None, name):
        what = "its content is not that of the video that was scanned under this name"
        raise ProbeError(what, uri=shown, step="clips", mend="put the file back, or run again so that the new one is scanned")
    uri, stream = split_stream(job["uri"])
    how: dict[str, Any] = {"uri": shown, "size_bytes": size, "mode": "exact", "stream": _chosen(stream, recipe)}
    with opened(uri, recipe) as source, Decoder(source, **how) as decoder:
        facts = decoder.facts  # those of the container: no frame is decoded for them
    spans = [ClipSpan(clip, Span(start, end)) for clip, start, end in job["spans"]]
    with opened(uri, recipe) as source:
        made = cut_clips(
            source, facts, spans, job["folder"], encoding=encoding_of(recipe.clips), uri=shown, options=recipe.storage,
            tick=lambda: progress(0.0), pieces=pieces_of(job.get("time_pieces")), names=job.get("names"),
            only_mp4="names" in job and recipe.clips.mode == "encode",
        )  # fmt: skip
        results = [{**asdict(result), "error": result.error and as_json(Failure.of(result.error))} for result in made]
    same.check()
    return {"files": results}


def identified(uri: str, recipe: Recipe) -> tuple[str, int, str, SameFile]:
    """Of a source: the uri as it may be shown, its size in bytes, its `video_id`, and what tells whether it changed since. A uri of a store
    may name a stream of a file.

    Raises:
        ProbeError: it cannot be read.
    """
    file, named = split_stream(uri)
    stream = _chosen(named, recipe)
    try:
        there = storage.stat(file, recipe.storage)
    except OSError as error:
        raise read_error(error, uri) from error
    name = of_stream(video_id(file, there.size or 0, recipe.storage), stream)
    seen = Video(uri=there.uri, source=file, video_id=name, size=there.size, stamp=there.stamp, stream=stream)
    return public_uri(uri), there.size or 0, name, SameFile(seen, recipe.storage)


def _chosen(named: int | None, recipe: Recipe) -> int | None:
    """The stream that is meant: that of the uri, else that of the recipe."""
    return recipe.scan.stream_index if named is None else named


@contextmanager
def opened(uri: str, recipe: Recipe) -> Iterator[str | Any]:
    """A source, as `scan` and `cut_clips` take it."""
    source = storage.open_seekable(uri, recipe.storage)
    try:
        yield source
    finally:
        if not isinstance(source, str):
            source.close()


@contextmanager
def taken_over(path: str) -> Iterator[BufferedRandom]:
    """The parent's file, for writing. Its name goes at once: the parent has it open, and nothing is left when both end."""
    with open(path, "r+b") as file:
        os.unlink(path)
        yield file


WORK = {"scan": scan_video, "cut": cut_video}


def do(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Does one job."""
    found = quarantined(lambda: WORK[job["kind"]](job, progress))
    return {"error": as_json(found)} if isinstance(found, Failure) else {"done": found}


def as_json(failure: Failure) -> dict[str, Any]:
    """A failure as it travels through the pipe."""
    parts: dict[str, Any] = FAILURE.dump_python(failure, mode="json")
    return parts


def main() -> None:
    """Entry of the child process: one thread each for libav and OpenCV."""
    import av
    import cv2

    cv2.setNumThreads(1)
    av.logging.set_level(av.logging.PANIC)
    serve(do)


if __name__ == "__main__":
    main()
