"""Files that are read range by range, and a piece of a file as one of them: a video inside a tar, or in another container of bytes."""

from __future__ import annotations

import io
from typing import BinaryIO


class RangedFile(io.RawIOBase):
    """A seekable file of known size. What reads it is the subclass's: it gives the bytes from `_at` on, and moves `_at` behind them.

    Attributes:
        size: bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self._at = size, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins, in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Sets where the next read begins, and gives it; reads nothing.

        Raises:
            ValueError: that is before the file's first byte.
        """
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if at < 0:
            raise ValueError(f"a file has no byte {at}")
        self._at = at
        return at


class PartFile(RangedFile):
    """The bytes [start, start + length) of a seekable file, as a seekable file. Closing it closes the file.

    Attributes:
        file: the file that it is a piece of.

    Args:
        file: open for reading.
        start, length: of the piece, bytes.
    """

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        super().__init__(length)
        self.file, self._start = file, start

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Reads into a buffer; gives the number of bytes, 0 at the end of the piece."""
        n = max(0, min(len(buffer), self.size - self._at))
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
