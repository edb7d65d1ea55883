"""A clip to be cut to a file, and the result of cutting it."""

from __future__ import annotations

from dataclasses import dataclass

from rushes.errors import CutError
from rushes.records import Span


@dataclass(frozen=True, slots=True)
class ClipSpan:
    """A clip to be cut: its id and its half-open span, in ticks of the video's time base."""

    clip_id: str
    span: Span


@dataclass(frozen=True, slots=True)
class CutResult:
    """The result of cutting one clip: its file, or the reason why there is none.

    Attributes:
        clip_id: the clip.
        uri: its file; None when there is none.
        start_pts, end_pts: what the file holds, half-open, in ticks of the source; the span itself when encoded.
        n_frames: frames in the file.
        bytes: size of the file.
        note: what a person should know of the file: its sound was encoded anew, or left out.
        width, height: of the file's picture as a player shows it, pixels.
        reused: the file was there already, complete and made in this way; nothing was written.
        error: why there is no file, with the video's uri and how to mend it; the clip stays a reference.
    """

    clip_id: str
    uri: str | None
    start_pts: int
    end_pts: int
    n_frames: int
    bytes: int
    width: int | None = None
    height: int | None = None
    error: CutError | None = None
    note: str | None = None
    reused: bool = False
