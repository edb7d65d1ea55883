"""The pass over a video, and what follows it: frames, signals, shots, measures, and which clips the rules keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from rushes.engine.jobs import Outcome, Recut, Scan, Stitch, kept_counts
from rushes.engine.pipe import Progress
from rushes.engine.work.context import Context
from rushes.media.same_file import SameFile
from rushes.records import Row, Span, Video, spans_id
from rushes.rows.clip_columns import Wanted, wanted_clips
from rushes.rows.scanned import Stamp, clip_rows, mark, public_row, scanned_row, without
from rushes.rows.signals import Series, read_signals, write_signals
from rushes.scan.one_pass import SampledFrame
from rushes.scan.one_pass import Scan as Scanned
from rushes.scan.one_pass import scan as one_pass
from rushes.shots.covered import Covered
from rushes.store.frames import FrameWriter
from rushes.store.parts import video_part
from rushes.store.tables import FRAMES

DETECTORS_LOOK_BACK = "scan.detectors runs detectors whose result depends on all frames from the video's first one on"
"""Why a recipe has every video scanned whole, in words for people."""


@dataclass(frozen=True, slots=True)
class Made:
    """A scan, and what it cost.

    Attributes:
        scan: what the pass found.
        cpu_s: CPU time of the whole scan, for the table `videos`.
        busy_s: CPU time of it in this job.
        began: CPU time of this process when the job began.
        footage_s: seconds of footage that this job scanned.
        decoded_s: seconds that it decoded of them.
        n_frames: sampled frames that were written before.
        covered: of the stages scan and frames the stretches that they have now, where not the whole video was decoded.
    """

    scan: Scanned
    cpu_s: float
    busy_s: float
    began: float
    footage_s: float
    decoded_s: float
    n_frames: int = 0
    covered: Mapping[str, Covered] = field(default_factory=dict)


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


def keeping(frames: FrameWriter | None) -> Callable[[SampledFrame], None] | None:
    """What takes the sampled frames of a pass; None where none are to be stored."""
    return None if frames is None else lambda frame: frames.add(frame.pts, frame.jpeg, frame.width, frame.height)


def take_back(context: Context, video: Video, label: str) -> None:
    """Removes the frames that a pass which was given up has written under a label."""
    if (fingerprint := context.prints.get("frames")) is not None:
        context.store.remove(context.store.parts(FRAMES, video_part(video.video_id, fingerprint, label=label)))


def scan(context: Context, job: Scan, progress: Progress, longest_s: float | None = None) -> Outcome:
    """The one pass over a video, then shots and measures. Of what is `present` already nothing is written again.

    Raises:
        TooLong: the video is longer than `longest_s` seconds; nothing was decoded.
    """
    began, stamp, same = time.process_time(), context.stamp(), context.same_file(job.video)
    frames = context.frame_writer(job.video, job.present, stamp, same)
    try:
        with context.opened(job.video) as source:
            found = one_pass(
                source, context.recipe, uri=job.video.uri, size_bytes=job.video.size or 0, stream=job.video.stream,
                progress=progress, longest_s=longest_s,
                on_frame=keeping(frames),
            )  # fmt: skip
        scanned = time.process_time() - began
        made = Made(found, scanned, scanned, began, footage_s=found.footage_s, decoded_s=found.footage_s)
        return conclude(context, made, job, stamp, same, frames)
    finally:
        if frames:
            frames.close()


def conclude(context: Context, made: Made, job: Scan, stamp: Stamp, same: SameFile, frames: FrameWriter | None) -> Outcome:
    """What follows a pass: shots and measures; then the last frames, the signals, and at last the rows and marks of the video."""
    found, video_id, prints = made.scan, job.video.video_id, context.prints
    series = Series.of(video_id, found)
    rows = clip_rows(series, context.recipe, prints, stamp, job.video)
    spans = spans_id(job.video.spans)
    who = {"uri": job.video.uri, "video_id": video_id, "stamp": job.video.stamp, "extra": job.video.extra, "spans": spans}
    facts = {**scanned_row(found, made.cpu_s), **who}
    wanted = wanted_clips(context.recipe, rows["clips"], rows["measures"], facts)
    if frames:
        frames.finish([Span(c["start_pts"], c["end_pts"]) for c in wanted.kept])
    same.check()
    if "scan" not in job.present:
        write_signals(context.store, series, stamp.on({}, prints["scan"]), context.signal_columns)
    scan_spans, covered = spans if found.covered is not None else None, made.covered
    rows["marks"] = [mark(video_id, "scan", len(found.pts), prints["scan"], stamp, scan_spans, covered.get("scan")), *rows["marks"]]
    if frames:
        n_frames = frames.count + made.n_frames
        rows["marks"].append(mark(video_id, "frames", n_frames, prints["frames"], stamp, spans, covered.get("frames")))
    rows["videos"] = [stamp.on(facts, prints["scan"])]
    context.write(without(rows, job.present))
    busy = {"scan": made.busy_s, "shots": time.process_time() - made.began - made.busy_s}
    counts = {"videos_scanned": 1.0, "bytes_read": float(job.video.size or 0)}
    counts |= {"footage_s": made.footage_s, "decoded_s": made.decoded_s}
    counts["spans_failed"] = float(len(rows["errors"]))
    counts |= {"videos_with_other_streams": 1.0} if found.facts.other_streams and job.video.stream is None else {}
    return _outcome(context, wanted, facts, job, counts, busy)


def recut(context: Context, job: Recut, progress: Progress) -> Outcome:
    """Shots and measures anew from stored signals; the video is not opened."""
    began = time.process_time()
    series = read_signals(context.store, job.video.video_id, context.prints["scan"], context.signal_columns)
    rows = clip_rows(series, context.recipe, context.prints, context.stamp(), job.video)
    wanted = wanted_clips(context.recipe, rows["clips"], rows["measures"], job.facts)
    context.write(without(rows, job.present))
    counts = {"spans_failed": float(len(rows["errors"]))}
    return _outcome(context, wanted, job.facts, job, counts, {"shots": time.process_time() - began})


def whole(context: Context, job: Scan | Stitch, progress: Progress, note: str) -> Outcome:
    """A long video that cannot be divided, scanned in one pass; `note` says why."""
    return replace(scan(context, job.scan if isinstance(job, Stitch) else job, progress), note=note)


def _outcome(
    context: Context,
    wanted: Wanted,
    facts: Row,
    job: Scan | Recut,
    counts: dict[str, float],
    busy: dict[str, float],
) -> Outcome:
    counts |= {"clips_dropped": float(wanted.n_dropped)} | kept_counts(wanted.kept, job.settled, scored=not context.prints.get("scores"))
    later = context.wants_clips()
    kept, known = (wanted.kept, public_row(facts)) if later else ((), None)
    return Outcome(counts=counts, busy=busy, reasons=wanted.reasons, kept=kept, facts=known)
