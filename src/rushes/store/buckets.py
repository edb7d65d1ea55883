"""A table's newest rows, some videos at a time: what a comparison over millions of videos reads, in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rushes.records import Column
from rushes.store.fold import folded
from rushes.store.opened import gathered
from rushes.store.partition import Partition
from rushes.store.parts import Asked, Part
from rushes.store.store import Store, columns_read, steadily
from rushes.store.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa


class Buckets:
    """The rows of some videos and fingerprints of one table.

    Merged parts are opened when their videos are asked for. Loose parts may hold rows of any bucket: they are read once, at the
    beginning, and sorted into buckets through scratch files.

    Args:
        store: the store.
        table: a table with `video_id`.
        videos: the videos asked for.
        digits: digits of the buckets that loose rows are sorted into.
        columns: columns wanted besides keys; default: all.
        fingerprints: only rows of these.
        extra: declared columns of an open-ended table.
    """

    def __init__(
        self,
        store: Store,
        table: Table,
        videos: Asked,
        digits: int,
        *,
        columns: Sequence[str] | None = None,
        fingerprints: Iterable[str] | None = None,
        extra: Sequence[Column] = (),
    ) -> None:
        self._store = store
        self._table = table
        self._videos = videos
        self._digits = digits
        self._names = columns_read(table, columns, extra)
        self._prints = None if fingerprints is None else sorted(set(fingerprints))
        self._merged: list[Part] = []
        self._loose: Partition | None = None

    def close(self) -> None:
        """Removes scratch files."""
        if self._loose is not None:
            self._loose.close()
            self._loose = None

    def rows(self, videos: Collection[str]) -> pa.Table:
        """The newest rows of some of the videos: at best neighbours, since all buckets from the first one to the last are looked at.

        Raises:
            StorageError: parts cannot be read.
        """
        asked = {"video_id": Asked(videos)}
        first, last = min(videos, default=""), max(videos, default="")

        def look() -> pa.Table:
            loose = self._loose or self._sort_loose()
            try:
                some = [part for part in self._merged if part.may_hold(None, asked["video_id"])]
                found = list(self._store.rows_of(some, self._names, self._prints, asked))
            except FileNotFoundError:
                self.close()
                raise
            between = [b for b in loose.buckets() if first[: self._digits] <= b <= last[: self._digits]]
            found += [_of(rows, videos) for bucket in between for rows in loose.rows(bucket)]
            return folded(self._table, gathered(found, self._names))

        return steadily(look, self._store.path(self._table.name))

    def _sort_loose(self) -> Partition:
        parts = self._store.parts(self._table, fingerprints=self._prints, videos=self._videos)
        self._merged = [part for part in parts if part.merged]
        with ExitStack() as stack:
            loose = stack.enter_context(Partition(self._digits))
            found = [part for part in parts if not part.merged]
            for rows in self._store.rows_of(found, self._names, self._prints, {"video_id": self._videos}):
                loose.add(rows)
            stack.pop_all()
        self._loose = loose
        return loose


def _of(rows: pa.Table, videos: Collection[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.is_in(rows["video_id"], value_set=pa.array(sorted(videos), pa.string())))
