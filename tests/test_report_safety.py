"""The report page keeps text text and loads nothing: hostile names, captions and errors, and what the page refers to."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import rushes.report
from report_rows import COLUMNS, RULES, Page, caption, clip, drawn, report, run_row, video
from rushes.recipe import Rule
from rushes.records import Column
from rushes.report.data import ReportData
from rushes.report.page import render

NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onload='alert(3)",
    "</title></style></svg><b>",
    "]]>--><!--",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(4)&lt;",
)


def hostile(texts: Sequence[str]) -> ReportData:
    """Every text of the data made of one of `texts`; a number before each keeps the order of rows."""
    words = iter(range(10**6))

    def bad() -> str:
        number = next(words)
        return f"{number:04d} {texts[number % len(texts)]}"

    rows = []
    for i in range(8):
        values = {"duration_s": 1.0 + i, "sharpness": 0.25 + i / 20, "shake": 0.1, "luma": 0.5, "camera_motion": bad()}
        rows.append(clip(i, values, uri=f"/footage/{bad()}", caption=bad(), codec=bad()))
        rows[-1]["clip_id"] = bad()
    rules = {}
    for row in rows:
        for reason in row["reasons"]:
            reason["rule"] = rules.setdefault(reason["rule"], bad())
    rows[-1] |= {"verdict": "failed", "caption": None}
    said = [caption(row, bad(), model=bad(), prompt_id=bad(), finish_reason=bad()) for row in rows[:-1]]
    said.append(caption(rows[-1], None, error_type=bad(), error=bad(), mend=bad()))
    videos = [video("v0", f"/footage/{bad()}", footage_s=100.0), video(None, bad(), "failed", error_type=bad(), error=bad(), mend=bad())]
    names = ("run_id", "status", "started_at", "ended_at", "runner", "profile", "recipe_toml")
    run = run_row(**{name: bad() for name in names}, busy_s={bad(): 2.0}, fingerprints={bad(): bad()}, versions={bad(): bad()})
    own = bad()
    columns = COLUMNS | {own: Column(own, "float", bad(), bad())}
    for row in rows:
        row["measures"][own] = 1.0
    kept_rules = {rules.get(name, name): rule for name, rule in RULES.items()} | {bad(): Rule(column=own, min=0.5)}
    return dataclasses.replace(
        report(rows, videos=videos, captions=said, run=run, columns=columns, rules=kept_rules, frame=lambda v, a, b: None), store=bad()
    )


def test_hostile_text_stays_text() -> None:
    page, plain = (Page(render(hostile(texts))) for texts in (NASTY, ("harmless",)))
    assert page.tags == plain.tags, "hostile text changed the page's elements or attributes"
    assert page.raw == plain.raw
    attributes = " ".join(value for _, _, value in page.attributes)
    for text in NASTY:
        assert text in page.text
        assert text in attributes
    assert not [a for a in page.attributes if a[1].startswith("on") or a[1] in ("srcdoc", "action", "formaction")]
    assert all(value.startswith("#") for _, name, value in page.attributes if name == "href")
    assert page.inside == []


def test_page_is_self_contained_and_runs_one_script() -> None:
    html = render(report(drawn(60)))
    page = Page(html)
    (script,) = page.raw["script"]
    assert script == (Path(rushes.report.__file__).parent / "page.js").read_text()
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and "default-src" in value)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy
    style = "".join(page.raw["style"])
    assert "url(" not in style and "@import" not in style and "prefers-color-scheme: dark" in style
    for tag, name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "poster", "data", "srcset"):
            assert value.startswith(("#", "data:image/jpeg;base64,")), (tag, name, value[:60])
    anchors = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for _, name, value in page.attributes if name == "href"} <= anchors
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
