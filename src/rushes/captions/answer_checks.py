"""Signs that an answer is no caption: thinking, loops, preambles, and a model that was shown no pictures.

Pure functions over tidied text. But for loops, each looks at how an answer opens, since the rest may quote what stands in the picture.
"""

# ruff: noqa: RUF001  (Chinese punctuation)

from __future__ import annotations

import re

LEAST_REPEATS = 4
"""Times that the same run of words, or the same sentence, stands in a text that counts as a loop."""
LEAST_LOOP = 24
"""Words (or Chinese characters) that a run of repeats takes at least: a short list, such as the digits of a gauge, is no loop."""
LONGEST_PERIOD = 80
"""Words of the longest run whose direct repeats are looked for."""
LEAST_SENTENCE = 4
"""Words of a sentence that counts when it is repeated, not always directly."""
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+")
_SENTENCE = re.compile(r"[.!?\n;。！？；]+")

_THINKING_TAG = re.compile(
    r"</?(think|thinking|thought|reasoning|reflection|seed:think)>|<\|(channel|begin_of_thought|end_of_thought)\|>|\u25c1/?think\u25b7|\[/?THINK\]",
    re.IGNORECASE,
)
"""Marks of thinking of Qwen3, DeepSeek-R1, Seed, gpt-oss, Kimi-VL and Magistral."""
_THINKS = re.compile(
    r"""\A\s*(
        ((okay|ok|alright|hmm+|got\ it|well|so|now|right|wait)\b[\s,.!]*)?
        (so\b[\s,]*)?
        ( the\ user\ (wants|is\ asking|has\ asked|asked|asks|needs|would\ like|requests|requested)\b
        | (let\ me|let['\u2019]?s)\ (think|see|look|start|analy[sz]e|go\ through|break|figure|check|try|begin|examine|consider|first)\b
        | i\ (need|have|should|must|want)\ (to\s|write|describe|look|produce)
        | i['\u2019]?m\ (asked|supposed|going)\ to\b
        | first,?\ (i|let)\b
        )
      | (好的?|嗯|首先|现在)?[，,。\s]*
        (用户(要求|希望|让我|想要|需要|给)|我(需要|应该|得|要)(先|根据|描述|分析|仔细)|让我(先|来|看|分析|仔细))
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""Matches the beginning of an answer that thinks aloud, in English or Chinese."""

_PREAMBLE = re.compile(
    r"""\A[\s*_#>]*(
        (sure(\ thing)?|certainly|of\ course|absolutely|no\ problem|(i['\u2019]?d\ be\ |i\ would\ be\ )?(happy|glad)\ to\ help)\b
        [^\n]{0,12}?[!,.:\u2014-]
      | (okay|ok|great|understood|alright|got\ it)[,.!]+\s*(here|below|i\b|i['\u2019])
      | (here['\u2019]?s|here\ (is|are)|below\ is|the\ following\ is)\b[^\n.]{0,100}?
        \b(description|caption|summary|answer|record|account|overview|paragraph|analysis|breakdown|transcript|sentence|report|json)\b[^\n.]{0,60}?[:.\n]
      | (好的|当然(可以)?|没问题|明白了|收到)[，,！!。]
      | (以下|下面|这)是[^\n。]{0,40}?(描述|说明|记录|总结|概述|回答)[^\n。]{0,20}?[：:]
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""Matches an opening that speaks of the answer instead of giving it."""

_STOCK = re.compile(
    r"""\A[\s*_#>"]*(
        (in|throughout|across)\s+(the|this|these)\s+(short\s+)?(video|clip|footage|film|image|frame|picture|photo|sequence|scene)s?\b
      | (the|this|these)\s+(short\s+)?((video|clip|footage|film|image|frame|picture|photo|sequence|scene)s?[\s*]+){1,2}
        (shows?|depicts?|captures?|features?|displays?|presents?|portrays?|illustrates?|showcases?|begins?|starts?|opens?|contains?|consists?
        |follows?|focus(es)?|takes?\s+place|is|are)\b
      | an?\s+(short\s+)?((video|clip|image|picture|photo|sequence)s?\s+){1,2}(of|that|which|shows?|showing)\b
      | 在?[这该本此]?一?[段个组张幅些]?(视频|短片|片段|画面|图片|图像|镜头)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""Matches an opening that speaks of the video instead of what it shows: a model that is trained on such captions learns to say so."""
_DONT = (
    r"(don['\u2019]?t|do\ not|can['\u2019]?t|cannot|(am|was)\ (unable|not\ able)\ to|did\ not|didn['\u2019]?t|haven['\u2019]?t|have\ not)"
)
_PICTURES_ZH = "(图片|图像|视频|画面|照片)"
_PICTURES = r"(images?|frames?|pictures?|photos?|videos?|clips?|screenshots?|attachments?|visual(s|\ content|\ input)?)"
_NO_IMAGES = re.compile(
    rf"""(\A|(?<=[.!?\n]))\s*
    ( (i['\u2019]?m\ (very\ )?sorry|sorry|apologies|i\ apologi[sz]e|unfortunately
        |i(['\u2019]?[md]|\ am|\ would\ be|['\u2019]d\ be|\ would)\ (be\ )?(happy|glad|love|like)\ to\ [^.!?\n]{{0,40}}?
        |it\ (seems|looks|appears)(\ like|\ that|\ as\ though|\ as\ if)?
        |however|please\ note(\ that)?)?
      [\s,;:\u2014-]*(but\s+)?
      ( i\ {_DONT}\s
        (currently\ |actually\ |directly\ )*(see|view|have|receive|find|access|been\ (given|provided|shown))\b[^.\n]{{0,40}}?\b{_PICTURES}
      | i['\u2019]?m\ (unable|not\ able)\ to\ (see|view|access|process)\b[^.\n]{{0,30}}?\b{_PICTURES}
      | (there\ (is|are|was|were)\ )?no\ {_PICTURES}\ (is|are|was|were|has|have|had)?\s*(been\ )?
        (provided|attached|uploaded|included|given|shared|received|supplied|sent|available|found)
      | (the\ )?{_PICTURES}\ (you\ \w+\ )?(is|are|was|were|has|have|did)(n['\u2019]?t|\ not)\ (been\ )?
        (provided|attached|uploaded|included|shared|received|come\ through|visible\ to\ me|displayed|load(ed)?)
      | you\ (haven['\u2019]?t|have\ not|did\ not|didn['\u2019]?t|forgot\ to)\ [^.\n]{{0,20}}?
        (provid|attach|upload|includ|shar|send|sent)[^.\n]{{0,20}}?{_PICTURES}
      )
    | please\ (provide|upload|attach|share|send|include)\b[^.\n]{{0,30}}?\b{_PICTURES}
    | (抱歉|对不起|很抱歉|非常抱歉)?[，,\s]*
      ( 我?(没有|未)(看到|收到|检测到|找到)[^。\n]{{0,8}}?{_PICTURES_ZH}
      | 我?(无法|不能)(查看|看到|访问|查阅)[^。\n]{{0,8}}?{_PICTURES_ZH}
      | (您|你)(没有|并未|未)(提供|上传)
      | 请(您|先)?(提供|上传|发送)[^。\n]{{0,10}}?{_PICTURES_ZH}
      )
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""Matches a sentence in which a model says that it was given no pictures. It is looked for in the first `OPENING` characters."""
OPENING = 240
"""Characters of an answer that count as its opening."""


def is_thinking(text: str) -> bool:
    """True when marks of thinking are left in a text, or when it opens with thoughts about the task."""
    return bool(_THINKING_TAG.search(text) or _THINKS.match(text))


def is_preamble(text: str) -> bool:
    """True when a text opens with words about the answer ("Sure! Here is ...") instead of the answer."""
    return bool(_PREAMBLE.match(text))


def has_stock_opening(text: str) -> bool:
    """True when a text begins with words about the video ("The video shows ..."), which the built-in prompts forbid. It is no failure."""
    return bool(_STOCK.match(text))


def says_no_images(text: str) -> bool:
    """True when a text says in its opening that its writer was given no pictures, or asks for them."""
    return bool(_NO_IMAGES.search(text[:OPENING]))


def loop_in(text: str) -> str | None:
    """What a text repeats over and over: the same words directly one after the other, or the same sentence again and again; else None."""
    words = [(found[0].lower(), found.span()) for found in _WORD.finditer(text)]
    for period in range(1, min(LONGEST_PERIOD, len(words) // LEAST_REPEATS) + 1):
        length = 0
        for i in range(period, len(words)):
            length = length + 1 if words[i][0] == words[i - period][0] else 0
            if length + period >= max(LEAST_LOOP, LEAST_REPEATS * period):
                return text[words[i - period + 1][1][0] : words[i][1][1]]
    seen: dict[str, int] = {}
    for sentence in _SENTENCE.split(text):
        key = " ".join(word.lower() for word in _WORD.findall(sentence))
        if len(key.split()) >= LEAST_SENTENCE:
            seen[key] = seen.get(key, 0) + 1
            if seen[key] >= LEAST_REPEATS:
                return sentence.strip()
    return None
