"""The pass over a video, and what follows it: frames, signals, shots, measures, and which clips the rules keep."""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from rushes.engine.clip_columns import Wanted, wanted_clips
from rushes.engine.jobs import Outcome, Recut, Scan, Stitch
from rushes.engine.work.context import Context, Progress, public_row
from rushes.engine.work.rows import Made, Rows, Series, Stamp, clip_rows, mark, scanned_row, without
from rushes.engine.work.same_file import SameFile
from rushes.records import Span
from rushes.scan.one_pass import scan as one_pass
from rushes.store.frames import FrameWriter
from rushes.store.parts import video_part
from rushes.store.tables import SIGNALS, schema


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
                source, context.recipe, uri=job.video.uri, size_bytes=job.video.size or 0, progress=progress,
                on_frame=(lambda f: frames.add(f.pts, f.jpeg, f.width, f.height)) if frames else None, longest_s=longest_s,
            )  # fmt: skip
        scanned = time.process_time() - began
        made = Made(found, scanned, scanned, began, footage_s=found.footage_s)
        return conclude(context, made, job, stamp, same, frames)
    finally:
        if frames:
            frames.close()


def conclude(context: Context, made: Made, job: Scan, stamp: Stamp, same: SameFile, frames: FrameWriter | None) -> Outcome:
    """What follows a pass: shots and measures; then the last frames, the signals, and at last the rows and marks of the video."""
    found, video_id, prints = made.scan, job.video.video_id, context.prints
    series = Series.of(video_id, found)
    rows = clip_rows(series, context.recipe, prints, stamp)
    who = {"uri": job.video.uri, "video_id": video_id, "stamp": job.video.stamp, "extra": job.video.extra}
    facts = {**scanned_row(found, made.cpu_s), **who}
    wanted = wanted_clips(context.recipe, rows["clips"], rows["measures"], facts)
    if frames:
        frames.finish([Span(c["start_pts"], c["end_pts"]) for c in wanted.kept])
    same.check()
    if "scan" not in job.present:
        _write_signals(context, series, stamp)
    rows["marks"] = [mark(video_id, "scan", len(found.pts), prints["scan"], stamp), *rows["marks"]]
    if frames:
        rows["marks"].append(mark(video_id, "frames", frames.count + made.n_frames, prints["frames"], stamp))
    rows["videos"] = [stamp.on(facts, prints["scan"])]
    context.write(without(rows, job.present))
    busy = {"scan": made.busy_s, "shots": time.process_time() - made.began - made.busy_s}
    counts = {"videos_scanned": 1.0, "bytes_read": float(job.video.size or 0)}
    counts |= {"footage_s": made.footage_s, "decoded_s": made.footage_s}
    return _outcome(context, wanted, rows, facts, job.failed_captions, counts, busy)


def recut(context: Context, job: Recut, progress: Progress) -> Outcome:
    """Shots and measures anew from stored signals; the video is not opened."""
    began = time.process_time()
    rows = clip_rows(_read_signals(context, job.video.video_id), context.recipe, context.prints, context.stamp())
    wanted = wanted_clips(context.recipe, rows["clips"], rows["measures"], job.facts)
    context.write(without(rows, job.present))
    return _outcome(context, wanted, rows, job.facts, job.failed_captions, {}, {"shots": time.process_time() - began})


def whole(context: Context, job: Scan | Stitch, progress: Progress, note: str) -> Outcome:
    """A long video that cannot be divided, scanned in one pass; `note` says why."""
    from dataclasses import replace

    return replace(scan(context, job.scan if isinstance(job, Stitch) else job, progress), note=note)


def _outcome(
    context: Context,
    wanted: Wanted,
    rows: Rows,
    facts: dict[str, Any],
    failed: Sequence[str],
    counts: dict[str, float],
    busy: dict[str, float],
) -> Outcome:
    hopeless = frozenset(failed)
    n_failed = sum(clip["clip_id"] in hopeless for clip in wanted.kept)
    counts |= {"clips_kept": len(wanted.kept) - n_failed, "clips_dropped": wanted.n_dropped, "clips_failed": n_failed}
    later = context.wants_clips()
    return Outcome(counts=counts, busy=busy, kept=wanted.kept if later else (), facts=public_row(facts) if later else None)


def _write_signals(context: Context, series: Series, stamp: Stamp) -> None:
    import pyarrow as pa

    fixed = {
        "video_id": series.video_id, "time_base": str(series.time_base), "end_pts": series.end_pts,
        "mode": series.mode, "rotation": series.rotation, "pts": series.pts,
    }  # fmt: skip
    fields = []
    full = schema(SIGNALS, context.signal_columns)
    row = stamp.on({**fixed, **series.signals}, context.prints["scan"])
    for field in full:
        value = row[field.name]
        if pa.types.is_list(field.type):
            inner = pa.array(value, field.type.value_type, from_pandas=True)
            fields.append(pa.ListArray.from_arrays(pa.array([0, len(inner)], pa.int32()), inner))
        else:
            fields.append(pa.array([value], field.type))
    name = video_part(series.video_id, context.prints["scan"])
    context.store.write_table(SIGNALS, pa.Table.from_arrays(fields, schema=full), name)


def _read_signals(context: Context, video_id: str) -> Series:
    prints, extra = [context.prints["scan"]], context.signal_columns
    found = context.store.read(SIGNALS, extra=extra, fingerprints=prints, only={"video_id": [video_id]})
    row: dict[str, Any] = {name: found[name][0] for name in found.column_names}
    arrays = {c.name: np.asarray(row[c.name].values.to_numpy(zero_copy_only=False), np.float32) for c in extra}
    return Series(
        video_id, np.asarray(row["pts"].values, np.int64), arrays, Fraction(row["time_base"].as_py()), row["end_pts"].as_py(),
        row["rotation"].as_py(), row["mode"].as_py(),
    )  # fmt: skip
