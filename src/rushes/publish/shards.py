"""Tar shards as the webdataset library reads them: the files of one clip follow each other and share its clip_id as their name."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from math import log
from typing import Any, BinaryIO

from rushes.publish.film_facts import FilmFacts
from rushes.publish.versions import Draft

MB = 1_000_000
SIDES = (240, 360, 480, 540, 720, 1080, 1440, 2160)
"""Names of resolutions: the largest of these that the short side reaches, pixels; 0 below them."""
ASPECTS = {"21_9": 21 / 9, "16_9": 16 / 9, "4_3": 4 / 3, "1_1": 1.0, "3_4": 3 / 4, "9_16": 9 / 16, "9_21": 9 / 21}
"""Names of aspect ratios, width to height: the nearest by the ratio of the two."""
LENGTHS = (2, 5, 10, 20, 40)
"""Bounds of lengths, seconds."""


def bucket_of(facts: FilmFacts, by: tuple[str, ...]) -> str:
    """The folder of a clip's shard, such as `resolution_720/aspect_16_9/seconds_5_10`; "" where shards hold clips of all shapes.

    Args:
        facts: of the clip's file.
        by: some of "resolution", "aspect" and "length".
    """
    names = []
    for what in by:
        if what == "resolution":
            names.append(f"resolution_{max((side for side in SIDES if side <= min(facts.width, facts.height)), default=0)}")
        elif what == "aspect":
            ratio = facts.width / facts.height
            names.append("aspect_" + min(ASPECTS, key=lambda name: abs(log(ASPECTS[name] / ratio))))
        else:
            seconds = facts.n_frames / facts.fps if facts.fps else 0.0
            low = max((bound for bound in LENGTHS if bound <= seconds), default=0)
            high = next((bound for bound in LENGTHS if bound > seconds), None)
            names.append(f"seconds_{low}_{high}" if high else f"seconds_{low}")
    return "/".join(names)


class Shards:
    """Writes the shards of a version. Use it as a context manager.

    Args:
        draft: the version.
        limit_mb: size after which a shard is closed, MB.
        first: bucket -> number of its first shard.
    """

    def __init__(self, draft: Draft, limit_mb: int, first: Callable[[str], int]) -> None:
        self._draft, self._limit, self._first = draft, limit_mb * MB, first
        self._open: dict[str, _Shard] = {}
        self._next: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        """Name of each shard that was written -> its clips."""

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        for shard in self._open.values():
            shard.close()

    def add(self, bucket: str, key: str, parts: dict[str, bytes]) -> tuple[str, int]:
        """Adds a clip's files, by suffix, the film first; gives the name of the shard, and where in it the film's bytes begin."""
        if bucket not in self._open:
            number = self._next.get(bucket, self._first(bucket))
            self._next[bucket] = number + 1
            self._open[bucket] = _Shard(f"{bucket}/{number:06d}.tar".lstrip("/"))
        shard = self._open[bucket]
        at, *_ = [shard.add(f"{key}.{suffix}", data) for suffix, data in parts.items()]
        self.counts[shard.name] = self.counts.get(shard.name, 0) + 1
        if shard.size >= self._limit:
            self._put(bucket)
        return shard.name, at

    def finish(self) -> None:
        """Writes the shards that are not full."""
        for bucket in sorted(self._open):
            self._put(bucket)

    def _put(self, bucket: str) -> None:
        shard = self._open.pop(bucket)
        self._draft.put(shard.name, shard.written)
        shard.close()


class _Shard:
    """One tar file that is being written, in a scratch file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stack = ExitStack()
        self._file: Any = self._stack.enter_context(tempfile.TemporaryFile(prefix="rushes-publish-"))  # noqa: SIM115
        self._tar = self._stack.enter_context(tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT))  # noqa: SIM115

    @property
    def size(self) -> int:
        """Bytes until now."""
        return int(self._tar.offset)

    def add(self, name: str, data: bytes) -> int:
        """Adds a file; gives where its bytes begin. Headers have no times or users, so equal clips give equal shards."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        at = self.size + tarfile.BLOCKSIZE
        self._tar.addfile(info, io.BytesIO(data))
        return at

    def written(self, out: BinaryIO) -> None:
        """Ends the tar and writes it into a file."""
        self._tar.close()
        self._file.seek(0)
        shutil.copyfileobj(self._file, out)

    def close(self) -> None:
        """Removes the scratch file."""
        self._stack.close()
