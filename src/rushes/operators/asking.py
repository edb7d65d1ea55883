"""A caption engine in an event loop of its own, which several threads may ask at once: so its limit on requests holds for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from rushes.captions import Answer, Engine, Request, make_engine
from rushes.captions.windows import Window, caption_at_hand
from rushes.errors import RecipeError, ServerError
from rushes.operators.problem import closed
from rushes.recipe_captions import CaptionSettings

AGAIN_S = 5.0
"""How long a request waits before it is sent again to a server that went away."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked about a clip: `request` is about the whole, `pieces` about each of its windows, where it has some."""

    request: Request
    pieces: Mapping[Window, Request]


class Asking:
    """Sends requests to the engine that the settings name. Pickles as its settings alone.

    Args:
        settings: the recipe's captions section; the key of the server is read from the environment of the process that asks.
        concurrency: requests under way at once.
    """

    def __init__(self, settings: CaptionSettings, concurrency: int) -> None:
        self._settings = settings
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._working: _Working | None = None
        self._closed = False

    def __reduce__(self) -> tuple[type[Asking], tuple[CaptionSettings, int]]:
        return Asking, (self._settings, self._concurrency)

    def submit(self, requests: Sequence[Asked]) -> Future[list[Answer]]:
        """The answers about the clips, in their order. At most `concurrency` requests are under way, over all threads.

        The future raises ServerError when the server has no key or model for us, or was away for longer than `captions.patience_s`.

        Raises:
            UsageError: the operator is closed.
        """
        with self._lock:
            if self._closed:
                raise closed("caption")
            if self._working is None:
                engine = make_engine(self._settings, self._concurrency)
                if engine is None:
                    raise RecipeError('captions.engine = "none" makes no captions', step="caption", mend='set it to "facts" or "openai"')
                self._working = _Working(engine, self._settings.patience_s)
                weakref.finalize(self, self._working.end)
            return asyncio.run_coroutine_threadsafe(self._working.answers(requests), self._working.loop)

    def close(self) -> None:
        """Closes the connections and ends the thread; requests under way are given up."""
        with self._lock:
            self._closed = True
            working, self._working = self._working, None
        if working is not None:
            working.end()
            working.thread.join()


class _Working:
    """The engine, its event loop and the thread that runs the loop."""

    def __init__(self, engine: Engine, patience_s: float) -> None:
        self._engine = engine
        self._patience_s = patience_s
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="rushes-captions", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    async def answers(self, requests: Sequence[Asked]) -> list[Answer]:
        """The answers in order; the first error of the server's gives up the rest."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(request)) for request in requests]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _answer(self, asked: Asked) -> Answer:
        since: float | None = None
        known: dict[int, Answer] = {}
        while True:
            try:
                answer = (await caption_at_hand(self._engine, asked.request, asked.pieces, known)).answer
                if answer.of_settings:
                    await self._engine.check()  # raises where test pictures are refused, too: then it is not this clip
                return answer
            except ServerError as error:
                since = time.monotonic() if since is None else since
                if error.permanent or time.monotonic() - since >= self._patience_s:
                    raise
                await asyncio.sleep(min(AGAIN_S, self._patience_s))

    def end(self) -> None:
        """Ends the loop, without waiting for it: the garbage collector may call this in any thread, the loop's own among them."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self.loop.call_soon_threadsafe(lambda: self.loop.create_task(self._end()))

    async def _end(self) -> None:
        under_way = asyncio.all_tasks(self.loop) - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._engine.close()
        self.loop.stop()
