"""Stops a process of a run when it is about to put its n-th file in its place, or has just done so: the moments between two parts.

Python imports this by itself where this folder is on its path. RUSHES_SURVIVAL_STOP is `driver N before` or `child N after`; nothing else
of the run is changed. The process stops as by SIGSTOP, and the harness strikes it then.
"""

import os
import signal
import sys

WHO, N, WHEN = (os.environ.get("RUSHES_SURVIVAL_STOP") or "nobody 0 before").split()
THIS = "child" if "rushes.engine.child" in sys.orig_argv else "driver"
if WHO == THIS:
    left, put = int(N), os.replace

    def first() -> bool:
        """Whether no process of this run has stopped before: one stop a run, or a second one would look like a hang."""
        try:
            os.close(os.open(f"{os.environ['RUSHES_SURVIVAL_STOPPED']}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def replace(*args: object, **how: object) -> None:
        """os.replace, with a stop."""
        global left  # noqa: PLW0603 - of this process alone
        left -= 1
        if left == 0 and WHEN == "before" and first():
            os.kill(os.getpid(), signal.SIGSTOP)
        put(*args, **how)
        if left == 0 and WHEN == "after" and first():
            os.kill(os.getpid(), signal.SIGSTOP)

    os.replace = replace
