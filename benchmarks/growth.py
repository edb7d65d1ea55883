"""Does a cluster grow with a run's tasks, and how soon does a node that joins in mid-run get work?

    python -m benchmarks.growth [--videos 60]

Two runs by the command. The first is on a head without CPUs whose autoscaler may add up to two nodes of one CPU each, by Ray's own fake
provider: real raylets, started on this machine by the real autoscaler when it sees tasks that wait. The second is on two nodes of one CPU
each (tests/ray_cluster.py), and a third one is added by hand in mid-run. A node has joined when Ray lists it as alive; it has work when a
decoding child runs below its raylet. All processes are looked at ten times a second, so a figure may be wrong by 0.1 s.

It does not contain what a cloud takes to start a machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks import render
from benchmarks.targets import Targets
from rushes.engine.worker import MODULE
from rushes.ray_cluster import QUIET

sys.path.insert(0, str(render.ROOT / "tests"))
from processes import command_of, descendants, marked, parent_of
from ray_cluster import cluster
from stores import settings_of, start

NODES = 2
GROWN_S = 60.0
"""From the first task that waits to the last node that has joined, at most. The autoscaler looks every second; starting a raylet and its
agents takes some seconds of CPU on each node, all of which are this machine."""
WORK_S = 10.0
"""From the joining of a node to its first decoding child, at most: the run asks every second what the cluster has; then Ray starts a Python
process there, and that one a child, each of which imports its libraries."""
LOOK_EVERY_S = 0.1
STARTED_S = 120.0
RUN_S = 400.0
"""Longest that Ray may take to start, and a run to end."""
SIDE = (640, 360)
VIDEO_S = 10
SETTINGS = ("scan.workers=0", "captions.engine=none", "resources.scan.memory_gib=0")
"""Tasks state a CPU and no memory: the fake provider's nodes cannot state how much memory they have."""
DISABLED = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1", "RAY_AUTH_MODE": "disabled"}
"""Ray's variables for the fake provider, which hands no token to its nodes."""


def config(port: int) -> dict[str, object]:
    """The autoscaler's configuration: up to `NODES` nodes of one CPU."""
    kinds = {
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": NODES},
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
    }
    commands = ("setup", "initialization", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    provider = {"type": "fake_multinode", "disable_node_updaters": True, "disable_launch_config_check": True}
    return {
        "cluster_name": "growth", "max_workers": NODES, "upscaling_speed": 1.0, "idle_timeout_minutes": 5, "auth": {},
        "provider": {**provider, "gcs_address": f"127.0.0.1:{port}"}, "available_node_types": kinds, "head_node_type": "ray.head.default",
        **{f"{name}_commands": [] for name in commands}, "file_mounts": {}, "cluster_synced_files": [],
        "file_mounts_sync_continuously": False, "rsync_exclude": [], "rsync_filter": [],
    }  # fmt: skip


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """A started cluster, looked at from outside. `root`: the process that holds it; `mark`: NAME=value in the environment of all others."""

    def __init__(self, root: int, address: str, mark: str) -> None:
        self.root = root
        self.address = address
        self.mark = mark

    def processes(self) -> dict[int, str]:
        """Its processes but the root, by id, with their command lines. Those that rename themselves hide their environment."""
        found = {**descendants(self.root), **marked(self.mark)}
        for pid in list(found):
            found |= descendants(pid)
        found.pop(self.root, None)
        return found

    def raylets(self) -> list[int]:
        """Raylets of nodes, the head's included."""
        return [pid for pid, words in self.processes().items() if words.partition(" ")[0].endswith("/raylet")]

    def busy(self) -> set[int]:
        """Raylets below which a decoding child runs."""
        return {parent_of(parent_of(pid)) for pid, words in self.processes().items() if MODULE in words}


@contextmanager
def autoscaled() -> Iterator[Cluster]:
    """A head without CPUs and its autoscaler. All its processes are ended with the block, by their ids."""
    port, (name, value) = free_port(), ("RUSHES_BENCH_GROWTH", uuid.uuid4().hex)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        wanted = Path(folder) / "autoscaling.json"
        wanted.write_text(json.dumps(config(port)))
        env = {**os.environ, **QUIET, **DISABLED, name: value}
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=0", f"--port={port}",
            "--node-ip-address=127.0.0.1", f"--temp-dir={folder}", f"--autoscaling-config={wanted}", "--include-dashboard=false",
        ]  # fmt: skip
        with (Path(folder) / "said").open("wb") as said:
            head = subprocess.Popen(command, env=env, stdout=said, stderr=subprocess.STDOUT)
        held = Cluster(head.pid, f"127.0.0.1:{port}", f"{name}={value}")
        try:
            deadline = time.monotonic() + STARTED_S
            while not held.raylets() or not listens(port):
                if head.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Ray did not start: {(Path(folder) / 'said').read_text()[-1000:]}")
                time.sleep(LOOK_EVERY_S)
            yield held
        finally:
            everyone = held.processes()
            head.terminate()
            with suppress(subprocess.TimeoutExpired):
                head.wait(20)
            for pid, words in {**everyone, **held.processes()}.items():
                if command_of(pid) == words:  # it is still there, and its id is not another process's by now
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            if head.poll() is None:
                head.kill()
            head.wait()


def listens(port: int) -> bool:
    """Whether a port takes a connection."""
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


@contextmanager
def running(footage: Path, out: Path, address: str, **env: str) -> Iterator[Callable[[], bool]]:
    """A run on a cluster, for the length of a block, which asks with what it is given whether the run goes on.

    Raises:
        RuntimeError: the run failed, or took longer than `RUN_S`.
    """
    deadline = time.monotonic() + RUN_S
    with start("run", footage, "--out", out, "--ray", address, *settings_of(*SETTINGS), **env) as run:

        def goes_on() -> bool:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the run did not end within {RUN_S:g} s")
            time.sleep(LOOK_EVERY_S)
            return run.poll() is None

        try:
            yield goes_on
            while goes_on():
                pass
            if run.returncode:
                raise RuntimeError(f"the run ended with {run.returncode}: {run.communicate()[1]}")
        finally:
            if run.poll() is None:
                run.kill()
            run.communicate()


def look(address: str) -> None:
    """Prints the time (`time.monotonic`) at which Ray first lists each node with CPUs as alive. In a process of its own, which Ray's client
    ends when the cluster is gone.
    """
    import ray

    ray.init(address, log_to_driver=False, logging_level="error", namespace="growth")
    seen = 0
    print("ready", flush=True)
    while True:
        n = sum(node["Alive"] and bool(node["Resources"].get("CPU")) for node in ray.nodes())
        for _ in range(seen, n):
            print(time.monotonic(), flush=True)
        seen = max(seen, n)
        time.sleep(LOOK_EVERY_S)


def grow(footage: Path, out: Path) -> tuple[list[float], list[float]]:
    """A run on a head that has no CPU: seconds from the first task that can have waited to the joining of each node, and from each joining
    to the node's first decoding child.
    """
    with autoscaled() as held:
        head = {*held.raylets()}
        command = [sys.executable, "-m", "benchmarks.growth", "--look", held.address]
        looking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=render.ROOT, env={**os.environ, **DISABLED})
        assert looking.stdout is not None
        try:
            if looking.stdout.readline() != "ready\n":
                raise RuntimeError("Ray does not say which nodes there are")
            waits, at_work = None, dict[int, float]()
            with running(footage, out, held.address, **DISABLED) as goes_on:
                while goes_on():
                    waits = waits or (time.monotonic() if any((out / "runs").glob("*.parquet")) else None)
                    for raylet in held.busy() - head - at_work.keys():
                        at_work[raylet] = time.monotonic()
        finally:
            looking.kill()
            words, _ = looking.communicate()
    if waits is None:
        raise RuntimeError("the run wrote no row of its own")
    joined = [float(word) for word in words.split()]
    return [at - waits for at in joined], [busy - at for at, busy in zip(joined, sorted(at_work.values()), strict=False)]


def join(footage: Path, out: Path) -> float:
    """A run on two nodes, and a third that joins in mid-run: seconds from its joining to its first decoding child.

    Raises:
        RuntimeError: it got no work.
    """
    with cluster() as nodes, running(footage, out, nodes.address) as goes_on:
        before = {*nodes.raylets.values()}
        while goes_on() and not any((out / "marks").glob("*.parquet")):
            pass
        nodes.add_node()
        joined, seconds = time.monotonic(), None
        [new] = {*nodes.raylets.values()} - before
        while goes_on() and seconds is None:
            if any(parent_of(worker) == new for worker in nodes.workers()):
                seconds = time.monotonic() - joined
    if seconds is None:
        raise RuntimeError("the node that joined got no work before the run ended: name more --videos")
    return seconds


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--look", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.look:
        look(args.look)
    n = args.videos
    source = render.tiny(VIDEO_S * render.FPS, *SIDE)
    print(f"drawn footage, {n} videos of {VIDEO_S} s, {SIDE[0]} x {SIDE[1]}")
    targets = Targets()
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as name:
        folder = Path(name)
        render.copies(source, folder / "footage", n)
        joined, at_work = grow(folder / "footage", folder / "grown")
        print(f"the cluster grew from 0 to {len(joined)} nodes, {', '.join(f'{s:.1f}' for s in joined)} s after the run began to wait")
        print(f"they had work {', '.join(f'{s:.1f}' for s in at_work)} s after they had joined", flush=True)
        by_hand = join(folder / "footage", folder / "joined")
    targets.at_least("nodes that the autoscaler added and that worked", len(at_work), NODES)
    targets.at_most("the last of them joined after", max(joined, default=GROWN_S + 1), GROWN_S, "s")
    targets.at_most("a node of the autoscaler has work after", max(at_work, default=WORK_S + 1), WORK_S, "s")
    targets.at_most("a node added by hand has work after", by_hand, WORK_S, "s")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
