"""Cleans a model's raw answer (thinking, code fences and control characters go), recognises refusals, and reads structured fields."""

from __future__ import annotations

import json
import re
from typing import Any

from rushes.captions.schema import first_breach

_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT_BEFORE = re.compile(r"\A.*</(think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
"""A thinking block without its beginning: where the chat template opens the block, the answer has only its end (Qwen3, DeepSeek-R1)."""
_FENCED = re.compile(r"```[\w-]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Control characters but tab and line feed, and lone surrogates, which no UTF-8 column can hold."""
_REFUSAL = re.compile(
    r"""\A[\s*>#]*(
        (i(\s+am|['\u2019]?m)\s+((very|so|really)\s+)?(sorry|afraid)|sorry|apologies|unfortunately|i\s+apologi[sz]e)[\s,.;:-]+(but\s+)?
        [^.!?\n]{0,80}?\b(
            i\s+(can['\u2019]?t|cannot|can\s+not|won['\u2019]?t|will\s+not|don['\u2019]?t|do\s+not|am\s+(not\s+able|unable|not\s+allowed)|
                didn['\u2019]?t|did\s+not|must\s+decline)\b
          | i['\u2019]m\s+(not\s+able|unable|not\s+allowed)\b
          | as\s+an?\s+(ai|artificial|large\s+language|language)\b
          | no\s+(images?|frames?|pictures?|videos?)\b
          | (this|that|the|your)\s+(request|content|image|video|clip|prompt)s?\s+(violates?|(is|goes)\s+against|cannot|can['\u2019]?t)\b
          | we\s+(can['\u2019]?t|cannot|are\s+unable\s+to)\s+(help|assist|provide|process|fulfil|fulfill|comply)\b
        )
      | i\s+(can['\u2019]?t|cannot|can\s+not|won['\u2019]?t|will\s+not|am\s+(not\s+able|unable)\s+to)\s
        .{0,40}?\b(help|assist|provide|describe|caption|comply|fulfil|fulfill|view|see|watch|process|analy[sz]e|identify|create|do)\b
      | i['\u2019]m\s+(not\s+able|unable)\s+to\b
      | as\s+an?\s+(ai|artificial|large\s+language|language)\b
      | (很|非常)?(抱歉|对不起|不好意思)[^。\uff01\uff1f\n]{0,30}?(无法|不能|没办法|没有(看到|收到|办法|能力)|我是|作为)
      | (作为|身为)(一个|一名)?(ai|人工智能|语言模型)
      | 我(无法|不能|没办法)(提供|描述|查看|看到|处理|协助|帮助|回答|满足|完成)
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
"""Matches the beginning of a refusal, in English or Chinese: an apology alone is none, since a sign in the picture may say sorry, too. The
rest of an answer does not count."""
_SIGN = re.compile(
    r"""\A[^\n]{0,200}?(
        \b(reads|says|saying|is\s+(written|printed|painted|displayed|shown|posted)|(written|printed|painted|posted)\s+(on|in|across|above))\b
      | 字样 | 写着 | 写有 | 印着 | 贴着 | 标(牌|识|语) | 告示 | 牌子 | 招牌
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""Matches an opening that quotes a text in the picture."""


def tidy(raw: str) -> str:
    """The answer without thinking blocks, an enclosing code fence, control characters and outer space; may be empty."""
    text = _THINKING.sub("", raw)
    text = _THOUGHT_BEFORE.sub("", text)
    text = _UNPRINTABLE.sub("", text.replace("\r\n", "\n")).strip()
    fenced = _FENCED.fullmatch(text)
    return fenced.group(1).strip() if fenced else text


def has_thinking(raw: str) -> bool:
    """True when a raw answer holds a thinking block, whole or in part."""
    return bool(_THINKING.search(raw) or _THOUGHT_BEFORE.search(raw))


def is_refusal(text: str) -> bool:
    """True when a tidied answer opens as a plain refusal in English or Chinese ("I'm sorry, I can't ...") instead of a description."""
    return bool(_REFUSAL.match(text)) and not _SIGN.match(text)


def read_fields(text: str, schema: dict[str, Any]) -> dict[str, Any] | str:
    """The fields of a structured answer, or in words why there are none.

    Args:
        text: a tidied answer: a JSON object, alone, in a code fence, or after an introduction.
        schema: what the object must keep.
    """
    fenced = _FENCED.search(text)
    body = fenced.group(1) if fenced else text
    start = body.find("{")
    if start < 0:
        return f"no JSON object in the answer, which begins {text[:80]!r}"
    try:
        value, _ = json.JSONDecoder().raw_decode(body[start:])
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error})"
    breach = first_breach(value, schema)
    if breach:
        return breach
    fields = _clean(value)
    return fields if isinstance(fields, dict) else "not a JSON object"


def _clean(value: object) -> object:
    """The value with control characters and outer spaces removed from its strings: JSON escapes may bring back what `tidy` removed."""
    if isinstance(value, str):
        return _UNPRINTABLE.sub("", value).strip()
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {name: _clean(item) for name, item in value.items()}
    return value
