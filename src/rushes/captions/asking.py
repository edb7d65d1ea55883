"""Asking until it is clear: tries with waits between them, the server's dialect, and whose fault a lasting failure is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from rushes.captions.backoff import backoff_s
from rushes.captions.client import ChatClient
from rushes.captions.reply import QUOTA, Reply, Trouble
from rushes.recipe import CaptionSettings

T = TypeVar("T")

PROBE_TRIES = 2
"""Some servers drop the pooled connection after a 500 (transformers serve does), so that one failure more proves nothing."""
TOO_LONG = re.compile(
    r"context.{0,12}(length|window|size)|maximum.{0,20}tokens|too many tokens|inputs? tokens|at most \d+ image", re.IGNORECASE
)
"""The words of OpenAI, vLLM, SGLang, TGI and llama.cpp for a request that does not fit the model."""
_FORMAT = re.compile(r"response_format|json_schema|structured|guided|grammar|schema", re.IGNORECASE)
_QUESTION = [{"role": "user", "content": "Answer with the word yes."}]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What this server was found to accept."""

    json_schema: bool
    limit_key: str = "max_tokens"
    """OpenAI's newer models refuse `max_tokens` and name `max_completion_tokens` instead."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request in the end."""

    got: Reply | Trouble
    tries: int
    server_down: bool = False
    """The request failed through all tries and the server answers nothing else either."""


class Asker:
    """Sends requests of one model to one server and remembers the server's dialect for the session.

    Args:
        client: the server.
        settings: the recipe's captions section.
        schema: the JSON schema of structured answers, or None.
        first_backoff_s: wait after the first failed try, seconds.
    """

    def __init__(self, client: ChatClient, settings: CaptionSettings, schema: dict[str, Any] | None, *, first_backoff_s: float) -> None:
        self._client = client
        self._settings = settings
        self._schema = schema
        self._first_backoff_s = first_backoff_s
        self._longest_wait_s = max(settings.patience_s, settings.timeout_s)
        self._dialect = Dialect(json_schema=schema is not None)
        self._schema_accepted = False

    async def persist(self, send: Callable[[], Awaitable[T | Trouble]], most: int) -> tuple[T | Trouble, int]:
        """Send until something comes that another try cannot better, at most `most` times; the result and the tries it took.

        Between tries it waits as long as the server asks, else with backoff. A server that asks for more than the run's patience
        is not waited for.
        """
        for tries in range(1, most + 1):
            got = await send()
            if not isinstance(got, Trouble) or not got.passing or got.code == QUOTA or tries == most:
                break
            wait_s = backoff_s(tries, self._first_backoff_s) if got.retry_after_s is None else got.retry_after_s
            if wait_s > self._longest_wait_s:
                break
            await asyncio.sleep(wait_s)
        return got, tries

    async def complete(self, messages: list[dict[str, Any]]) -> Outcome:
        """The completion of a clip's messages; what the server refuses in the request's form is left out from then on."""
        dialect = self._dialect
        first = await self._complete_in(dialect, messages)
        other = self._concession(first.got, dialect)
        if other is None:
            return first
        again = await self._complete_in(other, messages)
        tries = first.tries + again.tries
        if isinstance(again.got, Trouble) and again.got.status in (400, 422):
            return replace(first, tries=tries)
        self._dialect = other
        return replace(again, tries=tries)

    async def probe(self) -> Reply | Trouble:
        """One tiny question without images: does the server make completions at all?"""
        return await self._client.ask(self._body(replace(self._dialect, json_schema=False), _QUESTION, 4))

    async def _complete_in(self, dialect: Dialect, messages: list[dict[str, Any]]) -> Outcome:
        """A request is only held at fault when the server answered something else both before and after a failing try of it.

        A server that went away and came back while the tries were running would otherwise turn a good clip into a failed one.
        """
        body = self._body(dialect, messages, self._settings.max_tokens)
        got, tries = await self.persist(lambda: self._client.ask(body), self._settings.tries)
        if _lasting(got):
            if not await self._alive():
                return Outcome(got, tries, server_down=True)
            got = await self._client.ask(body)
            tries += 1
            if _lasting(got) and not await self._alive():
                return Outcome(got, tries, server_down=True)
        if isinstance(got, Reply) and "response_format" in body:
            self._schema_accepted = True
        return Outcome(got, tries)

    async def _alive(self) -> bool:
        got, _ = await self.persist(self.probe, PROBE_TRIES)
        return not isinstance(got, Trouble) or not got.passing

    def _concession(self, got: Reply | Trouble, dialect: Dialect) -> Dialect | None:
        """The dialect to try next, if the request was refused and held something that a server may not know."""
        if isinstance(got, Reply) or got.status not in (400, 422) or TOO_LONG.search(got.words):
            return None
        if dialect.limit_key == "max_tokens" and "max_completion_tokens" in got.words:
            return replace(dialect, limit_key="max_completion_tokens")
        if dialect.json_schema and (_FORMAT.search(got.words) or not self._schema_accepted):
            return replace(dialect, json_schema=False)
        return None

    def _body(self, dialect: Dialect, messages: list[dict[str, Any]], limit: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": messages,
            dialect.limit_key: limit,
            "temperature": self._settings.temperature,
        }
        if dialect.json_schema:
            form = {"name": "clip", "strict": True, "schema": self._schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body


def _lasting(got: Reply | Trouble) -> bool:
    """True for 5xx, resets and timeouts that outlived the tries; not for 429, which is never a clip's fault."""
    return isinstance(got, Trouble) and got.passing and got.status != 429
