"""Keeps SVT-AV1 from changing how the system schedules a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def usual_scheduling() -> Iterator[None]:
    """Wraps the first call of SVT-AV1, which opens the encoder: afterwards all threads of this process are scheduled as they were before.

    SVT-AV1, where root runs it, puts the thread that opens it into the real-time class (SCHED_FIFO, priority 99), which all threads and
    processes inherit that are started later: one of them that spins then leaves nothing of its core to any other process of the machine.
    """
    if not hasattr(os, "sched_getscheduler"):  # not on Linux
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for task in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setscheduler(int(task.name), policy, priority)
