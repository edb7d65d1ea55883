"""A search: what is looked for, which clips count, and the nearest of these as rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rushes.errors import UsageError
from rushes.records import Row
from rushes.results import Results
from rushes.results.choose import chosen_clips
from rushes.results.lines import rows_of
from rushes.search.index import Index
from rushes.search.queries import of_example, of_text
from rushes.search.vectors import Batches, Ids, Vector, Vectors, ids_of, nearest
from rushes.store.store import steadily
from rushes.store.tables import SCORES

if TYPE_CHECKING:
    import pyarrow as pa

MORE = 4
"""So many times the clips that are wanted are judged, since some may be dropped, or be of older cuts. Where that is not enough, as with a
narrow --where, all clips of the store are judged, and those that count are compared.
"""
LARGE = 1_000_000
"""From so many vectors on an index is worth its making."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        rows: as `search --json` has them, the nearest first.
        compared: vectors that were compared.
        indexed: vectors in the index that was used; 0: none was.
    """

    rows: list[Row]
    compared: int
    indexed: int


def search(
    results: Results, text: str | None = None, *, like: str | None = None, n: int = 20, verdict: str | None = "kept",
    where: str | None = None, exact: bool = False,
) -> Found:  # fmt: skip
    """The clips that are nearest to a text, or to a clip or a picture.

    Args:
        results: the store under a recipe.
        text: what is to be seen; the encoder of the recipe makes its vector.
        like: instead of a text: a clip_id or the beginning of one, which needs no model; or the path or URL of a picture.
        n: so many clips at most.
        verdict: only kept, dropped or failed clips; None: all.
        where: only clips for which a SQL expression holds, as `rushes clips --where`.
        exact: compare the vectors as they are stored, even where there is an index.

    Raises:
        UsageError: neither a text nor `like` is given, or both are; there is no such clip or picture; the expression cannot be used.
        StoreError: the recipe wants no embeddings, or those of the store are of another length than the encoder's.
        MissingExtra: a text or a picture is given, and `rushes[models]` is not installed.
        ModelError: the encoder cannot be had.
        StorageError: the store cannot be read.
    """
    if (text is None) == (like is None):
        raise UsageError("a search needs either a text or a clip or picture", step="search", mend='give "TEXT", or --like CLIP_ID|IMAGE')
    query = of_text(results, text) if text is not None else of_example(results, str(like))
    return nearest_clips(results, query.vector, n=n, verdict=verdict, where=where, exact=exact, without=query.clip_id)


def nearest_clips(
    results: Results, vector: Vector, *, n: int = 20, verdict: str | None = "kept", where: str | None = None, exact: bool = False,
    without: str | None = None,
) -> Found:  # fmt: skip
    """The clips whose vectors are nearest to one, by cosine.

    Args:
        results: the store under a recipe.
        vector: (d,) float32, of unit length.
        n: so many clips at most.
        verdict: only kept, dropped or failed clips; None: all.
        where: as in `search`.
        exact: as in `search`.
        without: a clip that is left out.

    Raises:
        StoreError, UsageError, StorageError: as in `search`.
    """
    vectors = Vectors(results)

    def compared(many: int, allowed: Ids | None = None) -> tuple[pa.Table, int, int]:
        """The nearest clips, how many vectors were compared, and how many are in the index."""

        def look() -> tuple[pa.Table, int, int]:
            index = None if exact else Index.opened(vectors)
            parts = vectors.parts() if index is None else index.uncovered(vectors.parts())
            streams: list[Batches] = [partial(vectors.batches, part) for part in parts]
            best, seen = nearest(streams + (index.streams() if index else []), vector, many, allowed)
            return best, seen, index.n_vectors if index else 0

        return steadily(look, vectors.store.path(SCORES.name))

    best, seen, indexed = compared(MORE * n)
    rows = _rows(results, best, verdict, where, without)
    if len(rows) < n and best.num_rows == MORE * n:
        ids = [ids_of(clips["clip_id"]) for clips in chosen_clips(results, verdict=verdict, where=where, names=("clip_id",))]
        counted = np.sort(np.concatenate(ids)) if ids else np.array([], np.bytes_)
        best, seen, indexed = compared(n, counted[counted != (without or "").encode()])
        rows = _rows(results, best, verdict, where)
    return Found(rows[:n], seen, indexed)


def _rows(results: Results, best: pa.Table, verdict: str | None, where: str | None, without: str | None = None) -> list[Row]:
    """Of some clips those that count, in their order, as `clips --json` shows them, with their score."""
    import pyarrow as pa
    import pyarrow.compute as pc

    clip_ids: Any = best["clip_id"].to_pylist()
    of_videos: Any = best["video_id"].to_pylist()
    scores: dict[str, Any] = dict(zip(clip_ids, best["score"].to_pylist(), strict=True))
    scores.pop(without or "", None)
    ids, videos = pa.array(list(scores), pa.string()), sorted(set(of_videos))
    found: dict[str, Row] = {}
    for clips in chosen_clips(results, verdict=verdict, where=where, videos=videos) if scores else ():
        rows = rows_of(clips.filter(pc.is_in(clips["clip_id"], value_set=ids)), results.line)
        found |= {row["clip_id"]: {"clip_id": row["clip_id"], "score": scores[row["clip_id"]], **row} for row in rows}
    return [found[clip] for clip in scores if clip in found]
