"""Jobs on this machine: threads that lend guarded children, processes that hold models, and one event loop for captions."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from rushes.captions.event_loop import EventLoop
from rushes.captions.serving.fleet import LOOPBACK, Fleet, OwnServers
from rushes.captions.serving.launch import PORTS, Launch, gpu_shares, launch
from rushes.engine.executor import Executor
from rushes.engine.jobs import Attempt, Caption, Identify, Job, Outcome, Score, Setup, VideoJob, key_of, log_stage
from rushes.engine.score_worker import ScoreWorker, devices
from rushes.engine.stages import resources
from rushes.engine.work.captions import AHEAD, Captioner
from rushes.engine.work.identify import THREADS_PER_CORE, identify
from rushes.engine.worker import Failures, Worker, worker_count
from rushes.machine import cores, cuda_devices
from rushes.media.guard import Stopped
from rushes.recipe import Recipe

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


class Local(Executor):
    """The executor of this machine. It starts threads, children and the event loop of captions when a job first needs them. There are no
    `failures`, where failed attempts are recorded, where only identities are read.
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
        self._workers = _Lent(self._new_worker, self._stop)
        self._scorers = _Lent(lambda n: ScoreWorker(setup, self._stop, self._devices[n]), self._stop)
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

    def servers(self) -> OwnServers:
        """See `Executor`: one for each share of this machine's GPUs."""
        return Fleet(self._recipe.captions, shares_here(self._recipe))

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
        self._workers.kill()
        self._scorers.kill()
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
        with self._workers.one() as worker:
            self._decoding[key] = 0.0
            try:
                return worker.do(job, attempt, lambda seconds: self._decoding.__setitem__(key, seconds))
            finally:
                del self._decoding[key]

    def _score(self, job: Score) -> Outcome:
        with self._scorers.one() as scorer:
            return scorer.do(job)

    def _new_worker(self, _n: int) -> Worker:
        assert self._failures is not None
        return Worker(self._setup, self._failures, self._stop)


W = TypeVar("W", bound=Worker | ScoreWorker)


class _Lent(Generic[W]):
    """Workers that threads borrow. One is made when a thread finds none idle, so there are at most as many as threads.

    Args:
        make: makes the n-th worker, from 0.
        stop: set when none is to be lent any more.
    """

    def __init__(self, make: Callable[[int], W], stop: threading.Event) -> None:
        self._make = make
        self._stop = stop
        self._all: list[W] = []
        self._numbers = itertools.count()
        self._idle: queue.LifoQueue[W] = queue.LifoQueue()

    @contextmanager
    def one(self) -> Iterator[W]:
        """Lends a worker.

        Raises:
            Stopped: none is lent any more.
        """
        if self._stop.is_set():
            raise Stopped
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            worker = self._make(next(self._numbers))
            self._all.append(worker)
        try:
            yield worker
        finally:
            self._idle.put(worker)

    def kill(self) -> None:
        """Ends the children of all workers at once."""
        for worker in self._all:
            worker.kill()
