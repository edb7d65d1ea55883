"""Captions from any OpenAI-compatible server: vLLM, SGLang, TGI, Ollama, transformers serve and others.

A failure is either the server's or the clip's. If the server is at fault (it is not there, refuses the key, does not know the model, or is
too busy through all tries), `caption` raises ServerError and the clip stays pending. If the clip is at fault (the server refuses its
request, its answer cannot be used, or the server fails on it and on no other), `caption` returns an Answer with a reason.

A request that is too long for the model is a failure of the clip. It is not sent again with fewer frames, so that all captions of one
fingerprint come from the same kind of request.
"""

from __future__ import annotations

import time

from rushes.captions.accept import Rejected, accept
from rushes.captions.chat_requests import TOO_LONG, ChatRequester
from rushes.captions.client import ChatClient
from rushes.captions.explain import explain
from rushes.captions.facts import sentence
from rushes.captions.messages import clip_message
from rushes.captions.prompts import Prompt
from rushes.captions.reply import QUOTA, FailedTry, Reply
from rushes.captions.request import Answer, Fault, Request
from rushes.errors import ServerError
from rushes.recipe import CaptionSettings

CODE = 1
"""Raise when the message that is sent, or the caption that is made of an answer, changes."""


class OpenAIEngine:
    """Asks a chat server about each clip.

    Args:
        settings: the recipe's captions section; `model` is set.
        prompt: the text and, for structured captions, the schema of the answer.
        base_url: the server's address.
        key: the API key; "none" for a server without one.
        concurrency: requests under way at once.
        first_backoff_s: wait after the first failed try, seconds; it doubles after each.
    """

    def __init__(
        self, settings: CaptionSettings, prompt: Prompt, *, base_url: str, key: str, concurrency: int, first_backoff_s: float = 0.5
    ) -> None:
        self._settings = settings
        self._model = settings.model or ""
        self._prompt = prompt
        self._client = ChatClient(base_url=base_url, key=key, timeout_s=settings.timeout_s, concurrency=concurrency)
        self._requester = ChatRequester(self._client, settings, prompt.schema, first_backoff_s=first_backoff_s)
        self._answered = False

    async def check(self) -> None:
        """Make sure the server is there, takes the key and knows the model. Sends no image.

        When the server's list of models has the model, that is enough. Otherwise (`transformers serve` lists other things, some servers
        have no list) the server is asked a tiny question.

        Raises:
            ServerError: with the address and how to mend it.
        """
        try:
            listed, tries = await self._requester.with_retries(self._client.models, self._settings.tries)
            if isinstance(listed, FailedTry):
                if listed.status is None or listed.status in (401, 402, 403, 429):
                    raise self._error(listed, tries)
                listed = ()
            if self._model in listed or f"{self._model}:latest" in listed:
                return
            got, tries = await self._requester.with_retries(self._requester.probe, self._settings.tries)
            if isinstance(got, FailedTry):
                unknown = got.status in (400, 422) and "model" in got.message.lower()
                if unknown or got.transient or got.unreadable or got.status in (401, 402, 403, 404):
                    raise self._error(got, tries, listed=listed)
        finally:
            await self._client.close()

    async def caption(self, request: Request) -> Answer:
        """Caption one clip; at most `concurrency` are under way at once, the others wait.

        Raises:
            ServerError: the fault is the server's; the clip stays pending.
        """
        if not request.frames:
            return self._answer(
                0.0, 0, None, error_type="no_frames", error="no stored frame lies inside the clip", mend="raise frames.per_s"
            )
        async with self._client.slots:
            begun = time.monotonic()
            completion = await self._requester.complete(clip_message(self._prompt, request))
            seconds = time.monotonic() - begun
        got, tries = completion.got, completion.tries
        if isinstance(got, FailedTry):
            if completion.server_down or self._is_server_fault(got):
                raise self._error(got, tries, request=request)
            return self._answer(seconds, tries, None, error_type=_fault_of(got), error=f"{got.message} (tries: {tries})")
        self._answered = True
        made = accept(got, self._prompt.schema)
        if isinstance(made, Rejected):
            return self._answer(seconds, tries, got, error_type=made.fault, error=made.message, mend=made.mend)
        text = f"{made.text} {sentence(request.facts, request.span_s)}" if self._settings.facts_suffix else made.text
        return self._answer(seconds, tries, got, text=text, fields=made.fields)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self._client.close()

    def _is_server_fault(self, failure: FailedTry) -> bool:
        """Whether a refusal concerns all clips: 401, 402, 404 and 429 do, and 403 as long as no clip was answered (some gateways answer 403
        to a picture that they do not allow).
        """
        return failure.status in (401, 402, 404, 429) or (failure.status == 403 and not self._answered)

    def _answer(
        self,
        seconds: float,
        tries: int,
        reply: Reply | None,
        *,
        text: str | None = None,
        fields: dict[str, object] | None = None,
        error_type: Fault | None = None,
        error: str | None = None,
        mend: str | None = None,
    ) -> Answer:
        return Answer(
            text=text,
            fields=fields,
            model=self._model,
            prompt_id=self._prompt.id,
            prompt_tokens=reply.prompt_tokens if reply else None,
            completion_tokens=reply.completion_tokens if reply else None,
            seconds=seconds,
            finish_reason=reply.finish_reason if reply else None,
            tries=tries,
            error_type=error_type,
            error=error,
            mend=mend,
        )

    def _error(self, failure: FailedTry, tries: int, *, listed: tuple[str, ...] = (), request: Request | None = None) -> ServerError:
        what, mend = explain(failure, self._client.address, self._model, tries=tries, listed=listed)
        uri, span_s = (request.uri, request.span_s) if request else (None, None)
        error = ServerError(what, step="captions", mend=mend, uri=uri, span_s=span_s)
        error.permanent = not failure.transient or failure.code == QUOTA
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
    return "context_length" if TOO_LONG.search(failure.message) else "request_refused"
