"""Prompts: the built-in ones, which are text files in `prompts/`, or a text file of the user."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rushes.captions.schema import SCHEMA, load_schema
from rushes.errors import RecipeError

BUILT_IN = ("inspection", "inspection_zh", "short", "dense", "structured")
"""Names of the built-in prompts; any other value of `captions.prompt` is the path of a text file."""
_COLUMN = re.compile(r"\{([A-Za-z_]\w*)\}")
"""A column in a prompt, such as {duration_s}. Braces around anything but one name, as in JSON, stay as they are."""
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

    @property
    def text(self) -> str:
        """What is sent: the words, and below them the schema, since some servers ignore it elsewhere."""
        return self.ask if self.schema is None else f"{self.ask}{self.introduction}\n{json.dumps(self.schema, ensure_ascii=False)}"

    @property
    def id(self) -> str:
        """Name and the first 8 hex digits of the text's SHA-256: a changed text never keeps its id."""
        return f"{self.name}-{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"

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
        RecipeError: no built-in prompt and no file of that name, or the file is empty or not UTF-8; or the schema cannot be used.
    """
    if json_schema is not None:
        if name == "structured":
            what = 'captions.prompt = "structured" has a schema of its own, so captions.json_schema has no place'
            raise RecipeError(what, step="recipe", mend="name a prompt file that goes with your schema")
        plain, schema = load_prompt(name), load_schema(json_schema)
        return Prompt(plain.name, plain.ask, schema, f"\n\n{_ASK_FOR_JSON}")
    if name in BUILT_IN:
        text = files("rushes.captions").joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8").strip()
        return Prompt(name, text, SCHEMA if name == "structured" else None)
    path = Path(name).expanduser()
    try:
        text = path.read_bytes().decode("utf-8-sig").strip()
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
    if not text:
        raise RecipeError(f"the prompt file {name!r} is empty", step="recipe", mend="write the prompt into it, or name a built-in prompt")
    return Prompt(path.stem, text)
