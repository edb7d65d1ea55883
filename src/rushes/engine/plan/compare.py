"""Wanted minus present, for the clips of one batch of videos. Rows stay Arrow columns; only what is missing becomes jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rushes.engine.plan.known import Batch
from rushes.recipe import Recipe
from rushes.records import Row
from rushes.rows.clip_columns import clip_columns, rule_column
from rushes.verdict.arrow import counts, dropped
from rushes.verdict.checks import checks_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Lacking:
    """The clips of some videos that are kept, and what they lack.

    Attributes:
        kept, dropped: clips by the rules; `kept` counts those whose caption failed for good, too.
        reasons: rule -> clips that it drops.
        failed: kept clips whose caption failed for good and that have none.
        failed_files: kept clips whose file failed for good and that have none.
        present: stage -> kept clips that have its row, or never will.
        missing_s: stage -> seconds of the kept clips that lack its row.
        clips: stage -> video_id -> columns of the kept clips that lack it.
    """

    kept: int = 0
    dropped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    failed_files: int = 0
    present: Counter[str] = field(default_factory=Counter)
    missing_s: dict[str, float] = field(default_factory=dict)
    clips: dict[str, dict[str, list[Row]]] = field(default_factory=dict)


def lacking(recipe: Recipe, batch: Batch, uris: Mapping[str, str], stages: Collection[str]) -> Lacking:
    """Judges the clips of videos whose scan, shots and measures are there, and finds what the kept ones lack.

    Args:
        recipe: the rules.
        batch: what is known of the videos.
        uris: some of them, with a row in `batch.done`: video_id -> uri under which this run sees them.
        stages: the stages of clips that are wanted.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    out = Lacking()
    if not uris:
        return out
    videos = list(uris)
    clips, measures = batch.clips(videos)
    at = pc.index_in(clips["video_id"], value_set=batch.done["video_id"])
    checks, column = checks_of(recipe.rules), rule_column(clips, measures, batch.done, at)
    gone = dropped(checks, column, clips.num_rows)
    out.reasons.update(counts(checks, column))
    keep = pa.array(~gone)
    clips, measures = clips.filter(keep), measures.filter(keep)
    out.kept, out.dropped = clips.num_rows, len(gone) - clips.num_rows
    out.failed = _among(clips, batch.failed_captions(videos)) if batch.failed_clips("captions") else 0
    out.failed_files = _among(clips, batch.failed_files(videos)) if batch.failed_clips("files") else 0
    for stage in stages:
        have: Any = pc.is_in(clips["clip_id"], value_set=batch.clip_ids(stage, videos)["clip_id"])
        missing = pc.invert(have)
        out.present[stage] = pc.sum(have).as_py() or 0
        out.missing_s[stage] = pc.sum(clips["duration_s"].filter(missing)).as_py() or 0.0
        out.clips[stage] = _by_video(clips.filter(missing), measures.filter(missing), batch, uris)
    return out


def _among(clips: pa.Table, by_video: Mapping[str, list[str]]) -> int:
    """How many of the clips are among those given by video."""
    import pyarrow as pa
    import pyarrow.compute as pc

    some: Any = pc.is_in(clips["clip_id"], value_set=pa.array([clip for found in by_video.values() for clip in found], pa.string()))
    return pc.sum(some).as_py() or 0


def _by_video(clips: pa.Table, measures: pa.Table, batch: Batch, uris: Mapping[str, str]) -> dict[str, list[Row]]:
    rows = [
        clip_columns(clip, measured, batch.facts(clip["video_id"], uris[clip["video_id"]]))
        for clip, measured in zip(clips.to_pylist(), measures.to_pylist(), strict=True)
    ]
    return {video: list(some) for video, some in groupby(rows, key=lambda row: row["video_id"])}
