"""Errors in the rows of operators."""

from __future__ import annotations

from typing import TypedDict

from rushes.errors import Failure, UsageError


class Problem(TypedDict):
    """An error as the field `error` of an operator's rows holds it (`columns.ERROR`)."""

    error_type: str
    what: str
    uri: str | None
    start_s: float | None
    end_s: float | None
    mend: str | None
    permanent: bool


def problem(failure: Failure) -> Problem:
    """The field `error` of a row that failed."""
    start, end = failure.span_s or (None, None)
    return Problem(
        error_type=failure.error_type, what=failure.what, uri=failure.uri, start_s=start, end_s=end, mend=failure.mend,
        permanent=failure.permanent,
    )  # fmt: skip


def closed(step: str) -> UsageError:
    """What a call of a closed operator raises."""
    return UsageError("the operator was closed", step=step, mend="make a new one; close an operator after its last batch")
