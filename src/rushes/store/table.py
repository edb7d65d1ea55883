"""What a table of the store is, and the columns that all of them have."""

from __future__ import annotations

from dataclasses import dataclass

from rushes.records import Column


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the store.

    `signals`, `measures` and `scores` hold more columns than those listed here: one for each signal, measure or score, which their steps
    declare.
    """

    name: str
    keys: tuple[str, ...]
    doc: str
    columns: tuple[Column, ...]


def column(name: str, kind: str, doc: str, unit: str = "") -> Column:
    """A column of a table."""
    return Column(name, kind, unit, doc)


STAMPS = (
    column("fingerprint", "text", "identity of the step and its settings that made the row"),
    column("run_id", "text", "the run that wrote the row"),
    column("written_at", "time", "when the row was made; of several rows of one key and fingerprint the newest counts"),
)
"""The last columns of every table."""
