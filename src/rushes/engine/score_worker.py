"""A worker for scores: one guarded child that holds the models, on one device.

On one machine a thread of the run's process holds it; on Ray an actor does, which Ray places where the device is.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from rushes.engine.executor import WorkerDied
from rushes.engine.jobs import Outcome, Score, Setup
from rushes.engine.pipe import JobChild
from rushes.engine.stages import resources
from rushes.errors import CrashError, Failure, HangError, MemoryError_
from rushes.log import note
from rushes.machine import cuda_devices
from rushes.media.guard import THREADS
from rushes.recipe import Recipe

MODULE = "rushes.engine.work.score_child"
HANG_S = 1800.0
"""How long the child may take to load the models, which may have to be fetched, or to score a piece of a job."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


def devices(recipe: Recipe) -> list[str | None]:
    """The device of each process that scores on this machine: one for each CUDA device, else one process without (None); with
    `resources.scores.concurrency` as many as that says, which share the devices.
    """
    found: list[str | None] = [*cuda_devices()] or [None]
    n = resources(recipe, "scores").concurrency or len(found)
    return [found[k % len(found)] for k in range(n)]


class ScoreWorker:
    """Scores clips in a guarded child, one job at a time. Its memory is not limited: it opens no file of unknown origin. `device`: the CUDA
    device that it is to use; None: what the environment says.
    """

    def __init__(self, setup: Setup, stop: threading.Event, device: str | None = None) -> None:
        self._run_id = setup.run_id
        threads = max(1, int(resources(setup.recipe, "scores").cpus))
        env = dict.fromkeys(THREADS, str(threads)) | ({VISIBLE: device} if device is not None else {})
        self._child = JobChild(MODULE, setup, stop, hang_s=HANG_S, memory_bytes=math.inf, env=env, what="scoring")

    def do(self, job: Score, progress: Callable[[], None] = lambda: None) -> Outcome:
        """Does a job; its rows are durable when this returns. One without clips only loads the models.

        Raises:
            WorkerDied: the child died, or hung and was ended. Scores that it made before may be durable.
            Stopped: the run is stopping.
            RushesError: what the work itself could not go on with: a model that cannot be had, a store that cannot be written.
        """
        try:
            answer = self._child.attempt(job, "", lambda _s: progress())
        except (HangError, MemoryError_, CrashError) as error:
            what = f"nothing came of it for {HANG_S:g} s" if isinstance(error, HangError) else error.what
            raise WorkerDied(what, blame=False) from error
        if isinstance(answer, Failure):
            words = {"error_type": answer.error_type, "error": answer.what, "detail": answer.detail}
            note("scores stopped", run_id=self._run_id, stage="scores", level="error", **words)
            raise answer.error()
        return answer

    def kill(self) -> None:
        """Ends the child at once."""
        self._child.kill()
