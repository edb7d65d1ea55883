"""Who cuts the clips of a target: guarded children of this machine, or tasks of a Ray cluster, each with a guarded child on its node.

A job is what `operators.child.cut_video` takes: clips of one video. The driver keeps a window of jobs with a cutter, takes their files in
the order in which it submitted them, and is the only process that commits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from rushes.engine.executor import WorkerDied
from rushes.engine.jobs import FAILURE
from rushes.engine.loop import LOSSES
from rushes.errors import Failure, WorkerLost
from rushes.media import storage
from rushes.media.address import local_path, public_uri
from rushes.operators.children import Children, Failed
from rushes.publish.cut_on_node import Holder, cut_on_node
from rushes.recipe import Recipe
from rushes.records import Row

if TYPE_CHECKING:
    from rushes.media.storage import Options

AHEAD = 2
"""Jobs with the children of this machine at once, as a multiple of these, so that a child that ends a job finds the next one."""


@dataclass(slots=True, eq=False)
class Cutting:
    """A job that a cutter has.

    Attributes:
        job: what is to be cut.
        future: ends when the clips are cut.
        parts: on Ray, references of the bytes of files.
        deaths: processes that died at work on it, of which it may be the cause.
        losses: times that it lost its machine.
    """

    job: dict[str, Any]
    future: Future[Any]
    parts: Sequence[Any] = ()
    deaths: int = 0
    losses: int = 0


class Cutter(Protocol):
    """Cuts clips. Used by one thread."""

    @property
    def slots(self) -> int:
        """Jobs that can be at work at once."""
        ...

    @property
    def room(self) -> int:
        """Jobs that it may have at once: more than can be at work, so that none waits for the driver."""
        ...

    def submit(self, job: dict[str, Any]) -> Cutting:
        """Takes a job."""
        ...

    def take(self, cutting: Cutting) -> list[Row] | None:
        """The clips of a job, the fields of `media.clip_span.CutResult`, with their files in the job's folder; None while it is at work.

        Raises:
            Failed: none of its clips can be cut. CannotGoOn: the fault is not theirs. Stopped: it was given up.
        """
        ...

    def look(self) -> None:
        """Looks after the jobs, a few times a second: one whose process died is begun again.

        Raises:
            CannotGoOn: the machines cannot be reached.
        """
        ...

    def close(self) -> None:
        """Gives up the jobs that it has, and ends all processes."""
        ...


class Here:
    """Guarded children of this machine: as many as the CPUs, the memory and the concurrency of `[resources.scan]` allow.

    Args:
        recipe: limits of the children.
        step: what files are made for, as errors name it.
    """

    def __init__(self, recipe: Recipe, step: str) -> None:
        from rushes.engine.worker import worker_count

        self.slots = worker_count(recipe)
        self.room = AHEAD * self.slots
        self._step = step
        self._children = Children(recipe.scan)
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix=step)

    def submit(self, job: dict[str, Any]) -> Cutting:
        """See `Cutter`."""
        return Cutting(job, self._pool.submit(self._children.do, job, uri=job["uri"], step=self._step))

    def take(self, cutting: Cutting) -> list[Row] | None:
        """See `Cutter`."""
        if not cutting.future.done():
            return None
        found: list[Row] = cutting.future.result()["files"]
        return found

    def look(self) -> None:
        """See `Cutter`: this machine is there, and a child that dies fails its job."""

    def close(self) -> None:
        """See `Cutter`."""
        self._children.close()
        self._pool.shutdown(cancel_futures=True)


class OnCluster:
    """Tasks of a Ray cluster, which is joined now. They are called `cut`, and take what `[resources.files]` states.

    Where the folder of files is an object store, nodes write into it. Else their bytes come to the driver, a clip at a time when its turn
    comes; until then they lie with Ray, which puts on disk what its shared memory has no room for.

    Args:
        recipe: names the cluster; limits of the children, resources of the tasks, and `scan.attempts`.
        options: of the folder's filesystem.
        holder: who holds the target's lease.
        step: what files are made for, as errors name it.
        stop: whether the work was interrupted.

    Raises:
        MissingExtra, UsageError, CannotGoOn: the cluster cannot be joined. Stopped: it was interrupted meanwhile.
    """

    def __init__(self, recipe: Recipe, options: Options, holder: Holder, step: str, stop: Callable[[], bool]) -> None:
        from rushes import ray_cluster
        from rushes.engine.ray_tasks import RayTasks, remote

        ray_cluster.join(recipe.engine.ray_address, stop)
        self._recipe, self._options, self._holder, self._step = recipe, options, holder, step
        self._tasks = RayTasks(recipe)
        self._task = remote(cut_on_node)
        self._at_work: list[Cutting] = []

    @property
    def slots(self) -> int:
        """See `Cutter`."""
        return self._tasks.slots("files")

    @property
    def room(self) -> int:
        """See `Cutter`."""
        return self._tasks.room("files")

    def submit(self, job: dict[str, Any]) -> Cutting:
        """See `Cutter`."""
        cutting = Cutting(job, *self._begun(job))
        self._at_work.append(cutting)
        return cutting

    def _begun(self, job: dict[str, Any]) -> tuple[Future[Any], Sequence[Any]]:
        sent = {name: value for name, value in job.items() if name != "folder" or local_path(value) is None}
        parts = 1 + len(job["spans"])
        return self._tasks.run_parts(self._task, self._recipe, self._holder, sent, self._step, parts=parts, stage="files", name="cut")

    def take(self, cutting: Cutting) -> list[Row] | None:
        """See `Cutter`."""
        if not cutting.future.done() or self._died(cutting):
            return None
        answer = cutting.future.result()
        if "error" in answer:
            self._at_work.remove(cutting)
            raise Failed(FAILURE.validate_python(answer["error"]))
        try:
            files = [self._brought(file, cutting.job["folder"], part) for file, part in zip(answer["files"], cutting.parts, strict=True)]
        except WorkerDied as lost:
            self._again(cutting, lost)
            return None
        self._at_work.remove(cutting)
        return files

    def _brought(self, file: Row, folder: str, part: Any) -> Row:
        """A file of the job's folder; its bytes are fetched where that is on this machine."""
        if not file["uri"] or local_path(folder) is None:
            return file
        uri = f"{folder}/{file['uri']}"
        storage.put_atomic(uri, self._tasks.fetched(part), self._options)
        return {**file, "uri": uri}

    def look(self) -> None:
        """See `Cutter`."""
        self._tasks.check()
        for cutting in list(self._at_work):
            self._died(cutting)

    def _died(self, cutting: Cutting) -> bool:
        """Whether the process of a job has died; the job is then begun again."""
        error = cutting.future.exception() if cutting.future.done() else None
        if isinstance(error, WorkerDied):
            self._again(cutting, error)
            return True
        return False

    def _again(self, cutting: Cutting, died: WorkerDied) -> None:
        """Begins a job again whose process or machine is gone; one that it happens to too often has failed."""
        cutting.deaths, cutting.losses = cutting.deaths + died.blame, cutting.losses + (not died.blame)
        if cutting.deaths < self._recipe.scan.attempts and cutting.losses <= LOSSES:
            cutting.future, cutting.parts = self._begun(cutting.job)
            return
        mend = "it may have taken the machine's memory; publish again to try again"
        what = f"the worker process died while it was at work on it: {died}"
        error = WorkerLost(what, uri=public_uri(cutting.job["uri"]), step=self._step, mend=mend)
        cutting.future = Future()
        cutting.future.set_result({"error": FAILURE.dump_python(replace(Failure.of(error), permanent=False), mode="json")})

    def close(self) -> None:
        """See `Cutter`. Tasks have some seconds to end; then their processes are ended."""
        self._tasks.stop()
        self._tasks.close()
