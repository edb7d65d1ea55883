"""A store: a folder of tables, each a folder of Parquet parts. Anything can read it.

A part appears complete or not at all, since its file gets its name when its bytes are durable. Parts of one video's rows (frames, signals,
segments) are named after it, so that the same work done again overwrites the same file; parts that a process shares among jobs have a name
of their own, and are written anew as rows come (`buffer.py`). `compact` merges parts while others read:
see `Store.parts` for why a reader misses no row meanwhile.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from rushes.errors import StorageError, StoreError
from rushes.media import storage
from rushes.media.address import local_path, protocol_of, public_uri
from rushes.media.error_translation import store_error
from rushes.records import Column
from rushes.store.fold import AGE, folded, order
from rushes.store.opened import Opened, gathered
from rushes.store.parts import MAX_DIGITS, MERGED, Asked, Part, merged_folder, part_name, video_part
from rushes.store.tables import FRAMES, SIGNALS, Table, schema

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

MARKER = "rushes.json"
CLIP_FILES = "clip_files"
"""Folder of the store's clip files, which are in no table but named by `files`: clip_files/MODE/<first two characters>/<clip_id>.mp4."""
FOOTAGE_ONLY = {"http", "https", "hf"}
"""Protocols that offer no atomic writes or no listing."""
FORMAT = 1
"""Version of the store's layout."""
FEW_VIDEOS = 4
"""Of so few videos the parts are looked for by name; of more, a listing is cheaper."""
LOOKS = 10
LOOK_AGAIN_S = 0.05
"""How often a reader looks again when parts that it was about to open were merged into others, and the pause before, growing each time."""
ROWS_A_GROUP = {"frames": 32, "signals": 16, "embeddings": 1024}
"""Rows of a Parquet row group: about 1.6 MB of JPEG, 16 MB of signals, 1.5 MB of embeddings of 768 numbers; of other tables `FEW_ROWS`."""
REMOTE_READERS = 16
"""Parts of an object store that are read at once: reading small ones is mostly waiting for an answer."""
FEW_ROWS = 1 << 15
"""What one video's rows cost to read is the row groups that they lie in: 32,768 rows are 10 MB in memory, and some 1,300 videos."""


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
        self.while_writing: Callable[[], AbstractContextManager[None]] = nullcontext
        """Entered around each write, which takes minutes where a storage does not answer and is asked again."""

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
                    f"{store.root} is not a store and is not empty (it holds {other.uri})",
                    step="store",
                    mend="name an empty or new folder with --out",
                )
            storage.put_atomic(store.path(MARKER), json.dumps({"format": FORMAT}).encode() + b"\n", options)
        return store

    @classmethod
    def open(cls, root: str, options: storage.Options) -> Store:
        """Opens a store for reading.

        Raises:
            StoreError: there is not a store.
        """
        store = cls(root, options)
        if not store.marked():
            raise StoreError(
                f"{store.root} is not a store (it has no {MARKER})",
                step="store",
                mend="make one with: rushes run FOOTAGE --out " + store.root,
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
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = pa.BufferOutputStream()
        pq.write_table(data, buffer, row_group_size=ROWS_A_GROUP.get(table.name, FEW_ROWS), **parquet_options(data.schema))
        self.put(self.path(table.name, name + ".parquet"), buffer.getvalue().to_pybytes())

    def put(self, uri: str, data: bytes | Callable[[BinaryIO], None]) -> None:
        """Writes one file of the store, complete or not at all.

        Raises:
            StorageError: it could not be written (disk full, permission, connection), or another run has taken the store.
        """
        with self.while_writing():
            if self.gate is not None:
                self.gate()
            storage.put_atomic(uri, data, self.options)

    def parts(self, table: Table, under: str = "", *, fingerprints: Iterable[str] | None = None, videos: Asked | None = None) -> list[Part]:
        """A table's parts, sorted by name; only those that may hold rows of these fingerprints and videos.

        A compaction writes merged parts before it removes what they were merged from. So that no row is missed while it goes on, merged
        parts are listed last, and twice: a listing that is overtaken by one replacement may show neither the old part nor the new one, the
        other listing shows one of them. Parts that are gone when they are to be opened make the reader list again (`steadily`).

        Args:
            table: which table.
            under: only loose parts under this folder, or whose name inside the table begins so.
            fingerprints: only parts that may hold rows of these.
            videos: only parts that may hold rows of these, by video_id.

        Raises:
            StorageError: the store cannot be listed.
        """
        prints = None if fingerprints is None else {f[:8] for f in fingerprints}
        with self._reading():
            if under:
                found = list(self._listed(table, under))
            elif prints is not None and videos is not None and table in (FRAMES, SIGNALS) and len(videos.values) <= FEW_VIDEOS:
                found = [part for v in sorted(videos.values) for p in sorted(prints) for part in self._of_video(table, v, p)]
            else:
                folders = [f"{MERGED}/"] if prints is None else [f"{MERGED}/{p}/" for p in sorted(prints)]
                found = [part for folder in ("", *folders) for part in self._listed(table, folder)]
        unlike = {part.uri: part for part in found if part.may_hold(prints, videos)}
        return [part for _, part in sorted(unlike.items())]

    def _of_video(self, table: Table, video_id: str, fingerprint: str) -> list[Part]:
        """The parts of one video: the loose ones; where there is none, the merged ones that may hold it."""
        loose = list(self._listed(table, video_part(video_id, fingerprint)))
        folders = [] if loose else [f"{merged_folder(fingerprint, n, video_id)}/" for n in range(MAX_DIGITS + 1)]
        return loose + [part for folder in folders * 2 for part in self._listed(table, folder)]

    def _listed(self, table: Table, under: str) -> Iterator[Part]:
        root = self.path(table.name)
        folder, _, beginning = under.rpartition("/")
        for file in storage.listing(f"{root}/{folder}" if folder else root, self.options, ".parquet", beginning):
            yield Part.of(root, file.uri, file.size)

    def run_stamps(self) -> dict[str, str]:
        """Parts of the table `runs` with their stamps. Every run writes one: if two looks are equal, no run has written in between."""
        return {part.uri: part.stamp for part in storage.listing(self.path("runs"), self.options, ".parquet")}

    def remove(self, parts: Iterable[Part]) -> None:
        """Deletes parts; one that is gone already is no error.

        Raises:
            StorageError: one could not be deleted, or another run has taken the store.
        """
        for part in parts:
            with self.while_writing():
                if self.gate is not None:
                    self.gate()
                storage.remove(part.uri, self.options)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise store_error(error, self.root) from error

    def read(
        self,
        table: Table,
        *,
        columns: Sequence[str] | None = None,
        fingerprints: Iterable[str] | None = None,
        extra: Sequence[Column] = (),
        only: Mapping[str, Collection[str] | Collection[int]] | None = None,
        under: str = "",
    ) -> pa.Table:
        """The newest row for each (key, fingerprint), by video and key.

        Args:
            table: which table.
            columns: columns wanted besides keys; default: all.
            fingerprints: only rows of these.
            extra: declared columns of an open-ended table.
            only: column -> values: only rows that have one of them. The column must be a key, or follow from the key as `video_id` does. By
                `video_id` only the parts and row groups that may hold the videos are opened.
            under: only loose parts whose name begins so.

        Raises:
            StorageError: a part cannot be read.
        """
        asked = {column: Asked(values) for column, values in (only or {}).items()}
        prints = None if fingerprints is None else sorted(set(fingerprints))
        names = columns_read(table, columns, extra)

        def look() -> pa.Table:
            parts = self.parts(table, under, fingerprints=prints, videos=asked.get("video_id"))
            return folded(table, gathered(list(self.rows_of(parts, names, prints, asked)), names))

        return steadily(look, self.path(table.name))

    def rows(
        self, part: Part, names: pa.Schema | None, fingerprints: Sequence[str] | None = None, only: Mapping[str, Asked] | None = None
    ) -> Iterator[pa.Table]:
        """The rows of one part as they stand there, a row group at a time; see `Opened.tables`."""
        with Opened(part, self.options) as opened:
            yield from opened.tables(names, fingerprints, only)

    def rows_of(
        self,
        parts: Sequence[Part],
        names: pa.Schema | None,
        fingerprints: Sequence[str] | None = None,
        only: Mapping[str, Asked] | None = None,
    ) -> Iterator[pa.Table]:
        """The rows of several parts, in order of the parts; from an object store several parts are read at once."""

        def one(part: Part) -> list[pa.Table]:
            return list(self.rows(part, names, fingerprints, only))

        if local_path(self.root) is not None or len(parts) < 2:
            for part in parts:
                yield from self.rows(part, names, fingerprints, only)
            return
        with ThreadPoolExecutor(REMOTE_READERS) as threads:
            for start in range(0, len(parts), REMOTE_READERS):
                for found in threads.map(one, parts[start : start + REMOTE_READERS]):
                    yield from found

    def frames(self, video_id: str, fingerprint: str, pts: Sequence[int]) -> dict[int, bytes]:
        """JPEG bytes of a video's sampled frames by pts, of those asked for that exist."""
        found: Any = self.read(FRAMES, columns=["jpeg"], fingerprints=[fingerprint], only={"video_id": [video_id], "pts": pts})
        return dict(zip(found["pts"].to_pylist(), found["jpeg"].to_pylist(), strict=True))

    def frame_pts(self, video_id: str, fingerprint: str) -> list[int]:
        """Sorted pts of a video's sampled frames."""
        found: Any = self.read(FRAMES, columns=[], fingerprints=[fingerprint], only={"video_id": [video_id]})
        return sorted(set(found["pts"].to_pylist()))


def _format(marker: bytes) -> Any:
    """The format that a store's mark states, None where it is no mark."""
    try:
        found = json.loads(marker)
    except ValueError:
        return None
    return found.get("format") if isinstance(found, dict) else None


def columns_read(table: Table, columns: Sequence[str] | None, extra: Sequence[Column]) -> pa.Schema:
    """Schema of a read: the columns asked for, and those by which rows are folded; all of the table's where none are named."""
    import pyarrow as pa

    full = schema(table, extra)
    if columns is None:
        return full
    return pa.schema([full.field(name) for name in dict.fromkeys([*order(table), *AGE, *columns])])


def parquet_options(names: pa.Schema) -> dict[str, Any]:
    """How parts are written: JPEG as it is, all else compressed; texts by dictionary, since video_id and fingerprint repeat. A clip_id does
    not: without a dictionary it takes 8 % less room and 25 % less time to read (measured).
    """
    import pyarrow as pa

    texts = [f.name for f in names if pa.types.is_string(f.type) and f.name != "clip_id"]
    return {"compression": "none" if "jpeg" in names.names else "zstd", "use_dictionary": texts}


def steadily(look: Callable[[], T], where: str) -> T:
    """What a look at the store gives; it looks again when parts were merged away or written anew between its listing and its
    reading.

    Raises:
        StorageError: parts go away each time, or cannot be read.
    """
    for attempt in range(LOOKS):
        try:
            return look()
        except FileNotFoundError as error:
            gone = error
            time.sleep(LOOK_AGAIN_S * attempt)
        except OSError as error:
            raise store_error(error, where) from error
    raise StorageError(
        f"parts of {where} went away {LOOKS} times while they were being read: {gone}", step="store",
        mend="run it again when no `rushes compact` is at work there",
    )  # fmt: skip
