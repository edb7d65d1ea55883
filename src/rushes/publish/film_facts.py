"""What a clip file holds, read from the file itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rushes.errors import StorageError
from rushes.media import storage
from rushes.media.address import public_uri
from rushes.media.clip_file import shown_size


@dataclass(frozen=True, slots=True)
class FilmFacts:
    """What a clip file holds.

    Attributes:
        n_frames: its frames.
        width, height: of the picture as a player shows it, pixels.
        fps: frames a second, on average.
        bytes: size of the file.
    """

    n_frames: int
    width: int
    height: int
    fps: float
    bytes: int


@contextmanager
def opened_film(uri: str, options: storage.Options) -> Iterator[Any]:
    """A clip file as PyAV's container, open for reading.

    Raises:
        StorageError: it cannot be opened or read.
    """
    import av

    source = storage.open_seekable(uri, options)
    try:
        with av.open(source, "r") as container:
            yield container
    except av.error.FFmpegError as error:
        mend = "remove it, then publish again"
        raise StorageError(f"the clip file cannot be read: {error}", uri=public_uri(uri), step="publish", mend=mend) from error
    finally:
        if not isinstance(source, str):
            source.close()


def film_facts(uri: str, options: storage.Options) -> FilmFacts:
    """Reads the header of a clip file, the number of its packets and its first frame.

    Raises:
        StorageError: it cannot be read.
    """
    size, n_packets, end = (0, 0), 0, Fraction(0)
    with opened_film(uri, options) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            n_packets += packet.size > 0
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
            if not size[0]:
                size = next((shown_size(stream, frame) for frame in packet.decode()), size)
    fps = float(n_packets / end) if end else 0.0
    return FilmFacts(n_packets, *size, fps, storage.stat(uri, options).size or 0)
