"""What an executor promises. It runs jobs, on this machine (`local.py`) or on a Ray cluster (`ray.py`); the loop in `loop.py` uses nothing
else of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Protocol

from rushes.captions.serving.fleet import OwnServers
from rushes.counts.tally import Tally
from rushes.engine.jobs import Attempt, Job, Outcome


class WorkerDied(Exception):
    """The process that worked on a job has died before it gave an outcome. Rows of the job may be durable or not.

    Args:
        why: what is known of its end.
        blame: the job may be the cause, such as by taking all memory, so the death counts as an attempt. False where the whole machine was
            lost, or where the process had not begun with the job.
    """

    def __init__(self, why: str, *, blame: bool) -> None:
        super().__init__(why)
        self.blame = blame

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles it with its keyword."""
        return partial(WorkerDied, blame=self.blame), self.args


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
        """Jobs of a stage that may be submitted and not ended at once: more than can be at work, so that no worker waits for the next."""
        ...

    def slots(self, stage: str) -> int:
        """Jobs of a stage that can be at work at once, as far as is known now."""
        ...

    def decoding(self) -> Mapping[str, float]:
        """Videos and segments that are being decoded, with seconds decoded so far, where that is known before they end."""
        return {}

    def check(self) -> None:
        """Checks that the machine or the cluster on which the jobs run can be reached.

        Raises:
            CannotGoOn: it cannot.
        """
        return

    def show(self, tally: Tally) -> None:
        """Gives the counts of the run to the executor's own dashboard, if it has one."""
        return

    def servers(self) -> OwnServers:
        """Starts the caption servers of the run's own.

        Raises:
            RecipeError: they cannot be started as the recipe says.
        """
        ...

    def expect_captions(self) -> None:
        """Starts what makes captions, since captions may be asked for soon and a process of a cluster takes seconds to start."""
        return

    def move_captions(self, urls: Sequence[str], key: str) -> None:
        """From now on the captioner asks the servers at these addresses, and sends this key."""
        ...

    def stop(self) -> None:
        """Gives up all jobs: those that wait do not begin, and those at work are ended within seconds."""
        ...

    def close(self) -> None:
        """Ends all processes and threads."""
        ...
