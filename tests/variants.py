"""Which variants of a test `make test` leaves to `make testall`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def variants(values: Iterable[Any], *, quick: Iterable[Any]) -> list[Any]:
    """Parameters of a test, of which all but `quick` are marked slow: they are variants of what the quick ones show."""
    values, quick = list(values), list(quick)
    assert all(value in values for value in quick), "a variant that is not there"
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]
