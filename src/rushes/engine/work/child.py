"""The guarded child: does the jobs that open a video or work on its signals, and writes their rows.

Runs as `python -m rushes.engine.work.child`; never imports daft or ray. A message from its parent is `{"setup": ...}`, once, or
`{"job": ...}`; the last line of each answer is `{"done": outcome}` or `{"error": failure}`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from rushes.engine.jobs import FAILURE, IN_CHILD, OUTCOME, SETUP, Clips, Outcome, Recut, Scan, Segment, Stitch, VideoJob
from rushes.engine.work.context import Context, Progress
from rushes.engine.work.scan import recut
from rushes.engine.work.segments import join, scan_or_divide, segment
from rushes.errors import CannotGoOn, Failure
from rushes.media.guard import serve
from rushes.quarantine import quarantined


class Jobs:
    """Takes messages off the pipe; the first one of a run sets up the context."""

    def __init__(self) -> None:
        self.context: Context | None = None

    def do(self, message: dict[str, Any], progress: Progress) -> dict[str, Any]:
        """Answers one message."""
        found = quarantined(lambda: self._do(message, progress))
        if isinstance(found, Failure):
            return {"error": FAILURE.dump_python(found, mode="json")}
        return {"done": OUTCOME.dump_python(found, mode="json")}

    def _do(self, message: dict[str, Any], progress: Progress) -> Outcome:
        if "setup" in message:
            made = quarantined(lambda: Context(SETUP.validate_python(message["setup"])))
            if isinstance(made, Failure):
                what = f"a decoding process cannot begin: {made.what}"
                raise made.error() if made.fatal else CannotGoOn(what, step="run", mend=made.mend)
            self.context = made
            return Outcome()
        assert self.context is not None
        reached = 0.0

        def at(seconds: float) -> None:
            nonlocal reached
            reached = seconds
            progress(seconds)

        self.context.tick = lambda: progress(reached)
        return perform(self.context, IN_CHILD.validate_python(message["job"]), at)


def perform(context: Context, job: VideoJob, progress: Progress) -> Outcome:
    """Does one job."""
    match job:
        case Scan():
            return scan_or_divide(context, job, progress)
        case Recut():
            return recut(context, job, progress)
        case Segment():
            return segment(context, job, progress)
        case Clips():
            module, _, name = job.work.partition(":")
            work: Callable[[Context, Clips, Progress], Outcome] = getattr(importlib.import_module(module), name)
            return work(context, job, progress)
        case Stitch():
            return join(context, job, progress)


def main() -> None:
    """Entry of the child process: one thread each for libav and OpenCV."""
    import av
    import cv2

    cv2.setNumThreads(1)
    av.logging.set_level(av.logging.PANIC)
    serve(Jobs().do)


if __name__ == "__main__":
    main()
