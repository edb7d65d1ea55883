"""The command that publishes clips to tables of the lakehouse and to formats for training."""

from __future__ import annotations

import sys
import time
from contextlib import redirect_stdout
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from rushes.cli_options import Json, ProfileName, RecipeFile, Settings, StoreArg, leave, opened, print_lines

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from rushes.publish.publish import Published

SHOWN = 20
"""Failed clips, and problems, that are shown one by one."""
DOING = {"compare": "comparing", "write": "writing", "check": "checking"}


def publish(
    store: StoreArg, to: Annotated[str, typer.Option("--to", help="kind and place, such as parquet:clips", metavar="TARGET")],
    verdict: Annotated[str | None, typer.Option(help="kept, dropped, failed or all; default: publish.verdict")] = None,
    columns: Annotated[str | None, typer.Option(help="names with commas between them; default: publish.columns")] = None,
    where: Annotated[str | None, typer.Option(help="SQL over the columns, such as \"sharpness > 0.3\"", metavar="EXPR")] = None,
    order: Annotated[str | None, typer.Option(help="column that new rows are sorted by; - before it: the largest first")] = None,
    sample: Annotated[int | None, typer.Option(help="only N clips, the same each time", min=1)] = None,
    ray: Annotated[str | None, typer.Option(help="cut clips on Ray: local, auto, or host:port of a cluster", metavar="ADDRESS")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would change; write nothing")] = False,
    as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None, profile: ProfileName = None,
) -> None:  # fmt: skip
    """Make a table or a folder of training files hold the kept clips. Run it again to write what has changed."""
    import json

    from rushes.progress import interruptible, say
    from rushes.publish.publish import publish as go

    given = {"verdict": verdict, "where": where, "order": order, "sample": sample}
    flags = [f"publish.{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    if columns is not None:
        flags.append(f"publish.columns={json.dumps([name.strip() for name in columns.split(',') if name.strip()])}")
    if ray is not None:
        flags += ["engine.runner=ray", f"engine.ray_address={ray}"]
    results = opened(store, recipe, [*(set_ or ()), *flags], profile)
    with redirect_stdout(sys.stderr), _Shown() as shown:  # Ray prints to standard output when a process of its own dies
        done = go(results, to, options=results.store.options, dry_run=dry_run, interrupted=interruptible(), watch=shown)
    if as_json:
        print_lines([asdict(done)])
    for line in _lines(done):
        say(line)
    code = 130 if done.status == "interrupted" else 0 if done.right else 1
    if results.recipe.engine.runner == "ray":
        leave(code)
    raise typer.Exit(code)


def _lines(done: Published) -> list[str]:
    """What a person is told."""
    if done.status == "interrupted":
        return [f"interrupted: {done.target} is as it was; run the same command again to go on"]
    c = done.counts
    told = f"{c['added']} clips added + {c['changed']} changed + {c['removed']} removed, {c['unchanged']} unchanged"
    lines = [f"{done.status}: {done.target}" + (f" {done.version}" if done.version else "") + f": {told}"]
    if done.status == "published":
        lines.append(f"{c['rows']} clips are there now; {done.bytes / 1e6:.1f} MB written in {done.seconds:.1f} s")
    lines += [f"failed: clip {clip}: {why}" for clip, why in list(done.failed.items())[:SHOWN]]
    if len(done.failed) > SHOWN:
        lines.append(f"and {len(done.failed) - SHOWN} more")
    if (checked := done.checked) is not None:
        looked = f"{checked.rows} clips counted, {checked.clips} compared, {checked.frames} frames decoded"
        lines.append(f"check: {checked.verdict}, by {checked.reader}: {looked}")
        lines += [f"wrong: {problem}" for problem in checked.problems[:SHOWN]]
    return lines


class _Shown:
    """A bar on a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._line_at = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns: tuple[Any, ...] = (TextColumn("{task.description:>9}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
            self._bars = Progress(*columns, console=Console(stderr=True))
            self._bars.start()
            self._task = self._bars.add_task(DOING["compare"], total=None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, what: str, done: int, of: int) -> None:
        from rushes.progress import LINE_EVERY_S, say

        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, description=DOING[what], completed=done, total=of or None)
        elif time.monotonic() - self._line_at >= LINE_EVERY_S:
            self._line_at = time.monotonic()
            say(f"{DOING[what]}: {done} clips" + (f" of {of}" if of else ""))
