"""The vectors of a store's clips, read part by part and compared with one: memory is that of a few row groups, however many clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes.errors import StoreError
from rushes.results import Results
from rushes.store.parts import Part
from rushes.store.store import Store
from rushes.store.tables import SCORES, schema

if TYPE_CHECKING:
    import pyarrow as pa

SCORER = "embedding"
"""The scorer whose vectors are searched, and its column."""
READERS = 4
"""Parts that are read at once at most: each takes some 200 MB for a row group of 32,768 vectors of 768 numbers, as `compact` writes it."""
Vector = npt.NDArray[np.float32]
Ids = npt.NDArray[np.bytes_]
"""Names of clips in order, as bytes."""
Batches = Callable[[], Iterator[tuple["pa.Table", Vector]]]
"""Gives clips (`clip_id`, `video_id`) and their vectors, (n, d) float32, batch by batch."""


class Vectors:
    """The vectors of a store under one recipe: one a clip that was scored, of unit length.

    Args:
        results: the store under the recipe.

    Raises:
        StoreError: the recipe does not want the scorer `embedding`.
    """

    def __init__(self, results: Results) -> None:
        wanted = {one.name: one for one in results.scorers}
        if SCORER not in wanted:
            what = f"{results.store.root} holds no embeddings under this recipe: scores.use does not name the scorer {SCORER}"
            mend = f"run first, with the same recipe and {SCORER} among scores.use: rushes run FOOTAGE --out {results.store.root}"
            raise StoreError(what, step="search", mend=f"{mend} --set 'scores.use=[\"{SCORER}\"]'")
        self.store: Store = results.store
        self.fingerprint = wanted[SCORER].fingerprint
        self._columns = wanted[SCORER].columns
        import pyarrow as pa

        full = schema(SCORES, self._columns)
        self.schema = pa.schema([full.field(name) for name in ("clip_id", "video_id", SCORER)])

    def parts(self) -> list[Part]:
        """The parts that may hold vectors."""
        return self.store.parts(SCORES, fingerprints=[self.fingerprint])

    def batches(self, part: Part) -> Iterator[tuple[pa.Table, Vector]]:
        """The clips of a part and their vectors, a row group at a time: a table with `clip_id` and `video_id`, and (n, d) float32.

        Raises:
            StoreError: vectors differ in length.
        """
        for rows in self.store.rows(part, self.schema, [self.fingerprint]):
            known = rows.filter(rows[SCORER].is_valid()) if rows[SCORER].null_count else rows
            if known.num_rows:
                column: Any = known[SCORER].combine_chunks()
                values, n = column.flatten().to_numpy(), known.num_rows
                if len(values) % n or (np.diff(column.offsets.to_numpy()) != len(values) // n).any():
                    raise StoreError(f"{part.uri} holds vectors of several lengths", step="search", mend=REMAKE)
                yield known.drop_columns([SCORER]), values.reshape(n, -1)

    def of_clip(self, clip_id: str, video_id: str) -> Vector | None:
        """The vector of one clip; None where it has none."""
        rows = self.store.read(
            SCORES,
            columns=[SCORER],
            fingerprints=[self.fingerprint],
            extra=self._columns,
            only={"video_id": [video_id], "clip_id": [clip_id]},
        )
        found = [row for row in rows[SCORER].to_pylist() if row is not None]
        return np.array(found[0], np.float32) if found else None


def nearest(streams: Sequence[Batches], vector: Vector, n: int, allowed: Ids | None = None) -> tuple[pa.Table, int]:
    """The nearest clips by cosine, all compared one by one, `READERS` streams at once.

    Args:
        streams: each gives clips and their vectors, batch by batch, as `Vectors.batches` does.
        vector: (d,) float32, of unit length.
        n: so many clips at most.
        allowed: only these clips.

    Returns:
        `clip_id`, `video_id` and `score` (the cosine), the nearest first; and how many vectors were compared.

    Raises:
        StoreError: the vectors of the store are of another length.
        FileNotFoundError: a part has been merged into another one since it was listed.
    """

    def of_stream(batches: Batches) -> tuple[pa.Table, int]:
        best, seen = no_clips(), 0
        for clips, vectors in batches():
            check_length(vectors.shape[1], len(vector), "the store")
            seen += len(vectors)
            best = the_nearest([best, ranked(clips, vectors @ vector, n, allowed)], n)
        return best, seen

    with ThreadPoolExecutor(READERS) as threads:
        found = list(threads.map(of_stream, streams))
    return the_nearest([best for best, _ in found], n), sum(seen for _, seen in found)


REMAKE = "make the embeddings anew with one encoder: the folder that scores.encoder names has held several"


def check_length(stored: int, asked: int, where: str) -> None:
    """Makes sure that two vectors can be compared.

    Raises:
        StoreError: their lengths differ.
    """
    if stored != asked:
        what = f"the vectors in {where} have {stored} numbers, and the vector that is looked for has {asked}"
        raise StoreError(what, step="search", mend=f"search with the recipe under which they were made (--recipe, --set), or {REMAKE}")


def ranked(clips: pa.Table, cosines: Vector, n: int, allowed: Ids | None = None) -> pa.Table:
    """The `n` of some clips with the largest cosines, with these as `score`; of clips that are `allowed`, where that is given.

    A clip of which two rows are there counts once: where so fewer than `n` are left, more rows are looked at.
    """
    import pyarrow as pa

    if allowed is not None:
        cosines = np.where(among(clips["clip_id"], allowed), cosines, -np.inf)
    taken = n
    while True:
        some = np.argpartition(-cosines, taken)[:taken] if taken < len(cosines) else np.arange(len(cosines))
        some = some[cosines[some] > -np.inf]
        best = the_nearest([clips.take(some).append_column("score", pa.array(cosines[some], pa.float32()))], n)
        if best.num_rows == n or taken >= len(cosines):
            return best
        taken *= 2


def no_clips() -> pa.Table:
    """The answer of a search that finds nothing: `clip_id`, `video_id`, `score`."""
    import pyarrow as pa

    names: list[Any] = [("clip_id", pa.string()), ("video_id", pa.string()), ("score", pa.float32())]
    return pa.schema(names).empty_table()


def the_nearest(tables: Sequence[pa.Table], n: int) -> pa.Table:
    """The `n` best clips of some tables of `ranked`, the nearest first, each once."""
    import pyarrow as pa

    best = pa.concat_tables([no_clips(), *tables]).group_by(["clip_id", "video_id"]).aggregate([("score", "max")])
    named = best.select(["clip_id", "video_id", "score_max"]).rename_columns(["clip_id", "video_id", "score"])
    return named.sort_by([("score", "descending"), ("clip_id", "ascending")]).slice(0, n)


def ids_of(column: Any) -> Ids:
    """A column of clip_id as numpy has it, not in order."""
    found: Ids = np.array(column.to_pylist(), dtype=np.bytes_)
    return found


def among(column: Any, allowed: Ids) -> npt.NDArray[np.bool_]:
    """Which clips of a column are among others, which are in order."""
    if not len(allowed):
        return np.zeros(len(column), bool)
    ids = ids_of(column)
    at = np.minimum(np.searchsorted(allowed, ids), len(allowed) - 1)
    found: npt.NDArray[np.bool_] = allowed[at] == ids
    return found
