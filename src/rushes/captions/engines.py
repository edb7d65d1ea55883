"""The caption engines as one written table: how each is made, what its captions depend on, and what it needs. A new engine is added here,
and its name to `captions.engine` in `recipe_captions.py`.

What asks servers is imported where it is used: a guarded child, which needs to know the prompt alone, starts faster without it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from rushes.captions import facts
from rushes.captions.known_models import filled
from rushes.captions.prompts import OF_THE_SPAN, Prompt, load_prompt
from rushes.captions.request import Engine
from rushes.captions.serving.launch import check_serve
from rushes.captions.windows import merge_text
from rushes.errors import RecipeError
from rushes.recipe_captions import CaptionSettings

if TYPE_CHECKING:
    import ssl

Need = Literal["frames", "measures"]
"""What captions are made from: the stored frames of the clip, or its measures."""
NO_CAPTIONS = "none"
"""The value of `captions.engine` under which a run makes no captions."""
ASKING = ("openai", "serve")
"""The values under which servers are asked."""


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """One caption engine. Each function takes the recipe's table `captions` and raises RecipeError where a value cannot be used.

    Attributes:
        make: builds the engine, which keeps at most so many requests under way; contacts nothing.
        identity: what its captions depend on besides frames and measures, as values that JSON can hold: code version, model, prompt.
            The fingerprint is made from it, so it must not hold what changes no caption, such as an address or a time limit.
        needs: what its captions are made from. The fingerprint then includes that of the frames or of the measures.
    """

    make: Callable[[CaptionSettings, int], Engine]
    identity: Callable[[CaptionSettings], dict[str, object]]
    needs: Callable[[CaptionSettings], frozenset[Need]]


def make_engine(settings: CaptionSettings, concurrency: int) -> Engine | None:
    """The engine that the settings name; None for "none". Nothing is contacted.

    Args:
        settings: the recipe's captions section.
        concurrency: requests under way at once.

    Raises:
        RecipeError: there is no such engine; or the model, the address or the prompt is missing or cannot be used.
    """
    entry = _entry(settings)
    return None if entry is None else entry.make(settings, concurrency)


def identity(settings: CaptionSettings) -> dict[str, object] | None:
    """What a caption depends on, the engine's name included, or that of the engine whose captions are the same: it goes into the
    fingerprint. None for "none".

    Where and how fast a server is asked is not in it.

    Raises:
        RecipeError: there is no such engine; or the model or the prompt is missing.
    """
    entry = _entry(settings)
    return None if entry is None else {"engine": settings.engine, **entry.identity(settings)}


def needs(settings: CaptionSettings) -> frozenset[Need]:
    """What captions under these settings are made from; empty for "none".

    Raises:
        RecipeError: there is no such engine.
    """
    entry = _entry(settings)
    return frozenset() if entry is None else entry.needs(settings)


def _entry(settings: CaptionSettings) -> EngineEntry | None:
    name: str = settings.engine
    if name == NO_CAPTIONS:
        return None
    if name not in ENGINES:
        known = (*ENGINES, NO_CAPTIONS)
        near = difflib.get_close_matches(name, known, n=1)
        mend = f"use {near[0]!r}" if near else f"use one of {', '.join(known)}"
        raise RecipeError(f"captions.engine = {name!r}: there is no such engine", step="recipe", mend=mend)
    return ENGINES[name]


def _make_openai(settings: CaptionSettings, concurrency: int) -> Engine:
    _model(settings)
    key = os.environ.get("OPENAI_API_KEY") or "none"
    return _asking(settings, _urls(settings), key, concurrency, direct=False)


def _asking(settings: CaptionSettings, urls: tuple[str, ...], key: str, concurrency: int, *, direct: bool) -> Engine:
    """What asks servers at these addresses, with the settings that the table of known models fills in."""
    from rushes.captions.openai_engine import OpenAIEngine

    prompt, trusted = _prompt(settings), _trusted(settings.verify)
    full = filled(settings, structured=prompt.schema is not None)
    return OpenAIEngine(
        full.settings, prompt, of_table=full.of_table, urls=urls, key=key, concurrency=concurrency, verify=trusted, direct=direct
    )


def _make_serve(settings: CaptionSettings, concurrency: int) -> Engine:
    """Asks servers of our own, whose addresses and key it is told when they are up (`OpenAIEngine.move`)."""
    _model(settings)
    check_serve(settings)
    return _asking(settings, (), "none", concurrency, direct=True)


def _identity_of_openai(settings: CaptionSettings) -> dict[str, object]:
    from rushes.captions import openai_engine
    from rushes.captions.chat_requests import OPTIONAL

    prompt = _prompt(settings)
    settings = filled(settings, structured=prompt.schema is not None).settings
    windows = {"window_s": settings.window_s, "merge": merge_text(prompt)} if settings.window_s else None
    optional = {
        "windows": windows,
        "system": settings.system,
        **{key: getattr(settings, key) for key in OPTIONAL},
        "extra_body": settings.extra_body or None,
        "frames_as": None if settings.frames_as == "images" else settings.frames_as,
    }
    return {
        "engine": "openai",  # of servers that a run starts itself, too: who started a server changes no caption
        "code": openai_engine.CODE,
        "model": _model(settings),
        "prompt": prompt.text,
        "schema": prompt.schema,
        "max_tokens": settings.max_tokens,
        "temperature": settings.temperature,
        "facts_code": facts.CODE if settings.facts_suffix else None,
        **{key: value for key, value in optional.items() if value is not None},  # what is not set leaves fingerprints as they were
    }


def _prompt(settings: CaptionSettings) -> Prompt:
    return load_prompt(settings.prompt, settings.json_schema)


def prompt_columns(settings: CaptionSettings) -> tuple[str, ...]:
    """The columns of a clip that the prompt names; none for engines without a prompt.

    Raises:
        RecipeError: the prompt cannot be read.
    """
    return _prompt(settings).columns if settings.engine in ASKING else ()


def answer_schema(settings: CaptionSettings) -> dict[str, Any] | None:
    """The JSON schema of the answers; None where they are plain text, or no model is asked.

    Raises:
        RecipeError: there is no such engine, or the prompt cannot be read.
    """
    return _prompt(settings).schema if "frames" in needs(settings) else None


def filled_in(settings: CaptionSettings) -> str:
    """Which settings are taken for the model from the table of known models, in words; empty where none are, or no model is asked.

    Raises:
        RecipeError: there is no such engine, or the prompt cannot be read.
    """
    return filled(settings, structured=answer_schema(settings) is not None).words if "frames" in needs(settings) else ""


def _trusted(verify: bool | str) -> bool | ssl.SSLContext:
    """Whose certificates the client trusts."""
    if isinstance(verify, bool):
        return verify
    import ssl

    try:
        return ssl.create_default_context(cafile=os.path.expanduser(verify))
    except OSError as error:
        what = f"captions.verify = {verify!r} cannot be read as certificates ({error})"
        raise RecipeError(what, step="recipe", mend="name a PEM file of certificates, or use true or false") from error


def _needs_of_openai(settings: CaptionSettings) -> frozenset[Need]:
    measured = settings.facts_suffix or not OF_THE_SPAN.issuperset(prompt_columns(settings))
    return frozenset({"frames", "measures"} if measured else {"frames"})


def _model(settings: CaptionSettings) -> str:
    if not settings.model:
        raise RecipeError(
            f'captions.engine = "{settings.engine}" but captions.model is not set',
            step="recipe",
            mend="set captions.model to the name the server uses, such as Qwen/Qwen3-VL-8B-Instruct",
        )
    return settings.model


def _urls(settings: CaptionSettings) -> tuple[str, ...]:
    """The servers' addresses, each once. There is no default, so that footage is never sent to an address that nobody named."""
    named = settings.base_url or os.environ.get("OPENAI_BASE_URL") or ()
    urls = (named,) if isinstance(named, str) else named
    mend = "set captions.base_url or the variable OPENAI_BASE_URL to the server's address, such as http://127.0.0.1:8000/v1"
    if not urls:
        raise RecipeError('captions.engine = "openai" but there is no address of a server', step="recipe", mend=mend)
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RecipeError(f"captions.base_url = {url.rpartition('@')[2]!r} is not an http address", step="recipe", mend=mend)
    return tuple(dict.fromkeys(urls))


ENGINES: dict[str, EngineEntry] = {
    "facts": EngineEntry(
        make=lambda settings, concurrency: facts.FactsEngine(),
        identity=lambda settings: {"facts_code": facts.CODE},
        needs=lambda settings: frozenset({"measures"}),
    ),
    "openai": EngineEntry(
        make=_make_openai,
        identity=_identity_of_openai,
        needs=_needs_of_openai,
    ),
    "serve": EngineEntry(
        make=_make_serve,
        identity=_identity_of_openai,
        needs=_needs_of_openai,
    ),
}
"""`captions.engine` -> its engine."""
