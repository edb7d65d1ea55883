"""Ties a child to its parent from its first moment: `python -m rushes.media.life MODULE` runs a module so tied.

The modules of a child take a second to import, and several on a busy machine. Before that, and before anything else, the end of the
parent's pipe is made to end this process, and the signals that are meant for the parent are left to it. Standard library only.
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

LIFE_FD = "RUSHES_LIFE_FD"
"""Environment variable with the descriptor of the reading end of a pipe that the parent holds open and never writes to."""


def tie() -> None:
    """From now on the kernel ends this process (SIGIO) when the parent's end of the pipe is closed; SIGINT and SIGTERM are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    life = int(os.environ.pop(LIFE_FD))
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    with contextlib.suppress(OSError):  # a machine that runs out of memory ends a child before its parent (proc(5), oom_score_adj)
        Path("/proc/self/oom_score_adj").write_text("1000")
    already = select.poll()
    already.register(life, 0)
    if already.poll(0):  # closed before the kernel was told
        os._exit(0)


if __name__ == "__main__":
    tie()
    runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
