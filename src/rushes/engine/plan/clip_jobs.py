"""Jobs on the clips of videos whose clips are known, and what jobs that cut shots have to know of the clips that were there before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rushes.engine.jobs import Caption, Clips, Recut, Scan, Score, ScoreClips, Settled, clip_jobs
from rushes.engine.plan.compare import lacking
from rushes.engine.plan.known import Batch
from rushes.engine.plan.source import Source


def with_settled(batch: Batch, jobs: Sequence[Scan | Recut]) -> list[Scan | Recut]:
    """Jobs that cut shots, with the clips of which later stages need make nothing."""
    settled = _settled(batch, [job.video.video_id for job in jobs])
    return [replace(job, settled=settled[job.video.video_id]) for job in jobs]


def _settled(batch: Batch, videos: Sequence[str]) -> dict[str, Settled]:
    """What the stages of clips have done with the clips of each of some videos."""
    if not videos:
        return {}
    stages = [stage.name for stage in batch.known.clip_stages]
    done = {stage: batch.settled(stage, videos) for stage in stages if stage != "scores"}
    failed = {stage: batch.failed_for_good(stage, videos) for stage in stages}
    scored, embedded = batch.scored(videos), batch.embedded(videos)
    return {
        video: Settled(
            done={stage: tuple(clips) for stage, by_video in done.items() if (clips := by_video.get(video))},
            failed={stage: tuple(clips) for stage, by_video in failed.items() if (clips := by_video.get(video))},
            scored={scorer: tuple(clips) for scorer, clips in scored.get(video, {}).items()},
            embedded=video in embedded,
        )
        for video in videos
    }


def score_jobs(batch: Batch, sources: Sequence[Source]) -> Iterator[Score]:
    """Jobs on the clips of complete videos that lack scores: one a video; the loop puts them together."""
    clips = lacking(batch, sources, ["scores"]).clips["scores"]
    settled = _settled(batch, list(clips))
    for source in sources:
        vid = str(source.video_id)
        if vid in clips:
            facts = batch.facts(vid, source.footage.uri)
            attempts = {stage.name: tries for stage in batch.known.clip_stages if (tries := batch.attempts_at(vid, stage.name))}
            part = ScoreClips(video=source.as_video(), facts=facts, clips=tuple(clips[vid]), settled=settled[vid], attempts=attempts)
            yield Score(parts=(part,))


def later_jobs(batch: Batch, sources: Sequence[Source]) -> Iterator[Clips | Caption]:
    """Jobs of the stages after the scores on the clips of complete videos."""
    later = [stage for stage in batch.known.clip_stages if stage.name != "scores"]
    found = lacking(batch, sources, [stage.name for stage in later])
    for source in sources:
        vid = str(source.video_id)
        for stage in later:
            clips, attempts = found.clips.get(stage.name, {}).get(vid, []), batch.attempts_at(vid, stage.name)
            yield from clip_jobs(stage, source.as_video(), batch.facts(vid, source.footage.uri), clips, attempts=attempts)
