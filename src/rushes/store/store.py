"""A store: a folder of tables, each a folder of immutable Parquet parts. Anything can read it.

A part appears complete or not at all, since its file gets its name when its bytes are durable. Part names derive from the table, the
fingerprint and the keys inside, so that the same work done again overwrites the same file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rushes.errors import StoreError
from rushes.media import storage
from rushes.media.address import local_path, protocol_of, public_uri
from rushes.media.mishap import store_error
from rushes.records import Column
from rushes.store.tables import TABLES, Table, schema

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

MARKER = "rushes.json"
FOOTAGE_ONLY = {"http", "https", "hf"}
"""Protocols that offer no atomic writes or no listing."""
FORMAT = 1
"""Version of the store's layout."""


def now() -> datetime:
    """The present, in UTC, to the microsecond."""
    return datetime.now(UTC)


class Store:
    """The tables under one folder or fsspec URL.

    Use `Store.create` to write to a new or known one, `Store.open` to read one.
    """

    def __init__(self, root: str, options: storage.Options) -> None:
        self.root = public_uri(root).rstrip("/")
        if protocol_of(root) in FOOTAGE_ONLY:
            mend = "name a folder, or a prefix on s3://, gs:// or az://"
            raise StoreError(f"{self.root} cannot be a store: {protocol_of(root)}:// is for footage only", step="store", mend=mend)
        self.options = options
        self.gate: Callable[[], None] | None = None
        """Called before each write; it raises where this process may not write any more (its lease is lost)."""

    @classmethod
    def create(cls, root: str, options: storage.Options) -> Store:
        """Opens a store, or makes one in an empty or absent folder.

        Raises:
            StoreError: the folder holds other things, or a store of another format.
            StorageError: it cannot be written.
        """
        store = cls(root, options)
        if not store.marked():
            if storage.exists(store.root, options):
                raise StoreError(f"{store.root} is a file, not a folder", step="store", mend="name an empty or new folder with --out")
            with store._reading():
                other = next(storage.listing(store.root, options), None)
            if other is not None:
                raise StoreError(
                    f"{store.root} is no store and is not empty (it holds {other.uri})",
                    step="store",
                    mend="name an empty or new folder with --out",
                )
            storage.put_atomic(store.path(MARKER), json.dumps({"format": FORMAT}).encode() + b"\n", options)
        return store

    @classmethod
    def open(cls, root: str, options: storage.Options) -> Store:
        """Opens a store for reading.

        Raises:
            StoreError: there is no store.
        """
        store = cls(root, options)
        if not store.marked():
            raise StoreError(
                f"{store.root} is no store (it has no {MARKER})", step="store", mend="make one with: rushes run FOOTAGE --out " + store.root
            )
        return store

    def marked(self) -> bool:
        """Whether the folder bears the mark of a store of this format.

        Raises:
            StoreError: the mark cannot be understood, or is of another format.
        """
        if not storage.exists(self.path(MARKER), self.options):
            return False
        with self._reading(), storage.ranges(self.path(MARKER), self.options) as read:
            found = _format(read(0, 4096))
        if found is None:
            raise StoreError(f"{self.path(MARKER)} is not the mark of a store", step="store", mend="name another folder")
        if found != FORMAT:
            raise StoreError(
                f"{self.root} is a store of format {found}, this Rushes reads format {FORMAT}",
                step="store",
                mend="use the Rushes that wrote it",
            )
        return True

    def path(self, *parts: str) -> str:
        """A place under the store's root."""
        return "/".join((self.root, *parts))

    def write_rows(self, table: Table, rows: Sequence[Mapping[str, Any]], *, extra: Sequence[Column] = (), name: str | None = None) -> None:
        """Writes rows as one part, named after the fingerprint and the keys inside unless a name is given."""
        import pyarrow as pa

        if rows:
            self.write_table(table, pa.Table.from_pylist(list(rows), schema=schema(table, extra)), name or part_name(table, rows))

    def write_table(self, table: Table, data: pa.Table, name: str) -> None:
        """Writes an Arrow table as one part: durable when this returns.

        Raises:
            StorageError: it could not be written (disk full, permission, connection), or another run has taken the store.
        """
        if self.gate is not None:
            self.gate()
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = pa.BufferOutputStream()
        opaque = "jpeg" in data.column_names
        dictionary: Any = [f.name for f in data.schema if pa.types.is_string(f.type)]
        pq.write_table(
            data, buffer, compression="none" if opaque else "zstd", use_dictionary=dictionary, row_group_size=32 if opaque else 1 << 20
        )
        storage.put_atomic(self.path(table.name, name + ".parquet"), buffer.getvalue().to_pybytes(), self.options)

    def parts(self, table: Table, under: str = "") -> list[str]:
        """Paths of a table's parts, sorted; `under` is a folder or the beginning of a name inside the table.

        Raises:
            StorageError: the store cannot be listed.
        """
        return [part.uri for part in self._listed(table, under)]

    def _listed(self, table: Table, under: str = "") -> list[storage.FileStat]:
        folder, _, beginning = under.rpartition("/")
        place = self.path(table.name, *folder.split("/")) if folder else self.path(table.name)
        with self._reading():
            return sorted(storage.listing(place, self.options, ".parquet", beginning), key=lambda f: f.uri)

    def run_stamps(self) -> dict[str, str]:
        """Parts of the table `runs` with their stamps. Every run writes one: if two looks are equal, no run has written in between."""
        return {part.uri: part.stamp for part in storage.listing(self.path("runs"), self.options, ".parquet")}

    def remove(self, parts: Iterable[str]) -> None:
        """Deletes parts, as `parts` names them; one that is gone already is no error.

        Raises:
            StorageError: one could not be deleted.
        """
        for part in parts:
            storage.remove(part, self.options)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise store_error(error, self.root) from error

    def _dataset(self, parts: Sequence[storage.FileStat], full: pa.Schema | None = None) -> ds.Dataset:
        import pyarrow.dataset as ds

        if local_path(self.root) is not None:
            return ds.dataset([part.uri for part in parts], schema=full, format="parquet")
        from rushes.store.remote_parts import remote_parts

        paths, filesystem = remote_parts(parts, self.options)
        return ds.dataset(paths, schema=full, format="parquet", filesystem=filesystem)

    def read(
        self,
        table: Table,
        *,
        columns: Sequence[str] | None = None,
        fingerprints: Iterable[str] | None = None,
        extra: Sequence[Column] = (),
        under: str = "",
    ) -> pa.Table:
        """The newest row for each (key, fingerprint).

        Args:
            table: which table.
            columns: columns wanted besides keys; default: all.
            fingerprints: only rows of these.
            extra: declared columns of an open-ended table.
            under: only parts whose name begins so.
        """
        import pyarrow.compute as pc

        full = schema(table, extra)
        need = [*table.keys, "fingerprint", "written_at"]
        names = full.names if columns is None else list(dict.fromkeys([*need, *columns]))
        parts = self._listed(table, under)
        if not parts:
            return full.empty_table().select(names)
        where = pc.field("fingerprint").isin(list(fingerprints)) if fingerprints is not None else None
        with self._reading():
            return newest(self._dataset(parts, full).to_table(columns=names, filter=where), [*table.keys, "fingerprint"])

    def frames(self, video_id: str, fingerprint: str, pts: Sequence[int]) -> dict[int, bytes]:
        """JPEG bytes of a video's sampled frames by pts, of those asked for that exist."""
        import pyarrow.compute as pc

        parts = self._listed(TABLES["frames"], video_part(video_id, fingerprint))
        if not parts:
            return {}
        with self._reading():
            found = self._dataset(parts).to_table(columns=["pts", "jpeg"], filter=pc.field("pts").isin(list(pts))).to_pydict()
        return dict(zip(found["pts"], found["jpeg"], strict=True))

    def frame_pts(self, video_id: str, fingerprint: str) -> list[int]:
        """Sorted pts of a video's sampled frames."""
        parts = self._listed(TABLES["frames"], video_part(video_id, fingerprint))
        with self._reading():
            return sorted(set(self._dataset(parts).to_table(columns=["pts"]).to_pydict()["pts"])) if parts else []


def _format(marker: bytes) -> Any:
    """The format that a store's mark states, None where it is no mark."""
    try:
        found = json.loads(marker)
    except ValueError:
        return None
    return found.get("format") if isinstance(found, dict) else None


def newest(data: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The row with the greatest `written_at` for each key, in the order of the keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if data.num_rows < 2:
        return data
    order = pc.sort_indices(data, sort_keys=[*((k, "ascending") for k in keys), ("written_at", "ascending")])
    data = data.take(order)
    same: Any = None
    for key in keys:
        column: Any = data[key].combine_chunks()
        filled = pc.fill_null(column, "") if pa.types.is_string(column.type) else column
        equal = pc.equal(filled.slice(0, len(filled) - 1), filled.slice(1))
        same = equal if same is None else pc.and_(same, equal)
    last: Any = pc.invert(same)
    return data.filter(pa.concat_arrays([last.combine_chunks() if isinstance(last, pa.ChunkedArray) else last, pa.array([True])]))


def part_name(table: Table, rows: Sequence[Mapping[str, Any]]) -> str:
    """Name of a part: its (first) fingerprint, and a hash of the keys inside."""
    keys = sorted("\x1f".join(str(row[k]) for k in (*table.keys, "fingerprint")) for row in rows)
    return f"{rows[0]['fingerprint'][:8]}-{hashlib.sha256(chr(10).join(keys).encode()).hexdigest()[:20]}"


def video_part(video_id: str, fingerprint: str, number: int | None = None, label: str = "") -> str:
    """Name of a part of one video, in the bucket of its id: `ab/abcd...-fingerprint[-label][-number]`."""
    tail = (f"-{label}" if label else "") + ("" if number is None else f"-{number:05d}")
    return f"{video_id[:2]}/{video_id}-{fingerprint[:8]}{tail}"
