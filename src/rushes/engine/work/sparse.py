"""Videos of which only bursts are decoded, where the recipe asks for that and the video allows it."""

from __future__ import annotations

import time

from rushes.engine.jobs import Outcome, Scan
from rushes.engine.pipe import Progress
from rushes.engine.stages import content_threshold
from rushes.engine.work.context import Context
from rushes.engine.work.scan import Made, Whole, conclude, keeping, take_back
from rushes.scan.sparse import Dense, scan_sparse

LABEL = "burst"
"""Marks the parts of frames that sparse passes wrote, so that those of one that was given up can be found."""


def scan_bursts(context: Context, job: Scan, progress: Progress) -> Outcome | Whole:
    """The sparse pass over a video, however long it is, then shots and measures. The rows are durable when this returns an outcome; else
    none is written.
    """
    began, stamp, video = time.process_time(), context.stamp(), job.video
    same = context.same_file(video)
    frames = context.frame_writer(video, job.present, stamp, same, LABEL)
    try:
        with context.opened(video) as source:
            found = scan_sparse(
                source, context.recipe, uri=video.uri, size_bytes=video.size or 0, stream=video.stream, progress=progress,
                threshold=content_threshold(context.recipe),
                on_frame=keeping(frames),
            )  # fmt: skip
        if not isinstance(found, Dense):
            cpu_s = time.process_time() - began
            made = Made(found, cpu_s, cpu_s, began, footage_s=found.footage_s, decoded_s=found.decoded_s)
            return conclude(context, made, job, stamp, same, frames)
    finally:
        if frames:
            frames.close()
    if frames:
        take_back(context, video, LABEL)
    return Whole(found.why, found.decoded_s)
