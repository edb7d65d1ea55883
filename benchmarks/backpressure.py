"""Does the memory of a whole run stay flat over an input ten times longer, when captions cannot keep up?

    python -m benchmarks.backpressure [--videos 12] [--ray]

Two real runs by the command: over so many small videos, and over ten times as many. Every half second of a video is a clip, and the caption
server of the tests is slow, so that clips pile up behind it: in the long run more than may wait (`rushes.engine.loop.WAITING`).
Resident memory of the whole run is summed over its processes several times a second: the driver and its decoding children; with `--ray`
also every process that works for it on the two nodes of a cluster (tests/ray_cluster.py). What processes share is counted in each.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import render
from benchmarks.targets import Targets
from rushes.engine.loop import WAITING
from rushes.engine.worker import MODULE
from rushes.media.guard import resident_bytes
from rushes.store.store import Store
from rushes.store.tables import TABLES

sys.path.insert(0, str(render.ROOT / "tests"))
from caption_server import start_server
from ray_cluster import cluster
from stores import settings_of, start

TIMES = 10
SHARE, FIXED_MIB = 1.15, 50
"""The longer run may take this much more: as a ratio, or in MiB, whichever is more."""
SIDE = (192, 108)
VIDEO_S = 10
CONCURRENCY = 16
SERVICE_S = 1.0
LOOK_EVERY_S = 0.25
SETTINGS = (
    "rules.too_short.min=0", "shots.detector=stride", "shots.stride_s=0.5", "frames.per_clip=2", "scan.workers=0",
    "captions.engine=openai", "captions.model=tiny-vlm", "captions.prompt=short", f"captions.concurrency={CONCURRENCY}",
)  # fmt: skip
"""Over the settings of the tests' runs, under which nothing else is dropped."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One run: the most resident bytes of all its processes together, by role at that moment; clips; the most clips waiting; seconds."""

    peak: Counter[str]
    clips: int
    waiting: int
    wall_s: float

    @property
    def mib(self) -> float:
        """The peak in MiB."""
        return sum(self.peak.values()) / 2**20


def processes() -> dict[int, int]:
    """Process id -> its parent's, of all processes of this machine."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    return found


def below(parents: dict[int, int], root: int) -> Iterator[int]:
    """All descendants of a process."""
    for pid, parent in parents.items():
        if parent == root:
            yield pid
            yield from below(parents, pid)


def role(pid: int) -> str:
    """What a process is in a run: "decoding", "ray NAME" of a task or an actor, or blank for one that does not work for it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return ""
    if MODULE in words:
        return "decoding"
    actor = words.removeprefix("ray::").split(".")[0].split(" ")[0] if words.startswith("ray::") else ""
    return f"ray {actor}" if actor and actor != "IDLE" and not actor.endswith("Agent") else ""


def resident(driver: int, nodes: int | None) -> Counter[str]:
    """Resident bytes of a run by role. `nodes`: the process that holds the cluster."""
    parents, seen = processes(), Counter({"driver": resident_bytes(driver)})
    for root in (driver, nodes):
        for pid in below(parents, root) if root else ():
            if name := role(pid):
                seen[name] += resident_bytes(pid)
    return seen


def one_run(footage: Path, store: Path, settings: Sequence[str], nodes: int | None) -> Seen:
    """A run by the command, watched until it ends."""
    began, peak = time.monotonic(), Counter[str]()
    with start("run", footage, "--out", store, *settings_of(*SETTINGS, *settings), OPENAI_API_KEY="none") as driver:
        while driver.poll() is None:
            now = resident(driver.pid, nodes)
            peak = max(peak, now, key=lambda seen: sum(seen.values()))
            time.sleep(LOOK_EVERY_S)
        _, words = driver.communicate()
    if driver.returncode:
        raise RuntimeError(f"the run ended with {driver.returncode}: {words}")
    clips, waiting = backlog(store)
    return Seen(peak, clips, waiting, time.monotonic() - began)


def backlog(store: Path) -> tuple[int, int]:
    """Clips of a store, all captioned, and the most that waited: found so far less captioned so far, at the time of any caption.

    A clip counts from the start of its video's scan, so one video for each child is too many.
    """
    opened = Store.open(str(store), {})
    times = {name: sorted(opened.read(TABLES[name], columns=["written_at"])["written_at"].to_pylist()) for name in ("clips", "captions")}
    found, captioned = times["clips"], times["captions"]
    if len(found) != len(captioned):
        raise RuntimeError(f"{len(found)} clips, {len(captioned)} captions")
    return len(found), max(bisect_right(found, at) - done for done, at in enumerate(captioned))


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=12, help="of the shorter run")
    parser.add_argument("--ray", action="store_true", help="on a cluster of two nodes")
    args = parser.parse_args()
    source = render.tiny(VIDEO_S * render.FPS, *SIDE)
    print(f"drawn footage, {VIDEO_S} s of {SIDE[0]} x {SIDE[1]}; {'Ray' if args.ray else 'native'}")
    targets = Targets()
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="rushes-bench-")))
        server = held.enter_context(start_server(service_s=SERVICE_S, parallel=CONCURRENCY))
        nodes = held.enter_context(cluster()) if args.ray else None
        settings = [f"captions.base_url={server.base_url}"]
        if nodes is not None:
            settings += ["engine.runner=ray", f"engine.ray_address={nodes.address}"]
        peaks = []
        for n in (args.videos, TIMES * args.videos):
            footage = folder / f"footage{n}"
            render.copies(source, footage, n)
            seen = one_run(footage, folder / f"store{n}", settings, nodes.process.pid if nodes else None)
            peaks.append(seen.mib)
            parts = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in seen.peak.most_common())
            print(f"{n} videos, {seen.clips} clips, {seen.wall_s:.0f} s: {seen.mib:.0f} MiB at most ({parts})", flush=True)
            print(f"    at most {seen.waiting} clips waited; {WAITING} may, and those of the videos then under way", flush=True)
    short, long = peaks
    targets.at_most("memory the longer run takes more", long - short, max(FIXED_MIB, (SHARE - 1) * short), "MiB")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
