"""Videos of which a list gives spans: only the stretches that the spans lie in are decoded, where that gives their clips exactly the rows
of a pass over the whole video.

What a stage has of a video grows from list to list: stretches that are there are not decoded again. Their signals are taken from the store
into the new row, so that the newest signals hold at least what the marks say.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rushes.engine.jobs import Outcome, Scan
from rushes.engine.pipe import Progress, Reached
from rushes.engine.stages import content_threshold, digest
from rushes.engine.work.context import Context
from rushes.engine.work.scan import DETECTORS_LOOK_BACK, Pass, Whole
from rushes.errors import DecodeError
from rushes.media.frame_index import FrameIndex, frame_index
from rushes.media.segments import Uncut
from rushes.recipe import Recipe
from rushes.records import Mode
from rushes.rows.signals import Series, read_signals
from rushes.scan.blend import read_for
from rushes.scan.one_pass import Scan as Scanned
from rushes.scan.sparse import scan_sparse
from rushes.scan.stretches import Stretch, kept_of, scan_stretches, stretches_of
from rushes.shots.covered import Covered
from rushes.shots.listed import frames_of

MOST = 0.75
"""A video is decoded whole where its stretches hold more than this share of its frames: that costs at most a third more, its segments can
be decoded side by side, and no later list costs a decode."""
LABEL = "span"
"""Marks the parts of frames that passes over stretches wrote."""


def scan_spans(context: Context, job: Scan, progress: Progress) -> Outcome | Whole:
    """The pass over the stretches that the spans of a video lie in, then shots and measures. The rows are durable when this returns an
    outcome; else none is written.

    In sparse mode bursts of these stretches are decoded. Where that is not possible the stretches are decoded whole, and the outcome says
    why.
    """
    if why := _unfit(context.recipe):
        return Whole(why)
    if context.recipe.scan.mode != "sparse":
        return _scan_spans(context, job, progress, context.recipe.scan.whole_mode)
    tried = _scan_spans(context, job, progress, "sparse")
    if isinstance(tried, Outcome) or tried.by_bursts:
        return tried
    again = _scan_spans(context, job, progress, context.recipe.scan.whole_mode)
    if isinstance(again, Whole):
        return Whole(again.why or tried.why, again.decoded_s + tried.decoded_s, by_bursts=False)
    note = f"the stretches of {job.video.uri} that its spans lie in are decoded whole: {tried.why}"
    return replace(again, counts=again.counts | {"decoded_s": again.counts["decoded_s"] + tried.decoded_s}, note=note)


def _scan_spans(context: Context, job: Scan, progress: Progress, mode: Mode) -> Outcome | Whole:
    """`scan_spans` in a given mode."""
    began, video, sparse = time.process_time(), job.video, mode == "sparse"
    with context.opened(video) as source:
        counted: Mode = "exact" if sparse else mode
        index = frame_index(source, uri=video.uri, size_bytes=video.size or 0, mode=counted, stream=video.stream, progress=progress)
    if isinstance(index, Uncut):
        return Whole(index.note)
    wanted = _wanted(job, index, context.recipe)
    if sparse:
        if not all(index.has_burst(*piece, context.recipe.scan.sparse_burst) for piece in wanted):
            return Whole("a span of its list holds no burst of pictures", by_bursts=False)
        index = index.at_bursts()
    old, stored = _Old.of(context, job), None
    if "scan" in {*job.present, *job.covered}:
        stored = read_signals(context.store, video.video_id, context.prints["scan"], context.signal_columns)
        if not np.array_equal(stored.pts, index.pts):
            return Whole("its stored signals are of other frames")
    new = stretches_of(wanted, index, [old.frames_of(stage) for stage in old.lacking])
    if sum(stop - first for first, stop in new) > MOST * len(index.pts):
        return Whole()
    label, reached = LABEL + digest("stretches", new, *(["sparse"] if sparse else []))[:8], Reached(progress)
    with Pass(context, job, reached, label, began) as one:
        found = _decoded(one, context.recipe, index, new, reached, sparse=sparse)
        if isinstance(found, Scanned):
            covered, here_s = old.after(new, index, around=context.recipe.shots.within_spans), (found.footage_s, found.decoded_s)
            return one.conclude(_with_stored(found, stored, old, job), here_s=here_s, covered=covered)
        one.take_back()
    return found


def _decoded(one: Pass, recipe: Recipe, index: FrameIndex, new: Sequence[Stretch], reached: Reached, *, sparse: bool) -> Scanned | Whole:
    """The pass over the new stretches."""
    if sparse:
        by_bursts = one.over(scan_sparse, threshold=content_threshold(recipe), index=index, stretches=new)
        return by_bursts if isinstance(by_bursts, Scanned) else Whole(by_bursts.why, by_bursts.decoded_s, by_bursts=False)
    try:
        found = one.over(scan_stretches, index, new)
    except DecodeError as error:  # the whole video has other frames
        found = error.what
    return Whole(found, reached.seconds) if isinstance(found, str) else found


def _unfit(recipe: Recipe) -> str | None:
    """Why a recipe has every video scanned whole, whatever spans its list gives."""
    if recipe.scan.detectors:
        return DETECTORS_LOOK_BACK
    if recipe.frames.at == "key":
        return 'frames.at = "key" takes frames by the key frames before them, wherever these are'
    return None


def _wanted(job: Scan, index: FrameIndex, recipe: Recipe) -> list[Stretch]:
    """The frames that the clips of the spans are made from."""
    pieces = [piece for span in job.video.spans if (piece := frames_of(span, index.pts, index.time_base)) is not None]
    if not recipe.shots.within_spans:
        return pieces
    t = (index.pts - index.pts[0]).astype(np.float64) * float(index.time_base)
    return [read_for(t, *piece) for piece in pieces]


@dataclass(frozen=True, slots=True)
class _Old:
    """What earlier runs decoded of a video.

    Attributes:
        lacking: of the stages scan and frames those whose rows this job writes.
        covered: the stretches that they have.
    """

    lacking: tuple[str, ...]
    covered: Mapping[str, Covered]

    @classmethod
    def of(cls, context: Context, job: Scan) -> _Old:
        lacking = tuple(stage for stage in ("scan", "frames") if stage in context.prints and stage not in job.present)
        return cls(lacking, {stage: Covered.of_text(text) for stage, text in job.covered.items() if stage in lacking})

    def frames_of(self, stage: str) -> Sequence[Stretch]:
        """The stretches that a stage has."""
        return self.covered[stage].frames if stage in self.covered else ()

    def after(self, new: Sequence[Stretch], index: FrameIndex, *, around: bool) -> dict[str, Covered]:
        """What the stages have when the new stretches are decoded."""
        stretches = {stage: sorted([*kept_of(self.frames_of(stage), new), *new]) for stage in self.lacking}
        return {stage: Covered.of(frames, index.pts, around=around) for stage, frames in stretches.items()}


def _with_stored(found: Scanned, stored: Series | None, old: _Old, job: Scan) -> Scanned:
    """A scan of new stretches with the stored signals of those that were decoded before."""
    if stored is None:
        return found
    if "scan" in job.present:
        return replace(found, signals=dict(stored.signals))
    assert found.covered is not None
    kept, passed_s = kept_of(old.frames_of("scan"), found.covered), found.passed_s
    for first, stop in kept:
        for name, row in stored.signals.items():
            found.signals[name][first:stop] = row[first:stop]
        if passed_s is not None:
            decoded = float(np.mean(~np.isnan(stored.signals["luma_mean"][first:stop])))
            passed_s += decoded * found.length_s(first, stop)
    return replace(found, covered=tuple(sorted([*kept, *found.covered])), passed_s=passed_s)
