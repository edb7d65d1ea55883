"""Jobs on this machine: threads that lend guarded children, processes that hold models, and one event loop for captions."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rushes.captions.event_loop import EventLoop
from rushes.captions.serving.fleet import LOOPBACK, Fleet, OwnServers
from rushes.captions.serving.launch import PORTS, Launch, gpu_shares, launch
from rushes.counts.tally import Tally
from rushes.engine.jobs import Attempt, Caption, Identify, Job, Outcome, Score, Setup, VideoJob, key_of, log_stage
from rushes.engine.score_worker import ScoreWorker, devices
from rushes.engine.stages import resources
from rushes.engine.work.captions import AHEAD, Captioner
from rushes.engine.work.identify import THREADS_PER_CORE, identify
from rushes.engine.worker import Failures, Worker, worker_count
from rushes.machine import cores, cuda_devices
from rushes.media.guard import Stopped
from rushes.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

SUBMITTED = 2
"""Jobs that the threads have at once, as a multiple of the children, so that a child that ends a job finds the next one."""


def shares_here(recipe: Recipe) -> list[str | None]:
    """The GPUs of each caption server that is started on this machine; see `gpu_shares`."""
    return gpu_shares(cuda_devices(), resources(recipe, "captions").gpus, recipe.captions.servers)


def check_servers(recipe: Recipe) -> Launch:
    """Makes sure that caption servers can be started on this machine; gives the command of one.

    Raises:
        RecipeError: they cannot be started as the recipe says.
    """
    devices = shares_here(recipe)[0]
    return launch(recipe.captions, host=LOOPBACK, port=PORTS[0], key="", devices=devices)


class Local:
    """The executor of this machine. It starts threads, children and the event loop of captions when a job first needs them.

    Args:
        setup: the run.
        failures: where failed attempts are recorded; None where only identities are read.
    """

    chunk = 1

    def __init__(self, setup: Setup, failures: Failures | None) -> None:
        self._setup = setup
        self._recipe = setup.recipe
        self._failures = failures
        self._n_workers = worker_count(self._recipe)
        self._devices = devices(self._recipe)
        self._n_readers = THREADS_PER_CORE * cores()
        self._stop = threading.Event()
        self._workers: list[Worker] = []
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._scorers: list[ScoreWorker] = []
        self._idle_scorers: queue.LifoQueue[ScoreWorker] = queue.LifoQueue()
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._captions: tuple[EventLoop, Captioner] | None = None
        self._decoding: dict[str, float] = {}

    def submit(self, job: Job, attempt: Attempt) -> Future[Outcome]:
        """See `Executor`."""
        if isinstance(job, Caption):
            loop, captioner = self._captioner()
            return loop.submit(captioner.caption(job))
        if isinstance(job, Score):
            return self._pool("scores", len(self._devices)).submit(self._score, job)
        if isinstance(job, Identify):
            return self._pool("identify", self._n_readers).submit(identify, job, self._recipe.storage)
        return self._pool("jobs", self._n_workers).submit(self._do, job, attempt)

    def room(self, stage: str) -> int:
        """See `Executor`."""
        if stage == "captions":
            return AHEAD * self.slots(stage)
        limit = 0 if stage in ("scan", "scores", "identify") else resources(self._recipe, stage).concurrency
        return min(SUBMITTED * self.slots(stage), limit or SUBMITTED * self.slots(stage))

    def slots(self, stage: str) -> int:
        """See `Executor`."""
        if stage == "identify":
            return self._n_readers
        if stage == "scores":
            return len(self._devices)
        limit = resources(self._recipe, stage).concurrency
        return limit if stage == "captions" else min(self._n_workers, limit or self._n_workers)

    def decoding(self) -> Mapping[str, float]:
        """See `Executor`."""
        return dict(self._decoding)

    def check(self) -> None:
        """See `Executor`: this machine is there."""

    def show(self, tally: Tally) -> None:
        """See `Executor`: there is no dashboard."""

    def servers(self) -> OwnServers:
        """See `Executor`: one for each share of this machine's GPUs."""
        return Fleet(self._recipe.captions, shares_here(self._recipe))

    def expect_captions(self) -> None:
        """See `Executor`: this process makes them."""

    def move_captions(self, urls: Sequence[str], key: str) -> None:
        """See `Executor`."""
        loop, captioner = self._captioner()
        loop.call(captioner.move(urls, key))

    def stop(self) -> None:
        """See `Executor`. Children are ended within a quarter of a second."""
        self._stop.set()
        if self._captions is not None:
            self._captions[0].cancel()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """See `Executor`."""
        self.stop()
        for worker in self._workers:
            worker.kill()
        for scorer in self._scorers:
            scorer.kill()
        if self._captions is not None:
            loop, captioner = self._captions
            loop.call(captioner.close())
            loop.close()

    def _pool(self, name: str, threads: int) -> ThreadPoolExecutor:
        if name not in self._pools:
            self._pools[name] = ThreadPoolExecutor(threads, thread_name_prefix=name)
        return self._pools[name]

    def _captioner(self) -> tuple[EventLoop, Captioner]:
        if self._captions is None:
            self._captions = EventLoop(), Captioner(self._setup)
        return self._captions

    def _do(self, job: VideoJob, attempt: Attempt) -> Outcome:
        key = f"{log_stage(job)}:{key_of(job)}"
        with self._lent() as worker:
            self._decoding[key] = 0.0
            try:
                return worker.do(job, attempt, lambda seconds: self._decoding.__setitem__(key, seconds))
            finally:
                del self._decoding[key]

    def _score(self, job: Score) -> Outcome:
        if self._stop.is_set():
            raise Stopped
        try:
            scorer = self._idle_scorers.get_nowait()
        except queue.Empty:  # as many threads as devices: each makes one
            scorer = ScoreWorker(self._setup, self._stop, self._devices[len(self._scorers)])
            self._scorers.append(scorer)
        try:
            return scorer.do(job)
        finally:
            self._idle_scorers.put(scorer)

    @contextmanager
    def _lent(self) -> Iterator[Worker]:
        if self._stop.is_set():
            raise Stopped
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:  # as many threads as workers: each makes one
            assert self._failures is not None
            worker = Worker(self._setup, self._failures, self._stop)
            self._workers.append(worker)
        try:
            yield worker
        finally:
            self._idle.put(worker)
