"""Reads the answer of a chat server into a Reply or a FailedTry.

Servers differ: the content may be a list of parts, the usage may be missing, an error may come with status 200, and an error body may be
OpenAI's envelope, FastAPI's `detail` or plain text. All these forms are read here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MAX_MESSAGE = 300
"""Most characters of a server's error message that are kept: some servers send the whole request back, images included."""
QUOTA = "insufficient_quota"
"""OpenAI's code for an account without money, sent with status 429: waiting does not help."""
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
    """The error code of OpenAI's envelope, such as "context_length_exceeded"."""

    @property
    def transient(self) -> bool:
        """True when a retry may help: no answer, 5xx but 501, 429, and 408, 409 (the OpenAI client retries them) and 425 (RFC 8470)."""
        return not self.unreadable and (
            self.status is None or (self.status >= 500 and self.status != 501) or self.status in (408, 409, 425, 429)
        )


def read_reply(body: bytes) -> Reply | FailedTry:
    """The chat completion in the body of a 200 answer."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return FailedTry(f"the answer is not JSON, it begins {body[:60]!r}", status=200, unreadable=True)
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
    )


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
    flat = " ".join((words if isinstance(words, str) else json.dumps(words)).split())
    return (flat if len(flat) <= MAX_MESSAGE else f"{flat[:MAX_MESSAGE]} ..."), code


def _error_inside(value: dict[str, Any]) -> FailedTry:
    """An error sent with status 200 (OpenRouter does); its code, if a number, is the status that was meant."""
    inner = value["error"]
    meant = inner.get("code") if isinstance(inner, dict) else None
    words, code = error_message(json.dumps(value), value)
    status = meant if isinstance(meant, int) and 400 <= meant <= 599 else 400
    return FailedTry(words, status=status, code=code)


def _content(content: object) -> str:
    if isinstance(content, list):
        return "".join(_text(part.get("text")) or "" if isinstance(part, dict) else _text(part) or "" for part in content)
    return _text(content) or ""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
