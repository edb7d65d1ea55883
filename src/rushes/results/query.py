"""`rushes sql`: a query over the store in DuckDB, in this process, with clips that are judged."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from rushes.errors import MissingExtra, UsageError
from rushes.media.address import local_path
from rushes.media.remote import filesystem
from rushes.records import Row
from rushes.results.results import Results
from rushes.results.views import curated_view, declared
from rushes.store.store import Store
from rushes.store.tables import FRAMES, SEGMENTS, SIGNALS, TABLES, Table
from rushes.store.views import Extra, are_unique, files_sql, table_sql

if TYPE_CHECKING:
    import duckdb

FETCHED = 1024
"""Rows of an answer that are Python objects at once."""
CLIP_ROWS = "clip_rows"
"""What the table `clips` is called in a query, where `clips` are the judged ones."""


def query(results: Results, text: str) -> Iterator[Row]:
    """The rows that a query gives, as objects that JSON can hold.

    The query sees the tables by their names, but `clips` (also `curated`) is what `rushes clips` shows under the recipe, with verdict and
    reasons; the table is `clip_rows`.

    Raises:
        MissingExtra: DuckDB is not installed.
        UsageError: DuckDB cannot run the query.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtra("rushes sql needs DuckDB, which is not installed", step="sql", mend="pip install 'rushes[sql]'") from error
    with duckdb.connect() as base:
        connect(base, results)
        try:
            answer = base.execute(text)
            names = [column[0] for column in answer.description or ()]
            while rows := answer.fetchmany(FETCHED):
                for row in rows:
                    yield {name: plain(value) for name, value in zip(names, row, strict=True)}
        except duckdb.Error as error:
            words = " ".join(str(error).split())[:600]
            raise UsageError(f"the query cannot be run: {words}", step="sql", mend="tables and columns are in docs/tables.md") from error


def connect(base: duckdb.DuckDBPyConnection, results: Results) -> None:
    """Creates the views in a connection; it reads a remote store through its fsspec filesystem."""
    store = results.store
    if local_path(store.root) is None:
        base.register_filesystem(filesystem(store.root, store.options)[0])
    extra = declared(results)
    for table in TABLES.values():
        name = CLIP_ROWS if table.name == "clips" else table.name
        base.execute(f"CREATE VIEW {name} AS {_rows(store, table, extra)}")
    base.execute(curated_view(results, "clips", clips=CLIP_ROWS))
    base.execute("CREATE VIEW curated AS SELECT * FROM clips")


def _rows(store: Store, table: Table, extra: Extra) -> str:
    """SQL of a table. Where `compact` has merged all of it, and under one fingerprint, no key needs to be looked for twice."""
    parts = store.parts(table)
    of_one = len({part.fingerprint for part in parts}) == 1
    unique = of_one and table not in (FRAMES, SIGNALS, SEGMENTS) and are_unique(parts)
    return table_sql(table, files_sql(parts), extra.get(table.name, ()), unique=unique)


def plain(value: Any) -> Any:
    """A value of DuckDB as JSON can hold it: times as ISO 8601 text, bytes as base64 text."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
