"""Who is alive, by /proc: descendants of a process, and orphans that carry a mark in their environment. Linux only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Set
from pathlib import Path


def _stat(pid: str) -> tuple[str, int] | None:
    """(state, parent) of a process, None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as stat:  # read for every process many times a second
            fields = stat.read(1024).rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[1])


def _read(pid: int, what: str) -> bytes:
    try:
        return Path("/proc", str(pid), what).read_bytes()
    except OSError:
        return b""


def command_of(pid: int) -> str:
    """The command line of a process, words apart by spaces; empty when it is gone."""
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def environment_of(pid: int) -> str:
    """The environment of a process at its start; empty when it is gone."""
    return _read(pid, "environ").decode(errors="replace")


def state_of(pid: int) -> str:
    """The state of a process as /proc has it: R, S, D, T (stopped), Z; empty when it is gone."""
    stat = _stat(str(pid))
    return stat[0] if stat else ""


def parent_of(pid: int) -> int:
    """The parent of a process; 0 when it is gone."""
    stat = _stat(str(pid))
    return stat[1] if stat else 0


def _all() -> dict[int, tuple[str, int]]:
    return {int(pid): stat for pid in os.listdir("/proc") if pid.isdigit() and (stat := _stat(pid))}


def _family(states: Mapping[int, tuple[str, int]], root: int) -> set[int]:
    family, grew = {root}, True
    while grew:
        more = {pid for pid, (_, parent) in states.items() if parent in family} - family
        family |= more
        grew = bool(more)
    return family


def descendants(root: int) -> dict[int, str]:
    """Living descendants of a process, by id, with their command lines."""
    states = _all()
    return {pid: command_of(pid) for pid in _family(states, root) - {root} if states[pid][0] not in "ZX"}


def living() -> set[int]:
    """The ids of all processes."""
    return {int(pid) for pid in os.listdir("/proc") if pid.isdigit()}


def _is_below(pid: int, root: int | None) -> bool:
    while pid > 1:
        if (pid := parent_of(pid)) == root:
            return True
    return False


def marked(mark: str, root: int | None = None, but: Set[int] = frozenset()) -> dict[int, str]:
    """Living processes whose environment at their start held `mark` (NAME=value), and descendants of `root` (itself not), by id.

    Those of `but` are not looked at: what a process is costs more to find out than that it is there, and every test asks.
    """
    found = {}
    for pid in living() - but - {root or 0, os.getpid()}:
        if state_of(pid) not in ("", "Z", "X") and (_is_below(pid, root) or mark.encode() in _read(pid, "environ")):
            found[pid] = command_of(pid)
    return found


def open_files(pid: int) -> list[str]:
    """Paths that a process has open; none when it is gone."""
    try:
        return [os.readlink(link) for link in Path("/proc", str(pid), "fd").iterdir()]
    except OSError:
        return []
