"""Wanted minus present, for the clips of one batch of videos. Rows stay Arrow columns; only what is missing becomes jobs."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rushes.engine.plan.known import Batch
from rushes.engine.plan.source import Source
from rushes.records import Row
from rushes.rows.clip_columns import clip_columns, comparisons, rule_column
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


def lacking(batch: Batch, sources: Sequence[Source], stages: Collection[str]) -> Lacking:
    """Judges the clips of videos whose scan, shots and measures are there, and finds what the kept ones lack.

    Args:
        batch: what is known of the videos.
        sources: some of them, with a row in `batch.done`.
        stages: the stages of clips that are wanted.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    out, recipe, judging = Lacking(), batch.known.recipe, batch.known.judged_by
    uris = {str(source.video_id): source.footage.uri for source in sources}
    if not uris:
        return out
    videos = list(uris)
    clips, measures = batch.clips(videos)
    at = pc.index_in(clips["video_id"], value_set=batch.done["video_id"])
    scores = batch.scores(clips["clip_id"])
    later = {**scores.columns, **batch.late(clips["clip_id"])}
    checks, column = checks_of(recipe.rules), rule_column(clips, measures, batch.done, at, later, comparisons(recipe))
    gone = dropped(checks, column, clips.num_rows)
    out.reasons.update(counts(checks, column))
    keep = pa.array(~gone)
    clips, measures, scores = clips.filter(keep), measures.filter(keep), scores.filter(keep)
    out.kept, out.dropped = clips.num_rows, len(gone) - clips.num_rows

    def failed(stage: str) -> Any:
        """Which of the clips a stage failed on for good."""
        found = pa.array([clip for some in batch.failed_for_good(stage, videos).values() for clip in some], pa.string())
        return pc.is_in(clips["clip_id"], value_set=found)

    def settled(stage: str) -> Any:
        """Which of the clips a stage has nothing to do for."""
        return pc.or_(failed(stage), pc.is_in(clips["clip_id"], value_set=batch.rows(stage, videos)["clip_id"]))

    healthy: Any = pc.invert(failed("scores"))
    scored: Any = functools.reduce(pc.and_, scores.there.values(), healthy)
    captionless: Any = failed("captions")
    out.failed = clips.num_rows - _count(healthy) + _count(pc.and_(scored, captionless))
    out.failed_files = _count(pc.and_(scored, failed("files")))
    for stage in stages:
        if stage == "scores":
            missing: Any = pc.and_not(healthy, scored)
            wants, now = clips["clip_id"].is_valid(), missing
        else:
            missing = pc.and_not(healthy, settled(stage))
            wants, now = healthy, pc.and_(missing, scored)
            if stage == "alignment":
                wants, missing = pc.and_not(healthy, captionless), pc.and_not(missing, captionless)
                now = pc.and_(pc.and_(missing, scored), settled("captions"))
            for other in judging if stage == "files" else ():
                now = pc.and_(now, pc.or_(captionless, settled(other)))
        out.wanted[stage], out.present[stage] = _count(wants), _count(wants) - _count(missing)
        out.missing_s[stage] = pc.sum(clips["duration_s"].filter(missing)).as_py() or 0.0
        out.clips[stage] = _by_video(clips.filter(now), measures.filter(now), scores.filter(now), batch, uris)
    return out


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
