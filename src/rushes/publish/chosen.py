"""The rows that a recipe's `[publish]` asks for, range by range of video_id: Arrow columns, never a list of all clips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rushes.errors import RecipeError
from rushes.publish.row_hash import ROW_HASH, row_hashes
from rushes.recipe_publish import PublishSettings
from rushes.results import Results
from rushes.results.choose import chosen_clips
from rushes.results.columns import OF_ERROR, clips_seen
from rushes.rows.scored import WantedScore, all_columns
from rushes.store.ranges import Ranges
from rushes.store.tables import SCORES, schema

if TYPE_CHECKING:
    import pyarrow as pa

KEYS = ("clip_id", "video_id")
CARRIED = (
    *("uri", "start_pts", "end_pts", "start_s", "end_s", "time_pieces"),
    *("n_frames", "size_bytes", "clip_uri", "width", "height", "caption"),
)
"""Columns that come with each row whether they are published or not: what targets need to make files, and what the check looks at."""


class Chosen:
    """What is to be published of a store.

    Args:
        results: the store under a recipe.
        settings: the recipe's `[publish]`.
        vectors: whether embeddings are among the columns where the recipe makes them and names no columns.

    Attributes:
        columns: the published columns in order, `row_hash` the last.

    Raises:
        RecipeError: there is no such column.
    """

    def __init__(self, results: Results, settings: PublishSettings, *, vectors: bool = False) -> None:
        self.results, self.settings = results, settings
        self._vectors = {c.name: one for one in results.scorers for c in one.columns if c.kind == "floats"}
        seen = clips_seen(results.later)
        known = {*seen, *self._vectors}
        for where, names in (("columns", settings.columns), ("order", [(settings.order or "").removeprefix("-") or "clip_id"])):
            for name in names:
                if name not in known:
                    what = f"publish.{where} names {name!r}, and clips have no such column"
                    raise RecipeError(what, step="publish", mend=f"use some of {', '.join(sorted(known))}")
        hidden = {"reasons", *OF_ERROR} if settings.verdict == "kept" else set()
        default = [*(name for name in seen if name not in hidden), *(self._vectors if vectors else ())]
        asked = settings.columns or default
        self.columns = (*dict.fromkeys([*KEYS, *asked]), ROW_HASH)

    @property
    def order_column(self) -> str | None:
        """The column that rows are sorted by; None: they come as the store has them."""
        return self.settings.order.removeprefix("-") if self.settings.order else None

    def ranges(self) -> Iterator[tuple[str, pa.Table]]:
        """(first digits of video_id, rows): each range of the store that has rows, once, in order of uri and time inside.

        The rows have the published columns, then those of `CARRIED` and the one to sort by that are not published.

        Raises:
            UsageError: `where` cannot be used. StorageError: the store cannot be read.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        digits = self.results.reader.digits
        vectors = {name: self._ranges_of(one) for name, one in self._vectors.items() if name in self.columns}
        for rows in self._tables():
            prefixes: Any = pc.utf8_slice_codeunits(rows["video_id"], 0, digits) if digits else None
            for prefix in sorted(pc.unique(prefixes).to_pylist()) if digits else [""]:
                own: Any = pc.equal(prefixes, pa.scalar(prefix)) if digits else None
                some = rows.filter(own) if digits else rows
                if some.num_rows:
                    yield prefix, self._shaped(some, {name: ranges.rows(prefix) for name, ranges in vectors.items()})
        for ranges in vectors.values():
            ranges.close()

    def _tables(self) -> Iterator[pa.Table]:
        import pyarrow as pa
        import pyarrow.compute as pc

        settings = self.settings
        verdict = None if settings.verdict == "all" else settings.verdict
        last: str | None = None
        if settings.sample is not None:  # those of the smallest clip_id, which is a hash, as `rushes clips --sample`
            ids = list(chosen_clips(self.results, verdict=verdict, where=settings.where, sample=settings.sample, names=ORDER))
            last = pc.max(ids[0]["clip_id"]).as_py() if ids else ""
        names = {name for name in (*self.columns, *CARRIED, self.order_column) if name is not None and name not in self._vectors}
        for rows in chosen_clips(self.results, verdict=verdict, where=settings.where, names=names - {ROW_HASH, "verdict", "reasons"}):
            yield rows if last is None else rows.filter(pc.less_equal(rows["clip_id"], pa.scalar(last)))

    def _ranges_of(self, one: WantedScore) -> Ranges:
        columns = all_columns([one])
        names, digits = [c.name for c in columns], self.results.reader.digits
        return Ranges(self.results.store, SCORES, digits, columns=names, fingerprints=[one.fingerprint], extra=columns)

    def _shaped(self, rows: pa.Table, vectors: dict[str, pa.Table]) -> pa.Table:
        import pyarrow.compute as pc

        for name, found in vectors.items():
            rows = rows.append_column(name, found[name].take(pc.index_in(rows["clip_id"], value_set=found["clip_id"])))
        published = [name for name in self.columns if name != ROW_HASH]
        more = dict.fromkeys(name for name in (*CARRIED, self.order_column) if name is not None and name not in published)
        shaped = rows.select(published)
        shaped = shaped.append_column(ROW_HASH, row_hashes(shaped))
        for name in more:
            shaped = shaped.append_column(rows.schema.field(name), rows[name])
        return shaped

    def empty(self) -> pa.Table:
        """The same columns without a row."""
        import pyarrow as pa

        none = next(self.results.clip_tables([], names=None))
        for name, one in self._vectors.items():
            none = none.append_column(name, pa.array([], schema(SCORES, one.columns).field(name).type))
        return self._shaped(none, {})


ORDER = ("clip_id", "uri", "start_pts")
"""What a sample is sorted by."""
