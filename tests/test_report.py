"""The report page: its numbers against plain counting, its pictures and bounds, and its size with 100,000 clips."""

from __future__ import annotations

import base64
import dataclasses
import math
import random
import re
import time
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pytest

from report_rows import COLUMNS, RULES, SMALL, Page, caption, clip, drawn, jpeg, report, run_row, video
from rushes.recipe import Rule
from rushes.report import numbers
from rushes.report.page import render
from rushes.report.sheets import FRAME_WIDTH, shrink


def section(html: str, start: str, end: str) -> str:
    assert html.count(start) == 1, start
    return html.split(start, 1)[1].split(end, 1)[0]


def test_the_bottleneck_is_the_stage_with_the_least_to_spare_and_not_the_one_with_most_seconds() -> None:
    """60 s in flight of 4 requests at once in 60 s: a quarter. A run that does not say what it could do at once names none."""
    waiting = Page(render(report([], run=run_row(busy_s={"scan": 20.0, "captions": 216.0})))).words
    assert "The bottleneck was captions ." in waiting
    assert "captions 3 min 36 s 90 % scan 20.0 s 33 %" in waiting
    assert "bottleneck" not in Page(render(report([], run=run_row(capacity={})))).words


def measure(html: str, name: str) -> str:
    return section(html, f'data-measure="{name}"', "</article>")


def test_headline_numbers_are_those_counted_from_the_rows() -> None:
    rows = drawn(300)
    kept = sum(row["verdict"] == "kept" for row in rows)
    said = [caption(row, "A dog runs.") for row in rows if row["verdict"] == "kept"][:5]
    html = render(report(rows, captions=said))
    words = Page(html).words
    for expected in (
        f"{kept} of 300 clips kept, from 30 min 00 s of footage in 4 videos.",
        "store /stores/one",
        "run run-1",
        "started 2026-11-21 10:00:00 UTC",
        "profile web",
        "rushes 0.1.0",
        "footage 0.5 h",
        f"clips kept {kept}",
        f"clips dropped {300 - kept}",
        "clips failed 0",
        "captions 5 0 failed",
        "decode ratio 1.01 decoded / footage seconds",
        "wall time 1 min 00 s 2 video-hours per hour",
        "4 = 1 + 1 + 1 + 1: the sums balance",
        f"300 = {kept} + {300 - kept} + 0: the sums balance",
        f"kept clips without one {kept - 5}",
        "tokens in 4,500",
        "The bottleneck was scan .",
        "scan 50.0 s 83 % captions 1 min 00 s 25 % shots 1.00 s 2 %",
        "scan abc123",
        'mode = "exact"',
    ):
        assert expected in words, expected
    kept_s = sum(row["duration_s"] for row in rows if row["verdict"] == "kept")
    assert f"kept {numbers.seconds(kept_s)}" in words


def test_books_that_do_not_balance_are_said_so() -> None:
    html = render(report([], run=run_row(videos_failed=0)))
    assert "4 but the parts add up to 3" in Page(html).words
    assert 'class="note alarm"' in html


def test_reasons_count_breaks_and_sole_breaks() -> None:
    rows = drawn(400)
    html = section(render(report(rows)), '<section id="reasons">', "</section>")
    items = {
        m[0]: (int(m[1]), int(m[2]))
        for m in re.findall(r'<a href="#rule-\d+">(\w+)</a>.*?<b>(\d+)</b> <span class="note">(\d+) only', html, re.S)
    }
    broke = {name: sum(any(r["rule"] == name for r in row["reasons"]) for row in rows) for name in RULES}
    only = {name: sum({r["rule"] for r in row["reasons"]} == {name} for row in rows) for name in RULES}
    assert items == {name: (broke[name], only[name]) for name in RULES}
    assert all(only[name] < broke[name] for name in RULES), "the sample must tell the two apart"


@pytest.mark.parametrize(("name", "bound", "side"), [("sharpness", 0.3, "min"), ("shake", 0.5, "max"), ("duration_s", 4.0, "min")])
def test_histogram_holds_every_value_on_its_side_of_the_bound(name: str, bound: float, side: str) -> None:
    rows = drawn(500)
    values = [row["measures"].get(name, row.get(name)) for row in rows]
    chart = measure(render(report(rows)), name)
    line = re.search(rf'{side} {bound:g}</title>\s*<line x1="([\d.]+)"', chart)
    assert line
    at, outside, total, kept = float(line[1]), 0, 0, 0
    for title, first in re.findall(r"<g><title>([^<]*)</title><rect class=\"\w+\" x=\"([\d.]+)\"", chart):
        amounts = {word: int(n.replace(",", "")) for n, word in re.findall(r"([\d,]+) (kept|dropped|failed)", title.split(":")[1])}
        total += sum(amounts.values())
        kept += amounts.get("kept", 0)
        left = float(first) < at - 0.5
        if left if side == "min" else not left:
            outside += sum(amounts.values())
            assert "kept" not in amounts, f"a kept clip in {title}, beyond the bound"
    known = [value for value in values if value is not None]
    assert total == len(known)
    assert kept == sum(row["verdict"] == "kept" and value is not None for row, value in zip(rows, values, strict=True))
    assert outside == sum(value < bound if side == "min" else value > bound for value in known)
    if len(known) < len(values):
        assert f"{len(values) - len(known)} not measured" in chart
    assert f"<b>{numbers.short(float(np.median(known)))}</b>" in chart


@pytest.mark.parametrize("bound", [30.0, 1e9, 1e300])
def test_a_bound_far_away_does_not_squeeze_the_histogram(bound: float) -> None:
    chart = measure(render(report(drawn(200), rules={"far": Rule(column="sharpness", max=bound)})), "sharpness")
    assert "(off the chart)" in chart
    assert len(re.findall(r"<g><title>", chart)) > 20


def test_every_measure_is_on_the_page_with_unit_and_meaning() -> None:
    rows = drawn(50)
    rows[0]["measures"]["undocumented"] = 3.5
    html = render(report(rows, rules=RULES | {"small": Rule(column="height", min=200)}))
    for name, column in COLUMNS.items():
        text = Page("<article " + measure(html, name) + "</article>").words
        assert column.doc in text
        assert column.unit in ("", "1") or column.unit in text
    assert "Nothing measured." in measure(html, "never_measured")
    assert "Nothing measured." in measure(html, "height")
    assert "<svg" in measure(html, "undocumented")
    labels = Page("<article " + measure(html, "camera_motion") + "</article>").words
    for label in ("static", "pan left", "shaky"):
        assert f"{label} {sum(row['measures']['camera_motion'] == label for row in rows)}" in labels


def test_frames_are_embedded_small_and_asked_for_by_span() -> None:
    rows = drawn(40)
    asked: list[tuple[str, int, int]] = []
    big = jpeg(1280, 720)

    def frame(video_id: str, start: int, end: int) -> bytes:
        asked.append((video_id, start, end))
        return big if len(asked) % 2 else SMALL

    page = Page(render(report(rows, frame=frame)))
    spans = {(row["video_id"], row["start_pts"], row["end_pts"]) for row in rows}
    assert asked and set(asked) <= spans and len(asked) == len(set(asked))
    pictures = [base64.b64decode(value.split(",")[1]) for tag, name, value in page.attributes if tag == "img" and name == "src"]
    sizes = {cv2.imdecode(np.frombuffer(p, np.uint8), cv2.IMREAD_COLOR).shape[:2] for p in pictures}
    assert sizes == {(round(720 * FRAME_WIDTH / 1280), FRAME_WIDTH), (36, 64)}
    assert SMALL in pictures, "a small frame is embedded unchanged"
    assert shrink(b"\xff\xd8 not a picture") is None


@pytest.mark.parametrize("found", [None, b"", b"no picture"], ids=["missing", "empty", "broken"])
def test_clip_without_a_frame_is_shown_all_the_same(found: bytes | None) -> None:
    rows = drawn(10)
    page = Page(render(report(rows, frame=lambda v, a, b: found)))
    assert "no frame" in page.words and "img" not in {tag for tag, _ in page.tags}


def test_sheets_show_the_broken_value_next_to_its_bound() -> None:
    rows = [clip(i, {"duration_s": 4.0 - 0.1 * i, "sharpness": 1.0}) for i in range(31)]
    rows.append(clip(99, {"duration_s": 3.99999, "sharpness": 1.0}))
    html = render(report(rows))
    sheet = re.split(r'<section class="sheet" id="rule-\d+">', html)[1].split("</section>")[0]
    shown = re.findall(r'<p class="why dropped">duration_s ([\d.]+) &lt; 4</p>', sheet)
    assert len(shown) == 8
    assert shown[0] == "3.99999", "a value just below its bound must not read '4 < 4'"
    assert [float(s) for s in shown] == sorted((float(s) for s in shown), reverse=True)
    assert float(shown[-1]) == pytest.approx(1.0)
    assert "8 of 31 clips, from nearest the bound to farthest" in Page(html).words


EMPTY: dict[str, dict[str, Any]] = {
    "nothing at all": {
        "clips": [],
        "videos": [],
        "run": run_row(
            videos_found=0, videos_scanned=0, videos_reused=0, videos_failed=0, videos_duplicate=0, footage_s=0.0, decoded_s=0.0, busy_s={}
        ),
    },
    "no clip": {"clips": []},
    "none kept": {"clips": [clip(i, {"duration_s": 1.0}) for i in range(5)]},
    "one clip": {"clips": [clip(0, {"duration_s": 5.0, "sharpness": 1.0})]},
    "nulls only": {"clips": [clip(i, {}) for i in range(5)]},
    "no rule, no column": {
        "clips": [clip(i, {"sharpness": 0.5}) | {"reasons": [], "verdict": "kept"} for i in range(5)],
        "rules": {},
        "columns": {},
    },
    "not finite": {"clips": [clip(i, {"luma": 0.5, "sharpness": math.nan, "shake": math.inf}) for i in range(3)]},
    "running": {"clips": [], "run": {"run_id": "x", "status": "running", "videos_found": 0}},
    "caption of no clip": {
        "clips": [],
        "captions": [caption({"clip_id": "gone"}, "words"), caption({"clip_id": "lost"}, None, error_type="E", error="e")],
    },
    "bound far away": {"clips": drawn(20), "rules": {"far": Rule(column="sharpness", max=1e9)}},
}


@pytest.mark.parametrize("case", EMPTY.values(), ids=EMPTY.keys())
def test_page_is_sound_with_little_or_odd_data(case: Mapping[str, Any]) -> None:
    page = Page(render(report(case["clips"], **{k: v for k, v in case.items() if k != "clips"})))
    assert page.inside == []
    assert f"of {len(case['clips'])} clip" in page.words
    places = [value for tag, name, value in page.attributes if name == "style" or (tag in ("rect", "line") and name != "class")]
    assert not [value for value in places if re.search(r"nan|inf|None|-0\.", value)]


def test_failures_show_how_to_mend_them_and_old_rows_as_they_are() -> None:
    old = video(None, "/footage/old.mp4", "failed", error_type="ProbeError", error="scan on old.mp4: no index. Fix: copy it again")
    new = video(None, "/footage/new.mp4", "failed", error_type="ProbeError", error="scan on new.mp4: no index", mend="copy it again")
    html = section(render(report([], videos=[old, new])), '<section id="failures">', "</section>")
    assert "<p>scan on old.mp4: no index. Fix: copy it again</p>" in html
    assert '<p>scan on new.mp4: no index</p><p class="mend"><b>Fix</b> copy it again</p>' in html
    assert html.count('class="mend"') == 1
    assert "2 ProbeError" in html


def test_a_sample_is_said_to_be_one() -> None:
    """Totals are of all clips; charts and sheets show those that they were given, and the page says of how many."""
    rows = drawn(300)
    part = dataclasses.replace(report(rows), clips=rows[:100], sheets={"kept": [r for r in rows[:100] if r["verdict"] == "kept"]})
    words = Page(render(part)).words
    kept = sum(row["verdict"] == "kept" for row in rows)
    assert f"{kept} of 300 clips kept" in words
    assert "A sample of 100 of 300 clips, stacked by verdict" in words
    assert f"24 of {kept} clips, evenly spread over the footage" in words


def test_order_of_rows_does_not_change_the_page() -> None:
    rows = drawn(200)
    mixed = random.Random(1).sample(rows, len(rows))
    assert render(report(rows)) == render(report(mixed))


@pytest.mark.slow
def test_a_hundred_thousand_clips_make_a_small_page_quickly() -> None:
    rows = drawn(100_000)
    said = [caption(row, "word " * 2000) for row in rows if row["verdict"] == "kept"]
    frames = [jpeg(640, 360, seed) for seed in range(4)]
    begun = time.process_time()
    html = render(report(rows, captions=said, frame=lambda v, a, b: frames[a % 4]))
    took = time.process_time() - begun
    assert took < 10, f"{took:.1f} s of CPU"
    assert 1_000_000 < len(html.encode()) < 8_000_000
    assert "of 100,000 clips kept" in html


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (numbers.short(0.012345), "0.0123"),
        (numbers.short(1234.5), "1,234"),
        (numbers.short(4.0), "4"),
        (numbers.short(2_500_000), "2.5 M"),
        (numbers.short(-0.5), "-0.5"),
        (numbers.short(True), "true"),
        (numbers.short(None), numbers.NONE),
        (numbers.short(1e-9), "1.0e-09"),
        (numbers.seconds(59.96), "1 min 00 s"),
        (numbers.seconds(9.999), "10.0 s"),
        (numbers.seconds(3599.7), "1 h 00 min"),
        (numbers.seconds(754), "12 min 34 s"),
        (numbers.clock(59.999), "1:00.00"),
        (numbers.clock(3661.5), "1:01:01.50"),
        (numbers.share(1, 1000), "< 1 %"),
        (numbers.share(999, 1000), "> 99 %"),
        (numbers.share(0, 0), numbers.NONE),
    ],
)
def test_numbers_read_well(call: str, expected: str) -> None:
    assert call == expected
