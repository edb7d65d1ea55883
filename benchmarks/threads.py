"""Numeric libraries with one thread, as in a decoding child: they read it when imported, so the process starts anew."""

from __future__ import annotations

import os
import sys

from rushes.media.guard import CHILD_ENV


def as_in_a_child(module: str) -> None:
    """Starts this process anew as `python -m MODULE` with a child's thread counts, unless it has them.

    Without them OpenBLAS runs a thread on every core and waits for each by spinning, which a pass in a child never does.
    """
    if any(os.environ.get(name) != count for name, count in CHILD_ENV.items()):
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**os.environ, **CHILD_ENV})


def as_at_the_prompt() -> dict[str, str]:
    """The environment without those counts: what a command typed by a user is started with."""
    return {name: value for name, value in os.environ.items() if name not in CHILD_ENV}
