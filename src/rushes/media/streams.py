"""Which video streams of a file are films, and which one is scanned. Cover art, previews and proxies are not films.

A drone may put a preview of one picture before the film; a dash-cam or a stereo rig has several films in one file.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rushes.errors import ProbeError
from rushes.media.probe import open_container

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

STILL_CODECS = {"png", "bmp", "tiff", "webp"}
"""Codecs of cover art in containers that do not mark it as an attached picture."""
LOOK_PACKETS = 256
"""Video packets that are read of a file with several video streams whose container does not count pictures: about 5 s of two cameras."""
FILM_SHARE = 0.1
"""A stream is a preview and no film if it has less than this share of the pictures, or of the pixels, of the stream that has most."""


@dataclass(frozen=True, slots=True)
class Film:
    """A file opened for one of its streams: the container, the stream, and the file's other films in the order of their indices."""

    container: InputContainer
    stream: VideoStream
    others: tuple[VideoStream, ...]

    @property
    def named_others(self) -> str | None:
        """The other films in words for people; None where there is none."""
        return "; ".join(f"stream {s.index}: {s.codec_context.name} {s.width}x{s.height}" for s in self.others) or None


def stated_step(stream: VideoStream, time_base: Fraction) -> int:
    """Ticks between the frames of a stream by the rate that its container states; 1 where it states none."""
    return max(1, round(1 / (stream.guessed_rate * time_base))) if stream.guessed_rate else 1


def open_film(source: str | Any, uri: str, stream: int | None = None) -> Film:
    """Opens a file for its film, or for the video stream with a given index.

    Of several films the first is taken, unless one that the container marks as the default has more pixels: then the first is a proxy.

    Args:
        source: a path, or a seekable file object.
        uri: the name to use in errors.
        stream: index of the stream in the file; None: the film.

    Raises:
        ProbeError: the bytes are no container that libav knows, or there is no such video stream.
    """
    with ExitStack() as stack:
        container = stack.enter_context(open_container(source, uri))
        indices = [s.index for s in _candidates(container, uri)]
        if len(indices) > 1:
            pictures = _pictures_stated(container, indices)
            if pictures is None:
                pictures = _pictures_in_first_packets(container, indices)
                stack.close()
                if not isinstance(source, str):
                    source.seek(0)
                container = stack.enter_context(open_container(source, uri))
            indices = _films(container, pictures)
        chosen = indices[0] if stream is None else stream
        by_index: dict[int, VideoStream] = {s.index: s for s in container.streams.video if s.codec_context is not None}
        if chosen not in by_index:
            there = ", ".join(map(str, by_index))
            what = f"the file has no video stream with index {chosen}: its video streams are {there}"
            raise ProbeError(what, uri=uri, step="probe", mend='set scan.stream to one of these, to "film" or to "all"')
        stack.pop_all()
        return Film(container, by_index[chosen], tuple(by_index[i] for i in sorted(indices) if i != chosen))


def _candidates(container: InputContainer, uri: str) -> Sequence[VideoStream]:
    """The streams that may be films, by their headers: those that can be decoded and are no cover art.

    Raises:
        ProbeError: there is none.
    """
    from av.stream import Disposition

    no_film = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [s for s in container.streams.video if s.codec_context is not None and not s.disposition & no_film]
    found = [s for s in streams if s.codec_context.name not in STILL_CODECS] or streams
    if not found:
        kinds = sorted({str(s.type) for s in container.streams}) or ["nothing"]
        what = f"no video stream that can be decoded (the file holds: {', '.join(kinds)})"
        raise ProbeError(what, uri=uri, step="probe", mend="take the file out of the footage")
    return found


def _films(container: InputContainer, pictures: Mapping[int, int]) -> list[int]:
    """Indices of the films among the streams whose pictures were counted: the chosen one first."""
    from av.stream import Disposition

    streams: list[Any] = [container.streams[i] for i in pictures]
    pixels = {s.index: s.width * s.height for s in streams}
    most, largest = max(pictures.values()), max(pixels.values())
    films = [s for s in streams if pictures[s.index] >= FILM_SHARE * most and pixels[s.index] >= FILM_SHARE * largest] or streams
    marked = [s for s in films if s.disposition & Disposition.default]
    chosen = marked[0] if marked and pixels[marked[0].index] > pixels[films[0].index] else films[0]
    return [chosen.index, *(s.index for s in films if s is not chosen)]


def _pictures_stated(container: InputContainer, indices: Sequence[int]) -> dict[int, int] | None:
    """Pictures of each stream by the index of an mp4 or mov; None for other containers, whose headers may lie, and for fragmented files."""
    stated = {i: container.streams[i].frames for i in indices}
    return stated if container.format.name.startswith("mov") and all(stated.values()) else None


def _pictures_in_first_packets(container: InputContainer, indices: Sequence[int]) -> dict[int, int]:
    import av

    counts = dict.fromkeys(indices, 0)
    try:
        for packet in itertools.islice(container.demux([container.streams[i] for i in indices]), LOOK_PACKETS):
            counts[packet.stream_index] += packet.size > 0
    except av.error.FFmpegError:
        return counts
    return counts
