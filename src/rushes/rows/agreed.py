"""Labels of captions compared with measures and scores, as Arrow columns. See `captions/agreement.py` for what a comparison is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rushes.captions.agreement import Bound, Comparison
from rushes.verdict.arrow import Column

if TYPE_CHECKING:
    import pyarrow as pa


def agreed(comparison: Comparison, column: Column) -> Any:
    """Whether label and evidence say the same, as an Arrow array of bools; null where either says nothing.

    Args:
        comparison: which label, and what it is compared with.
        column: gives a column of the clips by name.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    label = _whole(column(comparison.label_column), pa.bool_() if isinstance(comparison.claims[0][0], bool) else pa.string())
    nothing = pa.nulls(len(label), pa.string())
    claimed: Any = nothing
    for value, claim in comparison.claims:
        claimed = pc.if_else(_sure(pc.equal(label, pa.scalar(value, label.type))), pa.scalar(claim), claimed)
    shown: Any = nothing
    for what, bounds in reversed(comparison.shows):
        shown = pc.if_else(_hold(bounds, column), pa.scalar(what), shown)
    return pc.equal(claimed, shown)


def _hold(bounds: Sequence[Bound], column: Column) -> Any:
    """Where all bounds hold; a null holds to none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: Any = None
    for bound in bounds:
        values = _whole(column(bound.column), pa.float64() if bound.equals is None else pa.string())
        tests = [] if bound.equals is None else [pc.equal(values, pa.scalar(bound.equals, values.type))]
        tests += [] if bound.low is None else [pc.greater_equal(values.cast(pa.float64()), pa.scalar(bound.low))]
        tests += [] if bound.high is None else [pc.less_equal(values.cast(pa.float64()), pa.scalar(bound.high))]
        for test in tests:
            found = _sure(test) if found is None else pc.and_(found, _sure(test))
    return found


def _sure(test: Any) -> Any:
    """A test of which a null has failed."""
    import pyarrow.compute as pc

    return pc.fill_null(test, False)


def _whole(values: Any, kind: pa.DataType) -> Any:
    """A column as one array; one without any value may come without a type, and gets this one."""
    import pyarrow as pa

    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return whole.cast(kind) if pa.types.is_null(whole.type) else whole
