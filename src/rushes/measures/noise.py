"""Noise and blockiness of a clip, which can be measured only at native resolution."""

from __future__ import annotations

from rushes.measures.clip_time import ClipTime
from rushes.measures.mean import Signals, over_samples
from rushes.records import Column

COLUMNS = (
    Column("noise", "float", "grey level", "sigma of the grain in the calmest parts, mean over samples", 0.0, None, "Immerkaer 1996"),
    Column("blockiness", "float", "share", "codec blocks that meet in a visible step, less those off the grid", 0.0, 1.0, "scan/blocks.py"),
)


def measure(signals: Signals, clip: ClipTime) -> dict[str, float | None]:
    """`noise` and `blockiness` of a clip; None where no sample of the clip has a value.

    On footage without blocks the samples of blockiness lie around 0; a mean below 0 becomes 0.
    """
    blocky = over_samples(signals, "blockiness", clip)
    return {"noise": over_samples(signals, "noise", clip), "blockiness": None if blocky is None else max(0.0, blocky)}
