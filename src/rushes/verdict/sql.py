"""The verdict on clips in DuckDB, as SQL text over their columns. See `checks.py` for what a broken rule is."""

from __future__ import annotations

from collections.abc import Sequence

from rushes.verdict.checks import DURATION, FRAMES, Check

REASONS_TYPE = 'STRUCT("rule" VARCHAR, "column" VARCHAR, "value" DOUBLE, "bound" DOUBLE)[]'


def text(value: str) -> str:
    """A text as SQL."""
    return "'" + value.replace("'", "''") + "'"


def name(value: str) -> str:
    """A column's name as SQL."""
    return '"' + value.replace('"', '""') + '"'


def _number(value: float) -> str:
    """A number as float64, to the last bit: DuckDB takes `0.1` for a decimal."""
    return f"'{float(value)!r}'::DOUBLE"


def reasons(checks: Sequence[Check]) -> str:
    """The broken checks of a clip, in order: a list of structs of rule, column, value and bound."""
    if not checks:
        return f"CAST([] AS {REASONS_TYPE})"
    cases = ",\n    ".join(_reason(check) for check in checks)
    return f"CAST([reason FOR reason IN [\n    {cases}\n  ] IF reason IS NOT NULL] AS {REASONS_TYPE})"


def _reason(check: Check) -> str:
    value = f"CAST({name(check.column)} AS DOUBLE)"

    def case(test: str, bound: str) -> str:
        said = f"{{'rule': {text(check.rule)}, 'column': {text(check.column)}, 'value': {value}, 'bound': {bound}}}"
        return f"WHEN NOT isnan({value}) AND {test} THEN {said}"

    cases = []
    if check.low is not None:
        reach, low = value, _number(check.low)
        if check.slack_frames:
            frames = f"greatest(1, coalesce({name(FRAMES)}, 1))"
            reach = f"{value} + CAST({name(DURATION)} AS DOUBLE) / {frames} * {_number(check.slack_frames)}"
        cases.append(case(f"{reach} < {low}", low))
    if check.high is not None:
        high = _number(check.high)
        cases.append(case(f"{value} > {high}", high))
    return f"CASE {' '.join(cases)} END" if cases else "NULL"


def verdict(reasons: str, failed: str) -> str:
    """`dropped`, `failed` or `kept`; both arguments are SQL: the clip's reasons, and whether its caption failed for good."""
    return f"CASE WHEN len({reasons}) > 0 THEN 'dropped' WHEN {failed} THEN 'failed' ELSE 'kept' END"
