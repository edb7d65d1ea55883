"""The verdict: bounds inclusive, every broken rule a reason, a null never drops, failure never looks like taste."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rushes.errors import RecipeError, StoreError
from rushes.recipe import Rule
from rushes.results import Results
from rushes.store.store import Store
from rushes.verdict import arrow
from rushes.verdict.checks import check_columns, checks_of
from stores import seen


def judged(clip: dict[str, Any], rules: dict[str, Rule], *, failed: bool = False) -> tuple[str, list[tuple[Any, ...]]]:
    """Verdict and reasons of one clip."""
    column = {name: pa.array([value]) for name, value in clip.items()}.__getitem__
    checks = checks_of(rules)
    [reasons] = arrow.reasons(checks, column, 1).to_pylist()
    [kind] = arrow.verdicts(arrow.dropped(checks, column, 1), np.array([failed])).to_pylist()
    return kind, [tuple(reason.values()) for reason in reasons]


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
        (math.nan, {"min": 0.5, "max": 0.6}, None),
        (0.0, {"min": 0.0}, None),
        (True, {"max": 0}, 0.0),
        (False, {"min": 1}, 1.0),
        (1920, {"min": 2000}, 2000.0),
        (7.0, {}, None),
    ],
)
def test_bounds_are_inclusive_and_what_is_not_measured_never_drops(value: Any, bounds: dict[str, float], bound: float | None) -> None:
    expected = ("kept", []) if bound is None else ("dropped", [("x", "x", float(value), bound)])
    assert judged({"x": value}, {"x": Rule(**bounds)}) == expected


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_column_without_a_value_is_not_measured(value: float | None) -> None:
    [outcome] = arrow.outcomes(
        checks_of({"blurred": Rule(column="sharpness", min=0.2)}), {"sharpness": pa.array([value], pa.float64())}.get, 0
    )
    expected = {"rule": "blurred", "column": "sharpness", "value": None, "min": 0.2, "max": None, "outcome": "not measured"}
    assert outcome == expected


def test_every_broken_rule_is_a_reason_in_the_recipes_order() -> None:
    rules = {"dark": Rule(column="luma", min=0.2), "huge": Rule(column="width", max=100), "blurred": Rule(column="sharpness", min=0.5)}
    reasons = judged({"luma": 0.1, "width": 100, "sharpness": 0.4}, rules)[1]
    assert reasons == [("dark", "luma", 0.1, 0.2), ("blurred", "sharpness", 0.4, 0.5)]


def test_only_a_minimum_of_the_length_tolerates_one_frame() -> None:
    def kind(seconds: float, rules: dict[str, Rule]) -> str:
        frames = round(seconds / 0.04)
        return judged({"duration_s": frames * 0.04, "n_frames": frames, "sharpness": seconds}, rules)[0]

    rules = {"too_short": Rule(column="duration_s", min=4.0)}
    assert kind(3.96, rules) == "kept"
    assert kind(3.92, rules) == "dropped"
    assert kind(4.04, {"long": Rule(column="duration_s", max=4.0)}) == "dropped"
    assert kind(3.96, {"blurred": Rule(column="sharpness", min=4.0)}) == "dropped"


def test_a_failed_caption_fails_a_clip_that_would_be_kept_and_no_other() -> None:
    rules = {"dark": Rule(column="luma", min=0.2)}
    assert judged({"luma": 0.5}, rules, failed=True)[0] == "failed"
    assert judged({"luma": 0.1}, rules, failed=True)[0] == "dropped"
    assert judged({"luma": 0.5}, rules)[0] == "kept"


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
    monkeypatch.setattr("rushes.engine.stages.SCAN_VERSION", 10**6)
    assert seen(reel_store).clips() == before
    assert list(Results(Store.open(str(reel_store), {})).videos()) == seen(reel_store).videos() != []
    assert all(c["verdict"] == "dropped" for c in seen(reel_store, rules).clips()), "rules apply as ever"
    with pytest.raises(StoreError, match="holds no rows of shots under this recipe"):
        seen(reel_store, "shots.min_s=2")
