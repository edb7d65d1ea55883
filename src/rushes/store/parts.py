"""Names of parts: what a part may hold can be told from where it lies, so that readers open only those that matter.

    clips/1a2b3c4d-<hash>.parquet                        loose: rows of any videos, as a run writes them
    frames/ab/<video_id>-1a2b3c4d-00000.parquet          loose: rows of one video (frames, signals, segments)
    frames/ab/<video_id>-1a2b3c4d-cut9f-00000.parquet    loose: rows of one segment of a video
    clips/merged/1a2b3c4d/2/ab-<hash>.parquet            merged: rows whose digits begin with `ab` and whose fingerprint with 1a2b3c4d

A row's digits are its video_id, a hash; where that is null, the SHA-256 of its uri. Merged parts of three and more digits lie in folders
of two digits each (`merged/1a2b3c4d/3/ab/abc-<hash>`), so that no folder holds more than a few thousand.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rushes.store.tables import Table

MERGED = "merged"
ALL = "all"
"""Name of the one bucket of a table that is not split."""
MAX_DIGITS = 6
"""16^6 buckets are the most: 1 PB of frames in parts of 64 MiB."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a table.

    Attributes:
        uri: where it lies.
        size: bytes.
        fingerprint: the first 8 digits of the fingerprint of all its rows, where its name says so.
        video: the video of all its rows, where its name says so.
        prefix: the first digits of all its rows (merged parts); None of a loose part.
        label: the first piece of its label, where its writer gave it one to set it apart from other parts of the video.
    """

    uri: str
    size: int
    fingerprint: str | None = None
    video: str | None = None
    prefix: str | None = None
    label: str = ""

    @property
    def merged(self) -> bool:
        """Whether `compact` wrote it."""
        return self.prefix is not None

    @classmethod
    def of(cls, folder: str, uri: str, size: int | None) -> Part:
        """The part at a uri under the folder of a table."""
        *folders, name = uri[len(folder) + 1 :].removesuffix(".parquet").split("/")
        if folders[:1] == [MERGED]:
            prefix = name.rpartition("-")[0]
            return cls(uri, size or 0, folders[1], None, "" if prefix == ALL else prefix)
        if folders:
            video, fingerprint, *tail = [*name.split("-"), "", ""]
            return cls(uri, size or 0, fingerprint, video, label="" if tail[0].isdecimal() else tail[0])
        return cls(uri, size or 0)

    def may_hold(self, fingerprints: Collection[str] | None, asked: Asked | None) -> bool:
        """Whether rows of one of the fingerprints (first 8 digits) and videos (by video_id) may be inside."""
        if fingerprints is not None and self.fingerprint is not None and self.fingerprint not in fingerprints:
            return False
        if asked is None:
            return True
        if self.video is not None:
            return self.video in asked.values
        return self.prefix is None or asked.any_under(self.prefix)


def is_settled(merged: Collection[Part]) -> bool:
    """Whether merged parts of one fingerprint need no merging: one a bucket, all with as many digits."""
    prefixes = {part.prefix or "" for part in merged}
    return len(prefixes) == len(merged) and len({len(prefix) for prefix in prefixes}) <= 1


LAST = "\U0010ffff"
"""Comes after every character of a name."""


class Asked:
    """The values of a column that a reader asks for."""

    def __init__(self, values: Iterable[Any]) -> None:
        self.values = frozenset(values)
        self._sorted = sorted(self.values)

    def any_under(self, prefix: str) -> bool:
        """Whether one of them begins so."""
        return self.any_between(prefix, prefix + LAST)

    def any_between(self, low: Any, high: Any) -> bool:
        """Whether one of them lies in [low, high]."""
        at = bisect.bisect_left(self._sorted, low)
        return at < len(self._sorted) and self._sorted[at] <= high


def part_name(table: Table, rows: Sequence[Mapping[str, Any]]) -> str:
    """Name of a loose part: its (first) fingerprint, and a hash of the keys inside."""
    keys = sorted("\x1f".join(str(row[k]) for k in (*table.keys, "fingerprint")) for row in rows)
    return f"{rows[0]['fingerprint'][:8]}-{hashlib.sha256(chr(10).join(keys).encode()).hexdigest()[:20]}"


def video_part(video_id: str, fingerprint: str, number: int | None = None, label: str = "") -> str:
    """Name of a loose part of one video, in the folder of its first digits: `ab/abcd...-fingerprint[-label][-number]`.

    A label is told from a number by its first piece, up to a hyphen.
    """
    tail = (f"-{label}" if label else "") + ("" if number is None else f"-{number:05d}")
    return f"{video_id[:2]}/{video_id}-{fingerprint[:8]}{tail}"


def merged_folder(fingerprint: str, digits: int, prefix: str) -> str:
    """Folder of the merged parts of `digits` digits that may hold rows whose digits begin with `prefix`, inside the table."""
    pairs = [prefix[k : k + 2] for k in range(0, digits - 2, 2) if k + 2 <= len(prefix)]
    return "/".join((MERGED, fingerprint[:8], str(digits), *pairs))


def merged_part(fingerprint: str, prefix: str, digest: str) -> str:
    """Name of a merged part whose bytes have this SHA-256: the same rows merged again are the same file."""
    return f"{merged_folder(fingerprint, len(prefix), prefix)}/{prefix or ALL}-{digest[:20]}"


def digits_for(n_bytes: float, part_bytes: float) -> int:
    """Digits of the buckets of so many bytes, so that none is larger than a part should be."""
    return next((n for n in range(MAX_DIGITS) if n_bytes <= part_bytes * 16**n), MAX_DIGITS)


def prefixes(digits: int) -> list[str]:
    """All first digits that a video_id can have, in order."""
    return [f"{n:0{digits}x}" for n in range(16**digits)] if digits else [""]


def digits_of(video_id: str | None, uri: str | None) -> str:
    """What a row is sorted into buckets by: its video_id, which is a hash; where that is null, a hash of its uri."""
    return video_id or hashlib.sha256((uri or "").encode()).hexdigest()
