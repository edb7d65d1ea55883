"""Joining a Ray cluster, leaving it, and noticing that it is gone."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from rushes.errors import CannotGoOn, MissingExtra, UsageError
from rushes.machine import cores
from rushes.media.guard import Stopped

JOIN_S = 22.5
"""How long joining may take. Ray itself tries for ten minutes, and its C++ half writes a line about it every 5 s: 2.5 s away from these,
none of them comes between our last words and the end of the process."""
TELL_EVERY_S = 5.0
"""How often joining says that it goes on."""
CONNECT_S = 5.0
"""How long an address may take to accept a connection."""
HEAD_S = 30.0
"""How long the head may be out of reach, which a restarted one with a store of its own for its state is not. After 60 s Ray's client would
end the driver itself, with exit code 1 (`gcs_rpc_server_reconnect_timeout_s`)."""
RAYLET_S = 3.0
"""How long the raylet of the driver's node may be out of reach. It never comes back: Ray ends the driver, with exit code 1, when the head
has noticed, after some 10 s; and decoding children 4 s later (measured)."""
GRACE_S = 5.0
"""How long a run may then take to end in good order."""
LOOK_EVERY_S = 1.0
"""How often the driver looks whether they are there, and how long it waits for a connection."""
NAMESPACE = "rushes"
_STAY_CONNECTED = threading.Event()
"""Set when a task has not ended with its run, such as one on a node that is dead and that Ray does not call dead yet. This process must
then not disconnect, since Ray's client ends a process with exit code 1 when a thread uses it after that. It ends while connected, which is
the same for the cluster."""
_JOINING = ThreadPoolExecutor(1, thread_name_prefix="ray")
"""A thread that lives as long as this process: the kernel ends the processes of a local cluster with the thread that started them."""
QUIET = {
    "DAFT_ANALYTICS_ENABLED": "0", "DO_NOT_TRACK": "true", "DAFT_PROGRESS_BAR": "0", "DAFT_SHOW_QUERY_ID": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}  # fmt: skip
"""Environment in which neither Daft nor Ray reports to its makers, prints progress, or tells of each query."""


def join(address: str, interrupted: Callable[[], bool] = lambda: False, announce: Callable[[str], None] = lambda _line: None) -> None:
    """Connects this process to a cluster. A process that is connected stays with its cluster.

    Args:
        address: "local" starts a cluster of this machine alone; "auto" finds the one that this process is on; or host:port of a head node.
        interrupted: whether to give up; asked often.
        announce: called with a line for people every `TELL_EVERY_S` while it goes on.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: a Ray Client address.
        CannotGoOn: there is no cluster at the address, or it does not answer within `JOIN_S`.
        Stopped: it was interrupted.
    """
    if find_spec("ray") is None:
        raise MissingExtra("the runner is Ray, and Ray is not installed", step="run", mend="pip install 'rushes[ray]'")
    if address.startswith("ray://"):
        mend = (
            "submit the command as a job on the cluster (ray job submit -- rushes run ... --ray auto), or give host:port of the head node"
        )
        raise UsageError(f"{address} is an address of Ray Client, which cannot run tasks by name", step="run", mend=mend)
    os.environ.update(QUIET)
    import ray

    if not ray.is_initialized():
        _reach(address)
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": {"env_vars": QUIET}}
        if address == "local":
            options |= {"num_cpus": cores(), "include_dashboard": False}
        try:
            _init(interrupted, announce, address=address, namespace=NAMESPACE, **options)
        except (ConnectionError, ValueError, TimeoutError, RuntimeError, ray.exceptions.RayError) as error:
            raise _no_cluster(address, " ".join(str(error).split())[:200]) from error
    _watch()


def _no_cluster(address: str, why: str) -> CannotGoOn:
    mend = (
        "start one (ray start --head), name its address with --ray host:port, or use --ray local or, without Ray, "
        "--set engine.runner=native; "
        "with RAY_AUTH_MODE=token each process needs the cluster's token"
    )
    return CannotGoOn(f"no Ray cluster at {address}: {why}", step="run", mend=mend)


def _reach(address: str) -> None:
    """Makes sure that host:port takes a connection, before Ray tries it for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, f"it takes no connection ({error})") from error


def _init(interrupted: Callable[[], bool], announce: Callable[[str], None], **options: Any) -> None:
    """Calls `ray.init` and leaves the handlers of signals as they are.

    In the main thread it would make SIGTERM end this process at once with exit code 15. In another one it leaves Python's handlers alone,
    but its C++ half puts one before them that prints a stack; so they are put in front again.

    Raises:
        TimeoutError: nothing that speaks Ray's protocol is there.
        Stopped: it was interrupted.
    """
    import ray

    began = told = time.monotonic()
    with _native_stderr_hidden():
        joined: Future[Any] = _JOINING.submit(ray.init, **options)
        while not joined.done():
            time.sleep(0.05)
            if interrupted():
                _STAY_CONNECTED.set()
                raise Stopped
            now = time.monotonic()
            if now > began + JOIN_S:
                _STAY_CONNECTED.set()
                raise TimeoutError(f"it does not answer as Ray does within {JOIN_S:g} s")
            if now - told >= TELL_EVERY_S:
                told = now
                doing = "starting Ray" if options["address"] == "local" else f"joining the Ray cluster {options['address']}"
                announce(f"{doing} ... {now - began:.0f} s")
    joined.result()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)


@contextmanager
def _native_stderr_hidden() -> Iterator[None]:
    """Hides what Ray's C++ half writes to descriptor 2 about an address that does not answer; Python's own messages are still shown."""
    shown, python_stderr = os.dup(2), sys.stderr
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        if python_stderr.fileno() == 2:
            sys.stderr = os.fdopen(os.dup(shown), "w", buffering=1)
    except (OSError, ValueError, AttributeError):  # a notebook's or a test's stand-in, which has no descriptor
        pass
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        if sys.stderr is not python_stderr:
            sys.stderr.close()
            sys.stderr = python_stderr


def stay_connected() -> None:
    """Says that a task of this process did not end, so that the process must not disconnect before it ends."""
    _STAY_CONNECTED.set()


def leave() -> None:
    """Disconnects this process, if no task is left behind; a cluster that it started ends."""
    import ray

    if ray.is_initialized() and not _STAY_CONNECTED.is_set():
        _watch().leave()
        _watch.cache_clear()
        ray.shutdown()


def check() -> None:
    """Looks whether the cluster that this process has joined is there.

    Raises:
        CannotGoOn: its head, or the raylet of this node, takes no connection any more.
    """
    _watch().check()


class Watch:
    """Looks, from a thread of its own, whether what a driver needs of its cluster takes connections: the head's state service, and the
    raylet of the driver's node. Ray does not tell a driver when one is gone; it ends the driver with exit code 1 some time later.

    A run asks with `check`, and ends in good order. Where it cannot, since a call of Ray waits for what is gone, this thread ends the
    process.
    """

    def __init__(self) -> None:
        import ray

        context = ray.get_runtime_context()
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        node = next(node for node in nodes if node["NodeID"] == context.get_node_id())
        host, _, port = str(context.gcs_address).rpartition(":")
        self._limits = {
            _Service("the head of the cluster", host, int(port)): HEAD_S,
            _Service("the raylet of the driver's node", node["NodeManagerAddress"], node["NodeManagerPort"]): RAYLET_S,
        }
        self._away_since: dict[_Service, float] = {}
        self._over = threading.Event()
        threading.Thread(target=self._run, name="cluster", daemon=True).start()

    def _run(self) -> None:
        import ray

        while not self._over.wait(LOOK_EVERY_S) and ray.is_initialized():
            for service in self._limits:
                try:
                    socket.create_connection(service[1:], timeout=LOOK_EVERY_S).close()
                    self._away_since.pop(service, None)
                except OSError:
                    self._away_since.setdefault(service, time.monotonic())
            if (error := self._gone(GRACE_S)) and not self._over.is_set():
                sys.stderr.write(f"rushes: {error}\n")
                sys.stderr.flush()
                os._exit(error.exit_code)

    def _gone(self, grace_s: float = 0.0) -> CannotGoOn | None:
        for service, limit_s in self._limits.items():
            since = self._away_since.get(service)
            if since is not None and time.monotonic() - since > limit_s + grace_s:
                mend = "look at the cluster (ray status), start it anew if need be, then run the same command again: it resumes"
                what = f"{service.name} takes no connection at {service.host}:{service.port}, for {limit_s:g} s and more"
                return CannotGoOn(what, step="run", mend=mend)
        return None

    def check(self) -> None:
        """Checks that the thread has reached both lately.

        Raises:
            CannotGoOn: one of the two takes no connection any more.
        """
        if error := self._gone():
            raise error

    def leave(self) -> None:
        """Ends the thread."""
        self._over.set()


class _Service(NamedTuple):
    name: str
    host: str
    port: int


@cache
def _watch() -> Watch:
    """The watch over the cluster that this process has joined."""
    return Watch()
