"""Content: how much the picture changed since the frame before, by PySceneDetect's formula."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from rushes.media.views import U8, Views
from rushes.records import Column


class Content:
    """One signal for every frame: PySceneDetect's `content_val` with its default weights, on the small BGR view.

    The mean absolute difference of hue (0..179), saturation and value (0..255) between a frame and the one before it.
    The first frame has no frame before it: NaN (PySceneDetect counts it as 0, and so do the cut rules).
    """

    columns = (
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

    per_s: float | None = None

    def __init__(self) -> None:
        self._values: list[float] = []
        self._now: U8 | None = None
        self._before: U8 | None = None

    def push(self, views: Views, on_grid: bool) -> None:
        """Take the next frame; `on_grid` does not matter here."""
        self.push_bgr(views.bgr)

    def push_bgr(self, bgr: U8) -> None:
        """Take the next frame as (h, w, 3) uint8 BGR; every frame has the same shape."""
        spare, self._before = self._before, self._now
        hsv: U8 = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV, dst=spare)  # type: ignore[assignment]
        self._now = hsv
        if self._before is None:
            self._values.append(np.nan)
        else:
            self._values.append(cv2.norm(hsv, self._before, cv2.NORM_L1) / hsv.size)

    def finish(self) -> dict[str, npt.NDArray[np.float32]]:
        """The signal `content`, float32, one value a frame."""
        return {"content": np.array(self._values, np.float32)}
