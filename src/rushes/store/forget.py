"""Takes videos out of a store for good: their rows of every table, their frames and their clip files.

First the ids are recorded in the table `forgotten`; then clip files, rows and merged parts go; last of all the rows that know uris
(`errors`, `identities`, `videos`), so that a call that was killed finds the same videos again. A part that holds rows of other videos is
written anew without these rows, under another name, before it is removed: readers miss nothing meanwhile.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from rushes.errors import UsageError
from rushes.media import storage
from rushes.media.address import STREAM, public_uri
from rushes.store.compact import sweep
from rushes.store.forgotten import FINGERPRINT, Forgotten
from rushes.store.opened import Opened
from rushes.store.parts import Asked, Part, digits_of, merged_part
from rushes.store.store import CLIP_FILES, Store, now, parquet_options
from rushes.store.tables import CLIPS, ERRORS, FILES, FORGOTTEN, IDENTITIES, PUBLISHED, RUNS, TABLES, VIDEOS, Table

if TYPE_CHECKING:
    import pyarrow as pa

VIDEO_ID = re.compile(r"[0-9a-f]{64}")
NAMING = (ERRORS, IDENTITIES, VIDEOS)
"""The tables that know uris, in the order in which their rows go."""
MESSAGES = ((RUNS, "message"), (PUBLISHED, "problems"))
"""Texts for people in tables that are about no video."""
LEFT_BEHIND_S = 60.0
"""From this age on, seconds, temporary files are removed that killed writers left: they may hold rows of what is taken out. Nobody else
writes tables while the lease is held, and a part is written in seconds."""
TAKEN_OUT = "(forgotten)"
"""What stands in messages of runs for a uri or an id that was taken out."""


@dataclass(slots=True)
class TakenOut:
    """What a call of `forget` took out.

    Attributes:
        videos: contents that are forgotten now and were not before.
        uris: names under which the store knew what was taken out.
        rows: table -> rows that went, superseded ones too.
        clip_files: clip files that went.
        bytes: by how much the store's tables and clip files became smaller.
    """

    videos: int = 0
    uris: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    clip_files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Gone:
    """What is taken out: contents by `video_id`, and uris of which the store knows no other content."""

    ids: frozenset[str]
    uris: frozenset[str]

    @property
    def digits(self) -> Asked:
        """By what parts are sorted into buckets."""
        return Asked([*self.ids, *(digits_of(None, uri) for uri in self.uris)])

    def mask(self, rows: pa.Table) -> Any:
        """Which rows go."""
        import pyarrow as pa
        import pyarrow.compute as pc

        mine: Any = pc.is_in(rows["video_id"], value_set=pa.array(sorted(self.ids), pa.string()))
        if "uri" in rows.column_names:
            named: Any = pc.is_in(rows["uri"], value_set=pa.array(sorted(self.uris), pa.string()))
            mine = pc.or_(mine, pc.and_(named, pc.is_null(rows["video_id"])))
        return mine


def forget(store: Store, names: Sequence[str], run_id: str) -> TakenOut:
    """Takes out videos, and completes what a call that was killed has left. The caller holds the store's lease.

    Args:
        store: the store.
        names: uris as the store has them, paths, or `video_id`s; these may be unknown to the store.
        run_id: for the stamps of rows.

    Raises:
        UsageError: the store knows nothing of a uri; nothing was changed.
        StorageError: the store cannot be read or written; the same call goes on.
    """
    before, pairs = Forgotten.of(store), set(_pairs(store))
    gone = _resolved(store, names, before, pairs)
    fresh = sorted({*gone.ids, *(digits_of(None, uri) for uri in gone.uris)} - before.ids)
    stamp = {"fingerprint": FINGERPRINT, "run_id": run_id, "written_at": now()}
    store.write_rows(FORGOTTEN, [{"video_id": one, **stamp} for one in fresh])
    done = TakenOut(len(gone.ids - before.ids), len(gone.uris))
    _remove_clip_files(store, gone, done)
    of_videos = [t for t in TABLES.values() if any(column.name == "video_id" for column in t.columns)]
    for table in (*(t for t in of_videos if t not in (*NAMING, FORGOTTEN)), *NAMING):
        done.rows[table.name] = sum(_without(store, table, part, gone, done) for part in store.parts(table, videos=gone.digits))
    _clean_messages(store, gone)
    sweep(store, LEFT_BEHIND_S)
    return done


def _pairs(store: Store) -> Iterator[tuple[str, str | None]]:
    """Each uri that the store has, with each content that it knows under it, superseded rows included."""
    import pyarrow as pa

    names = pa.schema([("uri", pa.string()), ("video_id", pa.string())])
    for table in NAMING:
        for part in store.parts(table):
            for rows in store.rows(part, names):
                yield from zip(rows["uri"].to_pylist(), rows["video_id"].to_pylist(), strict=True)


def _resolved(store: Store, names: Sequence[str], before: Forgotten, pairs: Collection[tuple[str, str | None]]) -> _Gone:
    """What the names mean, together with all that was to be taken out before."""
    known = {uri for uri, _ in pairs if uri is not None}
    ids, uris = {one for one in before.ids if VIDEO_ID.fullmatch(one)}, set()
    for name in names:
        if VIDEO_ID.fullmatch(name):
            ids.add(name)
            continue
        asked = {name, public_uri(name)}
        found = {uri for uri in known if uri in asked or uri.rpartition(STREAM)[0] in asked}
        if not found and not any(before.holds(None, uri) for uri in asked):
            mend = "`rushes videos` lists the uris; a video that the store does not know yet can be named by its video_id"
            raise UsageError(f"the store {store.root} knows no video {name!r}", step="forget", mend=mend)
        uris |= found
    ids |= {video for uri, video in pairs if uri in uris and video is not None}
    named = {uri for uri, video in pairs if uri is not None and (video in ids or uri in uris)}
    named |= {uri for uri, video in pairs if uri is not None and video is None and before.holds(None, uri)}
    return _Gone(frozenset(ids), frozenset(named - {uri for uri, video in pairs if video is not None and video not in ids}))


def _without(store: Store, table: Table, part: Part, gone: _Gone, done: TakenOut) -> int:
    """Takes the rows out of one part; gives their number."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with Opened(part, store.options) as opened, tempfile.TemporaryFile(prefix="rushes-") as scratch:
        names, n_rows, left = opened.schema.remove_metadata(), opened.n_rows, 0
        if part.video is None or part.video not in gone.ids:
            if not _holds(opened, gone):
                return 0
            with pq.ParquetWriter(scratch, names, **parquet_options(names)) as writer:
                for rows in opened.tables(names):
                    rest = rows.filter(pc.invert(gone.mask(rows)))
                    left += rest.num_rows
                    if rest.num_rows:
                        first = str(rest["fingerprint"][0])[:8]
                        writer.write_table(rest)
        if left:
            scratch.seek(0)
            digest = hashlib.file_digest(scratch, "sha256").hexdigest()
            name = merged_part(str(part.fingerprint), part.prefix or "", digest) if part.merged else f"{first}-{digest[:20]}"
            scratch.seek(0)
            store.put(store.path(table.name, name + ".parquet"), lambda sink: shutil.copyfileobj(cast(BinaryIO, scratch), sink))
            done.bytes -= scratch.tell()
    store.remove([part])
    done.bytes += part.size
    return n_rows - left


def _holds(opened: Opened, gone: _Gone) -> bool:
    """Whether a part has rows that go."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pa.schema([field for field in opened.schema if field.name in ("video_id", "uri")])
    tests = [("video_id", gone.ids)] + ([("uri", gone.uris)] if "uri" in names.names else [])
    found = (rows for column, values in tests if values for rows in opened.tables(names, None, {column: Asked(values)}))
    return any(pc.any(gone.mask(rows)).as_py() for rows in found)


def _remove_clip_files(store: Store, gone: _Gone, done: TakenOut) -> None:
    """Removes the clip files of the videos, also those that a run which was killed has made and not recorded."""
    of_videos = {"video_id": gone.ids}
    clips = {str(clip) for table in (CLIPS, FILES) for clip in store.read(table, columns=[], only=of_videos)["clip_id"].to_pylist()}
    folders = storage.folders(store.path(CLIP_FILES), store.options) if clips else []
    for clip in sorted(clips):
        for folder in folders:
            for file in storage.listing(f"{folder}/{clip[:2]}", store.options, beginning=clip):
                store.remove([Part(file.uri, file.size or 0)])
                done.clip_files += 1
                done.bytes += file.size or 0


def _clean_messages(store: Store, gone: _Gone) -> None:
    """Takes uris and ids out of what runs said when they could not go on, and of what checks of targets found."""
    words = sorted(gone.uris | gone.ids, key=len, reverse=True)
    for table, column in MESSAGES:
        for part in store.parts(table):
            rows = [row for some in store.rows(part, None) for row in some.to_pylist()]
            clean = [row | {column: _replaced(row[column], words)} for row in rows]
            if clean != rows:
                store.write_rows(table, clean, name=part.uri[len(store.path(table.name)) + 1 :].removesuffix(".parquet"))


def _replaced(text: str | None, words: Sequence[str]) -> str | None:
    for word in words if text else ():
        text = str(text).replace(word, TAKEN_OUT)
    return text
