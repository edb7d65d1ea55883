"""The desk: every job is handed out until it is done, once; what a dead session held comes back; parts come before the whole."""

from __future__ import annotations

import pytest

from rushes.engine import desk as desks
from rushes.engine.desk import Desk, News
from rushes.engine.tally import Books

ONE = Books(counts={"videos_scanned": 1}, busy={"scan": 2.0}, errors={})
NONE = Books(counts={}, busy={}, errors={})


def news(*ended: tuple[str, Books]) -> News:
    return News(
        ended=list(ended), more=NONE, under_way={}, capacity={"scan": 1}, notes=[], answered=0, closed=False, fatal=None,
    )  # fmt: skip


def taken(desk: Desk, worker: str = "n/1") -> str:
    turn = desk.take(worker)
    return "all done" if turn is None else turn["job"]


def test_a_job_is_done_once_and_its_books_are_entered_once() -> None:
    desk = Desk()
    desk.load({"a": "A", "b": "B"})
    assert [taken(desk), taken(desk), taken(desk)] == ["A", "B", ""], "none is left, and two are under way"
    desk.post("n/1", news(("a", ONE), ("b", ONE)))
    desk.post("n/2", news(("a", ONE)))
    assert taken(desk) == "all done"
    assert (desk.tally.counts["videos_scanned"], desk.tally.busy_s["scan"]) == (2, 4.0)
    desk.load({"a": "A", "c": "C"})
    assert [taken(desk), taken(desk)] == ["C", ""], "what ended in this run is not handed out by a later pass"


def test_what_a_dead_session_held_comes_back_with_its_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.load({"a": "A"})
    assert desk.take("one/1") == {"job": "A", "attempt": 1, "lost": [], "scanned": False}
    assert taken(desk, "two/1") == "", "its session lives"
    monkeypatch.setattr(desks, "ALIVE_S", 0.0)
    assert desk.take("two/1") == {"job": "A", "attempt": 2, "lost": [1], "scanned": False}
    assert desk.refresh() == 2


def test_a_new_session_of_a_node_says_that_the_old_one_is_dead() -> None:
    desk = Desk()
    desk.load({"a": "A"})
    desk.take("node/1-aa")
    assert desk.take("node/2-bb") == {"job": "A", "attempt": 2, "lost": [1], "scanned": False}


def test_what_is_left_of_a_job_comes_next_and_its_first_half_is_entered_once() -> None:
    """A session that was taken for dead comes to the same half: nothing is entered twice, and nothing is begun anew."""
    desk = Desk()
    desk.load({"a": "scan", "b": "B"})
    assert [taken(desk), taken(desk)] == ["scan", "B"]
    desk.advance("a", "files", ONE)
    assert desk.tally.counts["videos_scanned"] == 1
    assert desk.take("n/1") == {"job": "files", "attempt": 1, "lost": [], "scanned": True}
    desk.advance("a", "files", ONE)
    assert taken(desk) == "" and desk.tally.counts["videos_scanned"] == 1
    failed = Books(counts={"videos_failed": 1, "videos_scanned": -1}, busy={}, errors={})
    desk.post("n/1", news(("a", failed), ("b", NONE)))
    desk.advance("a", "files", ONE)
    assert taken(desk) == "all done"
    assert (desk.tally.counts["videos_scanned"], desk.tally.counts["videos_failed"]) == (0, 1)


def test_what_a_session_gives_back_in_good_order_is_no_attempt() -> None:
    desk = Desk()
    desk.load({"a": "A", "b": "B"})
    assert [taken(desk, "n/1"), taken(desk, "m/1")] == ["A", "B"]
    desk.post("n/1", {**news(), "closed": True})
    assert desk.take("n/2") == {"job": "A", "attempt": 1, "lost": [], "scanned": False}
    assert desk.refresh() == 0

    desk = Desk()
    desk.load({"a": "A"})
    desk.take("node/1-aa")
    assert desk.take("node/1-bb") == {"job": "A", "attempt": 1, "lost": [], "scanned": False}, "its last news may come late"
    assert desk.refresh() == 1, "the run looks once more what is missing"


def test_parts_come_first_and_the_whole_when_all_have_ended() -> None:
    desk = Desk()
    desk.load({"long": "scan", "short": "S"})
    assert taken(desk) == "scan"
    desk.divide("long", {"p0": "P0", "p1": "P1"}, "stitch")
    assert [taken(desk), taken(desk), taken(desk)] == ["P0", "P1", "S"]
    desk.post("n/1", news(("p0", NONE), ("short", ONE)))
    assert taken(desk) == ""
    desk.post("n/1", news(("p1", NONE)))
    assert desk.take("n/1") == {"job": "stitch", "attempt": 1, "lost": [], "scanned": False}
    desk.post("n/1", news(("long", ONE)))
    assert taken(desk) == "all done" and desk.tally.counts["videos_scanned"] == 2


def test_parts_that_are_not_needed_any_more_are_dropped() -> None:
    """One cannot be joined: the whole comes as soon as those under way have ended. One fails: nothing more of that video comes."""
    desk = Desk()
    desk.load({"long": "scan"})
    taken(desk)
    desk.divide("long", {"p0": "P0", "p1": "P1", "p2": "P2"}, "stitch")
    assert [taken(desk), taken(desk)] == ["P0", "P1"]
    desk.divide("long", {}, "whole")
    desk.post("n/1", news(("p0", NONE)))
    assert taken(desk) == "", "p1 is under way"
    desk.post("n/1", news(("p1", NONE)))
    assert taken(desk) == "whole"

    desk = Desk()
    desk.load({"long": "scan"})
    taken(desk)
    desk.divide("long", {"p0": "P0", "p1": "P1", "p2": "P2"}, "stitch")
    assert [taken(desk), taken(desk)] == ["P0", "P1"]
    failed = Books(counts={"videos_failed": 1}, busy={}, errors={"CrashError": 1})
    desk.post("n/1", news(("p0", NONE), ("long", failed)))
    desk.post("n/1", news(("p1", NONE), ("long", failed)))
    assert taken(desk) == "all done"
    assert desk.tally.counts["videos_failed"] == 1


def test_a_divided_video_without_missing_parts_is_joined_at_once() -> None:
    desk = Desk()
    desk.load({"long": "scan"})
    taken(desk)
    desk.divide("long", {}, "stitch")
    assert taken(desk) == "stitch"
