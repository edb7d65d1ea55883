"""The guarded child: does the jobs that open a video or work on its signals, and writes their rows.

Runs as `python -m rushes.engine.work.child`; never imports daft or ray.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from rushes.engine.jobs import SETUP, Clips, Outcome, Recut, Scan, Segment, Stitch, VideoJob
from rushes.engine.pipe import Jobs, Progress, Reached, Work
from rushes.engine.work.context import Context
from rushes.engine.work.scan import recut
from rushes.engine.work.segments import join, scan_or_divide, segment
from rushes.errors import CannotGoOn, Failure
from rushes.media.guard import serve
from rushes.quarantine import quarantined


def begin(setup: dict[str, Any]) -> Work:
    """Makes the context of a run; gives what does its jobs.

    Raises:
        CannotGoOn: it cannot be made, which is no fault of any video.
    """
    made = quarantined(lambda: Context(SETUP.validate_python(setup)))
    if isinstance(made, Failure):
        what = f"a decoding process cannot begin: {made.what}"
        raise made.error() if made.fatal else CannotGoOn(what, step="run", mend=made.mend)

    def work(job: VideoJob, progress: Progress) -> Outcome:
        reached = Reached(progress)
        made.tick = lambda: progress(reached.seconds)
        return perform(made, job, reached)

    return work


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
    serve(Jobs(begin).do)


if __name__ == "__main__":
    main()
