"""Reads the answer of a chat server into a Reply or a FailedTry.

Servers differ: the content may be a list of parts, the usage may be missing, an error may come with status 200, and an error body may be
OpenAI's envelope, FastAPI's `detail` or plain text. All these forms are read here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

MAX_MESSAGE = 300
"""Most characters of a server's error message that are kept: some servers send the whole request back, images included."""
QUOTA = "insufficient_quota"
"""OpenAI's code for an account without money, sent with status 429: waiting does not help."""
CERTIFICATE = "certificate"
"""Our code for a server whose TLS certificate is not trusted: waiting does not help."""
PAGE = "page"
"""Our code for an answer that is a web page, such as the login page of a gateway."""
STREAM = "stream"
"""Our code for an answer that was sent in pieces, as server-sent events, although nobody asked for that."""
MIXED_UP = "mixed up"
"""Our code for an answer that bears the name of another request than the one that it came for."""
_POOR = re.compile(
    r"insufficient.?(quota|balance|funds|credit)|credit balance is too low|free tier .{0,40}exhausted|FreeTierOnly|Arrearage|欠费|余额不足",
    re.IGNORECASE,
)
"""Matches the words of OpenRouter, DeepSeek, Anthropic, DashScope and Zhipu for an account without money."""
_PAGE = re.compile(r"\A\s*(<!doctype html|<html|<head|<\?xml)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>\s*(.*?)\s*</title>", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_NO_ROUTE = "Unexpected endpoint or method"
"""How LM Studio says, with status 200, that it has no such path."""
_ABORTED = frozenset({"abort", "error"})
"""Finish reasons of vLLM and SGLang for a request that the server itself aborted."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat completion."""

    text: str
    refusal: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning: str | None = None
    """What the model thought, where the server sends that apart from the answer (vLLM and SGLang with a reasoning parser, Ollama)."""
    id: str | None = None
    """The completion's own name, of which that of the request may be a part."""


@dataclass(frozen=True, slots=True)
class FailedTry:
    """A try of a request that gave no completion. `status` is None when no HTTP answer came, or none in time."""

    message: str
    status: int | None = None
    timed_out: bool = False
    unreadable: bool = False
    """An answer came with status 200 but is no chat completion."""
    retry_after_s: float | None = None
    code: str | None = None
    """The error code of OpenAI's envelope, such as "context_length_exceeded"; or CERTIFICATE, PAGE, STREAM or MIXED_UP."""

    @property
    def transient(self) -> bool:
        """True when a retry may help: no answer, 5xx but 501, 429, and 408, 409 (the OpenAI client retries them) and 425 (RFC 8470)."""
        return (
            not self.unreadable
            and self.code != CERTIFICATE
            and (self.status is None or (self.status >= 500 and self.status != 501) or self.status in (408, 409, 425, 429))
        )

    @property
    def unpaid(self) -> bool:
        """True when the account has no money left: waiting does not help, whatever the status is."""
        return self.status == 402 or self.code == QUOTA or bool(_POOR.search(f"{self.code or ''} {self.message}"))


def read_reply(body: bytes) -> Reply | FailedTry:
    """The chat completion in the body of a 200 answer."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return _no_json(body)
    if isinstance(value, dict) and value.get("error"):
        return _error_inside(value)
    choices = value.get("choices") if isinstance(value, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return FailedTry(f"the answer holds no message, it begins {body[:60]!r}", status=200, unreadable=True)
    finish = _text(choice.get("finish_reason"))
    if finish in _ABORTED:
        return FailedTry(f"the server broke off the answer (finish_reason {finish!r})", status=500)
    usage = value.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Reply(
        text=_content(message.get("content")),
        refusal=_text(message.get("refusal")),
        finish_reason=finish,
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")),
        id=_text(value.get("id")),
    )


def _no_json(body: bytes) -> FailedTry:
    """Why a body that is not JSON is no completion: it is a web page, a stream, or something else."""
    if body.lstrip()[:5] == b"data:":
        return FailedTry("the answer is not JSON but came in pieces (server-sent events)", status=200, unreadable=True, code=STREAM)
    text = body.decode("utf-8", "replace")
    if _PAGE.match(text):
        return FailedTry(f"the answer is not JSON but a web page: {_of_page(text)!r}", status=200, unreadable=True, code=PAGE)
    return FailedTry(f"the answer is not JSON, it begins {body[:60]!r}", status=200, unreadable=True)


def _of_page(html: str) -> str:
    """The title of a web page, or its first words."""
    title = _TITLE.search(html)
    return " ".join((title[1] if title else _TAGS.sub(" ", html)).split())[:80]


def error_message(text: str, body: object) -> tuple[str, str | None]:
    """The message and the code of an error answer.

    Args:
        text: the raw body.
        body: the body as JSON, or anything else when it is not JSON.
    """
    inner = body.get("error", body) if isinstance(body, dict) else body
    code = None
    words: object = text
    if isinstance(inner, dict):
        code = _text(inner.get("code")) or _text(inner.get("type"))
        words = inner.get("message") or inner.get("detail") or inner.get("error") or text
    elif isinstance(inner, str) and isinstance(body, dict):
        words = inner
    if isinstance(words, str) and _PAGE.match(words):
        words = _of_page(words)
    flat = " ".join((words if isinstance(words, str) else json.dumps(words)).split())
    return (flat if len(flat) <= MAX_MESSAGE else f"{flat[:MAX_MESSAGE]} ..."), code


def _error_inside(value: dict[str, Any]) -> FailedTry:
    """An error sent with status 200 (OpenRouter and LM Studio do); its code, if a number, is the status that was meant."""
    inner = value["error"]
    meant = inner.get("code") if isinstance(inner, dict) else None
    words, code = error_message(json.dumps(value), value)
    status = meant if isinstance(meant, int) and 400 <= meant <= 599 else 404 if _NO_ROUTE in words else 400
    return FailedTry(words, status=status, code=code)


def _content(content: object) -> str:
    if isinstance(content, list):
        return "".join(_text(part.get("text")) or "" if isinstance(part, dict) else _text(part) or "" for part in content)
    return _text(content) or ""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
