"""Edit lists: which pieces of its stream an mp4 shows, and in which order. A test writes the one it wants into a rendered file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path


def with_edits(path: Path, pieces: Sequence[tuple[int, int]], *, first_pts: int) -> Path:
    """Has the video track of an mp4 show pieces of its stream, (start, stop) in ticks of the track, one after the other.

    Args:
        path: a file with one track, whose `moov` is its last box, so that no offset in it changes. It is changed in place.
        pieces: half-open, counted from the first frame.
        first_pts: stamp of the first frame in the stream, ticks: B-frames put it after 0.
    """
    data = path.read_bytes()
    at, size = _box(data, b"moov", 0, len(data))
    assert at + size == len(data), "moov is not the last box"
    movie, track = _scale(data, at + 8, b"mvhd"), _box(data, b"trak", at + 8, len(data))
    media = _box(data, b"mdia", track[0] + 8, track[0] + track[1])
    ticks = _scale(data, media[0] + 8, b"mdhd")
    entries = b"".join(struct.pack(">QqI", round((b - a) * movie / ticks), first_pts + a, 1 << 16) for a, b in pieces)
    elst = _made(b"elst", struct.pack(">BxxxI", 1, len(pieces)) + entries)
    inside = data[track[0] + 8 : track[0] + track[1]]
    old = _box(inside, b"edts", 0, len(inside))
    rest = inside if old is None else inside[: old[0]] + inside[old[0] + old[1] :]
    head = _box(rest, b"tkhd", 0, len(rest))
    cut = head[0] + head[1]
    trak = _made(b"trak", rest[:cut] + _made(b"edts", elst) + rest[cut:])
    moov = _made(b"moov", data[at + 8 : track[0]] + trak + data[track[0] + track[1] :])
    path.write_bytes(data[:at] + moov)
    return path


def _made(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + name + content


def _box(data: bytes, name: bytes, start: int, stop: int) -> tuple[int, int] | None:
    while start + 8 <= stop:
        (size,) = struct.unpack_from(">I", data, start)
        if data[start + 4 : start + 8] == name:
            return start, size
        start += size or stop
    return None


def _scale(data: bytes, start: int, name: bytes) -> int:
    """The time scale in an mvhd or mdhd box."""
    at, _ = _box(data, name, start, len(data))  # type: ignore[misc]
    return int(struct.unpack_from(">I", data, at + (28 if data[at + 8] == 1 else 20))[0])
