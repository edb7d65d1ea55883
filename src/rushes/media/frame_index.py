"""The frames of a video as its packets tell them: their pts, and at which of them decoding can begin. All packets are read, and none is
decoded.

This is exact where every packet is one frame and time is in order. Where that is in doubt there is no index, and the video is decoded
whole.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes.media.decode import NO_DURATIONS, WRAPS
from rushes.media.disposable import has_disposable
from rushes.media.probe import facts_of
from rushes.media.random_access import WITHOUT_REORDERING, burst_begins, shown, stands_alone
from rushes.media.remote import raise_read_failure, tell_while_waiting
from rushes.media.segments import PEEK_PACKETS, Uncut, unfit
from rushes.media.streams import open_film, stated_step
from rushes.media.time_grid import FLOW_PER_S, cell_of
from rushes.media.time_line import LEAP, RECENT, TimeLine
from rushes.records import Mode, VideoFacts

if TYPE_CHECKING:
    from av import Packet, VideoStream

I64 = npt.NDArray[np.int64]

MOST_HELD_BACK = 16
"""Frames that a decoder holds back at most to give them in order (H.264, A.3.1; H.265, A.4.1): the order of presentation differs from that
of the packets by no more."""
MOST_BETWEEN = 8
"""Frames that may lie between the pictures of a burst: the packets after a key frame may give frames that are shown later than others."""
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
        bursts: (b,) increasing indices of the frames at which bursts of sparse mode begin (`media/bursts.py`).
        sizes: (n,) bytes of the largest packet in which what is new in a frame may lie: its own, and those that are decoded before it and
            shown after it, of which it may be a copy.
    """

    mode: Mode
    time_base: Fraction
    pts: I64
    entries: npt.NDArray[np.intp]
    last_duration: int
    n_packets: int
    bursts: npt.NDArray[np.intp]
    sizes: npt.NDArray[np.int32]

    def entry_before(self, frame: int) -> int:
        """The last frame, `frame` or before it, at which decoding can begin."""
        return int(self.entries[np.searchsorted(self.entries, frame, "right") - 1])

    def has_burst(self, first: int, stop: int, n: int) -> bool:
        """Whether a burst of `n` pictures begins in the frames [first, stop), so far from their end that its pictures lie in it."""
        at = int(np.searchsorted(self.bursts, first))
        return at < len(self.bursts) and int(self.bursts[at]) + n + MOST_BETWEEN <= stop

    def at_bursts(self) -> FrameIndex:
        """The same video, of which decoding begins nowhere but where a burst does."""
        return replace(self, entries=np.intersect1d(self.entries, self.bursts))


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
    tell_while_waiting(source, lambda: tell(0.0))
    film = open_film(source, uri, stream)
    with film.container as container:
        facts = facts_of(container, film.stream, size_bytes)
        if note := unfit(facts):
            return Uncut(note)
        table = PacketTable(facts, film.stream, mode)
        try:
            for packet in container.demux(film.stream):
                if packet.size and (note := table.take(packet)):
                    return Uncut(note)
                if table.n_packets % TELL_EVERY == 0:
                    tell(0.0)
        except av.error.FFmpegError:
            return Uncut("some of its packets cannot be read")
        raise_read_failure(source)
        return table.index()


@dataclass(slots=True)
class PacketTable:
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
    bursts: list[int] = field(default_factory=list)
    """Packets at which bursts begin: of each half second the first key packet from which a few packets can be decoded by themselves."""
    sizes: array[int] = field(default_factory=lambda: array("i"))
    hidden_size: int = 0
    """Bytes of the packets since the last frame that gave none."""
    last_dts: int | None = None
    last_cell: int = -1

    def take(self, packet: Packet[VideoStream]) -> str | None:
        """Notes the next packet; gives why there can be no exact index, None where there can."""
        self.n_packets += 1
        if packet.is_corrupt:
            return "some of its packets are corrupt"
        if packet.is_discard:
            return "an edit list leaves out some of its frames"
        codec = self.facts.codec
        if codec in WITHOUT_REORDERING and not shown(codec, bytes(packet)):
            self.hidden_size += packet.size
            return None
        if packet.pts is None:
            return "some of its frames have no time stamp"
        if packet.dts is not None:
            if self.last_dts is not None and packet.dts <= self.last_dts:
                return "its time stamps go back"
            self.last_dts = packet.dts
        if packet.is_keyframe:
            self._key(packet, packet.pts)
        self.pts.append(packet.pts)
        self.sizes.append(packet.size + self.hidden_size)
        self.hidden_size = 0
        self.durations.append(packet.duration or 0)
        self.skipped.append(self.mode == "fast" and has_disposable(self.stream.codec_context, [packet]))
        return None

    def _key(self, packet: Packet[VideoStream], pts: int) -> None:
        codec, extradata, data = self.facts.codec, self.stream.codec_context.extradata, bytes(packet)
        if stands_alone(codec, extradata, data):
            self.keys.append(len(self.pts))
        cell = cell_of(float((pts - (self.pts[0] if self.pts else pts)) * self.facts.time_base), FLOW_PER_S)
        if cell > self.last_cell and burst_begins(codec, extradata, data):
            self.bursts.append(len(self.pts))
            self.last_cell = cell

    def index(self) -> FrameIndex | Uncut:
        """The index of the packets that were taken."""
        if not self.keys or self.keys[0] != 0:
            return Uncut("the stream does not begin with a key frame that stands alone")
        taken = ~np.array(self.skipped, np.bool_)
        mode: Mode = "exact" if taken[:PEEK_PACKETS].all() else "fast"  # as the decoder decides
        taken |= mode == "exact"
        pts, durations, sizes = np.array(self.pts, np.int64)[taken], np.array(self.durations)[taken], np.array(self.sizes, np.int32)[taken]
        keys, bursts = (np.searchsorted(np.flatnonzero(taken), some) for some in (self.keys, self.bursts))
        order = np.argsort(pts, kind="stable")
        found = pts[order]
        before, after = np.maximum.accumulate(pts), np.minimum.accumulate(pts[::-1])[::-1]
        in_order = np.abs(order - np.arange(len(pts))).max() <= MOST_HELD_BACK and bool(np.all(np.diff(found) > 0))
        if not in_order or np.any(before[keys[1:] - 1] >= pts[keys[1:]]) or np.any(after[keys] < pts[keys]):
            return Uncut("its time stamps go back")
        if not _is_even(found) and self._is_mended(found):
            return Uncut("some of its time stamps have to be mended")
        last, at_bursts = self._last_duration(found, int(durations[order[-1]])), np.searchsorted(found, pts[bursts])
        return FrameIndex(mode, self.facts.time_base, found, keys, last, self.n_packets, at_bursts, _of_change(sizes[order], order))

    def _is_mended(self, found: I64) -> bool:
        """Whether the time line would change some of these stamps."""
        line = self._time_line()
        given = [p for stamp in found.tolist() for _, p in line.push(None, stamp)] + [p for _, p in line.flush()]
        return bool(line.n_mended or line.n_clocks or given != found.tolist())

    def _last_duration(self, found: I64, stated: int) -> int:
        """Duration of the last frame, ticks, as the decoder has it."""
        if self.facts.container not in NO_DURATIONS:
            return stated
        line = self._time_line()
        for stamp in found[-RECENT - 1 :].tolist():
            line.push(None, stamp)
        line.flush()
        return line.usual

    def _time_line(self) -> TimeLine[None]:
        facts = self.facts
        return TimeLine(facts.time_base, stated_step(self.stream, facts.time_base), wrap=WRAPS.get(facts.container, 0))


def _is_even(pts: I64) -> bool:
    """Whether no step is so long beside another that the time line would doubt it."""
    steps = np.diff(pts)
    return bool(len(steps) and steps.min() > 0 and steps.max() <= LEAP * steps.min())


def _of_change(sizes: npt.NDArray[np.int32], decoded: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
    """`FrameIndex.sizes`, from the bytes of each frame's packet and its place in decoding order."""
    out = sizes.copy()
    for k in range(1, min(MOST_HELD_BACK, len(sizes) - 1) + 1):
        later = np.where(decoded[k:] < decoded[:-k], sizes[k:], 0)
        np.maximum(out[:-k], later, out=out[:-k])
    return out
