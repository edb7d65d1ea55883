"""Peak resident memory of a decoding child in a real run: an hour of 1080p, and 4K.

    python -m benchmarks.memory [--minutes 60]

The peak is the kernel's own high-water mark (VmHWM in /proc/PID/status) of every child of the run, read while the run goes on and once
more when its last row is written and the child still lives. An hour at 12 frames a second: memory depends on size, length and the frames
kept, not on the rate.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import render
from benchmarks.targets import Targets
from rushes import api
from rushes.engine.worker import MODULE
from rushes.recipe import Recipe

LIMIT_GIB = 1.0
FPS = 12


def peak_bytes(pid: int) -> int:
    """High-water mark of a process's resident memory; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def decoding_children(module: str = MODULE) -> list[int]:
    """Children of this process that decode, by id: those that run a module."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == os.getpid() and module.encode() in command:
                found.append(int(entry.name))
    return found


def peak_of_run(video: Path) -> tuple[int, int, int]:
    """Runs over one video, without captions: (peak bytes of its decoding child, of this process, frames decoded)."""
    peaks: dict[int, int] = {}

    def look(_tally: object) -> None:
        peaks.update({pid: peak_bytes(pid) for pid in decoding_children()})

    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        recipe = Recipe.parse({"captions": {"engine": "none"}, "resources": {"scan": {"concurrency": 1}}})
        result = api.run([video], out=Path(folder) / "store", recipe=recipe, watch=look)
        [done] = api.results(Path(folder) / "store", recipe=recipe).videos()
    if result.counts["videos_scanned"] != 1 or not peaks:
        raise RuntimeError(f"{video} was not scanned by a child that could be watched: {result.counts}")
    return max(peaks.values()), peak_bytes(os.getpid()), int(done["n_frames"])


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the 1080p video")
    minutes = parser.parse_args().minutes
    videos = {
        f"{minutes:g} min of 1080p": render.repeated(render.ordinary(1080), 60 * minutes, FPS),
        "4K": render.repeated(render.ordinary(2160), 60, FPS),
    }
    print(f"footage: {render.origin()}")
    targets = Targets()
    for name, path in videos.items():
        began = time.perf_counter()
        child, driver, frames = peak_of_run(path)
        size, wall = path.stat().st_size / 2**20, time.perf_counter() - began
        print(f"{name}: {size:.0f} MiB, {frames} frames, {wall:.0f} s; the driver's own peak {driver / 2**30:.2f} GiB", flush=True)
        targets.at_most(f"peak of the decoding child, {name}", child / 2**30, LIMIT_GIB, "GiB")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
