"""What the loop holds: jobs with their attempts, long videos whose segments are under way, clips that wait for scores, jobs of the plan."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rushes.engine.jobs import Attempt, Division, Job, Scan, Score, ScoreClips

SCORE_S = 10.0
"""How long a job of scores is meant to take at most: long enough that a device seldom waits for the next one, and short enough that little
is lost with a process."""
LEAST_S, SHARE = 0.5, 0.03
"""How long it is meant to take at least, and, between the two, as a share of the time since the first was begun. Captions of a job's clips
begin when the job ends, so at the start and at the end of a run they are late by the length of a job: this keeps that a small share of any
run, however short. To begin a job takes some hundredths of a second."""
FIRST_CLIPS, MOST_CLIPS = 8, 1024
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
    """How many clips one job of scores holds: as many as take, at the pace of the job that ended last, the time that a job is meant to take
    now. So slow models get few clips and fast ones many, and the jobs of a run grow while it goes on.

    Args:
        clock: seconds of a clock that does not go back.
    """

    clock: Callable[[], float] = time.monotonic
    _of_a_clip: float = 0.0
    _began: float | None = None

    @property
    def clips(self) -> int:
        """Clips of the next job, at most."""
        if self._began is None or not self._of_a_clip:
            return FIRST_CLIPS
        seconds = min(SCORE_S, max(LEAST_S, SHARE * (self.clock() - self._began)))
        return max(1, min(MOST_CLIPS, int(seconds / self._of_a_clip)))

    def learn(self, n_clips: int, seconds: float) -> None:
        """Takes the clips of a job that has ended, and how long it took. What a job takes besides its clips makes those of a few clips seem
        slow, so that the next is small, too, but larger.
        """
        if n_clips and seconds > 0:
            self._of_a_clip = seconds / n_clips

    def joined(self, waiting: deque[Try]) -> Try:
        """Takes jobs of scores that wait, and gives one job of as many of their clips as it may hold; videos stay whole. A job whose
        process died stays alone.
        """
        self._began = self.clock() if self._began is None else self._began
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
