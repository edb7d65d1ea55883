"""From the recipe's `[captions]` to an engine, and to what identifies its captions."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from rushes.captions import facts, openai_engine
from rushes.captions.prompts import load_prompt
from rushes.captions.request import Engine
from rushes.errors import RecipeError
from rushes.recipe import CaptionSettings


def make_engine(settings: CaptionSettings, concurrency: int) -> Engine | None:
    """The engine that the settings name; None for "none". Nothing is contacted.

    Args:
        settings: the recipe's captions section.
        concurrency: requests under way at once.

    Raises:
        RecipeError: the model, the address or the prompt is missing or cannot be used.
    """
    if settings.engine == "none":
        return None
    if settings.engine == "facts":
        return facts.FactsEngine()
    _model(settings)
    key = os.environ.get("OPENAI_API_KEY") or "none"
    return openai_engine.OpenAIEngine(
        settings, load_prompt(settings.prompt), base_url=_base_url(settings), key=key, concurrency=concurrency
    )


def identity(settings: CaptionSettings) -> dict[str, object]:
    """What a caption depends on: it goes into the fingerprint. Where and how fast the server is asked does not.

    Captions of the engine "facts", and all captions under `facts_suffix`, depend on the measures as well: their fingerprint must
    include that of the measures.

    Raises:
        RecipeError: the model or the prompt is missing.
    """
    if settings.engine == "none":
        return {"engine": "none"}
    if settings.engine == "facts":
        return {"engine": "facts", "facts_code": facts.CODE}
    prompt = load_prompt(settings.prompt)
    return {
        "engine": "openai",
        "code": openai_engine.CODE,
        "model": _model(settings),
        "prompt": prompt.text,
        "schema": prompt.schema,
        "max_tokens": settings.max_tokens,
        "temperature": settings.temperature,
        "facts_code": facts.CODE if settings.facts_suffix else None,
    }


def _model(settings: CaptionSettings) -> str:
    if not settings.model:
        raise RecipeError(
            'captions.engine = "openai" but captions.model is not set',
            mend="set captions.model to the name the server uses, such as Qwen/Qwen3-VL-8B-Instruct",
        )
    return settings.model


def _base_url(settings: CaptionSettings) -> str:
    """No default: footage is never sent to an address nobody named."""
    url = settings.base_url or os.environ.get("OPENAI_BASE_URL") or ""
    mend = "set captions.base_url or the variable OPENAI_BASE_URL to the server's address, such as http://127.0.0.1:8000/v1"
    if not url:
        raise RecipeError('captions.engine = "openai" but there is no address of a server', mend=mend)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RecipeError(f"captions.base_url = {url.rpartition('@')[2]!r} is not an http address", mend=mend)
    return url
