"""The commands that give files to people: clips with their captions, and the report."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rushes.cli_options import Json, ProfileName, RecipeFile, Settings, StoreArg, opened, print_lines
from rushes.errors import UsageError

if TYPE_CHECKING:
    from rushes.results import Results

SHOWN_FAILURES = 20
"""Failed clips that are shown one by one."""


def export(
    store: StoreArg, to: Annotated[str, typer.Option("--to", help="the folder that gets the files; made if absent", metavar="DIR")],
    captions: Annotated[str, typer.Option(help="txt: a text file beside each clip; jsonl: metadata.jsonl for Hugging Face; none")] = "txt",
    mode: Annotated[str, typer.Option(help="encode: exact, with square pixels; copy: the stream, between key frames")] = "encode",
    codec: Annotated[str | None, typer.Option(help="of encoded clips: h264, hevc, vp9 or av1; default: clips.codec")] = None,
    crf: Annotated[int | None, typer.Option(help="quality of encoded clips, 0 (best) to 51; default: clips.crf", min=0, max=51)] = None,
    short_side_px: Annotated[int | None, typer.Option(help="never enlarged; 0: the source's; default: clips.short_side_px")] = None,
    fps: Annotated[float | None, typer.Option(help="frames a second of encoded clips; 0: the source's frames; default: clips.fps")] = None,
    verdict: Annotated[str, typer.Option(help="kept, dropped, failed or all")] = "kept",
    where: Annotated[str | None, typer.Option(help="SQL over the columns, such as \"sharpness > 0.3\"", metavar="EXPR")] = None,
    sample: Annotated[int | None, typer.Option(help="only N clips, the same each time", min=1)] = None,
    as_json: Json = False, recipe: RecipeFile = None, set_: Settings = None, profile: ProfileName = None,
) -> None:  # fmt: skip
    """Write the kept clips as files with readable names, their captions beside them. Run it again to go on."""
    from rushes.export_clips import clip_settings, export_clips
    from rushes.progress import interruptible, say

    for name, value, choices in (
        ("--captions", captions, ("txt", "jsonl", "none")), ("--mode", mode, ("encode", "copy")),
        ("--verdict", verdict, ("kept", "dropped", "failed", "all")),
    ):  # fmt: skip
        if value not in choices:
            raise UsageError(f"{name} {value!r}", step="export", mend=f"use {', '.join(choices[:-1])} or {choices[-1]}")
    found = opened(store, recipe, set_, profile)
    settings = clip_settings(found.recipe, mode, codec=codec, crf=crf, short_side_px=short_side_px, fps=fps)  # type: ignore[arg-type]
    shown = _Progress(as_json)
    say(f"writing clips into {to} ...")
    done = export_clips(
        found, to, captions=captions, settings=settings, verdict=None if verdict == "all" else verdict, where=where, sample=sample,  # type: ignore[arg-type]
        options=found.store.options, interrupted=interruptible(), watch=shown,
    )  # fmt: skip
    if shown.failed > SHOWN_FAILURES:
        say(f"and {shown.failed - SHOWN_FAILURES} more")
    size = f"{done.bytes / 1e6:.1f} MB"
    say(f"{done.status}: {done.made} clip files made + {done.present} there already + {done.failed} failed, {size}, in {done.folder}")
    if captions != "none":
        say(f"{done.captions} captions {'in metadata.jsonl' if captions == 'jsonl' else 'in .txt files beside them'}")
    if done.others:
        say(f"{done.others} other clip files of earlier exports are in that folder; they are left as they are")
    if done.status == "interrupted":
        say("run the same command again to go on")
        raise typer.Exit(130)
    if done.failed:
        raise typer.Exit(1)


class _Progress:
    """Tells of clips as they come: JSON lines on stdout where asked for, failures and progress on stderr."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._done = self.failed = 0
        self._line_at = time.monotonic()

    def __call__(self, row: dict[str, Any]) -> None:
        from rushes.progress import LINE_EVERY_S, say

        self._done += 1
        if self._as_json:
            print_lines([row])
        if row["error"]:
            self.failed += 1
            if self.failed <= SHOWN_FAILURES:
                where = f"{row['uri']} [{row['start_s']:.2f} s, {row['end_s']:.2f} s)"
                say(f"failed: {where}: {row['error']}" + (f". Fix: {row['mend']}" if row["mend"] else ""))
        if time.monotonic() - self._line_at >= LINE_EVERY_S:
            self._line_at = time.monotonic()
            say(f"{self._done} clips done, {self.failed} failed")


def report(
    store: StoreArg, out: Annotated[str | None, typer.Option("--out", help="the page's file; default: report.html, without --open")] = None,
    open_: Annotated[bool, typer.Option("--open", help="show the page in a browser, with clips that play; Ctrl-C ends it")] = False,
    port: Annotated[int, typer.Option(help="of the server of --open; 0: any that is free", min=0, max=65535)] = 0,
    recipe: RecipeFile = None, set_: Settings = None,
) -> None:  # fmt: skip
    """Write the run as one self-contained HTML page, or show it with clips that play."""
    from pathlib import Path

    from rushes.api import Opened
    from rushes.progress import say

    found = opened(store, recipe, set_)
    if out is not None or not open_:
        path = Path(out or "report.html")
        path.write_text(Opened(found).report(), encoding="utf-8")
        say(f"report: {path.resolve()}")
    if open_:
        _show(found, port)


def _show(results: Results, port: int) -> None:
    """Serves the page until a signal comes, and opens a browser where there is a screen."""
    from rushes.progress import say
    from rushes.serve_report import serve

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with serve(results, port) as server:
        say(f"report: {server.url}\nCtrl-C ends it")
        if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            import webbrowser

            webbrowser.open(server.url)
        stop.wait()
