"""Wanted minus present, for the clips of one batch of videos. Rows stay Arrow columns; only what is missing becomes jobs."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rushes.engine.plan.known import Batch
from rushes.recipe import Recipe
from rushes.records import Row
from rushes.rows.clip_columns import clip_columns, comparisons, judged_by, rule_column
from rushes.rows.scored import Scores
from rushes.verdict.arrow import counts, dropped
from rushes.verdict.checks import checks_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Lacking:
    """The clips of some videos that are kept, and what they lack.

    Attributes:
        kept, dropped: clips by the rules; `kept` counts those of which a score or the caption failed for good, too. A score that is not
            there drops no clip.
        reasons: rule -> clips that it drops.
        failed: kept clips that failed: a score or the caption failed for good, and is not there. The captions and files of clips that lack
            scores are not looked at.
        failed_files: kept clips whose file failed for good and that have none.
        wanted: stage -> kept clips that want its row: of captions and files those whose scores did not fail.
        present: stage -> of these, clips that have its row, or never will.
        missing_s: stage -> seconds of the clips that lack its row.
        clips: stage -> video_id -> columns of the clips that lack it and for which it can be made now: captions and files wait for scores,
            what compares captions with frames for captions, and files for both where rules look at these.
    """

    kept: int = 0
    dropped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    failed_files: int = 0
    wanted: Counter[str] = field(default_factory=Counter)
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
    scores = batch.scores.of(clips["clip_id"])
    judging, later = judged_by(recipe), dict(scores.columns)
    for stage, columns in judging.items():
        later |= batch.late(stage, clips["clip_id"], columns)
    checks, column = checks_of(recipe.rules), rule_column(clips, measures, batch.done, at, later, comparisons(recipe))
    gone = dropped(checks, column, clips.num_rows)
    out.reasons.update(counts(checks, column))
    keep = pa.array(~gone)
    clips, measures, scores = clips.filter(keep), measures.filter(keep), scores.filter(keep)
    out.kept, out.dropped = clips.num_rows, len(gone) - clips.num_rows
    healthy: Any = pc.invert(_among(clips, batch.failed_for_good("scores", videos)))
    scored: Any = functools.reduce(pc.and_, scores.there.values(), healthy)
    captionless: Any = _among(clips, batch.failed_for_good("captions", videos))
    failed: Any = pc.and_(scored, captionless)
    out.failed = clips.num_rows - _count(healthy) + _count(failed)
    out.failed_files = _count(pc.and_(scored, _among(clips, batch.failed_for_good("files", videos))))
    for stage in stages:
        if stage == "scores":
            missing: Any = pc.and_not(healthy, scored)
            wants, now = clips["clip_id"].is_valid(), missing
        else:
            missing = pc.and_not(healthy, pc.is_in(clips["clip_id"], value_set=batch.clip_ids(stage, videos)["clip_id"]))
            wants, now = healthy, pc.and_(missing, scored)
            if stage == "alignment":
                wants, missing = pc.and_not(healthy, captionless), pc.and_not(missing, captionless)
                now = pc.and_(pc.and_(missing, scored), _in(clips, batch.clip_ids("captions", videos)))
            for other in judging if stage == "files" else ():
                now = pc.and_(now, pc.or_(captionless, _in(clips, batch.clip_ids(other, videos))))
        out.wanted[stage], out.present[stage] = _count(wants), _count(wants) - _count(missing)
        out.missing_s[stage] = pc.sum(clips["duration_s"].filter(missing)).as_py() or 0.0
        out.clips[stage] = _by_video(clips.filter(now), measures.filter(now), scores.filter(now), batch, uris)
    return out


def _in(clips: pa.Table, rows: pa.Table) -> Any:
    """Which of the clips have a row."""
    import pyarrow.compute as pc

    return pc.is_in(clips["clip_id"], value_set=rows["clip_id"])


def _among(clips: pa.Table, by_video: Mapping[str, list[str]]) -> Any:
    """Which of the clips are among those given by video."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(clips["clip_id"], value_set=pa.array([clip for found in by_video.values() for clip in found], pa.string()))


def _count(mask: Any) -> int:
    import pyarrow.compute as pc

    return pc.sum(mask).as_py() or 0


def _by_video(clips: pa.Table, measures: pa.Table, scores: Scores, batch: Batch, uris: Mapping[str, str]) -> dict[str, list[Row]]:
    import pyarrow as pa

    tables = (clips, measures, pa.table(dict(scores.columns))) if scores.columns else (clips, measures)
    each = zip(*(table.to_pylist() for table in tables), strict=True)
    rows = [
        clip_columns(clip, measured, batch.facts(clip["video_id"], uris[clip["video_id"]])) | (more[0] if more else {})
        for clip, measured, *more in each
    ]
    return {video: list(some) for video, some in groupby(rows, key=lambda row: row["video_id"])}
