"""Builders of footage whose facts are known by construction: pts, frame numbers, cuts, rotation and so on.

    clip = render(folder / "a.mp4", film(320, 180, [40, 30]), codec="hevc", fps=Fraction(30000, 1001), rotation=90)
    clip.pts, clip.cut_pts, clip.numbers

Every frame carries its number (`pictures.read_frame_number`), so a test sees which frame it was handed, whatever its pts says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from pictures import Edit, Picture, Transition, draw_frame_number, texture
from rushes.media.encoding import Encoding
from rushes.media.usual_scheduling import usual_scheduling

QUIET = {
    "libx264": {"preset": "superfast", "crf": "20", "sc_threshold": "0"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1:scenecut=0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1:scd=0"},
    "mpeg4": {"qscale": "3"},
    "mpeg1video": {"qscale": "3"},
    "mpeg2video": {"qscale": "3"},
    "mjpeg": {"qscale": "3"},
}
ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
IN_FRAMES = ("mpeg4", "mpeg1video", "mpeg2video")
"""Encoders that count time in frames."""
REORDERING = ("libx264", "libx265", *IN_FRAMES)
TRANSFERS = {"pq": 16, "hlg": 18}
"""ITU-T H.273: 16 is SMPTE ST 2084, 18 is ARIB STD-B67; 9 below is BT.2020."""
NO_PTS = (".avi", ".h264", ".hevc")
TS_START_S = 1
"""The transport stream muxer shifts a stream that starts at 0 by its reordering delay; from 1 s on it leaves pts alone."""


def encoding(mode: str, **how: Any) -> Encoding | None:
    """How clips are encoded in a mode: with the settings `how`, or not at all where their streams are copied."""
    return Encoding(**how) if mode == "encode" else None


@dataclass(frozen=True, slots=True)
class Clip:
    """A rendered file and its truth. Frames are those a player shows, in order of presentation.

    Attributes:
        pts: in ticks of `time_base`, as the container stores them; None where it stores none (avi, raw streams).
        times: seconds since the first shown frame.
        numbers: the number drawn into each shown frame.
        cuts: index of the first frame of each new shot after a hard cut.
        gradual: transitions, in frame indices.
        width, height: as coded, before rotation.
        rotation: degrees clockwise to turn the decoded picture upright.
    """

    path: Path
    pts: tuple[int, ...] | None
    time_base: Fraction
    times: tuple[Fraction, ...]
    numbers: tuple[int, ...]
    cuts: tuple[int, ...]
    gradual: tuple[Transition, ...]
    width: int
    height: int
    fps: Fraction
    rotation: int = 0

    @property
    def n_frames(self) -> int:
        """Frames shown."""
        return len(self.times)

    @property
    def cut_pts(self) -> tuple[int, ...]:
        """pts of the first frame after each hard cut."""
        assert self.pts is not None, f"{self.path} stores no pts"
        return tuple(self.pts[i] for i in self.cuts)


def ticks_of(fps: Fraction) -> Fraction:
    """A time base in which a frame of `fps` is a whole number of ticks, at least 10,000 ticks a second (FFmpeg's mov muxer's rule)."""
    scale = fps.numerator
    while scale < 10_000:
        scale *= 2
    return Fraction(1, scale)


def jittered(n: int, fps: Fraction, time_base: Fraction, seed: int = 0) -> tuple[int, ...]:
    """pts of a variable frame rate: steps between half and twice the frame's, and one pause of 10 frames in the middle."""
    steps = np.random.default_rng(seed).uniform(0.5, 2.0, n) / float(fps * time_base)
    steps[n // 2] = 10 / float(fps * time_base)
    return tuple(int(v) for v in np.concatenate(([0], np.cumsum(steps.astype(int))[:-1])))


def render(
    path: Path,
    film: Edit | tuple[Picture, int],
    *,
    codec: str = "h264",
    fps: Fraction | int = 25,
    gop: int = 25,
    bframes: int = 2,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    start: int | None = None,
    rotation: int = 0,
    pix_fmt: str | None = None,
    interlaced: bool = False,
    full_range: bool = False,
    transfer: str | None = None,
    audio: bool = False,
    second_video: bool = False,
    cover: bool = False,
    numbered: bool = True,
    first_number: int = 0,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Clip:
    """Encode a film to `path`; the suffix chooses the container (mp4 mov mkv webm ts avi h264).

    Args:
        codec: h264, hevc, vp9, av1, mpeg4, mpeg1video, mpeg2video, mjpeg, or any encoder of libav.
        pts: ticks of `time_base` for each frame (variable frame rate); default: constant `fps`.
        start: added to every pts. Above 0: a delayed start. Below 0, in mp4 and mov: an edit list that hides the frames before 0.
        rotation: degrees clockwise that a player must turn the picture (a display matrix): 0, 90, 180, 270.
        interlaced: weave pictures 2i (top field) and 2i+1 into frame i; the film must have even lengths.
        transfer: "pq" or "hlg", 10 bits; a tag only, pixels are as drawn.
        options, container: of libav's encoder, and of its container.
        second_video: another, smaller video stream after the first. cover: a cover picture, which containers put after the real streams.
    """
    film = film if isinstance(film, Edit) else Edit(*film)
    fps = Fraction(fps)
    encoder = ENCODERS.get(codec, codec)
    if encoder in IN_FRAMES and (pts is not None or time_base is not None):
        raise ValueError(f"{codec} counts time in frames: pts and time_base cannot be chosen")
    clock = time_base or (1 / fps if encoder in IN_FRAMES else ticks_of(fps))
    picture, n_frames = (_woven(film.picture), film.n_frames // 2) if interlaced else (film.picture, film.n_frames)
    start = (int(TS_START_S / clock) if path.suffix == ".ts" else 0) if start is None else start
    ticks = [start + (int(i / fps / clock) if pts is None else pts[i]) for i in range(n_frames)]
    height, width = picture(0).shape[:2]

    def images() -> Iterator[npt.NDArray[np.uint8]]:
        for i in range(n_frames):
            yield draw_frame_number(picture(i), first_number + i) if numbered else picture(i)

    settings = dict(QUIET.get(encoder, {})) | (options or {})
    if interlaced:
        settings["x264-params"] = "tff=1"
    with usual_scheduling(), av.open(str(path), "w", options=_container_options(path, clock) | (container or {})) as out:
        stream: Any = out.add_stream(encoder, rate=fps, options=settings)
        stream.width, stream.height = width, height
        stream.pix_fmt = pix_fmt or ("yuvj420p" if encoder == "mjpeg" or full_range else "yuv420p10le" if transfer else "yuv420p")
        context = stream.codec_context
        context.time_base, context.thread_count = clock, 1
        if encoder != "mjpeg":
            context.gop_size = gop
        if encoder in REORDERING:
            context.max_b_frames = bframes
        if transfer:
            context.color_trc, context.color_primaries, context.colorspace = TRANSFERS[transfer], 9, 9
        if rotation:
            stream.set_display_rotation(rotation if rotation == 180 else -rotation)
        jacket = _add_cover(out) if cover else None
        extra = _add_second(out, fps, width, height) if second_video else None
        sound = _add_sound(out, path) if audio else None
        if jacket:
            _encode(out, jacket, [(texture(96, 96, 12), 0)], Fraction(1, 25))
        _encode(out, stream, zip(images(), ticks, strict=True), clock)
        if extra:
            blank = texture(extra.width, extra.height, 999)
            _encode(out, extra, ((blank, i) for i in range(n_frames)), 1 / fps)
        if sound:
            _encode_sound(out, sound, float((ticks[-1] - ticks[0]) * clock))
    clip = _facts(path, film, ticks, clock, fps, (width, height), first_number, interlaced)
    return replace(clip, rotation=rotation % 360)


def resized(path: Path, first: Edit, second: Edit, **how: Any) -> Clip:
    """A transport stream whose picture size changes in the middle: two streams of one clock, end to end."""
    fps = Fraction(how.get("fps", 25))
    parts = [path.with_suffix(f".{k}.ts") for k in (1, 2)]
    a = render(parts[0], first, **how)
    assert a.pts is not None
    step = int(1 / fps / ticks_of(fps))
    begin = int(TS_START_S / ticks_of(fps)) + first.n_frames * step
    b = render(parts[1], second, start=begin, first_number=first.n_frames, **how)
    assert b.pts is not None
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    pts = (*a.pts, *b.pts)
    cuts = (*a.cuts, a.n_frames, *(a.n_frames + c for c in b.cuts))
    times = tuple((p - pts[0]) * a.time_base for p in pts)
    return replace(a, path=path, pts=pts, times=times, numbers=(*a.numbers, *b.numbers), cuts=cuts)


def truncated(source: Path, path: Path, share: float) -> Path:
    """The first `share` of a file's bytes."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def damaged(source: Path, path: Path, seed: int = 0, spots: int = 8) -> Path:
    """The file with runs of 200 random bytes written over the middle 60 % of it."""
    data = bytearray(source.read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(len(data) // 5, len(data) * 4 // 5, spots):
        data[at : at + 200] = rng.bytes(len(data[at : at + 200]))
    path.write_bytes(data)
    return path


def _woven(picture: Picture) -> Picture:
    def frame(i: int) -> npt.NDArray[np.uint8]:
        top, bottom = picture(2 * i).copy(), picture(2 * i + 1)
        top[1::2] = bottom[1::2]
        return top

    return frame


def _container_options(path: Path, clock: Fraction) -> dict[str, str]:
    """Options of the container. Matroska gets none of its identifiers, which are drawn by chance: a film is the same file each time."""
    if path.suffix in (".mkv", ".webm"):
        return {"fflags": "+bitexact"}
    return {"video_track_timescale": str(clock.denominator)} if path.suffix in (".mp4", ".mov") else {}


def _encode(out: Any, stream: Any, frames: Any, clock: Fraction) -> None:
    for image, tick in frames:
        kind = "gray" if image.ndim == 2 else "bgr24"
        wide = {"dst_color_range": "JPEG"} if stream.pix_fmt.startswith("yuvj") else {}
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), kind).reformat(format=stream.pix_fmt, **wide)
        frame.pts, frame.time_base = tick, clock
        out.mux(stream.encode(frame))
    out.mux(stream.encode())


def _add_cover(out: Any) -> Any:
    cover = out.add_stream("mjpeg", rate=25)
    cover.width, cover.height, cover.pix_fmt = 96, 96, "yuvj420p"
    cover.disposition = Disposition.attached_pic
    return cover


def _add_second(out: Any, fps: Fraction, width: int, height: int) -> Any:
    stream = out.add_stream("libx264", rate=fps, options=QUIET["libx264"])
    stream.width, stream.height, stream.pix_fmt = width // 4 * 2, height // 4 * 2, "yuv420p"
    stream.codec_context.thread_count = 1
    return stream


def _add_sound(out: Any, path: Path) -> Any:
    return out.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48000, layout="mono")


def _encode_sound(out: Any, stream: Any, length_s: float) -> None:
    size = 960
    for k in range(int(length_s * 48000 / size) + 1):
        wave = np.sin(2 * np.pi * 440 * (np.arange(size) + k * size) / 48000) * 0.2
        frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, k * size, Fraction(1, 48000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode())


def _stored(path: Path, ticks: Sequence[int], clock: Fraction) -> tuple[tuple[int, ...] | None, Fraction]:
    """The pts that the container keeps, and its time base: mp4 and mov as given, Matroska in milliseconds, TS at 90 kHz."""
    if path.suffix in NO_PTS:
        return None, clock
    base = {".mkv": Fraction(1, 1000), ".webm": Fraction(1, 1000), ".ts": Fraction(1, 90_000)}.get(path.suffix, clock)
    return tuple(int(t * clock / base + Fraction(1, 2)) for t in ticks), base


def _facts(
    path: Path, film: Edit, ticks: Sequence[int], clock: Fraction, fps: Fraction, size: tuple[int, int], first: int, woven: bool
) -> Clip:
    hidden = sum(t < 0 for t in ticks) if path.suffix in (".mp4", ".mov") else 0
    pts, base = _stored(path, ticks[hidden:], clock)
    shown = ticks[hidden:] if pts is None else pts
    unit = clock if pts is None else base
    per = 2 if woven else 1
    if any(c % per for c in film.cuts):
        raise ValueError(f"an interlaced film needs cuts at even frames, got {film.cuts}")
    return Clip(
        path=path,
        pts=pts,
        time_base=base,
        times=tuple((t - shown[0]) * unit for t in shown),
        numbers=tuple(first + i for i in range(hidden, len(ticks))),
        cuts=tuple(c // per - hidden for c in film.cuts if c // per > hidden),
        gradual=tuple(Transition(g.kind, g.start // per - hidden, g.end // per - hidden) for g in film.gradual if g.start // per > hidden),
        width=size[0],
        height=size[1],
        fps=fps,
    )
