"""The request to a caption engine, its answer, and the protocol that every engine keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Fault = Literal[
    "no_frames",
    "no_column",
    "empty",
    "refused",
    "truncated",
    "thinking",
    "loop",
    "preamble",
    "no_images",
    "language",
    "schema",
    "bad_answer",
    "context_length",
    "request_refused",
    "server_error",
    "timeout",
    "dropped",
]
"""Why a caption failed for good: it is not asked for again. `server_error`, `timeout` and `dropped` are used only where the server still
answers the requests of other clips."""


@dataclass(frozen=True, slots=True)
class Part:
    """The caption of one window of a clip. `span_s`: (start, end) in seconds from the clip's start."""

    span_s: tuple[float, float]
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """One clip to caption, or one window of a clip."""

    clip_id: str
    frames: tuple[bytes, ...]
    """JPEG bytes as stored, in order of time; empty for an engine that needs none."""
    times_s: tuple[float, ...]
    """Seconds of each frame from the clip's start; one for each frame."""
    facts: Mapping[str, float | str | None]
    """The clip's columns: measures and container facts."""
    uri: str
    span_s: tuple[float, float]
    """(start, end) of the clip in seconds from the video's first frame, half-open."""
    parts: tuple[Part, ...] = ()
    """Captions of the clip's windows, in order of time: the request asks to merge them, and has no frames."""

    def __post_init__(self) -> None:
        if len(self.frames) != len(self.times_s):
            raise ValueError(f"clip {self.clip_id}: {len(self.frames)} frames but {len(self.times_s)} times; each frame has one")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request: a caption, or a failure with its reason (`text` and `fields` are None then)."""

    clip_id: str
    """Of the request: an answer is stored for no other clip."""
    text: str | None
    fields: dict[str, Any] | None
    """The fields of a structured answer; `text` is its summary then."""
    model: str
    prompt_id: str
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    """From the first try to the answer, the waits between tries included."""
    finish_reason: str | None
    tries: int
    server: str | None = None
    """The address of the server that answered, or that was asked last, without secrets; None where none was asked."""
    error_type: Fault | None = None
    error: str | None = None
    """What went wrong, in words."""
    mend: str | None = None
    """How to mend it, where that is known."""
    raw: str | None = None
    """The model's words as they came, also where they are no caption; None where no completion came."""
    of_settings: bool = False
    """True where the words of a refusal speak of what the server's or the recipe's settings have wrong, so that other clips may meet it,
    too."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an answer is no caption, and how to mend it where that is known."""

    fault: Fault
    message: str
    mend: str | None = None


class Engine(Protocol):
    """Makes captions of clips. One engine serves one run; `caption` may be called many times at once."""

    async def check(self, sample: Request | None = None) -> Rejection | None:
        """Make sure, by a completion for a clip, that captions can be made. Raises ServerError, which says how to mend it.

        Args:
            sample: a clip of test pictures, shaped like those of the footage; None: one of the recipe's default shape.

        Returns:
            Why the answer would make no caption, although the server answers; None where it would.
        """

    async def caption(self, request: Request) -> Answer:
        """Caption one clip. Raises ServerError only when the server is at fault and not this clip; the clip then stays pending."""

    async def close(self) -> None:
        """Close the engine's connections."""
