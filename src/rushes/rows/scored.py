"""Scores of clips, as columns beside those of `clips` and `measures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rushes.records import Column
from rushes.store.tables import SCORES, schema

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class WantedScore:
    """A scorer that a recipe wants, as the store and its readers know it.

    Attributes:
        name: the scorer's name, in `scores.use` and in the table `scores`.
        fingerprint: the identity of its rows.
        columns: what it gives.
    """

    name: str
    fingerprint: str
    columns: tuple[Column, ...]


def all_columns(wanted: Sequence[WantedScore]) -> tuple[Column, ...]:
    """The columns of all scorers, as the table `scores` declares them."""
    return tuple(column for one in wanted for column in one.columns)


def shown_columns(wanted: Sequence[WantedScore]) -> tuple[Column, ...]:
    """Of these, the ones that a clip shows: numbers and text. Lists, such as an embedding, are in the table alone."""
    return tuple(column for column in all_columns(wanted) if column.kind != "floats")


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of some clips, in the order of the clips.

    Attributes:
        columns: each shown column by name; null where its scorer has no row of the clip.
        there: scorer -> which clips have its row, as an Arrow array of bools.
    """

    columns: Mapping[str, Any]
    there: Mapping[str, Any]

    def filter(self, mask: Any) -> Scores:
        """Those of some of the clips."""
        return Scores(*({name: array.filter(mask) for name, array in some.items()} for some in (self.columns, self.there)))


def scores_of(rows: pa.Table, clip_ids: Any, wanted: Sequence[WantedScore]) -> Scores:
    """The scores of clips.

    Args:
        rows: the newest rows of the table `scores`, with the shown columns that are needed; others are left out.
        clip_ids: the clips.
        wanted: the scorers.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Any] = {}
    there: dict[str, Any] = {}
    for one in wanted:
        own = rows.filter(pc.equal(rows["fingerprint"], pa.scalar(one.fingerprint)))
        at = pc.index_in(clip_ids, value_set=own["clip_id"])
        there[one.name] = at.is_valid()
        columns |= {c.name: own[c.name].take(at) for c in shown_columns([one]) if c.name in rows.column_names}
    return Scores(columns, there)


def no_scores(wanted: Sequence[WantedScore], n: int) -> Scores:
    """The scores of `n` clips of which none is known yet."""
    import pyarrow as pa

    full = schema(SCORES, shown_columns(wanted))
    nothing = pa.array([False] * n, pa.bool_())
    return Scores({c.name: pa.nulls(n, full.field(c.name).type) for c in shown_columns(wanted)}, {one.name: nothing for one in wanted})
