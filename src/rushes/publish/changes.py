"""What a publish changes in a target: the clips wanted compared with the clips held, range by range, kept in scratch files.

So the counts are known before anything is written, and all that is written comes of one reading of the store, whatever runs meanwhile.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rushes.publish.chosen import KEYS, Chosen
from rushes.publish.row_hash import ROW_HASH
from rushes.publish.sorted_rows import sorted_rows
from rushes.store.partition import Partition

if TYPE_CHECKING:
    import pyarrow as pa

State = Literal["added", "changed", "unchanged"]
STATE = "state"
STATES: tuple[State, ...] = ("added", "changed", "unchanged")
Takes = Literal["changes", "ranges", "all"]
"""Which rows a target is given: added and changed ones; all rows of each range in which something changed; or all rows, as soon as
something changed."""
SAMPLE = 4
"""Clips whose content is looked at after writing."""


class Changes:
    """The difference between a store and a target. Use it as a context manager: leaving it removes the scratch files.

    Args:
        chosen: what is wanted.
        held: tables with `clip_id`, `video_id` and `row_hash` of what the target holds.
        takes: which rows the target needs.
        anew: whether the target is to be written anew, so that no row counts as unchanged.
        tell: called with the number of clips compared until now, range by range.

    Attributes:
        counts: clips `added`, `changed`, `removed` and `unchanged`.
        columns: names of the published columns.
        sample: the wanted rows of the `SAMPLE` smallest clip_ids.
        touched: ranges in which something changed.
        ranges: range -> wanted rows in it.
        digits: first digits of a video_id that make a range.
    """

    def __init__(self, chosen: Chosen, held: Iterable[pa.Table], takes: Takes, *, anew: bool = False, tell: Callable[[int], None]) -> None:
        self._chosen, self._takes, self._anew, self._tell = chosen, takes, anew, tell
        self.columns = chosen.columns
        self.counts = Counter[str](added=0, changed=0, removed=0, unchanged=0)
        self.sample: pa.Table = chosen.empty()
        self.touched: set[str] = set()
        self.ranges: dict[str, int] = {}
        self.digits = chosen.results.reader.digits
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rushes-publish-")))
            self._compare(held)
            self._stack = stack.pop_all()

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def any(self) -> bool:
        """Whether anything is to be written."""
        return self.counts["added"] + self.counts["changed"] + self.counts["removed"] > 0

    @property
    def n_rows(self) -> int:
        """Clips that the target holds afterwards."""
        return sum(self.counts[state] for state in STATES)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the published columns."""
        return self.sample.select(list(self.columns)).schema

    def rows(self, *states: State, prefix: str | None = None) -> Iterator[pa.Table]:
        """Rows in the order that the recipe asks for, table by table, each with `state` and the columns of `Chosen.ranges`.

        Args:
            states: only rows of these; default: all that the target is given.
            prefix: only those of one range.
        """
        by, wanted = self._chosen.settings.order, states or STATES
        tables = self._read(wanted, [prefix] if prefix is not None else sorted(self.ranges))
        return sorted_rows(tables, by) if by else tables

    def gone(self, *, changed: bool = False) -> Iterator[pa.Table]:
        """`clip_id` and `video_id` of rows that the target holds and is not to hold any more; with `changed`, of those that change, too."""
        import pyarrow.parquet as pq

        for path in sorted(self._folder.glob("removed-*.parquet")):
            yield pq.read_table(path)
        if changed:
            for rows in self._read(("changed",), sorted(self.ranges)):
                yield rows.select(list(KEYS))

    def _read(self, states: Collection[str], prefixes: Iterable[str]) -> Iterator[pa.Table]:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        for path in (self._folder / f"rows-{prefix}.parquet" for prefix in prefixes):
            if path.exists():
                rows = pq.read_table(path)
                some = rows.filter(pc.is_in(rows[STATE], value_set=pa.array(states, pa.string())))
                if some.num_rows:
                    yield some

    def _compare(self, held: Iterable[pa.Table]) -> None:
        none = self.sample.select([*KEYS, ROW_HASH])
        with Partition(self.digits) as known:
            for rows in held:
                known.add(rows.select([*KEYS, ROW_HASH]).cast(none.schema))
            here = set(known.buckets())
            for prefix, rows in self._chosen.ranges():
                self._compare_range(prefix, rows, [none, *known.rows(prefix)])
                here.discard(prefix)
            for prefix in sorted(here):
                self._compare_range(prefix, self.sample.slice(0, 0), [none, *known.rows(prefix)])

    def _compare_range(self, prefix: str, rows: pa.Table, held: list[pa.Table]) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        old: Any = pa.concat_tables(held).combine_chunks()
        at: Any = pc.index_in(rows["clip_id"], value_set=old["clip_id"])
        equal: Any = pc.equal(rows[ROW_HASH], old[ROW_HASH].take(at))
        same: Any = pc.fill_null(equal, False)
        again = pa.scalar("changed") if self._anew else pa.scalar("unchanged")
        state: Any = pc.if_else(at.is_null(), pa.scalar("added"), pc.if_else(same, again, pa.scalar("changed")))
        gone = old.filter(pc.invert(pc.is_in(old["clip_id"], value_set=rows["clip_id"].combine_chunks()))).select(list(KEYS))
        counted: Any = pc.value_counts(state)
        found = {one["values"]: one["counts"] for one in counted.to_pylist()}
        self.counts.update(found)
        self.counts["removed"] += gone.num_rows
        if rows.num_rows:
            self.ranges[prefix] = rows.num_rows
        self._tell(self.n_rows)
        if gone.num_rows or found.keys() - {"unchanged"}:
            self.touched.add(prefix)
        if gone.num_rows:
            pq.write_table(gone, self._folder / f"removed-{prefix}.parquet", compression="zstd")
        self.sample = pa.concat_tables([self.sample, rows]).sort_by("clip_id").slice(0, SAMPLE).combine_chunks()
        rows = rows.append_column(STATE, state)
        if self._takes == "changes":
            differs: Any = pc.not_equal(state, pa.scalar("unchanged"))
            rows = rows.filter(differs)
        if rows.num_rows and (self._takes == "all" or prefix in self.touched):
            pq.write_table(rows, self._folder / f"rows-{prefix}.parquet", compression="zstd")
