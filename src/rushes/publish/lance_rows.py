"""Rows as a Lance dataset has them: published columns, sampled frames, and a blob with the bytes of the clip's file or a reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from rushes.errors import UsageError
from rushes.media.address import protocol_of, split_range
from rushes.publish.media_rows import FRAMES, VIDEO, VIDEO_FRAMES, VIDEO_URI, with_media
from rushes.publish.target import Context

if TYPE_CHECKING:
    import pyarrow as pa

REFERRED = {"file", "s3", "s3a", "gs", "az", "abfs", "abfss", "oss", "tos", "hf"}
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


def shaped(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema that rows have, in its types.

    Raises:
        UsageError: a value does not fit the type of the dataset's column.
    """
    import pyarrow as pa

    fields = [field for field in schema if field.name in rows.column_names and field.name != VIDEO]
    try:
        return pa.table([rows[field.name].cast(field.type) for field in fields], schema=pa.schema(fields))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(f"rows do not fit the columns of the dataset: {error}", step="publish", mend="publish to a new place") from error


def new_rows(context: Context, tables: Iterable[pa.Table], schema: pa.Schema, failed: MutableMapping[str, str]) -> Iterator[pa.RecordBatch]:
    """Rows with their blobs and frames, as batches of `schema`; clips of which no file can be made are left out and noted in `failed`."""
    import lance
    import pyarrow as pa

    for table in with_media(context, tables, failed):
        own = shaped(table, schema)
        columns: dict[str, Any] = {name: own[name] for name in own.column_names}
        if VIDEO in table.column_names:
            blobs: list[Any] = table[VIDEO].to_pylist()
        else:
            blobs = [_reference(str(uri)) if is_referred(uri) else None for uri in table[VIDEO_URI].to_pylist()]
        columns[VIDEO] = lance.blob_array(blobs)
        full = [columns[field.name] if field.name in columns else pa.nulls(table.num_rows, field.type) for field in schema]
        yield from pa.table(full, schema=schema).to_batches()


def is_referred(uri: Any) -> bool:
    """Whether Lance opens references to such an address."""
    return protocol_of(str(uri)) in REFERRED


def _reference(uri: str) -> Any:
    """Lance's reference to a file, or to a piece of one."""
    import lance

    file, piece = split_range(uri)
    return lance.Blob.from_uri(file, *(piece or ()))
