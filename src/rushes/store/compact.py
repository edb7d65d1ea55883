"""Compaction: many small parts become few large ones, sorted and by bucket; superseded rows go.

For each bucket the merged part is written first, then what it was merged from is removed. A kill in between leaves rows twice, which
readers fold and the next compaction removes. Merged parts are named by their bytes, so merging the same rows again gives the same files.
Nobody may write to the store meanwhile; reading is safe.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rushes.media.address import local_path
from rushes.store.compact_videos import merge_videos
from rushes.store.fold import folded
from rushes.store.opened import Opened
from rushes.store.partition import Partition
from rushes.store.parts import MAX_DIGITS, Part, digits_for, is_settled, merged_part
from rushes.store.store import FEW_ROWS, ROWS_A_GROUP, Store, parquet_options
from rushes.store.tables import FRAMES, PUBLISHED, RUNS, SEGMENTS, SIGNALS, TABLES, Table

if TYPE_CHECKING:
    import pyarrow as pa

PART_BYTES = 64 << 20
"""No merged part is meant to be larger. With 16 times more buckets at each step, parts of a large table have 4 to 64 MiB: enough for a
request to be worth its while, and the rows of a bucket fit in memory."""
PART_ROWS = 1 << 20
"""Nor has it more rows: a row takes about 1.3 kB of memory while its bucket is sorted (docs/scale.md)."""
VIDEO_PART_BYTES = 256 << 20
"""The same for frames and signals, which are merged a video at a time and need no such room: parts of 16 to 256 MiB."""
SAMPLE_ROWS = 50_000
"""Rows that are compressed to learn how large merged rows are."""
LEFT_BEHIND_S = 3600.0
"""Temporary files of this age belong to writers that were killed: a part is written in seconds."""


@dataclass(slots=True)
class Compacted:
    """What became of one table: parts and bytes before and after, and the rows that went.

    They went since newer ones of their key and fingerprint are there, or because nobody wants their fingerprint.
    """

    table: str
    parts_before: int = 0
    parts_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    rows_dropped: int = 0


def compact(store: Store, *, keep: Collection[str] | None = None) -> list[Compacted]:
    """Merges the parts of every table but `runs` and `published`, whose parts are one a run or a publish, and `segments`, whose rows go
    when their video is complete.

    Args:
        store: a store that nobody writes to.
        keep: fingerprints; rows of others are removed. Default: all rows stay.

    Raises:
        StorageError: the store cannot be read or written. What was merged stays merged.
    """
    found = []
    for table in TABLES.values():
        if table in (RUNS, PUBLISHED, SEGMENTS):
            continue
        before = store.parts(table)
        done = Compacted(table.name, len(before), 0, sum(p.size for p in before))
        parts = _without_others(store, before, keep, done)
        if table in (FRAMES, SIGNALS):
            done.rows_dropped += merge_videos(store, table, parts, VIDEO_PART_BYTES)
        else:
            done.rows_dropped += _merge_rows(store, table, parts, keep)
        after = store.parts(table)
        done.parts_after, done.bytes_after = len(after), sum(p.size for p in after)
        found.append(done)
    return found


def sweep(store: Store, older_than_s: float = LEFT_BEHIND_S) -> int:
    """Removes temporary files that killed writers left in a local store; gives their number. Object stores keep no half-written files."""
    root, removed = local_path(store.root), 0
    for path in Path(root).rglob(".*.tmp") if root is not None else ():
        if path.is_file() and time.time() - path.stat().st_mtime > older_than_s:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _without_others(store: Store, parts: Sequence[Part], keep: Collection[str] | None, done: Compacted) -> list[Part]:
    """The parts that may hold wanted rows; those whose name says that they do not are removed."""
    if keep is None:
        return list(parts)
    wanted, rest = {f[:8] for f in keep}, []
    for part in parts:
        if part.may_hold(wanted, None):
            rest.append(part)
            continue
        done.rows_dropped += _n_rows(store, part)
        store.remove([part])
    return rest


def _n_rows(store: Store, part: Part) -> int:
    with Opened(part, store.options) as opened:
        return opened.n_rows


def _merge_rows(store: Store, table: Table, parts: Sequence[Part], keep: Collection[str] | None) -> int:
    """Merges the parts of a table whose loose parts hold rows of many videos; gives the number of rows dropped."""
    loose, merged = [p for p in parts if not p.merged], defaultdict(list)
    for part in parts:
        if part.merged:
            merged[part.fingerprint].append(part)
    if not loose and all(is_settled(some) for some in merged.values()):
        return 0
    deepest = max((len(p.prefix or "") for p in parts), default=0)
    # rows are sorted into finer buckets than they may be merged in: how large they will be is known only then
    finest = min(MAX_DIGITS, max(deepest + bool(loose), digits_for(sum(p.size for p in parts), PART_BYTES)))
    with Partition(finest, by_fingerprint=True) as partition:
        dropped = sum(_sort(store, part, partition, keep) for part in loose)
        a_row = _bytes_a_row(table, partition) if finest else 0.0
        part_bytes = min(PART_BYTES, a_row * PART_ROWS) if a_row else PART_BYTES
        coarse: list[Part] = []
        digits: dict[str, int] = {}
        for name in sorted({bucket.partition("/")[0] for bucket in partition.buckets()} | {str(f) for f in merged}):
            n_rows = sum(n for bucket, n in partition.buckets().items() if bucket.startswith(name + "/"))
            n_bytes = a_row * (n_rows + sum(_n_rows(store, part) for part in merged[name]))
            digits[name] = max([digits_for(n_bytes, part_bytes), *(len(p.prefix or "") for p in merged[name])])
            digits[name] = min(digits[name], finest)
            coarse += [p for p in merged[name] if len(p.prefix or "") < digits[name]]
        for part in coarse:
            _sort(store, part, partition, None)
        for name, n in digits.items():
            dropped += _merge_buckets(store, table, name, n, [p for p in merged[name] if p not in coarse], partition)
    store.remove([*coarse, *loose])
    return dropped


def _sort(store: Store, part: Part, partition: Partition, keep: Collection[str] | None) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    dropped = 0
    for rows in store.rows(part, None):
        wanted = rows if keep is None else rows.filter(pc.is_in(rows["fingerprint"], value_set=pa.array(sorted(keep), pa.string())))
        dropped += rows.num_rows - wanted.num_rows
        if wanted.num_rows:
            partition.add(wanted)
    return dropped


def _merge_buckets(store: Store, table: Table, fingerprint: str, digits: int, merged: Sequence[Part], partition: Partition) -> int:
    """Merges the loose rows of one fingerprint with the merged parts there are, bucket by bucket; gives the rows dropped."""
    old: dict[str, list[Part]] = defaultdict(list)
    new: dict[str, list[str]] = defaultdict(list)
    for part in merged:
        old[part.prefix or ""].append(part)
    for bucket in partition.buckets():
        if bucket.startswith(fingerprint + "/"):
            new[bucket.partition("/")[2][:digits]].append(bucket)
    dropped = 0
    for prefix in sorted(old.keys() | new.keys()):
        if prefix not in new and len(old[prefix]) == 1:
            continue
        rows = [t for bucket in sorted(new[prefix]) for t in partition.rows(bucket)]
        rows += [t for part in old[prefix] for t in store.rows(part, None)]
        data = _sorted(table, rows)
        dropped += sum(t.num_rows for t in rows) - data.num_rows
        uri = write_merged(store, table, data, fingerprint, prefix)
        store.remove(part for part in old[prefix] if part.uri != uri)
    return dropped


def _sorted(table: Table, rows: Sequence[pa.Table]) -> pa.Table:
    """The newest rows of some tables as one, the table's own columns first, then the others by name."""
    import pyarrow as pa

    data = pa.concat_tables(rows, promote_options="default")
    own = [c.name for c in table.columns]
    names = [*(n for n in own if n in data.column_names), *sorted(set(data.column_names) - set(own))]
    return folded(table, data.select(names)).combine_chunks()


def _encoded(table: Table, data: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(data, buffer, row_group_size=ROWS_A_GROUP.get(table.name, FEW_ROWS), **parquet_options(data.schema))
    return buffer.getvalue().to_pybytes()


def write_merged(store: Store, table: Table, data: pa.Table, fingerprint: str, prefix: str) -> str:
    """Writes sorted rows as the merged part of a bucket; gives its uri."""
    encoded = _encoded(table, data)
    uri = store.path(table.name, merged_part(fingerprint, prefix, hashlib.sha256(encoded).hexdigest()) + ".parquet")
    store.put(uri, encoded)
    return uri


def _bytes_a_row(table: Table, partition: Partition) -> float:
    """Bytes of a merged row, from a sample: loose parts of a few rows are mostly footers, and their sizes say little."""
    sample: list[pa.Table] = []
    for bucket in sorted(partition.buckets()):
        sample += partition.rows(bucket)
        if sum(t.num_rows for t in sample) >= SAMPLE_ROWS:
            break
    rows: Any = _sorted(table, sample).slice(0, SAMPLE_ROWS) if sample else None
    return len(_encoded(table, rows)) / int(rows.num_rows) if sample else 0.0
