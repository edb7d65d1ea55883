"""Rows as a Lance dataset has them: published columns, sampled frames, and a blob with the bytes of the clip's file or a reference."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rushes.errors import UsageError
from rushes.media import storage
from rushes.media.address import local_path, protocol_of, split_stream
from rushes.media.guard import Stopped
from rushes.publish.clip_files import ClipFile, ClipFiles
from rushes.publish.target import Context
from rushes.records import Row, evenly
from rushes.results.lines import rows_of
from rushes.store.frames import FrameReader

if TYPE_CHECKING:
    import pyarrow as pa

VIDEO = "video"
VIDEO_URI = "video_uri"
VIDEO_FRAMES = "video_frames"
FRAMES = ("frame_pts", "frames")
BATCH_BYTES = 64 << 20
BATCH_ROWS = 1024
"""What is in memory at once of rows with bytes: so many bytes, or rows, and one clip more."""
REFERRED = {"s3", "s3a", "gs", "az", "abfs", "abfss", "oss", "tos", "hf"}
"""Protocols that Lance opens references of."""


def lance_schema(published: pa.Schema, context: Context, vectors: dict[str, int], blob: Any) -> pa.Schema:
    """The schema of the dataset.

    Args:
        published: of the published columns.
        context: of the target.
        vectors: length of the vectors of each column of vectors; one whose length is not known yet is left out.
        blob: Lance's `blob_field`.
    """
    import pyarrow as pa

    fields = []
    for field in published:
        if not pa.types.is_list(field.type) or not pa.types.is_floating(field.type.value_type):
            fields.append(field)
        elif field.name in vectors:
            fields.append(pa.field(field.name, pa.list_(pa.float32(), vectors[field.name])))
    fields += [pa.field(VIDEO_URI, pa.string()), pa.field(VIDEO_FRAMES, pa.int64()), blob(VIDEO)]
    if context.settings.frames:
        fields += [pa.field(FRAMES[0], pa.list_(pa.int64())), pa.field(FRAMES[1], pa.list_(pa.binary()))]
    return pa.schema(fields)


def reference_of(row: Row) -> str | None:
    """Where a clip's video lies: its file where the stage `files` has made one, else its source; None where Lance cannot open that."""
    uri = str(row["clip_uri"] or split_stream(row["uri"])[0])
    path = local_path(uri)
    if path is not None:
        return Path(path).as_uri()
    return uri if protocol_of(uri) in REFERRED else None


def shaped(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema that rows have, in its types.

    Raises:
        UsageError: a value does not fit the type of the dataset's column.
    """
    import pyarrow as pa

    fields = [field for field in schema if field.name in rows.column_names]
    try:
        return pa.table([rows[field.name].cast(field.type) for field in fields], schema=pa.schema(fields))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(f"rows do not fit the columns of the dataset: {error}", step="publish", mend="publish to a new place") from error


def new_rows(context: Context, tables: Iterable[pa.Table], schema: pa.Schema, failed: MutableMapping[str, str]) -> Iterator[pa.RecordBatch]:
    """Rows with their blobs and frames, as batches of `schema`; clips of which no file can be made are left out and noted in `failed`."""
    frames = _Frames(context)
    if not context.settings.bytes:
        for table in tables:
            for start in range(0, table.num_rows, BATCH_ROWS):
                some = table.slice(start, BATCH_ROWS)
                yield from _batches(context, some, [reference_of(row) for row in rows_of(some, dict)], frames, schema)
        return
    import pyarrow as pa

    with tempfile.TemporaryDirectory(prefix="rushes-publish-") as folder, ClipFiles(context, folder) as files:
        waiting: list[ClipFile] = []
        held: list[bytes] = []
        form: pa.Schema | None = None

        def flush() -> Iterator[pa.RecordBatch]:
            table = pa.Table.from_pylist([one.row for one in waiting], form)
            yield from _batches(context, table, list(held), frames, schema, [one.n_frames for one in waiting])
            waiting.clear()
            held.clear()

        def seen() -> Iterator[pa.Table]:
            nonlocal form
            for table in tables:
                form = table.schema
                yield table

        for of_video in files.of(seen()):
            for one in of_video:
                if one.error is not None:
                    failed[one.row["clip_id"]] = one.error.what
                    context.tell(1)
                    continue
                held.append(content_of(one.uri, context.options))
                waiting.append(one)
                if local_path(one.uri) is not None and str(local_path(one.uri)).startswith(folder):
                    Path(one.uri).unlink()
                if len(waiting) >= BATCH_ROWS or sum(map(len, held)) >= BATCH_BYTES:
                    yield from flush()
        if waiting:
            yield from flush()


def content_of(uri: str, options: storage.Options) -> bytes:
    """The bytes of a file.

    Raises:
        StorageError: it cannot be read.
    """
    from rushes.media.error_translation import store_error

    try:
        with storage.ranges(uri, options) as read:
            return read(0, storage.stat(uri, options).size or 0)
    except OSError as error:
        raise store_error(error, uri) from error


def _batches(
    context: Context, rows: pa.Table, videos: list[Any], frames: _Frames, schema: pa.Schema, n_frames: list[int | None] | None = None
) -> Iterator[pa.RecordBatch]:
    """One table of rows as batches of the dataset's schema."""
    import lance
    import pyarrow as pa

    if context.stop():
        raise Stopped
    table = shaped(rows, schema)
    uris = [video if isinstance(video, str) else None for video in videos]
    columns: dict[str, Any] = {name: table[name] for name in table.column_names}
    columns[VIDEO_URI] = pa.array(uris, pa.string())
    columns[VIDEO_FRAMES] = pa.array(n_frames or [None] * rows.num_rows, pa.int64())
    columns[VIDEO] = lance.blob_array([lance.Blob.from_uri(video) if isinstance(video, str) else video for video in videos])
    if context.settings.frames:
        found = [frames.of(row) for row in rows.select(["video_id", "start_pts", "end_pts"]).to_pylist()]
        columns[FRAMES[0]] = pa.array([list(some) for some in found], pa.list_(pa.int64()))
        columns[FRAMES[1]] = pa.array([list(some.values()) for some in found], pa.list_(pa.binary()))
    full = [columns[field.name] if field.name in columns else pa.nulls(rows.num_rows, field.type) for field in schema]
    yield from pa.table(full, schema=schema).to_batches()
    context.tell(rows.num_rows)


class _Frames:
    """The sampled frames of clips."""

    def __init__(self, context: Context) -> None:
        fingerprint = context.results.prints.get("frames")
        self._n = context.settings.frames
        self._reader = FrameReader(context.results.store, fingerprint) if fingerprint is not None else None

    def of(self, row: Row) -> dict[int, bytes]:
        """JPEGs by pts, of so many frames of a clip as are wanted, evenly spread; fewer where it has fewer."""
        if self._reader is None:
            return {}
        inside = [pts for pts in self._reader.pts(row["video_id"]) if row["start_pts"] <= pts < row["end_pts"]]
        found = self._reader.jpegs(row["video_id"], evenly(inside, self._n))
        return {pts: found[pts] for pts in sorted(found)}
