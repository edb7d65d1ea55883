"""Sharpness of a clip and the share of it that is blurred."""

from __future__ import annotations

import numpy as np

from rushes.measures.clip_time import ClipTime
from rushes.measures.mean import Signals, samples, weighed
from rushes.records import Column

BLURRED_BELOW = 0.43
"""Sharpness under which a sample counts as blurred, from `docs/calibration.md`.

Blurred by sigma 5 at 640 px reads 0.23 to 0.27, ordinary clean footage 0.45 to 1.
"""
SOURCE = "edge width of Marziliano et al., ICIP 2002, as scan/sharpness.py measures it"

COLUMNS = (
    Column("sharpness", "float", "1/pixel at 320 px", "steepest step as a share of local contrast, mean over samples", 0.0, 1.0, SOURCE),
    Column("blurred_share", "float", "share", f"share of samples with sharpness below {BLURRED_BELOW}", 0.0, 1.0, SOURCE),
)


def measure(signals: Signals, clip: ClipTime) -> dict[str, float | None]:
    """`sharpness` and `blurred_share` of a clip; None when no sample had enough contrast to be measured."""
    values, weights = samples(signals, "sharpness", clip)
    for name, inside in (("sharpness_before", np.s_[1:]), ("sharpness_after", np.s_[:-1])):  # samples beside it that the clip holds
        values[inside] = np.fmin(values[inside], samples(signals, name, clip)[0][inside])
    blurred = np.where(np.isnan(values), np.nan, values < BLURRED_BELOW)
    return {"sharpness": weighed(values, weights), "blurred_share": weighed(blurred, weights)}
