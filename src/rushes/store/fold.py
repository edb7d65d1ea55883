"""Of several rows of one key and fingerprint the newest counts: how readers fold rows that were written more than once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rushes.store.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa

AGE = ("written_at", "run_id")
"""What makes a row newer than another of its key; the run's id, which begins with the time of its start, decides between equal times."""


def order(table: Table) -> list[str]:
    """The columns by which a table's rows are sorted: the video first, where the table has it, so that a video's rows lie together."""
    first = [c.name for c in table.columns if c.name == "video_id"]
    return [*first, *(key for key in table.keys if key not in first), "fingerprint"]


def folded(table: Table, data: pa.Table) -> pa.Table:
    """The newest row for each key and fingerprint, in the order of `order(table)`.

    A clip belongs to one video and an error to one, so sorting by video first keeps the rows of a key together. Rows that are in order and
    without repeats, as merged parts are, are not sorted again.
    """
    by = order(table)
    return data if _ascends(data, by) else newest(data, by)


def newest(data: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The row with the greatest (`written_at`, `run_id`) for each key, in the order of the keys. Nulls come last and equal each other."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if data.num_rows < 2:
        return data
    data = data.take(pc.sort_indices(data, sort_keys=[(k, "ascending") for k in (*keys, *AGE)]))
    same: Any = None
    for key in keys:
        before, after = _neighbours(data[key])
        equal = pc.equal(before, after)
        same = equal if same is None else pc.and_(same, equal)
    return data.filter(pa.concat_arrays([pc.invert(same), pa.array([True])]))


def of_spans(cut: Any, wanted: Any) -> Any:
    """Which clips were cut by the spans that the video has now: two columns of identities, null where a list gives no spans."""
    import pyarrow.compute as pc

    return pc.equal(pc.fill_null(cut, ""), pc.fill_null(wanted, ""))


def _neighbours(column: Any) -> tuple[Any, Any]:
    """A column without its last value and without its first one; null strings as one that comes after all others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values: Any = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if values.null_count:
        values = pc.fill_null(values, "\U0010ffff")
    return values.slice(0, len(values) - 1), values.slice(1)


def _ascends(data: pa.Table, keys: Sequence[str]) -> bool:
    """Whether each row's keys are greater than those of the row before."""
    import pyarrow.compute as pc

    if data.num_rows < 2:
        return True
    greater: Any = None
    for key in reversed(keys):
        before, after = _neighbours(data[key])
        more = pc.less(before, after)
        greater = more if greater is None else pc.or_(more, pc.and_(pc.equal(before, after), greater))
    return bool(pc.all(greater).as_py())
