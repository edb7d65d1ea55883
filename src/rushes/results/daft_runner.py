"""Daft's runner for readers: that of this machine, unless the program has chosen another one before. Its threads end before Python does.

A query that needs no more rows leaves reads under way, as after `.show()`. They are Python, called by threads of Daft from Rust. Where such
a thread asks for Python while the interpreter ends, Python before 3.14 unwinds it, and Rust then ends the process with SIGABRT or SIGSEGV
(python/cpython issue 87135). Where a query was not read to its end, closing it waits for an event loop whose thread is gone, for ever.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import time
import traceback

from rushes.ray_cluster import QUIET

PATIENCE_S = 10.0
"""Longest wait for reads that are under way when a program ends, seconds; a range of a store takes less than a second to read on a disk."""
LOOK_S = 0.005
"""How often is looked whether a thread has ended or left Python, seconds."""


def start_daft() -> None:
    """Chooses Daft's native runner for this process, with telemetry and progress bars off. A runner that is chosen already stays."""
    os.environ.update(QUIET)
    import daft

    with contextlib.suppress(daft.exceptions.DaftCoreException):
        daft.set_runner_native()
    atexit.unregister(_end_daft)
    atexit.register(_end_daft)


def _end_daft() -> None:
    """Ends Daft's event loop as `asyncio.run` ends its own, and waits until no thread of Daft is in Python: `PATIENCE_S` at most."""
    from daft import event_loop

    if event_loop.LOOP is None:
        return
    loop, until = event_loop.LOOP.loop, time.monotonic() + PATIENCE_S
    while _is_called_by_daft() and time.monotonic() < until:
        loop.call_soon_threadsafe(_cancel_all, loop)  # one that is cancelled may be followed by another
        time.sleep(LOOK_S)
    loop.call_soon_threadsafe(loop.stop)
    while loop.is_running() and time.monotonic() < until:
        time.sleep(LOOK_S)
    if not loop.is_running():
        loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


def _is_called_by_daft() -> bool:
    """Whether a thread that Python did not start is in Python code of Daft."""
    own = {thread.ident for thread in threading.enumerate()}
    called = [frame for ident, frame in sys._current_frames().items() if ident not in own]
    return any(str(at.f_globals.get("__name__")).startswith("daft.") for frame in called for at, _ in traceback.walk_stack(frame))
