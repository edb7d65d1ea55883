"""One row of a list of videos: the name of a video, the span of it that is meant, if any, and the other columns."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

from rushes.errors import FootageError
from rushes.media.address import inside, public_uri
from rushes.records import ListedSpan

Extra = dict[str, str | int | float | None]
SPAN_COLUMNS: tuple[tuple[Literal["pts", "frame", "s"], str, str], ...] = (
    ("pts", "start_pts", "end_pts"), ("frame", "start_frame", "end_frame"), ("s", "start_s", "end_s"),
)  # fmt: skip
"""Unit and columns of a span. Of several pairs that a row fills the first counts, and the others are columns like any other."""
LIKELY_SPANS = (
    ("start", "end"), ("from", "to"), ("begin", "end"), ("start_time", "end_time"), ("start_sec", "end_sec"),
    ("start_seconds", "end_seconds"), ("from_timestamp", "to_timestamp"), ("t_start", "t_end"), ("clip_start", "clip_end"),
)  # fmt: skip
"""Pairs of columns that people often give spans in; a message suggests to rename them."""
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)")
LARGEST_INT = 2**63
FRAMES_TABLE = "frames_table"
"""The column that says where a video's table of states or actions is: a Parquet file, relative to the folder of the list."""


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a list.

    Attributes:
        name: path or URL as written.
        where: the row's place, such as "line 2 of list.csv".
        extra: its other columns.
        span: the piece of the video that it is about; None: the whole video.
        is_comment: the line begins with "#": it is a comment unless there is a file of that name.
    """

    name: str
    where: str
    extra: Extra = field(default_factory=dict)
    span: ListedSpan | None = None
    is_comment: bool = False

    def with_columns(self, more: Mapping[str, str]) -> Row:
        """The row with further columns; those that it has stay."""
        if not more:
            return self
        extra = {**more, **self.extra}
        return replace(self, extra=extra, span=None if self.span is None else replace(self.span, extra=_json(extra)))

    def in_folder(self, folder: str) -> Row:
        """The row of a list in a folder: the name of its table of states is an address."""
        named = self.extra.get(FRAMES_TABLE)
        if not isinstance(named, str):
            return self
        uri, mark, rows = named.partition("#")
        extra = {**self.extra, FRAMES_TABLE: public_uri(inside(folder, uri)) + mark + rows}
        return replace(self, extra=extra, span=None if self.span is None else replace(self.span, extra=_json(extra)))


def _json(extra: Extra) -> str:
    return json.dumps(extra, ensure_ascii=False, sort_keys=True, allow_nan=False)


def row_of(columns: Mapping[str, Any], shown: str, where: str) -> Row:
    """A row from its columns by name, `uri` among them.

    Args:
        columns: name -> value.
        shown: the list's name, for errors.
        where: the row's place in the list, such as "line 2".

    Raises:
        FootageError: `uri` is no text, or the span is none.
    """
    uri = columns["uri"]
    if not isinstance(uri, str) or not uri or "\0" in uri:
        raise FootageError(f"{where}: uri is {_brief(uri)}", uri=shown, mend="give a path or a URL as text")
    try:
        os.fsencode(uri)
    except UnicodeEncodeError as error:
        raise FootageError(f"{where}: uri {uri!a} holds half a character", uri=shown, mend="write the name as it is on the disk") from error
    extra = {_text(str(name)): plain(value) for name, value in columns.items() if name != "uri"}
    return Row(uri, f"{where} of {shown.rpartition('/')[2]}", extra, _span(extra, shown, where))


def plain(value: Any) -> str | int | float | None:
    """A value as a number, text or null that strict JSON can hold: NaN and infinity are null, lists and objects become JSON text."""
    value = strict(value)
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    if isinstance(value, int) and abs(value) >= LARGEST_INT:
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def strict(value: Any) -> Any:
    """The value without what strict JSON does not know: NaN and infinity become null, and half characters the sign for none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_text(str(name)): strict(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strict(inner) for inner in value]
    return value


def _text(value: str) -> str:
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _span(extra: Extra, shown: str, where: str) -> ListedSpan | None:
    """The span that a row gives; its columns are taken out of the others."""
    for unit, first, second in SPAN_COLUMNS:
        start, end = extra.get(first), extra.get(second)
        if start is None and end is None:
            continue
        if start is None or end is None:
            lacks = first if start is None else second
            raise FootageError(f"{where}: the span has no {lacks}", uri=shown, mend=f"give both {first} and {second}, or neither")
        times = _number(start, unit), _number(end, unit)
        for name, value, time in ((first, start, times[0]), (second, end, times[1])):
            if time is None:
                what = "a time in seconds, such as 12.5 or 0:00:12.5" if unit == "s" else "a whole number"
                raise FootageError(f"{where}: {name} is {_brief(value)}", uri=shown, mend=f"give {what}")
        since, until = (Fraction(time or 0) for time in times)
        if until <= since or (since < 0 and unit != "pts"):
            what = f"{where}: the span from {first} = {start} to {second} = {end} holds nothing"
            raise FootageError(what, uri=shown, mend="the end is exclusive and lies after the start, which is 0 or more")
        del extra[first], extra[second]
        for other, *pair in SPAN_COLUMNS:
            if other != unit and all(extra.get(name, 0) is None for name in pair):
                extra = {name: value for name, value in extra.items() if name not in pair}
        return ListedSpan(unit, str(since), str(until), _json(extra))
    for _, *pair in SPAN_COLUMNS:
        for name in pair:
            extra.pop(name, None)
    return None


def _number(value: str | int | float, unit: str) -> Fraction | None:
    """A time or a count, exact; None where the value is none."""
    text = str(value).strip()
    clock = _CLOCK.fullmatch(text) if unit == "s" else None
    try:
        if clock:
            return 3600 * Fraction(clock[1] or 0) + 60 * Fraction(clock[2]) + Fraction(clock[3])
        number = Fraction(text) if "/" not in text and not isinstance(value, bool) else None
    except (ValueError, ZeroDivisionError):
        return None
    return number if number is None or unit == "s" or number.denominator == 1 else None


def combined(uri: str, rows: Iterable[Row]) -> tuple[Extra, tuple[ListedSpan, ...]]:
    """What the rows of one video say together: columns of the video, and its spans, in order.

    Rows without spans must not contradict each other: where both have a value, it is the same. Where the rows give spans, the video has the
    columns in which all of them agree, and each span has its own.

    Raises:
        FootageError: two rows contradict each other; both are named.
    """
    rows = list(rows)
    spanned = [row for row in rows if row.span is not None]
    if not spanned:
        return _merged(uri, rows), ()
    if whole := next((row for row in rows if row.span is None), None):
        what = f"{spanned[0].where} gives a span of it, and {whole.where} gives none"
        raise FootageError(what, uri=uri, mend="give a span in each row of this video, or in none")
    found: dict[tuple[str, Fraction, Fraction], Row] = {}
    for row in spanned:
        assert row.span is not None
        first = found.setdefault(row.span.key, row)
        if first.extra != row.extra:
            name, one, other = _difference(first.extra, row.extra)
            what = f"one span has two rows that differ: {first.where} has {name} {one}, and {row.where} has {other}"
            raise FootageError(what, uri=uri, mend="keep one of the rows")
    common = {name: value for name, value in spanned[0].extra.items() if all(row.extra.get(name) == value for row in spanned)}
    return common, tuple(row.span for _, row in sorted(found.items()) if row.span is not None)


def _merged(uri: str, rows: list[Row]) -> Extra:
    merged: Extra = {}
    source: dict[str, Row] = {}
    for row in rows:
        for name, value in row.extra.items():
            if value is None:
                merged.setdefault(name, None)
                continue
            if merged.get(name) is not None and merged[name] != value:
                what = f"its rows contradict each other: {source[name].where} has {name} {_brief(merged[name])}, and {row.where} has "
                raise FootageError(what + _brief(value), uri=uri, mend=_how_to_part(row.extra))
            if merged.get(name) is None:
                merged[name], source[name] = value, row
    return merged


def likely_spans(names: Iterable[str]) -> tuple[str, str] | None:
    """A pair of columns that may be meant for spans but is not called so."""
    known = set(names)
    return next((pair for pair in LIKELY_SPANS if known.issuperset(pair)), None)


def _how_to_part(extra: Extra) -> str:
    pair = likely_spans(extra)
    several = "several rows of one video are spans of it, by columns start_s and end_s (or start_frame, end_frame, or start_pts, end_pts)"
    return f"rename {pair[0]} and {pair[1]} to start_s and end_s if they are seconds: {several}" if pair else f"keep one row; {several}"


def _difference(one: Extra, other: Extra) -> tuple[str, str, str]:
    name = next(name for name in [*one, *other] if one.get(name) != other.get(name) or (name in one) != (name in other))
    return name, _brief(one.get(name)), _brief(other.get(name))


def _brief(value: Any) -> str:
    text = repr(value) if value is not None else "no value"
    return text if len(text) <= 60 else f"{text[:60]}..."
