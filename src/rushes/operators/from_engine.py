"""What the operators take from the engine. No other file of this folder imports from it."""

from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import FAILURE
from rushes.engine.stages import content_threshold
from rushes.media.same_file import SameFile
from rushes.quarantine import quarantined
from rushes.records import Video
from rushes.rows.clip_columns import (
    ASPECT,
    caption_columns,
    captioned_pts,
    clip_columns,
    clip_reasons,
    clip_windows,
    even_pts,
    rule_columns,
    second,
    within,
)
from rushes.rows.scanned import Stamp, clip_rows
from rushes.rows.signals import Series

__all__ = [
    "ASPECT",
    "FAILURE",
    "SameFile",
    "Series",
    "Stamp",
    "Video",
    "caption_columns",
    "captioned_pts",
    "clip_columns",
    "clip_reasons",
    "clip_rows",
    "clip_windows",
    "content_threshold",
    "even_pts",
    "fingerprints",
    "quarantined",
    "rule_columns",
    "second",
    "within",
]
