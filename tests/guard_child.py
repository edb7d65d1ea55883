"""A child for tests of the guard: does what its job says, well or badly. Run as `python -m guard_child` with tests/ on the path."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
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
    if kind == "threads":
        return {"done": threads_of_numeric_work()}
    if kind == "pandas":
        import pyarrow as pa

        return {"done": [pa.array([1]).to_pylist(), "pandas" in sys.modules]}
    return {"done": {"pid": os.getpid(), "text": job.get("text")}}


def threads() -> int:
    """Threads of this process, but for the one with which Arrow's allocator gives memory back."""
    names = [Path(task, "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return sum(name != "jemalloc_bg_thd" for name in names)


def threads_of_numeric_work() -> dict[str, int]:
    """Threads that numpy and OpenCV added to this process by being imported and used; what Arrow and OpenCV would take."""
    before = threads()
    import cv2
    import numpy as np
    import pyarrow as pa

    big = np.random.default_rng(0).random((600, 600))
    (big @ big).sum()
    cv2.GaussianBlur(big, (31, 31), 5)
    return {"more": threads() - before, "arrow": pa.cpu_count(), "opencv": cv2.getNumThreads()}


if __name__ == "__main__":
    serve(do)
