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
BAR = 20
"""Columns of a bar. Its name takes 8, the time left 7, and the blanks between them 3, so that 42 are left for words on 80."""
ALMOST = 0.99
"""Share at which a bar stays whose end is not known for certain."""
UNITS = {"captions": "requests", "scores": "processes"}
"""What the capacity of a stage counts, where that is not workers."""
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
        self._over = False

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
            from rich.table import Column

            words = TextColumn("{task.fields[words]}", table_column=Column(no_wrap=True))
            columns = (TextColumn("{task.description:>8}"), BarColumn(BAR), words, TimeRemainingColumn())
            self._bars = Progress(*columns, console=Console(stderr=True))
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars is not None:
            for task in self._bars.tasks:
                if self._over and kind is None:
                    self._bars.update(task.id, completed=1, total=1)
            self._bars.stop()

    def update(self, tally: Tally) -> None:
        """Shows the present state."""
        if self._bars is not None:
            self._show(self._bars, tally)
        elif time.monotonic() - self._line_at >= LINE_EVERY_S:
            self._line_at = time.monotonic()
            told = (words for _, _, words in bar_rows(tally).values())
            say(f"{tally.wall_s:6.0f} s  {'; '.join(told)}")

    def _show(self, bars: Progress, tally: Tally) -> None:
        rows = bar_rows(tally)
        self._over = ended(tally) >= tally.videos_todo and not tally.in_flight
        for name, (done, total, words) in rows.items():
            if name not in self._tasks:
                self._tasks[name] = bars.add_task(name, words=words)
            bars.update(self._tasks[name], completed=done, total=total, words=words)

    def summary(self, result: RunResult) -> None:
        """What came of the run, and how to go on. The commands are printed so that they work as they stand."""
        c = result.counts
        left = "" if result.status == "finished" else f" + {_left(c)} left"
        say(f"{result.status}: {c['videos_found']} videos = {_videos(c)}{left}")
        say(f"{_clips(c)}; {c['captions_made']} captions made; {hours(c['footage_s'])} of footage in {c['wall_s']:.1f} s")
        for line in (*ending_lines(c), *result.notes):
            say(line)
        if result.failed:
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
    if c["files_failed"]:
        lines.append(f"clip files that could not be made: {c['files_failed']}; their clips stay kept")
    if c["passed_over"]:
        over = {suffix or "no suffix": n for suffix, n in c["passed_over"].items()}
        lines.append(f"passed over, since their names are none of videos: {_listed(over)}")
    if n := c["videos_with_other_streams"]:
        lines.append(f"videos whose files hold further films, which were not scanned: {n}")
    return lines


def _listed(counts: Mapping[str, int]) -> str:
    shown = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(shown) - LISTED} more" if len(shown) > LISTED else ""
    return ", ".join(f"{name} {n}" for name, n in shown[:LISTED]) + more


def _overlap(c: Mapping[str, Any]) -> bool:
    return bool(sum(c["reasons"].values()) > c["clips_dropped"])


def _left(c: Mapping[str, Any]) -> int:
    ended = sum(c.get(f"videos_{way}", 0) for way in ("scanned", "reused", "failed", "duplicate", "forgotten"))
    return int(c["videos_found"] - ended)


def _videos(c: Mapping[str, Any]) -> str:
    parts = ("scanned", "reused", "failed", "duplicate", *(["forgotten"] if c.get("videos_forgotten") else []))
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


def ended(tally: Tally) -> int:
    """Videos that this run has scanned or found broken."""
    return int(tally.counts["videos_scanned"] + tally.counts["videos_failed"])


def bar_rows(tally: Tally) -> dict[str, tuple[float, float | None, str]]:
    """Bar -> what is done, of how much (None: that is not known), and words of at most `80 - 38` columns.

    The length of footage is an estimate, so its bar is full only when no video is left.
    """
    c, wall = tally.counts, max(1e-9, tally.wall_s)
    done, decoded = ended(tally), tally.decoded_now_s
    todo = max(tally.videos_todo, done)
    length = max(tally.footage_todo_s, decoded if done >= todo and not tally.in_flight else decoded / ALMOST)
    rows: dict[str, tuple[float, float | None, str]] = {
        "videos": (done, todo or None, f"{done}/{todo} videos" + (f", {tally.in_flight} being decoded" if tally.in_flight else "")),
        "footage": (decoded, length or None, f"{hours(decoded)}, {decoded / wall:.1f} video-hours/h"),
        "clips": (0, None, f"{int(c['clips_kept'])} kept, {int(c['clips_dropped'])} dropped"),
    }
    if "scores" in tally.capacity:
        waiting = f", {int(c['scores_pending'])} clips wait" if c["scores_pending"] else ""
        rows["scores"] = (0, None, f"{int(c['scores_made'])} scores, {c['scores_made'] / wall:.1f}/s{waiting}")
    if "captions" in tally.capacity:
        pending = f", {int(c['captions_pending'])} pending" if c["captions_pending"] else ""
        rows["captions"] = (0, None, f"{int(c['captions_made'])} captions, {c['captions_made'] / wall:.1f}/s{pending}")
    if "files" in tally.capacity:
        rows["files"] = (0, None, f"{int(c['files_made'])} clip files")
    return rows


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
        *([f"scores   {row['scores_made']} made, {row['scores_pending']} clips wait"] if "scores" in row["capacity"] else []),
        f"captions {row['captions_made']} made ({60 * row['captions_made'] / wall:.1f}/min), {row['caption_requests']} requests,"
        f" {row['captions_pending']} pending" + (f", {tokens / wall:.1f} tokens/s" if (tokens := row.get("completion_tokens")) else ""),
    ]
    shares = busy_shares(row)
    for stage, seconds in row["busy_s"].items():
        of = f" of {row['capacity'][stage]} {UNITS.get(stage, 'workers')}" if stage in row["capacity"] else ""
        mark = "  <- the bottleneck" if stage == bottleneck(row) else ""
        lines.append(f"busy     {stage}: {100 * shares[stage]:.0f} %{of} ({hours(seconds)}){mark}")
    if row["errors"]:
        kinds = sorted(row["errors"].items(), key=lambda item: -item[1])
        lines.append(f"errors   {sum(row['errors'].values())} = " + " + ".join(f"{n} {kind}" for kind, n in kinds))
    if live and (rest := left_s(row)) is not None:
        lines.append(f"left     about {hours(rest)}")
    return lines + ([row["message"]] if row["message"] else [])


def pace_lines(plan: Mapping[str, Any]) -> list[str]:
    """What a plan says of captions besides counts: settings that are taken for the model, rates, hours to go, costs."""
    lines = []
    if plan["caption_settings"]:
        lines.append(f"captions: {plan['caption_settings']}")
    if plan["captions_per_s"] is not None:
        tokens = f", {plan['tokens_per_s']:.4g} tokens/s" if plan["tokens_per_s"] is not None else ""
        feed = f"; {plan['cores_per_gpu']:.3g} cores scan as fast as one server captions" if plan["cores_per_gpu"] is not None else ""
        lines.append(f"by this store's runs: {plan['captions_per_s']:.4g} captions/s{tokens}{feed}")
    if plan["hours_to_go"] is not None:
        cost = f", costs about {plan['cost_to_go']:.4g}" if plan["cost_to_go"] is not None else ""
        lines.append(f"to go: about {plan['hours_to_go']:.3g} h{cost}")
    return lines


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, words: str | None = None, most: int | None = None) -> None:
    """Rows as an aligned table on stdout; plain text, so that any name can be shown. The first `ALIGNED` rows say how wide columns are.

    Args:
        rows: what to show.
        columns: names, in order.
        words: a column of sentences; what all of them begin with is left out.
        most: characters of a sentence that are shown; None: all.
    """
    rows = iter(rows)
    ahead = list(islice(rows, ALIGNED))
    alike = shared_beginning([str(row[words]) for row in ahead if row.get(words)]) if words else ""

    def shown(row: Mapping[str, Any], name: str) -> str:
        text = row.get(name)
        if name != words or not text:
            return _cell(text)
        rest = str(text).removeprefix(alike)
        return _cell((f"... {rest}" if len(rest) < len(str(text)) else rest)[:most])

    cells = ([shown(row, c) for c in columns] for row in chain(ahead, rows))
    first = list(islice(cells, len(ahead)))
    widths = [max(len(c), *(len(r[i]) for r in first)) if first else len(c) for i, c in enumerate(columns)]
    for line in chain([list(columns)], first, cells):
        sys.stdout.write("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() + "\n")


def shared_beginning(texts: Sequence[str]) -> str:
    """The words that several texts all begin with, with the blank behind them; "" for fewer than two texts."""
    if len(texts) < 2:
        return ""
    first, last = min(texts), max(texts)  # what these two share, all that lie between them share
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind(" ", 0, n) + 1]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else " " for c in text)
