"""Prompts: the built-in ones, which are text files in `prompts/`, or a text file of the user."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rushes.captions.schema import SCHEMA
from rushes.errors import RecipeError

BUILT_IN = ("inspection", "inspection_zh", "short", "dense", "structured")
"""Names of the built-in prompts; any other value of `captions.prompt` is the path of a text file."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text sent before the frames, and the JSON schema of the answer where it is to be structured."""

    name: str
    text: str
    schema: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        """Name and the first 8 hex digits of the text's SHA-256: a changed text never keeps its id."""
        return f"{self.name}-{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"


def load_prompt(name: str) -> Prompt:
    """The prompt that `captions.prompt` names.

    Args:
        name: one of BUILT_IN, or the path of a UTF-8 text file.

    Raises:
        RecipeError: no built-in prompt and no file of that name, or the file is empty or not UTF-8.
    """
    if name in BUILT_IN:
        text = files("rushes.captions").joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8").strip()
        if name != "structured":
            return Prompt(name, text)
        return Prompt(name, f"{text}\n{json.dumps(SCHEMA)}", SCHEMA)
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
