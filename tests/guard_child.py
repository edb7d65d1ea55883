"""A child for tests of the guard: does what its job says, well or badly. Run as `python -m guard_child` with tests/ on the path."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from rushes.media.guard import serve


def do(job: dict[str, Any], progress: Callable[[float], None]) -> dict[str, Any]:
    kind = job["kind"]
    if kind == "hang":
        time.sleep(600)
    if kind == "deaf":  # native code that never lets go of the interpreter
        ctypes.PyDLL(None).sleep(600)
    if kind == "work":
        for k in range(job["steps"]):
            time.sleep(0.1)
            progress(k / 10)
    if kind == "grow":
        held = [bytearray(os.urandom(1 << 20)) * 16 for _ in range(job["mib"] // 16)]
        time.sleep(job["hold_s"])
        return {"done": len(held)}
    if kind == "crash":
        sys.stderr.write("first line\nthe decoder is sorry\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "leave":
        os._exit(7)
    return {"done": {"pid": os.getpid(), "text": job.get("text")}}


if __name__ == "__main__":
    serve(do)
