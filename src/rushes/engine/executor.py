"""What runs jobs: this machine (`local.py`) or a Ray cluster (`ray.py`). The loop in `loop.py` knows no more of it than this."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Protocol

from rushes.engine.jobs import Attempt, Job, Outcome
from rushes.engine.tally import Tally


class WorkerDied(Exception):
    """The process that worked on a job is gone, and nobody knows what came of the job.

    Args:
        why: what is known of its end.
        blame: the job may be the cause, such as by taking all memory: the end counts as an attempt. Not so where the whole machine went, or
            where the process had not begun with the job.
    """

    def __init__(self, why: str, *, blame: bool) -> None:
        super().__init__(why)
        self.blame = blame


class Executor(Protocol):
    """Runs jobs. Used by one thread.

    Attributes:
        chunk: files of one job that reads identities, at most.
    """

    chunk: int

    def submit(self, job: Job, attempt: Attempt) -> Future[Outcome]:
        """Takes a job; its outcome comes when its rows are durable.

        The future may also end with `WorkerDied`, or with `Stopped` when the executor was stopped meanwhile.
        """
        ...

    def room(self, stage: str) -> int:
        """Jobs of a stage that may be in the executor's hands at once: more than can be at work, so that no worker waits for the next."""
        ...

    def slots(self, stage: str) -> int:
        """Jobs of a stage that can be at work at once, as far as is known now."""
        ...

    def decoding(self) -> Mapping[str, float]:
        """Videos and segments that are being decoded, with seconds decoded so far, where that is known before they end."""
        ...

    def check(self) -> None:
        """Looks whether what the executor runs on is there.

        Raises:
            CannotGoOn: it is not.
        """
        ...

    def show(self, tally: Tally) -> None:
        """Gives the counts of the run to the executor's own dashboard, if it has one."""
        ...

    def stop(self) -> None:
        """Gives up everything: jobs that wait do not begin, and those at work end soon, by their own choice or not."""
        ...

    def close(self) -> None:
        """Ends all processes and threads."""
        ...
