"""`python -m rushes.media.die_with_parent MODULE` runs a module, or a file by its path, in a process that ends when its parent does.

The modules of a child take a second to import, and several on a busy machine. So that a parent that dies meanwhile leaves no child behind,
this module runs first: it asks the kernel for a signal when the parent dies, and ignores the signals that are meant for the parent. It
imports the standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import runpy
import select
import signal
import sys
from pathlib import Path

PARENT_PIPE_FD = "RUSHES_PARENT_PIPE_FD"
"""Environment variable with the descriptor of the reading end of a pipe that the parent holds open and never writes to."""


def die_with_parent() -> None:
    """From now on the kernel ends this process (SIGIO) when the parent's end of the pipe is closed; SIGINT and SIGTERM are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = int(os.environ.pop(PARENT_PIPE_FD))
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    with contextlib.suppress(OSError):  # a machine that runs out of memory ends a child before its parent (proc(5), oom_score_adj)
        Path("/proc/self/oom_score_adj").write_text("1000")
    already = select.poll()
    already.register(pipe, 0)
    if already.poll(0):  # the parent died before the kernel was asked for the signal
        os._exit(0)


if __name__ == "__main__":
    die_with_parent()
    if sys.argv[1].endswith(".py"):
        runpy.run_path(sys.argv[1], run_name="__main__")
    else:
        runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
