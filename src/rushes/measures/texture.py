"""How much of a clip's picture has detail (texture, low in empty scenes), and how much of it is black bars (letterbox)."""

from __future__ import annotations

from rushes.measures.clip_time import ClipTime
from rushes.measures.mean import Signals, over_samples
from rushes.records import Column

COLUMNS = (
    Column("texture", "float", "share", "share of 16 px blocks (at 320 px) that span 20 grey levels", 0.0, 1.0, "scan/sharpness.py"),
    Column("letterbox", "float", "share", "share of the frame in black bars", 0.0, 1.0, "after FFmpeg's cropdetect, scan/letterbox.py"),
)


def measure(signals: Signals, clip: ClipTime) -> dict[str, float | None]:
    """`texture` and `letterbox` of a clip; None without a sample. All-black samples have texture 0 and no letterbox."""
    return {column.name: over_samples(signals, column.name, clip) for column in COLUMNS}
