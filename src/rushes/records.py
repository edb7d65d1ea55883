"""The one vocabulary: columns with unit and range, and the small value types that travel between steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from typing import Any, Literal, TypeVar

Mode = Literal["exact", "fast", "sparse"]
T = TypeVar("T")
Row = dict[str, Any]
"""Columns of one row by name: text, numbers, bools, times and nulls, and lists of these."""
AGREES = 0.02
"""A frame rate or a length that a container states is believed where what was measured is within this share of it: the steps between the
usual rates (24, 25, 30) are larger, those between 30 and 29.97 are not worth more than the stated number."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table or one per-frame signal: what it means, in which unit, in which range.

    `kind` is "float", "floats" (a list of float32), "int", "bool", "text" or "time"; `low` and `high` bound the value (None: unbounded).
    `source` names where the formula or constant comes from.
    """

    name: str
    kind: str
    unit: str
    doc: str
    low: float | None = None
    high: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open piece of a video, [start_pts, end_pts), in integer ticks of the video's time base."""

    start_pts: int
    end_pts: int

    def __post_init__(self) -> None:
        if self.end_pts <= self.start_pts:
            raise ValueError(f"span [{self.start_pts}, {self.end_pts}) is empty: the end must be after the start")


@dataclass(frozen=True, slots=True)
class ListedSpan:
    """A piece of a video that a list asks for: half-open, [start, end), in a unit of the list's choice.

    Attributes:
        unit: "s": seconds from the video's first pts; "frame": numbers of decoded frames, from 0; "pts": ticks of the video's time base.
        start, end: as exact numbers, such as "5/2".
        extra: the other columns of the row, as a JSON object.
    """

    unit: Literal["s", "pts", "frame"]
    start: str
    end: str
    extra: str

    @property
    def key(self) -> tuple[str, Fraction, Fraction]:
        """What tells spans apart: unit, start and end."""
        return self.unit, Fraction(self.start), Fraction(self.end)

    def words(self) -> str:
        """The span as a person reads it, such as "start_s 2.5 to end_s 4"."""
        start, end = (f"{float(Fraction(text)):.10g}" for text in (self.start, self.end))
        return f"start_{self.unit} {start} to end_{self.unit} {end}"


def spans_id(spans: Sequence[ListedSpan]) -> str | None:
    """32 hex digits that name the spans of a video and their columns; None where there is none."""
    if not spans:
        return None
    parts = [[span.unit, span.start, span.end, span.extra] for span in spans]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a decoded picture becomes upright: it is mirrored left to right where `mirrored`, and then rotated clockwise by `rotation`
    degrees (0, 90, 180 or 270). The eight values are all ways to put a picture on a rectangle: mirrored top to bottom is (180, True).
    """

    rotation: int = 0
    mirrored: bool = False

    @staticmethod
    def all() -> tuple[Orientation, ...]:
        """All eight."""
        return tuple(Orientation(rotation, mirrored) for mirrored in (False, True) for rotation in (0, 90, 180, 270))

    @property
    def matrix(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((a, b), (c, d)): a move by (x, y) pixels in the decoded picture, right and down, is one by (a x + b y, c x + d y) upright."""
        cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[self.rotation // 90 % 4]
        flip = -1 if self.mirrored else 1
        return (cos * flip, -sin), (sin * flip, cos)

    @property
    def sideways(self) -> bool:
        """Whether width and height change places."""
        return self.rotation % 180 == 90


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What is known of one video stream of a file. The header of the container gives it; the first decoded frame corrects size,
    orientation, format and colour, and the whole pass corrects `fps` and `duration_s` (`with_measured`).

    `width`, `height` are as displayed: upright and with square pixels. A video whose pixels are not square is displayed with an even
    width and height, so that a clip file, which can only have such sides, has the same ones.
    """

    container: str
    codec: str
    profile: str | None
    coded_width: int
    coded_height: int
    width: int
    height: int
    sar: float
    rotation: int
    """Degrees clockwise the decoded picture must be turned to be upright, after it was mirrored: 0, 90, 180 or 270."""
    mirrored: bool
    """The decoded picture must be mirrored left to right, and then rotated, to be upright."""
    fps: float | None
    time_base: Fraction
    duration_s: float | None
    bit_rate: int | None
    pix_fmt: str | None
    bit_depth: int | None
    color_range: str | None
    """"limited", "full" or None when the stream does not say."""
    color_transfer: str | None
    hdr: bool
    """True for PQ (smpte2084) and HLG (arib-std-b67): exposure shares are null there."""
    has_audio: bool
    audio_codec: str | None
    stream_index: int
    other_streams: str | None
    """The file's other video streams that are films too, in words for people; None where there is none."""
    creation_time: str | None
    location: str | None
    size_bytes: int

    def as_row(self) -> dict[str, Any]:
        """The facts as columns of the table `videos`."""
        return asdict(self) | {"time_base": str(self.time_base)}

    @property
    def orientation(self) -> Orientation:
        """How the decoded picture becomes upright."""
        return Orientation(self.rotation, self.mirrored)

    def with_measured(self, footage_s: float, n_pictures: float) -> VideoFacts:
        """The facts after a pass: frame rate and length as stated where the frames agree with them within `AGREES`, else as measured. Where
        the length is not as stated, the bit rate is that of the whole file, since libav computes it from the stated length.

        Args:
            footage_s: seconds from the first frame to the end of the last one.
            n_pictures: pictures in them.
        """
        fps = n_pictures / footage_s
        agrees = self.fps is not None and abs(self.fps - fps) <= AGREES * fps
        long = self.duration_s is not None and abs(self.duration_s - footage_s) <= AGREES * footage_s
        measured = replace(self, fps=self.fps if agrees else fps)
        return measured if long else replace(measured, duration_s=footage_s, bit_rate=round(8 * self.size_bytes / footage_s) or None)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> VideoFacts:
        """The facts that columns of the table `videos` hold; others are left out."""
        columns: dict[str, Any] = {f.name: row.get(f.name) for f in fields(cls)}  # older versions lack some, which are null then
        return cls(**columns | {"time_base": Fraction(str(row["time_base"])), "mirrored": bool(columns["mirrored"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A source video as a run sees it.

    Attributes:
        uri: its name in tables and messages.
        source: the address at which it is opened, which may bear a signature.
        video_id: its content.
        size, stamp: bytes, and modification time or ETag, when it was identified.
        extra: further columns of the manifest, as JSON text.
        spans: the pieces of it that the manifest asks for; empty: it is cut into shots.
        stream: index of the stream in the file, where it is a video of its own; None: the file's film.
    """

    uri: str
    source: str
    video_id: str
    size: int | None
    stamp: str | None
    extra: str | None = None
    spans: tuple[ListedSpan, ...] = ()
    stream: int | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a clip was dropped: the rule, the column, its value and the bound it broke."""

    rule: str
    column: str
    value: float
    bound: float


def clip_id(video_id: str, start_pts: int, end_pts: int) -> str:
    """Stable name of a clip: 32 hex digits of SHA-256 over (video_id, start_pts, end_pts)."""
    return hashlib.sha256(f"{video_id}:{start_pts}:{end_pts}".encode()).hexdigest()[:32]


def evenly(items: Sequence[T], n: int) -> list[T]:
    """At most n of the items, evenly spread: the middles of n equal pieces of the list."""
    if len(items) <= n:
        return list(items)
    return [items[(2 * k + 1) * len(items) // (2 * n)] for k in range(n)]


def seconds(ticks: int, time_base: Fraction) -> float:
    """Ticks of a time base as seconds; the only direction in which time is converted."""
    return float(ticks * time_base)
