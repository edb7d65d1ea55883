"""Prompts: the built-in ones, which are text files in `prompts/`, or a text file of the user."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from rushes.captions.language import Language, language_of
from rushes.captions.schema import FOLDER, load_schema, record_schema
from rushes.errors import RecipeError

BUILT_IN = ("inspection", "inspection_zh", "short", "dense", "structured")
"""Names of the built-in prompts; any other value of `captions.prompt` is the path of a text file."""
_COLUMN = re.compile(r"\{([A-Za-z_]\w*)\}")
"""A column in a prompt, such as {duration_s}. Braces around anything but one name, as in JSON, stay as they are."""
_HEAD = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
"""The head of a prompt file: lines of `key: value` between two lines of three hyphens."""
HEAD_KEYS = ("name", "version", "schema", "language")
"""What the head of a prompt file may say."""
_ASK_FOR_JSON = "Answer with one JSON object alone. It must keep this JSON schema:"
OF_THE_SPAN = frozenset(
    [
        "duration_s",
        "start_s",
        "end_s",
        "n_frames",
        "width",
        "height",
        "fps",
        "aspect",
        "codec",
        "container",
        "bit_rate",
        "has_audio",
        "creation_time",
        "location",
    ]
)
"""Columns of a prompt that belong to the clip's span or its file: they do not change when measures are made anew."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text sent before the frames, which may name columns of the clip, and the JSON schema of the answer where it is structured."""

    name: str
    ask: str
    """The words of the prompt, without the schema."""
    schema: dict[str, Any] | None = None
    introduction: str = ""
    """What stands before the schema in the text."""
    version: str | None = None
    """As the head of its file says."""
    stated: Language | None = None
    """The language of answers, as the head of its file says."""

    @property
    def text(self) -> str:
        """What is sent: the words, and below them the schema, since some servers ignore it elsewhere."""
        return self.ask if self.schema is None else f"{self.ask}{self.introduction}\n{json.dumps(self.schema, ensure_ascii=False)}"

    @property
    def id(self) -> str:
        """Name, version where there is one, and the first 8 hex digits of the text's SHA-256: a changed text never keeps its id."""
        version = f"-v{self.version}" if self.version else ""
        return f"{self.name}{version}-{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"

    @property
    def language(self) -> Language | None:
        """The language in which answers are expected: the one that is stated, else that of the prompt's words; None where neither tells."""
        return self.stated or language_of(self.ask)

    @property
    def columns(self) -> tuple[str, ...]:
        """The clip's columns that stand in the text, each once."""
        return tuple(dict.fromkeys(_COLUMN.findall(self.ask)))

    def filled(self, columns: Mapping[str, Any]) -> str:
        """The text with the values of a clip's columns: numbers with two decimals at most, "unknown" for a null.

        Raises:
            KeyError: there is no such column.
        """
        return _COLUMN.sub(lambda found: _words(columns[found[1]]), self.ask) + self.text.removeprefix(self.ask)


def _words(value: object) -> str:
    if value is None or value != value:  # NaN is not measured either
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{round(value, 2):.10g}" if isinstance(value, int | float) else str(value)


def load_prompt(name: str, json_schema: str | None = None) -> Prompt:
    """The prompt that `captions.prompt` names.

    Args:
        name: one of BUILT_IN, or the path of a UTF-8 text file.
        json_schema: the path of a JSON schema that the answers must keep; it is written below the text.

    Raises:
        RecipeError: no built-in prompt and no file of that name, or the file is empty or not UTF-8, or its head says what is not known; or
            the schema cannot be used.
    """
    plain = _built_in(name) if name in BUILT_IN else _own(name)
    if json_schema is None:
        return plain
    if plain.schema is not None:
        what = f"captions.prompt = {name!r} has a schema of its own, so captions.json_schema has no place"
        raise RecipeError(what, step="recipe", mend="name a prompt file that goes with your schema, without one in its head")
    return replace(plain, schema=load_schema(json_schema), introduction=f"\n\n{_ASK_FOR_JSON}")


def _built_in(name: str) -> Prompt:
    text = files("rushes.captions").joinpath(FOLDER, f"{name}.txt").read_text(encoding="utf-8")
    head, ask = _parted(text, name)
    return _made(name, head, ask, record_schema() if "schema" in head else None)


def _own(name: str) -> Prompt:
    """The prompt in a file of the user. A schema that its head names lies beside it, and is written below the text."""
    path = Path(name).expanduser()
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        near = difflib.get_close_matches(name, BUILT_IN, n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise RecipeError(
            f"captions.prompt = {name!r} is neither a built-in prompt nor a file that can be read ({error.strerror or error})",
            step="recipe",
            mend=f"{guess}name one of {', '.join(BUILT_IN)}, or the path of a UTF-8 text file",
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"the prompt file {name!r} is not UTF-8 (byte {error.start})", step="recipe", mend="save it as UTF-8 text"
        ) from error
    head, ask = _parted(text, name)
    if not ask:
        raise RecipeError(f"the prompt file {name!r} is empty", step="recipe", mend="write the prompt into it, or name a built-in prompt")
    own = head.get("schema")
    schema = load_schema(str(path.parent / own), f"schema in the head of {name}") if own else None
    return _made(path.stem, head, ask, schema, f"\n\n{_ASK_FOR_JSON}" if schema else "")


def _made(name: str, head: Mapping[str, str], ask: str, schema: dict[str, Any] | None, introduction: str = "") -> Prompt:
    stated = next((one for one in get_args(Language) if one == head.get("language")), None)
    return Prompt(head.get("name", name), ask, schema, introduction, head.get("version"), stated)


def _parted(text: str, name: str) -> tuple[dict[str, str], str]:
    """What the head of a prompt file says, and the words below it.

    Raises:
        RecipeError: the head has a line that is no `key: value`, a key that is not known, or a language that is not known.
    """
    found = _HEAD.match(text)
    if found is None:
        return {}, text.strip()
    head = {}
    for line in filter(None, map(str.strip, found[1].splitlines())):
        key, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not value or key not in HEAD_KEYS:
            what = f"the head of the prompt file {name!r} has the line {line!r}"
            raise RecipeError(what, step="recipe", mend=f"write lines of key: value; the keys are {', '.join(HEAD_KEYS)}")
        head[key] = value
    if head.get("language", "english") not in get_args(Language):
        what = f"the head of the prompt file {name!r} has the language {head['language']!r}"
        raise RecipeError(what, step="recipe", mend=f"use {', '.join(get_args(Language))}, or leave it out")
    return head, text[found.end() :].strip()
