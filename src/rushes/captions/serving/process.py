"""One caption server as a process, which ends with this one, whatever happens (`media/group_with_parent.py`)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque

from rushes.captions.serving.launch import Launch
from rushes.media import group_with_parent
from rushes.media.group_with_parent import END, GRACE_S

KEPT_LINES = 400
"""Lines of a server's output that are kept: its last words, and the error that came some time before."""
LONGEST_LINE = 2000
SHOWN_LINES = 3
SHOWN = 300
"""Characters of a line that are quoted."""
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ENDS = re.compile(rb"[\r\n]+")
_ERROR = re.compile(r"\b(\w+Error|\w*Exception|error|fatal)\b\s*:", re.IGNORECASE)
"""Matches the lines in which servers say what went wrong, which are not always the last ones."""


class ServerProcess:
    """Starts a server; `end` ends it and all processes that it started.

    Args:
        launch: the command.
    """

    def __init__(self, launch: Launch) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._ending = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", group_with_parent.__file__, *launch.words],  # by its path: the environment may be another Python's
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0,  # Ctrl-C at a terminal goes to the run alone, which ends the server
            env=launch.env,
        )
        self._reader = threading.Thread(target=self._read, name="caption server", daemon=True)
        self._reader.start()
        assert self._process.stdout is not None
        self._group = int(self._process.stdout.readline() or b"0")

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """How it ended, and the last lines of its output, with the last one before them that tells of an error."""
        code = self._process.poll()
        self._reader.join(1.0)
        lines = [line for raw in list(self._lines) if (line := _ANSI.sub("", raw).strip())]
        shown = lines[-SHOWN_LINES:]
        errors = [line for line in lines[:-SHOWN_LINES] if _ERROR.search(line)]
        if errors and not any(_ERROR.search(line) for line in shown):
            shown = [errors[-1], "...", *shown]
        words = " | ".join(line[:SHOWN] for line in shown)
        how = "it runs" if code is None else f"exit code {code}" if 0 <= code <= 128 else f"signal {abs(code) % 128}"
        return f"{how}; its last words: {words}" if words else f"{how}, and it said nothing"

    def end(self) -> None:
        """Asks it to end, and kills what is left of it and its children after `GRACE_S`."""
        with self._ending:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(END)
                self._process.stdin.flush()
            try:
                code = self._process.wait(GRACE_S + 5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
            if code < 0 and self._group:  # what was to end the group was killed itself
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._group, signal.SIGKILL)
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read(self) -> None:
        """Keeps the last lines, until all processes that hold the output have ended."""
        assert self._process.stderr is not None
        rest = b""
        with self._process.stderr as output:
            while chunk := output.read(1 << 16):
                *lines, rest = _ENDS.split(rest + chunk)
                self._lines.extend(line[:LONGEST_LINE].decode(errors="replace") for line in lines)
                rest = rest[-LONGEST_LINE:]
        self._lines.append(rest.decode(errors="replace"))
