"""Footage whose tags are chosen and whose truth is known: orientation, shape of pixels, range, matrix and transfer curve."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from rushes.recipe import Recipe
from rushes.scan.one_pass import SampledFrame, Scan, scan

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

MATRIX_OF: dict[str, tuple[int, int, int, int]] = {
    "as it is": (1, 0, 0, 1),
    "rotated by 90": (0, 1, -1, 0),
    "rotated by 180": (-1, 0, 0, -1),
    "rotated by 270": (0, -1, 1, 0),
    "mirrored left to right": (-1, 0, 0, 1),
    "mirrored top to bottom": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}
"""a, b, c, d of ISO/IEC 14496-12, 6.2.2: the decoded point (x, y) is shown at (a x + c y, b x + d y), y downwards."""
LUMA_OF = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""KR and KB of each matrix (ITU-T H.273, table 4)."""
PATCHES = np.array(
    [[200, 30, 30], [30, 180, 40], [40, 60, 200], [220, 200, 60], [180, 140, 110], [128, 128, 128], [255, 255, 255], [0, 0, 0]], np.float64
)
"""Flat patches, R'G'B' 0..255."""
SIDE = 96
"""Side of a patch, pixels."""


def as_coded(upright: U8, matrix: tuple[int, int, int, int]) -> U8:
    """The picture that must be coded so that a player which obeys the matrix shows `upright`."""
    a, b, c, d = matrix
    height, width = upright.shape[:2]
    size = (width, height) if a else (height, width)  # coded width and height
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    u, v = a * x + c * y, b * x + d * y
    return np.ascontiguousarray(upright[v - v.min(), u - u.min()])


def display_matrix(matrix: tuple[int, int, int, int]) -> list[int]:
    """The nine numbers of a display matrix, 16.16 and 2.30 fixed point (libavutil/display.h)."""
    a, b, c, d = (n << 16 for n in matrix)
    return [a, b, 0, c, d, 0, 0, 0, 1 << 30]


def encode(path: Path, frames: list[av.VideoFrame], codec: str, *, fps: int = 10, matrix: list[int] | None = None, **tags: Any) -> Path:
    """Encodes frames as they are. `tags` are attributes of the codec context, and `options` of the encoder."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=fps, options=tags.pop("options", {}))
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        context = stream.codec_context
        context.thread_count = 1
        for name, value in tags.items():
            setattr(context, name, value)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for i, frame in enumerate(frames):
            frame.pts, frame.time_base = i, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def from_planes(planes: list[npt.NDArray[Any]], pixels: str) -> av.VideoFrame:
    """A frame of planes of codes: (h, w) of uint8 or, for more than 8 bits, uint16."""
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pixels)
    for to, plane in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.shape[0], to.line_size // plane.itemsize), plane.dtype)
        rows[:, : plane.shape[1]] = plane
        to.update(rows)  # type: ignore[arg-type]
    return frame


def coded_patches(number: int, *, full: bool, pixels: str) -> av.VideoFrame:
    """`PATCHES` side by side as 4:2:0, by the matrix `number` of H.273, in studio or full range of 8 or 10 bits."""
    kr, kb = LUMA_OF[number]
    r, g, b = (PATCHES / 255).T
    luma = kr * r + (1 - kr - kb) * g + kb * b
    colour = (b - luma) / 2 / (1 - kb), (r - luma) / 2 / (1 - kr)
    bits = 10 if "10" in pixels else 8
    top, unit = (1 << bits) - 1, 1 << (bits - 8)
    if full:
        codes = [luma * top, *(c * top + 128 * unit for c in colour)]
    else:
        codes = [(luma * 219 + 16) * unit, *((c * 224 + 128) * unit for c in colour)]
    kind = np.uint16 if bits > 8 else np.uint8
    planes = []
    for k, row in enumerate(codes):
        side = SIDE if k == 0 else SIDE // 2
        planes.append(np.tile(np.repeat(np.clip(np.round(row), 0, top).astype(kind), side), (2 * side, 1)))
    return from_planes(planes, pixels)


def seen_patches(jpeg: bytes) -> F64:
    """R'G'B' in the middle of each patch of a stored frame."""
    picture = pixels_of(jpeg)
    x = ((np.arange(len(PATCHES)) + 0.5) * picture.shape[1] / len(PATCHES)).astype(int)
    return picture[picture.shape[0] // 2, x, ::-1].astype(np.float64)


def pixels_of(jpeg: bytes) -> U8:
    """A JPEG's pixels, (h, w, 3) BGR."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)  # type: ignore[return-value]


def swept(path: Path, *settings: str) -> tuple[Scan, list[SampledFrame]]:
    """The one pass over a file, and the frames it stores."""
    frames: list[SampledFrame] = []
    return scan(str(path), Recipe().with_overrides(settings), on_frame=frames.append), frames


def restated(path: Path, box: bytes, content: bytes) -> Path:
    """Overwrites the content of the one box of an mp4 that has this name."""
    data = path.read_bytes()
    assert data.count(box) == 1, f"{data.count(box)} boxes {box!r}"
    at = data.index(box) + 4
    path.write_bytes(data[:at] + content + data[at + len(content) :])
    return path
