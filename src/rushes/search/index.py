"""An index of a store's vectors: a file beside the tables that has each vector in 8 bits a number, so that a search reads a quarter of the
bytes, uncompressed, and in a form that numpy takes as it is.

A search still compares all vectors, and not only those of some cells or along some graph: so it finds a text's neighbours as well as a
picture's, whose vectors lie apart from each other (docs/search.md has the figures).

The file is Parquet, so that it lies on any storage that a store does. Its metadata says which parts of the table `scores` it covers. Parts
that came later are read beside it, so a search sees them at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes.errors import StoreError
from rushes.media import storage
from rushes.search.vectors import READERS, SCORER, Batches, Vector, Vectors, check_length
from rushes.store.opened import Opened
from rushes.store.parts import Part
from rushes.store.store import FEW_ROWS, Store, steadily
from rushes.store.tables import SCORES

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
"""Raise when the layout of the file changes; an index of another version is not used, and is made anew."""
FOLDER = "index"
"""Inside the store; no table."""
NOTES = b"rushes index"
LARGEST = 127
"""What the largest number of a vector becomes. The other ones are rounded to as fine a grid: a cosine is off by some 0.0003."""


@dataclass(frozen=True, slots=True)
class Made:
    """An index that was made.

    Attributes:
        uri: the file.
        vectors: how many it has: one a clip, and more of clips that were scored twice.
        bytes: its size.
        seconds: what it took.
        made: False: one that covers all parts was there.
    """

    uri: str
    vectors: int
    bytes: int
    seconds: float
    made: bool


def make_index(vectors: Vectors) -> Made:
    """Makes the index of a store's vectors, unless there is one that covers all of them. In memory are a few row groups.

    Raises:
        StoreError: there is no vector, or they differ in length.
        StorageError: the store cannot be read or written.
    """
    begun, there, uri = time.perf_counter(), Index.opened(vectors), index_uri(vectors)
    made = there is None or bool(there.uncovered(vectors.parts()))
    if made:
        with storage.scratch_for(uri) as scratch:
            steadily(lambda: _write(vectors, scratch), vectors.store.path(SCORES.name))
            storage.publish(scratch, uri, vectors.store.options)
        there = Index.opened(vectors)
    assert there is not None
    return Made(uri, there.n_vectors, there.size, time.perf_counter() - begun, made)


def index_uri(vectors: Vectors) -> str:
    """Where the index of the vectors of a fingerprint lies."""
    return vectors.store.path(FOLDER, f"{SCORER}-{vectors.fingerprint}.parquet")


def remove_others(store: Store, keep: Collection[str]) -> None:
    """Removes the indexes of vectors whose fingerprint is not among `keep`.

    Raises:
        StorageError: the store cannot be listed, or a file not be removed.
    """
    files = storage.listing(store.path(FOLDER), store.options, ".parquet")
    others = [file for file in files if file.uri.rpartition("-")[2].removesuffix(".parquet") not in keep]
    store.remove(Part(file.uri, file.size or 0) for file in others)


class Index:
    """An index that is there.

    Attributes:
        n_vectors: vectors in it.
        size: of the file, bytes.
    """

    def __init__(self, vectors: Vectors, part: Part, n_vectors: int, covered: Collection[str]) -> None:
        self._vectors, self._part, self._covered = vectors, part, frozenset(covered)
        self.n_vectors, self.size = n_vectors, part.size

    @classmethod
    def opened(cls, vectors: Vectors) -> Index | None:
        """The index of a store's vectors; None where there is none of this version.

        Raises:
            StorageError: it cannot be read.
        """
        uri, options = index_uri(vectors), vectors.store.options

        def look() -> Index | None:
            part = Part(uri, storage.stat(uri, options).size or 0)
            with Opened(part, options) as file:
                notes: dict[str, Any] = json.loads((file.schema.metadata or {}).get(NOTES, b"{}"))
                return cls(vectors, part, file.n_rows, notes["parts"]) if notes.get("version") == VERSION else None

        return steadily(look, uri) if storage.exists(uri, options) else None

    def uncovered(self, parts: Sequence[Part]) -> list[Part]:
        """Of the parts of the table those that the index does not cover: written, or written anew, or merged since it was made."""
        return [part for part in parts if _name(self._vectors, part) not in self._covered]

    def streams(self) -> list[Batches]:
        """Its vectors, in shares that can be read at once, each as `Vectors.batches` gives those of a part."""
        return [partial(self._share, k) for k in range(READERS)]

    def _share(self, k: int) -> Iterator[tuple[pa.Table, Vector]]:
        with Opened(self._part, self._vectors.store.options) as file:
            for group in range(k, file.n_groups, READERS):
                rows = file.group(group, file.schema)
                yield rows.select(["clip_id", "video_id"]), _decoded(rows)


def _write(vectors: Vectors, scratch: str) -> None:
    """Writes the file at a local path, in row groups of `FEW_ROWS`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts, waiting, writer = vectors.parts(), [], None
    notes = {NOTES: json.dumps({"version": VERSION, "parts": [_name(vectors, part) for part in parts]})}
    batches = ((part, *batch) for part in parts for batch in vectors.batches(part))
    length = 0
    try:
        for part, clips, some in batches:
            length = length or some.shape[1]
            check_length(length, some.shape[1], part.uri)
            waiting.append(_coded(clips, some))
            if writer is None:
                writer = pq.ParquetWriter(scratch, waiting[0].schema.with_metadata(notes), compression="none", use_dictionary=False)
            if sum(table.num_rows for table in waiting) >= FEW_ROWS:
                writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=FEW_ROWS)
                waiting = []
        if writer is None:
            what = f"{vectors.store.root} holds no embedding yet: no clip has been scored"
            raise StoreError(what, step="index", mend="rushes run with a recipe whose rules keep some clips")
        if waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())
    finally:
        if writer is not None:
            writer.close()


def _coded(clips: pa.Table, vectors: Vector) -> pa.Table:
    """Clips with their vectors in 8 bits a number, and what a number is to be multiplied by."""
    import pyarrow as pa

    scale = np.maximum(np.abs(vectors).max(axis=1), np.float32(1e-12)) / np.float32(LARGEST)
    codes: npt.NDArray[np.int8] = np.rint(vectors / scale[:, None]).astype(np.int8)
    column: Any = pa.Array.from_buffers(pa.binary(codes.shape[1]), len(codes), [None, pa.py_buffer(codes.tobytes())])
    return clips.append_column("scale", pa.array(scale)).append_column("codes", column)


def _decoded(rows: pa.Table) -> Vector:
    """The vectors of rows of the file, (n, d)."""
    column: Any = rows["codes"].combine_chunks()
    codes = np.frombuffer(column.buffers()[1], np.int8).reshape(-1, column.type.byte_width)[column.offset : column.offset + len(column)]
    found: Vector = codes * rows["scale"].to_numpy()[:, None]
    return found


def _name(vectors: Vectors, part: Part) -> str:
    """A part as the index notes it: one that a run has written anew is larger."""
    return f"{part.uri.removeprefix(vectors.store.path(SCORES.name) + '/')}:{part.size}"
