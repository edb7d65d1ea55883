"""Rows on their way into the store: gathered up to a number or an age, then written as parts in a fixed order of tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rushes.records import Column
from rushes.store.store import Store
from rushes.store.tables import Table

MAX_ROWS = 20_000
"""Rows that are held at most; a row of clips with measures is about 300 bytes."""
MAX_AGE_S = 2.0
"""How long a row may wait: what a kill can lose is what was made since."""


class Buffer:
    """Gathers rows for several tables; `flush` writes them in the order in which the tables were named.

    Safe to use from several threads. Name `marks` last: a mark must not be durable before the rows it counts.
    """

    def __init__(self, store: Store, tables: Sequence[tuple[Table, Sequence[Column]]]) -> None:
        self._store = store
        self._extra = {table.name: extra for table, extra in tables}
        self._tables = [table for table, _ in tables]
        self._rows: dict[str, list[Mapping[str, Any]]] = {table.name: [] for table in self._tables}
        self._oldest: float | None = None
        self._lock = threading.Lock()

    def add(self, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Takes rows by table name; writes everything out when there are many or the oldest has waited long."""
        with self._lock:
            for name, new in rows.items():
                self._rows[name].extend(new)
            self._oldest = self._oldest or time.monotonic()
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Writes when a row has waited for `MAX_AGE_S` or there are `MAX_ROWS`."""
        with self._lock:
            many = sum(map(len, self._rows.values())) >= MAX_ROWS
            if self._oldest is not None and (many or time.monotonic() - self._oldest >= MAX_AGE_S):
                self._write()

    def flush(self) -> None:
        """Writes everything that is held; durable when this returns.

        Raises:
            StorageError: the rows are still held.
        """
        with self._lock:
            self._write()

    def _write(self) -> None:
        for table in self._tables:
            rows = self._rows[table.name]
            self._store.write_rows(table, rows, extra=self._extra[table.name])
            self._rows[table.name] = []
        self._oldest = None
