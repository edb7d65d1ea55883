"""One clip file: written under a hidden name, verified by reading it back, then put in its place."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from rushes.errors import CutError, StorageError, VideoError
from rushes.media import storage
from rushes.media.address import public_uri
from rushes.media.encoding import Encoding
from rushes.media.error_translation import store_error, write_error
from rushes.media.frame_tags import orientation, pixel_aspect
from rushes.media.probe import displayed
from rushes.media.remote import raise_read_failure

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import OutputContainer

MP4_VIDEO = {"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg"}
MP4_AUDIO = {"aac", "mp3", "mp2", "opus", "ac3", "eac3", "alac", "flac"}
"""Codecs registered for MPEG-4 files (mp4ra.org) that libav writes there."""
STORAGE_ERRNOS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT,
}  # fmt: skip
"""Errors of the operating system that are no fault of the clip: the disk is full, over quota or not writable, or the mount is broken."""
MOV_ONLY_AUDIO = "pcm_"
"""Beginning of the names of uncompressed audio codecs, which mov holds and mp4 does not."""
MAX_CLOCK = 1 << 30
"""Most ticks a second that a mov or mp4 file is given for its clock, which has 32 bits."""
MIN_CLOCK = 48_000
"""Least ticks a second of that clock, for a frame rate of the file's own: the end of sound is rounded to a tick."""
ENCODE = 'set clips.mode = "encode" for such footage'
"""How to mend what keeps a clip from being copied."""
FORMATS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"}
"""Suffix -> libav's name of the container."""


def in_mp4(audio: str) -> bool:
    """Whether mp4 holds an audio codec; libav's decoder of mp3 is called mp3float."""
    return audio.removesuffix("float") in MP4_AUDIO


def suffix_for(video: str, audio: str | None) -> str:
    """The container that holds these codecs: mp4, mov for uncompressed audio, else mkv (whose clock is 1 ms: pts are rounded to it)."""
    if video not in MP4_VIDEO:
        return "mkv"
    if audio is None or in_mp4(audio):
        return "mp4"
    return "mov" if audio.startswith(MOV_ONLY_AUDIO) else "mkv"


@dataclass(frozen=True, slots=True)
class Held:
    """What a finished clip file holds: its video packets, its size in bytes, and (width, height) of its picture as a player shows it."""

    n_packets: int
    bytes: int
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how the clips of one video are written.

    Attributes:
        folder: path or URL of the folder.
        suffix: of the container: mp4, mov or mkv.
        encoding: how clips are encoded; None: their streams are copied.
        options: storage options of the folder.
        source_uri: the video's name, for errors.
        time_base: of the source, seconds a tick.
        sound: how the clips get their sound: "copy", "encode" or "none" (`clip_sound.sound_of`).
        tick: called often while work goes on, so that a guard sees progress.
        names: clip_id -> name of the clip's file in the folder, without suffix; default: <first two characters of the id>/<id>.
    """

    folder: str
    suffix: str
    encoding: Encoding | None
    options: storage.Options
    source_uri: str
    time_base: Fraction
    sound: Literal["copy", "encode", "none"]
    tick: Callable[[], None]
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def clock(self) -> Fraction:
        """The time base of the pictures in the files, seconds a tick: the source's, or one frame of those that have a rate of their own."""
        rate = self.encoding.rate if self.encoding else None
        return 1 / rate if rate else self.time_base

    def uri(self, clip_id: str) -> str:
        """Address of a clip's file."""
        return f"{self.folder.rstrip('/')}/{self.names.get(clip_id) or f'{clip_id[:2]}/{clip_id}'}.{self.suffix}"

    def comment(self, clip_id: str, start_pts: int, end_pts: int) -> str:
        """The text stored in the file's metadata: how the file was made, and of which clip. A later run recognises the file by it."""
        how = {"rushes": "encode" if self.encoding else "copy", "crf": self.encoding.crf if self.encoding else None}
        changed = self.encoding.changed if self.encoding else {}
        return json.dumps({**how, **changed, "clip": clip_id, "span": [start_pts, end_pts]})

    def located(self, error: CutError) -> CutError:
        """The error of one clip with what it lacks: the video's uri, the step, and how to mend it."""
        mend = ENCODE if self.encoding is None else "check that the source is complete; the clip can still be used by its uri and span"
        return CutError(error.what, uri=error.uri or self.source_uri, span_s=error.span_s, step="clips", mend=error.mend or mend)

    def existing(self, clip_id: str, start_pts: int, end_pts: int) -> Held | None:
        """What a complete file of this clip made in this way holds, by its packets and first frame; None when there is none.

        Raises:
            StorageError: the store does not answer.
        """
        import av

        uri = self.uri(clip_id)
        if not storage.exists(uri, self.options):
            return None
        try:
            source = storage.open_seekable(uri, self.options)
        except VideoError as error:
            raise _unread(error, uri) from error
        try:
            with av.open(source, "r") as container:
                tags = {name.lower(): value for name, value in container.metadata.items()}
                if tags.get("comment") != self.comment(clip_id, start_pts, end_pts):
                    return None
                stream = container.streams.video[0]
                size, n_packets, damaged = (0, 0), 0, False
                for packet in container.demux(stream):
                    n_packets += packet.size > 0
                    damaged |= packet.is_corrupt
                    if not size[0]:
                        size = next((shown_size(stream, frame) for frame in packet.decode()), size)
                raise_read_failure(source)
                if damaged or stream.frames not in (0, n_packets):  # its end is missing; mkv does not say how many frames it has
                    return None
        except av.error.FFmpegError:
            return None
        except VideoError as error:
            raise _unread(error, uri) from error
        finally:
            if not isinstance(source, str):
                source.close()
        try:
            return Held(n_packets, storage.stat(uri, self.options).size or 0, size)
        except OSError as error:
            raise store_error(error, uri) from error


def _unread(error: VideoError, uri: str) -> StorageError:
    """The error that a clip file in the store cannot be read. The store is at fault then, not the video."""
    return StorageError(error.what, uri=public_uri(uri), step="clips", mend=error.mend)


class ClipFile:
    """A clip file being written. `close` verifies it and gives it its final name; `drop` removes what was written.

    Args:
        place: where and how.
        clip_id: its id.
        span: (start_pts, end_pts) asked for; goes into the comment.
    """

    def __init__(self, place: Place, clip_id: str, span: tuple[int, int]) -> None:
        import av

        self._uri = place.uri(clip_id)
        self._place = place
        self._stack = ExitStack()
        try:
            self._path = self._stack.enter_context(storage.scratch_for(self._uri))
        except OSError as error:
            raise write_error(error, self._uri) from error
        clock = place.clock.denominator
        if place.clock != place.time_base:
            clock *= max(1, MIN_CLOCK // clock)
        mov = {"movflags": "+faststart", "movie_timescale": str(min(clock, MAX_CLOCK))}  # edit lists are written in it, and so are exact
        options = {"avoid_negative_ts": "disabled"} if place.suffix == "mkv" else mov
        try:
            self._out: OutputContainer = av.open(self._path, "w", format=FORMATS[place.suffix], options=options)
        except av.error.FFmpegError as error:
            self._stack.close()
            raise self._translated(error) from error
        self._ended = False
        self._out.metadata["comment"] = place.comment(clip_id, *span)

    def copied(self, stream: Any) -> Any:
        """Adds a stream whose packets are copied from `stream`, with the same time base, rotation and pixel shape."""
        import av

        try:
            added: Any = self._out.add_stream_from_template(stream, opaque=True)
        except (av.error.FFmpegError, ValueError) as error:
            raise self._translated(error) from error
        added.time_base = stream.time_base
        if stream.type == "video" and stream.sample_aspect_ratio:  # that of the container, which the template lacks
            added.codec_context.sample_aspect_ratio = pixel_aspect(stream.sample_aspect_ratio)
        return added

    def encoded(self, codec: str, rate: Fraction, options: dict[str, str]) -> Any:
        """Adds a stream whose pictures are encoded: libav's codec name, frames a second, and options of the codec."""
        return self._out.add_stream(codec, rate=rate, options=options)

    def encoded_sound(self, codec: str, rate: int, layout: str, bit_rate: int) -> Any:
        """Adds a stream for packets of sound that an encoder with these settings gives: libav's codec name, Hz, layout, bit/s."""
        import av

        try:
            added: Any = self._out.add_stream(codec, rate=rate)
            added.layout, added.bit_rate = layout, bit_rate
            added.time_base = Fraction(1, rate)
        except (av.error.FFmpegError, ValueError) as error:
            raise self._translated(error) from error
        return added

    def mux(self, packet: Packet[Any]) -> None:
        """Writes a packet whose stream and time base are set.

        Raises:
            StorageError: the disk is full.
            CutError: the container does not take it.
        """
        import av

        try:
            self._out.mux_one(packet)
        except (av.error.FFmpegError, ValueError) as error:
            raise self._translated(error) from error

    def close(self, pts: Sequence[int], n_packets: int, time_base: Fraction) -> Held:
        """Ends the file, verifies that it holds exactly these frames, and gives it its final name.

        Args:
            pts: of the frames to be seen, increasing, counted from the clip's start.
            n_packets: video packets written.
            time_base: of `pts`.

        Raises:
            CutError: the file does not hold these frames; it is removed.
            StorageError: the disk is full.
        """
        import av

        self._ended = True
        with self._stack:
            try:
                self._out.close()
                shown = verify(self._path, pts, n_packets, time_base)
            except (av.error.FFmpegError, ValueError) as error:
                raise self._translated(error) from error
            size = storage.publish(self._path, self._uri, self._place.options)
        return Held(n_packets, size, shown)

    def drop(self) -> None:
        """Removes what was written, unless `close` was called before."""
        import av

        if self._ended:
            return
        self._ended = True
        with self._stack:
            try:
                self._out.close()
            except (av.error.FFmpegError, ValueError):
                return

    def _translated(self, error: Exception) -> Exception:
        if getattr(error, "errno", None) in STORAGE_ERRNOS:
            return write_error(OSError(error.errno, error.strerror), self._uri)  # type: ignore[attr-defined]
        words = getattr(error, "strerror", None) or error
        return self._place.located(CutError(f"{self._place.suffix} does not take this stream: {words}"))


def shown_size(stream: VideoStream, frame: VideoFrame) -> tuple[int, int]:
    """(width, height) in pixels at which a player shows a frame of this stream: upright, with the pixel shape that the stream states."""
    return displayed(frame.width, frame.height, float(pixel_aspect(stream.sample_aspect_ratio)), orientation(frame))


def verify(path: str, pts: Sequence[int], n_packets: int, time_base: Fraction) -> tuple[int, int]:
    """Reads a clip file back and compares it with what was to be written: number of packets, number and times of frames, none corrupt.
    Gives the width and height at which a player shows it.

    Times are compared exactly where the container's clock allows it, else to half its tick (mkv).

    Raises:
        CutError: they differ.
    """
    import av

    decoded: list[int | None] = []
    demuxed, corrupt, shown = 0, 0, (0, 0)
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"skip_loop_filter": "all"}  # counting does not need deblocked pictures
        for packet in container.demux(stream):
            demuxed += packet.size > 0
            for frame in packet.decode():
                shown = shown if decoded else shown_size(stream, frame)
                decoded.append(frame.pts)
                corrupt += bool(frame.is_corrupt)
        tick = Fraction(stream.time_base or 1)
    allowed = Fraction(0) if (time_base / tick).denominator == 1 else tick / 2
    if demuxed != n_packets or len(decoded) != len(pts):
        held = f"the file holds {demuxed} packets and {len(decoded)} frames"
        raise CutError(f"{held} where {n_packets} and {len(pts)} were meant", step="clips")
    if corrupt:
        raise CutError(f"{corrupt} of {len(decoded)} frames do not decode cleanly", step="clips")
    for n, (is_at, meant) in enumerate(zip(decoded, pts, strict=True)):
        if is_at is None or abs(is_at * tick - meant * time_base) > allowed:
            raise CutError(f"frame {n} is at {is_at} x {tick} s where {meant} x {time_base} s was meant", step="clips")
    return shown
