"""What runs in the processes of a Ray cluster: tasks, whose process keeps a guarded child between them, and the actors for captions and for
scores. Ray itself is not imported here.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from rushes.engine.jobs import Attempt, Caption, Identify, Outcome, Score, Setup, VideoJob
from rushes.engine.score_worker import VISIBLE, ScoreWorker
from rushes.engine.work.captions import Captioner
from rushes.engine.work.identify import identify
from rushes.engine.worker import Failures, Worker
from rushes.errors import StorageError, StoreBusy
from rushes.log import collect
from rushes.media.storage import Options
from rushes.no_pandas import keep_pandas_out
from rushes.store.lease import OwnerCheck
from rushes.store.store import Store

IDLE_S = 5.0
"""How long a worker process keeps its child without a job, and how often a job looks whether its run still holds the store: when the head
of a cluster is gone, the processes of other nodes do not learn from Ray that the driver has ended."""

UNBEGUN_S = 60.0
"""How long models stay loaded for a run that does not hold its store yet, and may have ended without this process learning of it."""


def owner_check(setup: Setup) -> OwnerCheck:
    """Tells a process whether its run still holds the store: where the head of the cluster is gone, nothing else does."""
    return OwnerCheck(Store(setup.store, setup.recipe.storage), setup.owner, IDLE_S)


class BetweenTasks:
    """The children that a worker process of Ray keeps between its tasks.

    Args:
        end: ends them; a task that needs one starts it again.
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._working = threading.Lock()
        self._idle: threading.Timer | None = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around the work of a task. Children end with it where it is cut short, and when there is no other task for `IDLE_S`."""
        if self._idle is not None:
            self._idle.cancel()
        with self._working:
            done = False
            try:
                yield
                done = True
            finally:
                if not done:  # cancelled (KeyboardInterrupt), or the run has lost the store
                    self._end()
        self._idle = threading.Timer(IDLE_S, self._end_idle)
        self._idle.daemon = True
        self._idle.start()

    def _end_idle(self) -> None:
        if self._working.acquire(blocking=False):
            self._end()
            self._working.release()


class _Held:
    """What a worker process of Ray keeps between the tasks of one run."""

    def __init__(self, setup: Setup) -> None:
        self._run_holds_the_store = owner_check(setup)
        self._collector = collect()
        self._worker = Worker(setup, Failures(setup, setup.gated_store()), threading.Event())
        self._between = BetweenTasks(self._worker.kill)
        self._gpus = os.environ.get(VISIBLE)

    def do(self, job: VideoJob, attempt: Attempt) -> Outcome:
        """One attempt."""
        with self._between.at_work():
            if self._gpus != os.environ.get(VISIBLE):  # Ray gave this process another GPU than its child was started with
                self._worker.kill()
                self._gpus = os.environ.get(VISIBLE)
            outcome = self._worker.do(job, attempt, lambda _seconds: self._run_holds_the_store())
        return replace(outcome, events=self._collector.take())

    def close(self) -> None:
        """Ends the child, and stops collecting log events."""
        self._worker.kill()
        self._collector.close()


_HELD: dict[str, _Held] = {}
"""What this process keeps, by run id: one entry at most, since a worker process serves one driver, which makes one run at a time."""


def do_job(setup: Setup, job: VideoJob, attempt: Attempt) -> Outcome:
    """One task: an attempt at a job, in the guarded child of this process."""
    if setup.run_id not in _HELD:
        for other in list(_HELD):  # a program may make one run after the other
            _HELD.pop(other).close()
        _HELD[setup.run_id] = _Held(setup)
    return _HELD[setup.run_id].do(job, attempt)


def read_identities(job: Identify, options: Options) -> Outcome:
    """One task: computes the `video_id` of some files."""
    return identify(job, options)


class CaptionActor:
    """The one captioner of a run: many calls at once, at most `resources.captions.concurrency` requests under way."""

    def __init__(self, setup: Setup) -> None:
        keep_pandas_out()
        import openai  # noqa: F401 -- it takes 0.7 s of CPU, which the first clips would wait for

        self._collector = collect()
        self._captioner = Captioner(setup)
        self._newest_move = 0
        self._moving = asyncio.Condition()

    async def caption(self, job: Caption, move: int = 0) -> Outcome:
        """See `Captioner.caption`. `move`: the number of the newest call of `move` that was made before this one."""
        async with self._moving:
            await self._moving.wait_for(lambda: self._newest_move >= move)
        return replace(await self._captioner.caption(job), events=self._collector.take())

    async def move(self, number: int, urls: Sequence[str], key: str) -> None:
        """See `Captioner.move`. Ray does not run the calls of an asynchronous actor in their order, so they are numbered from 1, and one
        that comes after a later one says nothing.
        """
        async with self._moving:
            if number > self._newest_move:
                self._newest_move = number
                await self._captioner.move(urls, key)
                self._moving.notify_all()


class ScoreActor:
    """Holds the models of a run on the device that Ray gave it; one call at a time."""

    def __init__(self, setup: Setup) -> None:
        self._run_holds_the_store = owner_check(setup)
        self._collector = collect()
        self._worker = ScoreWorker(setup, threading.Event())
        self._working = threading.Lock()
        self._idle_since = time.monotonic()
        threading.Thread(target=self._watch, name="lease", daemon=True).start()

    def score(self, job: Score) -> Outcome:
        """See `ScoreWorker.do`."""
        with self._working:
            outcome = None
            try:
                outcome = self._worker.do(job, self._run_holds_the_store)
            finally:
                self._idle_since = time.monotonic()
                if outcome is None:  # the child died, or the run has lost the store
                    self._worker.kill()
        return replace(outcome, events=(*outcome.events, *self._collector.take()))

    def _watch(self) -> None:
        """Ends a child without a job when the run has lost the store. Models are loaded before the run holds it: a child ends then that has
        had no job for `UNBEGUN_S`. It is started again if there is a job after all.
        """
        held = False
        while True:
            time.sleep(IDLE_S)
            try:
                self._run_holds_the_store()
                held = True
            except StoreBusy:
                if self._working.acquire(blocking=False):
                    if held or time.monotonic() - self._idle_since > UNBEGUN_S:
                        self._worker.kill()
                    self._working.release()
            except StorageError:  # it is asked again
                continue
