"""Requests to one chat server with retries. It finds out which parameters the server accepts, and whether a failure that lasts is the fault
of the server or of the one request.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from rushes.captions.backoff import backoff_s
from rushes.captions.client import ChatClient
from rushes.captions.reply import FailedTry, Reply
from rushes.captions.settings_faults import settings_fault
from rushes.recipe_captions import CaptionSettings

T = TypeVar("T")
PROBE_TRIES = 2
"""Tries of the question whether the server answers at all. Some servers close the connection after a status 500 (transformers serve does),
so that the first try after one may fail on a server that is well."""
LEAST_TRY_S = 1.0
"""Time limit of a try that begins just before the deadline of its clip, seconds."""
OPTIONAL = ("top_p", "seed", "repetition_penalty")
"""Keys of `[captions]` that are sent where they are set."""
_QUESTION = [{"role": "user", "content": "Answer with the word yes."}]


@dataclass(frozen=True, slots=True)
class Question:
    """What a server is asked about a clip, or a window of one.

    Attributes:
        clip_id: the clip.
        messages: gives the messages, in which the frames are one video (True) or images (False).
    """

    clip_id: str
    messages: Callable[[bool], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The optional parameters that this server was found to accept."""

    json_schema: bool
    video: bool = False
    """The frames are sent as one video."""
    table: bool = True
    """Keys that come from the table of known models are sent."""
    limit_key: str = "max_tokens"
    """OpenAI's newer models refuse `max_tokens` and name `max_completion_tokens` instead."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The result of a request after all its tries: the model's reply, or the last failed try."""

    got: Reply | FailedTry
    tries: int
    server_down: bool = False
    """True where all tries of the request failed and the server does not answer other requests either."""

    @property
    def failure(self) -> FailedTry:
        """The last failed try of a request that was not answered."""
        assert isinstance(self.got, FailedTry)
        return self.got


class Turn(Protocol):
    """The place that a request has among those of the server; a request that waits before its next try gives it to others meanwhile."""

    async def rest(self, wait_s: float) -> None:
        """Wait so many seconds without the place, then until there is one again."""

    def tried(self, got: Reply | FailedTry, sent: float) -> None:
        """A try has ended that was sent at `sent`, seconds of the monotonic clock."""


class ChatRequester:
    """Sends requests for one model to one server, and remembers which parameters the server accepts.

    Args:
        client: the server.
        settings: the recipe's captions section.
        schema: the JSON schema of structured answers, or None.
        of_table: keys of the request that come from the table of known models.
        first_backoff_s: wait after the first failed try, seconds.
    """

    def __init__(
        self,
        client: ChatClient,
        settings: CaptionSettings,
        schema: dict[str, Any] | None,
        *,
        of_table: frozenset[str] = frozenset(),
        first_backoff_s: float,
    ) -> None:
        self._of_table = of_table
        self._client = client
        self._settings = settings
        self._schema = schema
        self._first_backoff_s = first_backoff_s
        self._longest_wait_s = max(settings.patience_s, settings.timeout_s)
        self._dialect = Dialect(json_schema=schema is not None, video=settings.frames_as == "video")
        self._accepted: set[str] = set()

    async def complete(self, question: Question, turn: Turn, until: float, *, hasty: bool = False) -> Completion:
        """The completion for a question. What the server refuses to take is left out or put in another way, in this request and in
        all later ones.

        Args:
            question: about the clip.
            turn: the place of the request among those of the server.
            until: the deadline of the clip, seconds of the monotonic clock: no try but those that tell whose fault it is begins later.
            hasty: whether another server may take the request: then there is no further try after a failure that looks as if this one were
                not there.
        """
        dialect = self._dialect
        first = await self._complete_in(dialect, question, turn, until, hasty=hasty)
        got, tries = first.got, first.tries
        while (other := self._other_dialect(got, dialect)) is not None:
            again = await self._complete_in(other, question, turn, until, hasty=hasty)
            got, dialect, tries = again.got, other, tries + again.tries
            if not isinstance(got, FailedTry) or got.status not in (400, 422):
                self._dialect = other
                return replace(again, tries=tries)
        return replace(first, tries=tries)

    async def once(self, question: Question) -> Reply | FailedTry:
        """One try of a request, in the form that the server takes as far as is known."""
        body = self._body(self._dialect, question.messages(self._dialect.video), self._settings.max_tokens)
        return await self._client.ask(body, question.clip_id)

    async def _complete_in(self, dialect: Dialect, question: Question, turn: Turn, until: float, *, hasty: bool) -> Completion:
        """The result of a request with these parameters.

        When all tries failed, the request is at fault only if the server answers a probe, then fails the request once more, and answers a
        probe again. Otherwise a server that was away during the tries would make a good clip a failed one.
        """
        body = self._body(dialect, question.messages(dialect.video), self._settings.max_tokens)

        async def send() -> Reply | FailedTry:
            return await self._tried(body, question.clip_id, turn, until)

        most = self._settings.tries
        got, tries = await self._with_retries(send, most, turn, until, until_gone=hasty)
        if hasty and _gone(got):
            return Completion(got, tries, server_down=not await self._alive(turn))
        if _lasting(got):
            if not await self._alive(turn):
                return Completion(got, tries, server_down=True)
            got = await self._tried(body, question.clip_id, turn)
            tries += 1
            if _lasting(got) and not await self._alive(turn):
                return Completion(got, tries, server_down=True)
        if isinstance(got, Reply):
            self._accepted |= {name for name, is_there in (("schema", "response_format" in body), ("video", dialect.video)) if is_there}
        return Completion(got, tries)

    async def _with_retries(
        self, send: Callable[[], Awaitable[T | FailedTry]], most: int, turn: Turn, until: float = float("inf"), *, until_gone: bool = False
    ) -> tuple[T | FailedTry, int]:
        """Send until an answer comes or a failure that waiting does not mend, at most `most` times; the result and the number of tries.

        Between tries it waits as long as the server asks (Retry-After), else with exponential backoff. When the server asks for a longer
        wait than `captions.patience_s` and `captions.timeout_s`, or when the wait would end after `until`, there is no further try; nor,
        with `until_gone`, after a failure that looks as if the server were not there.
        """
        for tries in range(1, most + 1):
            got = await send()
            if not isinstance(got, FailedTry) or not may_pass(got) or tries == most or (until_gone and _gone(got)):
                break
            wait_s = backoff_s(tries, self._first_backoff_s) if got.retry_after_s is None else got.retry_after_s
            if wait_s > self._longest_wait_s or time.monotonic() + wait_s >= until:
                break
            await turn.rest(wait_s)
        return got, tries

    async def _tried(self, body: dict[str, Any], clip_id: str, turn: Turn, until: float = float("inf")) -> Reply | FailedTry:
        sent = time.monotonic()
        got = await self._client.ask(body, clip_id, max(until - sent, LEAST_TRY_S))
        turn.tried(got, sent)
        return got

    async def _alive(self, turn: Turn) -> bool:
        """Whether the server makes completions at all: it is asked one tiny question without images."""
        question = self._body(replace(self._dialect, json_schema=False), _QUESTION, 4)
        got, _ = await self._with_retries(lambda: self._client.ask(question, "probe"), PROBE_TRIES, turn)
        return not isinstance(got, FailedTry) or not got.transient

    def _other_dialect(self, got: Reply | FailedTry, dialect: Dialect) -> Dialect | None:
        """The parameters to try next where the server refused the request and may not know one of them; None where there is nothing to
        leave out.
        """
        if isinstance(got, Reply):
            return None
        new_video = dialect.video and "video" not in self._accepted
        if got.status in (500, 501) and new_video:  # how some servers say that they do not know a part of a message
            return replace(dialect, video=False)
        if got.status not in (400, 422):
            return None
        if dialect.limit_key == "max_tokens" and "max_completion_tokens" in got.message:
            return replace(dialect, limit_key="max_completion_tokens")
        if dialect.table and any(key in got.message for key in self._of_table):
            return replace(dialect, table=False)
        fault = settings_fault(got)
        of_schema = fault is not None and fault.name == "response_format"
        if new_video and not of_schema:
            return replace(dialect, video=False)
        if dialect.json_schema and (of_schema or (fault is None and "schema" not in self._accepted)):
            return replace(dialect, json_schema=False)
        return None

    def _body(self, dialect: Dialect, messages: list[dict[str, Any]], limit: int | None) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": messages,
            dialect.limit_key: limit,
            "temperature": self._settings.temperature,
        }
        body |= {key: value for key in OPTIONAL if (value := getattr(self._settings, key)) is not None}
        if dialect.json_schema:
            form = {"name": "clip", "strict": True, "schema": self._schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        body |= self._settings.extra_body
        return body if dialect.table else {key: value for key, value in body.items() if key not in self._of_table}


def may_pass(failure: FailedTry) -> bool:
    """Whether the same request may be answered later: the failure is of those that pass, and speaks neither of money nor of settings."""
    return failure.transient and not failure.unpaid and settings_fault(failure) is None


def _lasting(got: Reply | FailedTry) -> bool:
    """True for a 5xx, a reset or a timeout after all tries; False for a 429, which is never the fault of a clip."""
    return isinstance(got, FailedTry) and got.status != 429 and may_pass(got)


def _gone(got: object) -> bool:
    """True for a failure that looks as if the server were not there: no answer at all, or a 5xx but 503, by which busy servers answer."""
    return isinstance(got, FailedTry) and got.status not in (429, 503) and may_pass(got)
