"""Whether the caption server of a recipe makes captions, as the driver asks it before and during a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rushes.captions.engines import make_engine, needs
from rushes.captions.event_loop import EventLoop
from rushes.captions.request import Rejection
from rushes.captions.sample import sample_clip
from rushes.errors import ServerError
from rushes.media.guard import Stopped
from rushes.recipe import Recipe

AGAIN_S = 2.0
"""How long a server that is still loading is left alone between two questions."""


class CaptionServer:
    """Asks the server that a recipe names; engines that are sent no frames have none. Use as a context manager."""

    def __init__(self, recipe: Recipe, interrupted: threading.Event) -> None:
        self._engine = make_engine(recipe.captions, concurrency=1)
        self._frames = recipe.frames
        self._needs_frames = "frames" in needs(recipe.captions)
        self._interrupted = interrupted
        self._loop = EventLoop()

    def __enter__(self) -> CaptionServer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is not None:
            self._loop.call(self._engine.close())
        self._loop.close()

    def check(self) -> Rejection | None:
        """Asks for a completion about test pictures; gives why it would be no caption, or None.

        Raises:
            ServerError: there was no completion.
            Stopped: the run was interrupted meanwhile.
        """
        if self._engine is None or not self._needs_frames:
            return None
        return self._loop.call(self._engine.check(sample_clip(self._frames)), self._interrupted)

    def await_ready(self, wait_s: float, announce: Callable[[str], None]) -> Rejection | None:
        """As `check`, but asks again for `wait_s` seconds while the server is not there, too busy or unwell, as one that is loading is.

        Args:
            wait_s: seconds; 0: ask once.
            announce: called with a line for people at the first failure.
        """
        until = time.monotonic() + wait_s
        is_said = False
        while True:
            try:
                return self.check()
            except ServerError as error:
                if error.permanent or time.monotonic() >= until:
                    raise
                if not is_said:
                    announce(f"waiting up to {wait_s:g} s for the caption server: {error.what}")
                    is_said = True
            if self._interrupted.wait(AGAIN_S):
                raise Stopped
