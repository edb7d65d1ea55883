"""Statistics of features as LeRobot has them: of one episode, and of all together (lerobot/datasets/compute_stats.py, 0.4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Stats = dict[str, Any]
"""Name of a statistic -> its value for each number of a feature, as lists; `count` is [number of frames]."""
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)
LEVELS = 256


def stats_of(values: npt.NDArray[Any]) -> Stats:
    """Statistics of a feature in one episode.

    Args:
        values: one row a frame, one column a number; not empty.
    """
    found = values.astype(np.float64)
    quantiles = np.quantile(found, list(QUANTILES.values()), axis=0)
    return {
        "min": found.min(0).tolist(), "max": found.max(0).tolist(), "mean": found.mean(0).tolist(), "std": found.std(0).tolist(),
        "count": [len(found)], **{name: value.tolist() for name, value in zip(QUANTILES, quantiles, strict=True)},
    }  # fmt: skip


def picture_stats(levels: npt.NDArray[np.int64], n: int) -> Stats:
    """Statistics of pictures: for red, green and blue, each of the shape (1, 1), from 0 to 1.

    Args:
        levels: (3, 256): pixels of each level.
        n: number of pictures.
    """
    shades = np.arange(LEVELS) / (LEVELS - 1)
    share = levels / levels.sum(1, keepdims=True)
    mean = share @ shades
    std = np.sqrt(np.maximum(0, share @ shades**2 - mean**2))
    reached = share.cumsum(1)
    found = {"min": _first(reached, 0.0), "max": _first(reached, 1.0 - 1e-12), "mean": mean, "std": std}
    found |= {name: _first(reached, share) for name, share in QUANTILES.items()}
    return {"count": [n], **{name: value.reshape(3, 1, 1).tolist() for name, value in found.items()}}


def _first(reached: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """The first level at which more than a share of the pixels is reached, for each colour."""
    return np.asarray((reached > share).argmax(1) / (LEVELS - 1))


class Totals:
    """Statistics of all episodes together, added one by one. Quantiles are the mean of those of episodes by frames, as in LeRobot."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Any]] = {}

    def add(self, stats: Mapping[str, Stats]) -> None:
        """Adds an episode: feature -> statistics."""
        for feature, one in stats.items():
            new = {name: np.asarray(value, np.float64) for name, value in one.items()}
            old = self._found.get(feature)
            self._found[feature] = new if old is None else _together(old, new)

    def as_json(self) -> dict[str, Stats]:
        """Feature -> statistics, as `stats.json` holds them."""
        return {
            feature: {name: [int(value[0])] if name == "count" else value.tolist() for name, value in one.items()}
            for feature, one in self._found.items()
        }


def _together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Mean and standard deviation of two sets by those of each (Chan, Golub and LeVeque, 1979)."""
    n, m = one["count"][0], other["count"][0]
    apart, share = other["mean"] - one["mean"], m / (n + m)
    variance = (one["std"] ** 2 * n + other["std"] ** 2 * m) / (n + m) + apart**2 * share * (1 - share)
    found = {"min": np.minimum(one["min"], other["min"]), "max": np.maximum(one["max"], other["max"])}
    found |= {"mean": one["mean"] + apart * share, "std": np.sqrt(variance), "count": one["count"] + other["count"]}
    return found | {name: one[name] + (other[name] - one[name]) * share for name in QUANTILES}
