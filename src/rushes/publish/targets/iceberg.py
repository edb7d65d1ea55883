"""`iceberg:WAREHOUSE#ns.table`: one Iceberg table of a SQL catalog, by pyiceberg. A publish is one commit to the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rushes.errors import MissingExtra, StorageError, UsageError
from rushes.media.address import local_path
from rushes.media.guard import Stopped
from rushes.publish.changes import Changes
from rushes.publish.chosen import KEYS
from rushes.publish.row_hash import ROW_HASH
from rushes.publish.target import Context, Held, ReadBack, Record, Target, Written

if TYPE_CHECKING:
    import pyarrow as pa

PROPERTY = "rushes"
"""The property of the table that holds the record of the newest publish."""
PUBLISH_ID = "rushes.publish_id"
"""Stands in the summary of each snapshot of a publish."""
NAME = "default"
"""Name of the catalog where none is given: a SQL catalog keeps tables under its name, and pyiceberg itself has this default."""
CATALOG = "catalog.db"
"""The catalog of a local warehouse for which none is named: an SQLite file."""


class IcebergTarget(Target):
    """See the module."""

    def __init__(self, place: str, context: Context) -> None:
        super().__init__(place, context)
        warehouse, mark, self._name = place.rpartition("#")
        if not mark or not warehouse or not all(self._name.split(".")) or "." not in self._name:
            mend = "use iceberg:WAREHOUSE#NAMESPACE.TABLE, such as iceberg:/data/lake#videos.clips"
            raise UsageError(f"{place!r} names no table", step="publish", mend=mend)
        try:
            from pyiceberg.catalog import load_catalog
        except ImportError as error:
            what = "a target iceberg: needs pyiceberg, which is not installed"
            raise MissingExtra(what, step="publish", mend="pip install 'rushes[iceberg]'") from error
        path = local_path(warehouse)
        options = {"type": "sql"} | {key: str(value) for key, value in context.options.get("iceberg", {}).items()}
        if path is not None:
            Path(path).mkdir(parents=True, exist_ok=True)
            options.setdefault("uri", f"sqlite:///{path}/{CATALOG}")
        elif "uri" not in options:
            what = f"{warehouse} is no local folder, so its catalog has to be named"
            raise UsageError(what, step="publish", mend="set uri in [storage.iceberg] of the recipe, such as postgresql://...")
        folder = Path(path).as_uri() if path is not None else warehouse
        with self._asking():
            self._catalog: Any = load_catalog(options.pop("name", NAME), **options, warehouse=folder)
            self._table: Any = self._catalog.load_table(self._name) if self._catalog.table_exists(self._name) else None

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turns errors of the catalog, its database and its files into one of ours."""
        from pyiceberg.exceptions import RESTError, ValidationError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (OSError, SQLAlchemyError, RESTError, ValidationError) as error:
            mend = "see that catalog and warehouse can be reached and written, then publish again; their options are [storage.iceberg]"
            raise StorageError(f"{self.place}: Iceberg says: {error}", step="publish", mend=mend) from error

    def close(self) -> None:
        """Closes the connections to the catalog."""
        if engine := getattr(self._catalog, "engine", None):
            engine.dispose()

    def layout(self, schema: pa.Schema) -> str:
        """Nothing: columns come and go."""
        return ""

    def held(self) -> Held | None:
        """The record that the table's properties hold."""
        if self._table is None or self._table.current_snapshot() is None:
            return None
        text = self._table.properties.get(PROPERTY)
        if text is None:
            mend = "name a table that is not there yet, or one that rushes publish has made"
            raise UsageError(f"{self.place} is a table that was not published", step="publish", mend=mend)
        return Held(str(self._table.current_snapshot().snapshot_id), Record.of_json(text))

    def held_rows(self) -> Iterator[pa.Table]:
        """Reads three columns, batch by batch."""
        import pyarrow as pa

        with self._asking():
            for batch in self._table.scan(selected_fields=(*KEYS, ROW_HASH)).to_arrow_batch_reader():
                yield pa.Table.from_batches([batch])

    def write(self, changes: Changes, record: Record) -> Written:
        """Takes out rows that go or change, adds those that are new or changed, and commits once."""
        from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException

        with self._asking():
            if self._table is None:
                self._catalog.create_namespace_if_not_exists(self._name.rpartition(".")[0])
                self._table = self._catalog.create_table_if_not_exists(self._name, schema=changes.schema)
            before = self._sizes()
            try:
                with self._table.transaction() as transaction:
                    self._stage(transaction, changes, record)
                    self.context.check()
            except (CommitFailedException, CommitStateUnknownException) as error:
                self._table.refresh()
                if not self._is_committed(record):
                    what = f"{self.place}: the commit was refused: {error}"
                    raise StorageError(what, step="publish", mend="another process wrote to the table: publish again") from error
            self._table = self._catalog.load_table(self._name)
            written = sum(size for path, size in self._sizes().items() if path not in before)
        return Written(str(self._table.current_snapshot().snapshot_id), written)

    def _stage(self, transaction: Any, changes: Changes, record: Record) -> None:
        import pyarrow as pa
        from pyiceberg.expressions import AlwaysTrue, In

        notes = {PUBLISH_ID: record.publish_id}
        names = self._table.schema().column_names
        with transaction.update_schema() as schema:
            schema.union_by_name(changes.schema)
        gone = [str(clip) for rows in changes.gone(changed=True) for clip in rows["clip_id"].to_pylist()]
        if gone:
            transaction.delete(In("clip_id", gone) if changes.counts["unchanged"] else AlwaysTrue(), snapshot_properties=notes)
        with transaction.update_schema() as schema:
            for name in names:
                if name not in changes.columns:
                    schema.delete_column(name)
        if changes.counts["added"] or changes.counts["changed"]:
            rows = pa.RecordBatchReader.from_batches(changes.schema, self._batches(changes))
            transaction.append(rows, snapshot_properties=notes)
        transaction.set_properties({PROPERTY: record.as_json()})

    def _batches(self, changes: Changes) -> Iterator[pa.RecordBatch]:
        for rows in changes.rows("added", "changed"):
            if self.context.stop():
                raise Stopped
            yield from rows.select(list(changes.columns)).to_batches()
            self.context.tell(rows.num_rows)

    def _is_committed(self, record: Record) -> bool:
        """Whether a snapshot has the publish's id: the answer to a commit may be lost on its way."""
        found = [one.summary.additional_properties for one in self._table.metadata.snapshots if one.summary]
        return any(some.get(PUBLISH_ID) == record.publish_id for some in found)

    def _sizes(self) -> dict[str, int]:
        """Size of each data file that a snapshot has, by path."""
        found = self._table.inspect.all_data_files()
        return dict(zip(found["file_path"].to_pylist(), found["file_size_in_bytes"].to_pylist(), strict=True))

    def settle(self, record: Record) -> None:
        """Removes the snapshots of all but the newest publishes, and the files that only they had."""
        with self._asking():
            ids: dict[str, list[int]] = {}
            for one in sorted(self._table.metadata.snapshots, key=lambda one: one.timestamp_ms):
                ids.setdefault(one.summary.additional_properties.get(PUBLISH_ID, "") if one.summary else "", []).append(one.snapshot_id)
            last = {some[-1] for some in list(ids.values())[-self.context.settings.versions :]}
            old = [one for some in ids.values() for one in some if one not in last]
            if not old:
                return
            before = self._sizes()
            self._table.maintenance.expire_snapshots().by_ids(old).commit()
            self._table = self._catalog.load_table(self._name)
            for path in before.keys() - self._sizes().keys():
                self._table.io.delete(path)

    def read_back(self, clip_ids: Sequence[str], schema: pa.Schema) -> ReadBack:
        """Reads with pyiceberg."""
        import pyiceberg
        from pyiceberg.expressions import In

        with self._asking():
            rows = self._table.scan().count()
            found = self._table.scan(row_filter=In("clip_id", list(clip_ids)), selected_fields=tuple(schema.names)).to_arrow()
            size = sum(file.file.file_size_in_bytes for file in self._table.scan().plan_files())
        return ReadBack(f"pyiceberg {pyiceberg.__version__}", rows, size, found.select(schema.names).cast(schema))
