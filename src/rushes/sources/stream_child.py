"""The guarded child that looks which films a file holds (`by_stream.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushes.errors import Failure
from rushes.media import storage
from rushes.media.guard import serve
from rushes.media.streams import open_film
from rushes.quarantine import quarantined


def do(job: dict[str, Any], progress: Callable[[float], None]) -> dict[str, Any]:
    """The indices of the films of the file at `address`."""

    def look() -> list[int]:
        source = storage.open_seekable(job["address"], job["options"])
        try:
            film = open_film(source, job["uri"])
            with film.container:
                return [film.stream.index, *(stream.index for stream in film.others)]
        finally:
            if not isinstance(source, str):
                source.close()

    found = quarantined(look)
    return {"error": found.what} if isinstance(found, Failure) else {"done": found}


def main() -> None:
    """Entry of the child process."""
    import av

    av.logging.set_level(av.logging.PANIC)
    serve(do)


if __name__ == "__main__":
    main()
