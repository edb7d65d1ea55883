"""The verdict on clips whose columns are Arrow arrays: in the decoding child, in the plan of a run, and where commands read a store.

See `checks.py` for what a broken rule is. `Column` below gives a clip column by name, one value a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes.verdict.checks import DURATION, FRAMES, Check

if TYPE_CHECKING:
    import pyarrow as pa

Column = Callable[[str], Any]
"""Column name -> Arrow array or chunked array of numbers or bools."""
Bools = npt.NDArray[np.bool_]


def reason_type() -> pa.DataType:
    """The Arrow type of a reason: which rule is broken, its column, the clip's value there, and the bound."""
    import pyarrow as pa

    return pa.struct([("rule", pa.string()), ("column", pa.string()), ("value", pa.float64()), ("bound", pa.float64())])


def values(column: Column, name: str) -> npt.NDArray[np.float64]:
    """A column as float64; NaN where it is null."""
    import pyarrow as pa

    array: Any = column(name).cast(pa.float64())
    return np.asarray(array.to_numpy() if isinstance(array, pa.ChunkedArray) else array.to_numpy(zero_copy_only=False), np.float64)


def broken(check: Check, column: Column) -> tuple[Bools, Bools]:
    """Which clips lie below the minimum, and which above the maximum; a NaN compares as false with any bound."""
    value = values(column, check.column)
    below = above = np.zeros(len(value), np.bool_)
    if check.low is not None:
        reach = value
        if check.slack_frames:
            reach = value + values(column, DURATION) / np.fmax(1.0, values(column, FRAMES)) * check.slack_frames
        below = reach < check.low
    if check.high is not None:
        above = value > check.high
    return below, above


def dropped(checks: Sequence[Check], column: Column, n: int) -> Bools:
    """Which of `n` clips break a check."""
    found = np.zeros(n, np.bool_)
    for check in checks:
        below, above = broken(check, column)
        found |= below | above
    return found


def counts(checks: Sequence[Check], column: Column) -> dict[str, int]:
    """Rule -> clips that break it; rules that none breaks are absent."""
    found = {check.rule: int(np.count_nonzero(np.logical_or(*broken(check, column)))) for check in checks}
    return {rule: n for rule, n in found.items() if n}


def reasons(checks: Sequence[Check], column: Column, n: int) -> pa.ListArray[Any]:
    """The broken checks of each of `n` clips, in the order of the checks."""
    import pyarrow as pa

    rows, rules, looked_at, found, bounds = [], [], [], [], []
    for check in checks:
        below, above = broken(check, column)
        at = np.flatnonzero(below | above)
        rows.append(at)
        rules += [check.rule] * len(at)
        looked_at += [check.column] * len(at)
        found.append(values(column, check.column)[at])
        bounds.append(np.where(below[at], np.nan if check.low is None else check.low, np.nan if check.high is None else check.high))
    every = np.concatenate([*rows, np.zeros(0, np.int64)])
    order = np.argsort(every, kind="stable")
    offsets: Any = np.concatenate([[0], np.cumsum(np.bincount(every, minlength=n))]).astype(np.int32)
    kind: Any = reason_type()
    fields: Any = [
        pa.array(rules, pa.string()), pa.array(looked_at, pa.string()),
        pa.array(np.concatenate([*found, np.zeros(0)]), pa.float64()), pa.array(np.concatenate([*bounds, np.zeros(0)]), pa.float64()),
    ]  # fmt: skip
    each = pa.StructArray.from_arrays(fields, fields=list(kind)).take(pa.array(order, pa.int64()))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), each)


def verdicts(is_dropped: Bools, failed: Bools) -> pa.StringArray:
    """`dropped`, `failed` or `kept` of each clip.

    Args:
        is_dropped: clips with a reason.
        failed: clips whose caption failed for good.
    """
    import pyarrow as pa

    kinds = pa.array(["kept", "failed", "dropped"])
    which: Any = np.where(is_dropped, 2, np.where(failed, 1, 0))
    return kinds.take(pa.array(which, pa.int64()))


def outcomes(checks: Sequence[Check], column: Column, row: int) -> list[dict[str, Any]]:
    """Every check of one clip: rule, column, value, min, max, and the outcome: "passes", "fails" or "not measured"."""
    found = []
    for check in checks:
        below, above = broken(check, column)
        value = float(values(column, check.column)[row])
        known = value == value
        outcome = "not measured" if not known else "fails" if below[row] or above[row] else "passes"
        numbers = {"value": value if known else None, "min": check.low, "max": check.high}
        found.append({"rule": check.rule, "column": check.column, **numbers, "outcome": outcome})
    return found
