"""What the report counts of captions: agreements, openings, lengths, loops, rates and costs."""

# ruff: noqa: RUF001  (Chinese punctuation)

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pytest

from report_rows import clip, report
from rushes.captions.answer_checks import has_stock_opening
from rushes.report.ledger import captions
from rushes.report.page import render
from rushes.report.said import Counting, Said


@pytest.mark.parametrize(
    ("text", "stock"),
    [
        ("The video shows a man on a beach.", True), ("In this clip, a man walks.", True), ("This short video clip is of a dog.", True),
        ("These frames depict a hall.", True), ("A video of a dog.", True), ("**The scene** opens in a hall.", True),
        ("这段视频展示了一个大厅。", True), ("在画面中，一个人走过。", True), ("视频中有一只狗。", True), ("该画面显示走廊。", True),
        ("A man walks a dog along a beach.", False), ("Videos are stacked on a shelf.", False), ("A videographer films a bird.", False),
        ("A picture frame hangs on the wall.", False), ("走廊里有一扇红门。", False), ("The frame of a bicycle leans on a wall.", False),
    ],
)  # fmt: skip
def test_openings_that_speak_of_the_video_are_told(text: str, stock: bool) -> None:
    assert has_stock_opening(text) is stock


def test_openings_lengths_and_agreements_are_counted_over_tables() -> None:
    def table(texts: list[str], agree: list[bool | None]) -> pa.Table:
        return pa.table({"caption": texts, "agreement_exposure": pa.array(agree, pa.bool_())})

    counting = Counting(["agreement_exposure"])
    counting.add(table(["The video shows a hall.", "The video shows a yard, at night.", "A dog runs."], [True, False, None]))
    counting.add(table(["走廊里有一扇红色的门。", "走廊里有一扇蓝色的门。"], [True, True]))
    said = counting.said()
    assert said.agreements == {"agreement_exposure": (3, 1)} and said.rates == [("agreement_exposure", "75 %", 3, 1)]
    assert (said.stock, said.words) == (2, "3, 7, 10")
    assert said.frequent == [("The video shows", 2), ("走廊里有一扇", 2)]
    assert (Said().rates, Said().frequent, Said().words) == ([], [], "–")


def test_the_page_shows_rates_of_agreement_speed_and_cost() -> None:
    data = report([clip(0, {})])
    said = Said({"agreement_camera_move": (30, 10)}, {"The video shows": 7}, 7, {12: 3, 20: 1})
    totals = dataclasses.replace(
        data.totals, made=40, prompt_tokens=2_000_000, completion_tokens=100_000, said=said, caption_errors={"loop": 4}
    )
    run: dict[str, Any] = {**data.run, "captions_made": 40, "completion_tokens": 4000, "wall_s": 100.0}
    shown = dataclasses.replace(data, totals=totals, run=run, prices=(3.0, 15.0))
    made = captions(shown)
    assert (made.per_s, made.cost, made.loops) == ("0.4 captions/s, 40 tokens/s", "7.5", 4)
    page = render(shown)
    for words in ("agreement_camera_move", "75 %", "The video shows", "0.4 captions/s", "failed as loops", "12, 12, 20"):
        assert words in page
