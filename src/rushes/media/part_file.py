"""A piece of a file as a file of its own: a video inside a tar, or in another container of bytes."""

from __future__ import annotations

import io
from typing import BinaryIO


class PartFile(io.RawIOBase):
    """The bytes [start, start + length) of a seekable file, as a seekable file. Closing it closes the file.

    Attributes:
        file: the file that it is a piece of.

    Args:
        file: open for reading.
        start, length: of the piece, bytes.
    """

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        super().__init__()
        self.file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Bytes from the beginning of the piece."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a byte of the piece; gives its number."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise ValueError(f"a file has no byte {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Reads into a buffer; gives the number of bytes, 0 at the end of the piece."""
        n = max(0, min(len(buffer), self._length - self._at))
        if n == 0:
            return 0
        self.file.seek(self._start + self._at)
        data = self.file.read(n)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Closes the file."""
        self.file.close()
        super().close()
