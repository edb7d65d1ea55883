"""Reads and writes one Paimon table for `targets/paimon.py`, in a Python of its own: pypaimon needs an older pyarrow than Rushes.

It imports pypaimon and pyarrow alone, and is run by path, by `die_with_parent.py`. Requests and answers are lines of JSON on its standard
input and output; rows are in files of Arrow's stream format. `prepare` writes data files and `commit` makes one snapshot of them.
"""

from __future__ import annotations

import json
import os
import re
import sys
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import groupby
from typing import Any

import pyarrow as pa
from pypaimon import CatalogFactory, Schema
from pypaimon.catalog.catalog_exception import DatabaseNotExistException, TableNotExistException
from pypaimon.common.uri_reader import UriReader
from pypaimon.schema.data_types import PyarrowFieldParser
from pypaimon.schema.schema_change import SchemaChange
from pypaimon.table.row.blob import Blob, BlobDescriptor

PROPERTY = "rushes"
"""The property of a snapshot that holds the record of the publish that made it."""
VIDEO, VIDEO_URI, ROW_ID = "video", "video_uri", "_ROW_ID"
PIECE = re.compile(r"#bytes=(\d+)-(\d+)$")
"""As in `rushes.media.address`, which this process does not import."""


class Table:
    """One table of one catalog, and what was prepared for its next snapshot."""

    def __init__(self, catalog: dict[str, str], name: str) -> None:
        self._catalog: Any = CatalogFactory.create(catalog)
        self._name = name
        self._messages: list[Any] = []
        self._builder: Any = None

    def _table(self, **options: str) -> Any:
        table = self._catalog.get_table(self._name)
        return table.copy(options) if options else table

    def held(self) -> dict[str, Any]:
        """The newest snapshot and the record in it or in one before: compactions of others carry none. None where there is no table."""
        try:
            table = self._table()
        except (TableNotExistException, DatabaseNotExistException):
            return {"there": False}
        manager = table.snapshot_manager()
        newest = manager.get_latest_snapshot()
        snapshot, record = newest, None
        while snapshot is not None and record is None:
            record = (snapshot.properties or {}).get(PROPERTY)
            try:
                snapshot = manager.get_snapshot_by_id(snapshot.id - 1) if snapshot.id > 1 else None
            except OSError:
                snapshot = None  # it has expired
        blobs = table.table_schema.options.get("blob-descriptor-field", "") != VIDEO
        names = [field.name for field in table.fields]
        return {"there": True, "version": str(newest.id) if newest else "0", "record": record, "bytes": blobs, "columns": names}

    def create(self, schema: str, options: dict[str, str]) -> dict[str, Any]:
        """Makes the table, and its database."""
        self._catalog.create_database(self._name.partition(".")[0], True)
        with pa.OSFile(schema, "rb") as file, pa.ipc.open_stream(file) as reader:
            made = Schema.from_pyarrow_schema(reader.schema, options=options)
        self._catalog.create_table(self._name, made, True)
        return {}

    def add_columns(self, schema: str, names: list[str]) -> dict[str, Any]:
        """Adds columns, null in all rows that are there."""
        with pa.OSFile(schema, "rb") as file, pa.ipc.open_stream(file) as reader:
            fields = [reader.schema.field(name) for name in names]
        changes = [SchemaChange.add_column(field.name, PyarrowFieldParser.to_paimon_type(field.type, True)) for field in fields]
        self._catalog.alter_table(self._name, changes, False)
        return {}

    def drop_columns(self, names: list[str]) -> dict[str, Any]:
        """Takes columns away."""
        self._catalog.alter_table(self._name, [SchemaChange.drop_column(name) for name in names], False)
        return {}

    def rows(self, columns: list[str], into: str, ids: list[str] | None = None) -> dict[str, Any]:
        """Writes columns of all rows, or of some by clip_id, into a file, and their row ids."""
        builder = self._table(**{"blob-as-descriptor": "true"}).new_read_builder()
        if ids is not None:
            builder = builder.with_filter(builder.new_predicate_builder().is_in("clip_id", ids))
        builder = builder.with_projection([*columns, ROW_ID])
        reader = builder.new_read().to_arrow_batch_reader(builder.new_scan().plan().splits())
        with pa.OSFile(into, "wb") as file, pa.ipc.new_stream(file, reader.schema) as out:
            for batch in reader:
                out.write_batch(batch)
        return {}

    def listed(self, into: str) -> dict[str, Any]:
        """Writes the rows of a table that is a list of videos into a file: columns of no bytes and, where none of them is `uri`, a column
        `uri` from the first column of blobs, as file, first byte and length. Gives the snapshot.
        """
        newest = self._table().snapshot_manager().get_latest_snapshot()
        version = str(newest.id) if newest else "0"
        table = self._table(**{"blob-as-descriptor": "true", **({"scan.snapshot-id": version} if newest else {})})
        kinds = {field.name: str(field.type).upper() for field in table.fields}
        light = [name for name, kind in kinds.items() if not kind.startswith(("BLOB", "BYTES", "VARBINARY", "BINARY"))]
        blobs = [] if "uri" in light else [name for name, kind in kinds.items() if kind.startswith("BLOB")][:1]
        builder = table.new_read_builder().with_projection([*light, *blobs])
        found = builder.new_read().to_arrow(builder.new_scan().plan().splits())
        for name in blobs:
            uris = [None if raw is None else _piece(BlobDescriptor.deserialize(raw)) for raw in found[name].to_pylist()]
            found = found.drop_columns([name]).append_column("uri", pa.array(uris, pa.string()))
        with pa.OSFile(into, "wb") as file, pa.ipc.new_stream(file, found.schema) as out:
            out.write_table(found)
        return {"version": version}

    def films(self, ids: list[str], folder: str) -> dict[str, Any]:
        """Writes the blobs of some clips, read as streams, into files; gives their paths by clip_id."""
        table = self._table(**{"blob-as-descriptor": "true"})
        builder = table.new_read_builder()
        builder = builder.with_filter(builder.new_predicate_builder().is_in("clip_id", ids)).with_projection(["clip_id", VIDEO])
        found = builder.new_read().to_arrow(builder.new_scan().plan().splits())
        paths = {}
        for clip, raw in zip(found["clip_id"].to_pylist(), found[VIDEO].to_pylist(), strict=True):
            blob = Blob.from_descriptor(UriReader.from_file(table.file_io), BlobDescriptor.deserialize(raw))
            paths[clip] = os.path.join(folder, f"{clip}.mp4")
            with blob.new_input_stream() as stream, open(paths[clip], "wb") as file:
                while piece := stream.read(1 << 20):
                    file.write(piece)
        return {"paths": paths}

    def prepare(self, added: str | None, changed: str | None, gone: list[int], by_bytes: bool) -> dict[str, Any]:
        """Writes the data files of a snapshot: rows that are added, columns of rows that changed, and marks of rows that go."""
        table = self._table()
        self._builder = table.new_batch_write_builder()
        self._messages = []
        if added:
            writer, schema = self._builder.new_write(), PyarrowFieldParser.from_paimon_schema(table.fields)
            for batch in _batches(added):
                writer.write_arrow(_as_declared(_with_video(batch, by_bytes), schema))
            self._messages += writer.prepare_commit()
            writer.close()
        for some in _by_file(table, changed) if changed else ():
            rows = _with_video(some, by_bytes)
            names = [name for name in rows.column_names if name != ROW_ID]
            self._messages += self._builder.new_update().with_update_type(names).update_by_arrow_with_row_id(rows)
        if gone:
            self._messages += self._builder.new_update().delete_by_row_id(gone)
        return {}

    def commit(self, record: str) -> dict[str, Any]:
        """Makes one snapshot of what was prepared."""
        commit = self._builder.new_commit()
        commit.commit(self._messages, snapshot_properties={PROPERTY: record})
        commit.close()
        return {"version": str(self._table().snapshot_manager().get_latest_snapshot().id)}


def _piece(descriptor: Any) -> str:
    """The name of what a descriptor points at: of a whole file its uri, else as `rushes.media.address.range_uri` has it."""
    uri = descriptor.uri
    if uri.startswith("file:/") and not uri.startswith("file://"):  # as Paimon writes local paths
        uri = uri.removeprefix("file:")
    whole = descriptor.offset == 0 and descriptor.length < 0
    return uri if whole else f"{uri}#bytes={descriptor.offset}-{descriptor.length}"


def _descriptor(uri: str) -> Any:
    """What points at the file or the piece of a file that `_piece` gave this name."""
    found = PIECE.search(uri)
    return BlobDescriptor(uri[: found.start()], int(found[1]), int(found[2])) if found else BlobDescriptor(uri, 0, -1)


def _batches(path: str) -> Iterator[Any]:
    with pa.OSFile(path, "rb") as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _by_file(table: Any, path: str) -> Iterator[Any]:
    """Rows in order of their row ids, those of one data file together: a second update of a file would undo the first."""
    splits = table.new_read_builder().new_scan().plan().splits()
    files = [file for split in splits for file in split.files if not file.file_name.endswith(".blob")]
    ends = sorted({file.first_row_id + file.row_count for file in files})
    waiting: list[Any] = []
    of = -1
    for rows in _batches(path):
        numbers = [bisect_right(ends, row_id) for row_id in rows[ROW_ID].to_pylist()]
        for number, places in groupby(range(rows.num_rows), key=numbers.__getitem__):
            if number != of and waiting:
                yield pa.concat_tables(waiting)
                waiting = []
            at = list(places)
            waiting.append(rows.slice(at[0], len(at)))
            of = number
    if waiting:
        yield pa.concat_tables(waiting)


def _with_video(rows: Any, by_bytes: bool) -> Any:
    """Rows with the column `video`: of references a descriptor of the whole file, to its end, or of the piece of it that is meant."""
    if by_bytes:
        return rows
    descriptors = [None if uri is None else _descriptor(uri).serialize() for uri in rows[VIDEO_URI].to_pylist()]
    return rows.append_column(VIDEO, pa.array(descriptors, pa.large_binary()))


def _as_declared(rows: Any, schema: Any) -> Any:
    """Rows with all columns of the table, in its order; those that rows lack are null."""
    there = set(rows.column_names)
    columns = [rows[one.name].cast(one.type) if one.name in there else pa.nulls(rows.num_rows, one.type) for one in schema]
    return pa.table(columns, schema=schema)


def main() -> None:
    """Answers one request after the other until its input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to standard error
    table: Any = None
    with ThreadPoolExecutor(1) as pool:
        for line in sys.stdin:
            request: dict[str, Any] = json.loads(line)
            verb = request.pop("do")
            call: Any = Table if verb == "open" else getattr(table, verb)
            work = pool.submit(call, **request)
            error = work.exception()
            if error is not None:  # the parent raises it
                answer = {"error": f"{type(error).__name__}: {error}"}
            elif verb == "open":
                table, answer = work.result(), {"version": version("pypaimon")}
            else:
                answer = work.result()
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
