"""How many hard cuts lie inside a clip. A detector of shots leaves none in its own clips; pieces of the detector "stride" and spans of a
list may hold some.
"""

from __future__ import annotations

from rushes.records import Column

COLUMNS = (
    Column("cuts", "float", "cuts", "hard cuts inside the clip, by the test of the detector combined", 0.0, None, "shots/combined.py"),
)


def measure(n: int | None) -> dict[str, float | None]:
    """The measure, of a number of cuts that was found; None where the signals do not tell."""
    return {"cuts": None if n is None else float(n)}
