"""The pass over a video, and what follows it: frames, signals, shots, measures, and which clips the rules keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self, TypeVar

from rushes.engine.jobs import Outcome, Recut, Scan, kept_counts
from rushes.engine.pipe import Progress
from rushes.engine.stages import content_threshold
from rushes.engine.work.context import Context
from rushes.records import Row, Span, spans_id
from rushes.rows.clip_columns import Wanted, wanted_clips
from rushes.rows.scanned import clip_rows, identity_row, mark, public_row, scanned_row, without
from rushes.rows.signals import Series, read_signals, write_signals
from rushes.scan.one_pass import SampledFrame
from rushes.scan.one_pass import Scan as Scanned
from rushes.scan.one_pass import scan as one_pass
from rushes.scan.sparse import Dense, scan_sparse
from rushes.shots.covered import Covered
from rushes.store.frames import FrameWriter
from rushes.store.parts import video_part
from rushes.store.tables import FRAMES

T = TypeVar("T")
DETECTORS_LOOK_BACK = "scan.detectors runs detectors whose result depends on all frames from the video's first one on"
"""Why a recipe has every video scanned whole, in words for people."""
BURSTS = "burst"
"""Marks the parts of frames that sparse passes wrote, so that those of one that was given up can be found."""


@dataclass(frozen=True, slots=True)
class Whole:
    """All of a video is to be scanned.

    Attributes:
        why: in words for people; None where that is just cheaper.
        decoded_s: seconds that were decoded in vain.
        by_bursts: whether that may be done in sparse mode, where the recipe asks for it.
    """

    why: str | None = None
    decoded_s: float = 0.0
    by_bursts: bool = True


class Pass:
    """A pass over a video or over parts of it. Of what is `present` already nothing is written again. Use it in a `with` statement.

    Args:
        context: the run.
        job: the video.
        progress: takes the seconds decoded so far.
        label: marks the parts of frames that the pass writes.
        began: CPU time of this process when the job began; default: now.

    Attributes:
        stamp: the last columns of its rows.
        same: watches that the file stays the one that was identified.
        frames: takes the sampled frames; None where the recipe wants none, or they are there.
    """

    def __init__(self, context: Context, job: Scan, progress: Progress, label: str = "", began: float | None = None) -> None:
        self._began = time.process_time() if began is None else began
        self._context, self._job, self._progress, self._label = context, job, progress, label
        self._end = ExitStack()
        self._prints, self._video = context.prints, job.video
        self.stamp, self.same = context.stamp(), context.same_file(job.video)
        self.frames: FrameWriter | None = None
        if "frames" in self._prints and "frames" not in job.present:
            shared, hold = self.stamp.on({"video_id": self._video.video_id}, self._prints["frames"]), context.recipe.frames.keep == "kept"
            self.frames = FrameWriter(context.store, shared, hold=hold, check=self.same.check, label=label)
            self._end.callback(self.frames.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.close()

    @property
    def busy_s(self) -> float:
        """CPU seconds of this process since the job began."""
        return time.process_time() - self._began

    def add(self, frame: SampledFrame) -> None:
        """Takes a frame that is to be stored."""
        assert self.frames is not None
        self.frames.add(frame.pts, frame.jpeg, frame.width, frame.height)

    def over(self, read: Callable[..., T], *args: object, **more: object) -> T:
        """Opens the video and has a function of `rushes.scan` read it; its sampled frames are stored meanwhile. The function gets what is
        given here besides what all of them take.
        """
        video, on_frame = self._video, self.add if self.frames else None
        with self._context.opened(video) as source:
            return read(
                source, self._context.recipe, *args, uri=video.uri, size_bytes=video.size or 0, stream=video.stream,
                progress=self._progress, on_frame=on_frame, **more,
            )  # fmt: skip

    def take_back(self) -> None:
        """Removes the frames that the pass has written, since it is given up."""
        if self.frames:
            part = video_part(self._video.video_id, self._prints["frames"], label=self._label)
            self._context.store.remove(self._context.store.parts(FRAMES, part))

    def conclude(
        self,
        found: Scanned,
        *,
        here_s: tuple[float, float] | None = None,
        earlier_cpu_s: float = 0.0,
        n_frames: int = 0,
        covered: Mapping[str, Covered] | None = None,
    ) -> Outcome:
        """What follows a pass: shots and measures; then the last frames, the signals, and at last the rows and marks of the video.

        Args:
            found: the scan of the video.
            here_s: seconds of footage that this run scanned, and seconds that this job decoded; default: those of the scan.
            earlier_cpu_s: CPU time of other jobs of the scan.
            n_frames: sampled frames that these wrote.
            covered: of the stages scan and frames the stretches that they have now, where not the whole video was decoded.
        """
        busy_s, context, job, video, prints, stamp = self.busy_s, self._context, self._job, self._video, self._prints, self.stamp
        footage_s, decoded_s = here_s or (found.footage_s, found.decoded_s)
        series, covered = Series.of(video.video_id, found), covered or {}
        rows = clip_rows(series, context.recipe, prints, stamp, video)
        spans = spans_id(video.spans)
        facts = {**identity_row(video), **scanned_row(found, earlier_cpu_s + busy_s)}
        wanted = wanted_clips(context.recipe, rows["clips"], rows["measures"], facts)
        if self.frames:
            self.frames.finish([Span(c["start_pts"], c["end_pts"]) for c in wanted.kept])
        self.same.check()
        if "scan" not in job.present:
            write_signals(context.store, series, stamp.on({}, prints["scan"]), context.signal_columns)
        scan_spans = spans if found.covered is not None else None
        of_scan = mark(video.video_id, "scan", len(found.pts), prints["scan"], stamp, scan_spans, covered.get("scan"))
        rows["marks"] = [of_scan, *rows["marks"]]
        if self.frames:
            n_frames += self.frames.count
            rows["marks"].append(mark(video.video_id, "frames", n_frames, prints["frames"], stamp, spans, covered.get("frames")))
        rows["videos"] = [stamp.on(facts, prints["scan"])]
        context.write(without(rows, job.present))
        counts = {"videos_scanned": 1.0, "bytes_read": float(video.size or 0), "footage_s": footage_s, "decoded_s": decoded_s}
        counts["spans_failed"] = float(len(rows["errors"]))
        counts |= {"videos_with_other_streams": 1.0} if found.facts.other_streams and video.stream is None else {}
        return _outcome(context, wanted, facts, job, counts, {"scan": busy_s, "shots": self.busy_s - busy_s})


def scan(context: Context, job: Scan, progress: Progress, longest_s: float | None = None) -> Outcome:
    """The one pass over a video, then shots and measures.

    Raises:
        TooLong: the video is longer than `longest_s` seconds; nothing was decoded.
    """
    with Pass(context, job, progress) as one:
        return one.conclude(one.over(one_pass, longest_s=longest_s))


def scan_bursts(context: Context, job: Scan, progress: Progress) -> Outcome | Whole:
    """The sparse pass over a video, however long it is, then shots and measures. The rows are durable when this returns an outcome; else
    none is written.
    """
    with Pass(context, job, progress, BURSTS) as one:
        found = one.over(scan_sparse, threshold=content_threshold(context.recipe))
        if not isinstance(found, Dense):
            return one.conclude(found)
        one.take_back()
    return Whole(found.why, found.decoded_s)


def recut(context: Context, job: Recut, progress: Progress) -> Outcome:
    """Shots and measures anew from stored signals; the video is not opened."""
    began = time.process_time()
    series = read_signals(context.store, job.video.video_id, context.prints["scan"], context.signal_columns)
    rows = clip_rows(series, context.recipe, context.prints, context.stamp(), job.video)
    wanted = wanted_clips(context.recipe, rows["clips"], rows["measures"], job.facts)
    context.write(without(rows, job.present))
    counts = {"spans_failed": float(len(rows["errors"]))}
    return _outcome(context, wanted, job.facts, job, counts, {"shots": time.process_time() - began})


def _outcome(context: Context, wanted: Wanted, facts: Row, job: Scan | Recut, counts: dict[str, float], busy: dict[str, float]) -> Outcome:
    counts |= {"clips_dropped": float(wanted.n_dropped)} | kept_counts(wanted.kept, job.settled, scored=not context.prints.get("scores"))
    kept, known = (wanted.kept, public_row(facts)) if context.wants_clips() else ((), None)
    return Outcome(counts=counts, busy=busy, reasons=wanted.reasons, kept=kept, facts=known)
