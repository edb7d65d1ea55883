"""The shot signals of frames in memory: what the pass would measure, without a file."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt

from pictures import U8
from rushes.media.batch import Batch
from rushes.media.views import THUMB_SIZE
from rushes.scan.blend import Blend
from rushes.scan.content import Content


def thumb_of(frame: U8) -> U8:
    """(576,) thumbnail of a BGR frame (h, w, 3) of even size: 32 x 18 studio luma."""
    luma = cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420)[: frame.shape[0]]
    return cv2.resize(luma, (32, 18), interpolation=cv2.INTER_AREA).ravel()


def signals_of(frames: Sequence[U8], pts: npt.NDArray[np.int64], tick: Fraction, batch: int = 64) -> dict[str, npt.NDArray[np.float32]]:
    """Content and blend signals of BGR frames, pushed in batches."""
    content, blend = Content(), Blend()
    for frame in frames:
        content.push_bgr(frame[None])
    thumbs = np.array([thumb_of(frame) for frame in frames]).reshape(-1, THUMB_SIZE)
    t = (pts - pts[0]) * float(tick)
    for i in range(0, len(frames), batch):
        blend.push(
            Batch(
                t[i : i + batch],
                np.empty((len(t[i : i + batch]), 1, 1), np.uint8),
                thumbs[i : i + batch],
                np.empty((len(t[i : i + batch]), 1, 1, 3), np.uint8),
            )
        )
    return {**content.finish(), **blend.finish()}
