"""Small views of many frames, stacked, so that a meter makes a few numpy calls for 128 frames instead of a few for each frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.views import THUMB, U8

STUDIO_LUMA = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
STUDIO_CHROMA = np.clip(np.rint((np.arange(256) - 128) * (255 / 224) + 128), 0, 255).astype(np.uint8)
"""Tables from studio-range codes to full-range ones (ITU-R BT.601)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Views of n consecutive frames, stacked. The arrays are the batch's own: a meter may keep them.

    Attributes:
        t: (n,) seconds since the video's first frame, increasing.
        motion: (n, h, w) uint8, see `Views.motion`.
        thumb: (n, 576) uint8: 32 x 18 luma, studio range, for the tests of `scan/blend.py`.
        bgr: (n, h / 2, w / 2, 3) uint8, long side 64: what PySceneDetect's formula is applied to. PySceneDetect itself looks at a long
            side of 256; a mean over the picture says nearly the same at a quarter of that, for a tenth of the cost.
        follows: (n,) whether each frame is compared with the one decoded before it; in sparse mode those at which a burst begins are not.
            None: all are.
    """

    t: npt.NDArray[np.float64]
    motion: U8
    thumb: U8
    bgr: U8
    follows: npt.NDArray[np.bool_] | None = None


def batch(t: npt.NDArray[np.float64], motion: U8, colour: U8, follows: npt.NDArray[np.bool_] | None = None) -> Batch:
    """A batch from n frames' `Views.motion` (n, h, w) and `Views.colour` (n, 2, h / 2, w / 2)."""
    n, height, width = motion.shape[0], motion.shape[1] // 2, motion.shape[2] // 2
    luma = _resized(motion[:, : 2 * height, : 2 * width], (width, height))
    u, v = np.ascontiguousarray(colour[:, 0]), np.ascontiguousarray(colour[:, 1])
    tall = [cv2.LUT(plane.reshape(-1, width), table) for plane, table in ((luma, STUDIO_LUMA), (v, STUDIO_CHROMA), (u, STUDIO_CHROMA))]
    bgr = cv2.cvtColor(cv2.merge(tall), cv2.COLOR_YCrCb2BGR).reshape(n, height, width, 3)
    return Batch(t, motion, _resized(luma, THUMB).reshape(n, -1), bgr, follows)  # type: ignore[arg-type]


def _resized(pictures: U8, size: tuple[int, int]) -> U8:
    """Pictures (n, h, w) resized by area to (width, height). All are resized in one call, as one tall picture, where no picture then mixes
    with the next.
    """
    n, height, width = pictures.shape
    if size[0] <= width and size[1] <= height:  # when it shrinks, each output row averages rows of one picture only
        tall = np.ascontiguousarray(pictures).reshape(-1, width)
        return cv2.resize(tall, (size[0], n * size[1]), interpolation=cv2.INTER_AREA).reshape(n, size[1], size[0])  # type: ignore[return-value]
    return np.stack([cv2.resize(np.ascontiguousarray(p), size, interpolation=cv2.INTER_AREA) for p in pictures])
