"""One event loop in a thread of its own, for other threads to run coroutines on: a caption client's connections belong to one loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from rushes.media.guard import Stopped

T = TypeVar("T")
LOOK_EVERY_S = 0.1


class EventLoop:
    """Runs coroutines for other threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="captions", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], interrupted: threading.Event | None = None) -> T:
        """Runs a coroutine and waits for its result.

        Raises:
            Stopped: `interrupted` was set meanwhile; the coroutine was cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            try:
                return future.result(LOOK_EVERY_S)
            except concurrent.futures.TimeoutError:
                if interrupted is not None and interrupted.is_set():
                    future.cancel()
                    raise Stopped from None

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Runs a coroutine; its result comes by the future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def cancel(self) -> None:
        """Cancels all coroutines that have not ended."""

        def cancel_all() -> None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()

        self._loop.call_soon_threadsafe(cancel_all)

    def close(self) -> None:
        """Ends the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
