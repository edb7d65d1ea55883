"""The rules mean the same in Arrow, in Daft and in DuckDB as in the few lines of plain Python below, which use nothing of Rushes."""

from __future__ import annotations

import math
import random
from typing import Any

import daft
import duckdb
import numpy as np
import pyarrow as pa
import pytest

from rushes.recipe import Rule
from rushes.verdict import arrow, expressions, sql
from rushes.verdict.checks import checks_of

SCHEMA = pa.schema([
    ("a", pa.float32()), ("b", pa.bool_()), ("n", pa.int64()), ("duration_s", pa.float64()), ("n_frames", pa.int64()),
    ("failed", pa.bool_()),
])  # fmt: skip
FRAME_S = 0.04
FLOATS = [None, math.nan, math.inf, -math.inf, 0.0, -0.0, 0.1, 0.43, 1.0, 1.5, 2.0, 1e-30, 3e38]


def judged_by_hand(clip: dict[str, Any], rules: dict[str, Rule]) -> tuple[str, list[dict[str, Any]]]:
    found = []
    for name, rule in rules.items():
        column = rule.column or name
        if clip[column] is None or math.isnan(float(clip[column])):
            continue
        value = float(clip[column])
        frame_s = clip["duration_s"] / max(1, clip["n_frames"] or 0) if column == "duration_s" else 0.0
        if rule.min is not None and value + frame_s * 1.001 < rule.min:
            found.append({"rule": name, "column": column, "value": value, "bound": float(rule.min)})
        elif rule.max is not None and value > rule.max:
            found.append({"rule": name, "column": column, "value": value, "bound": float(rule.max)})
    return ("dropped" if found else "failed" if clip["failed"] else "kept"), found


def random_clips(rng: random.Random, n: int) -> list[dict[str, Any]]:
    """Clips with nulls, NaN, infinities, values on the bounds, and lengths within a hair of a bound less one frame."""
    clips = []
    for _ in range(n):
        frames = rng.choice([99, 100, 101, 0, 1, 25])
        length = rng.choice([frames * FRAME_S, 3.96, 3.9599, 3.955, 4.0, math.nextafter(4.0, 0), 12.0, None, math.nan])
        value = rng.choice([*FLOATS, rng.random()])
        a = None if value is None else float(np.float32(value))
        clips.append(
            {"a": a, "b": rng.choice([None, True, False]), "n": rng.choice([None, 0, 1, 2, 1920, 2**53]), "duration_s": length,
             "n_frames": rng.choice([frames, frames, None]), "failed": rng.random() < 0.2}
        )  # fmt: skip
    return clips


def random_rules(rng: random.Random) -> dict[str, Rule]:
    bounds: list[float | None] = [None, 0.0, 0.1, float(np.float32(0.1)), 0.43, 1.0, 1.5, 1e300, 5e-324]

    def rule(**more: Any) -> Rule:
        low, high = rng.choice(bounds), rng.choice(bounds)
        return Rule(min=low, max=None if low is not None and high is not None and high < low else high, **more)

    rules = {
        "it's \"one\"": rule(column="a"), "two": rule(column="a"), "b": rule(), "n": rng.choice([Rule(min=1920), Rule(max=1), Rule()]),
        "too_short": Rule(column="duration_s", min=4.0), "too_long": Rule(column="duration_s", max=rng.choice([4.0, 11.5])),
    }  # fmt: skip
    names = rng.sample(list(rules), rng.randint(0, len(rules)))
    return {name: rules[name] for name in names}


Judged = list[tuple[str, list[dict[str, Any]]]]


def by_arrow(clips: pa.Table, rules: dict[str, Rule]) -> Judged:
    checks = checks_of(rules)
    drop = arrow.dropped(checks, clips.column, clips.num_rows)
    found = arrow.reasons(checks, clips.column, clips.num_rows)
    kinds = arrow.verdicts(drop, clips["failed"].to_numpy())
    return list(zip(kinds.to_pylist(), found.to_pylist(), strict=True))


def by_daft(clips: pa.Table, rules: dict[str, Rule]) -> Judged:
    reasons = expressions.reasons(checks_of(rules))
    kind = expressions.verdict(reasons, daft.col("failed"))
    rows = daft.from_arrow(clips).select(kind.alias("kind"), reasons.alias("reasons")).to_arrow().to_pylist()
    return [(row["kind"], row["reasons"]) for row in rows]


def by_duckdb(clips: pa.Table, rules: dict[str, Rule]) -> Judged:
    reasons = sql.reasons(checks_of(rules))
    with duckdb.connect() as base:
        base.register("clips", clips.append_column("place", pa.array(range(clips.num_rows))))
        rows = base.execute(f"SELECT {sql.verdict(reasons, 'failed')}, {reasons} FROM clips ORDER BY place").fetchall()
    return [(kind, found) for kind, found in rows]


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("translated", [by_arrow, by_daft, by_duckdb])
def test_every_translation_judges_as_plain_python_does(translated: Any, seed: int) -> None:
    rng = random.Random(seed)
    clips, rules = random_clips(rng, 300), random_rules(rng)
    wanted = [judged_by_hand(clip, rules) for clip in clips]
    found = translated(pa.Table.from_pylist(clips, schema=SCHEMA), rules)
    for clip, mine, theirs in zip(clips, wanted, found, strict=True):
        assert theirs == mine, (clip, rules)


def test_the_random_clips_try_every_outcome() -> None:
    """The property above is worth nothing unless values on bounds, tolerated lengths, and clips that are not measured come up."""
    seen: set[str] = set()
    for seed in range(25):
        rng = random.Random(seed)
        clips, rules = random_clips(rng, 300), random_rules(rng)
        for clip in clips:
            kind, reasons = judged_by_hand(clip, rules)
            seen |= {kind, *(reason["rule"] for reason in reasons)}
            length = clip["duration_s"]
            if "too_short" in rules and length is not None and length < 4 and "too_short" not in {r["rule"] for r in reasons}:
                seen.add("tolerated")
            seen |= {"null"} if clip["a"] is None else {"nan"} if math.isnan(clip["a"]) else set()
            seen |= {"on a bound"} if any(clip["a"] in (r.min, r.max) for r in rules.values() if r.column == "a") else set()
    assert seen >= {"kept", "dropped", "failed", 'it\'s "one"', "b", "n", "too_short", "too_long", "tolerated", "null", "nan", "on a bound"}


def test_a_table_of_no_clips_is_judged_too() -> None:
    none = SCHEMA.empty_table()
    for translated in (by_arrow, by_daft, by_duckdb):
        assert translated(none, {"a": Rule(min=1.0)}) == []
