"""What this process may use of the machine: cores and memory, as the scheduler and the control groups grant them, and CUDA devices.

In a container the machine's own figures lie: 2 of 64 cores may be granted. Both readers take the smallest bound they find.
Control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max, memory.max) and their v1 names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")
UNLIMITED_BYTES = 1 << 60
"""cgroup v1 writes "no limit" as the largest page-aligned 63-bit number; nothing real is above this."""


def cores(cgroup: Path = CGROUP, proc: Path = PROC) -> int:
    """Cores this process may keep busy, at least 1: the smaller of its affinity and its CPU quota, rounded up.

    A quota of 1.5 cores counts as 2: the kernel's throttling is milder than a core left idle.
    """
    granted = float(len(os.sched_getaffinity(0)))
    for folder in _groups(cgroup, proc, "cpu"):
        quota = _quota(folder)
        if quota is not None:
            granted = min(granted, quota)
    return max(1, int(-(-granted // 1)))


def memory_bytes(cgroup: Path = CGROUP, proc: Path = PROC) -> int:
    """Bytes of memory this process and its children may hold: the smaller of the machine's and the control group's limit."""
    total = _machine_memory(proc)
    for folder in _groups(cgroup, proc, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _number(folder / name)
            if limit is not None and limit < UNLIMITED_BYTES:
                total = min(total, limit)
    return total


def cuda_devices(proc: Path = PROC) -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them: those of the variable, else all of the driver's."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    folder = proc / "driver" / "nvidia" / "gpus"
    return [str(number) for number in range(len(list(folder.iterdir())))] if folder.is_dir() else []


def _groups(cgroup: Path, proc: Path, controller: str) -> Iterator[Path]:
    """Folders of the process's control group and of all above it, for v2 and for v1's `controller`.

    In a container the path inside /proc/self/cgroup may not exist below the mount; the mount itself is then the group.
    """
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        root = cgroup / names if names and (cgroup / names).is_dir() else cgroup / controller if names else cgroup
        folder = root / path.lstrip("/")
        while root in folder.parents:
            if folder.is_dir():
                yield folder
            folder = folder.parent
        if root.is_dir():
            yield root


def _quota(folder: Path) -> float | None:
    """CPU quota of one group in cores, None where it sets none."""
    words = _text(folder / "cpu.max").split()
    if len(words) == 2 and words[0].isdigit():
        return int(words[0]) / int(words[1])
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def _machine_memory(proc: Path) -> int:
    """MemTotal of /proc/meminfo, in bytes; the C library's count of pages where that file is missing."""
    for line in _text(proc / "meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    """The file's text, empty where it is absent or not ours to read."""
    try:
        return path.read_text()
    except OSError:
        return ""
