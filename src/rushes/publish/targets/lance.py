"""`lance:URI`: one Lance dataset. Each clip is a row; its video is a blob: the bytes of a clip file, or a reference to where it lies.

What changed of a row is written beside the old columns, without its blob; rows that go are marked. Both, and new rows, are one commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rushes.errors import MissingExtra, RushesError, StorageError, UsageError
from rushes.media import storage
from rushes.media.address import local_path
from rushes.media.guard import Stopped
from rushes.publish.changes import Changes
from rushes.publish.chosen import KEYS
from rushes.publish.lance_care import PROPERTY, settle
from rushes.publish.lance_rows import lance_schema, new_rows, shaped
from rushes.publish.media_rows import FRAMES, VIDEO, VIDEO_FRAMES, VIDEO_URI, place_of
from rushes.publish.row_hash import ROW_HASH
from rushes.publish.target import Context, Film, Held, ReadBack, Record, Target, Written

if TYPE_CHECKING:
    import pyarrow as pa

LOOKED_BACK = 50
"""Transactions among which the newest publish is looked for; each publish makes a few."""
FRAGMENT_ROWS = 1 << 17
"""Rows of a fragment: so many ids are in memory while what changed in it is looked for."""
STORAGE_VERSION = "2.2"
"""Version of Lance's file format: the first that has the blobs of `lance.blob.v2`."""


@dataclass
class _Edits:
    """What a commit changes in the fragments that are there."""

    updated: list[Any] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    fields: set[int] = field(default_factory=set)
    moved: list[pa.Table] = field(default_factory=list)
    """Changed rows whose reference changed, too; they are written anew."""


class LanceTarget(Target):
    """See the module."""

    vectors = True
    media = ("bytes", "frames")

    def __init__(self, place: str, context: Context) -> None:
        super().__init__(place, context)
        try:
            import lance
        except ImportError as error:
            what = "a target lance: needs Lance, which is not installed"
            raise MissingExtra(what, step="publish", mend="pip install 'rushes[lance]'") from error
        self._lance: Any = lance
        self._uri = local_path(place) or place
        self._options = {name: str(value) for name, value in context.options.get("lance", {}).items()}
        self._data: Any = self._opened()
        self._failed: dict[str, str] = {}
        self._cause: RushesError | Stopped | None = None

    def _opened(self) -> Any:
        try:
            return self._lance.dataset(self._uri, storage_options=self._options or None)
        except (ValueError, OSError) as error:  # Lance raises ValueError where there is no dataset
            if "not found" in str(error).lower():
                return None
            raise self._error(error) from error

    def _error(self, error: Exception) -> StorageError:
        mend = "see that it can be reached and written, then publish again; its options are [storage.lance] of the recipe"
        return StorageError(f"{self.place}: Lance says: {error}", step="publish", mend=mend)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turns what Lance raises into an error of ours. An error that rows raised while Lance read them comes back as it was."""
        self._cause = None
        try:
            yield
        except (ValueError, OSError, RuntimeError) as error:
            if self._cause is not None:
                raise self._cause from error
            raise self._error(error) from error

    def layout(self, schema: pa.Schema) -> str:
        """Nothing: columns come and go without the others being written, and `Record.media` tells of blobs and frames."""
        return ""

    def held(self) -> Held | None:
        """The record of the newest publish, which stands in its transaction and later in the dataset."""
        if self._data is None:
            return None
        with self._asking():
            found = [some.transaction_properties for some in self._data.get_transactions(LOOKED_BACK) if some is not None]
            text = next((some[PROPERTY] for some in found if PROPERTY in some), None) or self._data.metadata.get(PROPERTY)
        if text is None:
            mend = "name a place where nothing is, or a dataset that rushes publish has made"
            raise UsageError(f"{self.place} is a Lance dataset that was not published", step="publish", mend=mend)
        return Held(str(self._data.version), Record.of_json(text))

    def held_rows(self) -> Iterator[pa.Table]:
        """Reads three columns, batch by batch."""
        import pyarrow as pa

        with self._asking():
            for batch in self._data.to_batches(columns=[*KEYS, ROW_HASH]):
                yield pa.Table.from_batches([batch])

    def write(self, changes: Changes, record: Record) -> Written:
        """Writes fragments, then commits once."""
        before = self._files()
        held, operations = self.held(), self._lance.LanceOperation
        with self._asking():
            if held is None or held.record.media != record.media:
                schema = lance_schema(changes.schema, self.context, self._lengths(changes), self._lance.blob_field)
                fragments = self._fragments(changes.rows(), schema, "create" if held is None else "overwrite")
                operation = operations.Overwrite(schema, fragments)
            else:
                schema = self._with_columns(changes)
                edits = self._edits(changes, schema)
                adds = changes.counts["added"] or edits.moved
                new = self._fragments(_both(changes.rows("added"), edits.moved), schema, "append") if adds else []
                gone, updated, fields = edits.removed, edits.updated, sorted(edits.fields)
                operation = operations.Update(
                    removed_fragment_ids=gone, updated_fragments=updated, new_fragments=new, fields_modified=fields
                )
            self.context.check()
            self._commit(operation, record)
        return Written(str(self._data.version), sum(size for uri, size in self._files().items() if uri not in before), self._failed)

    def _commit(self, operation: Any, record: Record) -> None:
        version = self._data.version if self._data is not None else 0
        transaction = self._lance.Transaction(version, operation, transaction_properties={PROPERTY: record.as_json()})
        where = self._uri if self._data is None else self._data
        self._data = self._lance.LanceDataset.commit(where, transaction, storage_options=self._options or None)

    def settle(self, record: Record) -> None:
        """Indexes, compaction, old versions."""
        with self._asking():
            columns = {*record.columns, VIDEO, VIDEO_URI, VIDEO_FRAMES, *(FRAMES if self.context.settings.frames else ())}
            settle(self._data, record, columns, self.context.settings.versions, removed=record.counts["removed"] > 0)
            self._data = self._opened()

    def _files(self) -> dict[str, int]:
        return {file.uri: file.size or 0 for file in storage.listing(self._uri, self.context.options)}

    def _lengths(self, changes: Changes) -> dict[str, int]:
        """Length of the vectors of each column that has any."""
        import pyarrow as pa

        found: dict[str, int] = {}
        names = [f.name for f in changes.schema if pa.types.is_list(f.type) and pa.types.is_floating(f.type.value_type)]
        for rows in changes.rows() if names else ():
            for name in names:
                known = rows[name].drop_null()
                if name not in found and len(known):
                    found[name] = len(known[0])
            if len(found) == len(names):
                break
        return found

    def _with_columns(self, changes: Changes) -> pa.Schema:
        """The dataset's schema after columns that it lacks were added, null: a commit that changes no row and writes no data."""
        import pyarrow as pa

        wanted = lance_schema(changes.schema, self.context, self._lengths(changes), self._lance.blob_field)
        new = [one for one in wanted if one.name not in self._data.schema.names]
        if new:
            self._data.add_columns(pa.schema(new))
        schema: pa.Schema = self._data.schema
        return schema

    def _fragments(self, tables: Iterable[pa.Table], schema: pa.Schema, mode: str) -> list[Any]:
        import pyarrow as pa
        from lance.fragment import write_fragments

        reader = pa.RecordBatchReader.from_batches(schema, self._kept_errors(new_rows(self.context, tables, schema, self._failed)))
        found: list[Any] = write_fragments(
            reader, self._uri if mode == "create" else self._data, schema=schema, mode=mode, max_rows_per_file=FRAGMENT_ROWS,
            data_storage_version=STORAGE_VERSION, storage_options=self._options or None, allow_external_blob_outside_bases=True,
        )  # fmt: skip
        return found

    def _kept_errors(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches; an error is kept, since Lance hands on its text alone."""
        try:
            yield from batches
        except (RushesError, Stopped) as error:
            self._cause = error
            raise

    def _edits(self, changes: Changes, schema: pa.Schema) -> _Edits:
        """Goes through the fragments: marks rows that go, and writes columns of rows that changed."""
        import pyarrow as pa
        import pyarrow.compute as pc

        edits = _Edits()
        none = changes.sample.select(list(KEYS)).slice(0, 0)
        gone = pa.concat_tables([none, *changes.gone()])["clip_id"].combine_chunks()
        if not len(gone) and not changes.counts["changed"]:
            return edits
        names = [name for name in self._data.schema.names if name in changes.columns]
        for fragment in self._data.get_fragments():
            if self.context.stop():
                raise Stopped
            there = fragment.scanner(columns=[*KEYS, VIDEO_URI], with_row_address=True).to_table()
            lost: Any = pc.is_in(there["clip_id"], value_set=gone)
            metadata: Any = None
            for rows in self._changed_in(changes, there):
                stays, moved = _by_reference(rows, there, by_bytes=self.context.settings.bytes)
                edits.moved += [moved] if moved.num_rows else []
                lost = pc.or_(lost, pc.is_in(there["clip_id"], value_set=moved["clip_id"].combine_chunks()))
                if stays.num_rows:
                    metadata, fields = fragment.update_columns(shaped(stays, schema).select(names), left_on="clip_id", right_on="clip_id")
                    edits.fields.update(fields)
                self.context.tell(stays.num_rows)
            if pc.any(lost).as_py():
                left = fragment.delete_rows([address & 0xFFFFFFFF for address in there["_rowaddr"].filter(lost).to_pylist()])
                if left is None:
                    edits.removed.append(fragment.fragment_id)
                    continue
                if metadata is not None:
                    left.files = metadata.files
                metadata = left
            if metadata is not None:
                edits.updated.append(metadata)
        return edits

    def _changed_in(self, changes: Changes, there: pa.Table) -> Iterator[pa.Table]:
        """The changed rows that a fragment holds, as one table or none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        digits = changes.digits
        prefixes: Any = pc.unique(pc.utf8_slice_codeunits(there["video_id"], 0, digits)).to_pylist() if digits else [""]
        found = []
        for prefix in sorted(changes.touched.intersection(prefixes)):
            for rows in changes.rows("changed", prefix=prefix):
                here: Any = pc.is_in(rows["clip_id"], value_set=there["clip_id"].combine_chunks())
                found.append(rows.filter(here))
        if sum(rows.num_rows for rows in found):
            yield pa.concat_tables(found)

    def read_back(self, clip_ids: Sequence[str], schema: pa.Schema) -> ReadBack:
        """Reads with Lance, and blobs through `take_blobs`."""
        import pyarrow as pa

        with self._asking():
            names = [name for name in schema.names if name in self._data.schema.names]
            ids = ", ".join(f"'{clip}'" for clip in clip_ids)
            which = f"clip_id IN ({ids})" if ids else "false"
            found = self._data.to_table(columns=[*names, VIDEO_FRAMES], filter=which, with_row_id=True)
            columns = [found[one.name].cast(one.type) if one.name in names else pa.nulls(found.num_rows, one.type) for one in schema]
            films: dict[str, Film] = {}
            if self.context.settings.bytes:
                blobs = self._data.take_blobs(VIDEO, ids=found["_rowid"].to_pylist())
                pairs = zip(found["clip_id"].to_pylist(), blobs, found[VIDEO_FRAMES].to_pylist(), strict=True)
                films = {clip: Film(blob, n) for clip, blob, n in pairs}
            size = sum(self._files().values())
            return ReadBack(f"lance {self._lance.__version__}", self._data.count_rows(), size, pa.table(columns, schema=schema), films)


def _both(tables: Iterator[pa.Table], more: Sequence[pa.Table]) -> Iterator[pa.Table]:
    yield from tables
    yield from more


def _by_reference(rows: pa.Table, there: pa.Table, *, by_bytes: bool) -> tuple[pa.Table, pa.Table]:
    """Changed rows whose video stays as it is, and those whose reference leads elsewhere now."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if by_bytes:
        return rows, rows.slice(0, 0)
    now: Any = pa.array([place_of(row) for row in rows.select(["uri", "clip_uri"]).to_pylist()], pa.string())
    before: Any = there[VIDEO_URI].take(pc.index_in(rows["clip_id"], value_set=there["clip_id"].combine_chunks())).combine_chunks()
    now, before = pc.fill_null(now, ""), pc.fill_null(before, "")
    same: Any = pc.equal(now, before)
    return rows.filter(same), rows.filter(pc.invert(same))
