"""Rows with what a target holds of their videos: where each lies, or the bytes of its file, and sampled frames."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from rushes.media import storage
from rushes.media.address import local_path, range_uri, split_range, split_stream
from rushes.media.error_translation import store_error
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


def place_of(row: Row) -> str:
    """Where a clip's video lies: its file where the stage `files` has made one, else its source. A path becomes a URL with file://; of a
    piece of a file it is that of the file, with the piece behind it (`address.range_uri`).
    """
    uri, piece = split_range(str(row["clip_uri"] or split_stream(row["uri"])[0]))
    path = local_path(uri)
    place = Path(path).as_uri() if path is not None else uri
    return range_uri(place, *piece) if piece is not None else place


def with_media(context: Context, tables: Iterable[pa.Table], failed: MutableMapping[str, str]) -> Iterator[pa.Table]:
    """Rows as they come, in tables of at most `BATCH_ROWS`, with further columns.

    They are `video_uri`, where the video lies; or, where bytes are published, `video`, the bytes of its file (a clip of which none can be
    made is left out, and noted in `failed`), and `video_frames`, the number of its frames where it is known. With frames, they are
    `frame_pts` and `frames`, their JPEGs.
    """
    import pyarrow as pa

    found = _with_bytes(context, tables, failed) if context.settings.bytes else _with_places(tables)
    frames = ClipFrames(context, context.settings.frames) if context.settings.frames else None
    for table in found:
        if context.stop():
            raise Stopped
        if frames is not None:
            of = [frames.of(row) for row in table.select(["video_id", "start_pts", "end_pts"]).to_pylist()]
            table = table.append_column(FRAMES[0], pa.array([list(some) for some in of], pa.list_(pa.int64())))
            table = table.append_column(FRAMES[1], pa.array([list(some.values()) for some in of], pa.list_(pa.binary())))
        yield table
        context.tell(table.num_rows)


def _with_places(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    import pyarrow as pa

    for table in tables:
        for start in range(0, table.num_rows, BATCH_ROWS):
            some = table.slice(start, BATCH_ROWS)
            yield some.append_column(VIDEO_URI, pa.array([place_of(row) for row in rows_of(some, dict)], pa.string()))


def _with_bytes(context: Context, tables: Iterable[pa.Table], failed: MutableMapping[str, str]) -> Iterator[pa.Table]:
    with (
        tempfile.TemporaryDirectory(prefix="rushes-publish-") as folder,
        ClipFiles.of_target(context, folder) as files,
    ):
        waiting = _Waiting()
        for one in files.made(waiting.noting_schema(tables), failed, context.tell):
            waiting.add(one, content_of(one.uri, context.options))
            if one.made is not None:
                Path(one.uri).unlink()
            if waiting.full:
                yield waiting.table()
        if waiting.files:
            yield waiting.table()


class _Waiting:
    """Clips whose bytes are in memory until there are enough for a table."""

    def __init__(self) -> None:
        self.files: list[ClipFile] = []
        self._contents: list[bytes] = []
        self._schema: pa.Schema | None = None

    def noting_schema(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The same tables, whose schema is that of `table`."""
        for table in tables:
            self._schema = table.schema
            yield table

    def add(self, one: ClipFile, content: bytes) -> None:
        self.files.append(one)
        self._contents.append(content)

    @property
    def full(self) -> bool:
        return len(self.files) >= BATCH_ROWS or sum(map(len, self._contents)) >= BATCH_BYTES

    def table(self) -> pa.Table:
        """The clips with their bytes; none wait any more."""
        import pyarrow as pa

        found = pa.Table.from_pylist([one.row for one in self.files], self._schema)
        found = found.append_column(VIDEO_FRAMES, pa.array([one.n_frames for one in self.files], pa.int64()))
        found = found.append_column(VIDEO, pa.array(self._contents, pa.large_binary()))
        self.files, self._contents = [], []
        return found


def content_of(uri: str, options: storage.Options) -> bytes:
    """The bytes of a file.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with storage.ranges(uri, options) as read:
            return read(0, storage.stat(uri, options).size or 0)
    except OSError as error:
        raise store_error(error, uri) from error


class ClipFrames:
    """The sampled frames of clips.

    Args:
        context: of the target.
        n: so many of each clip, evenly spread; fewer where it has fewer. None are there where the recipe samples none.
    """

    def __init__(self, context: Context, n: int) -> None:
        fingerprint = context.results.prints.get("frames")
        self._n = n
        self._reader = FrameReader(context.results.store, fingerprint) if fingerprint is not None else None

    def of(self, row: Row) -> dict[int, bytes]:
        """JPEGs by pts, in their order, of a clip's frames."""
        if self._reader is None:
            return {}
        inside = [pts for pts in self._reader.pts(row["video_id"]) if row["start_pts"] <= pts < row["end_pts"]]
        found = self._reader.jpegs(row["video_id"], evenly(inside, self._n))
        return {pts: found[pts] for pts in sorted(found)}
