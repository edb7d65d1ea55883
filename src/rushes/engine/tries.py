"""What the loop holds: jobs with their attempts, long videos whose segments are under way, clips that wait for scores, jobs of the plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from rushes.engine.jobs import Attempt, Division, Job, Scan, Score, ScoreClips

SCORE_S = 10.0
"""How long a job of scores is meant to take: long enough that a device seldom waits for the next one, and short enough that little is lost
with a process."""
FIRST_CLIPS, MOST_CLIPS = 64, 1024
"""Clips of a job of scores: at first, when nothing is known of their pace, and at most; the columns of a clip take about 2 kB."""


@dataclass(slots=True)
class Try:
    """A job with its attempts.

    Attributes:
        number: of the next attempt, over all runs, from 1.
        tries_left: attempts that this run may still make.
        losses: times that the job lost its machine.
        whole: the divided video that the job is a segment of, or whose segments it joins.
    """

    job: Job
    number: int = 1
    tries_left: int = 1
    losses: int = 0
    whole: Divided | None = None

    @property
    def attempt(self) -> Attempt:
        """What the executor is told of the attempt."""
        return Attempt(self.number, self.tries_left <= 1)


@dataclass(slots=True)
class Divided:
    """A long video whose segments are under way.

    Attributes:
        left: segments that have not ended.
        over: the video has failed, or is to be scanned whole: segments that have not begun are left out.
    """

    scan: Scan
    division: Division
    left: int
    failed: bool = False
    over: bool = False


@dataclass(slots=True)
class ScorePace:
    """How many clips one job of scores holds: as many as took `SCORE_S` in the job that ended last, so that slow models get few and fast
    ones many.
    """

    clips: int = FIRST_CLIPS

    def learn(self, n_clips: int, seconds: float) -> None:
        """Takes the clips of a job that has ended, and how long it took. A job of a few clips says little."""
        if n_clips >= min(FIRST_CLIPS, self.clips) and seconds > 0:
            self.clips = max(1, min(MOST_CLIPS, int(n_clips * SCORE_S / seconds)))

    def joined(self, waiting: deque[Try]) -> Try:
        """Takes jobs of scores that wait, and gives one job of as many of their clips as it may hold; videos stay whole. A job whose
        process died stays alone.
        """
        first = waiting.popleft()
        parts, n = list(_parts(first)), _n_clips(first)
        while not first.losses and waiting and not waiting[0].losses and n + _n_clips(waiting[0]) <= self.clips:
            n += _n_clips(waiting[0])
            parts += _parts(waiting.popleft())
        return Try(Score(parts=tuple(parts)), losses=first.losses)


def n_clips(waiting: deque[Try]) -> int:
    """Clips of jobs of scores that wait, or, of other jobs, the jobs."""
    return sum(_n_clips(tried) for tried in waiting)


def _n_clips(tried: Try) -> int:
    return tried.job.n_clips if isinstance(tried.job, Score) else 1


def _parts(tried: Try) -> tuple[ScoreClips, ...]:
    return tried.job.parts if isinstance(tried.job, Score) else ()


class Source:
    """Jobs of the plan with a look at the next one. `next`: the next job, None when there is none."""

    def __init__(self, jobs: Iterator[Job]) -> None:
        self._jobs = jobs
        self.next: Job | None = next(jobs, None)

    def take(self) -> Job:
        """Gives the next job."""
        job = self.next
        assert job is not None
        self.next = next(self._jobs, None)
        return job
