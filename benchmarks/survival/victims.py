"""What is struck, and how: processes by signals, the caption server, the disk."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.survival.moments import Watch
from benchmarks.survival.places import Nodes, kill
from benchmarks.survival.server import Own

GIVEN_BYTES = (0, 4096, 16_384)
"""A file may grow to one of these under "quota": in some cases small parts are still written, and large ones not."""
AWAY_S = (0.2, 3.0)
"""How long the caption server stays away, from and to."""
DISK = "1g"


@dataclass(frozen=True, slots=True)
class Victim:
    """Something that a run needs.

    Attributes:
        strike: does it; False when there was nothing to strike.
        codes: exit codes of a run that ends of it; empty for one that goes on.
        polite: the run has time to write what it holds.
    """

    name: str
    strike: Callable[[Watch, random.Random], bool]
    codes: frozenset[int] = frozenset()
    polite: bool = False


def _send(*numbers: signal.Signals) -> Callable[[Watch, random.Random], bool]:
    def strike(watch: Watch, chance: random.Random) -> bool:
        for number in numbers:
            kill([watch.pid], number)
            if len(numbers) > 1:
                time.sleep(chance.random() * 0.3)
        return True

    return strike


def _kill_one(pids: list[int], chance: random.Random) -> bool:
    if pids:
        kill([chance.choice(pids)])
    return bool(pids)


def _keeper(watch: Watch, chance: random.Random) -> bool:
    return isinstance(watch.server, Own) and _kill_one(watch.place.servers(watch.pid, keepers=True), chance)


def _child(watch: Watch, chance: random.Random) -> bool:
    return _kill_one(watch.children(), chance)


def _scorer(watch: Watch, chance: random.Random) -> bool:
    return _kill_one(watch.place.scorers(watch.pid), chance)


def _server(watch: Watch, chance: random.Random) -> bool:
    if isinstance(watch.server, Own):
        return _kill_one(watch.place.servers(watch.pid), chance)
    if not watch.captions:
        return False
    watch.server.die(chance.uniform(*AWAY_S))
    return True


def _quota(watch: Watch, chance: random.Random) -> bool:
    given = chance.choice(GIVEN_BYTES)
    for pid in (watch.pid, *watch.children()):
        with suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (given, hard))
    return True


def _disk(watch: Watch, chance: random.Random) -> bool:
    disk = watch.out.parent
    if not os.path.ismount(disk):
        return False
    used = os.statvfs(disk)
    size_kib = (used.f_blocks - used.f_bfree) * used.f_frsize // 1024 + chance.choice([0, 4, 64])
    return remount(disk, f"{size_kib}k")


def remount(disk: Path, size: str = DISK) -> bool:
    """Gives a disk in memory another size."""
    return subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], capture_output=True, check=False).returncode == 0


GONE = frozenset({-signal.SIGKILL})
ASKED = frozenset({130, -signal.SIGINT, -signal.SIGTERM})
"""130; or the signal itself, when it comes before the command listens."""
STOPPED = frozenset({3})


def _worker(watch: Watch, chance: random.Random) -> bool:
    return _kill_one(watch.place.holders(watch.pid), chance)


def _node(watch: Watch, chance: random.Random) -> bool:
    assert isinstance(watch.place, Nodes)
    watch.place.kill_node(chance)
    return True


def _head(watch: Watch, chance: random.Random) -> bool:
    assert isinstance(watch.place, Nodes)
    watch.place.kill_head(chance)
    return True


DRIVER, CHILD, WORKER, NODE = "driver, SIGKILL", "child, SIGKILL", "Ray worker, SIGKILL", "Ray node, SIGKILL"
SCORER, HEAD = "process with models, SIGKILL", "Ray head, SIGKILL"
SERVER, KEEPER = "caption server away", "keeper of a server, SIGKILL"
EARLY = {(HEAD, "plan"), (HEAD, "models are loaded")}
"""Blows before the run holds its store, of which nobody tells a process that loads models on another node: it ends when Ray notices, or
after `UNBEGUN_S`, and has written nothing."""
ATTEMPTS = (CHILD, WORKER)
"""Blows that may count as an attempt at what they hit. The end of a node does not."""
VICTIMS = {
    v.name: v
    for v in (
        Victim(DRIVER, _send(signal.SIGKILL), GONE),
        Victim("driver, SIGTERM", _send(signal.SIGTERM), ASKED, polite=True),
        Victim("driver, SIGINT", _send(signal.SIGINT), ASKED, polite=True),
        Victim("driver, SIGINT twice", _send(signal.SIGINT, signal.SIGINT), ASKED),
        Victim(CHILD, _child),
        Victim(SCORER, _scorer),
        Victim(SERVER, _server),
        Victim(KEEPER, _keeper),
        Victim("disk full", _disk, STOPPED),
        Victim("quota", _quota, STOPPED),
        Victim(WORKER, _worker),
        Victim(NODE, _node),
        Victim(HEAD, _head, STOPPED),
    )
}
SHARES = {
    DRIVER: 10, "driver, SIGTERM": 2, "driver, SIGINT": 2, "driver, SIGINT twice": 1, CHILD: 3, SCORER: 2, SERVER: 3, KEEPER: 2,
    "disk full": 2, "quota": 1,
}  # fmt: skip
"""How often each is struck, out of their sum."""
RAY_SHARES = SHARES | {"quota": 0, WORKER: 6, NODE: 4, HEAD: 2}
"""The same on Ray, whose own processes fall to a quota as well."""
