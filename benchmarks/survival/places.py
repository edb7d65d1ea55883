"""Where a run does its work: this machine, or two nodes of a Ray cluster. Which processes those are, and what can be struck there."""

from __future__ import annotations

import os
import random
import signal
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.render import ROOT
from rushes.engine import score_worker
from rushes.engine.ray_processes import IDLE_S
from rushes.engine.worker import MODULE
from rushes.operators.children import MODULE as CUTTING
from rushes.store.lease import OWNER_S

sys.path.insert(0, str(ROOT / "tests"))
from processes import descendants, marked
from ray_cluster import RunningCluster, cluster

STOPPING = Path(__file__).resolve().parent / "stopping"
STOP_FILE = "RUSHES_SURVIVAL_STOP"
COUNT = "count"
"""In place of where a process is to stop: the processes count the files that they put in place."""
OF_RAY = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Names of Ray's processes while they work for no run. A task's process is called by its name (`ray::scan`), that of the actor by its
class or by the call it is doing (`ray::CaptionActor`, `ray::caption`)."""
OUTLIVE_S = 2.0
"""How long a process of a run may live after the driver."""
WITHOUT_HEAD_S = IDLE_S + 2.0
"""The same when the head of the cluster is gone: a worker process of another node looks every `IDLE_S` whether its run holds the store, and
ends a child that has had no job for so long."""
SETTLES_S = OWNER_S + 1.0
"""Without a head the captioner may live on: it writes what it is answered as long as it believes what it read of the lease."""


def kill(pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Sends a signal to processes, some of which may be gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Machine:
    """The native runner: the driver has children, which scan and write the rows of what they do; it writes captions, runs and failures.

    Attributes:
        runner: its name.
        words: last words of the command.
        outlive_s: how long a process of a run may live after the driver.
        settles_s: how long after that files may still come, from processes that do not know yet that the run has ended.
    """

    runner = "native"
    words: tuple[str, ...] = ()
    outlive_s = OUTLIVE_S
    settles_s = 0.0

    def __init__(self, folder: Path) -> None:
        self._stop = folder / "stop"

    @property
    def env(self) -> dict[str, str]:
        """Environment of the processes of a run, so that they stop by themselves where `stop_at` says."""
        return {"PYTHONPATH": os.pathsep.join([str(STOPPING), str(ROOT / "src"), str(ROOT / "tests")]), STOP_FILE: str(self._stop)}

    def stop_at(self, where: str) -> None:
        """Tells the processes of the next run where one of them is to stop by itself; see `stopping/sitecustomize.py`. Empty: nowhere."""
        for mark in ("taken", "counted"):
            Path(f"{self._stop}.{mark}").unlink(missing_ok=True)
        self._stop.write_text(where)

    def counted(self) -> dict[str, int]:
        """How many files the last run put in place, by "child" and "driver", which is every other process. It was to count them."""
        letters = Path(f"{self._stop}.counted").read_text()
        return {who: letters.count(who[0]) for who in ("child", "driver")}

    def holders(self, driver: int) -> list[int]:
        """Processes that hold children or the captioner."""
        return [driver]

    def children(self, driver: int) -> list[int]:
        """Decoding children, and those that cut clips for a target."""
        return [pid for pid, command in descendants(driver).items() if MODULE in command or CUTTING in command]

    def scorers(self, driver: int) -> list[int]:
        """Children that hold models."""
        return [pid for pid, command in descendants(driver).items() if score_worker.MODULE in command]

    def servers(self, driver: int, *, keepers: bool = False) -> list[int]:
        """Caption servers that the run has started, or the processes that keep them."""
        return _servers(descendants(driver), keepers)

    def working(self, mark: str) -> list[int]:
        """Processes of a run that are alive, by the mark in their environment; the driver is one of them."""
        return [*marked(mark)]

    def left(self, mark: str) -> list[int]:
        """Of these, when the driver has ended: those that must end with it."""
        return self.working(mark)

    def mend(self) -> None:
        """Brings back what blows took away."""


class Nodes(Machine):
    """A Ray cluster of a head and two nodes of one CPU each: a process of each node holds a child, and one process is the captioner."""

    runner = "ray"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._life = ExitStack()
        self._start()

    def _start(self) -> None:
        name, value = "RUSHES_SURVIVAL_CLUSTER", uuid.uuid4().hex
        self._mark, self._is_whole = f"{name}={value}", True
        env = {STOP_FILE: str(self._stop), name: value}
        self._cluster: RunningCluster = self._life.enter_context(cluster(path=[str(STOPPING)], **env))
        self.words = ("--ray", self._cluster.address)
        self.outlive_s, self.settles_s = OUTLIVE_S, 0.0

    def holders(self, driver: int) -> list[int]:
        """See `Machine`."""
        return sorted({*self._cluster.workers(), *self._at_work()})

    def children(self, driver: int) -> list[int]:
        """See `Machine`."""
        return [pid for children in self._cluster.workers().values() for pid in children]

    def scorers(self, driver: int) -> list[int]:
        """See `Machine`."""
        return [pid for pid, words in self._nodes().items() if score_worker.MODULE in words]

    def servers(self, driver: int, *, keepers: bool = False) -> list[int]:
        """See `Machine`."""
        return _servers(self._nodes(), keepers)

    def _nodes(self) -> dict[int, str]:
        return descendants(self._cluster.process.pid) | marked(self._mark)

    def working(self, mark: str) -> list[int]:
        """See `Machine`; also what works for it on the nodes, of which there is one run at a time."""
        return [*super().working(mark), *self._children(), *self._all_servers(), *self._at_work()]

    def _at_work(self) -> list[int]:
        return [pid for pid, words in self._nodes().items() if words.startswith("ray::") and not words.startswith(OF_RAY)]

    def _all_servers(self) -> list[int]:
        return [pid for keepers in (False, True) for pid in self.servers(0, keepers=keepers)]

    def _children(self) -> list[int]:
        return [pid for pid, words in self._nodes().items() if any(name in words for name in (MODULE, CUTTING, score_worker.MODULE))]

    def left(self, mark: str) -> list[int]:
        """See `Machine`. Without a head nobody tells Ray's own processes that the driver has gone; children end all the same."""
        return self.working(mark) if self._is_whole else [*super().working(mark), *self._children(), *self._all_servers()]

    def kill_node(self, chance: random.Random) -> None:
        """Ends a node as a power cut would; another one comes in its place, as on preemptible machines."""
        self._cluster.kill_node(chance.choice([*self._cluster.raylets]))
        self._cluster.add_node()

    def kill_head(self, chance: random.Random) -> None:
        """Ends a process of the head, its state service or its raylet."""
        kill([chance.choice(self._cluster.head)])
        self._is_whole, self.outlive_s, self.settles_s = False, WITHOUT_HEAD_S, SETTLES_S

    def mend(self) -> None:
        """See `Machine`: a cluster without its head is made anew."""
        if not self._is_whole:
            kill([*descendants(self._cluster.process.pid), self._cluster.process.pid])
            self._life.close()
            self._start()

    def close(self) -> None:
        """Ends the cluster."""
        self._life.close()


def _servers(commands: Mapping[int, str], keepers: bool) -> list[int]:
    """Of processes with their command lines: those that keep a caption server, or the servers themselves."""
    return [pid for pid, words in commands.items() if "caption_server.py" in words and ("group_with_parent" in words) == keepers]


@contextmanager
def place(runner: str, folder: Path) -> Iterator[Machine]:
    """The place of a runner, "native" or "ray", for the length of a block."""
    if runner == "native":
        yield Machine(folder)
        return
    nodes = Nodes(folder)
    try:
        yield nodes
    finally:
        nodes.close()
