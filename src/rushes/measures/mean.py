"""The mean of a signal over a clip."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Signals = Mapping[str, npt.NDArray[np.float32]]
"""Per-frame signals of one video: name -> (n,) float32, NaN where not measured."""


def measured(signals: Signals, name: str, at: slice) -> npt.NDArray[np.float64]:
    """The measured values of one signal in the frames `at`, (k,) with 0 <= k <= frames of the clip."""
    values = np.asarray(signals[name][at], np.float64)
    return values[~np.isnan(values)]


def mean(signals: Signals, name: str, at: slice) -> float | None:
    """Mean of the measured values of one signal in the frames `at`; None when there is none."""
    values = measured(signals, name, at)
    return math.fsum(values) / values.size if values.size else None
