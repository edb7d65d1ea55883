"""The caption server of the tests, at one address through several lives, with an account of all it was asked."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.render import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from caption_server import Running, digest, start_server


class Server:
    """A server that can be killed and comes back at its address. Its captions depend on the frames it is sent and on nothing else.

    Attributes:
        asked: every request for a caption since `forget`, those of earlier lives too: `at`, `answered` (None while under way), `images`,
            `texts`.
    """

    def __init__(self, service_s: float, parallel: int) -> None:
        self._options: dict[str, Any] = {"service_s": service_s, "parallel": parallel, "mode": "digest"}
        self._life = contextlib.ExitStack()
        self._past: list[dict[str, Any]] = []
        self._back_at: float | None = None
        self._running: Running = self._life.enter_context(start_server(**self._options))
        self.port = self._running.port

    @property
    def url(self) -> str:
        """Its address, as a recipe has it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def _now(self) -> list[dict[str, Any]]:
        return [r for r in self._running.stats()["requests"] if r["images"]] if self._back_at is None else []

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [*self._past, *self._now()]

    def forget(self) -> None:
        """Starts a new account."""
        self.back()
        self._running.control()
        self._past = []

    def die(self, away_s: float) -> None:
        """Ends its process at once; `tick` brings it back after `away_s` seconds."""
        if self._back_at is None:
            self._past = self.asked
            self._life.close()
            self._back_at = time.monotonic() + away_s

    def tick(self) -> None:
        """Comes back when it is time."""
        if self._back_at is not None and time.monotonic() >= self._back_at:
            self.back()

    def back(self) -> None:
        """Comes back now, if it is away."""
        if self._back_at is not None:
            self._running = self._life.enter_context(start_server(port=self.port, **self._options))
            self._back_at = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        """Ends it with the block."""
        try:
            yield self
        finally:
            self._life.close()


def text_of(request: dict[str, Any]) -> str:
    """The caption that answers a request, in the server's mode "digest"."""
    return f"A hall that was shown as {digest(request)}."
