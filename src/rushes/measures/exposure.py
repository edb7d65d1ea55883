"""Light of a clip: its brightness, its contrast, and how much of it is black or white beyond detail."""

from __future__ import annotations

from rushes.measures.mean import Signals, mean
from rushes.records import Column

SOURCE = "luma histogram of every frame, scan/exposure.py"

COLUMNS = (
    Column("luma_mean", "float", "grey level", "mean luma", 0.0, 255.0, SOURCE),
    Column("contrast", "float", "grey level", "standard deviation of luma within a frame, mean over frames", 0.0, 127.5, SOURCE),
    Column("dark_share", "float", "share", "share of pixels darker than grey level 32, mean over frames; null for HDR", 0.0, 1.0, SOURCE),
    Column("clipped_share", "float", "share", "share of pixels from grey level 250 up, mean over frames; null for HDR", 0.0, 1.0, SOURCE),
)

_SIGNALS = ("luma_mean", "luma_std", "luma_dark", "luma_clipped")


def measure(signals: Signals, at: slice) -> dict[str, float | None]:
    """`luma_mean`, `contrast`, `dark_share` and `clipped_share` of the frames `at`; None where not measured (shares of HDR)."""
    return {column.name: mean(signals, signal, at) for column, signal in zip(COLUMNS, _SIGNALS, strict=True)}
