"""Identity of the bytes and frames that come with published rows: while it stays the same, a changed row need not bring them again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from rushes.engine.fingerprints import fingerprints
from rushes.recipe import Recipe
from rushes.recipe_publish import PublishSettings

if TYPE_CHECKING:
    from rushes.results import Results


def cutting_recipe(recipe: Recipe) -> Recipe:
    """The recipe by which clip files are made where bytes are published: where it makes none, clips are encoded."""
    clips = recipe.clips if recipe.clips.mode != "reference" else recipe.clips.model_copy(update={"mode": "encode"})
    return recipe.model_copy(update={"clips": clips})


def file_print(recipe: Recipe) -> str:
    """The identity of the clip files that `cutting_recipe` makes."""
    return fingerprints(cutting_recipe(recipe))["files"]


def media_print(results: Results, settings: PublishSettings) -> str:
    """The identity; "" where neither bytes nor frames are published."""
    parts = []
    if settings.bytes:
        parts.append(f"bytes {file_print(results.recipe)}")
    if settings.frames:
        parts.append(f"frames {settings.frames} {results.prints.get('frames')}")
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16] if parts else ""
