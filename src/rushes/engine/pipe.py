"""Both ends of the pipe between a process of a run and a guarded child that does jobs.

The first message to a child is `{"setup": ...}`, each later one `{"job": ...}`. The last line of each answer is `{"done": outcome}` or
`{"error": failure}`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from rushes.engine.jobs import FAILURE, IN_CHILD, OUTCOME, SETUP, InChild, Outcome, Setup
from rushes.errors import Failure
from rushes.media.guard import Child
from rushes.quarantine import quarantined

Progress = Callable[[float], None]
"""Takes the seconds of footage that are decoded so far."""
Work = Callable[[Any, Progress], Outcome]
"""Does a job."""


class Reached:
    """Remembers how far a job has come, and passes it on.

    Attributes:
        seconds: the last that were reported.
    """

    def __init__(self, progress: Progress) -> None:
        self.seconds = 0.0
        self._progress = progress

    def __call__(self, seconds: float) -> None:
        """See `Progress`."""
        self.seconds = seconds
        self._progress(seconds)


class JobChild(Child):
    """A guarded child as the process sees it that gives it jobs; the other arguments are those of `Child`."""

    def __init__(
        self,
        module: str,
        setup: Setup,
        stop: threading.Event,
        *,
        hang_s: float,
        memory_bytes: float,
        env: Mapping[str, str] | None = None,
        what: str = "decoding",
    ) -> None:
        first = {"setup": SETUP.dump_python(setup, mode="json")}
        super().__init__(module, hang_s=hang_s, memory_bytes=memory_bytes, stop=stop, first=first, env=env, what=what)

    def attempt(self, job: InChild, uri: str, progress: Progress) -> Outcome | Failure:
        """What came of a job, or the error that was met in the child. Raises what `Child.do` raises."""
        answer = self.do({"job": IN_CHILD.dump_python(job, mode="json")}, uri=uri, progress=progress)
        return FAILURE.validate_python(answer["error"]) if "error" in answer else OUTCOME.validate_python(answer["done"])


class Jobs:
    """Takes messages off the pipe in the child.

    Args:
        begin: takes the setup as JSON, and gives what does the jobs.
    """

    def __init__(self, begin: Callable[[dict[str, Any]], Work]) -> None:
        self._begin = begin
        self._work: Work | None = None

    def do(self, message: dict[str, Any], progress: Progress) -> dict[str, Any]:
        """Answers one message."""
        found = quarantined(lambda: self._do(message, progress))
        if isinstance(found, Failure):
            return {"error": FAILURE.dump_python(found, mode="json")}
        return {"done": OUTCOME.dump_python(found, mode="json")}

    def _do(self, message: dict[str, Any], progress: Progress) -> Outcome:
        if "setup" in message:
            self._work = self._begin(message["setup"])
            return Outcome()
        assert self._work is not None
        return self._work(IN_CHILD.validate_python(message["job"]), progress)
