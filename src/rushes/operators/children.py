"""The guarded children of one operator: started when they are needed, as many as threads call at once, ended with the operator."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rushes.errors import CannotGoOn, CrashError, Failure, HangError, MemoryError_, UsageError
from rushes.media.address import public_uri
from rushes.media.guard import Child, Stopped
from rushes.operators.from_engine import FAILURE
from rushes.operators.problem import closed
from rushes.recipe import ScanSettings

MODULE = "rushes.operators.child"


class Failed(Exception):
    """A job failed, and its file is at fault.

    Attributes:
        failure: why.
    """

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.what)


class Children:
    """Does jobs in guarded children. Pickles as its settings alone.

    Args:
        settings: time and memory limits.
    """

    def __init__(self, settings: ScanSettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._idle: queue.LifoQueue[Child] = queue.LifoQueue()
        self._end = weakref.finalize(self, _end, self._idle, self._stop)

    def __reduce__(self) -> tuple[type[Children], tuple[ScanSettings]]:
        return Children, (self._settings,)

    def do(self, job: Mapping[str, Any], *, uri: str, step: str, progress: Callable[[float], object] | None = None) -> dict[str, Any]:
        """What a child answers to a job on the file at `uri`. A thread that calls while all children are at work starts another one.

        Args:
            job: what `operators.child` does.
            uri: the file.
            step: what it is done for, as errors name it.
            progress: called several times a second while the child works; an error that it raises is raised here.

        Raises:
            Failed: the file is at fault: it is broken, or the child crashed, hung or took too much memory on it.
            CannotGoOn, UsageError: the fault is not the file's, so that every file would meet the error; or the operator is closed.
        """
        child = self._free(step)
        shown = public_uri(uri)
        try:
            answer = child.do(dict(job), uri=shown, progress=progress)
        except (HangError, MemoryError_, CrashError) as error:
            raise Failed(Failure.of(error)) from error
        except Stopped:
            raise closed(step) from None
        finally:
            self._idle.put(child)
            if self._stop.is_set():  # `close` came meanwhile and did not see this child
                _end(self._idle, self._stop)
        if "error" in answer:
            failure = FAILURE.validate_python(answer["error"])
            met = failure.error()
            if isinstance(met, CannotGoOn | UsageError):
                raise met
            raise Failed(replace(failure, uri=failure.uri or shown))
        done: dict[str, Any] = answer["done"]
        return done

    def _free(self, step: str) -> Child:
        if self._stop.is_set():
            raise closed(step)
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            limit = int(self._settings.memory_gib * 2**30)
            return Child(MODULE, hang_s=self._settings.hang_s, memory_bytes=limit, stop=self._stop)

    def end_idle(self) -> None:
        """Ends the children that are not at work; a job starts one again."""
        _end(self._idle)

    def close(self) -> None:
        """Ends all children; those at work within a quarter of a second."""
        self._end()


def _end(idle: queue.LifoQueue[Child], stop: threading.Event | None = None) -> None:
    if stop is not None:
        stop.set()
    while True:
        try:
            idle.get_nowait().kill()
        except queue.Empty:
            return
