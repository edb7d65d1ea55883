"""The one door at which any error of a job becomes a message: a failed row, or the end of the run."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from rushes.errors import CannotGoOn, RushesError


def quarantined(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Does the work and gives `{"done": ...}`, or `{"error": {type, message, permanent, fatal}}`.

    `fatal` errors end the run (a full disk is no fault of the video); all others fail the video.
    """
    try:
        return {"done": work()}
    except RushesError as error:
        return {"error": described(error)}
    except Exception as error:  # the quarantine door: what is unforeseen fails one video, not the run
        words = "".join(traceback.format_exception_only(error)).strip()
        place = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{words} (at {place.name}, line {place.lineno} of {place.filename.rpartition('/')[2]})"
        passing = isinstance(error, OSError)  # a connection that broke, a full scratch disk: the next run tries again
        return {"error": {"type": type(error).__name__, "message": message, "permanent": not passing, "fatal": False}}


def described(error: RushesError) -> dict[str, Any]:
    """An error of ours as a message."""
    return {
        "type": type(error).__name__.rstrip("_"), "message": str(error), "permanent": error.permanent,
        "fatal": isinstance(error, CannotGoOn),
    }  # fmt: skip
