"""A table's newest rows, those of some videos at a time: all whose video_id begins with the same digits.

Who asks for one range after the other, in order, reads each row group of the table once and holds one of each part in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rushes.records import Column
from rushes.store.fold import folded
from rushes.store.opened import Opened, gathered
from rushes.store.partition import Partition
from rushes.store.parts import LAST, Part
from rushes.store.store import Store, columns_read, steadily
from rushes.store.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa

OPEN_PARTS = 4
"""Merged parts that are open at once. With ranges in order one is enough, or a few where a compaction was killed."""


class Ranges:
    """The rows of one table by the first digits of their video_id; rows without a video_id are left out.

    Merged parts are read where the range lies. Loose parts may hold rows of any video: the first call reads them all and sorts their rows
    into buckets, through scratch files where they are many.

    Args:
        store: the store.
        table: a table with `video_id`.
        digits: how many digits a range has.
        columns: columns wanted besides keys; default: all.
        fingerprints: only rows of these.
        extra: declared columns of an open-ended table.
    """

    def __init__(
        self,
        store: Store,
        table: Table,
        digits: int,
        *,
        columns: Sequence[str] | None = None,
        fingerprints: Sequence[str] = (),
        extra: Sequence[Column] = (),
    ) -> None:
        self._store = store
        self._table = table
        self._digits = digits
        self._names = columns_read(table, columns, extra)
        self._prints = sorted(set(fingerprints))
        self._merged: list[Part] = []
        self._loose: Partition | None = None
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._last: dict[str, tuple[int, pa.Table]] = {}

    def rows(self, prefix: str) -> pa.Table:
        """The newest rows of the videos whose video_id begins so, by video and key.

        Raises:
            StorageError: parts cannot be read.
        """
        if not self._prints:
            return self._names.empty_table()

        def look() -> pa.Table:
            try:
                loose = self._loose or self._listed()
                found = [rows for part in self._merged for rows in self._of_part(part, prefix)]
            except FileNotFoundError:
                self.close()
                raise
            found += [rows.filter(rows["video_id"].is_valid()) for rows in loose.rows(prefix)]
            return folded(self._table, gathered(found, self._names))

        return steadily(look, self._store.path(self._table.name))

    def close(self) -> None:
        """Closes parts and removes scratch files; the next call of `rows` lists the parts anew."""
        for opened in self._open.values():
            opened.__exit__()
        self._open.clear()
        self._last.clear()
        if self._loose is not None:
            self._loose.close()
            self._loose = None

    def _listed(self) -> Partition:
        parts = self._store.parts(self._table, fingerprints=self._prints)
        self._merged = [part for part in parts if part.merged]
        loose = Partition(self._digits)
        for rows in self._store.rows_of([part for part in parts if not part.merged], self._names, self._prints):
            loose.add(rows)
        self._loose = loose
        return loose

    def _of_part(self, part: Part, prefix: str) -> Iterator[pa.Table]:
        """The rows of a merged part in a range; they are sorted by video_id there, and nulls come last."""
        own, end = part.prefix or "", prefix + LAST
        if not (own.startswith(prefix) or prefix.startswith(own)):
            return
        opened = self._part(part)
        for group in range(opened.n_groups):
            low, high = opened.between(group, "video_id")
            if low is None or high < prefix or low > end:
                continue
            number, rows = self._last.get(part.uri, (-1, None))
            if rows is None or number != group:
                rows = opened.group(group, self._names, self._prints)
                self._last[part.uri] = (group, rows)
            before, until = _n_before(rows["video_id"], prefix), _n_before(rows["video_id"], end)
            yield rows.slice(before, until - before)

    def _part(self, part: Part) -> Opened:
        opened = self._open.get(part.uri)
        if opened is None:
            opened = self._open[part.uri] = Opened(part, self._store.options)
            while len(self._open) > OPEN_PARTS:
                uri, old = self._open.popitem(last=False)
                old.__exit__()
                self._last.pop(uri, None)
        return opened


def _n_before(values: Any, bound: str) -> int:
    """How many values of a column are less than a bound."""
    import pyarrow as pa
    import pyarrow.compute as pc

    less: Any = pc.less(values, pa.scalar(bound))
    return pc.sum(less).as_py() or 0
