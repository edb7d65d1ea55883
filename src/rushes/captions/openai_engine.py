"""Captions from any OpenAI-compatible server: vLLM, SGLang, TGI, Ollama, transformers serve and others.

Whose fault it is decides everything. A fault of the server (not there, key refused, model unknown, too busy through all tries) raises
ServerError, and the clip stays pending. A fault of the clip (its request is refused, its answer is unusable, or the server breaks on it
alone) is an Answer with a reason.

A prompt too long for the model is such a failure, not a second try with fewer frames: captions of one fingerprint all come from the same
kind of request.
"""

from __future__ import annotations

import time

from rushes.captions.accept import Rejected, accept
from rushes.captions.asking import TOO_LONG, Asker
from rushes.captions.client import ChatClient
from rushes.captions.explain import explain
from rushes.captions.facts import sentence
from rushes.captions.messages import clip_message
from rushes.captions.prompts import Prompt
from rushes.captions.reply import QUOTA, Reply, Trouble
from rushes.captions.request import Answer, Fault, Request
from rushes.errors import ServerError
from rushes.recipe import CaptionSettings

CODE = 1
"""Raised by hand when the message sent, or what is made of an answer, changes."""


class OpenAIEngine:
    """Asks a chat server about each clip.

    Args:
        settings: the recipe's captions section; `model` is set.
        prompt: the words and, for structured captions, the schema.
        base_url: the server's address.
        key: the API key; "none" for a server without one.
        first_backoff_s: wait after the first failed try, seconds; it doubles after each.
    """

    def __init__(self, settings: CaptionSettings, prompt: Prompt, *, base_url: str, key: str, first_backoff_s: float = 0.5) -> None:
        self._settings = settings
        self._model = settings.model or ""
        self._prompt = prompt
        self._client = ChatClient(base_url=base_url, key=key, timeout_s=settings.timeout_s, concurrency=settings.concurrency)
        self._asker = Asker(self._client, settings, prompt.schema, first_backoff_s=first_backoff_s)
        self._answered = False

    async def check(self) -> None:
        """Make sure the server is there, takes the key and knows the model. Sends no image.

        The model list is believed when it holds the model. Else (`transformers serve` lists other things, some servers have no
        list) a tiny question settles it.

        Raises:
            ServerError: with the address and how to mend it.
        """
        try:
            listed, tries = await self._asker.persist(self._client.models, self._settings.tries)
            if isinstance(listed, Trouble):
                if listed.status is None or listed.status in (401, 402, 403, 429):
                    raise self._error(listed, tries)
                listed = ()
            if self._model in listed or f"{self._model}:latest" in listed:
                return
            got, tries = await self._asker.persist(self._asker.probe, self._settings.tries)
            if isinstance(got, Trouble):
                unknown = got.status in (400, 422) and "model" in got.words.lower()
                if unknown or got.passing or got.unreadable or got.status in (401, 402, 403, 404):
                    raise self._error(got, tries, listed=listed)
        finally:
            await self._client.close()

    async def caption(self, request: Request) -> Answer:
        """Caption one clip; at most `captions.concurrency` are under way at once, the rest wait their turn.

        Raises:
            ServerError: the fault is the server's; the clip stays pending.
        """
        if not request.frames:
            return self._answer(
                0.0, 0, None, error_type="no_frames", error="no stored frame lies inside the clip", mend="raise frames.per_s"
            )
        async with self._client.gate:
            begun = time.monotonic()
            outcome = await self._asker.complete(clip_message(self._prompt, request))
            seconds = time.monotonic() - begun
        got, tries = outcome.got, outcome.tries
        if isinstance(got, Trouble):
            if outcome.server_down or self._is_servers(got):
                raise self._error(got, tries, request=request)
            return self._answer(seconds, tries, None, error_type=_fault(got), error=f"{got.words} (tries: {tries})")
        self._answered = True
        made = accept(got, self._prompt.schema)
        if isinstance(made, Rejected):
            return self._answer(seconds, tries, got, error_type=made.fault, error=made.message, mend=made.mend)
        text = f"{made.text} {sentence(request.facts, request.span_s)}" if self._settings.facts_suffix else made.text
        return self._answer(seconds, tries, got, text=text, fields=made.fields)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self._client.close()

    def _is_servers(self, trouble: Trouble) -> bool:
        """401, 402, 404 and 429 concern every clip alike; so does 403, unless others were answered (gateways moderate with it)."""
        return trouble.status in (401, 402, 404, 429) or (trouble.status == 403 and not self._answered)

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

    def _error(self, trouble: Trouble, tries: int, *, listed: tuple[str, ...] = (), request: Request | None = None) -> ServerError:
        what, mend = explain(trouble, self._client.address, self._model, tries=tries, listed=listed)
        uri, span_s = (request.uri, request.span_s) if request else (None, None)
        error = ServerError(what, step="captions", mend=mend, uri=uri, span_s=span_s)
        error.permanent = not trouble.passing or trouble.code == QUOTA
        return error


def _fault(trouble: Trouble) -> Fault:
    """The name of a failure that is a clip's own."""
    if trouble.unreadable:
        return "bad_answer"
    if trouble.timed_out:
        return "timeout"
    if trouble.status is None:
        return "dropped"
    if trouble.status >= 500:
        return "server_error"
    return "context_length" if TOO_LONG.search(trouble.words) else "request_refused"
