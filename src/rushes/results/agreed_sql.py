"""Labels of captions compared with measures and scores, in DuckDB's SQL. See `captions/agreement.py` for what a comparison is."""

from __future__ import annotations

from collections.abc import Sequence

from rushes.captions.agreement import Bound, Comparison
from rushes.verdict import sql


def agreed_sql(comparison: Comparison) -> str:
    """SQL of whether label and evidence say the same: true, false, or null where either says nothing."""
    label = sql.name(comparison.label_column)
    claims = " ".join(
        f"WHEN {label} = {sql.text(value) if isinstance(value, str) else str(value).lower()} THEN {sql.text(claim)}"
        for value, claim in comparison.claims
    )
    shows = " ".join(f"WHEN {_holds(bounds)} THEN {sql.text(what)}" for what, bounds in comparison.shows)
    return f"(CASE {claims} END) = (CASE {shows} END)"


def _holds(bounds: Sequence[Bound]) -> str:
    tests = []
    for bound in bounds:
        value = sql.name(bound.column)
        number = f"CAST({value} AS DOUBLE)"
        tests += [] if bound.equals is None else [f"{value} = {sql.text(bound.equals)}"]
        tests += [] if bound.low is None else [f"NOT isnan({number}) AND {number} >= {bound.low!r}::DOUBLE"]
        tests += [] if bound.high is None else [f"{number} <= {bound.high!r}::DOUBLE"]
    return " AND ".join(tests)
