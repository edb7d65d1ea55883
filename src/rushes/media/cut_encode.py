"""Clips by encoding: exactly the frames of each span at the source's own times, or the span at a frame rate of the file's own; upright and
with square pixels.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any, BinaryIO

from rushes.errors import CutError
from rushes.media.address import public_uri
from rushes.media.clip_audio import INTERLEAVE_S, ClipAudio, RecentAudio
from rushes.media.clip_file import ClipFile, Held, Place
from rushes.media.clip_sound import Track, track_of
from rushes.media.clip_span import ClipSpan, CutResult
from rushes.media.decode import MAX_CORRUPT_RUN, Decoder
from rushes.media.encoding import ENCODERS, Encoding
from rushes.media.file_clock import FileClock
from rushes.media.pixels import Upright
from rushes.media.time_line import Piece
from rushes.media.usual_scheduling import usual_scheduling
from rushes.records import VideoFacts

if TYPE_CHECKING:
    from av import Packet, VideoFrame


class _Source(Decoder):
    """A decoder that also reads the audio packets and gives them to the clips being encoded, so that the source is read once."""

    def __init__(self, source: str | BinaryIO, facts: VideoFacts, place: Place, pieces: Sequence[Piece]) -> None:
        super().__init__(source, uri=place.source_uri, size_bytes=facts.size_bytes, mode="exact", stream=facts.stream_index)
        self.stream.codec_context.options = {}  # every frame deblocked: these pictures are kept, not only measured
        self.sound: Track | None = track_of(self.container, place.sound)
        self._sound_clock = None
        if self.sound is not None:
            self._sound_clock = FileClock(pieces, facts.time_base / Fraction(self.sound.stream.time_base or 1))
        self.recent = RecentAudio()
        self.active: list[_Encode] = []

    def _demux(self) -> Iterator[Packet[Any]]:
        """The packets of the pictures, for the decoder. Audio packets are given to the clips on the way."""
        import av

        streams = [self.stream] if self.sound is None else [self.stream, self.sound.stream]
        packets = self.container.demux(streams)
        failures = 0
        while failures < MAX_CORRUPT_RUN:
            try:
                packet = next(packets)
                failures = 0
            except StopIteration:
                return
            except av.error.FFmpegError:
                failures += 1
                self.n_corrupt += 1
                continue
            if packet.stream_index == self.stream.index:
                yield packet
            elif packet.size and self.sound is not None and self._sound_clock is not None:
                self._sound_clock.place(packet)
                self._pass_sound(self.sound.packets(packet))

    def end_sound(self) -> None:
        """Gives the clips the last of the sound, when the source has been read."""
        self._pass_sound(self.sound.rest() if self.sound is not None else ())

    def _pass_sound(self, packets: Sequence[Packet[Any]]) -> None:
        for packet in packets:
            self.recent.push(packet)
            for clip in self.active:
                if clip.audio is not None:
                    clip.audio.push(packet)


class _Encode:
    """One clip being encoded.

    Times of the file are counted from the clip's start, in ticks of `Place.clock`.
    """

    def __init__(self, clip: ClipSpan, source: _Source, place: Place, facts: VideoFacts, encoding: Encoding, upright: Upright) -> None:
        self.clip = clip
        self._encoding, self._upright = encoding, upright
        self._shown: VideoFrame | None = None
        self._source = source
        self._place = place
        self._facts = facts
        self._file: ClipFile | None = None
        self._video: Any = None
        self.audio: ClipAudio | None = None
        self._pts: list[int] = []
        self._n_packets = 0
        self.error: CutError | None = None

    def push(self, frame: VideoFrame, pts: int) -> None:
        """Takes one frame of the span, as decoded."""
        if self.error:
            return
        try:
            since = pts - self.clip.span.start_pts
            if self._encoding.rate is None:
                self._put(self._upright(frame, self._facts), since)
            else:
                self._show_until(since)
                self._shown = frame
        except CutError as error:
            self.error = self._place.located(error)

    def _show_until(self, since: int) -> None:
        """Puts the frame that is shown at each time of the file before `since`, which is in ticks of the source from the clip's start. The
        first frame is also shown before its own time.
        """
        clock, base = self._place.clock, self._facts.time_base
        n = ceil(since * base / clock)
        if self._shown is None or n <= len(self._pts):
            return
        frame = self._upright(self._shown, self._facts)
        while len(self._pts) < n:
            self._put(frame, len(self._pts))

    def _put(self, frame: VideoFrame, pts: int) -> None:
        if self._file is None:
            self._open(frame)
        self._pts.append(pts)
        frame.pts, frame.time_base = pts, self._place.clock
        frame.pict_type = 0  # else x264 would use the source's choice of I, P and B
        self._mux(self._encoded(frame))

    def _encoded(self, frame: VideoFrame | None) -> Sequence[Packet[Any]]:
        import av

        opens = self._n_packets == 0 and len(self._pts) == 1
        try:
            with usual_scheduling() if opens and self._encoding.codec == "av1" else nullcontext():
                return list(self._video.encode(frame))
        except (av.error.FFmpegError, ValueError) as error:
            raise CutError(
                f"{ENCODERS[self._encoding.codec].name} does not take this picture: {getattr(error, 'strerror', None) or error}",
                step="clips",
            ) from error

    def _open(self, frame: VideoFrame) -> None:
        span, base = self.clip.span, self._facts.time_base
        encoder = ENCODERS[self._encoding.codec]
        self._file = ClipFile(self._place, self.clip.clip_id, (span.start_pts, span.end_pts))
        rate = self._encoding.rate or Fraction(self._facts.fps or 25).limit_denominator(1001)
        video = self._file.encoded(encoder.name, rate, {"crf": str(self._encoding.crf), **encoder.options})
        context = video.codec_context
        if encoder.tag is not None:
            context.codec_tag = encoder.tag
        context.width, context.height, context.pix_fmt = frame.width, frame.height, "yuv420p"
        context.time_base = self._place.clock
        context.thread_count = 1
        context.color_range, context.colorspace = frame.color_range, frame.colorspace
        context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
        context.sample_aspect_ratio = Fraction(1)
        self._video = video
        if self._source.sound is not None:
            self.audio = ClipAudio(self._file, self._source.sound.added_to(self._file), span.start_pts * base, self._source.recent)

    def _mux(self, packets: Sequence[Packet[Any]]) -> None:
        assert self._file is not None
        for packet in packets:
            self._n_packets += 1
            packet.duration = self._duration(packet.pts or 0)
            written_s = self.clip.span.start_pts * self._facts.time_base + (packet.dts or 0) * self._place.clock
            self._file.mux(packet)  # mux_one changes the packet's times to the file's clock
            if self.audio is not None:
                self.audio.write_until(written_s)

    def _duration(self, pts: int) -> int:
        """Ticks to the next frame, or to the end of the span; one where the file has a rate of its own."""
        if self._encoding.rate is not None:
            return 1
        following = bisect_right(self._pts, pts)
        end = self.clip.span.end_pts - self.clip.span.start_pts
        return (self._pts[following] if following < len(self._pts) else end) - pts

    def ready(self, pts: int) -> bool:
        """Whether the clip can be finished: frame and sound up to its end have come. `pts`: of the present frame."""
        end, base = self.clip.span.end_pts, self._facts.time_base
        if pts < end:
            return False
        return self.audio is None or self.audio.reached_s >= end * base or (pts - end) * base > Fraction(INTERLEAVE_S)

    def finish(self) -> CutResult:
        """The clip's result. Its file is verified and has its final name, or there is none."""
        span, clip_id = self.clip.span, self.clip.clip_id
        try:
            if not self.error:
                self._show_until(span.end_pts - span.start_pts)
            if self._file is None and not self.error:
                raise CutError("no frame could be decoded inside the span")
            if self._file is not None and not self.error:
                self._mux(self._encoded(None))
                if self.audio is not None:
                    self.audio.write_until(span.end_pts * self._facts.time_base)
                held = self._file.close(self._pts, self._n_packets, self._place.clock)
                return _result(self.clip, self._place, len(self._pts), held)
        except CutError as error:
            self.error = self._place.located(error)
        finally:
            self.abandon()
        return CutResult(clip_id, None, span.start_pts, span.end_pts, 0, 0, error=self.error)

    def abandon(self) -> None:
        """Removes what was written of the file."""
        if self._file is not None:
            self._file.drop()
        self._file = self.audio = self._shown = None


def _result(clip: ClipSpan, place: Place, n_frames: int, held: Held, *, reused: bool = False) -> CutResult:
    uri, span = public_uri(place.uri(clip.clip_id)), clip.span
    return CutResult(clip.clip_id, uri, span.start_pts, span.end_pts, n_frames, held.bytes, *held.size, reused=reused)


def encode_clips(
    source: str | BinaryIO, facts: VideoFacts, clips: Sequence[ClipSpan], place: Place, pieces: Sequence[Piece]
) -> Iterator[CutResult]:
    """One decode of the source for all clips, which are in order of time. See `cut.cut_clips`."""
    coming: list[ClipSpan] = []
    for clip in clips:
        known = place.existing(clip.clip_id, clip.span.start_pts, clip.span.end_pts)
        if known is None:
            coming.append(clip)
        else:
            yield _result(clip, place, known.n_packets, known, reused=True)
    if not coming:
        return
    decoder = _Source(source, facts, place, pieces)
    with decoder:
        active = decoder.active
        try:
            yield from _encode_pass(decoder, coming, facts, place)
        finally:
            for clip_left in active:
                clip_left.abandon()


def _encode_pass(decoder: _Source, coming: list[ClipSpan], facts: VideoFacts, place: Place) -> Iterator[CutResult]:
    active = decoder.active
    assert place.encoding is not None
    encoding, upright = place.encoding, Upright(place.encoding)
    for frame, pts in decoder:
        place.tick()
        while coming and coming[0].span.start_pts <= pts:
            active.append(_Encode(coming.pop(0), decoder, place, replace(decoder.facts, fps=facts.fps), encoding, upright))
        for clip in active:
            if clip.clip.span.start_pts <= pts < clip.clip.span.end_pts:
                clip.push(frame, pts)
        for clip in [c for c in active if c.ready(pts)]:
            active.remove(clip)
            yield clip.finish()
        if not active and not coming:
            return
    decoder.end_sound()
    while active:
        yield active.pop(0).finish()
    for span in coming:
        yield _Encode(span, decoder, place, facts, encoding, upright).finish()
