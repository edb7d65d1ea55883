"""DuckDB views over a store's parts: one row, the newest, for each key and fingerprint."""

from __future__ import annotations

from rushes.store.store import Store
from rushes.store.tables import TABLES


def duckdb_views(store: Store) -> str:
    """SQL that creates one view a table, for the tables that have parts."""
    out = []
    for table in TABLES.values():
        if store.parts(table):
            keys = ", ".join(f'"{key}"' for key in (*table.keys, "fingerprint"))
            glob = store.path(table.name, "**", "*.parquet").replace("'", "''")
            out.append(
                f"CREATE OR REPLACE VIEW {table.name} AS\n"
                f"SELECT * FROM read_parquet('{glob}', union_by_name = true)\n"
                f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY written_at DESC, run_id DESC) = 1;"
            )
    return "\n".join(out)
