"""Numbers as people read them: seconds, counts, shares. Every one takes None for "not known"."""

from __future__ import annotations

import math

NONE = "\N{EN DASH}"
"""Shown where nothing was measured."""


def count(value: float | None) -> str:
    """12345 -> '12,345'."""
    return NONE if value is None else f"{value:,.0f}"


def short(value: float | bool | str | None) -> str:
    """A value in about three significant digits: 0.01234 -> '0.0123', 1234.5 -> '1,234', 2.5e6 -> '2.5 M'. Labels stay as they are."""
    if value is None or isinstance(value, (str, bool)):
        return NONE if value is None else str(value).lower() if isinstance(value, bool) else value
    if not math.isfinite(value):
        return NONE if math.isnan(value) else str(value)
    for size, sign in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.3g} {sign}" if abs(value) < 1000 * size else f"{value:.3g}"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    if digits > 6:
        return f"{value:.1e}"
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".")


def seconds(value: float | None) -> str:
    """A length of time in its natural unit: 4.25 -> '4.25 s', 754 -> '12 min 34 s', 8040 -> '2 h 14 min'."""
    if value is None:
        return NONE
    if round(value, 2) < 10:
        return f"{value:.2f} s"
    if round(value, 1) < 60:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def hours(value: float | None) -> str:
    """Seconds as hours: 754 -> '0.209', 5400 -> '1.5'."""
    return NONE if value is None else short(value / 3600)


def clock(value: float | None) -> str:
    """Seconds from a video's first frame as a clock: 72.4 -> '1:12.40', 3661 -> '1:01:01.00'."""
    if value is None:
        return NONE
    hundredths = round(abs(value) * 100)
    whole, rest = divmod(hundredths, 100)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    sign = "-" if value < 0 else ""
    if hour:
        return f"{sign}{hour}:{minute:02d}:{second:02d}.{rest:02d}"
    return f"{sign}{minute}:{second:02d}.{rest:02d}"


def share(part: float, whole: float) -> str:
    """A part in percent: (1, 3) -> '33 %'; small but not nothing -> '< 1 %'; nearly but not all -> '> 99 %'."""
    if not whole:
        return NONE
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "< 1 %"
    if 99 < percent < 100:
        return "> 99 %"
    return f"{percent:.0f} %"
