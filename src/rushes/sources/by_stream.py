"""Divides footage by the streams of its files, where the recipe asks for other streams than the film (`scan.stream`).

A stream is a video of its own: its uri is that of the file with `#stream=N`, and its `video_id` is derived from the file's and N.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from rushes.errors import CrashError, HangError, MemoryError_
from rushes.machine import cores
from rushes.media.address import stream_uri
from rushes.media.guard import Child
from rushes.recipe import Recipe
from rushes.sources.found import Footage

MODULE = "rushes.sources.stream_child"


def by_stream(items: Sequence[Footage], recipe: Recipe, stop: threading.Event) -> list[Footage]:
    """The footage under `scan.stream`: with an index, that stream of each file; with "all", each film of the files that hold several.

    Files whose size is not known stay as they are, as do those that cannot be opened: their scan says why. Under "all", each file is
    opened, in guarded children.

    Args:
        items: one entry for each file.
        recipe: its tables `scan` and `storage` are used.
        stop: set when the run is to stop.

    Raises:
        Stopped: `stop` was set.
    """
    if recipe.scan.stream == "film":
        return list(items)
    if (index := recipe.scan.stream_index) is not None:
        wanted = [[index] if item.size is not None else [] for item in items]
    else:
        wanted = [films if len(films) > 1 else [] for films in _films_of(items, recipe, stop)]
    return [stream for item, indices in zip(items, wanted, strict=True) for stream in _divided(item, indices)]


def _divided(item: Footage, indices: Sequence[int]) -> list[Footage]:
    """One entry for each index; the item itself where there is none."""
    return [replace(item, uri=stream_uri(item.uri, n), address=item.address, stream=n) for n in indices] or [item]


def _films_of(items: Sequence[Footage], recipe: Recipe, stop: threading.Event) -> list[list[int]]:
    """The indices of the films of each file, in order; none where the file cannot be opened."""
    found: list[list[int]] = [[] for _ in items]
    n = max(1, min(cores(), len(items)))

    def look(first: int) -> None:
        limit = int(recipe.scan.memory_gib * 2**30)
        child = Child(MODULE, hang_s=recipe.scan.hang_s, memory_bytes=limit, stop=stop)
        try:
            for k in range(first, len(items), n):
                item = items[k]
                if item.size is None:
                    continue
                try:
                    answer = child.do({"uri": item.uri, "address": item.address, "options": recipe.storage}, uri=item.uri)
                except (HangError, MemoryError_, CrashError):
                    continue
                found[k] = sorted(answer.get("done", ()))
        finally:
            child.kill()

    with ThreadPoolExecutor(n, thread_name_prefix="streams") as threads:
        list(threads.map(look, range(n)))
    return found
