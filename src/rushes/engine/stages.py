"""The plan as Daft sees it: tickets -> video stage -> explode -> caption stage, the same on one machine and on Ray.

A ticket is a place to work: who draws one gets the next job from the desk when a child is free. So no node is left with much to do while
others are done, whatever the lengths of videos, and what a dead node held is handed out again (docs/decisions/0010).

Both stages are asynchronous and take one row a batch: they overlap, and no thread of the engine waits for a child or a server. What limits
them is the session of the process they run in: its children, its requests under way.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rushes.engine import cluster
from rushes.engine.session import COMMITTING, Setup, session_of
from rushes.recipe import Recipe

if TYPE_CHECKING:
    import daft

WAITING = 1024
"""Clips that may wait for a caption while videos are decoded: as keys and numbers, about 2 kB each. The captioner reads the frames of few
(`captioning.AHEAD`). With less, the bursts in which a video's clips come would make decoding and captioning wait for each other."""
TASKS_PER_CPU = 2
"""Tasks of a cluster: Flotilla gives a node as many as it has CPUs and does one after the other where a stage is asynchronous. The second
half waits for nodes that come later; when all jobs are done its tickets cost nothing."""
SPARE = 4
"""Tickets of a task, as a multiple of an even share: a node that is quicker than others takes more jobs, and finds tickets."""


def start_engine(recipe: Recipe) -> None:
    """Chooses Daft's runner for this process, with telemetry off. A second call changes nothing."""
    if recipe.engine.runner == "ray":
        cluster.join(recipe.engine.ray_address)
        return
    os.environ.update(cluster.QUIET)
    import daft

    with contextlib.suppress(daft.exceptions.DaftCoreException):  # chosen before, in this process
        daft.set_runner_native()


def build(n_jobs: int, setup: Setup, recipe: Recipe, turn: int, workers: int) -> daft.DataFrame:
    """The Daft plan of one pass: tickets in, one row a clip that wants a caption out, with the outcome.

    Args:
        n_jobs: jobs that there are.
        setup: what sessions are built from.
        recipe: the recipe.
        turn: number of the pass.
        workers: children of this process.
    """
    import daft
    import pyarrow as pa
    from daft import DataType, col

    nodes = cluster.node_sizes() if recipe.engine.runner == "ray" else [workers]

    @daft.cls(max_concurrency=max(recipe.scan.workers, *nodes, 1) + COMMITTING, name_override="rushes videos")
    class VideoStage:
        def __init__(self, setup: Setup) -> None:
            self.setup = setup

        @daft.method.batch(return_dtype=DataType.list(DataType.string()), batch_size=1)
        async def work(self, tickets: daft.Series) -> list[list[str]]:
            session = session_of(self.setup)
            return [[json.dumps(clip) for clip in await session.video_stage()] for _ in range(len(tickets))]

    @daft.cls(max_concurrency=WAITING + recipe.captions.concurrency, name_override="rushes captions")
    class CaptionStage:
        def __init__(self, setup: Setup, turn: int) -> None:
            self.setup, self.turn = setup, turn

        @daft.method.batch(return_dtype=DataType.string(), batch_size=1)
        async def work(self, clips: daft.Series) -> list[str]:
            session = session_of(self.setup)
            return [await session.caption_stage(json.loads(clip), self.turn) for clip in clips.to_pylist()]

    videos: Any = VideoStage(setup)  # Any: its methods take and give expressions here, which Daft's types do not say
    captions: Any = CaptionStage(setup, turn)
    rows = daft.from_arrow([pa.table({"ticket": range(n)}) for n in tickets(n_jobs, nodes)])
    clips = rows.select(videos.work(col("ticket")).alias("clip")).explode("clip", ignore_empty_and_null=True)
    return clips.select(captions.work(col("clip")).alias("outcome"))


def tickets(n_jobs: int, nodes: Sequence[int]) -> list[int]:
    """Tickets of each task, for nodes of so many CPUs: on one node all jobs in one task, and one a worker, since jobs may be divided."""
    if len(nodes) == 1:
        return [n_jobs + nodes[0] + COMMITTING]
    tasks = TASKS_PER_CPU * sum(nodes)
    return [-(-SPARE * n_jobs // tasks) + SPARE] * tasks
