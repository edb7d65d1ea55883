"""Files whose time stamps are wrong on purpose: the frames of a rendered film, stored with the stamps that a test asks for."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from footage import render
from pictures import Edit

FPS = 25
STEP = Fraction(1, FPS)
DELAY = 2
"""Frames by which decoding runs ahead where the film has B-frames: x264 makes pyramids of two levels."""


def stamped(
    path: Path, film: Edit, times: Sequence[Fraction], wrong: dict[int, Fraction] | None = None, *, audio: bool = False, **how: object
) -> Path:
    """A film whose frame i is at `times[i]` seconds, increasing; frames in `wrong` carry that stamp instead, and nothing else changes.

    The container is that of the suffix: .ts, .mkv, .mp4 or .avi. Sound, if wanted, runs along.
    """
    wrong = wrong or {}
    first = path.with_name(f"source of {path.stem}.mp4")
    render(first, film, fps=Fraction(FPS), audio=audio, **how)  # type: ignore[arg-type]
    with av.open(str(first)) as source:
        video = source.streams.video[0]
        packets = [p for p in source.demux() if p.size]
        order = {pts: i for i, pts in enumerate(sorted(p.pts for p in packets if p.stream is video and p.pts is not None))}
        options = {"cluster_time_limit": "1000", "write_crc32": "0"} if path.suffix == ".mkv" else {}
        with av.open(str(path), "w", options=options) as out:
            streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
            decoded = 0
            for packet in packets:
                if packet.stream is video:
                    assert packet.pts is not None
                    i = order[packet.pts]
                    back = decoded - DELAY * int(how.get("bframes", 2) != 0)  # type: ignore[call-overload]
                    dts = times[back] if back >= 0 else times[0] + back * STEP
                    packet.time_base = Fraction(1, 90_000)
                    packet.pts, packet.dts = (round((t + (path.suffix != ".avi")) * 90_000) for t in (wrong.get(i, times[i]), dts))
                    if not decoded:
                        packet.dts = min(packet.dts, packet.pts)
                    packet.duration = 3600
                    decoded += 1
                elif packet.pts is not None:
                    packet.pts = packet.dts = packet.pts + int(1 / packet.time_base)
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    first.unlink()
    return path


def joined(path: Path, parts: Sequence[Path]) -> Path:
    """Transport streams end to end, as recorders and downloaders join them."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def regular(n: int) -> list[Fraction]:
    """Times of n frames, 25 a second, from 0 on."""
    return [i * STEP for i in range(n)]


def set_back(path: Path, from_ms: int, by_ms: int) -> Path:
    """A Matroska file in which the clusters from a time on are stamped earlier, as those of a clock that began anew."""
    data = bytearray(path.read_bytes())
    at, n = data.find(b"\x1f\x43\xb6\x75"), 0
    while at >= 0:
        size = at + 4
        size += 8 - (data[size].bit_length() - 1)  # the length of the cluster, a number of variable size
        assert data[size] == 0xE7, "a cluster begins with its time"
        width = data[size + 1] & 0x7F
        value = int.from_bytes(data[size + 2 : size + 2 + width], "big")
        if value >= from_ms:
            data[size + 2 : size + 2 + width] = (value - by_ms).to_bytes(width, "big")
            n += 1
        at = data.find(b"\x1f\x43\xb6\x75", size)
    assert n, "no cluster was changed"
    path.write_bytes(data)
    return path
