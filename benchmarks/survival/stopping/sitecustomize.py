"""Lets a process of a run stop before it puts a given file in its place, or when it has just done so: the moments between two parts.

Python imports this by itself where this folder is on its path. The file that RUSHES_SURVIVAL_STOP names says `driver N before` or `child
N after`, anew for each run; nothing else of the run is changed. "driver" is every process but a decoding child and one that scores: on
Ray also a worker process of a node, and the captioner. The process stops as by SIGSTOP, and the harness strikes it then. Where the file
says `count`, a letter for each file that is put in place is added to a file beside it: `c` of a child, `s` of one that scores, `d` of
others.
"""

import os
import signal
import sys
from pathlib import Path

KINDS = {"rushes.engine.work.child": "child", "rushes.engine.work.score_child": "scorer"}
THIS = next((kind for module, kind in KINDS.items() if module in sys.orig_argv), "driver")
WHERE = Path(os.environ.get("RUSHES_SURVIVAL_STOP", "/nowhere"))
done, put = 0, os.replace


def stop(when: str) -> None:
    """Stops this process if it is to stop here and none has before: one stop a run, or a second one would look like a hang."""
    try:
        where = WHERE.read_text().split()
        if where == ["count"] and when == "after":
            with open(f"{WHERE}.counted", "a") as letters:
                letters.write(THIS[0])
        elif where == [THIS, str(done), when]:
            os.close(os.open(f"{WHERE}.taken", os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGSTOP)
    except (FileNotFoundError, FileExistsError):
        pass


def replace(*args: object, **how: object) -> None:
    """os.replace, with a stop."""
    global done  # noqa: PLW0603 - of this process alone
    done += 1
    stop("before")
    put(*args, **how)
    stop("after")


os.replace = replace
