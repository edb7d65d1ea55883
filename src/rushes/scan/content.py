"""Content: how much the picture changed since the frame before, by PySceneDetect's formula."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.batch import Batch
from rushes.media.views import U8
from rushes.records import Column


class Content:
    """One signal for every frame: PySceneDetect's `content_val` with its default weights, on the small BGR view.

    The mean absolute difference of hue (0..179), saturation and value (0..255) between a frame and the one before it.
    The first frame has no frame before it and gets NaN, which PySceneDetect and the cut detectors here count as 0.
    """

    columns: tuple[Column, ...] = (
        Column(
            "content",
            "float",
            "8-bit levels",
            "mean absolute difference of H, S and V to the frame before; null at the first frame",
            0.0,
            255.0,
            "PySceneDetect 0.7.2, detectors/content_detector.py, weights 1, 1, 1, 0",
        ),
    )

    def __init__(self) -> None:
        self._values: list[float] = []
        self._before: U8 | None = None

    def push(self, batch: Batch) -> None:
        """Take the next frames."""
        self.push_bgr(batch.bgr, batch.follows)

    def push_bgr(self, bgr: U8, follows: npt.NDArray[np.bool_] | None = None) -> None:
        """Take the next frames as (n, h, w, 3) uint8 BGR; every frame has the same shape. `follows`: see `Batch`."""
        n, height, width, _ = bgr.shape
        hsv: U8 = cv2.cvtColor(bgr.reshape(n * height, width, 3), cv2.COLOR_BGR2HSV).reshape(bgr.shape)  # type: ignore[assignment]
        for i, frame in enumerate(hsv):
            before = self._before if follows is None or follows[i] else None
            self._values.append(np.nan if before is None else cv2.norm(frame, before, cv2.NORM_L1) / frame.size)
            self._before = frame

    def finish(self) -> dict[str, npt.NDArray[np.float32]]:
        """The signal `content`, float32, one value a frame."""
        return {"content": np.array(self._values, np.float32)}
