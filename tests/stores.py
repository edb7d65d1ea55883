"""Runs and their stores, for tests: a small reel of footage, runs of it in this process or by the command, and what readers see."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from footage import Clip, jittered, render, ticks_of
from pictures import film
from rushes.engine.run import RunResult
from rushes.engine.run import run as run_engine
from rushes.errors import RushesError
from rushes.measures.clip import COLUMNS
from rushes.recipe import RULES, Recipe
from rushes.records import Column
from rushes.results import Results
from rushes.scan.one_pass import signal_columns
from rushes.store.store import Store
from rushes.store.tables import TABLES

SRC = Path(__file__).resolve().parent.parent / "src"
WIDE = {"min": -1e9, "max": 1e9}
BASE = (
    *(f"rules.{name}.{bound}={WIDE[bound]}" for name, rule in RULES["web"].items() for bound in rule if bound in WIDE),
    *(
        "rules.too_short.min=1.5",
        "scan.grid_per_s=2",
        "frames.per_s=4",
        "shots.gradual=false",
        "shots.guard_s=0",
        "shots.max_s=0",
        "scan.workers=1",
    ),
)
"""Settings of most runs of the tests: only `too_short` drops, clips tile the video, and one child does the work."""
UNLIKE = ("run_id", "written_at", "cpu_s", "seconds")
"""Columns in which two runs of the same work may differ."""


@dataclass(frozen=True, slots=True)
class Reel:
    """A folder of footage and its truth: two films of three shots each, a second name for one, a file that is no video, and a note."""

    folder: Path
    cuts: Clip
    uneven: Clip

    @property
    def clips(self) -> dict[str, Clip]:
        """The films by uri."""
        return {str(c.path): c for c in (self.cuts, self.uneven)}


def make_reel(folder: Path) -> Reel:
    """Renders the reel: shots of 3.6, 1 and 2.4 s, in the uneven film a little longer."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = [90, 25, 60]
    cuts = render(folder / "cuts.mp4", film(192, 108, lengths, seed=1), audio=True)
    steps = jittered(sum(lengths), cuts.fps, ticks_of(cuts.fps))
    uneven = render(folder / "uneven.mkv", film(192, 108, lengths, seed=2), pts=steps)
    shutil.copyfile(cuts.path, folder / "second name.mp4")
    (folder / "broken.mp4").write_bytes(np.random.default_rng(1).bytes(30_000))
    (folder / "notes.txt").write_text("not video")
    return Reel(folder, cuts, uneven)


def recipe(*settings: str) -> Recipe:
    """The tests' recipe with further settings over it."""
    return Recipe().with_overrides([*BASE, *settings])


def go(footage: Path | Sequence[Path | str], out: Path, *settings: str, limit: int | None = None) -> RunResult:
    """A run in this process."""
    named = [footage] if isinstance(footage, Path) else footage
    return run_engine([str(f) for f in named], str(out), recipe(*settings), limit=limit)


class Seen:
    """What readers see of a store, each as a list: `Results` gives clips, videos, captions and errors one after the other."""

    def __init__(self, results: Results) -> None:
        self.results, self.prints, self.runs, self.explain = results, results.prints, results.runs, results.explain

    def clips(self) -> list[dict[str, Any]]:
        return list(self.results.clips())

    def videos(self) -> list[dict[str, Any]]:
        return list(self.results.videos())

    def captions(self) -> list[dict[str, Any]]:
        return list(self.results.captions())

    def errors(self) -> list[dict[str, Any]]:
        return list(self.results.errors())


def seen(out: Path, *settings: str) -> Seen:
    """What readers see under the tests' recipe with further settings."""
    return Seen(Results(Store.open(str(out), {}), recipe(*settings)))


def rows_of(out: Path, *tables: str, caption: Sequence[Column] = ()) -> dict[str, list[dict[str, Any]]]:
    """All rows that readers see, newest for each key and fingerprint, without times and names of runs. Default: all tables but `runs`.

    `caption`: the columns of structured captions.
    """
    store, found = Store.open(str(out), {}), {}
    extra = {"measures": COLUMNS, "signals": signal_columns(Recipe()), "captions": caption, "windows": caption}
    for name in tables or [t for t in TABLES if t != "runs"]:
        rows = store.read(TABLES[name], extra=extra.get(name, ())).to_pylist()
        found[name] = sorted(({k: _plain(v) for k, v in row.items() if k not in UNLIKE} for row in rows), key=repr)
    return found


def _plain(value: Any) -> Any:
    """NaN is unequal to itself; as text it is not."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return "NaN" if isinstance(value, float) and value != value else value


def parts_of(out: Path) -> dict[str, int]:
    """Every file of a store but the rows of `runs`: path -> time of change."""
    files = (p for p in out.rglob("*") if p.is_file() and p.parent.name != "runs")
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in files}


@dataclass(frozen=True, slots=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """JSON lines of standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


def start(*args: str | Path, code: str = "from rushes import cli; cli.main()", **env: str) -> subprocess.Popen[str]:
    """Starts a command of Rushes; the caller waits for it. `code` is what runs it."""
    environ = {**os.environ, "PYTHONPATH": str(SRC), "PYTHONWARNINGS": "ignore", **env}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    )


def command(*args: str | Path, timeout_s: float = 120, **env: str) -> Done:
    """Runs a command of Rushes."""
    with start(*args, **env) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Done(process.returncode, out, err)


def inline(*args: str | Path) -> Done:
    """A command in this process: as `command`, but for the start of a process and the imports (1 to 2 s)."""
    from typer.testing import CliRunner

    from rushes.cli import app

    def ends(code: int) -> NoReturn:
        raise SystemExit(code)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}  # a run puts its own
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "_exit", ends)  # by which `rushes.cli_options.leave` ends a command
        done = CliRunner().invoke(app, [str(arg) for arg in args])
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if isinstance(done.exception, RushesError):  # what `rushes.cli.main` makes of it
        return Done(done.exception.exit_code, done.stdout, f"{done.stderr}rushes: {done.exception}\n")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def settings_of(*settings: str) -> list[str]:
    """The tests' settings, and further ones, as options of a command."""
    return [word for setting in (*BASE, *settings) for word in ("--set", setting)]
