"""Long videos: where to divide one, the pass over a segment, and the joining of segments into what one pass would have given.

A segment is a row of the table `segments` when it is done. A run that was killed goes on with the segments that are missing.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

from rushes.engine.jobs import Division, Outcome, Scan, Segment, Stitch
from rushes.engine.pipe import Progress
from rushes.engine.stages import digest
from rushes.engine.work.context import Context
from rushes.engine.work.scan import DETECTORS_LOOK_BACK, Pass, Whole, scan, scan_bursts
from rushes.engine.work.spans import scan_spans
from rushes.errors import DecodeError
from rushes.media.segments import MIN_SEGMENTS, Cuts, where_to_cut
from rushes.recipe import Recipe
from rushes.rows.segment import cuts_json, segment_row, segment_scan
from rushes.scan.one_pass import TooLong
from rushes.scan.segment import SegmentScan, scan_segment
from rushes.scan.stitch import Refusal, stitch
from rushes.store.parts import video_part
from rushes.store.store import Store
from rushes.store.tables import FRAMES, SEGMENTS

VERSION = 3
"""Raise when the rows of the table `segments` change."""
LABEL = "cut"
"""Marks the parts of frames that segments wrote."""


def scan_or_divide(context: Context, job: Scan, progress: Progress) -> Outcome:
    """The pass over a video, or over the stretches that its list's spans lie in. Of a long video that is to be scanned whole the outcome
    says how it is divided.
    """
    tried = scan_spans(context, job, progress) if job.video.spans else Whole()
    if isinstance(tried, Outcome):
        return tried
    outcome: Outcome | Whole = Whole(tried.why)
    if tried.by_bursts and context.recipe.scan.mode == "sparse":
        outcome = scan_bursts(context, job, progress)
    if isinstance(outcome, Whole):
        tried = Whole(outcome.why, tried.decoded_s + outcome.decoded_s)
        outcome = _scan_or_divide(context, job, progress)
    counts = outcome.counts | {"decoded_s": outcome.counts.get("decoded_s", 0.0) + tried.decoded_s}
    return replace(outcome, counts=counts, note=outcome.note or (_whole(job, tried.why) if tried.why else None))


def _scan_or_divide(context: Context, job: Scan, progress: Progress) -> Outcome:
    longest_s = MIN_SEGMENTS * context.recipe.engine.segment_s
    if not longest_s:
        return scan(context, job, progress)
    try:
        return scan(context, job, progress, longest_s)
    except TooLong:
        found = divide(context, job)
        if isinstance(found, Division):
            return Outcome(division=found)
        return replace(scan(context, job, progress), note=found)


def divide(context: Context, job: Scan) -> Division | str | None:
    """How a video is divided; or why it is scanned whole, None where it is just short. Nothing is decoded."""
    video = job.video
    with context.opened(video) as source:
        size, length, mode = video.size or 0, context.recipe.engine.segment_s, context.recipe.scan.whole_mode
        found = where_to_cut(source, uri=video.uri, size_bytes=size, segment_s=length, mode=mode, stream=video.stream)
    if not isinstance(found, Cuts):
        return found.note and _whole(job, found.note)
    if note := undividable(context.recipe):
        return _whole(job, note)
    fingerprint = _fingerprint(context, found)
    there = present(context.store, video.video_id, fingerprint)
    return Division(cuts=found, fingerprint=fingerprint, missing=tuple(k for k in range(len(found.segments)) if k not in there))


def undividable(recipe: Recipe) -> str | None:
    """Why a recipe has every video scanned whole, whatever its length."""
    if recipe.scan.detectors:
        return DETECTORS_LOOK_BACK
    if recipe.frames.keep == "kept":
        return 'frames.keep = "kept" needs the verdict before frames are written'
    return None


def present(store: Store, video_id: str, fingerprint: str) -> set[int]:
    """Segments of a video whose rows are in the store, under the fingerprint of its division. Reads a listing only."""
    parts = store.parts(SEGMENTS, video_part(video_id, fingerprint))
    return {int(part.uri.removesuffix(".parquet").rpartition("-")[2]) for part in parts}


def forget(store: Store, done: Container[str]) -> int:
    """Deletes the segments of videos that are complete; call it when their marks are durable. Reads a listing; gives their number."""
    spent = [part for part in store.parts(SEGMENTS) if part.video in done]
    store.remove(spent)
    return len(spent)


def _fingerprint(context: Context, cuts: Cuts) -> str:
    """The identity of segments: everything that changes them."""
    return digest("segments", VERSION, context.prints["scan"], context.prints.get("frames"), cuts_json(cuts))


def segment(context: Context, job: Segment, progress: Progress) -> Outcome:
    """The pass over one segment; its frames and its row are durable when this returns."""
    video, division, cuts = job.video, job.division, job.division.cuts
    decoded_s, refusal = 0.0, None
    names = [column.name for column in context.signal_columns]
    with Pass(context, job.scan, progress, _label(division, job.index)) as one:
        try:
            found = one.over(scan_segment, cuts.segments[job.index], cuts.mode)
            if one.frames:
                one.frames.finish(())
            row, decoded_s = segment_row(video.video_id, found, one.busy_s, names), found.decoded_s
        except DecodeError as error:  # the whole video has other frames
            refusal = f"segment {job.index}: {error.what}"
            row = {"video_id": video.video_id, "segment": job.index, "refusal": refusal}
    one.same.check()
    name = video_part(video.video_id, division.fingerprint, job.index)
    context.store.write_rows(SEGMENTS, [one.stamp.on(row, division.fingerprint)], name=name)
    counts = {"footage_s": 0.0, "decoded_s": decoded_s}
    return Outcome(counts=counts, busy={"scan": one.busy_s}, note=refusal, refused=refusal is not None)


@dataclass(slots=True)
class _Read:
    """What was found while the segments of a video were read: their CPU time, the seconds of footage that this run decoded of them, and why
    the last one read cannot be used.
    """

    cpu_s: float = 0.0
    footage_s: float = 0.0
    refusal: str | None = None


def join(context: Context, job: Stitch, progress: Progress) -> Outcome:
    """Joins the segments, then does what follows a pass.

    Where they cannot be joined exactly the video is scanned whole, and `note` says why. The segments are deleted when the marks of the
    video are durable, so that a kill before that costs no decode.
    """
    began, read, video = time.process_time(), _Read(), job.video
    found = stitch(_stored(context, job, read, progress), context.recipe)
    _drop_frames(context, job, keep=None if isinstance(found, Refusal) else job.division)
    if isinstance(found, Refusal):
        outcome = replace(scan(context, job.scan, progress), note=_whole(job.scan, read.refusal or found.reason))
    else:
        with Pass(context, job.scan, progress, _label(job.division), began) as one:
            for frame in found.frames if one.frames else ():
                one.add(frame)
            n_frames = found.n_frames - len(found.frames)
            outcome = one.conclude(found.scan, here_s=(read.footage_s, 0.0), earlier_cpu_s=read.cpu_s, n_frames=n_frames)
    forget(context.store, {video.video_id})
    return outcome


def _stored(context: Context, job: Stitch, read: _Read, progress: Progress) -> Iterator[SegmentScan]:
    """The segments in order, one at a time in memory, up to the first that is missing or refused."""
    fingerprint, video_id = job.division.fingerprint, job.scan.video.video_id
    names = [column.name for column in context.signal_columns]
    for index, cut in enumerate(job.division.cuts.segments):
        rows = context.store.read(SEGMENTS, fingerprints=[fingerprint], under=video_part(video_id, fingerprint, index)).to_pylist()
        read.refusal = rows[0]["refusal"] if rows else None
        if not rows or read.refusal:
            return
        found, cpu_s = segment_scan(rows[0], cut, names)
        read.cpu_s += cpu_s
        read.footage_s += found.decoded_s if rows[0]["run_id"] == context.run_id else 0.0
        progress(0.0)
        yield found


def _drop_frames(context: Context, job: Stitch, keep: Division | None) -> None:
    """Deletes the frames that segments wrote, of all divisions of this video but the one to keep. Frames that are complete stay."""
    fingerprint = context.prints.get("frames")
    if fingerprint is None or "frames" in job.scan.present:
        return
    spared = None if keep is None else _label(keep)
    parts = context.store.parts(FRAMES, f"{video_part(job.scan.video.video_id, fingerprint)}-{LABEL}")
    context.store.remove(part for part in parts if part.label != spared)


def _label(division: Division, index: int | None = None) -> str:
    """What tells apart the frames of one segment: the division and its number; without a number, those of all seams."""
    return f"{LABEL}{division.fingerprint[:8]}" + ("" if index is None else f"-{index:05d}")


def _whole(job: Scan, why: str) -> str:
    return f"{job.video.uri} is scanned whole: {why}"
