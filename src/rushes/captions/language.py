"""Whether an answer is in the language of its prompt, as far as script and a few small words tell. Pure functions."""

from __future__ import annotations

import re
from typing import Literal

Language = Literal["english", "latin", "chinese"]
""""latin": a language in Latin letters, which one is not known."""

LEAST_LETTERS = 12
"""Letters that a text must have to be judged by its script."""
LEAST_WORDS = 12
"""Words that a text must have to be judged by its small words: ordinary English has about 4 of `SMALL["English"]` in 12."""
LEAST_SMALL = 3
"""Different small words of another language that a text must have to be in it: a sign or a name repeats one."""
FOREIGN = 0.5
"""Share of an answer's letters, quotations left out, from which it is in another script than its prompt."""
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LETTER = re.compile(r"[^\W\d_]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_QUOTED = re.compile(r"\"[^\"]*\"|\u201c[^\u201d]*\u201d|\u300c[^\u300d]*\u300d|\u300e[^\u300f]*\u300f|\u300a[^\u300b]*\u300b|'[^']{2,80}'")
_NAMED = re.compile(
    r"\b(English|Chinese|Mandarin|Spanish|French|German|Italian|Portuguese|Japanese|Korean|Russian|Arabic|Hindi|Dutch|Turkish|Vietnamese|"
    r"Thai|Polish|language|translate)\b|[\u4e2d\u82f1\u65e5\u97e9\u6cd5\u5fb7\u4fc4]\u6587|[\u6c49\u82f1\u65e5\u97e9\u6cd5\u5fb7\u4fc4]\u8bed|\u8bed\u8a00|\u7ffb\u8bd1",
    re.IGNORECASE,
)
"""Matches a text that names a language: what language its answers are in cannot be told from its own."""
SMALL = {
    "English": ["the", "of", "and", "is", "are", "with", "on", "to", "its", "from", "at", "by", "while"],
    "Spanish": ["el", "la", "los", "las", "una", "del", "y", "con", "por", "se", "está", "en", "un", "al", "que"],
    "French": ["le", "les", "une", "des", "du", "et", "dans", "est", "avec", "sur", "au", "aux", "qui", "la", "un"],
    "German": ["der", "die", "das", "und", "ein", "eine", "mit", "ist", "auf", "dem", "den", "von", "zu", "im"],
    "Portuguese": ["o", "os", "uma", "do", "da", "e", "com", "em", "no", "na", "um", "ao", "que", "está"],
    "Italian": ["il", "lo", "gli", "una", "di", "e", "con", "nel", "della", "sul", "che", "un", "è", "la"],
    "Dutch": ["de", "het", "een", "en", "van", "met", "op", "zijn", "aan", "wordt", "in", "er"],
}
"""Frequent small words by language."""


def language_of(prompt: str) -> Language | None:
    """The language in which answers to a prompt are expected: that of the prompt itself; None where it names a language, or is in neither
    Chinese nor Latin letters.
    """
    if _NAMED.search(prompt):
        return None
    letters = len(_LETTER.findall(prompt))
    if letters and len(_CHINESE.findall(prompt)) > letters * FOREIGN:
        return "chinese"
    if len(_LATIN.findall(prompt)) <= letters * FOREIGN:
        return None
    return "english" if _guess(prompt) == "English" else "latin"


def wrong_language(text: str, expected: Language) -> str | None:
    """In which language or script an answer is, where that is not the expected one; else None. Quotations do not count."""
    plain = _QUOTED.sub(" ", text)
    letters = len(_LETTER.findall(plain))
    if letters < LEAST_LETTERS:
        return None
    chinese = len(_CHINESE.findall(plain)) / letters
    if expected == "chinese":
        return None if chinese >= 1.0 - FOREIGN or len(_LATIN.findall(plain)) < letters * FOREIGN else "Latin letters"
    if chinese > FOREIGN:
        return "Chinese"
    if len(_LATIN.findall(plain)) < letters * FOREIGN:
        return "another script"
    found = _guess(plain) if expected == "english" else None
    return None if found == "English" else found


def _guess(text: str) -> str | None:
    """The language whose small words are clearly the most frequent: twice as many as English has, or English; None if none is. What holds a
    digit, such as a number plate, is no word.
    """
    words = [word.lower() for word in re.findall(r"\w+", text) if word.isalpha()]
    if len(words) < LEAST_WORDS:
        return None
    counts = {name: sum(word in small for word in words) for name, small in SMALL.items()}
    best = max(counts, key=lambda name: counts[name])
    if counts["English"] * 2 >= counts[best]:
        return "English" if counts["English"] else None
    different = len(set(words).intersection(SMALL[best]))
    return best if counts[best] >= len(words) * 0.15 and different >= LEAST_SMALL else None
