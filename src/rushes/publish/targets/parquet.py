"""`parquet:DIR`: Parquet files in versioned folders, one file for each range of videos and each value of `publish.partition_by`.

A range in which nothing changed is linked from the version before, so a small change writes small files.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rushes.errors import RecipeError
from rushes.media import storage
from rushes.media.address import local_path
from rushes.media.guard import Stopped
from rushes.publish.changes import Changes
from rushes.publish.chosen import KEYS
from rushes.publish.row_hash import ROW_HASH
from rushes.publish.target import Context, Held, ReadBack, Record, Target, Written
from rushes.publish.versions import Versions, opened_file
from rushes.store.parts import ALL
from rushes.store.store import parquet_options

if TYPE_CHECKING:
    import pyarrow as pa

NULL = "__HIVE_DEFAULT_PARTITION__"
"""What Hive, DuckDB and Arrow read as null in the name of a folder."""
GROUP_ROWS = 1 << 15


class ParquetTarget(Target):
    """See the module."""

    takes = "ranges"

    def __init__(self, place: str, context: Context) -> None:
        super().__init__(place, context)
        self._versions = Versions(place, context.options)
        self._by = context.settings.partition_by

    def layout(self, schema: pa.Schema) -> str:
        """Partitions, and how many digits make a range.

        Raises:
            RecipeError: there is no such column to partition by.
        """
        for name in self._by:
            if name not in schema.names or name in (*KEYS, ROW_HASH):
                what = f"publish.partition_by names {name!r}, which is not among the published columns that files can be divided by"
                raise RecipeError(what, step="publish", mend="name it in publish.columns, too, or take another column")
        return json.dumps({"partition_by": self._by, "digits": self.context.results.reader.digits})

    def held(self) -> Held | None:
        """The version that LATEST names."""
        latest = self._versions.latest()
        return Held(latest.name, latest.record) if latest else None

    def held_rows(self) -> Iterator[pa.Table]:
        """Reads three columns of each file."""
        import pyarrow.parquet as pq

        for uri in self._files():
            with opened_file(uri, self.context.options) as file:
                yield pq.read_table(file, columns=[*KEYS, ROW_HASH], partitioning=None)

    def _files(self) -> list[str]:
        latest = self._versions.latest()
        found = storage.listing(latest.uri, self.context.options, ".parquet") if latest else ()
        return sorted(file.uri for file in found)

    def write(self, changes: Changes, record: Record) -> Written:
        """Writes the files of ranges that changed, and links the others."""
        draft, touched = self._versions.begin(), {_file_name(prefix) for prefix in changes.touched}
        if draft.before is not None:
            for uri in self._files():
                name = uri[len(draft.before.uri) + 1 :]
                if name.rpartition("/")[2] not in touched:
                    draft.keep(name)
        for prefix in sorted(changes.touched & changes.ranges.keys()):
            for rows in changes.rows(prefix=prefix):
                if self.context.stop():
                    raise Stopped
                for folder, some in self._parts(rows.select(list(changes.columns))):
                    draft.put(folder + _file_name(prefix), _as_parquet(some))
                self.context.tell(rows.num_rows)
        self.context.check()
        draft.commit(record, self.context.settings.versions)
        return Written(draft.name, draft.bytes)

    def _parts(self, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """(folders, rows without the columns that folders name), one for each combination of values."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._by:
            yield "", rows
            return
        places: Any = pa.array([""] * rows.num_rows, pa.string())
        for name in self._by:
            column: Any = pc.cast(rows[name].combine_chunks(), pa.string())
            values = pc.fill_null(column, NULL).to_pylist()
            places = pc.binary_join_element_wise(places, pa.array([f"{name}={quote(value, safe=' ')}/" for value in values]), "")
        for place in sorted(pc.unique(places).to_pylist()):
            yield place, rows.filter(pc.equal(places, pa.scalar(place))).drop_columns(list(self._by))

    def read_back(self, clip_ids: Sequence[str], schema: pa.Schema) -> ReadBack:
        """Reads the folder as one data set with Arrow."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        latest = self._versions.latest()
        assert latest is not None
        files = [file for file in storage.listing(latest.uri, self.context.options, ".parquet")]
        hive = ds.partitioning(pa.schema([schema.field(name) for name in self._by]), flavor="hive") if self._by else None
        path = local_path(latest.uri)
        where: dict[str, Any] = {"source": path}
        if path is None:
            fs, inner = storage.filesystem(latest.uri, self.context.options)
            where = {"source": inner, "filesystem": fs}
        found = ds.dataset(**where, schema=schema, format="parquet", partitioning=hive)
        sample = found.to_table(filter=ds.field("clip_id").isin(pa.array(clip_ids, pa.string())))
        return ReadBack(f"pyarrow {pa.__version__}", found.count_rows(), sum(file.size or 0 for file in files), sample)


def _file_name(prefix: str) -> str:
    """The name of the file of a range; the one of a store that is not divided is called `all`, as in the store."""
    return f"clips-{prefix or ALL}.parquet"


def _as_parquet(rows: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(rows, buffer, row_group_size=GROUP_ROWS, **parquet_options(rows.schema))
    return buffer.getvalue()
