"""Decides whether a model's completion can be stored as a caption, and says why when it cannot. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rushes.captions.answer_checks import is_preamble, is_thinking, loop_in, says_no_images
from rushes.captions.language import wrong_language
from rushes.captions.prompts import Prompt
from rushes.captions.reply import Reply
from rushes.captions.request import Rejection
from rushes.captions.schema import text_field
from rushes.captions.settings_faults import NO_THINKING, VISION_MODEL
from rushes.captions.tidy import has_thinking, is_refusal, read_fields, tidy

SHOWN = 200
"""Characters of an answer that are quoted."""
LESS_LOOPS = "set captions.repetition_penalty = 1.05 (vLLM, SGLang) or captions.temperature above 0, or choose another model"
NO_OPENING = (
    'say in the prompt or in captions.system "Answer with the description alone, without a word before it", or choose another model'
)


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption that may be stored."""

    text: str
    fields: dict[str, Any] | None


def accept(reply: Reply, prompt: Prompt) -> Caption | Rejection:
    """The caption in a completion. Where the prompt has a schema the completion must be a JSON object that keeps it, and one of its texts
    is the caption.
    """
    if reply.finish_reason == "content_filter":
        return Rejection("refused", "the server's content filter stopped the answer (finish_reason 'content_filter')")
    if reply.refusal:
        return Rejection("refused", f"the model refused: {reply.refusal[:SHOWN]!r}")
    text = tidy(reply.text)
    if (cut := _incomplete(reply, text, structured=prompt.schema is not None)) is not None:
        return cut
    if prompt.schema is None:
        return _checked(text, prompt) or Caption(text, None)
    if says_no_images(text) or is_refusal(text):
        return _checked(text, prompt) or Rejection("refused", f"the model refused: {text[:SHOWN]!r}")
    fields = read_fields(text, prompt.schema)
    if isinstance(fields, str):
        return Rejection("schema", f"the answer breaks the schema: {fields}")
    words = fields.get(name := text_field(prompt.schema), "")
    if not words:
        return Rejection("empty", f"the {name} of the structured answer is empty")
    return _checked(words, prompt) or Caption(words, fields)


def _incomplete(reply: Reply, text: str, *, structured: bool) -> Rejection | None:
    """Why there is no whole answer in a reply. Of a whole JSON object, which may list things that are alike, only the text may not loop."""
    thoughts = len(reply.reasoning or "") or (len(reply.text) if has_thinking(reply.text) else 0)
    if not text and thoughts:
        cut = f" and was cut off (finish_reason 'length' after {reply.completion_tokens} tokens)" if reply.finish_reason == "length" else ""
        what = f"the answer is empty beside {thoughts} characters of reasoning: the model only thought{cut}"
        return Rejection("empty", what, f"{NO_THINKING}; or raise captions.max_tokens")
    if (not structured or reply.finish_reason == "length") and (loop := _loop(text)) is not None:
        return loop
    if reply.finish_reason == "length":
        used = f" after {reply.completion_tokens} tokens" if reply.completion_tokens is not None else ""
        return Rejection(
            "truncated", f"the answer was cut off{used} (finish_reason 'length'), it ends {text[-60:]!r}", "raise captions.max_tokens"
        )
    if not text:
        return Rejection("empty", f"the answer is empty once tidied ({len(reply.text)} characters came)")
    return None


def _loop(text: str) -> Rejection | None:
    again = loop_in(text)
    return Rejection("loop", f"the answer repeats itself: {again[:80]!r} stands in it again and again", LESS_LOOPS) if again else None


def _checked(text: str, prompt: Prompt) -> Rejection | None:
    """Why a whole answer is no caption."""
    if is_thinking(text):
        return Rejection("thinking", f"thinking is left in the answer: {text[:SHOWN]!r}", NO_THINKING)
    if says_no_images(text):
        return Rejection("no_images", f"the model says that it was shown no pictures: {text[:SHOWN]!r}", VISION_MODEL)
    if is_refusal(text):
        return Rejection("refused", f"the model refused: {text[:SHOWN]!r}")
    if is_preamble(text):
        return Rejection("preamble", f"the answer opens with words about itself: {text[:SHOWN]!r}", NO_OPENING)
    expected = prompt.language
    found = wrong_language(text, expected) if expected else None
    if expected and found:
        wanted = "Latin letters" if expected == "latin" else expected.capitalize()
        what = f"the prompt asks for {wanted}, and the answer is in {found}: {text[:SHOWN]!r}"
        return Rejection("language", what, f'say so in captions.system, such as "Answer in {wanted}", or name the language in the prompt')
    return _loop(text)
