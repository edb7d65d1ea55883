"""Scores of kept clips, in a process that holds the models: frames from the store, all wanted scorers, rows, and the verdict once more.

The clips of a job are scored in pieces. While the models work on one piece, a thread reads the frames of the next one, and another writes
the rows of the one before: a device that is fast need not wait for the store.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rushes.engine.jobs import Outcome, Score, Setup, kept_counts
from rushes.engine.stages import embeddings_fingerprint, wanted_scores
from rushes.engine.work.vectors import frame_vectors
from rushes.errors import Failure, ScoreError
from rushes.log import note
from rushes.records import Row
from rushes.rows.clip_columns import reasons_of
from rushes.rows.scanned import Rows, Stamp, attempt_row
from rushes.rows.scored import all_columns, shown_columns
from rushes.scores.batch import ScorePass, Vector
from rushes.scores.listed import identity_of
from rushes.scores.scorer import ClipFrames, EmbeddingScorer, Picture, Values
from rushes.store.buffer import Buffer
from rushes.store.frames import FrameReader
from rushes.store.store import now
from rushes.store.tables import EMBEDDINGS, ERRORS, SCORES

PIECE = 256
"""Pictures of a piece: of 50 kB each, and enough to fill several passes of a model."""
ALL = 16
"""Pictures of a clip that a scorer looks at which wants all, as far as pieces are counted."""


@dataclass(slots=True)
class _Clip:
    """One clip of a job.

    Attributes:
        columns: what is known of it.
        lacks: the scorers whose row is to be made.
        values: score columns, those of the store and those that this job made.
        vectors: the embeddings of its video's frames that the store holds, by pts.
        failed: whether a scorer failed on it.
    """

    columns: Row
    lacks: tuple[str, ...]
    values: dict[str, Any] = field(default_factory=dict)
    vectors: Mapping[int, Vector] = field(default_factory=dict)
    failed: bool = False


@dataclass(slots=True)
class _Made:
    """What a job has made so far."""

    rows: int = 0
    frames_encoded: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class Scoring:
    """Scores clips of one run. The models are loaded by the first call of `do`, and stay. Used by one thread.

    Raises:
        RecipeError: see `scorers_of`.
    """

    def __init__(self, setup: Setup) -> None:
        self._recipe = setup.recipe
        self._run_id = setup.run_id
        self._store = setup.gated_store()
        self._wanted = {one.name: one for one in wanted_scores(self._recipe)}
        self._pass = ScorePass(self._recipe.scores)
        self._scorers = {scorer.name: scorer for scorer in self._pass.scorers}
        self._parameters = {
            name: json.dumps(identity_of(scorer, self._recipe.scores), ensure_ascii=False, sort_keys=True)
            for name, scorer in self._scorers.items()
        }
        self._frames = FrameReader(self._store, setup.prints["frames"])
        self._heads = {name for name, scorer in self._scorers.items() if isinstance(scorer, EmbeddingScorer)}
        self._of_vectors = embeddings_fingerprint(self._recipe) or ""
        columns = all_columns(list(self._wanted.values()))
        self._buffer = Buffer(self._store, [(EMBEDDINGS, ()), (SCORES, columns), (ERRORS, ())])
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="scores")
        self._loaded = False

    def do(self, job: Score, tick: Callable[[], object]) -> Outcome:
        """Makes the scores that the clips of a job lack, and judges the clips with all of them. The rows are durable when this returns.
        Of a job without clips the models are loaded, and that is all. `tick` is called between pieces.

        Raises:
            MissingExtra, ModelError: a model cannot be had.
            StorageError: frames could not be read, or rows not be written.
        """
        if not self._loaded:
            self._pass.load()
            self._loaded = True
        if not job.parts:
            return Outcome(note=_where(self._pass))
        began, made = time.monotonic(), _Made()
        clips = {clip.columns["clip_id"]: clip for clip in self._clips(job)}
        lacking = [clip for clip in clips.values() if clip.lacks]
        n = max(1, PIECE // max(scorer.images or ALL for scorer in self._scorers.values()))
        pieces = [lacking[start : start + n] for start in range(0, len(lacking), n)]
        written: Future[None] | None = None
        for piece, frames in zip(pieces, self._read_ahead(pieces), strict=True):
            rows = self._score(piece, frames, made)
            if written is not None:
                written.result()
            written = self._threads.submit(self._buffer.commit, rows)
            tick()
        if written is not None:
            written.result()
        outcome = self._judged(job, clips)
        counts = {"scores_made": float(made.rows), "frames_encoded": float(made.frames_encoded)}
        return replace(outcome, counts=outcome.counts | counts, busy={"scores": time.monotonic() - began}, errors=dict(made.errors))

    def _clips(self, job: Score) -> Iterator[_Clip]:
        """The clips of a job, each with the scores that the store holds, as far as the plan knew of them."""
        stored = self._stored([part.video.video_id for part in job.parts if part.settled.scored])
        vectors = frame_vectors(self._store, self._of_vectors, [part.video.video_id for part in job.parts if part.settled.embedded])
        for part in job.parts:
            have = {scorer: frozenset(clips) for scorer, clips in part.settled.scored.items()}
            for columns in part.clips:
                clip = columns["clip_id"]
                lacks = tuple(scorer for scorer in self._wanted if clip not in have.get(scorer, ()))
                values = {name: value for scorer, row in stored.get(clip, {}).items() if scorer not in lacks for name, value in row.items()}
                yield _Clip(columns, lacks, values, vectors.get(part.video.video_id, {}))

    def _stored(self, videos: Sequence[str]) -> dict[str, dict[str, Row]]:
        """clip_id -> scorer -> its columns in the store; nothing is read for no video."""
        found: dict[str, dict[str, Row]] = {}
        if not videos:
            return found
        shown, wanted = shown_columns(list(self._wanted.values())), {one.fingerprint: one for one in self._wanted.values()}
        for row in self._store.read(SCORES, fingerprints=wanted, extra=shown, only={"video_id": videos}).to_pylist():
            of = wanted[row["fingerprint"]]
            found.setdefault(row["clip_id"], {})[of.name] = {column.name: row[column.name] for column in shown_columns([of])}
        return found

    def _read_ahead(self, pieces: Sequence[Sequence[_Clip]]) -> Iterator[list[ClipFrames]]:
        """The frames of each piece; those of the next one are read meanwhile."""
        waiting: Future[list[ClipFrames]] | None = None
        for k in range(len(pieces)):
            now_read = waiting or self._threads.submit(self._read, pieces[k])
            found = now_read.result()
            waiting = self._threads.submit(self._read, pieces[k + 1]) if k + 1 < len(pieces) else None
            yield found

    def _read(self, piece: Sequence[_Clip]) -> list[ClipFrames]:
        """The sampled frames of some clips, with the JPEGs of those that the scorers look at; the frames of one video are read together."""
        inside = [self._inside(clip.columns) for clip in piece]
        looked_at = [self._looked_at(clip, pts) for clip, pts in zip(piece, inside, strict=True)]
        of_video: dict[str, set[int]] = {}
        for clip, pts in zip(piece, looked_at, strict=True):
            of_video.setdefault(clip.columns["video_id"], set()).update(pts)
        jpegs = {video: self._frames.jpegs(video, sorted(pts)) for video, pts in of_video.items()}
        found = []
        for clip, all_pts, some in zip(piece, inside, looked_at, strict=True):
            mine, span_s = jpegs[clip.columns["video_id"]], (clip.columns["start_s"], clip.columns["end_s"])
            pictures = tuple(Picture(pts, mine.get(pts, b"") if pts in some else b"") for pts in all_pts)
            found.append(ClipFrames(clip.columns["clip_id"], pictures, clip.columns["uri"], span_s))
        return found

    def _looked_at(self, clip: _Clip, pts: Sequence[int]) -> set[int]:
        """Of a clip's sampled frames those whose JPEG is needed: no head needs that of a frame whose embedding is there."""
        of_heads, of_frames = self._heads.intersection(clip.lacks), set(clip.lacks) - self._heads
        encoded = (one for one in self._pass.pts_wanted(pts, of_heads) if one not in clip.vectors) if of_heads else ()
        return {*encoded, *(self._pass.pts_wanted(pts, of_frames) if of_frames else ())}

    def _inside(self, clip: Row) -> list[int]:
        return [pts for pts in self._frames.pts(clip["video_id"]) if clip["start_pts"] <= pts < clip["end_pts"]]

    def _score(self, piece: Sequence[_Clip], frames: Sequence[ClipFrames], made: _Made) -> Rows:
        """Scores some clips, notes what came of each, and gives the rows."""
        found = self._pass.score(frames, [clip.lacks for clip in piece], [clip.vectors for clip in piece])
        made.frames_encoded += found.encoded
        n_of = Counter(name for values in found.values for name in values)
        rows: Rows = {EMBEDDINGS.name: [], SCORES.name: [], ERRORS.name: []}
        stamp = Stamp(self._run_id, now())
        for clip, vectors in zip(piece, found.vectors, strict=True):
            of_frames = ({"video_id": clip.columns["video_id"], "pts": pts, "vector": vector} for pts, vector in vectors.items())
            rows[EMBEDDINGS.name] += [stamp.on(row, self._of_vectors) for row in of_frames]
        for clip, values in zip(piece, found.values, strict=True):
            for name, value in values.items():
                if isinstance(value, ScoreError):
                    rows[ERRORS.name].append(stamp.on(self._failed(clip, name, value, made), self._wanted[name].fingerprint))
                else:
                    row = self._row(clip, name, value) | {"seconds": found.seconds[name] / n_of[name]}
                    rows[SCORES.name].append(stamp.on(row, self._wanted[name].fingerprint))
        made.rows += len(rows[SCORES.name])
        return rows

    def _row(self, clip: _Clip, name: str, values: Values) -> Row:
        """The row of a score, but for its time."""
        scorer, columns = self._scorers[name], self._wanted[name].columns
        clip.values |= {column.name: _as_stored(values[column.name]) for column in shown_columns([self._wanted[name]])}
        return {
            "clip_id": clip.columns["clip_id"], "video_id": clip.columns["video_id"], "scorer": name, "model": scorer.model,
            "revision": scorer.revision, "parameters": self._parameters[name], **{column.name: values[column.name] for column in columns},
        }  # fmt: skip

    def _failed(self, clip: _Clip, name: str, error: ScoreError, made: _Made) -> Row:
        """Takes a score that failed; gives its row of `errors`."""
        failure, key, uri = Failure.of(error), clip.columns["clip_id"], clip.columns["uri"]
        clip.failed = True
        made.errors[failure.error_type] += 1
        words = {"error_type": failure.error_type, "error": failure.what}
        note("score failed", run_id=self._run_id, stage="scores", level="warning", key=key, uri=uri, scorer=name, **words)
        return attempt_row(clip.columns, failure, "scores", key, 1, permanent=True)

    def _judged(self, job: Score, clips: Mapping[str, _Clip]) -> Outcome:
        """The verdict on the clips, now that their scores are known, and what it changes in the counts of the verdict before."""
        scored = [clip.columns | clip.values for clip in clips.values() if not clip.failed]
        why = reasons_of(self._recipe, scored)
        kept = {clip["clip_id"]: clip for clip, broken in zip(scored, why, strict=True) if not broken}
        counts = {"clips_kept": -float(len(clips)), "clips_failed": float(len(clips) - len(scored)), "files_failed": 0.0}
        counts["clips_dropped"] = float(len(scored) - len(kept))
        for part in job.parts:
            mine = [kept[clip["clip_id"]] for clip in part.clips if clip["clip_id"] in kept]
            for name, n in kept_counts(mine, part.settled, scored=True).items():
                counts[name] += n
        reasons = Counter(reason["rule"] for broken in why for reason in broken)
        return Outcome(counts=counts, reasons=dict(reasons), kept=tuple(kept.values()))


def _where(models: ScorePass) -> str:
    """Which scorers there are, and on which device."""
    slow = "" if models.device and models.device.on_gpu else "; no GPU is seen, so models are slow"
    return f"scores: {', '.join(scorer.name for scorer in models.scorers)}, on {models.device}{slow}"


def _as_stored(value: Any) -> Any:
    """A number as the store holds it: a float32."""
    return float(np.float32(value)) if isinstance(value, float) else value
