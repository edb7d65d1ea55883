"""The rules of a recipe as plain data: which column of a clip is compared with which bounds. Nothing is computed here.

Three files translate this one description, each for another engine, and `tests/test_verdict.py` shows that they agree:
`arrow.py` for tables in memory, `expressions.py` for lazy Daft data frames, `sql.py` for DuckDB. What all of them mean by a broken rule:

- a clip whose value is null or NaN was not measured, and no rule drops it;
- bounds are inclusive: a value equal to a bound holds;
- bools count as 0 and 1, and all numbers are compared as float64;
- a minimum of `duration_s` tolerates one frame: value + slack_frames * duration_s / max(1, n_frames) must reach it;
- a broken rule is one reason with its name, column, value and bound: the minimum where the value is below it, else the maximum.

A clip with a reason is `dropped`. One without is `failed` where its caption failed for good, else `kept`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from rushes.errors import RecipeError
from rushes.recipe import Rule

Kind = Literal["kept", "dropped", "failed"]
KINDS: tuple[Kind, ...] = ("kept", "dropped", "failed")
DURATION, FRAMES = "duration_s", "n_frames"
"""The column of which a minimum tolerates one frame, and the one that tells how long a frame is."""
SLACK_FRAMES = 1.001
"""A hair more than a frame, for the rounding of pts."""


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of a recipe: `column` of a clip must lie in [low, high]; None is no bound.

    Attributes:
        slack_frames: frames by which a value may fall short of `low`.
    """

    rule: str
    column: str
    low: float | None
    high: float | None
    slack_frames: float

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that must be known to judge it."""
        return (self.column, FRAMES) if self.slack_frames else (self.column,)


def checks_of(rules: Mapping[str, Rule]) -> tuple[Check, ...]:
    """The rules as checks, in the recipe's order."""
    found = []
    for name, rule in rules.items():
        column = rule.column or name
        found.append(Check(name, column, rule.min, rule.max, SLACK_FRAMES if column == DURATION and rule.min is not None else 0.0))
    return tuple(found)


def columns_of(checks: Iterable[Check]) -> list[str]:
    """The columns of clips that the checks look at, each once."""
    return list(dict.fromkeys(column for check in checks for column in check.columns))


def check_columns(rules: Mapping[str, Rule], known: Iterable[str]) -> None:
    """Makes sure that every rule looks at a column that something makes.

    Raises:
        RecipeError: a rule looks elsewhere; it names the rule and the nearest column.
    """
    names = sorted(known)
    for name, rule in rules.items():
        column = rule.column or name
        if column not in names:
            near = difflib.get_close_matches(column, names, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(names)}"
            raise RecipeError(
                f"rules.{name} looks at the column {column!r}, which no enabled step makes; {hint}",
                step="recipe",
                mend="name a column with rules.NAME.column",
            )
