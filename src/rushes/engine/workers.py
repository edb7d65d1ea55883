"""The pool of guarded children of a session, lent to one thread at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rushes.engine.machine import cores, memory_bytes
from rushes.engine.quarantine import described
from rushes.errors import CrashError, HangError, MemoryError_
from rushes.log import note
from rushes.media.guard import Child
from rushes.recipe import ScanSettings

MODULE = "rushes.engine.child"


def worker_count(settings: ScanSettings, cpus: int | None = None) -> int:
    """Children of one session: videos decoded at once on this machine.

    By default as many as cores, and no more than have room for their memory limit side by side.

    Args:
        settings: number of workers, memory limit.
        cpus: cores that the cluster grants on this node; default: those that this process may use.
    """
    room = int(memory_bytes() / (settings.memory_gib * 2**30))
    return settings.workers or max(1, min(cpus or cores(), room))


class Workers:
    """Children of one session.

    Args:
        settings: time and memory limits.
        count: number of children.
        setup: store, recipe and run id, as JSON-ready values; sent to each child before its first job.
        stop: set when the run is to stop; jobs under way are then given up.
    """

    def __init__(self, settings: ScanSettings, count: int, setup: Mapping[str, Any], stop: threading.Event) -> None:
        self._setup = {**setup, "kind": "setup"}
        self._ready: dict[int, int | None] = {}
        self._idle: queue.LifoQueue[Child] = queue.LifoQueue()
        limit = int(settings.memory_gib * 2**30)
        self._children = [Child(MODULE, hang_s=settings.hang_s, memory_bytes=limit, stop=stop) for _ in range(count)]
        for child in self._children:
            self._idle.put(child)

    @contextmanager
    def lent(self) -> Iterator[Child]:
        """A free child, as soon as there is one."""
        child = self._idle.get()
        try:
            yield child
        finally:
            self._idle.put(child)

    def do(self, child: Child, job: Mapping[str, Any], progress: Callable[[float], object]) -> dict[str, Any]:
        """Does a job in a lent child: the child's `{"done": ...}` or `{"error": ...}`, also when the child dies of it.

        Raises:
            Stopped: the run is stopping.
        """
        try:
            if child.pid is None or self._ready.get(id(child)) != child.pid:
                answer = child.do(self._setup, uri=job["uri"])
                if "error" in answer:
                    return answer
                self._ready[id(child)] = child.pid
            return child.do(dict(job), uri=job["uri"], progress=progress)
        except (HangError, MemoryError_, CrashError) as error:
            note(
                "child ended", run_id=self._setup["run_id"], stage=str(job["kind"]), level="warning", key=job.get("video_id"),
                uri=job["uri"], error_type=type(error).__name__.rstrip("_"),
            )  # fmt: skip
            return {"error": described(error)}

    def close(self) -> None:
        """Ends all children."""
        for child in self._children:
            child.kill()
