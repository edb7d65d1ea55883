"""What a Lance dataset needs after a publish: its indexes brought up to date, small files merged, old versions removed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rushes.publish.target import Record

PROPERTY = "rushes"
"""Where the record of a publish is: a property of the transaction that committed it, and afterwards of the dataset."""
TAG = "rushes-"
"""Begins the names of tags; each keeps the version of one publish."""
VECTOR_INDEX_ROWS = 50_000
"""From so many vectors on there is an index; below, comparing all takes milliseconds. (Lance asks for 256 at least.)"""
SMALL_FILES = 16
"""So many small fragments are merged; each costs a request to open."""
CAPTION = "caption"


def settle(data: Any, record: Record, columns: set[str], keep: int, *, removed: bool) -> None:
    """Brings a dataset into good order. Every step is a commit of its own that changes no row; done again, it does nothing.

    Args:
        data: the dataset, at its newest version.
        record: of the publish.
        columns: names that the dataset is to have; others are dropped.
        keep: how many publishes stay readable.
        removed: whether the publish took rows out. Where only one publish stays readable their bytes go, too.
    """
    if others := [name for name in data.schema.names if name not in columns]:
        data.drop_columns(others)
    make_indexes(data)
    gone = removed and keep == 1
    if gone or data.stats.dataset_stats()["num_small_files"] >= SMALL_FILES:
        data.optimize.compact_files(**({"materialize_deletions_threshold": 0.0} if gone else {}))
    if data.metadata.get(PROPERTY) != record.as_json():
        data.update_metadata({PROPERTY: record.as_json()})
    _remove_old(data, record, keep)


def make_indexes(data: Any) -> None:
    """Makes the full-text index over captions and the vector index over embeddings where there are rows for them; brings those there are
    up to date.
    """
    import pyarrow as pa

    there = {name for index in data.describe_indices() for name in index.field_names}
    if there:
        data.optimize.optimize_indices()
    if CAPTION in data.schema.names and CAPTION not in there and data.count_rows(f"{CAPTION} IS NOT NULL"):
        data.create_scalar_index(CAPTION, "INVERTED")
    for field in data.schema:
        if not pa.types.is_fixed_size_list(field.type) or field.name in there:
            continue
        n = data.count_rows(f"{field.name} IS NOT NULL")
        if n >= VECTOR_INDEX_ROWS:
            data.create_index(
                field.name, "IVF_PQ", metric="cosine", num_partitions=max(1, round(n**0.5)), num_sub_vectors=_parts(field.type)
            )


def _parts(kind: Any) -> int:
    """Into how many parts product quantization divides a vector: of 16 numbers, or else of the fewest that divide it evenly."""
    length: int = kind.list_size
    return next(length // size for size in (16, 8, 4, 2, 1) if length % size == 0)


def _remove_old(data: Any, record: Record, keep: int) -> None:
    """Removes the versions of all but the newest `keep` publishes: tags hold those that stay."""
    name = TAG + record.publish_id
    if name in data.tags.list():
        data.tags.update(name, data.version)
    else:
        data.tags.create(name, data.version)
    ours = sorted(tag for tag in data.tags.list() if tag.startswith(TAG))
    for tag in ours[:-keep]:
        data.tags.delete(tag)
    data.cleanup_old_versions(older_than=timedelta(0), error_if_tagged_old_versions=False)
