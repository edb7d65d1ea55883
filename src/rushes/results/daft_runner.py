"""Daft's runner for readers: that of this machine, unless the program has chosen another one before."""

from __future__ import annotations

import contextlib
import os

from rushes.ray_cluster import QUIET


def start_daft() -> None:
    """Chooses Daft's native runner for this process, with telemetry and progress bars off. A runner that is chosen already stays."""
    os.environ.update(QUIET)
    import daft

    with contextlib.suppress(daft.exceptions.DaftCoreException):
        daft.set_runner_native()
