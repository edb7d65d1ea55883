"""Lists of videos: .txt, .csv, .jsonl or .parquet with a column `uri`. The values of other columns are kept for the video, as its
`extra`.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from rushes.errors import FootageError
from rushes.media.address import public_uri
from rushes.sources.found import Extra
from rushes.sources.suffixes import suffix_of

Row = tuple[str, Extra]
LIKELY = ("path", "file", "video", "filename", "video_path", "filepath")
"""Names that people often give to the column `uri`; an error message suggests to rename them."""


def read_manifest(data: bytes, address: str) -> list[Row]:
    """(uri as written, other columns) of each entry.

    A .txt file has one uri a line; empty lines and lines that begin with # are ignored. Values of a .csv stay text, so that 007 remains
    007, and an empty field is null. Of .jsonl and .parquet, numbers and text are kept as they are and other values become JSON text.

    Args:
        data: the file's bytes.
        address: its path or URL; the suffix tells the format.

    Raises:
        FootageError: no column `uri`, no entry, or a line that cannot be read (its number is named).
    """
    reader = {"txt": _txt, "csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[suffix_of(address)]
    shown = public_uri(address)
    try:
        rows = list(reader(data, shown))
    except UnicodeDecodeError as error:
        what = f"the list is not UTF-8 text: {error.reason} at byte {error.start}"
        raise FootageError(what, uri=shown, mend="save the list as UTF-8") from error
    if not rows:
        raise FootageError("the list names no video", uri=shown, mend="give at least one uri")
    return rows


def _txt(data: bytes, _: str) -> Iterator[Row]:
    for line in data.decode("utf-8-sig").splitlines():
        name = line.strip()
        if name and not name.startswith("#"):
            yield name, {}


def _csv(data: bytes, shown: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), skipinitialspace=True)
    try:
        _need_uri(reader.fieldnames or [], shown)
        for row in reader:
            uri = (row.pop("uri") or "").strip()
            if uri:
                yield uri, {name: value or None for name, value in row.items() if name and not isinstance(value, list)}
    except csv.Error as error:
        raise FootageError(f"line {reader.line_num} is no CSV: {error}", uri=shown, mend="mend the line") from error


def _jsonl(data: bytes, shown: str) -> Iterator[Row]:
    for number, line in enumerate(data.decode("utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise FootageError(f"line {number} is no JSON: {error.msg}", uri=shown, mend="one JSON object a line") from error
        if not isinstance(row, dict):
            raise FootageError(f"line {number} is no JSON object", uri=shown, mend='one object a line, such as {"uri": "a.mp4"}')
        yield _row(row, shown, f"line {number}")


def _parquet(data: bytes, shown: str) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pa.BufferReader(data))
    except (pa.ArrowInvalid, OSError) as error:
        raise FootageError(f"the list is no Parquet file: {error}", uri=shown, mend="write it again") from error
    _need_uri(file.schema_arrow.names, shown)
    at = 0
    for batch in file.iter_batches():
        for row in batch.to_pylist():
            at += 1
            yield _row(row, shown, f"row {at}")


def _row(row: dict[str, Any], shown: str, where: str) -> Row:
    _need_uri(list(row), shown, where)
    uri = row.pop("uri")
    if not isinstance(uri, str) or not uri:
        raise FootageError(f"{where}: uri is {uri!r}", uri=shown, mend="give a path or a URL as text")
    return uri, {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> str | int | float | None:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _need_uri(names: Sequence[str], shown: str, where: str = "") -> None:
    if "uri" in names:
        return
    likely = difflib.get_close_matches("uri", names, 1, 0.4) or [name for name in names if name.lower() in LIKELY]
    hint = f'rename the column "{likely[0]}" to uri' if likely else "add a column uri with a path or URL in each row"
    at = f"{where}: " if where else ""
    raise FootageError(f"{at}no column uri; there are: {', '.join(names) or 'none'}", uri=shown, mend=hint)
