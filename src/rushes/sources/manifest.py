"""Lists of videos: .txt, .csv, .tsv, .json, .jsonl, .ndjson (each also with .gz) or .parquet with a column `uri`."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

from rushes.errors import FootageError
from rushes.media.address import public_uri
from rushes.sources.list_text import lines_of, names, need_uri, table, text_of
from rushes.sources.rows import Row
from rushes.sources.span_lists import rows_in
from rushes.sources.suffixes import list_kind, suffix_of


def read_manifest(data: bytes, address: str) -> list[Row]:
    """The rows of a list.

    A .txt file has one uri a line. Values of a .csv or .tsv stay text, and an empty field is null. Of the other kinds numbers and text are
    kept as they are, NaN and infinity are null, and other values become JSON text. A .json file holds a list of objects, of names, or one
    object a line as .jsonl does.

    Args:
        data: the file's bytes.
        address: its path or URL; the suffix tells the kind.

    Raises:
        FootageError: no column `uri`, no row, or a row that cannot be read (it is named).
    """
    shown, kind = public_uri(address), list_kind(address)
    assert kind is not None
    if suffix_of(address) == "gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise FootageError(f"the list is no gzip file: {error}", uri=shown, mend="pack it again") from error
    reader = {"txt": names, "csv": table, "tsv": _tabs, "json": _json, "jsonl": _jsonl, "ndjson": _jsonl, "parquet": _parquet}[kind]
    rows = list(reader(data, shown))
    if not rows:
        raise FootageError("the list names no video", uri=shown, mend="give at least one uri")
    return rows


def _tabs(data: bytes, shown: str) -> Iterator[Row]:
    return table(data, shown, ("\t",))


def _json(data: bytes, shown: str) -> Iterator[Row]:
    text = text_of(data, shown)
    try:
        found = _parsed(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _jsonl(data, shown)
            return
        mend = 'give a list of objects, such as [{"uri": "a.mp4"}]'
        raise FootageError(f"line {error.lineno} is no JSON: {error.msg}", uri=shown, mend=mend) from error
    entries = [found] if isinstance(found, dict) and "uri" in found else found
    if not isinstance(entries, list):
        what = f"the list is no list of objects but {_kind(entries)}" + (f" of {', '.join(list(entries)[:5])}" if entries else "")
        raise FootageError(what, uri=shown, mend='give a list of objects, such as [{"uri": "a.mp4"}], or one object a line')
    for number, entry in enumerate(entries, 1):
        yield from _entry({"uri": entry} if isinstance(entry, str) else entry, shown, f"entry {number}")


def _jsonl(data: bytes, shown: str) -> Iterator[Row]:
    for number, line in enumerate(lines_of(text_of(data, shown)), 1):
        if not line.strip():
            continue
        try:
            entry = _parsed(line)
        except json.JSONDecodeError as error:
            raise FootageError(f"line {number} is no JSON: {error.msg}", uri=shown, mend="one JSON object a line") from error
        yield from _entry(entry, shown, f"line {number}")


def _parsed(text: str) -> Any:
    """JSON, in which NaN and Infinity, which Python's json.dumps writes, are null."""
    try:
        return json.loads(text, parse_constant=lambda _name: None)
    except (RecursionError, ValueError) as error:
        if isinstance(error, json.JSONDecodeError):
            raise
        raise json.JSONDecodeError("a number of too many digits, or too many brackets inside each other", text[:0], 0) from error


def _entry(entry: Any, shown: str, where: str) -> Iterator[Row]:
    if not isinstance(entry, dict):
        raise FootageError(f"{where} is no JSON object but {_kind(entry)}", uri=shown, mend='give objects, such as {"uri": "a.mp4"}')
    need_uri(list(entry), shown, where)
    yield from rows_in(entry, shown, where)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return kinds[type(value)]


def _parquet(data: bytes, shown: str) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise FootageError(f"the list is no Parquet file: {error}", uri=shown, mend="write it again") from error
    need_uri(file.schema_arrow.names, shown)
    at = 0
    try:
        for batch in file.iter_batches():
            for row in _in_microseconds(batch).to_pylist():
                at += 1
                yield from rows_in(row, shown, f"row {at}")
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        words = " ".join(str(error).split())[:300]
        raise FootageError(f"the rows after row {at} cannot be read: {words}", uri=shown, mend="write the list again") from error


def _in_microseconds(batch: Any) -> Any:
    """The batch with times of nanoseconds cut to microseconds, which is what Python's times hold."""
    import pyarrow as pa

    types = {pa.duration("ns"): pa.duration("us"), pa.time64("ns"): pa.time64("us")}
    for at, column in enumerate(batch.schema):
        kind = column.type
        fine = pa.types.is_timestamp(kind) and kind.unit == "ns"
        wanted = pa.timestamp("us", kind.tz) if fine else types.get(kind)
        if wanted is not None:
            batch = batch.set_column(at, column.name, batch.column(at).cast(wanted, safe=False))
    return batch
