"""How long to wait before another try."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MOST_S = 30.0
"""Longest wait that is ours to choose, seconds; a server's own Retry-After may be longer."""


def backoff_s(tries: int, first_s: float) -> float:
    """Seconds to wait after `tries` failed tries (>= 1): doubling from `first_s`, at most MOST_S, with 25 % of jitter either way.

    The jitter keeps clients that failed together from coming back together (the reason given in the AWS Architecture Blog's
    "Exponential Backoff And Jitter", 2015).
    """
    return min(first_s * 2.0 ** (tries - 1), MOST_S) * random.uniform(0.75, 1.25)


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
