"""What the engine adds to each job: 10,000 jobs that do nothing, through the loop, an executor and the guarded children, and back.

    python -m benchmarks.overhead [--jobs 10000]

The jobs are those of a stage of clips that is added for the purpose, one clip each; their work, `nothing`, returns an empty outcome. Each
goes the whole way: `Loop`, then the executor of this machine, or a task of Ray on a cluster of two nodes of one CPU each
(tests/ray_cluster.py); then as JSON over the pipe to a guarded child, and back. Children and worker processes are started before, by a few
jobs that are not counted.

It does not contain what a job does and what it writes, the opening of a video, the plan, nor the start of processes. Every process is on
this machine: no network is in between.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import render
from benchmarks.targets import Targets
from rushes import ray_cluster
from rushes.counts.tally import Tally
from rushes.engine import stages
from rushes.engine.executor import Executor
from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import Clips, Outcome, Setup, Video
from rushes.engine.local import Local
from rushes.engine.loop import Loop
from rushes.engine.pipe import Progress
from rushes.engine.work.context import Context
from rushes.engine.worker import Failures
from rushes.recipe import Recipe
from rushes.store.lease import Lease
from rushes.store.store import Store
from rushes.store.tables import FILES

sys.path.insert(0, str(render.ROOT / "tests"))
from ray_cluster import cluster

WORKERS = 2
FIRST = 50
"""Jobs that start children and processes, and are not counted."""
LOCAL_MS, LOCAL_CPU_MS = 2.0, 1.0
RAY_MS, RAY_CPU_MS = 20.0, 5.0
"""Most that a job may take, milliseconds: on the wall with two workers, and of the driver's CPU. A scan of ten seconds of 720p takes about
a second of CPU, so 20 ms are 2 % of it; with 5 ms a driver keeps 200 such scans ending a second going."""
STAGE = stages.Stage("empty", "clip", "nothing", FILES, lambda _recipe, _of: "0" * 32, job="empty", work="benchmarks.overhead:nothing")


def nothing(_context: Context, job: Clips, _progress: Progress) -> Outcome:
    """The work of a job: none. It is counted, so that a job that was lost is noticed."""
    return Outcome(counts={"empty_made": float(len(job.clips))})


def jobs(first: int, n: int) -> Iterator[Clips]:
    """So many jobs, each with one clip of about the columns of a real one."""
    for k in range(first, first + n):
        name = f"{k:064x}"
        video = Video(uri=f"/footage/{k}.mp4", source=f"/footage/{k}.mp4", video_id=name, size=1 << 20, stamp="0")
        clip = {"clip_id": name[:32], "video_id": name, "uri": video.uri, "start_pts": 0, "end_pts": 15360, "start_s": 0.0, "end_s": 1.0}
        facts = {"codec": "h264", "width": 1280, "height": 720, "time_base": "1/15360", "footage_s": 10.0}
        yield Clips(stage=STAGE.name, work=STAGE.work, video=video, facts=facts, clips=(clip,))


@contextmanager
def added() -> Iterator[None]:
    """Adds the stage to the list, for the length of a block."""
    stages.STAGES.append(STAGE)
    try:
        yield
    finally:
        stages.STAGES.remove(STAGE)


@contextmanager
def engine(folder: Path, address: str | None) -> Iterator[tuple[Executor, Setup, Failures]]:
    """An executor, of this machine or of the cluster at an address, in a run that holds the lease of a new store."""
    recipe = Recipe().with_overrides([f"resources.scan.concurrency={WORKERS}", "captions.engine=none"])
    store, stop = Store.create(str(folder), {}), threading.Event()
    lease = Lease(store, "bench")
    prints = {**fingerprints(recipe), STAGE.name: "0" * 32}
    setup = Setup(run_id="bench", store=store.root, owner=lease.owner, recipe=recipe, prints=prints)
    failures = Failures(setup, store)
    with added(), lease.held(wait=False, interrupted=stop):
        executor: Executor
        if address is None:
            executor = Local(setup, failures)
        else:
            from rushes.engine.ray import OnRay

            ray_cluster.join(address)
            executor = OnRay(setup)
        try:
            yield executor, setup, failures
        finally:
            executor.close()
            if address is not None:
                ray_cluster.leave()


def measure(folder: Path, n: int, address: str | None = None) -> tuple[float, float]:
    """Milliseconds a job: on the wall, and of this process's CPU, all its threads.

    Raises:
        RuntimeError: not every job was done, or one failed.
    """
    with engine(folder, address) as (executor, setup, failures):
        tally, prints = Tally(), fingerprints(setup.recipe)
        loop = Loop(executor, tally, prints, 1, failures, lambda: None, lambda: False)
        loop.run(jobs(0, FIRST))
        wall, cpu = time.perf_counter(), time.process_time()
        loop.run(jobs(FIRST, n))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if tally.counts["empty_made"] != FIRST + n:
        raise RuntimeError(f"wanted {FIRST + n} jobs done: {tally.as_dict()}")
    return 1000 * wall / n, 1000 * cpu / n


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    n = parser.parse_args().jobs
    targets = Targets()
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        wall, cpu = measure(Path(folder) / "here", n)
        targets.at_most(f"this machine, {WORKERS} children, wall a job", wall, LOCAL_MS, "ms")
        targets.at_most("this machine, CPU of the driver a job", cpu, LOCAL_CPU_MS, "ms")
        with cluster(path=[str(render.ROOT)]) as nodes:
            wall, cpu = measure(Path(folder) / "ray", n, nodes.address)
        targets.at_most("two nodes of Ray, wall a job", wall, RAY_MS, "ms")
        targets.at_most("two nodes of Ray, CPU of the driver a job", cpu, RAY_CPU_MS, "ms")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
