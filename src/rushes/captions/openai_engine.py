"""Captions from OpenAI-compatible servers: vLLM, SGLang, TGI, Ollama, transformers serve and others. Which of several a request goes to is
decided in `routing.py`.

A failure is either the server's or the clip's. If the server is at fault (it is not there, refuses the key, does not know the model, or is
too busy through all tries), `caption` raises ServerError and the clip stays pending. If the clip is at fault (the server refuses its
request, its answer cannot be used, or the server fails on it and on no other), `caption` returns an Answer with a reason.

A request that is too long for the model is a failure of the clip. It is not sent again with fewer frames, so that all captions of one
fingerprint come from the same kind of request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from weakref import WeakKeyDictionary

from rushes.captions.accept import accept
from rushes.captions.chat_requests import ChatRequester, Question, may_pass
from rushes.captions.client import ChatClient
from rushes.captions.explain import explain, may_be_model
from rushes.captions.facts import sentence
from rushes.captions.messages import messages_for
from rushes.captions.prompts import Prompt
from rushes.captions.reply import MIXED_UP, FailedTry, Reply
from rushes.captions.request import Answer, Fault, Rejection, Request
from rushes.captions.routing import Routed, Router
from rushes.captions.sample import sample_clip
from rushes.captions.settings_faults import settings_fault
from rushes.errors import ServerError
from rushes.recipe import FrameSettings
from rushes.recipe_captions import CaptionSettings

CODE = 1
"""Raise when the message that is sent, or the caption that is made of an answer, changes."""


class OpenAIEngine:
    """Asks chat servers about each clip.

    Args:
        settings: the recipe's captions section, filled in by `known_models.filled`; `model` is set.
        prompt: the text and, for structured captions, the schema of the answer.
        urls: the servers' addresses.
        key: the API key; "none" for servers without one.
        concurrency: requests under way at once, over all servers, in each event loop.
        verify: whose certificates are trusted; see `ChatClient`.
        direct: whether the servers are asked without the proxy that the environment may name.
        of_table: keys of the request that a server may refuse, and is then asked without; see `known_models.Filled`.
        first_backoff_s: wait after the first failed try, seconds; it doubles after each.
    """

    def __init__(
        self,
        settings: CaptionSettings,
        prompt: Prompt,
        *,
        urls: Sequence[str],
        key: str,
        concurrency: int,
        verify: bool | ssl.SSLContext = True,
        direct: bool = False,
        of_table: frozenset[str] = frozenset(),
        first_backoff_s: float = 0.5,
    ) -> None:
        self._settings = settings
        self._model = settings.model or ""
        self._prompt = prompt
        self._urls = tuple(urls)
        self._key = key
        self._concurrency = concurrency
        self._verify = verify
        self._direct = direct
        self._of_table = of_table
        self._first_backoff_s = first_backoff_s
        self._routers: WeakKeyDictionary[asyncio.AbstractEventLoop, Router] = WeakKeyDictionary()
        """One for each event loop: asyncio's objects, and connections, cannot be used from another loop."""
        self._answered = False

    @cached_property
    def _sample(self) -> Request:
        """A clip of test pictures; `check` may put another one in its place."""
        return self._shaped(sample_clip(FrameSettings()))

    def _shaped(self, sample: Request) -> Request:
        return replace(sample, facts=dict.fromkeys(self._prompt.columns) | dict(sample.facts))

    async def move(self, urls: Sequence[str], key: str) -> None:
        """From now on the servers are those at these addresses, where this event loop asks; new ones are sent this key."""
        self._urls, self._key = tuple(urls), key
        self._router.move(self._urls)

    async def check(self, sample: Request | None = None) -> Rejection | None:
        """Make sure that a server makes completions for clips: all are asked about a clip of test pictures, with the prompt, the schema and
        the limits of all others. Their lists of models prove nothing, and are only read to say which models there are.

        Args:
            sample: the clip of test pictures; None: the last one, at first one of the recipe's default shape.

        Returns:
            Why an answer would make no caption; None where all would.

        Raises:
            ServerError: no server made a completion; with the address and how to mend it.
        """
        if sample is not None:
            self._sample = self._shaped(sample)
        was_open = asyncio.get_running_loop() in self._routers
        try:
            found = await self._asked().ask_all()
            made = [accept(got, self._prompt) for routed in found if isinstance(got := routed.completion.got, Reply)]
            if not made:
                errors = [await self._checked_error(routed) for routed in found]
                raise next((error for error in errors if not error.permanent), errors[0])
            return next((one for one in made if isinstance(one, Rejection)), None)
        finally:
            if not was_open:
                await self.close()

    async def left_out(self) -> list[ServerError]:
        """Why servers are left out now, while others answer; asked after `check`."""
        return [
            self._error(server.away.failure, server.address, server.away.tries, images=len(self._sample.frames))
            for server in self._router.servers
            if server.away is not None
        ]

    async def caption(self, request: Request) -> Answer:
        """Caption one clip; at most `concurrency` requests are under way at once, the others wait.

        Raises:
            ServerError: the fault is the servers'; the clip stays pending.
        """
        if not request.frames and not request.parts:
            return self._answer(
                request, None, error_type="no_frames", error="no stored frame lies inside the clip", mend="raise frames.per_s"
            )
        if absent := [name for name in self._prompt.columns if name not in request.facts]:
            what = f"the prompt asks for {{{absent[0]}}}, and the clip has no such column"
            return self._answer(
                request, None, error_type="no_column", error=what, mend="name a column that the clips have, or leave it out"
            )
        routed = await self._asked().complete(self._question(request))
        got, tries = routed.completion.got, routed.completion.tries
        if isinstance(got, FailedTry):
            if routed.completion.server_down or self._is_server_fault(got):
                raise self._error(got, routed.server.address, tries, images=len(request.frames), request=request)
            fault = settings_fault(got)
            mend = fault.mend.replace("{images}", str(len(request.frames))) if fault else None
            failed = self._answer(request, routed, error_type=_fault_of(got), error=f"{got.message} (tries: {tries})", mend=mend)
            return replace(failed, of_settings=fault is not None)
        self._answered = True
        made = accept(got, self._prompt)
        if isinstance(made, Rejection):
            return self._answer(request, routed, error_type=made.fault, error=made.message, mend=made.mend)
        text = f"{made.text} {sentence(request.facts, request.span_s)}" if self._settings.facts_suffix else made.text
        return self._answer(request, routed, text=text, fields=made.fields)

    async def close(self) -> None:
        """Close the connections of this event loop; only the loop that opened connections can close them."""
        router = self._routers.pop(asyncio.get_running_loop(), None)
        if router is not None:
            await router.close()

    @property
    def _router(self) -> Router:
        loop = asyncio.get_running_loop()
        router = self._routers.get(loop)
        if router is None:
            router = self._routers[loop] = Router(
                self._server, self._concurrency, self._settings.deadline_s, self._test, self._is_server_fault
            )
            router.move(self._urls)
        return router

    def _asked(self) -> Router:
        """The router, which has servers.

        Raises:
            ServerError: it has none, since none of our own has been loaded.
        """
        router = self._router
        if not router.servers:
            raise ServerError("no caption server of this run is up", step="captions", mend="wait until one is loaded")
        return router

    def _server(self, url: str) -> tuple[ChatClient, ChatRequester]:
        client = ChatClient(base_url=url, key=self._key, timeout_s=self._settings.timeout_s, verify=self._verify, direct=self._direct)
        schema, table = self._prompt.schema, self._of_table
        return client, ChatRequester(client, self._settings, schema, of_table=table, first_backoff_s=self._first_backoff_s)

    def _question(self, request: Request) -> Question:
        return Question(request.clip_id, messages_for(self._prompt, request, self._settings.system))

    def _test(self) -> Question:
        return self._question(self._sample)

    def _is_server_fault(self, failure: FailedTry) -> bool:
        """Whether a failure concerns all clips: 401, 404, 429, an empty account, an untrusted certificate and answers to other requests do,
        and 403 as long as no clip was answered (some gateways answer 403 to a picture that they do not allow).
        """
        untrusted = failure.status is None and settings_fault(failure) is not None
        of_all = failure.status in (401, 404, 429) or untrusted or failure.unpaid or failure.code == MIXED_UP
        return of_all or (failure.status == 403 and not self._answered)

    def _answer(
        self,
        request: Request,
        routed: Routed | None,
        *,
        text: str | None = None,
        fields: dict[str, object] | None = None,
        error_type: Fault | None = None,
        error: str | None = None,
        mend: str | None = None,
    ) -> Answer:
        got = routed.completion.got if routed else None
        reply = got if isinstance(got, Reply) else None
        return Answer(
            clip_id=request.clip_id,
            text=text,
            fields=fields,
            model=self._model,
            prompt_id=self._prompt.id,
            prompt_tokens=reply.prompt_tokens if reply else None,
            completion_tokens=reply.completion_tokens if reply else None,
            seconds=routed.seconds if routed else 0.0,
            finish_reason=reply.finish_reason if reply else None,
            tries=routed.completion.tries if routed else 0,
            server=routed.server.address if routed else None,
            error_type=error_type,
            error=error,
            mend=mend,
            raw=reply.text if reply else None,
        )

    async def _checked_error(self, routed: Routed) -> ServerError:
        """Why a server made no completion about test pictures."""
        got, client = routed.completion.failure, routed.server.client
        listed = await client.models() if may_be_model(got) else ()
        names = () if isinstance(listed, FailedTry) else listed
        return self._error(got, client.address, routed.completion.tries, images=len(self._sample.frames), listed=names)

    def _error(
        self, failure: FailedTry, address: str, tries: int, *, images: int, listed: tuple[str, ...] = (), request: Request | None = None
    ) -> ServerError:
        what, mend = explain(failure, address, self._settings, tries=tries, images=images, listed=listed)
        uri, span_s = (request.uri, request.span_s) if request else (None, None)
        error = ServerError(what, step="captions", mend=mend, uri=uri, span_s=span_s)
        error.permanent = not may_pass(failure)
        return error


def _fault_of(failure: FailedTry) -> Fault:
    """The name of a failure that is the fault of one clip."""
    if failure.unreadable:
        return "bad_answer"
    if failure.timed_out:
        return "timeout"
    if failure.status is None:
        return "dropped"
    if failure.status >= 500:
        return "server_error"
    fault = settings_fault(failure)
    return "context_length" if fault is not None and fault.name == "context" else "request_refused"
