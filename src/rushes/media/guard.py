"""Guarded children: a file of unknown origin is decoded in a child process with limits, so that one bad file cannot harm others.

A child runs a Python module (`python -m rushes.media.die_with_parent MODULE`) and does many jobs, one after the other. It reads its jobs
from standard input, one JSON object a line. It writes JSON lines to the descriptor named in RUSHES_REPLY_FD: `{"ready": true}` when its
modules are imported, and for each job any number of `{"progress": seconds}`, then one `{"done": ...}` or `{"error": ...}`. A child that
crashes, hangs or uses too much memory is replaced. Ctrl-C does not reach it: its parent decides when it ends.

No child outlives its parent. A child ends when its standard input ends. While it still imports modules, or while native code keeps Python
from reading standard input, SIGIO ends it: the kernel sends that signal when the parent's end of a second pipe is closed
(`die_with_parent.py`).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from rushes.errors import CannotGoOn, CrashError, HangError, MemoryError_
from rushes.media.die_with_parent import PARENT_PIPE_FD
from rushes.no_pandas import keep_pandas_out

LOOK_EVERY_S = 0.25
"""How often the parent checks a child's memory and the stop flag, and how often a child reports progress at most, seconds."""
STARTS = 3
"""Children that are started for a job before the run is given up, where each ends before it is ready."""
CLOSE_S = 5.0
"""How long a child may take to end when its input has ended."""
REPLY_FD = "RUSHES_REPLY_FD"
THREADS = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",  # OpenMP: torch, onnxruntime, Arrow's pool of computing threads
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",  # numpy
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",  # numpy on macOS
        "NUMEXPR_NUM_THREADS",
        "OPENCV_FOR_THREADS_NUM",
    )
}
"""Variables that limit the libraries in a child to one thread, since as many children run as there are cores. libav has no such variable:
`media/decode.py` and the writers of clip files set one thread for each stream. OpenCV reads its variable only in some builds, so a child
also calls `cv2.setNumThreads(1)`."""
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
"""Lets glibc reuse freed arrays of up to 32 MiB (mallopt(3)). By default it maps each numpy array above 128 KiB anew, and the page faults
made the conversion of a 640 x 360 picture to float32 seven times as slow (0.38 against 0.05 ms)."""
QUICK_START = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""Keeps pydantic from looking for plugins in all installed packages: that took 40 ms of the 0.7 s in which a child starts (measured)."""
CHILD_ENV = THREADS | ALLOCATOR | QUICK_START
"""Environment of the children. Benchmarks of the one pass run under it too, so that they measure what a child does."""


class Stopped(Exception):
    """The run is stopping, so the job was given up. Whether it had an effect is not known."""


class Limits(NamedTuple):
    """What a child may take: seconds without a progress message, and bytes of resident memory."""

    hang_s: float
    memory_bytes: float


STARTING = Limits(120.0, math.inf)
"""Limits of a child until it is ready and has answered its first message: it has seen no file, and takes a second or two where nothing else
runs."""


class Child:
    """One guarded child process. Used by one thread at a time.

    Args:
        module: the module to run, such as "rushes.engine.work.child".
        hang_s: seconds without a progress message after which a job is given up.
        memory_bytes: resident memory at which a job is given up (looked at on Linux).
        stop: set when the run is to stop.
        first: the message that each new process is sent before its first job; None where it needs none.
        env: further environment of the process, such as another number of threads.
        what: what the process does, for messages.
    """

    def __init__(
        self,
        module: str,
        *,
        hang_s: float,
        memory_bytes: float,
        stop: threading.Event,
        first: dict[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        what: str = "decoding",
    ) -> None:
        self._module = module
        self._limits = Limits(hang_s, memory_bytes)
        self._stop = stop
        self._first = first
        self._env = dict(env or {})
        self._what = what
        self._process: subprocess.Popen[bytes] | None = None
        self._replies: IO[bytes] | None = None
        self._parent_end: IO[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def _start(self) -> subprocess.Popen[bytes]:
        read_end, write_end = os.pipe()
        parent_read, parent_write = os.pipe()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        env = {**os.environ, **CHILD_ENV, **self._env, REPLY_FD: str(write_end), PARENT_PIPE_FD: str(parent_read)}
        process = subprocess.Popen(
            [sys.executable, "-m", "rushes.media.die_with_parent", self._module],
            process_group=0,  # Ctrl-C at a terminal goes to the parent alone
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            pass_fds=(write_end, parent_read),
            env=env,
        )
        os.close(write_end)
        os.close(parent_read)
        self._parent_end = os.fdopen(parent_write, "wb", buffering=0)
        os.set_blocking(read_end, False)
        self._replies = os.fdopen(read_end, "rb", buffering=0)
        self._process = process
        return process

    @property
    def pid(self) -> int | None:
        """The child's process id, or None when none is running."""
        return self._process.pid if self._process else None

    def do(self, job: dict[str, Any], *, uri: str, progress: Callable[[float], object] | None = None) -> dict[str, Any]:
        """Sends one job to the child and returns its last message, which has the key `done` or `error`. Starts a child if none runs, also
        where the last one ended between two jobs; where that one answers `first` with an error, this is the answer.

        Raises:
            HangError, MemoryError_, CrashError: the child was ended or died; the next job gets a new one.
            CannotGoOn: no child can be started, which is no fault of the job.
            Stopped: the run is stopping.
        """
        if self._process is None or self._process.poll() is not None:
            answer = self._begin(uri)
            if "error" in answer:
                self.kill()
                return answer
        return self._ask(job, uri, progress or (lambda _s: None), self._limits)

    def _begin(self, uri: str) -> dict[str, Any]:
        """Starts a child, waits until it is ready, and gives its answer to `first`. One that ends before that is started again."""
        for n in range(1, STARTS + 1):
            self.close()
            self._start()
            try:
                self._listen(uri, lambda _s: None, STARTING)
                return {} if self._first is None else self._ask(self._first, uri, lambda _s: None, STARTING)
            except (HangError, MemoryError_, CrashError) as error:
                if n == STARTS:
                    mend = "rushes doctor tells what is missing on this machine"
                    raise CannotGoOn(f"no {self._what} process can be started: {error.what}", step="run", mend=mend) from error
        raise AssertionError("the last start returns or raises")

    def _ask(self, message: dict[str, Any], uri: str, progress: Callable[[float], object], limits: Limits) -> dict[str, Any]:
        process = self._process
        if process is None:  # another thread ended the child, as it does when the run is stopping
            raise Stopped
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise self._crash(uri) from None
        return self._listen(uri, progress, limits)

    def _listen(self, uri: str, progress: Callable[[float], object], limits: Limits) -> dict[str, Any]:
        if self._replies is None:  # another thread ended the child, as it does when the run is stopping
            raise Stopped
        buffer = b""
        heard = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            while True:
                if selector.select(LOOK_EVERY_S):
                    try:
                        data = self._replies.read(1 << 20)
                    except (AttributeError, ValueError):  # another thread ended the child, as it does when the run is stopping
                        raise Stopped from None
                    if data == b"":
                        raise Stopped if self._stop.is_set() else self._crash(uri)
                    heard = time.monotonic()
                    buffer += data or b""
                    *lines, buffer = buffer.split(b"\n")
                    for line in lines:
                        message: dict[str, Any] = json.loads(line)
                        if "progress" not in message:
                            return message
                        progress(float(message["progress"]))
                self._look(uri, heard, limits)

    def _look(self, uri: str, heard: float, limits: Limits) -> None:
        if self._stop.is_set():
            self.kill()
            raise Stopped
        if time.monotonic() - heard > limits.hang_s:
            self.kill()
            raise HangError(
                f"no packet progress for {limits.hang_s:g} s",
                uri=uri,
                step="scan",
                mend="the file is likely broken; else raise scan.hang_s",
            )
        used = resident_bytes(self.pid)
        if used > limits.memory_bytes:
            self.kill()
            raise MemoryError_(
                f"decoding took {used / 2**30:.1f} GiB, the limit is {limits.memory_bytes / 2**30:.1f} GiB",
                uri=uri,
                step="scan",
                mend="the file is likely an allocation bomb; else raise scan.memory_gib",
            )

    def _crash(self, uri: str) -> CrashError:
        assert self._process is not None
        code = _ended(self._process)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        words = self._last_words()
        self.close()
        return CrashError(
            f"the {self._what} process died with {how}{': ' + words if words else ''}",
            uri=uri,
            step="scan",
            mend="the file crashes the decoder; take it out, or report it to libav",
        )

    def _last_words(self) -> str:
        if self._stderr is None:
            return ""
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 2000))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def kill(self) -> None:
        """Ends the child at once."""
        if self._process is not None:
            self._process.kill()
        self.close()

    def close(self) -> None:
        """Ends the child by closing its standard input, and waits until it has ended."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            _ended(process)
        for handle in (self._replies, self._parent_end, self._stderr):
            if handle is not None:
                handle.close()
        self._replies = self._parent_end = self._stderr = None


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a child that was asked to end, or that closed its answers; it is killed if it takes longer than `CLOSE_S`."""
    try:
        return process.wait(CLOSE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def resident_bytes(pid: int | None) -> int:
    """Resident memory of a process in bytes; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def serve(do: Callable[[dict[str, Any], Callable[[float], None]], dict[str, Any]], *, without_pandas: bool = True) -> NoReturn:
    """The child's side: does jobs until standard input ends; then the process exits at once, even while native code runs.

    Args:
        do: does one job. It is given the job and a function that reports seconds of progress, and returns the last message.
        without_pandas: saves the time in which pyarrow would import pandas; not where libraries that look for pandas are imported (torch).
    """
    if without_pandas:
        keep_pandas_out()
    replies = os.fdopen(int(os.environ.pop(REPLY_FD)), "wb", buffering=0)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            jobs.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    replies.write(b'{"ready": true}\n')
    reported_at = 0.0

    def progress(seconds: float) -> None:
        nonlocal reported_at
        now = time.monotonic()
        if now - reported_at >= LOOK_EVERY_S:
            reported_at = now
            replies.write(json.dumps({"progress": seconds}).encode() + b"\n")

    while True:
        answer = do(json.loads(jobs.get()), progress)
        replies.write(json.dumps(answer).encode() + b"\n")
