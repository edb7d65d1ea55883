"""One tree of errors.

Each says what went wrong, where (uri and time span), in which step, and how to mend it:

    RushesError
      UsageError            the request is wrong; nothing was written            exit 2
        RecipeError         a recipe key or value
        FootageError        no video where footage was named
        StoreError          a folder that is not a store, or lacks the rows asked for
      CannotGoOn            the run had to stop; the same command resumes        exit 3
        ServerError         a caption server that is not there
        StorageError        a store that cannot be read or written
          StoreBusy         another run writes to the store
        MissingExtra        an optional package that this recipe needs
        ModelError          a model that cannot be had or cannot be used
      VideoError            one video is `failed`; the run goes on
        ProbeError          not a readable container, or no video in it
        DecodeError         a stream that yields no picture
        HangError           no packet progress within `scan.hang_s`
        MemoryError_        a decoding child above `scan.memory_gib`
        CrashError          a decoding child that died
        WorkerLost          the process or machine that worked on it died
        UnforeseenError     a fault of Rushes itself
        SpanError           a span of a list of which there is no clip
      CutError              one clip file could not be written or verified
      ScoreError            one scorer failed on one clip
"""

from __future__ import annotations

from dataclasses import dataclass


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
        return f"{text.rstrip('.')}. Fix: {self.mend}" if self.mend else text

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles the error by its parts, so that another process gets the same error, not one whose text is its own message."""
        return _rebuilt, (type(self), self.what, self.uri, self.span_s, self.step, self.mend, self.permanent)


class UsageError(RushesError):
    """The request is wrong; nothing was written."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe key or value is wrong."""


class FootageError(UsageError):
    """No video was found where footage was named."""


class StoreError(UsageError):
    """A folder is not a store, or lacks the rows asked for."""


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


class ModelError(CannotGoOn):
    """The weights or the settings of a model cannot be had, or are not those of such a model."""


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
    """A decoding child died. The same run tries again, since the next try may go well; the last of `scan.attempts` is permanent."""


class WorkerLost(VideoError):
    """The process or the machine that worked on a video died."""

    permanent = False


class UnforeseenError(VideoError):
    """A fault of Rushes itself that a video brought out; the log has the details."""


class SpanError(VideoError):
    """A span of a list gives no clip; the other spans of the video do."""


class CutError(RushesError):
    """A clip file could not be written or verified."""


class ScoreError(RushesError):
    """One scorer failed on one clip; other scorers and other clips are not concerned."""


def _rebuilt(
    kind: type[RushesError],
    what: str,
    uri: str | None,
    span_s: tuple[float, float] | None,
    step: str | None,
    mend: str | None,
    permanent: bool,
) -> RushesError:
    error = kind(what, uri=uri, span_s=span_s, step=step, mend=mend)
    error.permanent = permanent
    return error


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as plain data, as it travels between processes and stands in the tables `errors` and `videos`.

    Attributes:
        error_type: name of its class, without the underscore of `MemoryError_`.
        what, uri, span_s, step, mend: the parts of a `RushesError`.
        permanent: trying again would give the same.
        fatal: the run cannot go on; otherwise one video or clip has failed.
        detail: what a developer needs to know of it beside; for the log alone.
    """

    error_type: str
    what: str
    uri: str | None = None
    span_s: tuple[float, float] | None = None
    step: str | None = None
    mend: str | None = None
    permanent: bool = True
    fatal: bool = False
    detail: str | None = None

    @classmethod
    def of(cls, error: RushesError) -> Failure:
        """The parts of an error."""
        name = type(error).__name__.rstrip("_")
        return cls(name, error.what, error.uri, error.span_s, error.step, error.mend, error.permanent, isinstance(error, CannotGoOn))

    def error(self) -> RushesError:
        """The error, of its own class; of a class that is none of ours, a `VideoError`, or a `CannotGoOn` where it is fatal."""
        kind = _CLASSES.get(self.error_type, CannotGoOn if self.fatal else VideoError)
        return _rebuilt(kind, self.what, self.uri, self.span_s, self.step, self.mend, self.permanent)


def _family(kind: type[RushesError]) -> list[type[RushesError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _family(child))]


_CLASSES = {kind.__name__.rstrip("_"): kind for kind in _family(RushesError)}
