"""How the clips of a video get their sound: copied, encoded anew where no container takes it as it is, or not at all.

Which of the three is found out once for each video, before its clips are cut, by writing its first audio packets into a file in memory and
reading that back. So a sound that a container does not take costs a clip its sound at most, never its pictures.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from rushes.errors import CutError
from rushes.media.clip_audio import audio_stream, copy_of
from rushes.media.clip_file import FORMATS, MP4_VIDEO, ClipFile, in_mp4, suffix_for
from rushes.media.probe import open_container
from rushes.records import VideoFacts

if TYPE_CHECKING:
    from av import Packet
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

How = Literal["copy", "encode", "none"]
TRUSTED = {"mov", "matroska"}
"""Containers that hold sound as mp4 does, with its description in the header: libav's names of mp4 and mov, of mkv and webm."""
TRIED = 32
"""Audio packets that are tried."""
READ = 2048
"""Packets of the source that are read at most to find them."""
CODEC = "aac"
BIT_RATE = 128_000
RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Sample rates of AAC, Hz (ISO/IEC 14496-3, table 1.18)."""
COUNTED = {"avi"}
"""Containers that store no times: that of a sample follows from the number of samples before it. What libav derives from sizes of blocks is
wrong where the header states them wrongly, as recorders' headers do."""
GAP_S = 0.1
"""A step in the sound's time by more than this, seconds, is kept as a step: the encoder is begun anew."""


@dataclass(frozen=True, slots=True)
class Sound:
    """How the clips of one video get their sound.

    Attributes:
        suffix: the container of the clips: mp4, mov or mkv.
        how: "copy", "encode", or "none".
        note: what a person should know of it; None where the sound is as in the source, or where there is none.
    """

    suffix: str
    how: How
    note: str | None = None


def sound_of(source: str | BinaryIO, uri: str, facts: VideoFacts, video: str, *, only_mp4: bool = False) -> Sound:
    """Finds out how the clips of a video get their sound. What comes from mp4, or a file like it, and goes to mp4 is not tried.

    Args:
        source: path or seekable file of the video.
        uri: its name, for errors.
        facts: of the video.
        video: codec of the clips' pictures.
        only_mp4: encode sound that mp4 does not take, rather than choose another container.

    Raises:
        ProbeError: the source cannot be opened.
    """
    silent, audio = suffix_for(video, None), facts.audio_codec
    if not facts.has_audio:
        return Sound(silent, "none")
    if facts.container in TRUSTED and audio is not None and in_mp4(audio):
        return Sound(suffix_for(video, audio), "copy")
    with opened_again(source, uri) as container:
        stream = audio_stream(container)
        if stream is None:
            return Sound(silent, "none", "the clip has no sound: libav does not know the codec of the source's")
        packets = first_packets(container, stream)
        name = audio or stream.codec_context.name
        copied = "mp4" if only_mp4 else suffix_for(video, name)
        if (in_mp4(name) or not only_mp4) and takes(copied, stream, packets):
            return Sound(copied, "copy")
        suffix = "mp4" if video in MP4_VIDEO else "mkv"
        encoder = Encoder(stream, counted=container.format.name in COUNTED)
        encoded = [new for packet in packets for new in encoder.packets(packet)] + encoder.rest()
        if encoded:
            return Sound(suffix, "encode", f"the sound was encoded anew as AAC: {copied} does not take {name} as it is in the source")
        return Sound(silent, "none", f"the clip has no sound: {copied} does not take {name}, and libav cannot decode it")


def opened_again(source: str | BinaryIO, uri: str) -> InputContainer:
    """Opens a source from its beginning, whatever was read of it before."""
    if not isinstance(source, str):
        source.seek(0)
    return open_container(source, uri)


def first_packets(container: InputContainer, stream: AudioStream) -> list[Packet[Any]]:
    """The first audio packets of a source; fewer than `TRIED` where they come late or are few."""
    import av

    found = []
    try:
        for packet in islice(container.demux(), READ):
            if packet.stream_index == stream.index and packet.size and packet.pts is not None:
                found.append(packet)
                if len(found) == TRIED:
                    break
    except av.error.FFmpegError:  # damage is met again, and told of, when the clips are cut
        return found
    return found


def takes(suffix: str, stream: AudioStream, packets: Sequence[Packet[Any]]) -> bool:
    """Whether a container takes these packets as they are, and gives sound when they are read back."""
    import av

    file = io.BytesIO()
    try:
        with av.open(file, "w", format=FORMATS[suffix]) as out:
            added: Any = out.add_stream_from_template(stream, opaque=True)
            added.time_base = stream.time_base
            for packet in packets:
                out.mux_one(copy_of(packet, added, packets[0].pts or 0))
        if not packets:
            return True
        file.seek(0)
        back: Any
        with av.open(file) as back:
            return any(frame.samples for packet in back.demux(back.streams.audio[0]) for frame in packet.decode())
    except (av.error.FFmpegError, ValueError, IndexError):
        return False


class Encoder:
    """Encodes the sound of a source as AAC, packet by packet, at the source's own times.

    Args:
        stream: the source's audio track.
        counted: the time of a sample follows from the number of samples before it.
    """

    def __init__(self, stream: AudioStream, *, counted: bool) -> None:
        self._counted = counted
        own: Any = stream.codec_context
        self._stream = stream
        self.rate: int = own.rate if own.rate in RATES else 48_000
        self.layout = {1: "mono", 6: "5.1"}.get(own.layout.nb_channels if own.layout else 2, "stereo")
        self._next: Fraction | None = None
        self._end: int | None = None
        self._begin()

    def _begin(self) -> None:
        import av

        codec: Any = av.CodecContext.create(CODEC, "w")
        codec.sample_rate, codec.layout, codec.format = self.rate, self.layout, "fltp"
        codec.bit_rate, codec.time_base = BIT_RATE, Fraction(1, self.rate)
        self._codec = codec
        self._resampler = av.AudioResampler("fltp", self.layout, self.rate, 1024)

    def packets(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """What a packet of the source gives: some packets, or none yet. One that cannot be decoded gives none."""
        import av

        found: list[Packet[Any]] = []
        try:
            frames = list(self._stream.codec_context.decode(packet))
        except (av.error.FFmpegError, ValueError):
            return found
        for frame in frames:
            found += self._encoded(frame)
        return found

    def _encoded(self, frame: AudioFrame) -> Iterator[Packet[Any]]:
        base = Fraction(frame.time_base or self._stream.time_base or 1)
        at = self._next if frame.pts is None or (self._counted and self._next is not None) else frame.pts * base
        if at is None or not frame.samples:
            return
        if self._next is not None and abs(at - self._next) > GAP_S:
            yield from self.rest()
            self._begin()
            self._next = None
        start = at if self._next is None else self._next
        self._next = start + Fraction(frame.samples, frame.sample_rate)
        frame.time_base = Fraction(1, frame.sample_rate)
        frame.pts = round(start * frame.sample_rate)
        for some in self._resampler.resample(frame):
            yield from self._timed(some)

    def _timed(self, frame: AudioFrame | None) -> Iterator[Packet[Any]]:
        for packet in self._codec.encode(frame):
            packet.time_base = Fraction(1, self.rate)
            packet.duration = packet.duration or 1024
            if self._end is None or packet.pts >= self._end:  # an encoder that begins anew gives what comes before its first sample, too
                self._end = packet.pts + packet.duration
                yield packet

    def rest(self) -> list[Packet[Any]]:
        """The last packets, when the source has no more."""
        import av

        if self._next is None:
            return []
        try:
            found = [packet for frame in self._resampler.resample(None) for packet in self._timed(frame)]
            return [*found, *self._timed(None)]
        except (av.error.FFmpegError, ValueError):
            return []


class Track:
    """The sound of a source that is being cut.

    Attributes:
        stream, index: the audio track in the source, and its place among the streams.

    Args:
        stream: the audio track.
        encoder: what encodes it; None where it is copied.
    """

    def __init__(self, stream: AudioStream, encoder: Encoder | None) -> None:
        self.stream = stream
        self.index = stream.index
        self._encoder = encoder

    def packets(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """The packets that clips are to hold for a packet of the source."""
        return [packet] if self._encoder is None else self._encoder.packets(packet)

    def rest(self) -> list[Packet[Any]]:
        """The last of them, when the source has no more."""
        return [] if self._encoder is None else self._encoder.rest()

    def added_to(self, file: ClipFile) -> Any:
        """Adds the track to a clip file."""
        if self._encoder is None:
            return file.copied(self.stream)
        return file.encoded_sound(CODEC, self._encoder.rate, self._encoder.layout, BIT_RATE)


def track_of(container: InputContainer, how: How) -> Track | None:
    """The sound of a source; None where its clips have none.

    Raises:
        CutError: the source has no audio track any more.
    """
    if how == "none":
        return None
    stream = audio_stream(container)
    if stream is None:
        raise CutError("the audio track has gone", step="clips", mend="see whether the file changes while it is read")
    return Track(stream, Encoder(stream, counted=container.format.name in COUNTED) if how == "encode" else None)
