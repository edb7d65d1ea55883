"""Why clips were dropped: for each rule, how many broke it and how many only it dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rushes.report import numbers
from rushes.report.data import ReportData

if TYPE_CHECKING:
    from rushes.recipe import Rule


@dataclass(frozen=True)
class RuleCount:
    """One rule: `broke` clips broke it (others may have dropped them too), `only` were dropped by nothing else."""

    rule: str
    column: str
    bound: str
    broke: int
    only: int


def count_rules(data: ReportData) -> list[RuleCount]:
    """Every rule of the recipe, and any other rule that dropped a clip, most broken first."""
    totals, names = data.totals, dict.fromkeys([*data.rules, *data.totals.broke])
    rows = [
        RuleCount(name, _column(data, name), bound_text(data.rules.get(name)), totals.broke.get(name, 0), totals.only.get(name, 0))
        for name in names
    ]
    return sorted(rows, key=lambda row: (-row.broke, row.rule))


def _column(data: ReportData, name: str) -> str:
    rule = data.rules.get(name)
    return (rule.column if rule else None) or name


def bound_text(rule: Rule | None) -> str:
    """What a rule asks for: 'at least 4', 'at most 0.3', '0.1 to 0.9'."""
    if rule is None or (rule.min is None and rule.max is None):
        return "no bound"
    if rule.min is None:
        return f"at most {numbers.short(rule.max)}"
    if rule.max is None:
        return f"at least {numbers.short(rule.min)}"
    return f"{numbers.short(rule.min)} to {numbers.short(rule.max)}"


def broken(reason: Mapping[str, Any]) -> str:
    """A reason as a comparison: 'sharpness 0.12 < 0.3'."""
    value, bound = reason.get("value"), reason.get("bound")
    if isinstance(value, (int, float)) and isinstance(bound, (int, float)):
        sign = "<" if value < bound else ">"
        return f"{reason['column']} {_apart(float(value), float(bound))} {sign} {numbers.short(bound)}"
    return f"{reason['column']} {numbers.short(value)}, bound {numbers.short(bound)}"


def _apart(value: float, bound: float) -> str:
    """The value in as few digits as tell it from the bound, so that no label reads '4 < 4'."""
    text = numbers.short(value)
    for digits in range(3, 10):
        if text != numbers.short(bound):
            break
        text = f"{value:.{digits}g}"
    return text
