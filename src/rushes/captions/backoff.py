"""How long to wait before another try."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_WAIT_S = 30.0
"""Longest wait before another try, seconds, unless the server asks for more by Retry-After."""


def backoff_s(tries: int, first_s: float) -> float:
    """Seconds to wait after `tries` failed tries (>= 1): `first_s`, doubled with each further try, at most MAX_WAIT_S, and up to 25 % more
    or less at random.

    The random part keeps clients whose requests failed at the same moment from sending them again at the same moment (AWS Architecture
    Blog, "Exponential Backoff And Jitter", 2015).
    """
    return min(first_s * 2.0 ** (tries - 1), MAX_WAIT_S) * random.uniform(0.75, 1.25)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks us to wait; None when it does not say. RFC 9110 section 10.2.3: seconds, or an HTTP date.

    Args:
        headers: of the response, names in lower case or case-insensitive.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value)) if value[0].isdigit() else max(0.0, _until(value))
    except ValueError:
        return None


def _until(http_date: str) -> float:
    when = parsedate_to_datetime(http_date)
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (aware - datetime.now(UTC)).total_seconds()
