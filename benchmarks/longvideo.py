"""One long video on two workers: how much faster than on one, beside how much faster two processes decode than one.

    python -m benchmarks.longvideo [--minutes 30] [--height 360] [--rounds 1]

The video is scanned in segments by guarded children and stitched, as in a run, but without its plan. The yardstick is empty
decodes with PyAV and nothing else, in the same run: one process decodes an equal video, then two processes decode one each. Two cores of
one machine share caches, memory and clock, so their scaling is below 2; ours is compared with theirs.

Then a run as a user would start it: a video of a third of that length among 30 of 10 s. The run's counts are read several times a
second: for what share of the time do both workers decode?
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path

from benchmarks import render
from benchmarks.scan import floor
from benchmarks.targets import Targets
from benchmarks.threads import as_in_a_child
from rushes import api
from rushes.counts.tally import Tally
from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import Attempt, Job, Outcome, Scan, Segment, Setup, Stitch, Video
from rushes.engine.local import Local
from rushes.engine.loop import Loop
from rushes.engine.worker import Failures
from rushes.recipe import Recipe
from rushes.store.lease import Lease
from rushes.store.store import Store

BUSY = 0.9
SHARE = 0.9
"""Our scaling from one worker to two, as a share of that of the empty decodes, at least."""


class Timed(Local):
    """The executor of this machine; notes the segments, and when their joining is submitted."""

    segments = 0
    stitching = 0.0

    def submit(self, job: Job, attempt: Attempt) -> Future[Outcome]:
        """See `Local`."""
        self.segments += isinstance(job, Segment)
        if isinstance(job, Stitch):
            self.stitching = time.perf_counter()
        return super().submit(job, attempt)


def in_segments(video: Path, workers: int, out: Path) -> float:
    """Seconds on the wall from the first job to the joined scan."""
    recipe, tally = Recipe().with_overrides([f"resources.scan.concurrency={workers}", "captions.engine=none"]), Tally()
    store, prints, stop = Store.create(str(out), {}), fingerprints(recipe), threading.Event()
    lease, stat = Lease(store, "bench"), video.stat()
    setup = Setup(run_id="bench", store=store.root, owner=lease.owner, recipe=recipe, prints=prints)
    scan = Scan(video=Video(uri=str(video), source=str(video), video_id="0" * 64, size=stat.st_size, stamp=str(stat.st_mtime_ns)))
    failures = Failures(setup, store)
    executor = Timed(setup, failures)
    with lease.held(wait=False, interrupted=stop):
        try:
            begin = time.perf_counter()
            Loop(executor, tally, prints, 1, failures, lambda: None, stop.is_set).run(iter([scan]))
            end = time.perf_counter()
        finally:
            executor.close()
    if tally.counts["videos_scanned"] != 1 or not executor.stitching:
        raise RuntimeError(f"{video} was not scanned in segments: {tally.as_dict()}")
    seconds, stitching = end - begin, end - executor.stitching
    print(f"{workers} workers: {seconds:7.2f} s, {executor.segments} segments, of it stitching {stitching:.2f} s", flush=True)
    return seconds


def empty(video: Path, processes: int) -> float:
    """Seconds on the wall of as many processes that decode the video side by side, and do nothing else."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.longvideo", "--empty", str(video)]
    running = [subprocess.Popen(command) for _ in range(processes)]
    if any([process.wait() for process in running]):
        raise RuntimeError("an empty decode failed")
    seconds = time.perf_counter() - begin
    print(f"{processes} empty decodes: {seconds:7.2f} s", flush=True)
    return seconds


def busy_share(long: Path, shorts: int, folder: Path) -> float:
    """Share of the time, from the first decoding to the last, in which all workers decode: one long video among short ones, a real run."""
    footage = [long, *render.copies(render.trimmed(long, 10.0), folder / "short", shorts)]
    seen: list[int] = []
    recipe = Recipe().with_overrides(["captions.engine=none", "resources.scan.concurrency=2"])
    api.run(footage, out=folder / "mix", recipe=recipe, watch=lambda tally: seen.append(tally.in_flight))
    while seen and not seen[0]:
        seen.pop(0)
    while seen and not seen[-1]:
        seen.pop()
    return sum(n >= 2 for n in seen) / max(1, len(seen))


def main() -> int:
    """Run the benchmark; 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--height", type=int, default=360, choices=sorted(render.WIDTHS))
    parser.add_argument("--empty", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.empty:
        floor(args.empty)
        return 0
    video = render.repeated(render.ordinary(args.height), args.minutes * 60, render.FPS)
    print(f"footage: {render.origin()}, {video.name}, {video.stat().st_size / 1e6:.0f} MB")
    targets = Targets()
    ours: dict[int, list[float]] = {1: [], 2: []}
    floors: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as name:
        for n, workers in itertools.product(range(args.rounds), (1, 2)):
            floors[workers].append(empty(video, workers))
            ours[workers].append(in_segments(video, workers, Path(name) / f"{n}-{workers}"))
        one, two = (statistics.median(ours[n]) for n in (1, 2))
        alone, beside = (statistics.median(floors[n]) for n in (1, 2))
        print(f"scaling of empty decodes {2 * alone / beside:.3f}, ours {one / two:.3f}")
        targets.at_least("our scaling / that of empty decodes", (one / two) / (2 * alone / beside), SHARE)
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as name:
        share = busy_share(render.repeated(render.ordinary(args.height), args.minutes * 20, render.FPS), 30, Path(name))
        targets.at_least("share of a mixed run in which both workers decode", share, BUSY)
    return targets.close()


if __name__ == "__main__":
    as_in_a_child("benchmarks.longvideo")
    sys.exit(main())
