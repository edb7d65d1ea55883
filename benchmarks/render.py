"""The benchmarks' footage, rendered once and kept: `RUSHES_BENCH_CACHE`, else a folder among the temporary files.

Ordinary footage is real: pieces of seven shared clips (hand-held, robot arm, edited film, indoors), scaled, 30 frames a second, encoded
as most web video is. Without the shared footage procedural scenes take its place; they are easier to decode, and `origin()` says so.
"""

from __future__ import annotations

import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RUSHES_DATA", ROOT.parent / "shared" / "data"))
VERSION = 1
"""Raise when the rendered footage changes."""
FPS = 30
SOURCES = (
    "exo__sample_h265.mp4", "sam2__01_dog.mp4", "pyscenedetect__testvideo.mp4", "sam2__03_blocks.mp4",
    "cookbook__robotic_arm_input.mp4", "sam2__04_coffee.mp4", "sam2__05_default_juggle.mp4",
)  # fmt: skip
PIECE_FRAMES = 105
"""Frames taken of each source: 3.5 s, so that the whole is 24.5 s."""
WIDTHS = {360: 640, 720: 1280, 1080: 1920, 2160: 3840}
ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264": ("libx264", "mp4", {"preset": "medium", "crf": "23"}),
    "hevc": ("libx265", "mp4", {"preset": "fast", "crf": "28", "x265-params": "log-level=none"}),
    "vp9": ("libvpx-vp9", "webm", {"deadline": "good", "cpu-used": "4", "crf": "33", "b": "0", "row-mt": "1"}),
    "av1": ("libsvtav1", "mp4", {"preset": "8", "crf": "35"}),
}
"""Codec -> encoder, container, options. H.264 has x264's defaults, so 3 B-frames, adaptive, and a key frame every 250 at most."""
QUICK = {"preset": "veryfast", "crf": "23"}
Picture = npt.NDArray[np.uint8]


def cache() -> Path:
    """The folder of rendered footage, made if absent."""
    given = os.environ.get("RUSHES_BENCH_CACHE")
    folder = (Path(given) if given else Path(tempfile.gettempdir()) / "rushes-bench") / f"v{VERSION}-{'real' if real() else 'drawn'}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def real() -> bool:
    """Whether the shared footage is there."""
    return all((DATA / "footage" / name).is_file() for name in SOURCES)


def origin() -> str:
    """What the footage is made from, for the heading of a benchmark."""
    return "pieces of real footage" if real() else f"drawn scenes, easier to decode than real footage (none at {DATA})"


def once(name: str, make: Callable[[Path], object]) -> Path:
    """The file of this name in the cache, made if absent; complete or not there."""
    path = cache() / name
    if not path.exists():
        print(f"rendering {path.name} ...", file=sys.stderr, flush=True)
        partial = path.with_name(f"{os.getpid()}-{path.name}")
        try:
            make(partial)
            partial.rename(path)
        finally:
            if partial.is_dir():
                shutil.rmtree(partial)
            partial.unlink(missing_ok=True)
    return path


def ordinary(height: int, codec: str = "h264", gop: int | None = None) -> Path:
    """24.5 s of ordinary footage, 16:9, of a height in `WIDTHS`, in a codec of `ENCODERS`. 4K has 7 s, quickly encoded. `gop`: a key frame
    each so many frames, as recorders write them; None: where the encoder likes.
    """
    encoder, suffix, options = ENCODERS[codec]
    each = PIECE_FRAMES if height < 2160 else 30
    how = options if height < 2160 else QUICK
    name = f"{codec}_{height}" if gop is None else f"{codec}_{height}_gop{gop}"
    if gop is not None:
        own = "x265-params" if codec == "hevc" else "x264-params"
        how = how | {own: ":".join([*([how[own]] if own in how else []), f"keyint={gop}:min-keyint={gop}:scenecut=0"])}
    return once(f"{name}.{suffix}", lambda path: encode(path, pieces(WIDTHS[height], height, each), encoder, how))


def pieces(width: int, height: int, each: int) -> Iterator[Picture]:
    """Pictures (height, width, 3) BGR: the first `each` frames of every source, cut to 16:9 and scaled."""
    if not real():
        yield from drawn(width, height, each * len(SOURCES))
        return
    for name in SOURCES:
        with av.open(str(DATA / "footage" / name)) as source:
            for _, frame in zip(range(each), source.decode(video=0), strict=False):
                yield fitted(frame.to_ndarray(format="bgr24"), width, height)


def fitted(picture: Picture, width: int, height: int) -> Picture:
    """The middle of a picture in another shape and size."""
    h, w = picture.shape[:2]
    rows, columns = min(h, w * height // width), min(w, h * width // height)
    top, left = (h - rows) // 2, (w - columns) // 2
    middle = picture[top : top + rows, left : left + columns]
    return cv2.resize(middle, (width, height), interpolation=cv2.INTER_CUBIC if rows < height else cv2.INTER_AREA)  # type: ignore[return-value]


def drawn(width: int, height: int, n: int) -> Iterator[Picture]:
    """Pictures of slowly panning textures with a hard cut every 3.5 s and a little grain."""
    sys.path.insert(0, str(ROOT / "tests"))
    from pictures import film

    lengths = [min(PIECE_FRAMES, n - start) for start in range(0, n, PIECE_FRAMES)]
    scenes = film(width, height, lengths)
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 3, (height, width, 3)).astype(np.int8)
    for i in range(n):
        rolled = np.roll(grain, int(rng.integers(width)), axis=1)
        yield cv2.add(scenes.picture(i), rolled, dtype=cv2.CV_8U)  # type: ignore[misc]


def encode(path: Path, pictures: Iterator[Picture], encoder: str, options: dict[str, str], fps: int = FPS) -> None:
    """Encodes BGR pictures as yuv420p at a constant frame rate."""
    with av.open(str(path), "w") as out:
        stream: Any = None
        for i, picture in enumerate(pictures):
            if stream is None:
                stream = out.add_stream(encoder, rate=fps, options=options)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, fps)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def tiny(n: int = 10, width: int = 160, height: int = 90) -> Path:
    """A video of n frames of a small drawn scene: what there is to start up for."""
    return once(f"tiny_{width}x{height}_{n}.mp4", lambda path: encode(path, drawn(width, height, n), "libx264", QUICK))


def copies(source: Path, folder: Path, n: int) -> list[Path]:
    """As many files that decode alike and differ in content: a `free` box with a number (ISO/IEC 14496-12, 8.1.2) at the end of an mp4."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03d}.mp4" for i in range(n)]
    for i, path in enumerate(paths):
        shutil.copyfile(source, path)
        with path.open("ab") as file:
            file.write(struct.pack(">I4sQ", 16, b"free", i))
    return paths


def trimmed(source: Path, seconds: float) -> Path:
    """The first seconds of a constant-rate mp4, packets copied."""
    return once(f"{source.stem}_{seconds:g}s.mp4", lambda path: repeat(source, path, seconds))


def repeated(source: Path, seconds: float, fps: int) -> Path:
    """A constant-rate mp4 shown again and again, at another frame rate, until it is that long."""
    return once(f"{source.stem}_{seconds:g}s_{fps}fps.mp4", lambda path: repeat(source, path, seconds, fps))


def repeat(source: Path, path: Path, seconds: float, fps: int = FPS) -> None:
    """Copies packets, from the start anew when they end; frame i of the source has pts i / FPS, and i / fps in `path`."""
    with av.open(str(path), "w") as out:
        stream: Any = None
        start, wanted = 0, round(seconds * fps)
        while start < wanted:
            with av.open(str(source)) as again:
                template = again.streams.video[0]
                stream = stream or out.add_stream_from_template(template)
                start += _copy(out, stream, again, start, wanted, fps)


def _copy(out: Any, stream: Any, source: Any, start: int, wanted: int, fps: int) -> int:
    """One round, cut in decoding order so that every frame has its references; returns the frames it added."""
    added = 0
    for packet in source.demux(video=0):
        if packet.pts is None or start + added >= wanted:
            continue
        frame = packet.time_base * FPS  # ticks to frames
        packet.pts, packet.dts = (start + round(t * frame) for t in (packet.pts, packet.dts))
        packet.duration, packet.time_base, packet.stream = 1, Fraction(1, fps), stream
        out.mux(packet)
        added += 1
    return added
