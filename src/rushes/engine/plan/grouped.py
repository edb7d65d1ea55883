"""Rows of clips by video, and counts by key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def most(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The greatest number of each key."""
    found: dict[str, int] = {}
    for key, n in counts:
        found[key] = max(found.get(key, 0), n)
    return found


def pairs_of(rows: pa.Table) -> list[tuple[str, str]]:
    """(video_id, clip_id) of rows."""
    return [(str(video), str(clip)) for video, clip in zip(rows["video_id"].to_pylist(), rows["clip_id"].to_pylist(), strict=True)]


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """(video_id, clip_id) -> the clips of each video."""
    found: dict[str, list[str]] = defaultdict(list)
    for video, clip in pairs:
        found[video].append(clip)
    return dict(found)
