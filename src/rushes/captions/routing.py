"""Requests of one event loop to one server or several: which server gets which, and how many are under way.

A request goes to the server with the fewest requests under way for the number that it takes at once (`concurrency.Limit`), and all servers
together have at most as many as the run may have. A server that does not answer is left out; the requests that it had go to the others. Now
and then it is asked about test pictures, and taken back when it makes a completion. Where all are left out, a request is sent nevertheless,
so that with one server all is as if there were none of this.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rushes.captions.chat_requests import ChatRequester, Completion, Question, may_pass
from rushes.captions.client import ChatClient
from rushes.captions.concurrency import START, Limit
from rushes.captions.reply import FailedTry, Reply
from rushes.log import note

ASK_EVERY_S = 5.0
"""How often a server that is left out is asked whether it is back, seconds."""


@dataclass(eq=False, slots=True)
class Server:
    """One server, as the requests of one event loop know it.

    Attributes:
        away: why it is left out, or None.
        doubted: clips that it has refused and another server is asked about: it gets no further ones before that has answered.
    """

    client: ChatClient
    requester: ChatRequester
    limit: Limit
    under_way: int = 0
    doubted: int = 0
    away: Completion | None = None
    ask_at: float = -math.inf

    @property
    def address(self) -> str:
        """Where it is, as it may be shown."""
        return self.client.address

    @property
    def load(self) -> float:
        """Requests under way, as a share of what it takes at once."""
        return self.under_way / self.limit.number


@dataclass(frozen=True, slots=True)
class Routed:
    """What came of a request, and the server that it came from."""

    completion: Completion
    server: Server
    seconds: float
    """From the first try to the end, the waits between tries included."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request that waits for a place: which servers may take it now, and the future that tells it which one does."""

    servers: Callable[[], list[Server]]
    given: asyncio.Future[Server] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Router:
    """Sends requests to servers, from one event loop.

    Args:
        make: makes what talks to the server at an address.
        most: requests under way at once, to all servers together.
        deadline_s: time limit of one clip, from its first try, seconds.
        test: the question about test pictures.
        is_servers_fault: whether a refusal concerns all clips.
    """

    def __init__(
        self,
        make: Callable[[str], tuple[ChatClient, ChatRequester]],
        most: int,
        deadline_s: float,
        test: Callable[[], Question],
        is_servers_fault: Callable[[FailedTry], bool],
    ) -> None:
        self._make = make
        self._most = most
        self._deadline_s = deadline_s
        self._test = test
        self._is_servers_fault = is_servers_fault
        self._waiting: deque[_Waiting] = deque()
        self._under_way = 0
        self._asking: set[asyncio.Task[None]] = set()
        self._gone: list[Server] = []
        self.servers: list[Server] = []

    def move(self, urls: Sequence[str]) -> None:
        """From now on the servers are those at these addresses. Those that were there before keep what is known of them."""
        there = {server.client.base_url: server for server in self.servers}
        self._gone += [server for url, server in there.items() if url not in urls]
        share = max(1, math.ceil(self._most / max(1, len(urls))))
        self.servers = [there.get(url) or Server(*self._make(url), Limit(self._most, min(START, share))) for url in urls]
        self._give()

    async def complete(self, question: Question) -> Routed:
        """The completion for a question, by one of the servers, of which there must be one.

        Where one does not answer, another is asked. Where one refuses, another is asked, too: only what two servers refuse, the second at
        all its tries, is taken for the clip's own fault. A server that was the only one to refuse is left out until it has answered about
        test pictures.
        """
        refused: list[Routed] = []
        try:
            return await self._by_one_of_them(question, refused)
        finally:
            for routed in refused:
                routed.server.doubted -= 1
            self._give()

    async def _by_one_of_them(self, question: Question, refused: list[Routed]) -> Routed:
        """See `complete`; `refused` takes what servers refused on the way."""
        silent: list[Routed] = []
        until: float | None = None
        while True:
            asked = [routed.server for routed in (*refused, *silent)]
            server = await self._place(lambda asked=asked: self._candidates(asked), first=bool(asked))  # type: ignore[misc]
            until = until or time.monotonic() + self._deadline_s
            routed = await self._at(server, question, until, hasty=not refused and bool(self._up([*asked, server])))
            got = routed.completion.got
            if isinstance(got, Reply):
                self._take_back(server)
                for other in refused:
                    self._leave_out(other.server, other.completion)
                return routed
            if routed.completion.server_down or self._is_servers_fault(got):
                self._leave_out(server, routed.completion)
                silent.append(routed)
            else:
                refused.append(routed)
                server.doubted += 1
            if len(refused) == 2 or not self._up([*asked, server]):
                return (refused or sorted(silent, key=lambda one: may_pass(one.completion.failure)))[-1]

    async def ask_all(self) -> list[Routed]:
        """Asks all servers about test pictures at once, also those that are left out; they are left out, or taken back, by what comes."""
        question = self._test()

        async def ask(server: Server) -> Routed:
            await self._place(lambda: [server])
            return await self._at(server, question, time.monotonic() + self._deadline_s, hasty=False)

        found = await asyncio.gather(*map(ask, self.servers))
        for routed in found:
            if isinstance(routed.completion.got, Reply):
                self._take_back(routed.server)
            else:
                self._leave_out(routed.server, routed.completion)
        return found

    async def close(self) -> None:
        """Close all connections."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        for server in (*self.servers, *self._gone):
            await server.client.close()

    # -- places --------------------------------------------------------------------------------------------------------------------

    def _up(self, asked: Sequence[Server] = ()) -> list[Server]:
        return [server for server in self.servers if server.away is None and server not in asked]

    def _candidates(self, asked: Sequence[Server]) -> list[Server]:
        """The servers that may take a request: those that are not left out, and have not been asked; where there is none of these, all."""
        self._ask_back()
        up = self._up(asked)
        calm = [server for server in up if not server.doubted]
        return calm or up or [server for server in self.servers if server not in asked] or self.servers

    async def _place(self, servers: Callable[[], list[Server]], *, first: bool = False) -> Server:
        """Waits until one of these servers has a place for a request, and takes it; with `first`, before those that wait already."""
        waiting = _Waiting(servers)
        (self._waiting.appendleft if first else self._waiting.append)(waiting)
        self._give()
        try:
            return await waiting.given
        except asyncio.CancelledError:
            if waiting.given.done() and not waiting.given.cancelled():
                self._leave_place(waiting.given.result())
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
            raise

    def _leave_place(self, server: Server) -> None:
        server.under_way -= 1
        self._under_way -= 1
        self._give()

    def _give(self) -> None:
        """Gives free places to requests that wait, the first first."""
        still: deque[_Waiting] = deque()
        while self._waiting and self._under_way < self._most:
            waiting = self._waiting.popleft()
            free = [server for server in waiting.servers() if server.under_way < server.limit.number]
            if not free:
                still.append(waiting)
                continue
            server = min(free, key=lambda server: server.load)
            server.under_way += 1
            self._under_way += 1
            waiting.given.set_result(server)
        self._waiting.extendleft(reversed(still))

    async def _at(self, server: Server, question: Question, until: float, *, hasty: bool) -> Routed:
        """A request at a server at which it has a place, which it leaves."""
        turn = _Turn(self, server)
        began = time.monotonic()
        try:
            completion = await server.requester.complete(question, turn, until, hasty=hasty)
        finally:
            if turn.has_place:
                self._leave_place(server)
        return Routed(completion, server, time.monotonic() - began)

    # -- who is there --------------------------------------------------------------------------------------------------------------

    def _leave_out(self, server: Server, completion: Completion) -> None:
        if server.away is None and len(self.servers) > 1:
            note("caption server left out", stage="captions", level="warning", server=server.address, error=completion.failure.message)
        server.away, server.ask_at = completion, time.monotonic() + ASK_EVERY_S
        self._give()

    def _take_back(self, server: Server) -> None:
        if server.away is not None:
            if len(self.servers) > 1:
                note("caption server taken back", stage="captions", server=server.address)
            server.away, server.limit = None, Limit(self._most)
            self._give()

    def _ask_back(self) -> None:
        """Has servers asked that were left out some time ago, while the others work."""
        for server in self.servers:
            if server.away is not None and time.monotonic() >= server.ask_at and self._up():
                server.ask_at = math.inf
                task = asyncio.get_running_loop().create_task(self._ask_again(server))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    async def _ask_again(self, server: Server) -> None:
        got = await server.requester.once(self._test())
        if isinstance(got, Reply):
            self._take_back(server)
        else:
            server.ask_at = time.monotonic() + ASK_EVERY_S


class _Turn:
    """See `chat_requests.Turn`."""

    def __init__(self, router: Router, server: Server) -> None:
        self._router = router
        self._server = server
        self.has_place = True

    async def rest(self, wait_s: float) -> None:
        self.has_place = False
        self._router._leave_place(self._server)
        await asyncio.sleep(wait_s)
        await self._router._place(lambda: [self._server], first=True)
        self.has_place = True

    def tried(self, got: Reply | FailedTry, sent: float) -> None:
        limit = self._server.limit
        if isinstance(got, FailedTry) and (got.status in (429, 503) or got.timed_out):
            limit.overloaded(sent)
        elif isinstance(got, Reply) or got.status is not None:
            limit.answered(self._server.under_way, sent)
            self._router._give()
