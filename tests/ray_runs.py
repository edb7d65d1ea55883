"""Runs on Ray, for tests: the footage is that of conftest's `ray_films`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray_cluster import RunningCluster
from stores import rows_of, settings_of

QUICK = ("scan.workers=0", "rules.too_short.min=0.5", "frames.per_s=10")
N_FILMS = 6


def on_ray(nodes: RunningCluster, films: Path, out: Path, *settings: str) -> list[str | Path]:
    """The words of a run on a cluster."""
    return ["run", films, "--out", out, "--ray", nodes.address, *settings_of(*QUICK, *settings)]


def but_errors(out: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of a store but those of failed attempts."""
    return {name: rows for name, rows in rows_of(out).items() if name != "errors"}


def until(condition: Callable[[], object], within_s: float = 120.0) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
