"""A Ray cluster of two nodes with one CPU each on this machine, in a process of its own: real raylets, real Swordfish processes.

Run as a program it prints one line of JSON (address, raylet of each node), then obeys lines on its standard input: `kill N` ends node N as
a power cut would, `add` starts another node. At the end of its input the cluster ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "RUSHES_TEST_CLUSTER"


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """A started cluster."""

    process: subprocess.Popen[str]
    address: str
    raylets: list[int]

    def tell(self, *words: object) -> dict[str, Any]:
        """Gives an order and waits for the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def workers(self) -> dict[int, list[int]]:
        """Daft's process on each node that decodes: process id -> its decoding children."""
        parents = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                parents[int(pid)] = int(Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[1])
        found: dict[int, list[int]] = {}
        for child, worker in parents.items():
            if parents.get(worker) in self.raylets:
                with suppress(OSError):
                    if b"rushes.engine.child" in Path("/proc", str(child), "cmdline").read_bytes():
                        found.setdefault(worker, []).append(child)
        return found


@contextmanager
def cluster(cpus: int = 1) -> Iterator[RunningCluster]:
    """Starts a cluster of a head without CPUs and two nodes."""
    env = {**os.environ, MARK: "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, __file__, str(cpus)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield RunningCluster(process, told["address"], told["raylets"])
    finally:
        process.communicate(timeout=60)


def main(cpus: int) -> None:
    """The process that holds the cluster."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints
    from ray.cluster_utils import Cluster

    held = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [held.add_node(num_cpus=cpus) for _ in range(2)]

    def raylet(node: Any) -> int:
        return int(node.all_processes["raylet"][0].process.pid)

    def tell(**words: Any) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    tell(address=held.address, raylets=[raylet(node) for node in nodes])
    for line in sys.stdin:
        order, *rest = line.split()
        if order == "kill":
            held.remove_node(nodes[int(rest[0])], allow_graceful=False)
            tell(killed=rest[0])
        else:
            nodes.append(held.add_node(num_cpus=cpus))
            tell(raylet=raylet(nodes[-1]))
    held.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
