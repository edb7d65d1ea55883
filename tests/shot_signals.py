"""The shot signals of frames in memory: what the pass would measure, without a file."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt

from pictures import U8
from rushes.media.batch import Batch
from rushes.media.views import THUMB, THUMB_SIZE
from rushes.scan.blend import Blend
from rushes.scan.content import Content
from rushes.scan.motion import GlobalMotion


def luma_of(frame: U8, width: int, height: int) -> U8:
    """Studio luma of a BGR frame (h, w, 3) of even size, shrunk to (height, width)."""
    luma = cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420)[: frame.shape[0]]
    return cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA)


def signals_of(frames: Sequence[U8], pts: npt.NDArray[np.int64], tick: Fraction, batch: int = 64) -> dict[str, npt.NDArray[np.float32]]:
    """The signals of `Content`, `Blend` and `GlobalMotion` of BGR frames, pushed in batches."""
    content, blend, motion = Content(), Blend(), GlobalMotion()
    for frame in frames:
        content.push_bgr(frame[None])
    thumbs = np.array([luma_of(frame, *THUMB) for frame in frames]).reshape(-1, THUMB_SIZE)
    views = np.array([luma_of(frame, 128, 128 * frame.shape[0] // frame.shape[1]) for frame in frames])
    t = (pts - pts[0]) * float(tick)
    for i in range(0, len(frames), batch):
        part = slice(i, i + batch)
        views_of = Batch(t[part], views[part], thumbs[part], np.empty((len(t[part]), 1, 1, 3), np.uint8))
        blend.push(views_of)
        motion.push(views_of)
    return {**content.finish(), **blend.finish(), **motion.finish()}
