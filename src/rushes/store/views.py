"""DuckDB views over a store's parts: one row, the newest, for each key and fingerprint; typed, where a table is empty too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rushes.records import Column
from rushes.store.parts import Part, is_settled
from rushes.store.store import Store
from rushes.store.tables import SIGNALS, TABLES, Table

TYPES = {
    "text": "VARCHAR", "int": "BIGINT", "double": "DOUBLE", "float": "FLOAT", "bool": "BOOLEAN", "bytes": "BLOB", "ints": "BIGINT[]",
    "floats": "FLOAT[]", "halfs": "FLOAT[]", "time": "TIMESTAMPTZ",
}  # fmt: skip
"""DuckDB's type of each kind of column."""
Extra = Mapping[str, Sequence[Column]]
"""Table name -> the declared columns of an open-ended table: `measures`, `scores`, `signals`."""


def duckdb_views(store: Store, extra: Extra | None = None) -> str:
    """SQL that creates one view a table. The views find parts that are written later, unless the table has none yet."""
    return "\n".join(
        f"CREATE OR REPLACE VIEW {table.name} AS\n"
        + table_sql(table, _glob(store, table) if store.parts(table) else None, (extra or {}).get(table.name, ()))
        + ";"
        for table in TABLES.values()
    )


def table_sql(table: Table, files: str | None, extra: Sequence[Column], *, unique: bool = False) -> str:
    """SQL of the newest rows of a table, with its declared columns first; one that the parts lack is null.

    Args:
        table: which table.
        files: the parts, as an argument of `read_parquet`; None where there is none.
        extra: declared columns of an open-ended one.
        unique: no key has two rows in these files.
    """
    columns = [f'NULL::{TYPES[c.kind]} AS "{c.name}"' for c in table.columns]
    columns += [f'NULL::{TYPES[c.kind]}{"[]" if table is SIGNALS else ""} AS "{c.name}"' for c in extra]
    declared = f"SELECT {', '.join(columns)} WHERE false"
    if files is None:
        return declared
    rows = f"SELECT * FROM (\n  {declared}\n  UNION ALL BY NAME\n  SELECT * FROM read_parquet({files}, union_by_name = true)\n)"
    keys = ", ".join(f'"{key}"' for key in (*table.keys, "fingerprint"))
    return rows if unique else f"{rows}\nQUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY written_at DESC, run_id DESC) = 1"


def files_sql(parts: Sequence[Part]) -> str | None:
    """Parts as an argument of `read_parquet`; None where there is none."""
    return f"[{', '.join(_text(part.uri) for part in parts)}]" if parts else None


def are_unique(parts: Sequence[Part]) -> bool:
    """Whether no key has two rows in some parts of one fingerprint: `compact` has merged them all."""
    return all(part.merged for part in parts) and is_settled(parts)


def _glob(store: Store, table: Table) -> str:
    return _text(store.path(table.name, "**", "*.parquet"))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
