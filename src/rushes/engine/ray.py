"""Jobs on a Ray cluster. Only this file, `ray_tasks.py`, `ray_servers.py` and `ray_cluster.py` import Ray.

Each job is a task of its own, named after what it does (`scan`, `segment`, `cut` ...), or a call of an actor: of the one captioner
(`caption`), or of one that holds models (`score`). What runs in the processes of the cluster is in `ray_processes.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from rushes.captions.serving.fleet import OwnServers
from rushes.counts.tally import Tally
from rushes.engine.executor import Executor, WorkerDied
from rushes.engine.jobs import Attempt, Caption, Identify, Job, Outcome, Score, Setup
from rushes.engine.ray_processes import CaptionActor, ScoreActor, do_job, read_identities
from rushes.engine.ray_servers import RayServers
from rushes.engine.ray_tasks import RayTasks, cause, remote, stated
from rushes.engine.stages import STAGES, resources
from rushes.engine.work.captions import AHEAD
from rushes.ray_cluster import NAMESPACE

MODELS_IDLE_S = 60.0
"""How long an actor that holds models stays without a job. It keeps its CPUs and its GPU meanwhile, which other jobs may be waiting for; to
load models again takes seconds to minutes."""


@dataclass(slots=True)
class _Held:
    """What is known of an actor that holds models: the jobs that it has, and since when it has as many."""

    jobs: int = 0
    since: float = 0.0


class OnRay(RayTasks, Executor):
    """The executor of a cluster that this process has joined (`ray_cluster.join`)."""

    chunk = 256
    """Files of one job that reads identities: at most 1 GiB, ten seconds at 100 MB/s."""

    def __init__(self, setup: Setup) -> None:
        import ray

        super().__init__(setup.recipe)
        self._setup = ray.put(setup)
        self._run_id = setup.run_id
        self._task, self._reading = remote(do_job), remote(read_identities)
        self._captioner: Any = None
        self._moved: tuple[int, Sequence[str], str] = (0, (), "")
        """How often the captioner was told where the run's own caption servers are; their addresses and key."""
        self._scorers: dict[Any, _Held] = {}
        self._counting = threading.Lock()
        """Held while `_scorers` and the jobs of these are counted: threads of Ray tell what has ended."""
        self._gauges: _Gauges | None = None

    def submit(self, job: Job, attempt: Attempt) -> Future[Outcome]:
        """See `Executor`."""
        if isinstance(job, Caption):
            actor = self._captioner_actor()
            return self._called(actor.caption.options(name="caption").remote(job, self._moved[0]), actor)
        if isinstance(job, Score):
            actor = self._scorer()
            return self._called(actor.score.options(name="score").remote(job), actor)
        how = {"stage": job.stage, "name": name_of(job)}
        if isinstance(job, Identify):
            return self.run(self._reading, job, self._recipe.storage, **how)
        return self.run(self._task, self._setup, job, attempt, **how)

    def room(self, stage: str) -> int:
        """See `Executor`."""
        return AHEAD * resources(self._recipe, stage).concurrency if stage == "captions" else super().room(stage)

    def slots(self, stage: str) -> int:
        """See `Executor`."""
        needs = resources(self._recipe, stage)
        if stage == "captions":
            return needs.concurrency
        if stage == "scores" and not needs.gpus:  # without a GPU one process holds the models, unless the recipe says otherwise
            return needs.concurrency or 1
        return super().slots(stage)

    def show(self, tally: Tally) -> None:
        """See `Executor`: Ray's metrics get the busy seconds and slots of each stage."""
        self._end_idle_scorers()
        self._gauges = self._gauges or _Gauges()
        self._gauges.show(self._run_id, tally)

    def servers(self) -> OwnServers:
        """See `Executor`: one replica an actor."""
        return RayServers(self._setup, self._recipe, self._total.get("GPU", 0.0))

    def expect_captions(self) -> None:
        """See `Executor`."""
        self._captioner_actor()

    def move_captions(self, urls: Sequence[str], key: str) -> None:
        """See `Executor`."""
        self._moved = (self._moved[0] + 1, urls, key)
        self._captioner_actor().move.remote(*self._moved)

    def _actors(self) -> list[Any]:
        return [*([] if self._captioner is None else [self._captioner]), *self._scorers]

    def _captioner_actor(self) -> Any:
        import ray

        if self._captioner is None:
            needs = resources(self._recipe, "captions")
            if self._recipe.captions.engine == "serve":  # then the resources are those of each server
                needs = needs.model_copy(update={"cpus": 0.0, "gpus": 0.0, "memory_gib": 0.0})
            options = {**stated(needs), "max_concurrency": AHEAD * needs.concurrency + 1, "max_restarts": 0, "namespace": NAMESPACE}
            self._captioner = ray.remote(CaptionActor).options(**options).remote(self._setup)
            if self._moved[0]:
                self._captioner.move.remote(*self._moved)
        return self._captioner

    def _scorer(self) -> Any:
        """The actor that is to take the next job of scores: one without a job, else a new one while there may be more, else the one with
        the fewest jobs.
        """
        import ray

        with self._counting:
            least = min(self._scorers, key=lambda actor: self._scorers[actor].jobs, default=None)
            if least is None or (self._scorers[least].jobs and len(self._scorers) < self.slots("scores")):
                options = {**stated(resources(self._recipe, "scores")), "max_restarts": 0, "namespace": NAMESPACE}
                least = ray.remote(ScoreActor).options(**options).remote(self._setup)
                self._scorers[least] = _Held()
            self._scorers[least].jobs += 1
            return least

    def _end_idle_scorers(self) -> None:
        """Ends actors that have had no job for `MODELS_IDLE_S`."""
        import ray

        with self._counting:
            idle = [actor for actor, held in self._scorers.items() if not held.jobs and time.monotonic() - held.since > MODELS_IDLE_S]
            for actor in idle:
                del self._scorers[actor]
        for actor in idle:
            ray.kill(actor)

    def _called(self, ref: Any, actor: Any) -> Future[Outcome]:
        """The future of a call of an actor. It opens no video: all that it held is asked for again, of another one where it has died."""
        from ray import exceptions

        def met(error: BaseException | None) -> BaseException | None:
            with self._counting:
                if (held := self._scorers.get(actor)) is not None:
                    held.jobs, held.since = held.jobs - 1, time.monotonic()
            died = cause(error) if error is not None else None
            if not isinstance(died, WorkerDied):
                return died
            if isinstance(error, exceptions.ActorDiedError) and not self._stopped:
                self._captioner = None if actor is self._captioner else self._captioner
                with self._counting:
                    self._scorers.pop(actor, None)
            return WorkerDied(str(died), blame=False)

        return self._future(ref, met)


def name_of(job: Job) -> str:
    """The name of a job on Ray's dashboard: for stages of clips the one in the list of stages, else the kind of job."""
    stage = job.stage
    return next((s.job for s in STAGES if s.name == stage and s.row == "clip"), job.kind)


class _Gauges:
    """Ray's metrics of a run, by stage."""

    def __init__(self) -> None:
        from ray.util.metrics import Gauge

        self._busy = Gauge("rushes_busy_seconds", "busy seconds so far", tag_keys=("run_id", "stage"))
        self._capacity = Gauge("rushes_capacity", "jobs of a stage that can be at work at once", tag_keys=("run_id", "stage"))

    def show(self, run_id: str, tally: Tally) -> None:
        for gauge, by_stage in ((self._busy, tally.busy_s), (self._capacity, tally.capacity)):
            for stage, value in by_stage.items():
                gauge.set(value, {"run_id": run_id, "stage": stage})
