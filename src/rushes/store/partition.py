"""Rows of many parts, sorted into buckets through scratch files.

Only `MEMORY_BYTES` of rows are in memory while they are taken, and one bucket of them when they are given back.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rushes.store.parts import digits_of

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY_BYTES = 128 << 20
"""Rows that are held in memory before they are sorted by bucket, as Arrow bytes. Sorting them takes as much again."""


class Partition:
    """Takes tables of rows; gives them back by bucket. The rows of one bucket are to fit in memory.

    Args:
        digits: digits of a bucket.
        by_fingerprint: whether rows of other fingerprints go to other buckets.
    """

    def __init__(self, digits: int, *, by_fingerprint: bool = False) -> None:
        self.digits = digits
        self._n_rows: dict[str, int] = defaultdict(int)
        self._by_fingerprint = by_fingerprint
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._places: dict[str, list[Callable[[], pa.Table]]] = defaultdict(list)
        self._stack = ExitStack()
        self._folder: Path | None = None

    def __enter__(self) -> Partition:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the scratch files."""
        self._stack.close()

    def add(self, rows: pa.Table) -> None:
        """Takes rows with `fingerprint` and `video_id` (and `uri` where that may be null)."""
        self._held.append(rows)
        self._held_bytes += rows.nbytes
        if self._held_bytes >= MEMORY_BYTES:
            self._sort()

    def buckets(self) -> dict[str, int]:
        """Bucket -> number of rows, of what was taken until now."""
        self._settle()
        return self._n_rows

    def _settle(self) -> None:
        if self._held:
            self._sort(to_disk=self._folder is not None)

    def rows(self, bucket: str) -> list[pa.Table]:
        """The rows of one bucket: `ab`, or `1a2b3c4d/ab` by fingerprint."""
        self._settle()
        return [place() for place in self._places.get(bucket, ())]

    def _sort(self, *, to_disk: bool = True) -> None:
        """Sorts the rows in memory by bucket; writes them to a scratch file, one batch a bucket, unless all rows fit in memory."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = pa.concat_tables(self._held, promote_options="default")
        self._held, self._held_bytes = [], 0
        rows = rows.append_column("bucket", self._buckets(rows))
        rows = rows.take(pc.sort_indices(rows, sort_keys=[("bucket", "ascending")])).combine_chunks()
        counts: Any = pc.value_counts(rows["bucket"])
        rows, start = rows.drop_columns(["bucket"]), 0
        pieces: list[tuple[str, pa.Table]] = []
        for bucket, n in ((count["values"], count["counts"]) for count in counts.to_pylist()):
            pieces.append((bucket, rows.slice(start, n)))
            self._n_rows[bucket] += n
            start += n
        places: list[Callable[[], pa.Table]]
        places = self._written(rows.schema, [piece for _, piece in pieces]) if to_disk else [partial(_same, piece) for _, piece in pieces]
        for (bucket, _), place in zip(pieces, places, strict=True):
            self._places[bucket].append(place)

    def _written(self, schema: pa.Schema, pieces: list[pa.Table]) -> list[Callable[[], pa.Table]]:
        import pyarrow as pa

        if self._folder is None:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rushes-")))
        path = str(self._folder / f"{len(list(self._folder.iterdir()))}.arrow")
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for piece in pieces:
                writer.write_table(piece)
        reader = pa.ipc.open_file(self._stack.enter_context(pa.OSFile(path, "rb")))
        return [partial(_batch, reader, number) for number in range(len(pieces))]

    def _buckets(self, rows: pa.Table) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        ids: Any = rows["video_id"]
        if ids.null_count:
            uris = rows["uri"].to_pylist() if "uri" in rows.column_names else [None] * rows.num_rows
            ids = pa.array([digits_of(v, u) for v, u in zip(ids.to_pylist(), uris, strict=True)], pa.string())
        digits: Any = pc.utf8_slice_codeunits(ids, 0, self.digits) if self.digits else pa.array([""] * rows.num_rows)
        if self._by_fingerprint:
            digits = pc.binary_join_element_wise(pc.utf8_slice_codeunits(rows["fingerprint"], 0, 8), digits, "/")
        return digits.combine_chunks() if isinstance(digits, pa.ChunkedArray) else digits


def _same(table: pa.Table) -> pa.Table:
    return table


def _batch(reader: pa.RecordBatchFileReader, number: int) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_batches([reader.get_batch(number)])
