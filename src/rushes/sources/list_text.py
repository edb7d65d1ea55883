"""Lists of videos as text: characters from bytes, lines, and tables with one row a line."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from rushes.errors import FootageError
from rushes.sources.rows import Row, row_of
from rushes.sources.span_lists import rows_in

SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)  # fmt: skip
"""Byte order marks, the longer ones first (The Unicode Standard, 23.8)."""
_EXCEL = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""The first line by which Excel tells the separator."""
LIKELY = (
    *("path", "file", "video", "filename", "file_name", "video_path", "filepath", "file_path", "url", "video_url", "videoid", "video_id"),
)
"""Names that people often give to the column `uri`; an error message suggests to rename them."""
LONGEST_FIELD = 64 << 20
"""Characters that a field of a table may have; Python's own limit, 131,072, is less than some datasets put into one."""


def text_of(data: bytes, shown: str) -> str:
    """The characters of a list: UTF-8 or, by its byte order mark or the zeros in it, UTF-16 or UTF-32.

    Raises:
        FootageError: it is neither.
    """
    code = next((name for mark, name in _BOMS if data.startswith(mark)), None)
    if code is None:
        head = data[:4096]
        zeros = head[1::2].count(0), head[::2].count(0)
        code = "utf-8" if not any(zeros) else "utf-16-le" if zeros[0] > zeros[1] else "utf-16-be"
    try:
        return data.decode(code)
    except UnicodeDecodeError as error:
        what = f"the list is not text in UTF-8 or UTF-16: {error.reason} at byte {error.start}"
        raise FootageError(what, uri=shown, mend="save the list as UTF-8") from error


def lines_of(text: str) -> list[str]:
    """The lines of a text, which end in a line feed, with or without a carriage return, or in carriage returns alone where there is no line
    feed. Other signs that Unicode counts as ends of lines, such as U+2028, may be part of a name.
    """
    return text.replace("\r\n", "\n").split("\n") if "\n" in text else text.split("\r")


def names(data: bytes, shown: str) -> Iterator[Row]:
    """The rows of a .txt file, one name a line. Empty lines are no rows; one that begins with # is a comment unless it names a file."""
    place = shown.rpartition("/")[2]
    for number, line in enumerate(lines_of(text_of(data, shown)), 1):
        if line.strip():
            where = f"line {number}"
            name = row_of({"uri": line}, shown, where).name
            yield Row(name, f"{where} of {place}", is_comment=line.lstrip().startswith("#"))


def table(data: bytes, shown: str, separators: Sequence[str] = SEPARATORS) -> Iterator[Row]:
    """The rows of a table whose first line names the columns.

    Values stay text, so that 007 remains 007, and an empty field is null. Columns are separated by the first of `separators` that gives a
    column `uri`.

    Raises:
        FootageError: no column `uri`; a line with more or fewer fields than there are columns; a quote that is not closed.
    """
    text = text_of(data, shown)
    if told := _EXCEL.match(text):
        separators, text = (told[1],), text[told.end() :]
    separator = next((s for s in separators if "uri" in _header(text, s)), None)
    if separator is None:
        need_uri(max((_header(text, s) for s in separators), key=len), shown)
        return
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=separator != "\t", strict=True)
    before = 1 if told else 0
    line = 0
    try:
        columns = [name or f"column {at}" for at, name in enumerate((name.strip() for name in next(reader)), 1)]
        _need_one_each(columns, shown)
        line = reader.line_num
        for fields in reader:
            number, line = line + 1 + before, reader.line_num
            if not any(fields):
                continue
            row = _fields(fields, columns, separator, shown, number)
            if row["uri"] is None:
                raise FootageError(f"line {number} has no uri", uri=shown, mend="give a path or a URL in each line")
            yield from rows_in(row, shown, f"line {number}")
    except csv.Error as error:
        what = f"line {line + 1 + before} is no row of a table: {error}"
        raise FootageError(what, uri=shown, mend='close each quote; write a quote inside a quoted field twice: "a 5"" pipe"') from error


def _fields(fields: list[str], columns: list[str], separator: str, shown: str, number: int) -> dict[str, Any]:
    surplus = fields[len(columns) :]
    if any(surplus) or len(fields) < len(columns):
        what = f"line {number} has {len(fields)} fields under {len(columns)} columns"
        name = SEPARATOR_NAMES.get(separator, repr(separator))
        mend = f'put a field that holds a {name} into quotes, such as "a cup{separator} a saucer"' if any(surplus) else ""
        raise FootageError(what, uri=shown, mend=mend or "give each line a field for each column; an empty one has no value")
    return {name: value or None for name, value in zip(columns, fields, strict=False)}


def _header(text: str, separator: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True), [])]
    except csv.Error:
        return []


def _need_one_each(columns: Sequence[str], shown: str) -> None:
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise FootageError(f"two columns are called {twice!r}", uri=shown, mend="give each column a name of its own")


def need_uri(columns: Sequence[str], shown: str, where: str = "") -> None:
    """Makes sure that there is one column `uri`, and no name twice.

    Raises:
        FootageError: there is not; it suggests the column that is most likely meant.
    """
    if "uri" in columns:
        _need_one_each(columns, shown)
        return
    likely = [name for name in columns if name.lower() in ("uri", *LIKELY)] or difflib.get_close_matches("uri", columns, 1, 0.4)
    hint = f'rename the column "{likely[0]}" to uri' if likely else "add a column uri with a path or URL in each row"
    at = f"{where}: " if where else ""
    there = ", ".join(columns[:20]) or "none"
    raise FootageError(f"{at}no column uri; there are: {there}", uri=shown, mend=hint)
