"""Light of a clip: its brightness, its contrast, and how much of it is black or white beyond detail."""

from __future__ import annotations

from rushes.measures.clip_time import ClipTime
from rushes.measures.mean import Signals, over_time
from rushes.records import Column

SOURCE = "luma histogram of every frame, scan/exposure.py"

COLUMNS = (
    Column("luma_mean", "float", "grey level", "mean luma", 0.0, 255.0, SOURCE),
    Column("contrast", "float", "grey level", "standard deviation of luma within a frame, mean over time", 0.0, 127.5, SOURCE),
    Column("dark_share", "float", "share", "share of pixels darker than grey level 32, mean over time; null for HDR", 0.0, 1.0, SOURCE),
    Column("clipped_share", "float", "share", "share of pixels from grey level 250 up, mean over time; null for HDR", 0.0, 1.0, SOURCE),
)

_SIGNALS = ("luma_mean", "luma_std", "luma_dark", "luma_clipped")


def measure(signals: Signals, clip: ClipTime) -> dict[str, float | None]:
    """`luma_mean`, `contrast`, `dark_share` and `clipped_share` of a clip; None where not measured (shares of HDR)."""
    return {column.name: over_time(signals, signal, clip) for column, signal in zip(COLUMNS, _SIGNALS, strict=True)}
