"""Tasks of a Ray cluster that this process has joined: what the jobs of a run and the cutting of clips for a target have in common.

A task has `max_retries=0` and a name. Ray places it by the CPUs, GPUs and memory that a stage states, asks an autoscaler for nodes while
tasks wait, reports when a worker or a node died, and ends all tasks when the driver dies.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rushes.engine.executor import WorkerDied
from rushes.engine.stages import resources
from rushes.errors import CannotGoOn
from rushes.media.guard import Stopped
from rushes.ray_cluster import check, stay_connected
from rushes.recipe import Recipe, StageResources

SUBMITTED = 2
"""Tasks submitted and not ended, as a multiple of what the cluster can do at once: no node waits for the driver, and an autoscaler sees
that more nodes would help."""
LOOK_EVERY_S = 1.0
"""How often the driver asks what the cluster has: a node that joins gets work within this time."""
STOP_WITHIN_S = 3.0
"""How long a cancelled task may take to end by itself before its process is ended."""


class RayTasks:
    """Submits tasks, and says how many of them find room. The recipe's `[resources]` say what a task of each stage takes."""

    def __init__(self, recipe: Recipe) -> None:
        import ray

        self._recipe = recipe
        self._under_way: dict[Any, bool] = {}
        """Reference of what has not ended -> whether it is a call of an actor, which Ray cannot end by force; else it is a task."""
        self._total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self._over = threading.Event()
        threading.Thread(target=self._look, name="resources", daemon=True).start()
        self._stopped = False

    def run(self, task: Any, *args: Any, stage: str, name: str) -> Future[Any]:
        """Submits a task that takes the resources of a stage; `name`: what Ray's dashboard calls it. The future may end with `WorkerDied`,
        or with `Stopped` when `stop` was called meanwhile.
        """
        return self._future(self._begun(task, *args, stage=stage, name=name))

    def run_parts(self, task: Any, *args: Any, parts: int, stage: str, name: str) -> tuple[Future[Any], list[Any]]:
        """As `run`, of a task that yields so many things: the future of the first one, and Ray's references of the others."""
        first, *others = self._begun(task, *args, stage=stage, name=name, num_returns=parts)
        return self._future(first), others

    def fetched(self, part: Any) -> Any:
        """What a reference of `run_parts` stands for.

        Raises:
            WorkerDied: it is lost, with the machine that held it.
        """
        import ray

        try:
            return ray.get(part)
        except ray.exceptions.RayError as error:
            raise cause(error) from error

    def _begun(self, task: Any, *args: Any, stage: str, name: str, **more: Any) -> Any:
        options = {**stated(resources(self._recipe, stage)), "name": name, "scheduling_strategy": "SPREAD", **more}
        return task.options(**options).remote(*args)

    def room(self, stage: str) -> int:
        """See `Executor`."""
        return min(SUBMITTED * self.slots(stage), resources(self._recipe, stage).concurrency or SUBMITTED * self.slots(stage))

    def slots(self, stage: str) -> int:
        """See `Executor`. One where the cluster has not what a job takes: a task that waits is what an autoscaler sees."""
        needs = resources(self._recipe, stage)
        have, memory = self._total, needs.memory_gib * 2**30
        asked = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": memory}
        by_resource = [int(have.get(name, 0.0) / amount) for name, amount in asked.items() if amount]
        n = max(1, min(by_resource, default=int(have.get("CPU", 1.0))))
        return min(n, needs.concurrency or n)

    def check(self) -> None:
        """See `Executor`."""
        check()

    def stop(self) -> None:
        """See `Executor`. Tasks are asked to end; `close` ends those that do not."""
        import ray

        if not self._stopped and self._is_there():
            for ref in list(self._under_way):
                ray.cancel(ref, force=False, recursive=False)
            for actor in self._actors():
                ray.kill(actor)
        self._stopped = True

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
        """Actors that end with this."""
        return []

    def _is_there(self) -> bool:
        """Whether the cluster can be reached. If not, calls of Ray would block."""
        try:
            check()
        except CannotGoOn:
            stay_connected()
            return False
        return True

    def _look(self) -> None:
        """Asks every `LOOK_EVERY_S` what the cluster has; in a thread of its own, since the call blocks when the head is away."""
        import ray

        while not self._over.wait(LOOK_EVERY_S):
            self._total = ray.cluster_resources()  # type: ignore[no-untyped-call]

    def _future(self, ref: Any, met: Callable[[BaseException | None], BaseException | None] | None = None) -> Future[Any]:
        """The future of a task or call, in which Ray's errors about dead processes have become `WorkerDied` or `Stopped`.

        Args:
            ref: what Ray gave for it.
            met: of a call of an actor: called when it has ended, with Ray's error or None; gives what stands in the error's place, if
                anything does.
        """
        out: Future[Any] = Future()

        def take(theirs: Future[Any]) -> None:
            self._under_way.pop(ref, None)
            error = theirs.exception()
            instead = met(error) if met is not None else None
            if error is None:
                out.set_result(theirs.result())
            else:
                out.set_exception(Stopped() if self._stopped else instead or cause(error))

        self._under_way[ref] = met is not None
        ref.future().add_done_callback(take)
        return out


def remote(function: Callable[..., Any]) -> Any:
    """A function as a task that Ray does not try again by itself."""
    import ray

    return ray.remote(max_retries=0)(function)


def stated(needs: StageResources) -> dict[str, float]:
    """What Ray is told of the resources of a task or an actor."""
    memory = {"memory": int(needs.memory_gib * 2**30)} if needs.memory_gib else {}
    return {"num_cpus": needs.cpus, "num_gpus": needs.gpus, **memory}


def cause(error: BaseException) -> BaseException:
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
