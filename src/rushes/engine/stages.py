"""The plan as Daft sees it: jobs -> video stage -> explode -> caption stage. Every stage takes one row a batch, so that stages overlap.

Daft's own limits are designed around, see docs/decisions: the video stage is a thread of the driver that lends a guarded child, so no user
code runs in processes that Daft cannot replace; two engine threads are counted for each call, so that captions never wait for a thread.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rushes.engine.workers import worker_count
from rushes.recipe import Recipe

if TYPE_CHECKING:
    import daft

THREADS_PER_CALL = 2
WAITING = 1024
"""Clips that may wait for a caption while videos are decoded: as keys and numbers, about 2 kB each. The captioner reads the frames of few
(`captioning.AHEAD`). With less, the bursts in which a video's clips come would make decoding and captioning wait for each other."""


def start_engine(recipe: Recipe) -> None:
    """Chooses Daft's runner for this process, with telemetry off. A second call changes nothing."""
    os.environ.update(DAFT_ANALYTICS_ENABLED="0", DO_NOT_TRACK="true", DAFT_PROGRESS_BAR="0")
    import daft

    with contextlib.suppress(daft.exceptions.DaftCoreException):  # the threads of a process are counted once
        daft.set_runner_native(num_threads=THREADS_PER_CALL * worker_count(recipe.scan))


def build(jobs: Iterable[Mapping[str, Any]], run_id: str, recipe: Recipe) -> daft.DataFrame:
    """The Daft plan of a run: one row a job in, one row a clip that wants a caption out, with the outcome."""
    import daft
    from daft import DataType, col

    @daft.cls(cpus=THREADS_PER_CALL)
    class VideoStage:
        def __init__(self, run: str) -> None:
            self.run = run

        @daft.method.batch(return_dtype=DataType.list(DataType.string()), batch_size=1)
        def work(self, jobs: daft.Series) -> list[list[str]]:
            from rushes.engine.session import SESSIONS  # here, since Daft pickles the class with what it refers to

            session = SESSIONS[self.run]
            return [[json.dumps(clip) for clip in session.video_stage(json.loads(job))] for job in jobs.to_pylist()]

    @daft.cls(max_concurrency=WAITING + recipe.captions.concurrency)
    class CaptionStage:
        def __init__(self, run: str) -> None:
            self.run = run

        @daft.method.batch(return_dtype=DataType.string(), batch_size=1)
        async def work(self, clips: daft.Series) -> list[str]:
            from rushes.engine.session import SESSIONS  # here, since Daft pickles the class with what it refers to

            session = SESSIONS[self.run]
            return [await session.caption_stage(json.loads(clip)) for clip in clips.to_pylist()]

    rows = daft.from_pydict({"job": [json.dumps(job) for job in jobs]})
    videos: Any = VideoStage(run_id)  # Any: its methods take and give expressions here, which Daft's types do not say
    captions: Any = CaptionStage(run_id)
    clips = rows.select(videos.work(col("job")).alias("clip")).explode("clip", ignore_empty_and_null=True)
    return clips.select(captions.work(col("clip")).alias("outcome"))
