"""Parts on an object store as Arrow reads them: just the ranges of the columns asked for, in requests that are tried again."""

from __future__ import annotations

import pyarrow as pa

from rushes.media.part_file import RangedFile
from rushes.media.remote import Read, range_reader
from rushes.media.storage import Options

WHOLE_BYTES = 1 << 20
"""Parts up to this size are read whole: the open parts of a run, which it writes anew, are smaller as a rule."""


class _Part(RangedFile):
    """A file whose reads are requests for just those bytes."""

    def __init__(self, read: Read, size: int) -> None:
        super().__init__(size)
        self._read = read

    def read(self, size: int = -1) -> bytes:
        length = self.size - self._at if size is None or size < 0 else min(size, self.size - self._at)
        if length <= 0:
            return b""
        data = self._read(self._at, length)
        self._at += length
        return data


def remote_part(uri: str, size: int, options: Options) -> pa.NativeFile:
    """A part of so many bytes, open for reading. A small one is read in one request, so that it is of one version."""
    read = range_reader(uri, options, size)
    return pa.BufferReader(read(0, size)) if size <= WHOLE_BYTES else pa.PythonFile(_Part(read, size), mode="r")
