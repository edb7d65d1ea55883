"""All measures of one clip, in one written list. A new measure is added to this list and to the file that computes it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rushes.measures import camera, cuts, exposure, motion, noise, sharpness, slideshow, texture
from rushes.measures.clip_time import ClipTime
from rushes.records import Column, Orientation

VERSION = 6
"""Raise when the measures of the same signals and span change."""

COLUMNS: tuple[Column, ...] = (
    *sharpness.COLUMNS, *exposure.COLUMNS, *noise.COLUMNS, *texture.COLUMNS, *motion.COLUMNS, *camera.COLUMNS,
    *cuts.COLUMNS, *slideshow.COLUMNS,
)  # fmt: skip
"""Every measure, with its unit, range and source."""


def measure_clip(
    signals: Mapping[str, npt.NDArray[np.float32]], clip: ClipTime, way: Orientation, n_cuts: int | None = None
) -> dict[str, float | str | None]:
    """The measures of a clip; None where a measure has no value to compute from.

    Args:
        signals: name -> (n,) float32 of the whole video, NaN where not measured.
        clip: the clip's times.
        way: how the decoded picture becomes upright.
        n_cuts: hard cuts inside the clip; None where the signals do not tell.
    """
    found: dict[str, float | str | None] = {}
    for family in (sharpness, exposure, noise, texture):
        found |= family.measure(signals, clip)
    found |= motion.measure(signals, clip) | camera.measure(signals, clip, way) | cuts.measure(n_cuts)
    return found | slideshow.measure(signals, clip)
