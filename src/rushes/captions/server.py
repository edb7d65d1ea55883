"""Whether the caption servers of a recipe make captions, as the driver asks them before and during a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cached_property

from rushes.captions.engines import make_engine, needs
from rushes.captions.event_loop import EventLoop
from rushes.captions.openai_engine import OpenAIEngine
from rushes.captions.request import Rejection, Request
from rushes.captions.sample import sample_clip
from rushes.captions.serving.fleet import MEND, OwnServers
from rushes.errors import ServerError
from rushes.media.guard import Stopped
from rushes.recipe import Recipe

AGAIN_S = 2.0
"""How long a server that is still loading is left alone between two questions."""
MOST = 64
"""Servers that are asked at once: the one that is slow to fail is not waited for by the others."""
Move = Callable[[Sequence[str], str], None]
"""Tells the captioner where the servers are, and their key."""


class CaptionServer:
    """Asks the servers that a recipe names, or that the run has started; engines that are sent no frames have none. Use as a context
    manager.
    """

    def __init__(self, recipe: Recipe, interrupted: threading.Event) -> None:
        engine = make_engine(recipe.captions, concurrency=MOST)
        self._engine = engine if isinstance(engine, OpenAIEngine) and "frames" in needs(recipe.captions) else None
        self._frames = recipe.frames
        self._patience_s = recipe.captions.patience_s
        self._interrupted = interrupted
        self._loop = EventLoop()
        self._own: _Following | None = None

    def __enter__(self) -> CaptionServer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.servers.close()
        if self._engine is not None:
            self._loop.call(self._engine.close())
        self._loop.close()

    @cached_property
    def _sample(self) -> Request:
        return sample_clip(self._frames)

    @property
    def is_loading(self) -> bool:
        """Whether a server of the run's own is being loaded, or asked about test pictures for the first time: then it is waited for,
        however long the recipe allows that to take.
        """
        return self._own is not None and (not self._own.is_checked or self._own.servers.state().loading > 0)

    def none_is_up(self) -> bool:
        """Whether clips are to wait, since of the run's own servers none is up that has answered about test pictures."""
        return self._own is not None and not (self._own.is_checked and self._own.up)

    def check(self) -> Rejection | None:
        """Asks for a completion about test pictures; gives why it would be no caption, or None.

        Raises:
            ServerError: there was no completion.
            Stopped: the run was interrupted meanwhile.
        """
        if self._engine is None:
            return None
        if self._own is not None and not self._own.is_checked:
            raise ServerError("no caption server of this run is loaded yet", step="captions", mend="wait until one is")
        return self._loop.call(self._engine.check(self._sample), self._interrupted)

    def await_ready(self, wait_s: float, announce: Callable[[str], None]) -> None:
        """As `check`, but asks again for `wait_s` seconds while no server is there, or all are too busy or unwell, as while they load.
        Where some of several are not there, the run goes on without these.

        Args:
            wait_s: seconds; 0: ask once.
            announce: called with a line for people at the first failure, about servers that are left out, and about an answer that would
                make no caption.

        Raises:
            ServerError: no server makes completions, or one refuses them for a reason that waiting does not mend.
        """
        until = time.monotonic() + wait_s
        is_said = False
        while True:
            try:
                doubt = self.check()
                break
            except ServerError as error:
                if error.permanent or time.monotonic() >= until:
                    raise
                if not is_said:
                    announce(f"waiting up to {wait_s:g} s for the caption server: {error.what}")
                    is_said = True
            if self._interrupted.wait(AGAIN_S):
                raise Stopped
        for why in self.left_out():
            if why.permanent:
                raise why
            announce(f"a caption server is left out until it answers: {why.what}")
        _announce(doubt, announce)

    def left_out(self) -> list[ServerError]:
        """Why some of several servers are left out, after `check`."""
        return self._loop.call(self._engine.left_out()) if self._engine is not None else []

    def follow(self, servers: OwnServers, move: Move, announce: Callable[[str], None]) -> None:
        """From now on the servers are these, which the run has started. They end with this object.

        Args:
            servers: the servers, loading.
            move: tells the captioner where they are.
            announce: called with lines for people.
        """
        assert self._engine is not None
        self._own = _Following(servers, move, announce)
        self._loop.submit(self._warm_up())

    async def _warm_up(self) -> None:
        """Takes the seconds of imports and test pictures while the server loads, not when it is up."""
        import openai  # noqa: F401

        self._sample  # noqa: B018

    def look(self) -> None:
        """Looks after servers of the run's own; called several times a second. When the first is up, it is asked about test pictures;
        only then the captioner is told of it.

        Raises:
            ServerError: none is left; or a completion about test pictures is refused for a reason that waiting does not mend.
        """
        own, engine = self._own, self._engine
        if own is None or engine is None:
            return
        state = own.servers.state()
        for words in state.given_up[own.n_given_up :]:
            own.n_given_up += 1
            if state.up or state.loading:
                own.announce(f"the run goes on without one of its caption servers: {words}")
        if not state.up and not state.loading:
            error = ServerError(state.given_up[-1], step="captions", mend=MEND)
            error.permanent = True
            raise error
        if state.up != own.up:
            own.up_since = own.up_since if own.up else time.monotonic()
            own.up = state.up
            self._loop.call(engine.move(state.up, own.servers.key))
            if own.is_checked:
                own.move(state.up, own.servers.key)
        if not own.is_checked and own.up:
            self._check_first(own, engine)

    def _check_first(self, own: _Following, engine: OpenAIEngine) -> None:
        if own.checking is None:
            own.checking = self._loop.submit(engine.check(self._sample))
        if not own.checking.done():
            return
        checking, own.checking = own.checking, None
        try:
            doubt = checking.result()
        except ServerError as error:
            if error.permanent or time.monotonic() - own.up_since > self._patience_s:
                raise
            return  # it is asked again
        own.is_checked = True
        _announce(doubt, own.announce)
        own.move(own.up, own.servers.key)


class _Following:
    """The run's own servers, and what the captioner has been told of them."""

    def __init__(self, servers: OwnServers, move: Move, announce: Callable[[str], None]) -> None:
        self.servers, self.move, self.announce = servers, move, announce
        self.up: tuple[str, ...] = ()
        self.up_since = 0.0
        """When there last was a first server that is up, seconds of the monotonic clock."""
        self.n_given_up = 0
        self.checking: Future[Rejection | None] | None = None
        self.is_checked = False


def _announce(doubt: Rejection | None, announce: Callable[[str], None]) -> None:
    if doubt is not None:
        mend = f". Fix: {doubt.mend}" if doubt.mend else ""
        announce(f"the caption server answers, but what it says about test pictures would be no caption: {doubt.message}{mend}")
