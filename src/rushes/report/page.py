"""The run as one self-contained page: data in, HTML out. Every value passes through jinja2's autoescape."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from rushes.report import numbers
from rushes.report.data import ReportData, base
from rushes.report.funnel import decode_ratio, figures, funnel, headline
from rushes.report.histogram import charts
from rushes.report.ledger import captions, failures, published, slowest, stages
from rushes.report.reasons import count_rules
from rushes.report.sheets import Frames, sheets
from rushes.report.strips import CELLS, strips


def render(data: ReportData, *, films: str | None = None) -> str:
    """The report as HTML text, below about 8 MB however many clips there are.

    It loads nothing from anywhere; its one script is named by hash in the page's content security policy, so that no other runs.

    Args:
        data: what it shows.
        films: beginning of the addresses, on the page's own server, at which clips can be played (`serve_report.py`); None: the page stands
            alone, and shows pictures only.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    env = Environment(
        loader=PackageLoader("rushes.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters.update(
        count=numbers.count, short=numbers.short, seconds=numbers.seconds, clock=numbers.clock, base=base, slate_time=_slate_time
    )
    style, script = (_asset(env, name) for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return env.get_template("page.html").render(
        _context(data, films), films=films, style=Markup(style), script=Markup(script), script_hash=digest
    )


def _context(data: ReportData, films: str | None) -> dict[str, Any]:
    rules, frames = count_rules(data), Frames(data)
    made = sheets(data, rules, frames, films)
    drawn = charts(data)
    return {
        "data": data,
        "run": data.run,
        "decode_ratio": decode_ratio(data),
        "headline": headline(data),
        "figures": figures(data),
        "funnel": funnel(data),
        "rules": rules,
        "most_broken": max((rule.broke for rule in rules), default=0),
        "strips": strips(data),
        "scanned": data.totals.videos.get("done", 0),
        "cells": CELLS,
        "charted": len(data.clips),
        "all_clips": data.totals.n_clips,
        "ruled_charts": [chart for chart in drawn if chart.rules],
        "other_charts": [chart for chart in drawn if not chart.rules],
        "kept_sheet": made[0],
        "other_sheets": made[1:],
        "sheet_of": {sheet.rule.rule: sheet.key for sheet in made if sheet.rule},
        "images_left_out": frames.skipped,
        "captions": captions(data),
        "failures": failures(data),
        "published": published(data),
        "stages": stages(data),
        "bottleneck": slowest(data),
        "busy_total": sum(float(value or 0) for value in (data.run.get("busy_s") or {}).values()),
    }


def _asset(env: Any, name: str) -> str:
    """A file of this package, as text."""
    text: str = env.loader.get_source(env, name)[0]
    return text


def _slate_time(value: Any) -> str:
    """A time as on a slate: '2026-11-21 23:15:22 UTC', without fractions; the zone stays if it is written."""
    text = str(value or numbers.NONE).replace("T", " ")
    head, _, rest = text.partition(".")
    text = head + rest.lstrip("0123456789")
    return text.removesuffix("+00:00").removesuffix("Z") + " UTC" if text.endswith(("+00:00", "Z")) else text
