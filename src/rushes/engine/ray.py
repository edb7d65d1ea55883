"""Jobs on a Ray cluster. Only this file, `ray_servers.py` and `ray_cluster.py` import Ray.

Each job is a task of its own with `max_retries=0`, named after what it does (`scan`, `segment`, `cut` ...), or a call of an actor: of the
one captioner (`caption`), or of one that holds models (`score`). Ray places it by the CPUs, GPUs and memory that its stage states, asks an
autoscaler for nodes while tasks wait, reports when a worker or a node died, and ends all tasks when the driver dies. What runs in the
processes of the cluster is in `ray_processes.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from rushes.captions.serving.fleet import OwnServers
from rushes.counts.tally import Tally
from rushes.engine.executor import WorkerDied
from rushes.engine.jobs import Attempt, Caption, Identify, Job, Outcome, Score, Setup, stage_of
from rushes.engine.ray_processes import CaptionActor, ScoreActor, do_job, read_identities
from rushes.engine.ray_servers import RayServers, stated
from rushes.engine.stages import STAGES, resources
from rushes.engine.work.captions import AHEAD
from rushes.errors import CannotGoOn
from rushes.media.guard import Stopped
from rushes.ray_cluster import NAMESPACE, check, stay_connected
from rushes.recipe import Recipe

SUBMITTED = 2
"""Tasks submitted and not ended, as a multiple of what the cluster can do at once: no node waits for the driver, and an autoscaler sees
that more nodes would help."""
LOOK_EVERY_S = 1.0
"""How often the driver asks what the cluster has: a node that joins gets work within this time."""
MODELS_IDLE_S = 60.0
"""How long an actor that holds models stays without a job. It keeps its CPUs and its GPU meanwhile, which other jobs may be waiting for; to
load models again takes seconds to minutes."""
STOP_WITHIN_S = 3.0
"""How long a cancelled task may take to end by itself before its process is ended."""


@dataclass(slots=True)
class _Held:
    """What is known of an actor that holds models: the jobs that it has, and since when it has as many."""

    jobs: int = 0
    since: float = 0.0


class OnRay:
    """The executor of a cluster that this process has joined (`ray_cluster.join`).

    Args:
        setup: the run.
    """

    chunk = 256
    """Files of one job that reads identities: at most 1 GiB, ten seconds at 100 MB/s."""

    def __init__(self, setup: Setup) -> None:
        import ray

        self._setup = ray.put(setup)
        self._run_id = setup.run_id
        self._recipe = Recipe.model_validate(setup.recipe)
        self._task = ray.remote(max_retries=0)(do_job)
        self._reading = ray.remote(max_retries=0)(read_identities)
        self._under_way: dict[Any, bool] = {}
        """Reference of what has not ended -> whether it is a call of an actor, which Ray cannot end by force; else it is a task."""
        self._captioner: Any = None
        self._moved: tuple[int, Sequence[str], str] = (0, (), "")
        """How often the captioner was told where the run's own caption servers are; their addresses and key."""
        self._scorers: dict[Any, _Held] = {}
        self._counting = threading.Lock()
        """Held while `_scorers` and the jobs of these are counted: threads of Ray tell what has ended."""
        self._total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self._over = threading.Event()
        threading.Thread(target=self._look, name="resources", daemon=True).start()
        self._stopped = False
        self._gauges: _Gauges | None = None

    def submit(self, job: Job, attempt: Attempt) -> Future[Outcome]:
        """See `Executor`."""
        if isinstance(job, Caption):
            actor = self._captioner_actor()
            return self._future(actor.caption.options(name="caption").remote(job, self._moved[0]), actor=actor)
        if isinstance(job, Score):
            actor = self._scorer()
            return self._future(actor.score.options(name="score").remote(job), actor=actor)
        stage = stage_of(job)
        options = {**stated(resources(self._recipe, stage)), "name": name_of(job), "scheduling_strategy": "SPREAD"}
        if isinstance(job, Identify):
            return self._future(self._reading.options(**options).remote(job, self._recipe.storage))
        return self._future(self._task.options(**options).remote(self._setup, job, attempt))

    def room(self, stage: str) -> int:
        """See `Executor`."""
        limit = resources(self._recipe, stage).concurrency
        if stage == "captions":
            return AHEAD * limit
        return min(SUBMITTED * self.slots(stage), limit or SUBMITTED * self.slots(stage))

    def slots(self, stage: str) -> int:
        """See `Executor`. One where the cluster has not what a job takes: a task that waits is what an autoscaler sees."""
        needs = resources(self._recipe, stage)
        if stage == "captions":
            return needs.concurrency
        have, memory = self._total, needs.memory_gib * 2**30
        asked = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": memory}
        by_resource = [int(have.get(name, 0.0) / amount) for name, amount in asked.items() if amount]
        n = max(1, min(by_resource, default=int(have.get("CPU", 1.0))))
        if stage == "scores" and not needs.gpus:  # without a GPU one process holds the models, unless the recipe says otherwise
            return needs.concurrency or 1
        return min(n, needs.concurrency or n)

    def decoding(self) -> Mapping[str, float]:
        """See `Executor`: nothing is known of a task before it ends."""
        return {}

    def check(self) -> None:
        """See `Executor`."""
        check()

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

    def stop(self) -> None:
        """See `Executor`. Tasks are asked to end; `close` ends those that do not."""
        import ray

        if not self._stopped and self._is_there():
            for ref in list(self._under_way):
                ray.cancel(ref, force=False, recursive=False)
            for actor in self._actors():
                ray.kill(actor)
        self._stopped = True

    def _is_there(self) -> bool:
        """Whether the cluster can be reached. If not, calls of Ray would block."""
        try:
            check()
        except CannotGoOn:
            stay_connected()
            return False
        return True

    def close(self) -> None:
        """See `Executor`."""
        import ray

        self._over.set()
        if not self._is_there():
            return
        deadline = time.monotonic() + STOP_WITHIN_S
        while self._under_way and time.monotonic() < deadline:
            time.sleep(0.05)
        for ref, is_call in list(self._under_way.items()):
            if not is_call:
                ray.cancel(ref, force=True, recursive=False)
        if self._under_way:
            stay_connected()
        for actor in self._actors():
            ray.kill(actor)

    def _actors(self) -> list[Any]:
        return [*([] if self._captioner is None else [self._captioner]), *self._scorers]

    def _look(self) -> None:
        """Asks every `LOOK_EVERY_S` what the cluster has; in a thread of its own, since the call blocks when the head is away."""
        import ray

        while not self._over.wait(LOOK_EVERY_S):
            self._total = ray.cluster_resources()  # type: ignore[no-untyped-call]

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

    def _future(self, ref: Any, actor: Any = None) -> Future[Outcome]:
        """The future of a task or call, in which Ray's errors about dead processes have become `WorkerDied` or `Stopped`."""
        from ray import exceptions

        out: Future[Outcome] = Future()

        def take(theirs: Future[Any]) -> None:
            self._under_way.pop(ref, None)
            with self._counting:
                if (held := self._scorers.get(actor)) is not None:
                    held.jobs, held.since = held.jobs - 1, time.monotonic()
            error = theirs.exception()
            if error is None:
                out.set_result(theirs.result())
                return
            died = _cause(error)
            if self._stopped:
                died = Stopped()
            elif isinstance(died, WorkerDied) and actor is not None:
                if isinstance(error, exceptions.ActorDiedError):
                    self._captioner = None if actor is self._captioner else self._captioner
                    with self._counting:
                        self._scorers.pop(actor, None)
                died = WorkerDied(str(died), blame=False)  # it opens no video; all that it held is asked for again
            out.set_exception(died)

        self._under_way[ref] = actor is not None
        ref.future().add_done_callback(take)
        return out


def name_of(job: Job) -> str:
    """The name of a job on Ray's dashboard: for stages of clips the one in the list of stages, else the kind of job."""
    stage = stage_of(job)
    return next((s.job for s in STAGES if s.name == stage and s.row == "clip"), job.kind)


def _cause(error: BaseException) -> BaseException:
    """What an error of Ray's means: `WorkerDied`; or the error that the work itself raised."""
    from ray import exceptions

    words = " ".join(str(error).split())
    if isinstance(error, exceptions.RayTaskError):
        return error.cause if isinstance(error.cause, Exception) else error
    dead = (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError, exceptions.ActorDiedError, exceptions.ActorUnavailableError)
    if isinstance(error, (*dead, exceptions.NodeDiedError)):
        by_node = isinstance(error, exceptions.NodeDiedError) or "node has died" in words.lower() or "node was" in words.lower()
        return WorkerDied(words[:300], blame=not by_node)
    if isinstance(error, (exceptions.UnserializableException, exceptions.RuntimeEnvSetupError)) or not isinstance(
        error, exceptions.RayError
    ):
        return error  # such as where the nodes have another version of Rushes than the driver: trying again would give the same
    return WorkerDied(words[:300], blame=False)


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
