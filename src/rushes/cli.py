"""The commands. Each is a thin call of one function of `rushes.api`; progress and messages go to stderr, data to stdout."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rushes.cli_files import export, report
from rushes.cli_options import Json, ProfileName, RecipeFile, Settings, StoreArg, leave, make_recipe, opened, print_lines, tell_kept
from rushes.cli_publish import publish
from rushes.cli_search import index, search
from rushes.errors import Failure, UsageError
from rushes.no_pandas import keep_pandas_out
from rushes.quarantine import one_line, quarantined


class Commands(TyperGroup):
    """The commands; an unknown one is answered with those there are."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command that the first argument names."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            ctx.fail(f"there is no command {args[0]!r}; there are {', '.join(self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. When the reader of its output has closed the pipe (`| head`), it has read enough: exit 0, nothing is said."""
        try:
            found = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes what is left when it ends
            leave(0)
        except EOFError as error:  # which click takes for the end of a person's input, and of which it says "Aborted!"
            raise RuntimeError("a file or a pipe ended early") from error
        return found


app = typer.Typer(
    cls=Commands,
    help="Rushes turns raw footage into training-ready, captioned clips: one decode, one table.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rushes {version('rushes')}")
        raise typer.Exit


@app.callback()
def of_all(
    version: Annotated[bool, typer.Option("--version", help="print the version and exit", is_eager=True, callback=_tell_version)] = False,
) -> None:
    """Takes the options that belong to no command."""


Footage = Annotated[
    list[str], typer.Argument(help="files, folders, globs, fsspec URLs, or lists (.txt .csv .tsv .json .jsonl .parquet with `uri`)")
]
Out = Annotated[str, typer.Option("--out", help="the store: a folder or fsspec URL, made if absent")]


@app.command()
def run(
    footage: Footage, out: Out, recipe: RecipeFile = None, set_: Settings = None, profile: ProfileName = None,
    limit: Annotated[int | None, typer.Option(help="take the first N uris only", min=1)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="exit 1 when any video, clip or clip file failed")] = False,
    ray: Annotated[str | None, typer.Option(help="run on Ray: local, auto, or host:port of a cluster", metavar="ADDRESS")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="try again what failed for good")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="wait while another run writes to this store")] = False,
    wait_server: Annotated[float, typer.Option(help="wait so long for a caption server that is loading", metavar="SECONDS", min=0)] = 0.0,
    log: Annotated[str | None, typer.Option(help="append events to FILE, one JSON object a line; - is stderr", metavar="FILE")] = None,
) -> None:  # fmt: skip
    """Turn footage into captioned clips. Run it again to resume."""
    from rushes import api
    from rushes.log import logged
    from rushes.progress import Screen, interruptible, reading_options, say

    on_ray = ["engine.runner=ray", f"engine.ray_address={ray}"] if ray else []
    wanted = make_recipe(recipe, profile, [*(set_ or ()), *on_ray])
    stop = interruptible()
    with logged(log), Screen(out, reading_options(recipe, set_ or (), bool(wanted.storage))) as shown:
        result = api.run(
            footage, out=out, recipe=wanted, profile=profile or "web", limit=limit, retry_failed=retry_failed, interrupted=stop,
            watch=shown.update, wait=wait, wait_server_s=wait_server, announce=say,
        )  # fmt: skip
    shown.summary(result)
    if result.status == "interrupted":
        leave(130)
    leave(1 if strict and result.failed else 0)


@app.command()
def demo(out: Out = "demo-store") -> None:
    """Render sample footage, run everything that needs no weights, and write the report."""
    from rushes.demo import render_footage
    from rushes.progress import Screen, interruptible, say
    from rushes.recipe import Recipe

    folder = Path(f"{out.rstrip('/')}-footage")
    say(f"rendering sample footage into {folder}")
    render_footage(folder)
    from rushes import api

    stop = interruptible()
    with Screen(out) as shown:
        result = api.run([folder], out=out, recipe=Recipe(), interrupted=stop, watch=shown.update)
    shown.summary(result)
    if result.status == "interrupted":
        leave(130)
    page = Path(out) / "report.html"
    page.write_text(api.open(out).report(), encoding="utf-8")
    say(f"report: {page.resolve()}")
    leave(0)


@app.command()
def plan(
    footage: Footage, out: Out, recipe: RecipeFile = None, set_: Settings = None, profile: ProfileName = None,
    limit: Annotated[int | None, typer.Option(help="look at the first N uris only", min=1)] = None, as_json: Json = False,
) -> None:  # fmt: skip
    """What a run would do: rows wanted, present and missing by stage. Computes nothing."""
    from rushes import api
    from rushes.progress import pace_lines, table

    found = api.plan(footage, out=out, recipe=make_recipe(recipe, profile, set_), limit=limit)
    if as_json:
        typer.echo(json.dumps(found))
        return
    stages = [{"stage": name, **row} for name, row in found.items() if isinstance(row, dict)]
    for row in stages:
        if found["unknown_videos"] and row["stage"] in ("captions", "files"):
            row |= {name: f"{row[name]}+" for name in ("wanted", "missing")}
    table(stages, ("stage", "wanted", "present", "missing", "fingerprint"))
    typer.echo(
        f"to decode: about {found['decode_s'] / 3600:.2f} h of footage; to write: about {found['expected_bytes'] / 1e9:.2f} GB of frames"
    )
    for line in pace_lines(found):
        typer.echo(line)


@app.command()
def status(store: StoreArg, as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None) -> None:
    """The newest run, live while it goes on: counts and rates by stage."""
    from rushes.progress import status_lines

    row = opened(store, recipe, set_).runs()[-1]
    if as_json:
        typer.echo(json.dumps(row))
    else:
        typer.echo("\n".join(status_lines(row)))


@app.command()
def clips(
    store: StoreArg, as_json: Json = False,
    verdict: Annotated[str | None, typer.Option(help="kept, dropped or failed")] = None,
    where: Annotated[str | None, typer.Option(help="SQL over the columns, such as \"sharpness > 0.3\"", metavar="EXPR")] = None,
    sample: Annotated[int | None, typer.Option(help="only N clips, the same each time", min=1)] = None,
    sort: Annotated[bool, typer.Option("--sort", help="all in order of uri and time; needs scratch space")] = False,
    recipe: RecipeFile = None, set_: Settings = None, profile: ProfileName = None,
) -> None:  # fmt: skip
    """The clips with measures, verdicts, reasons and captions."""
    from rushes.progress import table
    from rushes.results.choose import chosen_clips
    from rushes.results.lines import rows_of

    if verdict not in (None, "kept", "dropped", "failed"):
        raise UsageError(f"--verdict {verdict!r}", step="clips", mend="use kept, dropped or failed")
    found = opened(store, recipe, set_, profile)
    tables = chosen_clips(found, verdict=verdict, where=where, sample=sample, sort=sort)
    rows = (row for some in tables for row in rows_of(some, found.line))
    if as_json:
        print_lines(rows)
        tell_kept(found)
        return
    short = (
        {
            **c, "clip": c["clip_id"][:8], "video": Path(c["uri"]).name, "from": f"{c['start_s']:.2f}", "to": f"{c['end_s']:.2f}",
            "why": ", ".join(r["rule"] for r in c["reasons"]), "caption": c["caption"] or "",
        }
        for c in rows
    )  # fmt: skip
    table(short, ("clip", "video", "from", "to", "verdict", "why", "caption"), words="caption", most=80)
    tell_kept(found)


@app.command()
def captions(store: StoreArg, as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None) -> None:
    """The captions of clips that are not dropped, those that were made and those that failed."""
    from rushes.progress import table

    rows = opened(store, recipe, set_).captions()
    print_lines(rows) if as_json else table(rows, ("clip_id", "text", "model", "error_type", "error"), words="text")


@app.command()
def caption(
    store: StoreArg, try_: Annotated[int, typer.Option("--try", help="so many kept clips, spread over the store", metavar="N", min=1)],
    as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None, profile: ProfileName = None,
) -> None:  # fmt: skip
    """Show what a model is sent about a few kept clips, and what it answers. Writes nothing."""
    from rushes.trial import as_text, tried

    rows = tried(store, try_, make_recipe(recipe, profile, set_) if recipe or profile else None, set_ or ())
    print_lines(rows) if as_json else typer.echo("\n\n".join(map(as_text, rows)))


@app.command()
def videos(store: StoreArg, as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None) -> None:
    """The source videos."""
    from rushes.progress import table

    rows = opened(store, recipe, set_).videos()
    if as_json:
        print_lines(rows)
    else:
        table(rows, ("uri", "status", "codec", "width", "height", "footage_s", "n_clips", "error"))


@app.command()
def runs(store: StoreArg, as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None) -> None:
    """The runs and what each cost."""
    from rushes.progress import table

    rows = opened(store, recipe, set_).runs()
    if as_json:
        print_lines(rows)
    else:
        counts = ("videos_found", "videos_scanned", "videos_failed", "clips_kept", "clips_dropped", "captions_made", "decoded_s")
        table(rows, ("run_id", "status", "wall_s", *counts))


@app.command()
def errors(store: StoreArg, as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None) -> None:
    """What failed, where and why."""
    from rushes.progress import table

    rows = opened(store, recipe, set_).errors()
    if as_json:
        print_lines(rows)
    else:
        table(rows, ("stage", "uri", "error_type", "error", "mend"))


@app.command()
def explain(
    store: StoreArg, what: Annotated[str, typer.Argument(metavar="URI|CLIP_ID")], as_json: Json = False,
    recipe: RecipeFile = None, set_: Settings = None,
) -> None:  # fmt: skip
    """Why a video or clip is kept, dropped or failed: every rule, value and bound."""
    from rushes.progress import table

    rows = opened(store, recipe, set_).explain(what)
    if as_json:
        print_lines(rows)
        return
    for uri, note in {row["uri"]: row["time"] for row in rows if row["time"]}.items():
        typer.echo(f"{uri}: {note}")
    for row in rows:
        span = f" [{row['start_s']:.2f} s, {row['end_s']:.2f} s)" if row.get("clip_id") else ""
        typer.echo(f"{row['uri']}{span}: {row['verdict'] or row.get('status')}" + (f"  {row['error']}" if row.get("error") else ""))
        table(row["rules"], ("rule", "column", "value", "min", "max", "outcome"))


app.command()(search)
app.command()(index)
app.command()(export)
app.command()(publish)
app.command()(report)


@app.command()
def views(store: StoreArg, recipe: RecipeFile = None, set_: Settings = None, profile: ProfileName = None) -> None:
    """Print DuckDB views: the newest rows of each table, and `curated`, the clips with verdicts under the recipe."""
    from rushes.results.views import all_views

    typer.echo(all_views(opened(store, recipe, set_, profile)))


@app.command()
def sql(
    store: StoreArg, query: Annotated[str, typer.Argument(help="SQL of DuckDB over clips, videos ...", metavar="QUERY")],
    as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None, profile: ProfileName = None,
) -> None:  # fmt: skip
    """Run a query in DuckDB over the store, with verdicts and reasons in `clips`."""
    from itertools import chain

    from rushes.progress import table
    from rushes.results.query import query as answer

    rows = answer(opened(store, recipe, set_, profile), query)
    if as_json:
        print_lines(rows)
    elif (first := next(rows, None)) is not None:
        table(chain([first], rows), tuple(first))


@app.command()
def compact(
    store: StoreArg,
    drop_other_fingerprints: Annotated[
        bool, typer.Option("--drop-other-fingerprints", help="also remove rows that the recipe does not want")
    ] = False,
    as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None,
) -> None:  # fmt: skip
    """Merge the parts of a store that no run is writing to, and drop superseded rows. Reading meanwhile is safe."""
    from rushes import api
    from rushes.progress import table

    found = opened(store, recipe, set_)
    rows = api.compact(store, drop_other_fingerprints=drop_other_fingerprints, recipe=found.recipe, storage=found.store.options)
    if as_json:
        print_lines(rows)
    else:
        table(rows, ("table", "parts_before", "parts_after", "bytes_before", "bytes_after", "rows_dropped"))


@app.command()
def forget(
    store: StoreArg, names: Annotated[list[str], typer.Argument(help="uris, paths or video_ids", metavar="URI|VIDEO_ID...")],
    as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None,
) -> None:  # fmt: skip
    """Take videos out of a store for good, with all that came of them; no run scans them again."""
    from rushes import api
    from rushes.progress import say

    done = api.forget(store, names, storage=make_recipe(recipe, None, set_).storage)
    if as_json:
        print_lines([done])
    rows = sum(done["rows"].values())
    say(f"forgotten: {done['videos']} videos under {done['uris']} uris; {rows} rows and {done['clip_files']} clip files were removed")
    say("targets of `rushes publish` drop them when they are published again")


@app.command()
def recipe(
    profile: ProfileName = None,
    check: Annotated[str | None, typer.Option(help="check this recipe file instead", metavar="FILE")] = None,
    set_: Settings = None,
) -> None:
    """Print the default recipe as commented TOML, or check one."""
    from rushes.engine.stages import check_resources
    from rushes.progress import say
    from rushes.recipe_text import as_toml
    from rushes.rows.clip_columns import rule_columns
    from rushes.verdict.checks import check_columns

    chosen = make_recipe(check, profile, set_)
    check_columns(chosen.rules, rule_columns(chosen))
    check_resources(chosen)
    if check is None:
        typer.echo(f"# Use it with: --profile {profile or 'web'}\n" + as_toml(chosen))
    else:
        say(f"{check}: right")


@app.command()
def doctor(recipe: RecipeFile = None, set_: Settings = None, profile: ProfileName = None) -> None:
    """What works on this machine, and how to mend what does not."""
    from rushes.doctor import examine

    found = examine(make_recipe(recipe, profile, set_))
    for finding in found:
        sign = {True: "ok ", False: "NO ", None: "-- "}[finding.ok]
        typer.echo(f"{sign} {finding.name}: {finding.what}" + (f"\n     fix: {finding.mend}" if finding.mend and not finding.ok else ""))
    if any(finding.ok is False for finding in found):
        raise typer.Exit(3)


def main() -> None:
    """Entry point: an error of any kind becomes one line on stderr and the contract's exit code."""
    keep_pandas_out()
    failure = quarantined(app)
    if isinstance(failure, Failure):
        sys.stderr.write(f"rushes: {one_line(failure)}\n")
        leave(failure.error().exit_code)


if __name__ == "__main__":
    main()
