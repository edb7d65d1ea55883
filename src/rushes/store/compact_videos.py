"""Compaction of frames and signals: the loose parts of small videos are merged, a video at a time.

A bucket of frames is too large to hold. A video whose frames fill a part of their own keeps it; so do segments of long videos, whose
frames a later run may have to delete by name.
"""

from __future__ import annotations

import hashlib
import heapq
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rushes.store.fold import folded
from rushes.store.opened import Opened
from rushes.store.parts import Part, digits_for, is_settled, merged_part
from rushes.store.store import Store, parquet_options
from rushes.store.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa

SMALL_BYTES = 16 << 20
"""A video whose one part is smaller than this is merged with others; a larger one costs no more to find than to read."""
GROUP_BYTES = 2 << 20
"""Size of a row group before compression, at least one video: what reading one video's rows costs."""

Rows = Iterator[tuple[str, "pa.Table"]]


def merge_videos(store: Store, table: Table, parts: Sequence[Part], part_bytes: int) -> int:
    """Merges small loose parts and merged parts of `frames` or `signals`; gives the number of rows dropped."""
    loose: dict[tuple[str, str], list[Part]] = defaultdict(list)
    merged: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        if part.merged:
            merged[str(part.fingerprint)].append(part)
        else:
            loose[str(part.fingerprint), str(part.video)].append(part)
    small: dict[str, list[Part]] = defaultdict(list)
    for (fingerprint, _), some in loose.items():
        if len(some) == 1 and some[0].size < SMALL_BYTES and not some[0].label:
            small[fingerprint] += some
    return sum(_merge(store, table, f, small[f], merged[f], part_bytes) for f in sorted(small.keys() | merged.keys()))


def _merge(store: Store, table: Table, fingerprint: str, loose: Sequence[Part], merged: Sequence[Part], part_bytes: int) -> int:
    if not loose and is_settled(merged):
        return 0
    total = sum(p.size for p in (*loose, *merged))
    digits = max([digits_for(total, part_bytes), *(len(p.prefix or "") for p in merged)])
    coarse = [p for p in merged if len(p.prefix or "") < digits]
    old, new = _grouped(merged, digits, coarse), _grouped(loose, digits)
    prefixes = old.keys() | new.keys() | {video[:digits] for part in coarse for video in _videos(store, part)}
    dropped = 0
    for prefix in sorted(prefixes):
        above = [p for p in coarse if prefix.startswith(p.prefix or "")]
        if not new[prefix] and not above and len(old[prefix]) == 1:
            continue
        uri, gone = _merge_bucket(store, table, fingerprint, prefix, new[prefix], [*old[prefix], *above])
        dropped += gone
        store.remove([*(p for p in old[prefix] if p.uri != uri), *new[prefix]])
    store.remove(coarse)
    return dropped


def _grouped(parts: Iterable[Part], digits: int, without: Sequence[Part] = ()) -> dict[str, list[Part]]:
    found: dict[str, list[Part]] = defaultdict(list)
    for part in sorted(parts, key=lambda p: p.uri):
        if part not in without:
            found[(part.video or part.prefix or "")[:digits]].append(part)
    return found


def _videos(store: Store, part: Part) -> set[str]:
    import pyarrow as pa

    return {str(video) for rows in store.rows(part, pa.schema([("video_id", pa.string())])) for video in rows["video_id"].to_pylist()}


def _of_loose(store: Store, parts: Sequence[Part]) -> Rows:
    """Videos and their rows, in order, from loose parts in order of their names."""
    for part in parts:
        for rows in store.rows(part, None):
            yield str(part.video), rows


def _of_merged(store: Store, part: Part, prefix: str) -> Rows:
    """Videos that begin so and their rows, in order, from a merged part."""
    for rows in store.rows(part, None):
        start = 0
        for video, some in groupby(rows["video_id"].to_pylist()):
            n = len(list(some))
            if str(video).startswith(prefix):
                yield str(video), rows.slice(start, n)
            start += n


def _merge_bucket(
    store: Store, table: Table, fingerprint: str, prefix: str, loose: Sequence[Part], merged: Sequence[Part]
) -> tuple[str, int]:
    """Writes the merged part of one bucket; gives its uri and the number of rows dropped."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = [opened.schema for part in (*loose, *merged) for opened in _open(store, part)]
    names = pa.unify_schemas([s.remove_metadata() for s in schemas])
    inputs = [_of_loose(store, loose), *(_of_merged(store, part, prefix) for part in merged)]
    came = went = 0
    with tempfile.TemporaryFile(prefix="rushes-") as scratch:
        with pq.ParquetWriter(scratch, names, **parquet_options(names)) as writer:
            held: list[pa.Table] = []
            for _, some in groupby(heapq.merge(*inputs, key=lambda item: item[0]), key=lambda item: item[0]):
                tables = [rows for _, rows in some]
                rows = folded(table, pa.concat_tables(tables, promote_options="default").select(names.names))
                came, went = came + sum(t.num_rows for t in tables), went + rows.num_rows
                held.append(rows)
                if sum(t.nbytes for t in held) >= GROUP_BYTES:
                    writer.write_table(pa.concat_tables(held).combine_chunks())
                    held = []
            if held:
                writer.write_table(pa.concat_tables(held).combine_chunks())
        uri = store.path(table.name, merged_part(fingerprint, prefix, _digest(scratch)) + ".parquet")
        store.put(uri, lambda sink: shutil.copyfileobj(scratch, sink))
    return uri, came - went


def _open(store: Store, part: Part) -> Iterator[Opened]:
    with Opened(part, store.options) as opened:
        yield opened


def _digest(scratch: Any) -> str:
    """SHA-256 of a file, which is left at its beginning."""
    scratch.seek(0)
    digest = hashlib.file_digest(scratch, "sha256").hexdigest()
    scratch.seek(0)
    return digest
