"""Decides whether a model's completion can be stored as a caption, and says why when it cannot. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rushes.captions.reply import Reply
from rushes.captions.request import Fault
from rushes.captions.tidy import is_refusal, read_fields, tidy


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption that may be stored."""

    text: str
    fields: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a completion is not a caption, and how to mend it where that is known."""

    fault: Fault
    message: str
    mend: str | None = None


def accept(reply: Reply, schema: dict[str, Any] | None) -> Caption | Rejected:
    """The caption in a completion. With `schema` the completion must be a JSON object that keeps it; its summary is the caption's text."""
    if reply.finish_reason == "content_filter":
        return Rejected("refused", "the server's content filter stopped the answer (finish_reason 'content_filter')")
    if reply.refusal:
        return Rejected("refused", f"the model refused: {reply.refusal[:200]!r}")
    text = tidy(reply.text)
    if reply.finish_reason == "length":
        used = f" after {reply.completion_tokens} tokens" if reply.completion_tokens is not None else ""
        return Rejected(
            "truncated", f"the answer was cut off{used} (finish_reason 'length'), it ends {text[-60:]!r}", "raise captions.max_tokens"
        )
    if not text:
        return Rejected("empty", f"the answer is empty once tidied ({len(reply.text)} characters came)")
    if is_refusal(text):
        return Rejected("refused", f"the model refused: {text[:200]!r}")
    if schema is None:
        return Caption(text, None)
    fields = read_fields(text, schema)
    if isinstance(fields, str):
        return Rejected("schema", f"the answer breaks the schema: {fields}")
    if not fields["summary"]:
        return Rejected("empty", "the summary of the structured answer is empty")
    return Caption(fields["summary"], fields)
