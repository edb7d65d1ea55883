"""Requests to a chat server with retries. It finds out which parameters the server accepts, and whether a failure that lasts is the fault
of the server or of the one request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from rushes.captions.backoff import backoff_s
from rushes.captions.client import ChatClient
from rushes.captions.reply import FailedTry, Reply
from rushes.captions.settings_faults import settings_fault
from rushes.recipe_captions import CaptionSettings

T = TypeVar("T")

PROBE_TRIES = 2
"""Tries of the question whether the server answers at all. Some servers close the connection after a status 500 (transformers serve does),
so that the first try after one may fail on a server that is well."""
OPTIONAL = ("top_p", "seed", "repetition_penalty")
"""Keys of `[captions]` that are sent where they are set."""
_QUESTION = [{"role": "user", "content": "Answer with the word yes."}]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The optional parameters that this server was found to accept."""

    json_schema: bool
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
        self._dialect = Dialect(json_schema=schema is not None)
        self._schema_accepted = False

    async def with_retries(self, send: Callable[[], Awaitable[T | FailedTry]], most: int) -> tuple[T | FailedTry, int]:
        """Send until an answer comes or a failure that waiting does not mend, at most `most` times; the result and the number of tries.

        Between tries it waits as long as the server asks (Retry-After), else with exponential backoff. When the server asks for a longer
        wait than `captions.patience_s` and `captions.timeout_s`, there is no further try.
        """
        for tries in range(1, most + 1):
            got = await send()
            if not isinstance(got, FailedTry) or not may_pass(got) or tries == most:
                break
            wait_s = backoff_s(tries, self._first_backoff_s) if got.retry_after_s is None else got.retry_after_s
            if wait_s > self._longest_wait_s:
                break
            await asyncio.sleep(wait_s)
        return got, tries

    async def complete(self, messages: list[dict[str, Any]]) -> Completion:
        """The completion for a clip's messages. A parameter that the server refuses is left out, in this request and in all later ones."""
        dialect = self._dialect
        first = await self._complete_in(dialect, messages)
        other = self._other_dialect(first.got, dialect)
        if other is None:
            return first
        again = await self._complete_in(other, messages)
        tries = first.tries + again.tries
        if isinstance(again.got, FailedTry) and again.got.status in (400, 422):
            return replace(first, tries=tries)
        self._dialect = other
        return replace(again, tries=tries)

    async def probe(self) -> Reply | FailedTry:
        """Asks one tiny question without images, to see whether the server makes completions at all."""
        return await self._client.ask(self._body(replace(self._dialect, json_schema=False), _QUESTION, 4))

    async def _complete_in(self, dialect: Dialect, messages: list[dict[str, Any]]) -> Completion:
        """The result of a request with these parameters.

        When all tries failed, the request is at fault only if the server answers a probe, then fails the request once more, and answers a
        probe again. Otherwise a server that was away during the tries would make a good clip a failed one.
        """
        body = self._body(dialect, messages, self._settings.max_tokens)
        got, tries = await self.with_retries(lambda: self._client.ask(body), self._settings.tries)
        if _lasting(got):
            if not await self._alive():
                return Completion(got, tries, server_down=True)
            got = await self._client.ask(body)
            tries += 1
            if _lasting(got) and not await self._alive():
                return Completion(got, tries, server_down=True)
        if isinstance(got, Reply) and "response_format" in body:
            self._schema_accepted = True
        return Completion(got, tries)

    async def _alive(self) -> bool:
        got, _ = await self.with_retries(self.probe, PROBE_TRIES)
        return not isinstance(got, FailedTry) or not got.transient

    def _other_dialect(self, got: Reply | FailedTry, dialect: Dialect) -> Dialect | None:
        """The parameters to try next where the server refused the request and may not know one of them; None where there is nothing to
        leave out.
        """
        if isinstance(got, Reply) or got.status not in (400, 422):
            return None
        if dialect.limit_key == "max_tokens" and "max_completion_tokens" in got.message:
            return replace(dialect, limit_key="max_completion_tokens")
        if dialect.table and any(key in got.message for key in self._of_table):
            return replace(dialect, table=False)
        fault = settings_fault(got)
        if dialect.json_schema and (not self._schema_accepted if fault is None else fault.name == "response_format"):
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
