"""Which process this is, so that another one can tell later whether it still lives: machine, boot, process, time of its start.

A pid alone is not enough: it is used again, and in a container it means another process. So a process is named by the boot of its kernel,
its namespaces of pids and of time, its pid and its start; a name is judged only by a process with the same boot and namespaces.
proc(5): /proc/sys/kernel/random/boot_id; /proc/PID/stat, fields 3 (state), 20 (num_threads) and 22 (starttime, clock ticks since boot).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROC = Path("/proc")


def myself() -> dict[str, Any]:
    """The present process as plain data: host, place (boot and namespaces; "" where the system does not say), pid, started."""
    pid = os.getpid()
    return {"host": platform.node(), "place": place(), "pid": pid, "started": _started(pid)}


def place(proc: Path = PROC) -> str:
    """Where pids mean what they mean here: boot id and namespaces. "" where there is no /proc."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        spaces = [os.readlink(proc / "self/ns" / name) for name in ("pid", "time") if os.path.lexists(proc / "self/ns" / name)]
    except OSError:
        return ""
    return " ".join([boot, *spaces])


def dead(process: Mapping[str, Any]) -> bool:
    """Whether a process that `myself` described has ended for certain. False also where it cannot be known from here."""
    here = place()
    if not here or process.get("place") != here:
        return False
    pid = int(process["pid"])
    try:
        os.kill(pid, 0)  # asks only; works where /proc hides the processes of others
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    stat = _stat(pid)
    if stat is None:
        return False
    ended = stat[0] in "ZX" and int(stat[17]) <= 1  # a zombie whose threads are gone too: it can write nothing more
    return ended or (process.get("started") is not None and int(stat[19]) != process["started"])


def _started(pid: int) -> int | None:
    stat = _stat(pid)
    return None if stat is None else int(stat[19])


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on (the second, the name, may hold anything); None where it cannot be read."""
    try:
        return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
