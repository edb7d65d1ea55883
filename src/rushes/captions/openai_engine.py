"""Captions from any OpenAI-compatible server: vLLM, SGLang, TGI, Ollama, transformers serve and others.

A failure is either the server's or the clip's. If the server is at fault (it is not there, refuses the key, does not know the model, or is
too busy through all tries), `caption` raises ServerError and the clip stays pending. If the clip is at fault (the server refuses its
request, its answer cannot be used, or the server fails on it and on no other), `caption` returns an Answer with a reason.

A request that is too long for the model is a failure of the clip. It is not sent again with fewer frames, so that all captions of one
fingerprint come from the same kind of request.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import replace

from rushes.captions.accept import accept
from rushes.captions.chat_requests import ChatRequester, Completion, may_pass
from rushes.captions.client import ChatClient
from rushes.captions.explain import explain, may_be_model
from rushes.captions.facts import sentence
from rushes.captions.messages import clip_messages
from rushes.captions.prompts import Prompt
from rushes.captions.reply import FailedTry, Reply
from rushes.captions.request import Answer, Fault, Rejection, Request
from rushes.captions.sample import sample_clip
from rushes.captions.settings_faults import settings_fault
from rushes.captions.windows import merge_messages
from rushes.errors import ServerError
from rushes.recipe import FrameSettings
from rushes.recipe_captions import CaptionSettings

CODE = 1
"""Raise when the message that is sent, or the caption that is made of an answer, changes."""


class OpenAIEngine:
    """Asks a chat server about each clip.

    Args:
        settings: the recipe's captions section, filled in by `known_models.filled`; `model` is set.
        prompt: the text and, for structured captions, the schema of the answer.
        base_url: the server's address.
        key: the API key; "none" for a server without one.
        concurrency: requests under way at once.
        verify: whose certificates are trusted; see `ChatClient`.
        of_table: keys of the request that a server may refuse, and is then asked without; see `known_models.Filled`.
        first_backoff_s: wait after the first failed try, seconds; it doubles after each.
    """

    def __init__(
        self,
        settings: CaptionSettings,
        prompt: Prompt,
        *,
        base_url: str,
        key: str,
        concurrency: int,
        verify: bool | ssl.SSLContext = True,
        of_table: frozenset[str] = frozenset(),
        first_backoff_s: float = 0.5,
    ) -> None:
        self._settings = settings
        self._model = settings.model or ""
        self._prompt = prompt
        self._client = ChatClient(base_url=base_url, key=key, timeout_s=settings.timeout_s, concurrency=concurrency, verify=verify)
        self._requester = ChatRequester(self._client, settings, prompt.schema, of_table=of_table, first_backoff_s=first_backoff_s)
        self._answered = False

    async def check(self, sample: Request | None = None) -> Rejection | None:
        """Make sure that the server makes completions for clips: it is asked about a clip of test pictures, with the prompt, the schema and
        the limits of all others. Its list of models proves nothing, and is only read to say which models there are.

        Args:
            sample: the clip of test pictures; None: one of the recipe's default shape.

        Returns:
            Why the answer would make no caption; None where it would.

        Raises:
            ServerError: there was no completion; with the address and how to mend it.
        """
        clip = sample or sample_clip(FrameSettings())
        clip = replace(clip, facts=dict.fromkeys(self._prompt.columns) | dict(clip.facts))
        was_open = self._client.is_open
        try:
            completion = await self._complete(clip)
            got = completion.got
            if isinstance(got, Reply):
                made = accept(got, self._prompt)
                return made if isinstance(made, Rejection) else None
            listed = await self._client.models() if may_be_model(got) else ()
            raise self._error(got, completion.tries, images=len(clip.frames), listed=() if isinstance(listed, FailedTry) else listed)
        finally:
            if not was_open:
                await self._client.close()

    async def caption(self, request: Request) -> Answer:
        """Caption one clip; at most `concurrency` are under way at once, the others wait.

        Raises:
            ServerError: the fault is the server's; the clip stays pending.
        """
        if not request.frames and not request.parts:
            return self._answer(
                request.clip_id,
                0.0,
                0,
                None,
                error_type="no_frames",
                error="no stored frame lies inside the clip",
                mend="raise frames.per_s",
            )
        if absent := [name for name in self._prompt.columns if name not in request.facts]:
            what = f"the prompt asks for {{{absent[0]}}}, and the clip has no such column"
            return self._answer(
                request.clip_id, 0.0, 0, None, error_type="no_column", error=what, mend="name a column that the clips have, or leave it out"
            )
        async with self._client.slots:
            begun = time.monotonic()
            completion = await self._complete(request)
            seconds = time.monotonic() - begun
        got, tries = completion.got, completion.tries
        if isinstance(got, FailedTry):
            if completion.server_down or self._is_server_fault(got):
                raise self._error(got, tries, images=len(request.frames), request=request)
            fault = settings_fault(got)
            mend = fault.mend.replace("{images}", str(len(request.frames))) if fault else None
            failed = self._answer(
                request.clip_id, seconds, tries, None, error_type=_fault_of(got), error=f"{got.message} (tries: {tries})", mend=mend
            )
            return replace(failed, of_settings=fault is not None)
        self._answered = True
        made = accept(got, self._prompt)
        if isinstance(made, Rejection):
            return self._answer(request.clip_id, seconds, tries, got, error_type=made.fault, error=made.message, mend=made.mend)
        text = f"{made.text} {sentence(request.facts, request.span_s)}" if self._settings.facts_suffix else made.text
        return self._answer(request.clip_id, seconds, tries, got, text=text, fields=made.fields)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self._client.close()

    async def _complete(self, request: Request) -> Completion:
        make = merge_messages if request.parts else clip_messages
        return await self._requester.complete(make(self._prompt, request, self._settings.system))

    def _is_server_fault(self, failure: FailedTry) -> bool:
        """Whether a refusal concerns all clips: 401, 404, 429, an empty account and an untrusted certificate do, and 403 as long as no clip
        was answered (some gateways answer 403 to a picture that they do not allow).
        """
        untrusted = failure.status is None and settings_fault(failure) is not None
        return failure.status in (401, 404, 429) or untrusted or failure.unpaid or (failure.status == 403 and not self._answered)

    def _answer(
        self,
        clip_id: str,
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
            clip_id=clip_id,
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
            raw=reply.text if reply else None,
        )

    def _error(
        self, failure: FailedTry, tries: int, *, images: int, listed: tuple[str, ...] = (), request: Request | None = None
    ) -> ServerError:
        what, mend = explain(failure, self._client.address, self._settings, tries=tries, images=images, listed=listed)
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
