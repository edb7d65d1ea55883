"""Rows on their way into the store: durable when `commit` returns, and yet in few parts.

The newest rows of a table lie in its open part, which is written anew, with the rows that came since, under the same name: a reader sees
it before or after, never half. When it holds many rows or is old, the next one is begun.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rushes.records import Column
from rushes.store.store import Store
from rushes.store.tables import Table, schema

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROWS = 256
"""Rows of a part at which the next one is begun: what a commit writes anew costs a few milliseconds up to here."""
MAX_AGE_S = 10.0
"""Age of a part, seconds, at which the next one is begun."""


class Buffer:
    """Commits rows of several tables, in the order in which the tables were named: name `marks` last, since a mark must not be durable
    before the rows it counts.

    Safe to use from several threads: rows that several have added are written by one of them.
    """

    def __init__(self, store: Store, tables: Sequence[tuple[Table, Sequence[Column]]]) -> None:
        self._parts = {table.name: _OpenPart(store, table, extra) for table, extra in tables}
        self._adding = threading.Lock()
        self._writing = threading.Lock()
        self._added = self._written = 0

    def add(self, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> int:
        """Takes rows by table name, for a later commit; gives the number of the addition."""
        with self._adding:
            for name, new in rows.items():
                self._parts[name].rows.extend(new)
            self._added += 1
            return self._added

    def commit(self, new: Mapping[str, Sequence[Mapping[str, Any]]] | None = None) -> None:
        """Makes rows durable, with all that were added before.

        Raises:
            StorageError: they could not be written and are still held.
        """
        number = self.add(new or {})
        with self._writing:
            if number <= self._written:  # another thread wrote them on its way
                return
            with self._adding:
                reached = self._added
                taken = {name: (part.rows, part) for name, part in self._parts.items()}
                for part in self._parts.values():
                    part.rows = []
            try:
                for name in list(taken):
                    rows, part = taken[name]
                    part.write(rows)
                    del taken[name]
            finally:
                with self._adding:
                    for rows, part in taken.values():
                        part.rows = [*rows, *part.rows]
            self._written = reached


class _OpenPart:
    """The newest part of a table, and the rows that are to go into it."""

    def __init__(self, store: Store, table: Table, extra: Sequence[Column]) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self._store = store
        self._table = table
        self._extra = extra
        self._begin()

    def _begin(self) -> None:
        self._name = ""
        self._data: pa.Table | None = None
        self._began = 0.0

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        import pyarrow as pa

        if not rows:
            return
        new = pa.Table.from_pylist(list(rows), schema=schema(self._table, self._extra))
        if self._data is None:
            self._name, self._began = f"{rows[0]['fingerprint'][:8]}-{secrets.token_hex(10)}", time.monotonic()
        data = new if self._data is None else pa.concat_tables([self._data, new])
        self._store.write_table(self._table, data, self._name)
        self._data = data
        if len(data) >= MAX_ROWS or time.monotonic() - self._began >= MAX_AGE_S:
            self._begin()
