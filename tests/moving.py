"""Scenes whose motion is known by construction, and the motion signals that the scan's own views give for them.

A scene is a smooth random texture seen by a camera: a pose (x, y, zoom) as a function of time says how far the content has moved,
in picture widths to the right and down, and how large it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache

import av
import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.batch import Batch
from rushes.media.views import Shape, Shrinker, Views
from rushes.scan.dense import DenseMotion
from rushes.scan.motion import GlobalMotion

U8 = npt.NDArray[np.uint8]
Pose = tuple[float, float, float]
Move = Callable[[float], Pose]
Signals = dict[str, npt.NDArray[np.float32]]

SIZES = ((640, 360), (1280, 720), (1920, 1080))
TEXTURE_PX = 1800
SEEN_PX = 900
"""Texture pixels across the picture at zoom 1."""


@cache
def texture(seed: int = 0) -> U8:
    """(1800, 1800) luma: noise at scales of 2 to 32 texture pixels, mean 126, standard deviation 35."""
    rng = np.random.default_rng(seed)
    size = (TEXTURE_PX, TEXTURE_PX)
    layers = [
        cv2.resize(rng.normal(size=(TEXTURE_PX // s, TEXTURE_PX // s)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC) * s**0.5
        for s in (2, 4, 8, 16, 32)
    ]
    total = np.sum(layers, axis=0)
    return np.clip(126 + 35 * (total - total.mean()) / total.std(), 16, 235).astype(np.uint8)


def look(size: tuple[int, int], pose: Pose, seed: int = 0) -> U8:
    """What the camera sees, (h, w) studio luma."""
    width, height = size
    x, y, zoom = pose
    scale = zoom * width / SEEN_PX
    corner = scale * TEXTURE_PX / 2
    matrix = np.array([[scale, 0, width / 2 + x * width - corner], [0, scale, height / 2 + y * width - corner]])
    return cv2.warpAffine(texture(seed), matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def film(size: tuple[int, int], move: Move, *, fps: float = 30, seconds: float = 1.6, seed: int = 0) -> list[U8]:
    """The scene's frames."""
    return [look(size, move(i / fps), seed) for i in range(round(fps * seconds))]


def noisy(frames: Iterable[U8], sigma: float, seed: int = 1) -> list[U8]:
    """The frames with fresh Gaussian noise on each, as a sensor has."""
    rng = np.random.default_rng(seed)
    return [np.clip(f + rng.normal(scale=sigma, size=f.shape), 16, 235).astype(np.uint8) for f in frames]


def frame_of(luma: U8) -> av.VideoFrame:
    """A grey yuv420p frame with this luma, (h, w), even sides."""
    height, width = luma.shape
    return av.VideoFrame.from_ndarray(
        np.concatenate((luma.ravel(), np.full(width * height // 2, 128, np.uint8))).reshape(height * 3 // 2, width), format="yuv420p"
    )


def scan(frames: Sequence[av.VideoFrame], t: npt.NDArray[np.float64], *, batch: int = 64) -> Signals:
    """Motion signals of frames at times `t`, in seconds, with dense motion at the first frame of each half second."""
    shrinker = Shrinker(Shape.of(frames[0].width, frames[0].height))
    motion, dense = GlobalMotion(), DenseMotion()
    small: list[U8] = []
    for i, frame in enumerate(frames):
        views = Views(frame, i, float(t[i]), shrinker, full_range=False)
        dense.push(views, i == 0 or int(t[i] * 2 + 1e-6) > int(t[i - 1] * 2 + 1e-6))
        small.append(views.motion)
    for start in range(0, len(frames), batch):
        part = slice(start, start + batch)
        motion.push(
            Batch(
                t[part], np.stack(small[part]), np.zeros((len(small[part]), 864), np.uint8), np.zeros((len(small[part]), 1, 1, 3), np.uint8)
            )
        )
    return motion.finish() | dense.finish()


def scan_film(frames: Sequence[U8], *, fps: float = 30, batch: int = 64) -> tuple[Signals, npt.NDArray[np.float64]]:
    """Motion signals and times of luma pictures at a steady rate."""
    t = np.arange(len(frames)) / fps
    return scan([frame_of(f) for f in frames], t, batch=batch), t


def diagonal(size: tuple[int, int]) -> float:
    """A picture's diagonal in its widths."""
    return float(np.hypot(*size) / size[0])
