"""`python -m rushes.media.group_with_parent COMMAND ...` runs a command, and ends it with all its children when its parent dies.

`die_with_parent.py` ends one process. A server starts processes of its own, in groups of their own if it likes, so this module stays as a
process between the parent and the command:

- Its standard input is a pipe that the parent holds open. When it ends, since the parent has died, all are killed at once. After the line
  `end` the command is asked to end (SIGTERM), and what is left after `GRACE_S` is killed.
- The command leads a session and a group of its own. The kernel gives its orphans to this process (a "child subreaper", prctl(2)), so that
  also those of another group are found.
- If this process itself is killed, the kernel ends the command (PR_SET_PDEATHSIG), and the parent the rest of its group, whose number it
  reads on this process's standard output.

It imports the standard library only. What the command writes goes to standard error. On other systems than Linux, which lack prctl, the
command's group is ended, and no other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_S = 5.0
"""How long a command may take to end when it is asked to, seconds: `transformers serve` finishes the request under way."""
END = b"end\n"
_SUBREAPER, _PARENT_DEATH = 36, 1
"""PR_SET_CHILD_SUBREAPER and PR_SET_PDEATHSIG of <linux/prctl.h>."""
_LOOK_S = 0.1


def main(words: list[str]) -> int:
    """Runs the command; returns its exit code, 128 and the signal's number after a signal, 127 where it cannot be started."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _prctl(_SUBREAPER, 1)
    me = os.getpid()

    def in_command() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _prctl(_PARENT_DEATH, signal.SIGKILL)
        if os.getppid() != me:
            os._exit(0)

    try:
        command = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            start_new_session=True,
            preexec_fn=in_command,
        )
    except OSError as error:
        sys.stderr.write(f"{words[0]} cannot be started: {error.strerror or error}\n")
        return 127
    with contextlib.suppress(OSError):  # the parent is gone, as standard input will say
        sys.stdout.write(f"{command.pid}\n")
        sys.stdout.flush()
    asked = _await_end(command)
    if asked:
        _signal_group(command.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while command.poll() is None and time.monotonic() < deadline and not _parent_is_gone():
            time.sleep(_LOOK_S)
    _kill_all(command)
    code = command.wait()
    return 128 - code if code < 0 else code


def _await_end(command: subprocess.Popen[bytes]) -> bool:
    """Waits until the command has ended, or the parent wants it to; True where it is to be asked first."""
    while command.poll() is None:
        if select.select([0], [], [], _LOOK_S)[0]:
            return os.read(0, len(END)) == END
    return False


def _parent_is_gone() -> bool:
    return bool(select.select([0], [], [], 0)[0]) and os.read(0, len(END)) == b""


def _kill_all(command: subprocess.Popen[bytes]) -> None:
    """Kills the command's group and all descendants of this process, until there are none."""
    while True:
        _signal_group(command.pid, signal.SIGKILL)
        command.poll()
        left = _descendants()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left and command.poll() is not None:
            return
        time.sleep(0.01)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _descendants() -> list[int]:
    """Living processes below this one; none where there is no /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(entry.parent.name)] = int(parent)
    family, grew = {os.getpid()}, True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family |= more
        grew = bool(more)
    return sorted(family - {os.getpid()})


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
