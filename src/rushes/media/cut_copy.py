"""Clips by stream copy, moved to where a stream can begin and end without a frame from outside the span or a missing one inside.

Begin: the first key frame inside the span from which a decoder can start. Pictures that follow it in the file and are shown before it are
left out.

End: packets come in decoding order, so the first n of them refer to no later one, whatever n is. Kept is the largest n for which the times
of all n packets are inside the span and every later packet is shown later. So no frame from outside the span is in the file, and none
between its first and last is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

from rushes.errors import CutError
from rushes.media.address import public_uri
from rushes.media.clip_audio import INTERLEAVE_S, ClipAudio, RecentAudio, copy_of
from rushes.media.clip_file import ClipFile, Place
from rushes.media.clip_sound import Track, track_of
from rushes.media.clip_span import ClipSpan, CutResult
from rushes.media.file_clock import FileClock
from rushes.media.probe import open_container
from rushes.media.random_access import entry_of, referred_to, shown
from rushes.media.remote import raise_read_failure
from rushes.media.time_line import Piece
from rushes.records import VideoFacts

if TYPE_CHECKING:
    from av import Packet
    from av.video.stream import VideoStream

LOOKAHEAD = 64
"""Packets read past a point before it is taken for an end: a later packet may be shown earlier. H.264 and HEVC decoders hold back at most
16 pictures (H.264, A.3.1; H.265, A.4.1), of at most two packets each; this is twice that, for streams that break the rule."""

USUAL_DEPTH = 4
"""Reorder depth assumed of a stream that reorders: four levels of B-pictures, as x265 and hardware HEVC encoders use; x264 needs 2."""


@dataclass(slots=True)
class _Copy:
    """One clip being copied, from its first packet to its file."""

    clip: ClipSpan
    stream: VideoStream
    sound: Track | None
    place: Place
    waiting: list[Packet[Any]] = field(default_factory=list)
    """Packets in decoding order of which it is not certain yet whether the clip keeps them."""
    kept: list[int] = field(default_factory=list)
    """pts of the pictures written, counted from the key frame's."""
    clock: DecodeClock | None = None
    start_pts: int | None = None
    open_entry: bool = False
    left_at: int | None = None
    """How many packets were in `waiting` when the first packet outside the span came."""
    end_pts: int | None = None
    file: ClipFile | None = None
    video: Any = None
    audio: ClipAudio | None = None
    refused: int = 0
    error: CutError | None = None

    def push(self, packet: Packet[Any], recent: RecentAudio) -> None:
        """Takes the next video packet of the source, in decoding order. Packets before and after the clip are offered too and not kept."""
        if self.error or self.end_pts is not None:
            return
        pts = _pts(packet)
        if pts is None or (packet.pts is None and self.stream.codec_context.has_b_frames):
            self.error = self.place.located(CutError("packets have no time of presentation"))
            return
        if self.start_pts is None:
            self._enter(packet, pts, recent)
            return
        if pts < self.start_pts:
            if self.open_entry and referred_to(self._codec, self._extradata, bytes(packet)):
                self._leave_entry()
            return
        outside = pts >= self.clip.span.end_pts or packet.is_discard
        if outside and self.left_at is None:
            self.left_at = len(self.waiting)
        self.waiting.append(packet)
        if self.left_at is not None and len(self.waiting) - self.left_at > LOOKAHEAD:
            self._leave()
        elif self.left_at is None and len(self.waiting) >= 4 * LOOKAHEAD:
            self._write(_certain(self.waiting, len(self.waiting) - LOOKAHEAD))

    @property
    def _tick(self) -> Fraction:
        return Fraction(self.stream.time_base or 1)

    @property
    def _codec(self) -> str:
        return str(self.stream.codec_context.codec.canonical_name)

    @property
    def _extradata(self) -> bytes | None:
        return self.stream.codec_context.extradata

    def _enter(self, packet: Packet[Any], pts: int, recent: RecentAudio) -> None:
        span = self.clip.span
        if not packet.is_keyframe or packet.is_discard or not span.start_pts <= pts < span.end_pts:
            return
        entry = entry_of(self._codec, self._extradata, bytes(packet))
        if entry is None:
            self.refused += 1
            return
        self.start_pts, self.open_entry, self.waiting = pts, entry == "open", [packet]
        try:
            known = self.place.existing(self.clip.clip_id, span.start_pts, span.end_pts)
            if known is None:
                self.file = ClipFile(self.place, self.clip.clip_id, (span.start_pts, span.end_pts))
                self.video = self.file.copied(self.stream)
                if self.sound is not None:
                    start_s = pts * Fraction(packet.time_base)
                    self.audio = ClipAudio(self.file, self.sound.added_to(self.file), start_s, recent)
        except CutError as error:
            self.error = self.place.located(error)

    def _leave_entry(self) -> None:
        """Gives up this key frame as the beginning: pictures that would be left out after it are references of others. Nothing has been
        written yet; the next key frame is tried.
        """
        self.refused += 1
        self.start_pts, self.waiting, self.left_at = None, [], None
        self.abandon()

    def abandon(self) -> None:
        """Removes what was written of the file."""
        if self.file is not None:
            self.file.drop()
        self.file = self.audio = None

    def _write(self, n: int) -> None:
        """Writes the first n waiting packets: it is certain that the clip keeps them."""
        ready, self.waiting = self.waiting[:n], self.waiting[n:]
        if not ready:
            return
        first = self.start_pts or 0
        times = [(_pts(packet) or 0) - first for packet in ready]
        if self.clock is None:
            self.clock = DecodeClock(times, bool(self.stream.codec_context.has_b_frames), ready[0].duration or 1)
        for packet, pts, dts in zip(ready, times, self.clock.push(times), strict=True):
            if shown(self._codec, bytes(packet)):
                self.kept.append(pts)
            if self.file is None:
                continue
            copy = copy_of(packet, self.video, first)
            copy.pts, copy.dts = pts, dts
            try:
                self.file.mux(copy)
            except CutError as error:
                self.error = self.place.located(error)
                return
        if self.audio is not None and self.waiting:
            self.audio.write_until(min(_pts(p) or 0 for p in self.waiting) * Fraction(ready[0].time_base))

    def _leave(self) -> None:
        """Finds the clip's end and writes the packets that wait up to it."""
        limit = len(self.waiting) if self.left_at is None else self.left_at
        n = _certain(self.waiting, limit)
        later = [pts for p in self.waiting[n:] if (pts := _pts(p)) is not None]
        if n:
            last = max(self.waiting[:n], key=lambda p: _pts(p) or 0)
            natural = (_pts(last) or 0) + (last.duration or 1)
        else:
            natural = (self.start_pts or 0) + (max(self.kept) + 1 if self.kept else 0)
        self._write(n)
        self.waiting = []
        self.end_pts = min(self.clip.span.end_pts, min(later) if later else natural)

    @property
    def _n_packets(self) -> int:
        return 0 if self.clock is None else len(self.clock.times)

    def ready(self, now_s: Fraction) -> bool:
        """Whether the clip can be finished: its last picture has come, and so has the sound up to its end. `now_s`: time of the present
        packet.
        """
        if self.error:
            return True
        if self.start_pts is None:
            return now_s >= (self.clip.span.end_pts * self._tick) + 1
        if self.end_pts is None:
            return False
        end_s = self.end_pts * self._tick
        return self.audio is None or self.audio.reached_s >= end_s or now_s > end_s + Fraction(INTERLEAVE_S)

    def finish(self) -> CutResult:
        """The clip's result. Its file is verified and has its final name, or there is none."""
        span, clip_id = self.clip.span, self.clip.clip_id
        if self.start_pts is not None and self.end_pts is None and not self.error:
            self._leave()
        if not self.error and not self.kept:
            why = f"; {self.refused} key frames cannot be entered without frames before them" if self.refused else ""
            self.error = self.place.located(CutError(f"no key frame inside the span from which a copy could start{why}"))
        try:
            if not self.error:
                return self._published()
        except CutError as error:
            self.error = self.place.located(error)
        finally:
            self.abandon()
        return CutResult(clip_id, None, span.start_pts, span.end_pts, 0, 0, error=self.error)

    def _published(self) -> CutResult:
        start, end = self.start_pts or 0, self.end_pts or 0
        base, clip_id, span = self._tick, self.clip.clip_id, self.clip.span
        if self.file is None:
            known = self.place.existing(clip_id, span.start_pts, span.end_pts)
            if known is None or known.n_packets != self._n_packets:
                held = known.n_packets if known else "no"
                what = f"the file of an earlier run holds {held} packets where {self._n_packets} were meant"
                raise CutError(what, mend=f"delete {public_uri(self.place.uri(clip_id))}, then run again with --retry-failed")
            return CutResult(
                clip_id, public_uri(self.place.uri(clip_id)), start, end, len(self.kept), known.bytes, *known.size, reused=True
            )
        if self.audio is not None:
            self.audio.write_until(end * base)
        made = self.file.close(sorted(self.kept), self._n_packets, base)
        return CutResult(clip_id, public_uri(self.place.uri(clip_id)), start, end, len(self.kept), made.bytes, *made.size)


class DecodeClock:
    """Decoding times of a clip's packets, made from its presentation times: increasing, and never after them.

    Those of the source are not used: Matroska stores none, and pictures left out at the start leave a gap. With a reorder depth R (the most
    packets that come before another one and are shown after it), packet i is decoded at the (i - R)-th presentation time.

    Args:
        times: presentation times of the first packets, in decoding order, ticks.
        reordered: whether the stream reorders at all; then R is at least USUAL_DEPTH, more where these packets show more.
        step: ticks between the times made up before the first one.
    """

    def __init__(self, times: Sequence[int], reordered: bool, step: int) -> None:
        seen = (sum(1 for earlier in times[max(0, i - LOOKAHEAD) : i] if earlier > t) for i, t in enumerate(times))
        self._depth = max(USUAL_DEPTH if reordered else 0, *seen, 0)
        self._step = step
        self.times: list[int] = []
        """All presentation times so far, increasing."""

    def push(self, times: Sequence[int]) -> list[int]:
        """Decoding times of the next packets; all of them are shown before any later one."""
        at = len(self.times)
        self.times.extend(sorted(times))
        before = (self.times[0] - (self._depth - i) * self._step for i in range(at, min(self._depth, at + len(times))))
        return [*before, *self.times[max(0, at - self._depth) : max(0, at + len(times) - self._depth)]]


def _pts(packet: Packet[Any]) -> int | None:
    """The packet's time; AVI and others store one number, which is both while no picture is reordered."""
    return packet.pts if packet.pts is not None else packet.dts


def _certain(packets: Sequence[Packet[Any]], limit: int) -> int:
    """The largest n <= limit such that the first n packets are all shown before every later one."""
    times = [_pts(packet) or 0 for packet in packets]
    latest = list(times)
    for k in range(1, len(times)):
        latest[k] = max(latest[k - 1], times[k])
    soonest: float = float("inf")
    best = 0
    for n in range(len(times), 0, -1):
        if n <= limit and latest[n - 1] < soonest:
            best = n
            break
        soonest = min(soonest, times[n - 1])
    return best


def _pass_on(packets: Sequence[Packet[Any]], recent: RecentAudio, active: Sequence[_Copy]) -> None:
    """Gives packets of sound to the clips being copied."""
    for packet in packets:
        recent.push(packet)
        for clip in active:
            if clip.audio is not None:
                clip.audio.push(packet)


def copy_clips(
    source: str | BinaryIO, facts: VideoFacts, clips: Sequence[ClipSpan], place: Place, pieces: Sequence[Piece]
) -> Iterator[CutResult]:
    """One pass over the packets of the source for all clips, which are in order of time. See `cut.cut_clips`."""
    import av

    with open_container(source, place.source_uri) as container:
        stream = container.streams[facts.stream_index]
        sound = track_of(container, place.sound)
        coming = [_Copy(clip, stream, sound, place) for clip in clips]  # type: ignore[arg-type]
        active: list[_Copy] = []
        recent = RecentAudio()
        streams = [stream] if sound is None else [stream, sound.stream]
        clocks = {s.index: FileClock(pieces, facts.time_base / Fraction(s.time_base or 1)) for s in streams}
        try:
            for packet in container.demux(streams):
                place.tick()
                if not packet.size:
                    continue
                clocks[packet.stream_index].place(packet)
                if sound is not None and packet.stream_index == sound.index:
                    _pass_on(sound.packets(packet), recent, active)
                    continue
                pts = _pts(packet)
                while coming and (pts is None or coming[0].clip.span.start_pts <= pts):
                    active.append(coming.pop(0))
                for clip in active:
                    clip.push(packet, recent)
                now_s = Fraction(0) if pts is None else pts * Fraction(packet.time_base)
                for clip in [c for c in active if c.ready(now_s)]:
                    active.remove(clip)
                    yield clip.finish()
                if not active and not coming:
                    return
            raise_read_failure(source)
            _pass_on(sound.rest() if sound is not None else (), recent, active)
            while active or coming:
                yield (active or coming).pop(0).finish()
        except av.error.FFmpegError as error:
            mend = "see whether the file is complete"
            raise CutError(f"reading broke off: {error.strerror}", uri=place.source_uri, step="clips", mend=mend) from error
        finally:
            for clip in active:
                clip.abandon()
