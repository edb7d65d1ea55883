"""Tables of rows in order of one column, however many they are: divided among scratch files by value, which are sorted one by one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

PILE_ROWS = 1 << 16
"""Rows that are sorted together, about."""
LOOKED_AT = 16
"""One row of so many says where piles are to be divided."""


def sorted_rows(tables: Iterator[pa.Table], order: str) -> Iterator[pa.Table]:
    """The rows of all tables by a column, nulls last, those of equal values by clip_id; of numbers NaN comes after all others.

    Args:
        tables: tables of one schema, with `clip_id`.
        order: name of the column; "-" before it: the largest first.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    column, largest_first = order.removeprefix("-"), order.startswith("-")
    by: Any = [(column, "descending" if largest_first else "ascending"), ("clip_id", "ascending")]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rushes-sort-")))
        paths: list[Path] = []
        values: list[Any] = []
        n = 0
        for rows in tables:
            paths.append(folder / f"in-{len(paths)}.parquet")
            pq.write_table(rows, paths[-1], compression="zstd")
            values.append(rows[column].take(pa.array(range(n % LOOKED_AT, rows.num_rows, LOOKED_AT), pa.int64())))
            n += rows.num_rows
        if n <= PILE_ROWS:
            if n:
                yield pa.concat_tables([pq.read_table(path) for path in paths]).sort_by(by)
            return
        bounds = _bounds(pa.chunked_array([chunk for one in values for chunk in one.chunks]))
        del values
        writers: dict[int, pq.ParquetWriter] = {}
        for path in paths:
            rows = pq.read_table(path)
            for number, some in _divided(rows, column, bounds):
                if number not in writers:
                    writers[number] = stack.enter_context(pq.ParquetWriter(folder / f"{number}.parquet", rows.schema, compression="zstd"))
                writers[number].write_table(some)
            path.unlink()
        for writer in writers.values():
            writer.close()
        nulls = len(bounds) + 1  # their pile comes last either way
        for number in sorted(writers, key=lambda k: (k == nulls, -k if largest_first else k)):
            yield pq.read_table(folder / f"{number}.parquet").sort_by(by)


def _bounds(values: Any) -> Any:
    """Values that divide rows into piles of about `PILE_ROWS`, in order, each once, from one value of `LOOKED_AT`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = values.drop_null()
    if not len(known):
        return pa.array([], values.type)
    ordered = known.take(pc.sort_indices(known)).combine_chunks()
    step = max(1, PILE_ROWS // LOOKED_AT)
    places = range(step, len(ordered), step)
    return pc.unique(ordered.take(pa.array(places, pa.int64())))


def _divided(rows: pa.Table, column: str, bounds: Any) -> Iterator[tuple[int, pa.Table]]:
    """(number of the pile, rows): the pile of a value is how many bounds it has reached; that of nulls comes after all."""
    import pyarrow as pa
    import pyarrow.compute as pc

    pile: Any = pa.array([0] * rows.num_rows, pa.int64())
    for bound in bounds:
        reached: Any = pc.greater_equal(rows[column], bound)
        pile = pc.add(pile, pc.cast(pc.fill_null(reached, pa.scalar(False)), pa.int64()))
    pile = pc.if_else(rows[column].is_null(), pa.scalar(len(bounds) + 1), pile)
    for number in pc.unique(pile).to_pylist():
        yield number, rows.filter(pc.equal(pile, pa.scalar(number)))
