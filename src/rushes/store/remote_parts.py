"""Parts on an object store as Arrow reads them: just the ranges of the columns asked for, in requests that are tried again."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileInfo, FileType, FSSpecHandler, PyFileSystem

from rushes.media.remote import Read, range_reader
from rushes.media.storage import FileStat, Options, filesystem


class _Part(io.RawIOBase):
    """A file of known size whose reads are requests for just those bytes."""

    def __init__(self, read: Read, size: int) -> None:
        super().__init__()
        self._read, self._size, self._at = read, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def size(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        length = self._size - self._at if size is None or size < 0 else min(size, self._size - self._at)
        if length <= 0:
            return b""
        data = self._read(self._at, length)
        self._at += length
        return data


class _Parts(FSSpecHandler):
    """Knows the listed files without asking for them again."""

    def __init__(self, fs: Any, files: Mapping[str, FileStat], options: Options) -> None:
        super().__init__(fs)
        self._files = files
        self._options = options

    def get_file_info(self, paths: Sequence[str]) -> list[FileInfo]:
        """Type and size as the listing has them."""
        return [FileInfo(path, FileType.File, size=self._files[path].size or 0) for path in paths]

    def open_input_file(self, path: str) -> pa.PythonFile:
        """A file whose ranges are read one by one."""
        file = self._files[path]
        size = file.size or 0
        return pa.PythonFile(_Part(range_reader(file.uri, self._options, size), size), mode="r")


def remote_parts(parts: Sequence[FileStat], options: Options) -> tuple[list[str], PyFileSystem]:
    """(paths, filesystem) that open exactly these parts."""
    opened = [(filesystem(part.uri, options), part) for part in parts]
    files = {path: part for (_, path), part in opened}
    return list(files), PyFileSystem(_Parts(opened[0][0][0], files, options))  # type: ignore[abstract]  # the stubs do not know that it is complete
