"""A Ray cluster of two nodes with one CPU each on this machine, in a process of its own: real raylets, real Swordfish processes.

Run as a program it prints one line of JSON (address, processes of the head, raylet of each node), then obeys lines on its standard
input: `kill N` ends node N as a power cut would, `add` starts another node. At the end of its input the cluster ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from processes import descendants, parent_of

MARK = "RUSHES_TEST_CLUSTER"
QUIET = {"DAFT_ANALYTICS_ENABLED": "0", "DAFT_PROGRESS_BAR": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
"""Environment in which Daft and Ray neither draw nor report."""
FAIR = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""By default Ray's workers run at niceness 15: beside other tests they would get a thirtieth of a core."""
CHILDREN = ("rushes.engine.work.child", "rushes.operators.child")


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """A started cluster.

    Attributes:
        process: the process that holds it.
        head: the head's state service (GCS) and raylet, by process id.
        raylets: the raylet of each node that is there, by number of the node.
    """

    process: subprocess.Popen[str]
    address: str
    head: list[int]
    raylets: dict[int, int]

    def kill_node(self, number: int) -> None:
        """Ends a node as a power cut would."""
        self._tell("kill", number)
        del self.raylets[number]

    def tasks(self) -> list[dict[str, Any]]:
        """The tasks that the cluster remembers, as its dashboard lists them: name, and how often Ray tried it again."""
        found: list[dict[str, Any]] = self._tell("tasks")["tasks"]
        return found

    def add_node(self) -> None:
        """Starts another node."""
        told = self._tell("add")
        self.raylets[told["number"]] = told["raylet"]

    def _tell(self, *words: object) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def workers(self) -> dict[int, list[int]]:
        """Daft's process on each node that decodes: process id -> its decoding children."""
        found: dict[int, list[int]] = {}
        for pid, command in descendants(self.process.pid).items():
            if any(child in command for child in CHILDREN):
                found.setdefault(parent_of(pid), []).append(pid)
        return {worker: children for worker, children in found.items() if parent_of(worker) in self.raylets.values()}


@contextmanager
def cluster(cpus: int = 1, gpus: Sequence[int] = (0, 0), path: Sequence[str] = (), **env: str) -> Iterator[RunningCluster]:
    """Starts a cluster of a head without CPUs and as many nodes as `gpus` has numbers.

    Args:
        cpus: of each node.
        gpus: GPUs that each node declares; there need be none.
        path: folders in which its processes look for modules before any other.
        env: further environment of its processes.
    """
    env = {**os.environ, **FAIR, MARK: "1", "PYTHONPATH": os.pathsep.join([*path, *sys.path]), **env}
    words = [sys.executable, __file__, str(cpus), *map(str, gpus)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield RunningCluster(process, told["address"], told["head"], dict(enumerate(told["raylets"])))
    finally:
        everyone = descendants(process.pid)  # when the head was killed, the cluster does not end them all
        process.communicate(timeout=60)
        for pid in everyone:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def tasks(address: str) -> list[dict[str, Any]]:
    """What Ray's state service has recorded of tasks; the dashboard and `ray list tasks` read the same."""
    from ray._private.state import GlobalState
    from ray._raylet import GcsClientOptions

    state = GlobalState()
    state._initialize_global_state(GcsClientOptions.create(address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False))
    state._connect_and_get_accessor()
    return [{"name": event.task_info.name, "retries": event.attempt_number} for event in state._get_all_task_events()]


def main(cpus: int, gpus: Sequence[int]) -> None:
    """The process that holds the cluster."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints
    from ray.cluster_utils import Cluster

    held = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [held.add_node(num_cpus=cpus, num_gpus=n) for n in gpus]

    def pid(node: Any, name: str) -> int:
        return int(node.all_processes[name][0].process.pid)

    def tell(**words: Any) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    head = [pid(held.head_node, name) for name in ("gcs_server", "raylet")]
    tell(address=held.address, head=head, raylets=[pid(node, "raylet") for node in nodes])
    for line in sys.stdin:
        order, *rest = line.split()
        if order == "tasks":
            tell(tasks=tasks(held.address))
        elif order == "kill":
            held.remove_node(nodes[int(rest[0])], allow_graceful=False)
            tell(killed=rest[0])
        else:
            nodes.append(held.add_node(num_cpus=cpus))
            tell(number=len(nodes) - 1, raylet=pid(nodes[-1], "raylet"))
    held.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(word) for word in sys.argv[2:]])
