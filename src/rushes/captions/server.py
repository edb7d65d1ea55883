"""Whether the caption server of a recipe is there, as the driver asks it before and during a run."""

from __future__ import annotations

import threading

from rushes.captions.engines import make_engine
from rushes.captions.event_loop import EventLoop
from rushes.recipe import CaptionSettings


class CaptionServer:
    """Asks the server that a recipe names; without one there is nothing to ask. Use as a context manager."""

    def __init__(self, settings: CaptionSettings, interrupted: threading.Event) -> None:
        self._engine = make_engine(settings, concurrency=1)
        self._interrupted = interrupted
        self._loop = EventLoop()

    def __enter__(self) -> CaptionServer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is not None:
            self._loop.call(self._engine.close())
        self._loop.close()

    def check(self) -> None:
        """Raises ServerError when captions cannot be made, Stopped when the run is interrupted meanwhile."""
        if self._engine is not None:
            self._loop.call(self._engine.check(), self._interrupted)
