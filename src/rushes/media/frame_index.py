"""The frames of a video as its packets tell them: their pts, and at which of them decoding can begin. All packets are read, and none is
decoded.

This is exact where every packet is one frame and time is in order. Where that is in doubt there is no index, and the video is decoded
whole.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes.media.disposable import has_disposable
from rushes.media.part_file import PartFile
from rushes.media.probe import facts_of
from rushes.media.random_access import shown, stands_alone
from rushes.media.remote import RemoteFile, raise_read_failure
from rushes.media.segments import PEEK_PACKETS, Uncut, unfit
from rushes.media.streams import open_film
from rushes.media.time_line import TimeLine
from rushes.records import Mode, VideoFacts

if TYPE_CHECKING:
    from av import Packet, VideoStream

I64 = npt.NDArray[np.int64]

MOST_HELD_BACK = 16
"""Frames that a decoder holds back at most to give them in order (H.264, A.3.1; H.265, A.4.1): the order of presentation differs from that
of the packets by no more."""
TELL_EVERY = 256
"""Packets after which `progress` is called."""


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The frames of a video, in order of presentation.

    Attributes:
        mode: the mode in force; in fast mode the frames that it skips are left out.
        time_base: seconds of a tick.
        pts: (n,) strictly increasing, in ticks.
        entries: (k,) increasing indices of the frames at which decoding can begin: key frames such that no frame from one on refers to a
            frame before it. The first is 0.
        last_duration: of the last frame, ticks; 0 where its packet does not say.
        n_packets: packets read.
    """

    mode: Mode
    time_base: Fraction
    pts: I64
    entries: npt.NDArray[np.intp]
    last_duration: int
    n_packets: int

    def entry_before(self, frame: int) -> int:
        """The last frame, `frame` or before it, at which decoding can begin."""
        return int(self.entries[np.searchsorted(self.entries, frame, "right") - 1])


def frame_index(
    source: str | Any,
    *,
    uri: str,
    size_bytes: int,
    mode: Mode,
    stream: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> FrameIndex | Uncut:
    """Reads all packets of a video.

    Args:
        source: a path, or a seekable file object.
        uri: the name to use in errors.
        size_bytes: size of the file, for the facts.
        mode: the mode asked for.
        stream: index of the stream in the file; None: the film.
        progress: called now and then with 0, the seconds decoded.

    Returns:
        The index, or why there can be none that is exact.

    Raises:
        ProbeError: the container or its streams cannot be read.
        VideoError: a remote file cannot be read to its end.
    """
    import av

    tell = progress or (lambda _s: None)
    file = source.file if isinstance(source, PartFile) else source
    if isinstance(file, RemoteFile):
        file.waiting = lambda: tell(0.0)
    film = open_film(source, uri, stream)
    with film.container as container:
        facts = facts_of(container, film.stream, size_bytes)
        if note := unfit(facts):
            return Uncut(note)
        reader = _Reader(facts, film.stream, mode)
        try:
            for packet in container.demux(film.stream):
                if packet.size and (note := reader.take(packet)):
                    return Uncut(note)
                if reader.n_packets % TELL_EVERY == 0:
                    tell(0.0)
        except av.error.FFmpegError:
            return Uncut("some of its packets cannot be read")
        raise_read_failure(source)
        step = max(1, round(1 / (film.stream.guessed_rate * facts.time_base))) if film.stream.guessed_rate else 1
        return reader.index(step)


@dataclass(slots=True)
class _Reader:
    """What is noted of each packet, in decoding order."""

    facts: VideoFacts
    stream: VideoStream
    mode: Mode
    n_packets: int = 0
    pts: array[int] = field(default_factory=lambda: array("q"))
    durations: array[int] = field(default_factory=lambda: array("q"))
    skipped: bytearray = field(default_factory=bytearray)
    """Of each packet 1 where fast mode skips its frame."""
    keys: list[int] = field(default_factory=list)
    """Packets at whose frames decoding can begin."""
    last_dts: int | None = None

    def take(self, packet: Packet[VideoStream]) -> str | None:
        """Notes the next packet; gives why there can be no exact index, None where there can."""
        self.n_packets += 1
        if packet.is_corrupt:
            return "some of its packets are corrupt"
        if packet.is_discard:
            return "an edit list leaves out some of its frames"
        codec = self.facts.codec
        if codec == "vp8" and not shown(codec, bytes(packet)):
            return None
        if packet.pts is None:
            return "some of its frames have no time stamp"
        if packet.dts is not None:
            if self.last_dts is not None and packet.dts <= self.last_dts:
                return "its time stamps go back"
            self.last_dts = packet.dts
        if packet.is_keyframe and stands_alone(codec, self.stream.codec_context.extradata, bytes(packet)):
            self.keys.append(len(self.pts))
        self.pts.append(packet.pts)
        self.durations.append(packet.duration or 0)
        self.skipped.append(self.mode == "fast" and has_disposable(self.stream.codec_context, [packet]))
        return None

    def index(self, step: int) -> FrameIndex | Uncut:
        """The index of the packets that were taken. `step`: ticks between frames that the container states."""
        if not self.keys or self.keys[0] != 0:
            return Uncut("the stream does not begin with a key frame that stands alone")
        taken = ~np.array(self.skipped, np.bool_)
        mode: Mode = "exact" if taken[:PEEK_PACKETS].all() else "fast"  # as the decoder decides
        taken |= mode == "exact"
        pts, durations, keys = (
            np.array(self.pts, np.int64)[taken],
            np.array(self.durations)[taken],
            np.searchsorted(np.flatnonzero(taken), self.keys),
        )
        order = np.argsort(pts, kind="stable")
        line, found = TimeLine[None](self.facts.time_base, step), pts[order]
        before, after = np.maximum.accumulate(pts), np.minimum.accumulate(pts[::-1])[::-1]
        in_order = np.abs(order - np.arange(len(pts))).max() <= MOST_HELD_BACK and bool(np.all(np.diff(found) > 0))
        if not in_order or np.any(before[keys[1:] - 1] >= pts[keys[1:]]) or np.any(after[keys] < pts[keys]):
            return Uncut("its time stamps go back")
        given = [p for stamp in found.tolist() for _, p in line.push(None, stamp)] + [p for _, p in line.flush()]
        if line.n_mended or line.n_clocks or given != found.tolist():
            return Uncut("some of its time stamps have to be mended")
        return FrameIndex(mode, self.facts.time_base, found, keys, int(durations[order[-1]]), self.n_packets)
