"""A stage as somebody would add it: one entry of the list, its table, and this file of work. Run as a program it is the command `rushes`
with the stage: `python -m added_stage run ...`.

It measures how bright a clip's stored frames are, and says which device it was given.
"""

from __future__ import annotations

import os
import time

import cv2
import numpy as np

from rushes.engine.jobs import Clips, Outcome
from rushes.engine.pipe import Progress
from rushes.engine.stages import STAGES, Of, Stage, digest
from rushes.engine.work.context import Context
from rushes.recipe import Recipe
from rushes.records import Column
from rushes.store.tables import STAMPS, TABLES, Table

VERSION = "ADDED_STAGE_VERSION"
"""Environment variable that stands for the code version of the stage."""
BRIGHTNESS = Table(
    "brightness",
    ("clip_id",),
    "one row for each clip: how bright its frames are",
    (
        Column("clip_id", "text", "", "the clip"),
        Column("video_id", "text", "", "the video"),
        Column("brightness", "double", "", "mean of the stored frames' gray values, 0 to 255"),
        Column("device", "text", "", "the GPU that the job was given"),
        *STAMPS,
    ),
)


def fingerprint(recipe: Recipe, of: Of) -> str:
    return digest("brightness", os.environ.get(VERSION, "1"), of("frames"))


def measure(context: Context, job: Clips, progress: Progress) -> Outcome:
    began, stamp, rows = time.process_time(), context.stamp(), []
    for clip in job.clips:
        inside = [
            p for p in context.store.frame_pts(clip["video_id"], context.prints["frames"]) if clip["start_pts"] <= p < clip["end_pts"]
        ]
        frames = context.store.frames(clip["video_id"], context.prints["frames"], inside)
        pictures = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE) for jpeg in frames.values()]
        row = {
            "clip_id": clip["clip_id"],
            "video_id": clip["video_id"],
            "brightness": float(np.mean([picture.mean() for picture in pictures])),
            "device": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }
        rows.append(stamp.on(row, context.prints["brightness"]))
        progress(0.0)
    context.write({"brightness": rows}, BRIGHTNESS)
    return Outcome(counts={"brightness_made": float(len(rows))}, busy={"brightness": time.process_time() - began})


def add() -> None:
    TABLES[BRIGHTNESS.name] = BRIGHTNESS
    doc = "how bright clips are"
    STAGES.append(Stage("brightness", "clip", doc, BRIGHTNESS, fingerprint, job="brighten", work="added_stage:measure"))


if __name__ == "__main__":
    from rushes.cli import main

    add()
    main()
