"""Makes one try of a request to a chat server with the OpenAI client, whose own retries are off, and returns a reply or a FailedTry. The
client's exceptions are translated here and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import math
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from rushes.captions.backoff import retry_after_s
from rushes.captions.reply import CERTIFICATE, FailedTry, Reply, error_message, read_reply

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from openai import APIStatusError, AsyncOpenAI

CONNECT_S = 10.0
"""Longest wait for a connection, seconds: far above any network's round trip, far below an answer's time limit."""


class ChatClient:
    """Talks to one server, from one event loop.

    Args:
        base_url: the address, usually ending in /v1; may hold user:password@, which no message repeats.
        key: sent as the bearer token; never logged, and removed from the messages of the server.
        timeout_s: time limit of one try, from sending to the last byte, seconds.
        verify: whose certificates are trusted over TLS: those of the usual authorities (True), any (False), or as the context says.
        direct: whether the server is asked without the proxy that the environment may name (HTTP_PROXY).
    """

    def __init__(self, *, base_url: str, key: str, timeout_s: float, verify: bool | ssl.SSLContext = True, direct: bool = False) -> None:
        self.base_url = base_url
        self._key = key
        self._timeout_s = timeout_s
        self._verify = verify
        self._direct = direct
        self._opened: AsyncOpenAI | None = None
        parts = urlsplit(base_url)
        self.address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        """The address as it may be shown: without user, password and query."""
        self._secrets = tuple(secret for secret in (key if key != "none" else "", parts.password or "") if secret)

    async def ask(self, body: dict[str, Any], within_s: float = math.inf) -> Reply | FailedTry:
        """Send one chat completion request.

        It uses the client's plain `post`, since the typed `create` first walks the whole message, which takes as much CPU as all the rest.

        Args:
            body: the request as JSON will hold it.
            within_s: time limit of this try where it is shorter than that of all, seconds.
        """
        limit_s = min(self._timeout_s, within_s)
        got = await self._once(lambda client: client.post("/chat/completions", cast_to=bytes, body=body), limit_s)
        return read_reply(got) if isinstance(got, bytes) else got

    async def models(self) -> tuple[str, ...] | FailedTry:
        """The models the server lists; empty when its list has another form."""
        got = await self._once(lambda client: client.get("/models", cast_to=bytes), min(self._timeout_s, CONNECT_S))
        if not isinstance(got, bytes):
            return got
        try:
            value = json.loads(got)
        except (ValueError, RecursionError):
            return ()
        rows = value.get("data") if isinstance(value, dict) else None
        names = [row.get("id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return tuple(name for name in names if isinstance(name, str))

    async def close(self) -> None:
        """Close the connections."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    def _client(self) -> AsyncOpenAI:
        if self._opened is None:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

            timeout = Timeout(self._timeout_s, connect=min(self._timeout_s, CONNECT_S))
            usual = self._verify is True and not self._direct
            http = None if usual else DefaultAsyncHttpxClient(verify=self._verify, trust_env=not self._direct)
            self._opened = AsyncOpenAI(base_url=self.base_url, api_key=self._key, max_retries=0, timeout=timeout, http_client=http)
        return self._opened

    async def _once(self, call: _Call, limit_s: float) -> bytes | FailedTry:
        """The body of an answer with status 200, or why the try failed."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        late = FailedTry(f"no answer within {limit_s:g} s", timed_out=True)
        try:
            async with asyncio.timeout(limit_s):
                return await call(self._client())
        except (TimeoutError, APITimeoutError):
            return late
        except APIStatusError as error:
            return self._refused(error)
        except APIConnectionError as error:
            cause = error.__cause__
            code = CERTIFICATE if "CERTIFICATE_VERIFY_FAILED" in str(cause) else None
            return FailedTry(self._mask(f"no answer ({type(cause).__name__}: {cause})" if cause else "no answer"), code=code)

    def _refused(self, error: APIStatusError) -> FailedTry:
        words, code = error_message(error.response.text, error.body)
        wait = retry_after_s(error.response.headers)
        return FailedTry(
            f"status {error.status_code}: {self._mask(words) or 'no message'}", status=error.status_code, retry_after_s=wait, code=code
        )

    def _mask(self, message: str) -> str:
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return message


if TYPE_CHECKING:
    from collections.abc import Callable

    _Call = Callable[[AsyncOpenAI], Awaitable[bytes]]
