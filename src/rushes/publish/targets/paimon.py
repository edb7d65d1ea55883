"""`paimon:WAREHOUSE#db.table`: one Paimon table with row tracking and data evolution; a clip is a row, its video a blob.

Without `publish.bytes` the blob is a descriptor of the file that holds the clip, so no byte of video is copied. A publish is one snapshot.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rushes.errors import UsageError
from rushes.media import storage
from rushes.media.address import local_path
from rushes.media.paimon_client import PaimonProcess
from rushes.publish.changes import Changes
from rushes.publish.chosen import KEYS
from rushes.publish.media_rows import VIDEO, VIDEO_FRAMES, VIDEO_URI, with_media
from rushes.publish.row_hash import ROW_HASH
from rushes.publish.sorted_rows import sorted_rows
from rushes.publish.target import Context, Film, Held, ReadBack, Record, Target, Written
from rushes.store.partition import Partition

if TYPE_CHECKING:
    import pyarrow as pa

ROW_ID = "_ROW_ID"
MEDIA = (VIDEO, VIDEO_FRAMES, VIDEO_URI)
EVOLVING = {"row-tracking.enabled": "true", "data-evolution.enabled": "true", "deletion-vectors.enabled": "true"}
"""Late columns and updates by row id ask for the first two, taking rows out for the third."""


class PaimonTarget(Target):
    """See the module."""

    media = ("bytes",)

    def __init__(self, place: str, context: Context) -> None:
        super().__init__(place, context)
        warehouse, mark, name = place.rpartition("#")
        if not mark or not warehouse or name.count(".") != 1 or not all(name.split(".")):
            what = f"{place!r} names no table"
            raise UsageError(what, step="publish", mend="use paimon:WAREHOUSE#DATABASE.TABLE, such as paimon:/data/lake#videos.clips")
        path = local_path(warehouse)
        self._warehouse = Path(path).as_uri() if path is not None else warehouse
        options = {key: str(value) for key, value in context.options.get("paimon", {}).items()}
        catalog = {"warehouse": self._warehouse, **options}
        self._process = PaimonProcess(context.settings.paimon_python, f"paimon:{place}", catalog, name)
        self._ask = self._process.ask
        self._scratch = tempfile.TemporaryDirectory(prefix="rushes-paimon-")
        self._there = self._ask("held")
        self._failed: dict[str, str] = {}

    def close(self) -> None:
        """Ends the process of pypaimon."""
        self._process.close()
        self._scratch.cleanup()

    def layout(self, schema: pa.Schema) -> str:
        """Nothing: columns come and go."""
        return ""

    def held(self) -> Held | None:
        """The newest snapshot, and the record in it."""
        if not self._there["there"]:
            return None
        if self._there["record"] is None and self._there["version"] != "0":
            what = f"paimon:{self.place} is a table that was not published"
            raise UsageError(what, step="publish", mend="name a table that is not there yet, or one that rushes publish has made")
        if self._there["bytes"] != self.context.settings.bytes:
            what = f"paimon:{self.place} holds {'bytes' if self._there['bytes'] else 'descriptors'}, which a table does for good"
            raise UsageError(what, step="publish", mend="set publish.bytes as it was, or name another table")
        return Held(self._there["version"], Record.of_json(self._there["record"])) if self._there["record"] else None

    def held_rows(self) -> Iterator[pa.Table]:
        """Reads three columns."""
        yield from self._read([*KEYS, ROW_HASH])

    def _read(self, columns: Sequence[str], ids: Sequence[str] | None = None) -> Iterator[pa.Table]:
        import pyarrow as pa

        into = self._file("read")
        self._ask("rows", columns=list(columns), into=into, ids=None if ids is None else list(ids))
        with pa.OSFile(into, "rb") as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def _file(self, name: str) -> str:
        return str(Path(self._scratch.name) / f"{name}.arrow")

    def write(self, changes: Changes, record: Record) -> Written:
        """Has data files written, then one snapshot made of them."""
        before = self._files()
        self._make_table(changes)
        changed, gone = self._with_row_ids(changes)
        added = None
        if changes.counts["added"]:
            added = self._spilled("added", with_media(self.context, changes.rows("added"), self._failed), changes.columns)
        self._ask("prepare", added=added, changed=changed, gone=gone, by_bytes=self.context.settings.bytes)
        self.context.check()
        version = self._ask("commit", record=record.as_json())["version"]
        self._there = self._ask("held")
        return Written(version, sum(size for uri, size in self._files().items() if uri not in before), self._failed)

    def _make_table(self, changes: Changes) -> None:
        """Makes the table where it is not there, or gives it the columns that it lacks; neither changes a row."""
        import pyarrow as pa

        more = pa.field(VIDEO_FRAMES, pa.int64()) if self.context.settings.bytes else pa.field(VIDEO_URI, pa.string())
        schema = pa.schema([*changes.schema, pa.field(VIDEO, pa.large_binary()), more])
        path = self._file("schema")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, schema):
            pass
        if not self._there["there"]:
            options = EVOLVING if self.context.settings.bytes else {**EVOLVING, "blob-descriptor-field": VIDEO}
            self._ask("create", schema=path, options=options)
        elif missing := [name for name in schema.names if name not in self._there["columns"]]:
            self._ask("add_columns", schema=path, names=missing)

    def settle(self, record: Record) -> None:
        """Takes away columns that are not published any more."""
        wanted = {*record.columns, *MEDIA}
        if others := [name for name in self._there["columns"] if name not in wanted]:
            self._ask("drop_columns", names=others)
            self._there = self._ask("held")

    def _with_row_ids(self, changes: Changes) -> tuple[str | None, list[int]]:
        """A file of the changed rows with their row ids, and the row ids of those that go."""
        if not changes.counts["changed"] and not changes.counts["removed"]:
            return None, []
        with Partition(changes.digits) as known:
            for rows in self._read(KEYS):
                known.add(rows)
            gone = [row_id for rows in changes.gone() for row_id in _row_ids(rows, known, changes.digits).to_pylist()]

            def changed() -> Iterator[pa.Table]:
                for prefix in sorted(changes.touched):
                    for rows in changes.rows("changed", prefix=prefix):
                        yield rows.append_column(ROW_ID, _row_ids(rows, known, changes.digits))

            file = None
            if changes.counts["changed"]:
                tables = sorted_rows(changed(), ROW_ID)
                tables = tables if self.context.settings.bytes else with_media(self.context, tables, self._failed)
                file = self._spilled("changed", tables, [*changes.columns, ROW_ID])
        return file, gone

    def _spilled(self, name: str, tables: Iterable[pa.Table], columns: Sequence[str]) -> str | None:
        """Writes rows into a file: some columns, and those of their videos. None where there is no row."""
        import pyarrow as pa

        path, out = self._file(name), None
        with pa.OSFile(path, "wb") as file:
            for rows in tables:
                some = rows.select([*columns, *(one for one in MEDIA if one in rows.column_names)]).combine_chunks()
                out = out or pa.ipc.new_stream(file, some.schema)
                out.write_table(some)
            if out is not None:
                out.close()
        return path if out is not None else None

    def _files(self) -> dict[str, int]:
        database, _, name = self.place.rpartition("#")[2].partition(".")
        folder = f"{self._warehouse}/{database}.db/{name}"
        return {file.uri: file.size or 0 for file in storage.listing(folder, self.context.options)}

    def read_back(self, clip_ids: Sequence[str], schema: pa.Schema) -> ReadBack:
        """Reads with pypaimon: all rows are counted through `to_arrow`, and blobs come through their streams."""
        import pyarrow as pa

        rows = sum(table.num_rows for table in self._read(["clip_id"]))
        found = [table.select(schema.names).cast(schema) for table in self._read(schema.names, clip_ids)]
        films: dict[str, Film] = {}
        if self.context.settings.bytes:
            paths = self._ask("films", ids=list(clip_ids), folder=self._scratch.name)["paths"]
            films = {clip: Film(path) for clip, path in paths.items()}
        return ReadBack(
            f"pypaimon {self._process.version}", rows, sum(self._files().values()), pa.concat_tables([schema.empty_table(), *found]), films
        )


def _row_ids(rows: pa.Table, known: Partition, digits: int) -> Any:
    """The row ids of rows, by clip_id; `known` has them by the first digits of video_id."""
    import pyarrow as pa
    import pyarrow.compute as pc

    prefixes: Any = pc.unique(pc.utf8_slice_codeunits(rows["video_id"], 0, digits)).to_pylist() if digits else [""]
    there = pa.concat_tables([table for prefix in prefixes for table in known.rows(prefix)])
    return there[ROW_ID].take(pc.index_in(rows["clip_id"], value_set=there["clip_id"].combine_chunks())).combine_chunks()
