"""The caption servers of a campaign, with an account of all that they were asked: one of others, at one address through several lives;
several of others, of which one dies; and those that a run starts itself. All give the same captions.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
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

    @property
    def settings(self) -> list[str]:
        """What a recipe says of it."""
        return [f"captions.base_url={self.url}"]

    @property
    def may_stop_a_run(self) -> bool:
        """Whether a run cannot go on without what `die` ends."""
        return True

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
            self._past = [*self._past, *self._now()]
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


class Several(Server):
    """Several servers, one of which dies at a time: the run goes on with the others."""

    def __init__(self, service_s: float, parallel: int, n: int = 3) -> None:
        super().__init__(service_s, parallel)
        self._others = [Server(service_s, parallel) for _ in range(n - 1)]

    @property
    def settings(self) -> list[str]:
        """See `Server`."""
        return [f"captions.base_url={json.dumps([self.url, *(other.url for other in self._others)])}"]

    @property
    def may_stop_a_run(self) -> bool:
        """See `Server`."""
        return False

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [*super().asked, *(request for other in self._others for request in other.asked)]

    def forget(self) -> None:
        """See `Server`."""
        super().forget()
        for other in self._others:
            other.forget()

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        """See `Server`."""
        with contextlib.ExitStack() as stack:
            for other in self._others:
                stack.enter_context(other.running())
            yield stack.enter_context(super().running())


class Own:
    """Servers that a run starts itself. They write down what they are asked, each request as it comes and again when it is answered."""

    may_stop_a_run = False

    def __init__(self, service_s: float, parallel: int, account: Path) -> None:
        account.touch()
        self._account = account
        self._read = 0
        self._seen: dict[str, dict[str, Any]] = {}
        command = f"{{python}} {ROOT / 'tests' / 'caption_server.py'} --host {{host}} --port {{port}} --model {{model}} --mode digest"
        more = f"--service-s {service_s} --parallel {parallel} --account {account}"
        self.settings = [f"captions.serve={command} {more}"]

    @property
    def asked(self) -> list[dict[str, Any]]:
        """See `Server`."""
        with self._account.open("rb") as account:
            account.seek(self._read)
            new = account.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            request = json.loads(line)
            self._seen[request["key"]] = request
        return [*self._seen.values()]

    def forget(self) -> None:
        """See `Server`."""
        _ = self.asked
        self._seen.clear()

    def tick(self) -> None:
        """See `Server`: the run starts its servers again."""

    def back(self) -> None:
        """See `Server`."""


def text_of(request: dict[str, Any]) -> str:
    """The caption that answers a request, in the server's mode "digest"."""
    return f"A hall that was shown as {digest(request)}."
