"""The one place at which any error of a job becomes plain data: a failed row, or the end of the run."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from rushes.errors import Failure, RushesError

T = TypeVar("T")


def quarantined(work: Callable[[], T]) -> T | Failure:
    """Does the work; an error of any kind comes back as a `Failure`.

    A `fatal` one ends the run (a full disk is no fault of the video); all others fail the video.
    """
    try:
        return work()
    except RushesError as error:
        return Failure.of(error)
    except Exception as error:  # what is unforeseen fails one video, not the run
        words = "".join(traceback.format_exception_only(error)).strip()
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{words} (at {place.name}, line {place.lineno} of {place.filename.rpartition('/')[2]})"
        passing = isinstance(error, OSError)  # a connection that broke, a full scratch disk: the next run tries again
        return Failure(type(error).__name__, what, permanent=not passing)
