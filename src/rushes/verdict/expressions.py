"""The verdict on the clips of a lazy Daft data frame, as expressions over its columns. See `checks.py` for what a broken rule is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rushes.verdict.checks import DURATION, FRAMES, Check

if TYPE_CHECKING:
    import daft


def reasons(checks: Sequence[Check]) -> daft.Expression:
    """The broken checks of a clip, in order: a list of structs of rule, column, value and bound."""
    import daft
    from daft import DataType
    from daft import functions as F

    text, number = DataType.string(), DataType.float64()
    kind = DataType.struct({"rule": text, "column": text, "value": number, "bound": number})
    nothing = daft.lit(None).cast(kind)
    found = [_reason(check, nothing) for check in checks]
    return F.list_filter(F.to_list(*found), daft.element().not_null()) if found else daft.lit([]).cast(DataType.list(kind))


def _reason(check: Check, nothing: daft.Expression) -> daft.Expression:
    from daft import DataType, col, lit
    from daft import functions as F

    def number(name: str) -> daft.Expression:
        return col(name).cast(DataType.float64())

    value = number(check.column)

    def reason(bound: float) -> Any:
        return F.to_struct(rule=lit(check.rule), column=lit(check.column), value=value, bound=lit(bound))

    def holds(test: daft.Expression) -> Any:
        return (test & ~F.is_nan(value)).fill_null(False)

    # Daft orders -0.0 before 0.0: a minimum of zero is compared as -0.0 and a maximum as 0.0, so that no zero lies beyond either
    found = nothing
    if check.high is not None:
        found = F.when(holds(value > lit(check.high or 0.0)), reason(float(check.high))).otherwise(found)
    if check.low is not None:
        reach = value
        if check.slack_frames:
            n = number(FRAMES)
            frames = F.when((n > lit(1.0)).fill_null(False), n).otherwise(lit(1.0))
            reach = value + number(DURATION) / frames * lit(check.slack_frames)
        found = F.when(holds(reach < lit(check.low or -0.0)), reason(float(check.low))).otherwise(found)
    return found


def verdict(reasons: daft.Expression, failed: daft.Expression) -> daft.Expression:
    """`dropped`, `failed` or `kept`.

    Args:
        reasons: the clip's reasons.
        failed: whether the clip's caption failed for good.
    """
    from daft import functions as F
    from daft import lit

    return F.when(F.list_count(reasons, "all") > lit(0), lit("dropped")).when(failed, lit("failed")).otherwise(lit("kept"))
