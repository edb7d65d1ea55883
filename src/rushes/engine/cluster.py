"""Ray, and nothing else of the project knows it: the cluster, the desk as an actor, and this node's share.

Daft's Flotilla runs the plan: one Swordfish process a node, which does one task of an asynchronous stage at a time. The desk lives on the
driver's node and takes no CPU. When the driver dies, Ray ends its actors: sessions then find the desk gone and end too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

from rushes.engine.desk import Desk, DeskGone, News, Orders, Turn
from rushes.engine.machine import cores
from rushes.engine.tally import Books, Tally
from rushes.errors import CannotGoOn, MissingExtra, UsageError
from rushes.log import log_events

T = TypeVar("T")

ANSWER_S = 1.0
"""How long a session waits for the desk to take its news before it takes it for gone: it answers within milliseconds."""
PATIENCE_S = 30.0
"""How long the driver waits for its own desk, and a session for any other answer: by its news it finds out sooner."""
HEAD_S = 30.0
"""How long the head may be out of reach, which a restarted one with a store of its own for its state is not. After 60 s Ray's client would
end the driver itself, with exit code 1 (`gcs_rpc_server_reconnect_timeout_s`), while Daft's plan waits for ever."""
RAYLET_S = 3.0
"""The same of the raylet of the driver's node, which never comes back: Ray ends its driver, with exit code 1, when the head has noticed,
after some 10 s; and decoding children 4 s later (measured)."""
GRACE_S = 5.0
"""How long a run may then take to end in good order."""
LOOK_EVERY_S = 1.0
"""How often the driver looks whether they are there, and how long it waits for a connection."""
NAMESPACE = "rushes"
_FORSAKEN = threading.Event()
"""Set when a plan did not end with its run, such as one that waits for a dead node: its thread is in Ray's client, which ends the process
with exit code 1 when it is asked after it was disconnected. So the process ends connected, which for the cluster comes to the same."""
_JOINING = ThreadPoolExecutor(1, thread_name_prefix="ray")
"""A thread that lives as long as this process: the kernel ends the processes of a local cluster with the thread that started them."""
QUIET = {"DAFT_ANALYTICS_ENABLED": "0", "DO_NOT_TRACK": "true", "DAFT_PROGRESS_BAR": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def join(address: str) -> None:
    """Connects this process to a cluster and makes Daft use it. A process that is connected stays with its cluster.

    Args:
        address: "local" starts a cluster of this machine alone; "auto" finds the one that this process is on; or host:port of a head node.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: a Ray Client address.
        CannotGoOn: there is no cluster at the address.
    """
    if find_spec("ray") is None:
        raise MissingExtra("the runner is Ray, and Ray is not installed", step="run", mend="pip install 'rushes[ray]'")
    if address.startswith("ray://"):
        mend = (
            "submit the command as a job on the cluster (ray job submit -- rushes run ... --ray auto), or give host:port of the head node"
        )
        raise UsageError(f"{address} is an address of Ray Client, through which Daft's plan does not run", step="run", mend=mend)
    os.environ.update(QUIET)
    import ray

    if not ray.is_initialized():
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": {"env_vars": QUIET}}
        if address == "local":
            options |= {"num_cpus": cores(), "include_dashboard": False}
        try:
            _init(address=address, namespace=NAMESPACE, **options)
        except (ConnectionError, ValueError, TimeoutError, RuntimeError, ray.exceptions.RayError) as error:
            raise CannotGoOn(
                f"no Ray cluster at {address}: {' '.join(str(error).split())[:200]}", step="run",
                mend="start one (ray start --head), name its address with --ray host:port, or use --ray local; "
                "with RAY_AUTH_MODE=token each process needs the cluster's token",
            ) from error  # fmt: skip
    _watch()
    import daft

    with contextlib.suppress(daft.exceptions.DaftCoreException):  # chosen before, in this process
        daft.set_runner_ray(noop_if_initialized=True)


def _init(**options: Any) -> None:
    """Calls `ray.init` and leaves the handlers of signals as they are.

    In the main thread it would make SIGTERM end this process at once with exit code 15. In another one it leaves Python's handlers alone,
    but its C++ half puts one before them that prints a stack; so they are put in front again.
    """
    import ray

    _JOINING.submit(ray.init, **options).result()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)


def leave() -> None:
    """Disconnects this process, if no plan is left behind in it; a cluster that it started ends."""
    import ray

    if ray.is_initialized() and not _FORSAKEN.is_set():
        _watch().leave()
        _watch.cache_clear()
        ray.shutdown()


def node_sizes() -> list[int]:
    """CPUs of each living node that has any."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [int(node["Resources"]["CPU"]) for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1] or [1]


def this_node() -> tuple[str, int]:
    """The node that this process is on: its id, and its CPUs as the cluster counts them."""
    import ray

    here = str(ray.get_runtime_context().get_node_id())
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return here, max([1, *(int(node["Resources"].get("CPU", 0)) for node in nodes if node["NodeID"] == here)])


def door(run_id: str) -> RemoteDoor:
    """A run's desk, from a process of the cluster.

    Raises:
        DeskGone: the run has ended.
    """
    import ray

    try:
        return RemoteDoor(ray.get_actor(_name(run_id), namespace=NAMESPACE))
    except ValueError as error:
        raise DeskGone from error


def _name(run_id: str) -> str:
    return f"rushes-desk-{run_id}"


class ShownDesk(Desk):
    """A desk whose stages Ray's dashboard shows by name: `rushes_busy_seconds` and `rushes_capacity`, by run and stage."""

    def __init__(self, run_id: str) -> None:
        from ray.util.metrics import Gauge

        super().__init__()
        self._run = run_id
        self._busy = Gauge("rushes_busy_seconds", "busy seconds so far", tag_keys=("run_id", "stage"))
        self._capacity = Gauge("rushes_capacity", "rows of a stage that can be under way at once", tag_keys=("run_id", "stage"))

    def post(self, worker: str, news: News) -> Orders:
        """See `Desk.post`."""
        orders = super().post(worker, news)
        for gauge, by_stage in ((self._busy, self.tally.busy_s), (self._capacity, self.tally.capacity)):
            for stage, value in by_stage.items():
                gauge.set(value, {"run_id": self._run, "stage": stage})
        return orders


class RemoteDoor:
    """The desk, as sessions reach it."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def take(self, worker: str) -> Turn | None:
        """See `Desk.take`."""
        turn: Turn | None = self._ask(lambda: self._actor.take.remote(worker))
        return turn

    def again(self, key: str) -> int:
        """See `Desk.again`."""
        return int(self._ask(lambda: self._actor.again.remote(key)))

    def divide(self, key: str, parts: Mapping[str, str], then: str) -> None:
        """See `Desk.divide`."""
        self._ask(lambda: self._actor.divide.remote(key, parts, then))

    def advance(self, key: str, then: str, books: Books) -> None:
        """See `Desk.advance`."""
        self._ask(lambda: self._actor.advance.remote(key, then, books))

    def post(self, worker: str, news: News) -> Orders:
        """See `Desk.post`.

        Raises:
            DeskGone: it does not answer within a second.
        """
        orders: Orders = self._ask(lambda: self._actor.post.remote(worker, news), ANSWER_S)
        return orders

    def _ask(self, call: Callable[[], Any], within_s: float = PATIENCE_S) -> Any:
        import ray

        try:
            return ray.get(call(), timeout=within_s)
        except ray.exceptions.RayError as error:
            raise DeskGone from error


class Watch:
    """What a driver needs of its cluster, looked at from a thread of its own: the head, and the raylet of the driver's node. Ray tells a
    driver of neither, and ends it with exit code 1 some time after it lost one.

    A run looks with `check`, and ends in good order. Where it cannot, since a call of Ray or Daft waits for what is gone, the process is
    ended here.
    """

    def __init__(self) -> None:
        import ray

        context = ray.get_runtime_context()
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        node = next(node for node in nodes if node["NodeID"] == context.get_node_id())
        host, _, port = str(context.gcs_address).rpartition(":")
        now = time.monotonic()
        self._patience = {
            _Service("the head of the cluster", host, int(port)): HEAD_S,
            _Service("the raylet of the driver's node", node["NodeManagerAddress"], node["NodeManagerPort"]): RAYLET_S,
        }
        self._seen = dict.fromkeys(self._patience, now)
        self._over = threading.Event()
        threading.Thread(target=self._run, name="cluster", daemon=True).start()

    def _run(self) -> None:
        import ray

        while not self._over.wait(LOOK_EVERY_S) and ray.is_initialized():
            for service in self._patience:
                with contextlib.suppress(OSError):
                    socket.create_connection(service[1:], timeout=LOOK_EVERY_S).close()
                    self._seen[service] = time.monotonic()
            if (error := self._gone(GRACE_S)) and not self._over.is_set():
                sys.stderr.write(f"rushes: {error}\n")
                sys.stderr.flush()
                os._exit(error.exit_code)

    def _gone(self, grace_s: float = 0.0) -> CannotGoOn | None:
        for service, patience_s in self._patience.items():
            if time.monotonic() - self._seen[service] > patience_s + grace_s:
                mend = "look at the cluster (ray status), start it anew if need be, then run the same command again: it resumes"
                what = f"{service.name} takes no connection at {service.host}:{service.port}, for {patience_s:g} s and more"
                return CannotGoOn(what, step="run", mend=mend)
        return None

    def check(self) -> None:
        """Looks at what the thread has seen.

        Raises:
            CannotGoOn: something that cannot be done without takes no connection any more.
        """
        if error := self._gone():
            raise error

    def leave(self) -> None:
        """Watches no more."""
        self._over.set()


class _Service(NamedTuple):
    name: str
    host: str
    port: int


@cache
def _watch() -> Watch:
    """The watch over the cluster that this process has joined."""
    return Watch()


class RemoteDesk:
    """The desk as an actor, as its driver sees it. The same methods as `Desk`, as far as a driver needs them.

    Attributes:
        tally: a copy of the books, as new as the last `refresh`.
        fatal, left: as those of `Desk`.
    """

    def __init__(self, run_id: str) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options: dict[str, Any] = {"name": _name(run_id), "namespace": NAMESPACE, "num_cpus": 0, "scheduling_strategy": here}
        options["enable_task_events"] = False  # calls come several times a second, and would crowd the dashboard's list of tasks
        self._actor: Any = ray.remote(ShownDesk).options(**options).remote(run_id)
        self.tally = Tally()
        self.fatal: tuple[str, str] | None = None
        self.left = 0

    def load(self, jobs: Mapping[str, str]) -> None:
        """See `Desk.load`."""
        self._get(self._actor.load.remote(jobs))

    def add(self, **counts: float) -> None:
        """See `Desk.add`."""
        self._get(self._actor.add.remote(**counts))

    def order(self, *, stop: bool = False, close: bool = False, roll_call: bool = False) -> int:
        """See `Desk.order`."""
        return int(self._get(self._actor.order.remote(stop=stop, close=close, roll_call=roll_call)))

    def silent(self, roll_call: int, *, close: bool = False) -> int:
        """See `Desk.silent`."""
        return int(self._get(self._actor.silent.remote(roll_call, close=close)))

    def refresh(self) -> int:
        """See `Desk.refresh`."""
        _watch().check()
        state = self._get(self._actor.state.remote())
        self.tally.load(state["tally"])
        self.fatal, self.left = state["fatal"], state["left"]
        log_events(state["notes"])
        return int(state["lost"])

    def end(self, *, drained: bool) -> None:
        """Ends the actor. `drained`: no plan of the run goes on in this process."""
        import ray

        if not drained:
            _FORSAKEN.set()
        ray.kill(self._actor)

    def _get(self, ref: Any) -> Any:
        import ray

        try:
            return ray.get(ref, timeout=PATIENCE_S)
        except ray.exceptions.RayError as error:
            mend = "look at the cluster (ray status), then run the same command again: it resumes"
            raise CannotGoOn(f"the cluster does not answer on {platform.node()}: {type(error).__name__}", step="run", mend=mend) from error
