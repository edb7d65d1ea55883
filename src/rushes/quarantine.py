"""The one place at which an error of any kind becomes plain data in plain words: a failed row, or the end of the run.

What Rushes raises itself says what is wrong. An error of the operating system, of libav or of a storage client is said in their words.
Any other error is a fault of Rushes: its words would say nothing to a reader, so the message says how to report it, and `detail` has the
rest for the log.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from rushes.errors import DecodeError, Failure, MemoryError_, RushesError, UnforeseenError
from rushes.media.error_translation import read_error
from rushes.media.faults import client_errors, message_of

T = TypeVar("T")


def quarantined(work: Callable[[], T]) -> T | Failure:
    """Does the work; an error of any kind comes back as a `Failure`.

    A `fatal` one ends the run (a full disk is no fault of the video); all others fail the video.
    """
    try:
        return work()
    except Exception as error:  # what is unforeseen fails one video, not the run
        return failure_of(error)


def failure_of(error: Exception) -> Failure:
    """An error of any kind as plain data, without the name of a Python type and without a line of source in its words."""
    if isinstance(error, RushesError):
        return Failure.of(error)
    if isinstance(error, MemoryError):
        return Failure.of(MemoryError_("there is not enough memory for it", mend="free memory, or let fewer jobs run at once"))
    if isinstance(error, libav_errors()):
        words = getattr(error, "strerror", None) or "no further words"
        return replace(
            Failure.of(DecodeError(f"libav cannot read it: {words}", mend="see whether the file is complete")), detail=detail_of(error)
        )
    if isinstance(error, client_errors()):
        found = error if isinstance(error, OSError) else OSError(message_of(error))
        named = found.filename if isinstance(found.filename, str) else None
        failure = Failure.of(read_error(found, named or ""))
        return replace(failure, uri=failure.uri if named else None, permanent=False, detail=detail_of(error))
    unforeseen = UnforeseenError(
        "this release of Rushes has a fault, which this file or this store brings out",
        mend="report it with the details, which are in the line on this video that `rushes run --log FILE` writes",
    )
    return replace(Failure.of(unforeseen), detail=detail_of(error))


def libav_errors() -> tuple[type[BaseException], ...]:
    """The errors that libav raises; none where libav is not loaded."""
    found = getattr(sys.modules.get("av.error"), "FFmpegError", None)
    return () if found is None else (found,)


def detail_of(error: BaseException) -> str:
    """The whole error for the log and for a report, with types and lines of source."""
    return "".join(traceback.format_exception(error))


def one_line(failure: Failure) -> str:
    """What ended a command, in words for a person. Of a fault of Rushes the details are put into a file, which the words name."""
    if failure.error_type != UnforeseenError.__name__:
        return str(failure.error())
    with tempfile.NamedTemporaryFile("w", prefix="rushes-error-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(failure.detail or "")
    return str(
        UnforeseenError("this release of Rushes has a fault, which ended the command", mend=f"report it with the details in {file.name}")
    )
