"""One hash for all that is published of a clip, by which a later publish sees that it has changed. Made from Arrow columns."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

ROW_HASH = "row_hash"
DIGEST_BYTES = 16
BATCH = 1 << 14
"""Rows whose values are texts at once."""


def row_hashes(rows: pa.Table) -> pa.Array[Any]:
    """A hash of each row: of the names of the columns and of all values, as 32 hexadecimal digits (BLAKE2b, RFC 7693).

    A column that is added or taken away changes every hash. Types do not count beyond how their values are written as text, so a reader
    that gives `large_string` for `string` gives rows of the same hashes.
    """
    import pyarrow as pa

    seed = hashlib.blake2b("\x1f".join(rows.column_names).encode(), digest_size=DIGEST_BYTES)
    found: list[str] = []
    for start in range(0, rows.num_rows, BATCH):
        for text in _texts(rows.slice(start, BATCH)).to_pylist():
            one = seed.copy()
            one.update(text)
            found.append(one.hexdigest())
    return pa.array(found, pa.string())


def _texts(rows: pa.Table) -> Any:
    """Each row as one text in which no two different rows are equal: texts with their lengths, nulls as a sign that no value has."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: list[Any] = [_text(rows[name].combine_chunks()) for name in rows.column_names]
    return pc.cast(pc.binary_join_element_wise(*columns, "\x1f", null_handling="replace", null_replacement="\x00"), pa.binary())


def _text(values: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.binary_join_element_wise(pc.cast(pc.utf8_length(values), pa.string()), pc.cast(values, pa.string()), ":")
    if pa.types.is_nested(kind):
        return pa.array([None if value is None else json.dumps(value, sort_keys=True) for value in values.to_pylist()], pa.string())
    return pc.cast(values, pa.string())
