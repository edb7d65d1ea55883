"""Copies the sound of clips: the audio packets that lie wholly inside a clip."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet

    from rushes.media.clip_file import ClipFile

INTERLEAVE_S = 5.0
"""How far sound may be stored from the pictures of the same time, seconds: libav's mov reader keeps them within 1 s, transport streams
within about 1 s."""


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio track; None when there is none that libav knows."""
    tracks = container.streams.audio
    return tracks[0] if tracks and tracks[0].codec_context is not None else None


def copy_of(packet: Packet[Any], stream: Any, offset: int) -> Packet[Any]:
    """A copy of a packet for an output stream, with its times moved `offset` ticks earlier. The original is not changed."""
    import av

    copy = av.Packet(bytes(packet))
    copy.time_base = packet.time_base
    copy.pts = None if packet.pts is None else packet.pts - offset
    copy.dts = None if packet.dts is None else packet.dts - offset
    copy.duration = packet.duration
    copy.is_keyframe = packet.is_keyframe
    for data in packet.iter_sidedata():
        if data.data_type != "skip_samples":  # it trims the start and the end of the source, not of the clip
            copy.set_sidedata(data)
    copy.stream = stream
    return copy


class RecentAudio:
    """The audio packets of the last seconds, for a clip whose first picture is stored after the sound of the same time."""

    def __init__(self) -> None:
        self._packets: deque[Packet[Any]] = deque()

    def push(self, packet: Packet[Any]) -> None:
        """Adds one packet and forgets those more than INTERLEAVE_S older."""
        if packet.pts is None:
            return
        self._packets.append(packet)
        horizon = packet.pts - INTERLEAVE_S / float(packet.time_base)
        while self._packets and (self._packets[0].pts or 0) < horizon:
            self._packets.popleft()

    def __iter__(self) -> Any:
        return iter(self._packets)


class ClipAudio:
    """Writes the sound of one clip. It holds audio packets back until it is certain that the pictures of the same time are in the file.

    Args:
        file: the clip's file.
        stream: its audio track.
        start_s: exact time of the clip's first picture.
    """

    def __init__(self, file: ClipFile, stream: Any, start_s: Fraction, recent: RecentAudio) -> None:
        self._file = file
        self._stream = stream
        self._start_s = start_s
        self._waiting: deque[Packet[Any]] = deque()
        self._ends: int | None = None
        self.reached_s = start_s
        for packet in recent:
            self.push(packet)

    def push(self, packet: Packet[Any]) -> None:
        """Takes a packet of the source if it begins inside the clip."""
        if packet.pts is None:
            return
        at = packet.pts * Fraction(packet.time_base)
        self.reached_s = max(self.reached_s, at)
        if at >= self._start_s:
            self._waiting.append(packet)

    def write_until(self, end_s: Fraction) -> None:
        """Writes the packets that end by `end_s`."""
        while self._waiting:
            packet = self._waiting[0]
            base = Fraction(packet.time_base)
            begins, lasts = packet.pts or 0, packet.duration or 0
            if (begins + lasts) * base > end_s:
                return
            self._waiting.popleft()
            if self._ends is not None and begins < self._ends - lasts // 2:
                continue  # where a new clock begins, the sound before it may go on for longer than the pictures
            self._ends = begins + lasts
            self._file.mux(copy_of(packet, self._stream, round(self._start_s / base)))
