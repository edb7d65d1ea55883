"""The caption servers of a run on one machine: started, asked whether they are up, started again when they die, ended with the run."""

from __future__ import annotations

import http.client
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rushes.captions.serving.launch import free_port, launch
from rushes.captions.serving.process import ServerProcess
from rushes.errors import RushesError, ServerError
from rushes.log import note
from rushes.recipe_captions import CaptionSettings

LOOK_EVERY_S = 0.25
"""How often a server that is loading is asked whether it is up."""
WELL_EVERY_S = 5.0
"""How often a server that is up is asked whether it still is."""
UNWELL_S = 120.0
"""How long a server that was up may give no answer to this question until it is ended and started again: one that works at a large batch
may be late."""
ASK_S = 10.0
"""Time limit of the question."""
NEVER_UP = 1
"""How often a server that was never up is started again: what keeps it from loading will most often do so again, after minutes."""
AGAIN_S = 1.0
"""Wait before a server that died is started again, doubled each time."""
HEALTH = "/health"
"""The path by which vLLM, SGLang, llama.cpp, TGI and transformers serve say that they are up: 200 once the model is loaded. A server
without such a path answers 404 as soon as it listens."""
MEND = "its words say why; captions.serve is the command, and captions.model must be a model that it can load"
"""How to mend a server that does not load."""
LOOPBACK, EVERY_ADDRESS = "127.0.0.1", "0.0.0.0"


@dataclass(frozen=True, slots=True)
class ServersState:
    """How the servers of a run are.

    Attributes:
        up: addresses of those that are up, ending in /v1.
        loading: how many are being loaded, the first time or again.
        given_up: of each that was given up, why, with its last words.
    """

    up: tuple[str, ...] = ()
    loading: int = 0
    given_up: tuple[str, ...] = ()


class OwnServers(Protocol):
    """The caption servers of a run, on this machine or on a cluster.

    Attributes:
        key: what they may ask for.
    """

    key: str

    def state(self) -> ServersState:
        """How they are now; takes no time."""
        ...

    def close(self) -> None:
        """Ends them."""
        ...


class Fleet:
    """Starts one server for each share of this machine's GPUs, and keeps them up.

    Args:
        settings: the recipe's captions section.
        shares: the GPUs of each, as CUDA_VISIBLE_DEVICES; None: what the environment says.
        key: what they are to ask for.
        host: the address of this machine for those that ask them; other than `LOOPBACK`: they are to listen on all addresses.
        holds: called now and then; it raises where the run that the servers are for has ended, and they end.

    Raises:
        RecipeError: the command cannot be used, or its program is not there.
    """

    def __init__(
        self,
        settings: CaptionSettings,
        shares: Sequence[str | None],
        *,
        key: str | None = None,
        host: str = LOOPBACK,
        holds: Callable[[], object] = lambda: None,
    ) -> None:
        self.key = key or secrets.token_hex(16)
        self._servers = [_OwnServer(settings, share, self.key, host, holds) for share in shares]
        for server in self._servers:
            server.start()

    def state(self) -> ServersState:
        """See `OwnServers`."""
        up = tuple(server.url for server in self._servers if server.url is not None)
        given_up = tuple(server.given_up for server in self._servers if server.given_up is not None)
        return ServersState(up, len(self._servers) - len(up) - len(given_up), given_up)

    def close(self) -> None:
        """See `OwnServers`. All are asked to end at the same time."""
        for server in self._servers:
            server.stop.set()
        for server in self._servers:
            server.join()


@contextmanager
def loaded(settings: CaptionSettings, shares: Sequence[str | None]) -> Iterator[OwnServers]:
    """Servers of this machine of which one is up; they end with the block.

    Raises:
        RecipeError: they cannot be started as the recipe says.
        ServerError: none is loaded, with its last words.
    """
    fleet = Fleet(settings, shares)
    try:
        while not (state := fleet.state()).up:
            if not state.loading:
                raise ServerError(state.given_up[-1], step="captions", mend=MEND)
            time.sleep(LOOK_EVERY_S)
        yield fleet
    finally:
        fleet.close()


@dataclass(eq=False)
class _OwnServer:
    """One server, kept up by a thread of its own.

    Attributes:
        url: its address while it is up.
        was_up: it has been up before.
        given_up: why it is not started again.
        stop: set to end it.
    """

    settings: CaptionSettings
    devices: str | None
    key: str
    host: str
    holds: Callable[[], object]
    url: str | None = None
    was_up: bool = False
    given_up: str | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._process: ServerProcess | None = None
        self._port = 0
        self._begin()  # here, so that a program that is not there is an error of who starts it
        self._thread = threading.Thread(target=self._keep_up, name="caption server", daemon=True)

    def start(self) -> None:
        """Begins to look after it."""
        self._thread.start()

    def join(self) -> None:
        """Waits until it has ended, after `stop`."""
        self._thread.join()

    def _begin(self) -> None:
        self._port = free_port()
        listen = LOOPBACK if self.host == LOOPBACK else EVERY_ADDRESS
        self._process = ServerProcess(launch(self.settings, host=listen, port=self._port, key=self.key, devices=self.devices))

    def _keep_up(self) -> None:
        """Until it is to end: starts it again as often as the recipe says."""
        died = 0
        try:
            while (why := self._until_it_ends()) is not None:
                assert self._process is not None
                self._process.end()
                words = self._process.last_words()
                again = died < (self.settings.restarts if self.was_up else min(NEVER_UP, self.settings.restarts))
                note("caption server died", stage="captions", level="warning", port=self._port, why=why, error=words, again=again)
                died += 1
                if not again:
                    self.given_up = f"a caption server that captions.serve starts {why} ({died} time{'s' if died > 1 else ''}): {words}"
                    return
                if self.stop.wait(AGAIN_S * 2.0 ** (died - 1)):
                    return
                self._begin()
        except (RushesError, OSError) as error:  # the run has ended, the program has gone, or the machine has no process left
            self.given_up = f"a caption server cannot be started again: {error}"
        finally:
            self.url = None
            if self._process is not None:
                self._process.end()

    def _until_it_ends(self) -> str | None:
        """Looks after the process; why it is of no more use, or None where it is to end."""
        assert self._process is not None
        began = heard = time.monotonic()
        asked = began
        while not self.stop.wait(LOOK_EVERY_S):
            self.holds()
            now = time.monotonic()
            if not self._process.is_alive:
                self.url = None
                return "died"
            if self.url is not None and now - asked < WELL_EVERY_S:
                continue
            asked = now
            if self._is_well():
                heard = now
                if self.url is None:
                    note("caption server up", stage="captions", port=self._port, loaded_s=round(now - began, 1))
                    self.was_up = True
                    self.url = f"http://{self.host}:{self._port}/v1"
            elif self.url is not None and now - heard > UNWELL_S:
                self.url = None
                return f"gave no answer for {UNWELL_S:g} s and was ended"
            elif self.url is None and now - began > self.settings.load_s:
                return f"was not loaded within captions.load_s = {self.settings.load_s:g} s and was ended"
        return None

    def _is_well(self) -> bool:
        connection = http.client.HTTPConnection(self.host, self._port, timeout=ASK_S)
        try:
            connection.request("GET", HEALTH)
            return connection.getresponse().status in (200, 204, 404, 405)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
