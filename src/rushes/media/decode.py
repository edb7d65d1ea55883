"""The one decoder: packets to frames with exact, strictly increasing integer pts; modes `exact` and `fast`.

`exact` decodes every frame; non-reference frames are not deblocked (`skip_loop_filter=noref`: nothing else depends on them, so there
is no drift), which saves 8 to 14 % of H.264's cost. `fast` does not decode non-reference frames at all where the codec has them, and
deblocks none: on ordinary footage its frames stay within 42 dB of deblocked ones (docs/decisions/0003-what-the-decoder-skips.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rushes.errors import DecodeError
from rushes.media.disposable import has_disposable
from rushes.media.frame_tags import full_range
from rushes.media.probe import facts_of, upright
from rushes.media.remote import raise_read_failure, tell_while_waiting
from rushes.media.segments import PEEK_PACKETS, Segment
from rushes.media.streams import open_film, stated_step
from rushes.media.time_line import WRAP_33_BITS, TimeLine
from rushes.records import Mode, VideoFacts

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream

NO_PTS_CONTAINERS = {"avi"}
"""Containers that store no pts. libav guesses them there, wrongly with B-frames; the dts that it gives each decoded frame are right."""
WRAPS = {"mpegts": WRAP_33_BITS, "mpeg": WRAP_33_BITS}
"""Containers whose stamps wrap. libav undoes a wrap by the first stamp of a file, and takes a clock that begins anew below that for one."""
NO_DURATIONS = frozenset(WRAPS)
"""Containers that store no durations of packets."""
MAX_CORRUPT_RUN = 512
"""After so many packets in a row that fail to decode, the rest of the stream is not read: a broken tail of hours must not cost hours."""


@dataclass(slots=True)
class Seams:
    """What the decoder saw of a segment that decides whether it can be joined to its neighbours. Ordinals count packets read.

    Attributes:
        started, ended: whether the segment's first packet was found, and the first one of the next segment.
        reordering: `Decoder.reordering` when the first frame came.
        last_key: ordinal of the segment's last key packet.
        last_damage: ordinal at which the last damage was seen; None: there was none.
        gave_up: `MAX_CORRUPT_RUN` packets in a row failed, and the rest was not read.
    """

    started: bool = True
    ended: bool = True
    reordering: int = 0
    last_key: int = 0
    last_damage: int | None = None
    gave_up: bool = False


class Decoder:
    """Frames of one video stream of a file, one decoding thread. Iterate once; use as a context manager.

    Args:
        source: a path, or a seekable file object.
        uri: the name to use in errors.
        size_bytes: size of the file, for the facts.
        mode: the mode asked for; `mode` of the instance is the one in force (`fast` needs non-reference frames, and stored pts).
        progress: called after each packet with the seconds decoded so far, and about once a second while the network is waited for.
        segment: decode this segment's packets only; `mode` is then the mode in force in the whole video.
        stream: index of the stream in the file; None: the film (`media/streams.py`).

    Attributes:
        facts: container facts; complete after the first frame.
        n_packets, n_frames, n_corrupt: counts so far (packets read, frames decoded, corrupt packets or frames).
        line: the time line, which gives frames their pts: what it mended is known after the last frame.
        seams: what joining a segment to its neighbours depends on.

    Raises:
        ProbeError: on entering, when the container or its streams cannot be read.
        DecodeError: while iterating, when no frame at all can be decoded, or at the first damage in a segment that is not the first.
        VideoError: while iterating, when a remote file cannot be read to its end.
    """

    def __init__(
        self,
        source: str | Any,
        *,
        uri: str,
        size_bytes: int,
        mode: Mode,
        progress: Callable[[float], None] | None = None,
        segment: Segment | None = None,
        stream: int | None = None,
    ) -> None:
        self.uri = uri
        self._source = source
        self._progress = progress or (lambda _s: None)
        film = open_film(source, uri, stream)
        self.container, self.stream = film.container, film.stream
        self.facts: VideoFacts = facts_of(self.container, self.stream, size_bytes, film.named_others)
        self.time_base: Fraction = self.facts.time_base
        self._by_dts = self.facts.container in NO_PTS_CONTAINERS
        begins, ends = segment is None or segment.start_pts is None, segment is None or segment.end_pts is None
        self.line: TimeLine[tuple[VideoFrame, int]] = TimeLine(
            self.time_base, stated_step(self.stream, self.time_base), wrap=WRAPS.get(self.facts.container, 0), begins=begins, ends=ends
        )
        self.n_packets = self.n_frames = self.n_corrupt = 0
        self.full_range = False
        self._first_pts: int | None = None
        self._last_pts: int | None = None
        self._durations: dict[int, int] = {}
        self._last_duration = 0
        tell_while_waiting(source, lambda: self._progress(self.decoded_s))
        self.seams = Seams()
        self._alone = segment is not None and segment.start_pts is not None
        self._demuxed: Iterable[Packet[VideoStream]] = self._demux() if segment is None else self._demux_segment(segment)
        self.mode: Mode = self._configure(mode, known=segment is not None)

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def _configure(self, mode: Mode, *, known: bool) -> Mode:
        context = self.stream.codec_context
        context.thread_count = 1
        context.thread_type = "NONE"
        loop_filter = "noref"
        if mode == "fast":
            peeked = list(itertools.islice(self._demuxed, PEEK_PACKETS))
            self._demuxed = itertools.chain(peeked, self._demuxed)
            if known or (not self._by_dts and has_disposable(context, peeked)):
                context.skip_frame = "NONREF"
                loop_filter = "all"
            else:
                mode = "exact"
        context.options = {"skip_loop_filter": loop_filter}
        return mode

    def _demux(self) -> Iterator[Packet[VideoStream]]:
        import av

        failures = 0
        while failures < MAX_CORRUPT_RUN:
            try:
                for packet in self.container.demux(self.stream):
                    failures = 0
                    yield packet
                return
            except av.error.FFmpegError:  # the generator has ended, the container has not: a new generator reads on after the damage
                failures += 1
                self._note_damage()
        self.seams.gave_up = True

    def _demux_segment(self, segment: Segment) -> Iterator[Packet[VideoStream]]:
        """The packets from the segment's first key frame up to that of the next segment."""
        if segment.seek is not None:
            self.container.seek(segment.seek, stream=self.stream)
        self.seams.started, self.seams.ended = segment.start_pts is None, segment.end_pts is None
        for packet in self._demux():
            key = packet.pts if packet.is_keyframe and not packet.is_discard else None  # packets that an edit list leaves out have pts too
            if not self.seams.started:
                if key is None or key != segment.start_pts:
                    continue
                self.seams.started = True
            elif key is not None and key == segment.end_pts:
                self.seams.ended = True
                return
            if key is not None:
                self.seams.last_key = self.n_packets
            yield packet

    def _note_damage(self) -> None:
        self.n_corrupt += 1
        self.seams.last_damage = self.n_packets
        if self._alone:
            what = "a segment is damaged, and a decoder fills the gap from frames that may lie before the segment"
            raise DecodeError(what, uri=self.uri, step="scan", mend="scan the video whole")

    def __iter__(self) -> Iterator[tuple[VideoFrame, int]]:
        """Yields (frame, pts): pts strictly increasing, in ticks of `time_base`."""
        import av

        run = 0
        flushed = False
        for packet in self._demuxed:
            self.n_packets += packet.size > 0
            if packet.is_corrupt:
                self._note_damage()
            flushed = packet.size == 0
            if packet.pts is not None:
                self.line.saw(packet.pts)
                if packet.duration:
                    self._durations[packet.pts] = packet.duration
            try:
                frames = self.stream.codec_context.decode(packet)
                run = 0
            except av.error.FFmpegError as error:
                if isinstance(error, av.error.EOFError):
                    break
                self._note_damage()
                run += 1
                if run >= MAX_CORRUPT_RUN:
                    self.seams.gave_up = True
                    break
                continue
            for frame in frames:
                yield from self._placed(frame)
            self._progress(self.decoded_s)
        raise_read_failure(self._source)
        if not flushed:
            yield from self._flush()
        for item, pts in self.line.flush():
            yield self._given(item, pts)
        if self.n_frames == 0:
            raise DecodeError(
                f"no frame could be decoded from {self.n_packets} packets of {self.facts.codec} ({self.n_corrupt} corrupt)",
                uri=self.uri,
                step="scan",
                mend="check that the file is complete and not encrypted",
            )

    def _flush(self) -> Iterator[tuple[VideoFrame, int]]:
        import av

        try:
            frames = self.stream.codec_context.decode(None)
        except av.error.FFmpegError:
            self._note_damage()
            return
        for frame in frames:
            yield from self._placed(frame)

    def _placed(self, frame: VideoFrame) -> Iterator[tuple[VideoFrame, int]]:
        """Puts a frame on the time line, and gives the frames whose pts is known by that."""
        stamp = frame.dts if self._by_dts or frame.pts is None else frame.pts
        if self.n_frames == 0:
            self.facts = upright(self.facts, frame)
            self.full_range = full_range(frame, self.facts.codec)
            self.seams.reordering = self.reordering
        duration = (0 if stamp is None else self._durations.pop(stamp, 0)) or frame.duration or 0
        while len(self._durations) > 256:  # entries of packets that gave no frame, oldest first
            del self._durations[next(iter(self._durations))]
        self.n_frames += 1
        if frame.is_corrupt:
            self._note_damage()
        for item, pts in self.line.push((frame, duration), stamp):
            yield self._given(item, pts)

    def _given(self, item: tuple[VideoFrame, int], pts: int) -> tuple[VideoFrame, int]:
        frame, duration = item
        if self._first_pts is None:
            self._first_pts = pts
        self._last_pts, self._last_duration = pts, duration
        return frame, pts

    @property
    def reordering(self) -> int:
        """How many frames the decoder holds back to output them in order. libav raises it when it sees that it held too few."""
        return self.stream.codec_context.reorder_depth

    @property
    def decoded_s(self) -> float:
        """Seconds from the first pts to the last one given."""
        if self._first_pts is None or self._last_pts is None:
            return 0.0
        return (self._last_pts - self._first_pts) * self.time_base.numerator / self.time_base.denominator  # a Fraction is much slower

    @property
    def last_duration(self) -> int:
        """Duration of the last frame given, in ticks; 0 where nothing says it. Of containers that store no durations libav gives that of
        the stream's mean rate; then it is the usual step instead.
        """
        return self.line.usual if self.facts.container in NO_DURATIONS else self._last_duration
