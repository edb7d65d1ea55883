"""What a person at a terminal sees: bars with rates and ETA while a run goes on, quiet lines where there is no terminal, tables after."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from rushes.results.shares import bottleneck, busy_shares, left_s

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from rushes.counts.tally import Tally
    from rushes.engine.run import RunResult

LINE_EVERY_S = 10.0
"""How often a quiet line is written where stderr is no terminal."""
LISTED = 12
"""Names with counts that are listed in one line."""
SECRET = re.compile(r"secret|token|password|passwd|credential|key(?!s?_?id)|sas|connection_string", re.IGNORECASE)
"""Options of a filesystem whose values are not shown."""
ALIGNED = 1000
"""Rows of a table that are looked at before the first is printed."""


def say(text: str) -> None:
    """One message on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def interruptible() -> threading.Event:
    """An event that SIGINT and SIGTERM set; a second signal ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()
        say(f"\nstopping ({signal.Signals(number).name}); what is done stays done ...")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop


class Screen:
    """Shows a run's counts on stderr. Use as a context manager; `update` may be called often.

    Args:
        store: as it was given.
        options: what commands that read the store need besides its name.
    """

    def __init__(self, store: str, options: Sequence[str] = ()) -> None:
        self.store = store
        self._options = options
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._line_at = 0.0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description:>9}"), BarColumn(), TextColumn("{task.fields[words]}"), TimeRemainingColumn())
            self._bars = Progress(*columns, console=Console(stderr=True))
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()

    def update(self, tally: Tally) -> None:
        """Shows the present state."""
        if self._bars is not None:
            self._show(self._bars, tally)
        elif time.monotonic() - self._line_at >= LINE_EVERY_S:
            self._line_at = time.monotonic()
            say(f"{tally.wall_s:6.0f} s  {videos_words(tally)}; {clips_words(tally)}")

    def _show(self, bars: Progress, tally: Tally) -> None:
        counts = tally.counts
        ended = int(counts["videos_scanned"] + counts["videos_failed"])
        rows = {
            "videos": (ended, max(tally.videos_todo, ended), videos_words(tally)),
            "footage": (tally.decoded_now_s, max(tally.footage_todo_s, tally.decoded_now_s), footage_words(tally)),
            "clips": (0, 0, clips_words(tally)),
        }
        for name, (done, total, words) in rows.items():
            if name not in self._tasks:
                self._tasks[name] = bars.add_task(name, words=words)
            bars.update(self._tasks[name], completed=done, total=total or None, words=words)

    def summary(self, result: RunResult) -> None:
        """What came of the run, and how to go on. The commands are printed so that they work as they stand."""
        c = result.counts
        left = "" if result.status == "finished" else f" + {_left(c)} left"
        say(f"{result.status}: {c['videos_found']} videos = {_videos(c)}{left}")
        say(f"{_clips(c)}; {c['captions_made']} captions made; {hours(c['footage_s'])} of footage in {c['wall_s']:.1f} s")
        for line in (*ending_lines(c), *result.notes):
            say(line)
        if c["videos_failed"] or c["clips_failed"] or c.get("files_failed"):
            say(f"what failed and why: {self.command('errors')}")
        if result.status == "interrupted":
            say("run the same command again to go on")
        else:
            for words in (("report", "--open"), ("clips",), ("export", "--to", "clips")):
                say(f"next: {self.command(*words)}")

    def command(self, verb: str, *words: str) -> str:
        """A command on this run's store, as this person would type it."""
        return " ".join([command_name(), verb, *map(shlex.quote, [self.store, *words, *self._options])])


def command_name() -> str:
    """How this program was called: "rushes" where the shell finds it under that name, else its path or its module."""
    called = sys.argv[0]
    if os.path.basename(called) != "rushes":
        return f"{shlex.quote(sys.executable)} -m rushes.cli" if called.endswith(".py") else "rushes"
    found = shutil.which("rushes")
    return "rushes" if found and os.path.realpath(found) == os.path.realpath(called) else shlex.quote(called)


def reading_options(recipe_file: str | None, settings: Sequence[str], has_storage: bool) -> list[str]:
    """The options that commands need to open a run's store: those that say how its filesystem is reached, which no store keeps.

    Args:
        recipe_file: as given to the run.
        settings: those of `--set`; secrets among them are shown as "...".
        has_storage: whether the recipe has a `[storage]`.
    """
    words = ["--recipe", recipe_file] if recipe_file is not None and has_storage else []
    for text in settings:
        key = text.partition("=")[0]
        if not key.startswith("storage."):
            continue
        words += ["--set", f"{key}=..." if SECRET.search(key) else text]
    return words


def ending_lines(c: Mapping[str, Any]) -> list[str]:
    """Why clips were dropped, and what was passed over or could not be made, one line each."""
    lines = []
    if c["reasons"]:
        lines.append(f"dropped by {_listed(c['reasons'])}" + ("; a clip may have several reasons" if _overlap(c) else ""))
    if c.get("files_failed"):
        lines.append(f"{c['files_failed']} clip files could not be made; their clips stay kept")
    if c.get("passed_over"):
        over = {suffix or "no suffix": n for suffix, n in c["passed_over"].items()}
        lines.append(f"passed over, since their names are none of videos: {_listed(over)}")
    if n := c.get("videos_with_other_streams"):
        lines.append(f"{n} videos hold further films that were not scanned")
    return lines


def _listed(counts: Mapping[str, int]) -> str:
    shown = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(shown) - LISTED} more" if len(shown) > LISTED else ""
    return ", ".join(f"{name} {n}" for name, n in shown[:LISTED]) + more


def _overlap(c: Mapping[str, Any]) -> bool:
    return bool(sum(c["reasons"].values()) > c["clips_dropped"])


def _left(c: Mapping[str, Any]) -> int:
    return int(c["videos_found"] - c["videos_scanned"] - c["videos_reused"] - c["videos_failed"] - c["videos_duplicate"])


def _videos(c: Mapping[str, Any]) -> str:
    parts = ("scanned", "reused", "failed", "duplicate")
    return " + ".join(f"{c[f'videos_{part}']} {part}" for part in parts)


def _clips(c: Mapping[str, Any]) -> str:
    parts = ("kept", "dropped", "failed")
    total = sum(c[f"clips_{part}"] for part in parts)
    return f"{total} clips = " + " + ".join(f"{c[f'clips_{part}']} {part}" for part in parts)


def hours(seconds: float) -> str:
    """Seconds as a person says them: 42.0 s, 12.3 min, 4.56 h."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.2f} h"


def videos_words(tally: Tally) -> str:
    """Videos done of those to do, and the rate of footage."""
    c = tally.counts
    ended = int(c["videos_scanned"] + c["videos_failed"])
    return f"{ended}/{max(tally.videos_todo, ended)} videos, {footage_words(tally)}"


def footage_words(tally: Tally) -> str:
    """Footage decoded, video-hours an hour, bytes."""
    rate = tally.decoded_now_s / max(1e-9, tally.wall_s)
    read = tally.counts["bytes_read"] / 1e6
    return f"{hours(tally.decoded_now_s)} of footage, {rate:.1f} video-hours/h, {read:.0f}/{tally.bytes_todo / 1e6:.0f} MB"


def clips_words(tally: Tally) -> str:
    """Clips by verdict, captions and their rate."""
    c = tally.counts
    rate = c["captions_made"] / max(1e-9, tally.wall_s)
    return f"{int(c['clips_kept'])} kept, {int(c['clips_dropped'])} dropped, {int(c['captions_made'])} captions ({rate:.1f}/s)"


def status_lines(row: Mapping[str, Any]) -> list[str]:
    """A run's row in a few lines: state, counts, rates, how busy each stage is, what holds it up, when it may end, what failed."""
    wall = max(1e-9, float(row["wall_s"]))
    live = row["status"] == "running"
    whose = f", process {row['pid']} on {row['host']}" if live else ""
    decoded, ended = row["decoded_now_s"] or row["decoded_s"], row["videos_scanned"] + row["videos_failed"]
    todo = f" of about {hours(row['footage_todo_s'])}" if row["footage_todo_s"] > decoded else ""
    ratio = f"{row['decoded_s'] / row['footage_s']:.2f}" if row["footage_s"] else "-"
    lines = [
        f"run {row['run_id']}: {row['status']}, {hours(wall)}{whose}, runner {row['runner']}, profile {row['profile']}",
        f"videos   {row['videos_found']} found = {_videos(row)}" + (f" + {left} to do" if (left := _left(row)) else ""),
        f"         {60 * ended / wall:.1f} videos/min" + (f", {row['in_flight']} being decoded" if live else ""),
        f"footage  {hours(decoded)}{todo}, {decoded / wall:.1f} video-hours/h, {row['bytes_read'] / 1e6 / wall:.1f} MB/s;"
        f" decode ratio {ratio}",
        f"clips    {_clips(row)}",
        *([f"dropped  {_listed(row['reasons'])}"] if row["reasons"] else []),
        f"captions {row['captions_made']} made ({60 * row['captions_made'] / wall:.1f}/min), {row['caption_requests']} requests,"
        f" {row['captions_pending']} pending",
    ]
    shares = busy_shares(row)
    for stage, seconds in row["busy_s"].items():
        of = f" of {row['capacity'][stage]} {'requests' if stage == 'captions' else 'workers'}" if stage in row["capacity"] else ""
        mark = "  <- the bottleneck" if stage == bottleneck(row) else ""
        lines.append(f"busy     {stage}: {100 * shares[stage]:.0f} %{of} ({hours(seconds)}){mark}")
    if row["errors"]:
        kinds = sorted(row["errors"].items(), key=lambda item: -item[1])
        lines.append(f"errors   {sum(row['errors'].values())} = " + " + ".join(f"{n} {kind}" for kind, n in kinds))
    if live and (rest := left_s(row)) is not None:
        lines.append(f"left     about {hours(rest)}")
    return lines + ([row["message"]] if row["message"] else [])


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Rows as an aligned table on stdout; plain text, so that any name can be shown. The first `ALIGNED` rows say how wide columns are."""
    cells = ([_cell(row.get(c)) for c in columns] for row in rows)
    first = list(islice(cells, ALIGNED))
    widths = [max(len(c), *(len(r[i]) for r in first)) if first else len(c) for i, c in enumerate(columns)]
    for line in chain([list(columns)], first, cells):
        sys.stdout.write("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else " " for c in text)
