"""The mean of a signal over a clip."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rushes.measures.clip_time import F64, ClipTime

Signals = Mapping[str, npt.NDArray[np.float32]]
"""Per-frame signals of one video: name -> (n,) float32, NaN where not measured."""


def over_time(signals: Signals, name: str, clip: ClipTime) -> float | None:
    """Mean of a signal of every frame, as `mean_of` weighs it; None where none was measured."""
    return mean_of(np.asarray(signals[name][clip.at], np.float64), clip)


def mean_of(values: F64, clip: ClipTime) -> float | None:
    """Mean of the values (n,) of a clip's frames, each weighed by how long the frame is shown, or stands for where not all were decoded;
    None where all are NaN.
    """
    if clip.seen is None:
        return weighed(values, clip.shown)
    known = ~np.isnan(values)
    return weighed(values[known], clip.stands_for(known))


def over_samples(signals: Signals, name: str, clip: ClipTime) -> float | None:
    """Mean of a signal on the grid, each sample weighed by the points of the grid at which it is shown; None where none was measured."""
    values, weights = samples(signals, name, clip)
    return weighed(values, weights)


def samples(signals: Signals, name: str, clip: ClipTime) -> tuple[F64, F64]:
    """The samples of a signal on the grid, NaN where one has no value, and their weights."""
    sampled = ~np.isnan(signals["texture"][clip.at])  # which every sample has
    return np.asarray(signals[name][clip.at], np.float64)[sampled], clip.sample_weights(sampled)


def weighed(values: F64, weights: F64) -> float | None:
    """Mean of the values that are not NaN; None where there is none, or their weights are 0."""
    known = ~np.isnan(values)
    total = math.fsum(weights[known])
    return math.fsum(values[known] * weights[known]) / total if total > 0 else None
