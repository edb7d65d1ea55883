"""What a scan found, as rows of the tables. Pure: no file is read or written here."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

import numpy as np

from rushes.errors import Failure, SpanError
from rushes.measures.clip import measure_clip
from rushes.measures.clip_time import ClipTime
from rushes.media.file_clock import pieces_text
from rushes.media.holes import holes_of, ticks_of
from rushes.recipe import Recipe
from rushes.records import Row, Video, clip_id, seconds, spans_id
from rushes.rows.signals import Series
from rushes.scan.one_pass import Scan
from rushes.shots import cuts_inside, find_shots
from rushes.shots.covered import Covered, spans_text
from rushes.shots.listed import Unplaced, listed_shots

Rows = dict[str, list[Row]]
"""Rows by table name."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which run writes, and when."""

    run_id: str
    written_at: datetime

    def on(self, row: dict[str, Any], fingerprint: str) -> dict[str, Any]:
        """The row with its last columns."""
        return {**row, "fingerprint": fingerprint, "run_id": self.run_id, "written_at": self.written_at}


def clip_rows(series: Series, recipe: Recipe, prints: Mapping[str, str], stamp: Stamp, video: Video | None = None) -> Rows:
    """Cuts a video's series into clips and measures each: rows of `clips`, `measures` and their `marks`.

    `video`, where it is given, may bring spans of a list, which are then the clips; those that give none become rows of `errors`.
    """
    first = int(series.pts[0])
    t = (series.pts - first).astype(np.float64) * float(series.time_base)
    spans, of = (video.spans, spans_id(video.spans)) if video is not None else ((), None)
    holes = holes_of(series.pts, series.time_base, recipe.scan.hole_s)
    parts = (series.signals, series.pts, series.time_base, series.end_pts, recipe.shots, holes)
    listed, unplaced = listed_shots(spans, *parts) if spans else ([], [])
    shots = [(one.shot, one.span.extra) for one in listed] if spans else [(shot, None) for shot in find_shots(*parts)]
    clips, measures = [], []
    for shot, extra in shots:
        start, end = shot.span.start_pts, shot.span.end_pts
        name = clip_id(series.video_id, start, end)
        at = slice(int(np.searchsorted(series.pts, start)), int(np.searchsorted(series.pts, end)))
        row = {
            "clip_id": name, "video_id": series.video_id, "start_pts": start, "end_pts": end, "time_base": str(series.time_base),
            "start_s": seconds(start - first, series.time_base), "end_s": seconds(end - first, series.time_base),
            "duration_s": seconds(end - start, series.time_base), "n_frames": at.stop - at.start,
            "start_kind": shot.start, "end_kind": shot.end, "mode": series.mode,
            "extra": extra, "spans": of,
        }  # fmt: skip
        clips.append(stamp.on(row, prints["shots"]))
        seen = ~np.isnan(series.signals["luma_mean"][at]) if series.mode == "sparse" else None
        time = ClipTime(at, t[at], seconds(end - first, series.time_base), recipe.scan.grid_per_s, seen)
        n_cuts = cuts_inside(series.signals, at, t) if seen is None else None
        values = measure_clip(series.signals, time, series.way, n_cuts)
        measures.append(stamp.on({"clip_id": name, "video_id": series.video_id, **values}, prints["measures"]))
    marks = [
        mark(series.video_id, "shots", len(clips), prints["shots"], stamp, of),
        mark(series.video_id, "measures", len(measures), prints["measures"], stamp, of),
    ]
    errors = [stamp.on(_unplaced_row(video, one), prints["shots"]) for one in unplaced] if video is not None else []
    return {"clips": clips, "measures": measures, "errors": errors, "marks": marks}


def _unplaced_row(video: Video, one: Unplaced) -> dict[str, Any]:
    """A span of a list that gives no clip, as a row of `errors`."""
    span = one.span
    times = (float(Fraction(span.start)), float(Fraction(span.end))) if span.unit == "s" else None
    mend = "correct the row of the list, and run again"
    failure = Failure.of(SpanError(f"there is no clip of the span {span.words()}: {one.why}", uri=video.uri, span_s=times, mend=mend))
    who = {"uri": video.uri, "video_id": video.video_id}
    key = f"{video.video_id}@{span.unit}:{span.start}:{span.end}"
    return attempt_row(who, failure, "shots", key, 1, permanent=True)


def mark(
    video_id: str, stage: str, rows: int, fingerprint: str, stamp: Stamp, spans: str | None = None, covered: Covered | None = None
) -> dict[str, Any]:
    """A row of `marks`.

    Args:
        video_id: the video.
        stage: the stage that it has passed.
        rows: rows of the stage.
        fingerprint: the stage's.
        stamp: which run writes.
        spans: identity of the spans of a list that the rows were made by.
        covered: the stretches of the video that the stage has; None: all of it.
    """
    text = covered.text() if covered is not None else None
    return stamp.on({"video_id": video_id, "stage": stage, "rows": rows, "spans": spans, "covered": text}, fingerprint)


TABLES_OF = {"scan": ("videos",), "shots": ("clips", "errors"), "measures": ("measures",)}
"""The tables of a stage whose rows are written when the pass has ended; frames and signals are written while it goes on."""


def without(rows: Rows, stages: Collection[str]) -> Rows:
    """The rows but for those that stages would write again: their tables and marks are there already."""
    gone = {table for stage in stages for table in TABLES_OF.get(stage, ())}
    return {
        table: [row for row in some if table != "marks" or row["stage"] not in stages] for table, some in rows.items() if table not in gone
    }


def scanned_row(scan: Scan, cpu_s: float) -> dict[str, Any]:
    """What `videos` says of a scanned video, besides uri and identity."""
    return {
        **scan.facts.as_row(), "status": "done", "mode": scan.mode, "footage_s": scan.footage_s, "decoded_s": scan.decoded_s,
        "n_frames": len(scan.pts), "n_packets": scan.n_packets, "n_corrupt": scan.n_corrupt, "n_repaired_pts": scan.n_repaired_pts,
        "n_new_clocks": scan.n_new_clocks, "n_holes": len(scan.holes), "holes_s": seconds(ticks_of(scan.holes), scan.facts.time_base),
        "time_pieces": pieces_text(scan.pieces),
        "covered": None if scan.covered is None else spans_text(scan.covered, scan.pts, scan.end_pts),
        "first_pts": int(scan.pts[0]), "end_pts": scan.end_pts, "cpu_s": cpu_s,
    }  # fmt: skip


def manifest_columns(extra: Mapping[str, Any]) -> str | None:
    """Further columns of a manifest as JSON text; None where there are none."""
    return json.dumps(dict(extra), ensure_ascii=False, sort_keys=True, default=str, allow_nan=False) if extra else None


def identity_row(video: Video) -> dict[str, Any]:
    """What `videos` says of the file that a video is."""
    return {
        "uri": video.uri, "video_id": video.video_id, "size_bytes": video.size, "stamp": video.stamp, "extra": video.extra,
        "spans": spans_id(video.spans),
    }  # fmt: skip


def failed_video(identity: Mapping[str, Any], failure: Failure) -> dict[str, Any]:
    """What `videos` says of a failed video. `identity`: see `identity_row`."""
    return {**identity, "status": "failed", "error_type": failure.error_type, "error": failure.what, "mend": failure.mend}


def attempt_row(video: Mapping[str, Any], failure: Failure, stage: str, key: str, attempt: int, *, permanent: bool) -> dict[str, Any]:
    """What `errors` says of a failed attempt at a video, a part of one, or a clip. `video`: its uri, and its video_id if known."""
    start_s, end_s = failure.span_s or (None, None)
    return {
        "stage": stage, "key": key, "video_id": video.get("video_id"), "uri": video["uri"], "start_s": start_s, "end_s": end_s,
        "error_type": failure.error_type, "error": failure.what, "mend": failure.mend, "attempt": attempt, "permanent": permanent,
    }  # fmt: skip


def public_row(video: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `videos` that can travel as JSON."""
    return {k: v for k, v in video.items() if k not in ("written_at", "run_id", "fingerprint")}
