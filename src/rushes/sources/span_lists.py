"""Rows that hold the spans of a video as one list, and what is said of each as further lists, as the tables of Panda-70M do."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from typing import Any

from rushes.errors import FootageError
from rushes.sources.rows import SPAN_COLUMNS, Row, row_of

SPANS = "timestamp"
"""The column of Panda-70M (github.com/snap-research/Panda-70M) whose value is a list of [start, end], in seconds or as H:MM:SS.mmm."""


def rows_in(columns: Mapping[str, Any], shown: str, where: str) -> Iterator[Row]:
    """The rows that one row of a list stands for: one for each span where `timestamp` holds a list of spans, else the row itself.

    Of each other column that holds a list, a span has the value at its place. Text may be such a list, as JSON or as Python writes it.

    Args:
        columns: name -> value, `uri` among them.
        shown: the list's name, for errors.
        where: the row's place in the list, such as "line 2".

    Raises:
        FootageError: a list has more or fewer values than there are spans, the row gives spans in two ways, or `row_of` refuses it.
    """
    spans = _spans(columns.get(SPANS))
    if spans is None:
        yield row_of(columns, shown, where)
        return
    if twice := next((name for _, *pair in SPAN_COLUMNS for name in pair if columns.get(name) is not None), None):
        what = f"{where}: both {SPANS} and {twice} give spans"
        raise FootageError(what, uri=shown, mend="give the spans of a row in one of them")
    lists = {name: found for name, value in columns.items() if name != SPANS and (found := _list(value)) is not None}
    for name, values in lists.items():
        if len(values) != len(spans):
            what = f"{where}: {SPANS} holds {len(spans)} spans, and {name} {len(values)} values"
            raise FootageError(what, uri=shown, mend=f"give {name} a value for each span, or leave the column out")
    for at, (start, end) in enumerate(spans):
        one = {name: lists[name][at] if name in lists else value for name, value in columns.items() if name != SPANS}
        yield row_of({**one, "start_s": start, "end_s": end}, shown, f"{where}, span {at + 1}")


def _spans(value: Any) -> list[Any] | None:
    """The spans that a value holds; None where it is no list of pairs, such as a time."""
    found = _list(value)
    pairs = found and all(isinstance(one, list | tuple) and len(one) == 2 for one in found)
    return found if pairs else None


def _list(value: Any) -> list[Any] | None:
    """A list, or one that a text holds."""
    if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            try:
                value = ast.literal_eval(value)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return None
    return value if isinstance(value, list) else None
