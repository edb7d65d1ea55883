"""What the operators take from the engine. No other file of this folder imports from it."""

from rushes.engine.clip_columns import ASPECT, RULE_COLUMNS, clip_columns, clip_reasons, even_pts, second
from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import FAILURE, Video
from rushes.engine.work.rows import Series, Stamp, clip_rows, facts_row
from rushes.engine.work.same_file import SameFile
from rushes.quarantine import quarantined

__all__ = [
    "ASPECT",
    "FAILURE",
    "RULE_COLUMNS",
    "SameFile",
    "Series",
    "Stamp",
    "Video",
    "clip_columns",
    "clip_reasons",
    "clip_rows",
    "even_pts",
    "facts_row",
    "fingerprints",
    "quarantined",
    "second",
]
