"""Makes one try of a request to a chat server with the OpenAI client, whose own retries are off, and returns a reply or a FailedTry. The
client's exceptions are translated here and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import secrets
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from rushes.captions.backoff import retry_after_s
from rushes.captions.reply import CERTIFICATE, MIXED_UP, FailedTry, Reply, error_message, read_reply

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncAPIResponse, AsyncOpenAI

CONNECT_S = 10.0
"""Longest wait for a connection, seconds: far above any network's round trip, far below an answer's time limit."""
REQUEST_ID = "X-Request-Id"
"""The header by which a request is named. vLLM and transformers serve make it a part of the completion's `id`, transformers serve and many
gateways send it back as a header; no server is known to refuse it, as some do with fields of the body that they do not know."""
_OURS = re.compile(r"rushes-[\w.-]+-[0-9a-f]{8}")
"""Matches the names that `ChatClient.ask` gives to requests."""


class _Whole(NamedTuple):
    """An answer with status 200: its body, and the name of a request that its header bears."""

    body: bytes
    request_id: str | None


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

    async def ask(self, body: dict[str, Any], key: str, within_s: float = math.inf) -> Reply | FailedTry:
        """Send one chat completion request, under a name of its own. An answer that bears the name of another request is a failed try.

        It uses the client's plain `post`, since the typed `create` first walks the whole message, which takes as much CPU as all the rest.

        Args:
            body: the request as JSON will hold it.
            key: the clip that it is about: the name consists of it and of letters by chance.
            within_s: time limit of this try where it is shorter than that of all, seconds.
        """
        limit_s = min(self._timeout_s, within_s)
        from openai import AsyncAPIResponse

        name = f"rushes-{key}-{secrets.token_hex(4)}"

        def post(client: AsyncOpenAI) -> Awaitable[AsyncAPIResponse[bytes]]:
            return client.post("/chat/completions", cast_to=AsyncAPIResponse[bytes], body=body, options={"headers": {REQUEST_ID: name}})

        got = await self._once(post, limit_s, name)
        if isinstance(got, FailedTry):
            return got
        reply = read_reply(got.body)
        return _mixed_up(name, got.request_id, reply.id if isinstance(reply, Reply) else None) or reply

    async def models(self) -> tuple[str, ...] | FailedTry:
        """The models the server lists; empty when its list has another form."""
        from openai import AsyncAPIResponse

        got = await self._once(lambda client: client.get("/models", cast_to=AsyncAPIResponse[bytes]), min(self._timeout_s, CONNECT_S))
        if isinstance(got, FailedTry):
            return got
        try:
            value = json.loads(got.body)
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

    async def _once(
        self, call: Callable[[AsyncOpenAI], Awaitable[AsyncAPIResponse[bytes]]], limit_s: float, name: str = ""
    ) -> _Whole | FailedTry:
        """The answer with status 200 to the request of this name, or why the try failed."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        late = FailedTry(f"no answer within {limit_s:g} s", timed_out=True)
        try:
            async with asyncio.timeout(limit_s):
                answer = await call(self._client())
                return _Whole(await answer.read(), answer.headers.get(REQUEST_ID))
        except (TimeoutError, APITimeoutError):
            return late
        except APIStatusError as error:
            return _mixed_up(name, error.response.headers.get(REQUEST_ID)) or self._refused(error)
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


def _mixed_up(name: str, *said: str | None) -> FailedTry | None:
    """The failure of a request whose answer bears the name of another one of ours; None where it bears its own name, or none."""
    others = [found[0] for word in said if word and name not in word and (found := _OURS.search(word))]
    if not others:
        return None
    return FailedTry(f"the answer to the request {others[0]} came for {name}", status=200, unreadable=True, code=MIXED_UP)
