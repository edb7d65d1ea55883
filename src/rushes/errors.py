"""One tree of errors.

Each says what went wrong, where (uri and time span), in which step, and how to mend it:

    RushesError
      UsageError            the request is wrong; nothing was written            exit 2
        RecipeError         a recipe key or value
        FootageError        no video where footage was named
        StoreError          a folder that is no store, or lacks the rows asked for
      CannotGoOn            the run had to stop; the same command resumes        exit 3
        ServerError         a caption server that is not there
        StorageError        a store that cannot be read or written
          StoreBusy         another run writes to the store
        MissingExtra        an optional package that this recipe needs
      VideoError            one video is `failed`; the run goes on
        ProbeError          not a readable container, or no video in it
        DecodeError         a stream that yields no picture
        HangError           no packet progress within `scan.hang_s`
        MemoryError_        a decoding child above `scan.memory_gib`
        CrashError          a decoding child that died
        WorkerLost          the process or machine that worked on it died
      CutError              one clip file could not be written or verified
"""

from __future__ import annotations


class RushesError(Exception):
    """Base of all errors of Rushes.

    Args:
        what: what went wrong, with the value seen and the rule.
        uri: the video concerned, if any.
        span_s: (start, end) in seconds from the first frame, half-open, if the error has a place in time.
        step: the step that failed, such as "scan" or "captions".
        mend: what to do about it.
    """

    exit_code = 3
    permanent = True
    """False when trying again may help (a server away, a disk full)."""

    def __init__(
        self,
        what: str,
        *,
        uri: str | None = None,
        span_s: tuple[float, float] | None = None,
        step: str | None = None,
        mend: str | None = None,
    ) -> None:
        self.what = what
        self.uri = uri
        self.span_s = span_s
        self.step = step
        self.mend = mend
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f" on {self.uri}" if self.uri else ""
        if self.span_s:
            where += f" [{self.span_s[0]:.2f} s, {self.span_s[1]:.2f} s)"
        head = f"{self.step or ''}{where}".strip()
        text = f"{head}: {self.what}" if head else self.what
        return f"{text.rstrip('.')}. Mend: {self.mend}" if self.mend else text


class UsageError(RushesError):
    """The request is wrong; nothing was written."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe key or value is wrong."""


class FootageError(UsageError):
    """No video was found where footage was named."""


class StoreError(UsageError):
    """A folder is no store, or lacks the rows asked for."""


class CannotGoOn(RushesError):
    """The run had to stop; running the same command again resumes."""

    permanent = False


class ServerError(CannotGoOn):
    """A caption server is not there."""


class StorageError(CannotGoOn):
    """The store could not be read or written."""


class StoreBusy(StorageError):
    """Another run writes to the store, or took it over."""


class MissingExtra(CannotGoOn):
    """An optional package is not installed; the message names the install line."""


class VideoError(RushesError):
    """One video is `failed`; the run goes on."""


class ProbeError(VideoError):
    """Not a readable container, or no video stream in it."""


class DecodeError(VideoError):
    """A stream that yields no usable picture."""


class HangError(VideoError):
    """No packet progress within `scan.hang_s`: a trap of a file, or a disk or a network that stood still."""

    permanent = False


class MemoryError_(VideoError):
    """A decoding child grew above `scan.memory_gib`."""


class CrashError(VideoError):
    """A decoding child died."""


class WorkerLost(VideoError):
    """The process or the machine that worked on a video died."""

    permanent = False


class CutError(RushesError):
    """A clip file could not be written or verified."""
