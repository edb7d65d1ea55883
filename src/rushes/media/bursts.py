"""Reads all packets of a video and decodes few of them: a burst at each key frame. It is what sparse mode decodes.

A *burst* is a key frame and the next packets that are shown after it, a few pictures in all. They are decoded as a decoder does that starts
at the key frame, and the decoder is then emptied. What is shown before the key frame is left out; only reference frames of H.264 are sent
to the decoder, which counts them, and give no picture. The packets from there up to the next burst are a *group*, and are never sent to it,
unless the whole group is asked for. The pictures of a burst equal those of a decode from end to end to the last bit, since nothing that
is shown after such a key frame refers to what is shown before it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rushes.media.frame_index import TELL_EVERY, FrameIndex, PacketTable
from rushes.media.frame_tags import full_range
from rushes.media.probe import facts_of, upright
from rushes.media.random_access import MPEG_VIDEO, burst_begins, referred_to
from rushes.media.remote import raise_read_failure, tell_while_waiting
from rushes.media.segments import CODECS, TRUSTED, Uncut
from rushes.media.streams import open_film
from rushes.records import VideoFacts

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream

LEAST_S = 0.061
"""Least time from the first picture of a burst to the last, seconds, so that motion between them can be told from noise (scan/dense.py);
above 50 frames a second a burst has more pictures for it."""

WITH_PTS = {*TRUSTED, "mpegts", "mpeg"}
"""Containers whose packets are frames with a pts. Nothing is sought by an index where all packets are read, so none is needed."""
BY_BURSTS = {*CODECS, "av1", *MPEG_VIDEO}
"""Codecs of which a packet tells whether decoding can begin at it."""


class NoBursts(Exception):
    """The video cannot be scanned in sparse mode; the message says why, in words for people."""


@dataclass(slots=True)
class Group:
    """The packets from a burst's first one up to the next burst, in decoding order.

    Attributes:
        key_pts: pts of its key frame.
        after: pts of the next group's key frame; None in the video's last group.
        end: the end of its last frame, ticks.
        first, last: pts of the first and the last frame that its packets give, those included that are shown before its key frame.
        n_frames: number of these frames.
        last_key: pts of the last key frame at which a burst could begin: of several within half a second only the first begins one.
        burst: the packets of which the burst is decoded.
        burst_pts: its frames.
        leading: packets of frames that are shown before the key frame, and the key packet before them.
        packets: those of which its frames from the key frame on are decoded, where they were to be kept; else none.
    """

    key_pts: int
    after: int | None = None
    end: int = 0
    first: int = 0
    last: int = 0
    n_frames: int = 0
    last_key: int = 0
    burst: list[Packet[VideoStream]] = field(default_factory=list)
    burst_pts: list[int] = field(default_factory=list)
    leading: list[Packet[VideoStream]] = field(default_factory=list)
    packets: list[Packet[VideoStream]] = field(default_factory=list)


class Bursts:
    """One open video. Use as a context manager.

    Args:
        source: a path, or a seekable file object.
        uri: the name to use in errors.
        size_bytes: size of the file, for the facts.
        stream: index of the stream in the file; None: the film.
        n: pictures in a burst, at least; fewer where a group has fewer.
        longest_s: frames may lie this far after the last key frame at which a burst could begin, seconds.
        keep: whether groups keep all their packets, so that `decode_group` can be called.
        progress: called with the seconds decoded so far.

    Attributes:
        facts: container facts; complete after the first picture.
        decoded: pts of the decoded pictures, each as often as it was decoded.
        decoded_s: about how many seconds these are shown, as far as that is known before all packets are read.

    Raises:
        ProbeError: on entering, when the container or its streams cannot be read.
        NoBursts: from any method.
        VideoError: while packets are read, when a remote file cannot be read to its end.
    """

    def __init__(
        self,
        source: str | Any,
        *,
        uri: str,
        size_bytes: int,
        stream: int | None,
        n: int,
        longest_s: float,
        keep: bool,
        progress: Callable[[float], None] | None,
    ) -> None:
        self._source, self._n, self._keep = source, n, keep
        self._tell = progress or (lambda _s: None)
        film = open_film(source, uri, stream)
        self.container, self.stream = film.container, film.stream
        self.facts: VideoFacts = facts_of(self.container, self.stream, size_bytes, film.named_others)
        self.decoded = array("q")
        self.decoded_s = 0.0
        self.full_range = False
        self._first: tuple[int, int, str] | None = None
        self._longest = longest_s / self.facts.time_base
        self._span = LEAST_S / self.facts.time_base
        self._table = PacketTable(self.facts, self.stream, "exact")
        tell_while_waiting(source, lambda: self._tell(self.decoded_s))
        context = self.stream.codec_context
        context.thread_count, context.thread_type = 1, "NONE"
        context.options = {"skip_loop_filter": "noref"}  # as in exact mode

    def __enter__(self) -> Bursts:
        facts = self.facts
        if facts.container in WITH_PTS and facts.codec in BY_BURSTS:
            return self
        self.container.close()
        if facts.codec not in BY_BURSTS:
            raise NoBursts(f"where the decoding of {facts.codec} may begin is not known")
        raise NoBursts(f"the packets of {facts.container} do not have the time of each frame")

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def groups(self) -> Iterator[Group]:
        """All groups of the video, in order; each once the next one has begun."""

        def begins(packet: Packet[VideoStream]) -> bool | None:
            n_bursts, n_frames = len(self._table.bursts), len(self._table.pts)
            if note := self._table.take(packet):
                raise NoBursts(note)
            return None if len(self._table.pts) == n_frames else len(self._table.bursts) > n_bursts

        yield from self._groups(begins, None)

    def groups_between(self, index: FrameIndex, first: int, stop: int) -> Iterator[Group]:
        """The groups of the frames [first, stop) of a video of which the index is known; a burst begins at the first."""
        following = int(np.searchsorted(index.bursts, stop))
        last = int(index.bursts[following]) + 1 if following < len(index.bursts) else len(index.pts)
        starts, known = (set(index.pts[at].tolist()) for at in (index.bursts, slice(first, last)))
        start = int(index.pts[first])
        self.container.seek(start, stream=self.stream)
        found = False

        def begins(packet: Packet[VideoStream]) -> bool | None:
            nonlocal found
            found = found or (packet.is_keyframe and packet.pts == start)
            return None if not found or packet.pts not in known else packet.is_keyframe and packet.pts in starts

        yield from self._groups(begins, int(index.pts[stop]) if stop < len(index.pts) else None)
        if not found:
            raise NoBursts("a key frame was not found where its packets say that it is")

    def index(self) -> FrameIndex:
        """The frames of the video, after all its groups were read."""
        found = self._table.index()
        if isinstance(found, Uncut):
            raise NoBursts(found.note or "it has no frame")
        return found

    def _groups(self, begins: Callable[[Packet[VideoStream]], bool | None], until: int | None) -> Iterator[Group]:
        """Puts packets together to groups.

        Args:
            begins: whether a packet begins a group; None where it gives no frame, or is to be left out.
            until: the last group is the one that holds the frame before this pts; None: the video's last one.
        """
        import av

        group: Group | None = None
        n = 0
        try:
            for packet in self.container.demux(self.stream):
                n += 1
                if n % TELL_EVERY == 0:
                    self._tell(self.decoded_s)
                start = begins(packet) if packet.size else None
                if start and packet.pts is not None:
                    if group is not None:
                        group.after = packet.pts
                        yield group
                        if until is not None and packet.pts >= until:
                            return
                    at = packet.pts
                    group = Group(at, end=at, first=at, last=at, last_key=at, leading=[packet])
                if group is not None and packet.size:
                    self._add(group, packet, gives=start is not None)
                elif start is not None:
                    raise NoBursts("the stream does not begin with a key frame that stands alone")
        except av.error.FFmpegError as error:
            raise NoBursts("some of its packets cannot be read") from error
        raise_read_failure(self._source)
        if group is not None:
            yield group

    def _add(self, group: Group, packet: Packet[VideoStream], *, gives: bool) -> None:
        pts = packet.pts
        group.n_frames += gives
        full = len(group.burst_pts) >= self._n and max(group.burst_pts) - group.key_pts >= self._span
        if gives and pts is not None:
            if packet.is_keyframe and burst_begins(self.facts.codec, self.stream.codec_context.extradata, bytes(packet)):
                group.last_key = pts
            if pts - group.last_key > self._longest:
                apart = float(self._longest * self.facts.time_base)
                raise NoBursts(f"its key frames that stand alone are more than {apart:g} s apart (scan.sparse_s)")
            if group.key_pts - pts > self._longest:
                raise NoBursts("its time stamps go back")
            group.end = max(group.end, pts + (packet.duration or 0))
            group.first, group.last = min(group.first, pts), max(group.last, pts)
            if pts < group.key_pts:
                if group.n_frames > len(group.leading) + 1:
                    raise NoBursts("frames that are shown before a key frame come after some that are shown after it")
                group.leading.append(packet)
                if not referred_to(self.facts.codec, self.stream.codec_context.extradata, bytes(packet)):
                    return
            elif not full:
                group.burst_pts.append(pts)
        if self._keep:
            group.packets.append(packet)
        if not full:
            group.burst.append(packet)

    def decode_burst(self, group: Group) -> list[tuple[VideoFrame, int]]:
        """The pictures of a group's burst with their pts, in order."""
        found = sorted(self._decoded(group.burst, group), key=lambda picture: picture[1])
        if [pts for _, pts in found] != sorted(group.burst_pts):
            raise NoBursts("its packets do not tell which frames it has")
        return found

    def decode_group(self, group: Group, following: Group | None) -> Iterator[tuple[VideoFrame, int]]:
        """All pictures from a group's key frame up to the next one, with their pts, in order.

        Args:
            group: its packets were kept.
            following: the next group, of whose packets those are decoded that are shown before its key frame; None at the end of what is
                read.
        """
        more = following.leading if following is not None and len(following.leading) > 1 else []
        last = group.key_pts - 1
        for frame, pts in self._decoded([*group.packets, *more], group):
            if pts <= last:
                raise NoBursts("the decoder learnt late that it held back too few frames to give them in order")
            last = pts
            if following is None or pts < following.key_pts:
                yield frame, pts

    def _decoded(self, packets: Sequence[Packet[VideoStream]], group: Group) -> Iterator[tuple[VideoFrame, int]]:
        import av

        context = self.stream.codec_context
        each_s = self._each_s(group)
        try:
            for packet in (*packets, None):
                if packet is not None and packet.pts is not None and packet.pts < group.key_pts:
                    self.decoded_s += each_s  # the decoder gives no picture of it, since what it refers to may be missing
                    self.decoded.append(packet.pts)
                for frame in context.decode(packet):
                    self.decoded_s += each_s
                    self._check(frame)
                    assert frame.pts is not None
                    self.decoded.append(frame.pts)
                    yield frame, frame.pts
        except av.error.FFmpegError as error:
            raise NoBursts("a part of it that is decoded is damaged") from error
        context.flush_buffers()
        self._tell(self.decoded_s)

    def _each_s(self, group: Group) -> float:
        """The mean step between the frames of a group, seconds. The step to the next group, in which the camera may have been off, counts
        only where the group has one frame, up to the longest step that a group may have.
        """
        if group.n_frames > 1:
            return float((group.last - group.first) * self.facts.time_base) / (group.n_frames - 1)
        step = max(1, (group.end if group.after is None else group.after) - group.key_pts)
        return float(min(step, self._longest) * self.facts.time_base)

    def _check(self, frame: VideoFrame) -> None:
        """Makes sure that a picture is what a decode from end to end gives, and of the size and format of those before."""
        if frame.is_corrupt:
            raise NoBursts("a part of it that is decoded is damaged")
        if frame.pts is None:
            raise NoBursts("some of its frames have no time stamp")
        if frame.interlaced_frame and self.facts.codec == "h264":  # libav's flag may depend on frames before
            raise NoBursts("it is interlaced")
        if self._first is None:
            self.facts = upright(self.facts, frame)
            self.full_range = full_range(frame, self.facts.codec)
            self._first = (frame.width, frame.height, frame.format.name)
        elif self._first != (frame.width, frame.height, frame.format.name):
            raise NoBursts("size, format or orientation of the picture change")
