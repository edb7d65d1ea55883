"""Where a long video may be cut into segments: at key frames such that no frame after one refers to a frame before it.

The cuts come from the container's index and from one packet at each cut. Nothing is decoded, and a few MiB are read, whatever the file's
size.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rushes.media.disposable import has_disposable
from rushes.media.probe import facts_of
from rushes.media.random_access import stands_alone
from rushes.media.streams import open_film
from rushes.records import Mode, VideoFacts

if TYPE_CHECKING:
    from av import Packet, VideoStream
    from av.container import InputContainer

TRUSTED = {"mov": "mp4", "matroska": "Matroska"}
"""Containers whose index says where key frames are: mp4, mov and their kin by their sample tables, Matroska and webm by their cues."""
CODECS = {"h264", "hevc", "vp8", "vp9"}
PEEK_PACKETS = 64
"""Packets looked at for the first pts and for non-reference frames; as many as the decoder looks at (`media/decode.py`)."""
MIN_SEGMENTS = 2
"""A video is cut when it is longer than this many segments. Each segment costs as much as two more seconds of scan at 360p, which cutting a
shorter video would not save."""
MAX_SEGMENTS = 64
"""Most segments of a video: each one opens the file again and reads its index, which has 16 bytes a frame or more."""
TRIES = 8
"""Key frames tried for one cut. Where eight in a row begin open groups of pictures, an encoder made all of them so, and the search ends."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a video between two key frames: the packets from its first key frame up to that of the next segment, in decoding order.

    Attributes:
        index: 0, 1, ... in order.
        first_pts: pts of the whole video's first frame, from which seconds are counted.
        start_pts: pts of its first packet, a key frame; None: from the beginning of the file.
        end_pts: pts of the key frame that begins the next segment; None: to the end of the file.
        seek: the timestamp by which the container is sought to reach the first packet; None in the first segment. It need not be a pts: the
            index of an mp4 counts dts, that of Matroska pts.
    """

    index: int
    first_pts: int
    start_pts: int | None
    end_pts: int | None
    seek: int | None


@dataclass(frozen=True, slots=True)
class Cuts:
    """How a video is cut: its segments, at least two, and the mode in force in all of them."""

    segments: tuple[Segment, ...]
    mode: Mode


@dataclass(frozen=True, slots=True)
class Uncut:
    """A video is scanned whole: `note` says why, in words for people; None where the video is too short to be cut."""

    note: str | None


def where_to_cut(source: str | Any, *, uri: str, size_bytes: int, segment_s: float, mode: Mode, stream: int | None = None) -> Cuts | Uncut:
    """Cuts a video into segments of about the same length, near `segment_s`, at most `MAX_SEGMENTS`.

    Args:
        source: a path, or a seekable file object.
        uri: the name to use in errors.
        size_bytes: size of the file, for the facts.
        segment_s: wanted length of a segment, seconds; a video no longer than `MIN_SEGMENTS` times this is not cut. 0: no video is cut.
        mode: the mode asked for.
        stream: index of the stream in the file; None: the film.

    Raises:
        ProbeError: the container or its streams cannot be read.
    """
    if segment_s <= 0:
        return Uncut(None)
    film = open_film(source, uri, stream)
    with film.container as container:
        facts = facts_of(container, film.stream, size_bytes)
        if facts.duration_s is not None and facts.duration_s <= MIN_SEGMENTS * segment_s:
            return Uncut(None)
        if note := unfit(facts):
            return Uncut(note)
        if facts.duration_s is None:
            return Uncut("the container does not say how long the video is")
        return _Cutter(container, film.stream, facts, mode).cuts(segment_s)


def unfit(facts: VideoFacts) -> str | None:
    """Why the decoding of a video can begin nowhere but at its start, in words for people; None where it may begin at some key frames."""
    if facts.container not in TRUSTED:
        return f"{facts.container} has no index that can be trusted"
    if facts.codec not in CODECS:
        return f"where {facts.codec} may be cut is not known"
    return None


class _Cutter:
    """Looks for cuts in one open video."""

    def __init__(self, container: InputContainer, stream: VideoStream, facts: VideoFacts, mode: Mode) -> None:
        self.container, self.stream, self.facts = container, stream, facts
        self.extradata = stream.codec_context.extradata
        head = [p for p in itertools.islice(container.demux(stream), PEEK_PACKETS) if p.size]
        if mode == "fast" and not has_disposable(stream.codec_context, head):
            mode = "exact"
        self.mode: Mode = mode
        self.first_pts = self._first_pts(head)
        self.delays = {0, *((p.pts - p.dts) for p in head[:1] if p.pts is not None and p.dts is not None)}
        self.n_open = 0

    def _first_pts(self, head: Sequence[Packet[VideoStream]]) -> int | None:
        """The pts of the first frame that the decoder will give; None where the stream does not begin with a
        closed key frame.
        """
        if not head or not head[0].is_keyframe or not self._closed(head[0]):
            return None
        shown = [p for p in head if not p.is_discard and not (self.mode == "fast" and self._disposable(p))]
        pts = [p.pts for p in shown if p.pts is not None]
        return min(pts) if pts and len(pts) == len(shown) else None

    def _disposable(self, packet: Packet[VideoStream]) -> bool:
        return has_disposable(self.stream.codec_context, [packet])

    def _closed(self, packet: Packet[VideoStream]) -> bool:
        return stands_alone(self.facts.codec, self.extradata, bytes(packet))

    def cuts(self, segment_s: float) -> Cuts | Uncut:
        assert self.facts.duration_s is not None
        if self.first_pts is None:
            return Uncut("the stream does not begin with a key frame that stands alone")
        count = min(MAX_SEGMENTS, round(self.facts.duration_s / segment_s))
        length = self.facts.duration_s / count / self.facts.time_base
        self._load_index(self.first_pts + int(length))
        if not len(self.stream.index_entries):
            return Uncut("the container has no index")
        starts: list[tuple[int, int]] = []
        for k in range(1, count):
            wanted = self.first_pts + int(k * length)
            found = self._key_frame(max(wanted, starts[-1][0] + 1) if starts else wanted)
            if found is None:
                break
            starts.append(found)
        if not starts:
            open_groups = f"its key frames do not stand alone (open groups of pictures; {self.n_open} were looked at)"
            return Uncut(open_groups if self.n_open else "it has no key frame where it could be cut")
        pts = [None, *(p for p, _ in starts), None]
        seeks = [None, *(s for _, s in starts)]
        segments = (Segment(i, self.first_pts, pts[i], pts[i + 1], seeks[i]) for i in range(len(seeks)))
        return Cuts(tuple(segments), self.mode)

    def _load_index(self, timestamp: int) -> None:
        """Matroska reads its cues at the first seek."""
        self.container.seek(timestamp, stream=self.stream)

    def _key_frame(self, wanted: int) -> tuple[int, int] | None:
        """(pts, timestamp to seek) of the first key frame from `wanted` on at which the stream may be cut."""
        entries = self.stream.index_entries
        for _ in range(TRIES):
            at = entries.search_timestamp(wanted, backward=False)
            if at < 0:
                return None
            stamp = entries[at].timestamp
            found = self._sought(stamp)
            if found is not None and found[0].pts is not None and found[0].pts >= wanted:
                if self._closed(found[0]):
                    return found[0].pts, found[1]
                self.n_open += 1
            wanted = max(wanted, stamp) + 1
        return None

    def _sought(self, stamp: int) -> tuple[Packet[VideoStream], int] | None:
        """The key packet that the index has at `stamp`, and the timestamp that leads to it.

        mp4's index counts dts but is sought by pts, so the usual distance between the two is tried too.
        """
        for delay in sorted(self.delays):
            self.container.seek(stamp + delay, stream=self.stream)
            packet = next((p for p in self.container.demux(self.stream) if p.is_keyframe or not p.size), None)
            if packet is not None and packet.size and not packet.is_discard and stamp in (packet.dts, packet.pts):
                return packet, stamp + delay
        return None
