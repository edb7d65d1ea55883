"""The verdict: bounds inclusive, every broken rule a reason, a null never drops, failure never looks like taste."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from rushes.errors import RecipeError, StoreError
from rushes.recipe import Rule
from rushes.records import Reason
from rushes.results import Results
from rushes.store.store import Store
from rushes.verdict.judge import check_columns, checks, judge
from rushes.verdict.many import dropped
from stores import seen


@pytest.mark.parametrize(
    ("value", "bounds", "bound"),
    [
        (0.5, {"min": 0.5}, None),
        (0.49999, {"min": 0.5}, 0.5),
        (0.5, {"max": 0.5}, None),
        (0.50001, {"max": 0.5}, 0.5),
        (0.3, {"min": 0.1, "max": 0.5}, None),
        (0.05, {"min": 0.1, "max": 0.5}, 0.1),
        (0.9, {"min": 0.1, "max": 0.5}, 0.5),
        (None, {"min": 0.5}, None),
        (0.0, {"min": 0.0}, None),
        (True, {"max": 0}, 0.0),
        (False, {"min": 1}, 1.0),
        (1920, {"min": 2000}, 2000.0),
        ("h264", {"min": 1}, None),
        (7.0, {}, None),
    ],
)
def test_bounds_are_inclusive_and_a_null_never_drops(value: Any, bounds: dict[str, float], bound: float | None) -> None:
    verdict = judge({"x": value}, {"x": Rule(**bounds)})
    if bound is None:
        assert (verdict.kind, verdict.reasons) == ("kept", ())
    else:
        assert (verdict.kind, verdict.reasons) == ("dropped", (Reason("x", "x", float(value), bound),))


def test_a_column_that_is_not_there_is_not_measured() -> None:
    [check] = checks({}, {"blurred": Rule(column="sharpness", min=0.2)})
    assert (check.value, check.broken, check.words) == (None, False, "not measured")


def test_every_broken_rule_is_a_reason_in_the_recipes_order() -> None:
    rules = {"dark": Rule(column="luma", min=0.2), "huge": Rule(column="width", max=100), "blurred": Rule(column="sharpness", min=0.5)}
    verdict = judge({"luma": 0.1, "width": 100, "sharpness": 0.4}, rules)
    assert [(r.rule, r.column, r.value, r.bound) for r in verdict.reasons] == [
        ("dark", "luma", 0.1, 0.2),
        ("blurred", "sharpness", 0.4, 0.5),
    ]


def test_only_a_minimum_of_the_length_tolerates_one_frame() -> None:
    rules = {"too_short": Rule(column="duration_s", min=4.0)}
    assert judge({"duration_s": 3.96}, rules, frame_s=0.04).kind == "kept"
    assert judge({"duration_s": 3.95}, rules, frame_s=0.04).kind == "dropped"
    assert judge({"duration_s": 4.01}, {"long": Rule(column="duration_s", max=4.0)}, frame_s=0.04).kind == "dropped"
    assert judge({"sharpness": 3.96}, {"blurred": Rule(column="sharpness", min=4.0)}, frame_s=0.04).kind == "dropped"


def test_a_failed_caption_fails_a_clip_that_would_be_kept_and_no_other() -> None:
    rules = {"dark": Rule(column="luma", min=0.2)}
    assert judge({"luma": 0.5}, rules, failed=True).kind == "failed"
    assert judge({"luma": 0.1}, rules, failed=True).kind == "dropped"
    assert judge({"luma": 0.5}, rules).kind == "kept"


def test_a_rule_on_a_column_that_nothing_makes_is_a_recipe_error_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"rules\.blurred looks at the column 'sharpnes'.*did you mean 'sharpness'"):
        check_columns({"blurred": Rule(column="sharpnes", min=1)}, ["sharpness", "width"])
    check_columns({"width": Rule(min=1)}, ["sharpness", "width"])


def test_the_verdict_of_a_store_follows_the_rules_asked_for(reel_store: Path) -> None:
    """Rules apply at once; other shots need a run first."""
    for least, kept in ((0.0, 6), (1.5, 4), (100.0, 0)):
        clips = seen(reel_store, f"rules.too_short.min={least}").clips()
        assert sum(c["verdict"] == "kept" for c in clips) == kept
        assert len(clips) == 6
    clips = seen(reel_store, "rules.too_short.min=0", "rules.small.column='width'", "rules.small.min=193").clips()
    assert {(r["rule"], r["value"], r["bound"]) for c in clips for r in c["reasons"]} == {("small", 192.0, 193.0)}
    with pytest.raises(StoreError, match="holds no rows of shots under this recipe"):
        seen(reel_store, "shots.min_s=2")
    with pytest.raises(StoreError, match="holds no rows of scan"):
        seen(reel_store, "scan.mode=fast")


def test_a_store_of_an_older_release_is_seen_as_it_was_made(reel_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that raises the code version of the scan changes all fingerprints; what is there stays readable until the next run."""
    before, rules = seen(reel_store).clips(), "rules.too_short.min=100"
    monkeypatch.setattr("rushes.engine.fingerprints.SCAN_VERSION", 10**6)
    assert seen(reel_store).clips() == before
    assert Results(Store.open(str(reel_store), {})).videos() == seen(reel_store).videos() != []
    assert all(c["verdict"] == "dropped" for c in seen(reel_store, rules).clips()), "rules apply as ever"
    with pytest.raises(StoreError, match="holds no rows of shots under this recipe"):
        seen(reel_store, "shots.min_s=2")


@pytest.mark.parametrize("seed", range(5))
def test_many_clips_are_judged_as_one_is(seed: int) -> None:
    """Random columns with nulls, NaN, bools and values on the bounds, under random rules."""
    rng = random.Random(seed)
    values = {
        "a": [None, 0.0, 1.0, 2.0, math.nan],
        "b": [None, True, False],
        "duration_s": [3.95, 3.96, 3.9599, 4.0, 5.0],
        "absent": [None],
    }
    clips = [{name: rng.choice(some) for name, some in values.items() if name != "absent"} for _ in range(300)]
    rules = {
        "one": Rule(column="a", min=rng.choice([None, 0.0, 1.0]), max=rng.choice([None, 1.0, 1.5])),
        "b": Rule(min=rng.choice([None, 0.5]), max=rng.choice([0.5, 1.0])),
        "duration_s": Rule(min=4.0),
        "absent": Rule(min=1.0),
    }
    frames = [rng.choice([0.04, 0.03996, 0.0]) for _ in clips]
    table = pa.table({name: pa.chunked_array([pa.array([c[name] for c in clips])]) for name in ("a", "b", "duration_s")})
    found = dropped(lambda n: table[n] if n in table.column_names else None, rules, pa.chunked_array([pa.array(frames)]))
    assert found.to_pylist() == [judge(c, rules, frame_s=f).kind == "dropped" for c, f in zip(clips, frames, strict=True)]
    assert {True, False} == set(found.to_pylist())
