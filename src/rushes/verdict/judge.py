"""The verdict: a pure function of columns and rules. Kept, dropped with every reason, or failed; never stored as truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from rushes.errors import RecipeError
from rushes.recipe import Rule
from rushes.records import Reason

Kind = Literal["kept", "dropped", "failed"]
DURATION = "duration_s"
"""The column of which a minimum tolerates one frame."""
SLACK_FRAMES = 1.001
"""A hair more than a frame, for the rounding of pts."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a clip, and why."""

    kind: Kind
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One rule applied to one clip: `value` None means not measured, which never drops."""

    rule: str
    column: str
    value: float | None
    min: float | None
    max: float | None
    broken: bool

    @property
    def words(self) -> str:
        """The outcome in a few words."""
        if self.value is None:
            return "not measured"
        return "broken" if self.broken else "holds"


def checks(columns: Mapping[str, object], rules: Mapping[str, Rule], *, frame_s: float = 0.0) -> list[Check]:
    """Every rule with the clip's value and bounds, in the recipe's order.

    Bounds are inclusive; a minimum of `duration_s` tolerates one frame.

    Args:
        columns: the clip's measures and its video's container facts; bools count as 0 and 1.
        rules: the recipe's rules by name.
        frame_s: length of one frame in seconds.
    """
    found = []
    for name, rule in rules.items():
        column = rule.column or name
        raw = columns.get(column)
        value = float(raw) if isinstance(raw, int | float) else None
        slack = frame_s * SLACK_FRAMES if column == DURATION else 0.0
        low = rule.min is not None and value is not None and value + slack < rule.min
        high = rule.max is not None and value is not None and value > rule.max
        found.append(Check(name, column, value, rule.min, rule.max, low or high))
    return found


def judge(columns: Mapping[str, object], rules: Mapping[str, Rule], *, failed: bool = False, frame_s: float = 0.0) -> Verdict:
    """The verdict on one clip; `failed` where what the recipe wants of it (its caption) failed for good. Else as `checks`."""
    reasons = []
    for check in checks(columns, rules, frame_s=frame_s):
        if check.broken and check.value is not None:
            bound = check.min if check.min is not None and check.value < check.min else check.max
            assert bound is not None
            reasons.append(Reason(check.rule, check.column, check.value, bound))
    if reasons:
        return Verdict("dropped", tuple(reasons))
    return Verdict("failed" if failed else "kept")


def check_columns(rules: Mapping[str, Rule], known: Iterable[str]) -> None:
    """Makes sure that every rule looks at a column that something makes.

    Raises:
        RecipeError: a rule looks elsewhere; it names the rule and the nearest column.
    """
    import difflib

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
