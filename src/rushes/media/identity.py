"""The identity of a video: a hash of its content, which is the same on every machine and under every name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from rushes.errors import ProbeError
from rushes.media.address import public_uri
from rushes.media.error_translation import read_error
from rushes.media.storage import Options, ranges

VERSION = 1
"""Raise when `video_id` changes for the same bytes."""
WHOLE_BYTES = 4 << 20
"""Files up to this size are hashed whole, bytes."""
END_BYTES = 1 << 20
"""Of a larger file, this much of each end is hashed, bytes: headers and indexes lie there."""
PIECES = 8
"""Number of pieces between the two ends of a larger file that are hashed too."""
PIECE_BYTES = 256 << 10
"""Size of such a piece, bytes. With the ends, 4 MiB are hashed of any larger file."""


def pieces(size: int) -> Iterator[tuple[int, int]]:
    """(start, length) in bytes of the parts of a file of `size` bytes that are hashed, in order; no two overlap.

    The bytes between the two ends are divided into 8 equal parts, and the middle of each part is hashed.
    """
    if size <= WHOLE_BYTES:
        yield 0, size
        return
    middle = size - 2 * END_BYTES
    yield 0, END_BYTES
    for k in range(PIECES):
        yield END_BYTES + middle * (2 * k + 1) // (2 * PIECES) - PIECE_BYTES // 2, PIECE_BYTES
    yield size - END_BYTES, END_BYTES


def of_stream(file_id: str, stream: int | None) -> str:
    """The identity of a stream that is a video of its own: SHA-256 over the file's 64 digits and `#stream=N`; None: that of the file."""
    return file_id if stream is None else hashlib.sha256(f"{file_id}#stream={stream}".encode()).hexdigest()


def video_id(uri: str, size: int, options: Options) -> str:
    """64 hex digits: SHA-256 over the size (decimal digits and a newline, ASCII) and the bytes of `pieces(size)`.

    Never more than 4 MiB are read.

    Args:
        uri: path or URL.
        size: the file's size in bytes.
        options: storage options.

    Raises:
        ProbeError: the bytes cannot be read, or the file is shorter than `size` (it changed meanwhile).
    """
    digest = hashlib.sha256(f"{size}\n".encode())
    try:
        with ranges(uri, options, size) as read:
            for start, length in pieces(size):
                data = read(start, length) if length else b""
                if len(data) != length:
                    short = ProbeError(
                        f"{len(data)} bytes at {start} where {length} were expected of a file of {size}",
                        uri=public_uri(uri),
                        step="probe",
                        mend="it changed while it was read: wait until it is complete, then run again",
                    )
                    short.permanent = False
                    raise short
                digest.update(data)
    except OSError as error:
        raise read_error(error, uri) from error
    return digest.hexdigest()
