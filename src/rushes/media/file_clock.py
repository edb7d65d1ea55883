"""Between a video's time line and the stamps in its file: for those who read the file themselves, and for packets that are copied."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rushes.media.time_line import Piece

if TYPE_CHECKING:
    from av import Packet

NEAR_PIECES = 8
"""Pieces looked at before and after the present one. Packets come in decoding order, at most 16 pictures away from that of presentation."""


@dataclass(frozen=True, slots=True)
class FileSpan:
    """Part of a span in stamps of the file: [start_pts, end_pts), and `piece`, the index of the piece of the time line that it lies in.

    Of two parts with the same stamps, as after a clock that began anew, the one with the lower `piece` comes first in the file.
    """

    piece: int
    start_pts: int
    end_pts: int


def file_spans(start_pts: int, end_pts: int, pieces: str | None) -> list[FileSpan]:
    """A span of a video in the stamps that its file has, for those who read the file themselves: one part for each piece of the time line.

    Args:
        start_pts: start of the span, as tables have it, ticks.
        end_pts: its end, exclusive.
        pieces: the column `time_pieces` of the table `videos`; null where all stamps are pts: then the span itself is given.
    """
    line = pieces_of(pieces) or [Piece(start_pts, 0)]
    found = []
    for k, piece in enumerate(line):
        stop = line[k + 1].start_pts if k + 1 < len(line) else end_pts
        first, last = start_pts if k == 0 else max(start_pts, piece.start_pts), min(end_pts, stop)
        if first < last:
            found.append(FileSpan(k, first - piece.offset, last - piece.offset))
    return found


def pieces_text(pieces: Sequence[Piece]) -> str | None:
    """Pieces as the text of a column: a JSON list of [pts, stamp in the file]; None where all stamps are pts."""
    if not any(piece.offset for piece in pieces):
        return None
    return json.dumps([[piece.start_pts, piece.start_pts - piece.offset] for piece in pieces], separators=(",", ":"))


def pieces_of(text: str | None) -> list[Piece]:
    """The pieces in the text of a column; none where it is null."""
    return [Piece(pts, pts - stamp) for pts, stamp in json.loads(text or "[]")]


class FileClock:
    """Puts the packets of a stream on the time line, in the order of the file: of the pieces that a stamp may lie in, it takes the one that
    puts the packet nearest to the packet before.

    Args:
        pieces: of the video; none: every stamp is a pts.
        scale: ticks of the stream in one tick of the video; 1 for the video's own packets.
    """

    def __init__(self, pieces: Sequence[Piece], scale: Fraction = Fraction(1)) -> None:
        self._starts = [piece.start_pts * scale for piece in pieces]
        self._offsets = [round(piece.offset * scale) for piece in pieces]
        self._here = 0
        self._at: Fraction = self._starts[0] if pieces else Fraction(0)

    def pts(self, stamp: int) -> int:
        """The pts of the next packet, from its stamp in the file."""
        if not self._offsets:
            return stamp
        near = range(max(0, self._here - NEAR_PIECES), min(len(self._offsets), self._here + NEAR_PIECES + 1))
        _, self._here, pts = min((self._far(k, stamp + self._offsets[k]), k, stamp + self._offsets[k]) for k in near)
        self._at = Fraction(pts)
        return pts

    def place(self, packet: Packet[Any]) -> None:
        """Moves the stamps of the next packet to its pts."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None or not self._offsets:
            return
        moved = self.pts(stamp) - stamp
        packet.pts = None if packet.pts is None else packet.pts + moved
        packet.dts = None if packet.dts is None else packet.dts + moved

    def _far(self, k: int, pts: int) -> Fraction:
        """How ill a pts fits the piece k, and the packet before: ticks outside the one plus ticks from the other."""
        before = self._starts[k] - pts if k else Fraction(0)
        after = pts - self._starts[k + 1] if k + 1 < len(self._starts) else Fraction(0)
        return max(Fraction(0), before, after) + abs(pts - self._at)
