"""Whether a clip is a still picture that is panned and zoomed, as in slide shows, rather than footage of a camera that moves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rushes.measures.clip_time import ClipTime
from rushes.records import Column

REST, WORST = 0.25, 0.14
"""Largest rest (`pan_rest`, `pan_block`) of a still that is panned. Chosen on stills of half of the sources and on real footage; see
docs/measures.md for the figures."""

COLUMNS: tuple[Column, ...] = (
    Column("slideshow", "float", "share", "share of the moving time in which a still is panned or zoomed", 0.0, 1.0, "scan/panned.py"),
)


def measure(signals: Mapping[str, npt.NDArray[np.float32]], clip: ClipTime) -> dict[str, float | str | None]:
    """The column of a clip; null where the picture as a whole does not move, in clips shorter than a second, and in sparse mode, which
    compares pictures over a second only where it happens to decode all between.

    Args:
        signals: `pan_rest`, `pan_block` and `pan_dt` of all frames of the video.
        clip: the clip's times. Only comparisons of two pictures of the clip count.
    """
    if clip.seen is not None:
        return {"slideshow": None}
    rest, worst, dt = (signals[name][clip.at] for name in ("pan_rest", "pan_block", "pan_dt"))
    chosen = ~np.isnan(rest) & (clip.t - dt >= clip.t[0] - 1e-4)
    fits = (rest[chosen] <= REST) & (worst[chosen] <= WORST)
    return {"slideshow": float(fits.mean()) if len(fits) else None}
