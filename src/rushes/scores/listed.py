"""The written list of scorers. A new one is added here, and is otherwise one file; one of the user's own is named as module:Class."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from rushes.errors import RecipeError
from rushes.models import encoder
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.aesthetic import Aesthetic
from rushes.scores.embedding import Embedding
from rushes.scores.faces import Faces
from rushes.scores.image_class import CLASSIFIERS, classifier
from rushes.scores.nsfw import Nsfw
from rushes.scores.nsfw_clip import NsfwClip
from rushes.scores.scorer import EmbeddingScorer, FrameScorer, Scorer
from rushes.scores.subject import Subject
from rushes.scores.text_overlay import TextOverlay

LISTED: Mapping[str, Callable[[ScoreSettings], Scorer]] = {
    "aesthetic": Aesthetic,
    "nsfw_clip": NsfwClip,
    "subject": Subject,
    "embedding": Embedding,
    "nsfw": Nsfw,
    "text_overlay": TextOverlay,
    "faces": Faces,
    **{name: classifier(name, settings) for name, settings in CLASSIFIERS.items()},
}
"""Name in `scores.use` -> what makes the scorer from the recipe."""


def scorers_of(settings: ScoreSettings) -> tuple[Scorer, ...]:
    """The scorers that the recipe wants, in its order. Nothing is loaded.

    Raises:
        RecipeError: there is no such scorer; a setting that it needs is missing; two give columns of one name, or have one name.
    """
    scorers = tuple(_scorer(name, settings) for name in dict.fromkeys(settings.use))
    owners: dict[str, str] = {}
    for scorer in scorers:
        for taken in (f"the name {scorer.name}", *(f"the column {column.name}" for column in scorer.columns)):
            if taken in owners:
                what = f"scores.use: {owners[taken]} and {scorer.name} both have {taken}"
                raise RecipeError(what, step="recipe", mend="leave one of them out, or rename that of your own scorer")
            owners[taken] = scorer.name
    return scorers


def columns_of(settings: ScoreSettings) -> tuple[Column, ...]:
    """The columns of all scorers that the recipe wants, in its order.

    Raises:
        RecipeError: as `scorers_of`.
    """
    return tuple(column for scorer in scorers_of(settings) for column in scorer.columns)


def identity_of(scorer: Scorer, settings: ScoreSettings) -> dict[str, object]:
    """Everything that the rows of a scorer depend on besides the frames: its own identity, how many frames it takes, and for a head the
    encoder. Values that JSON can hold.
    """
    of_encoder = encoder_identity(settings) if isinstance(scorer, EmbeddingScorer) else None
    return {"name": scorer.name, "images": scorer.images, "scorer": scorer.identity(), "encoder": of_encoder}


def encoder_identity(settings: ScoreSettings) -> dict[str, object]:
    """Everything that the stored vector of a frame depends on besides the frame."""
    return encoder.identity(settings.encoder, settings.encoder_revision)


def _scorer(name: str, settings: ScoreSettings) -> Scorer:
    if name in settings.classifiers:
        return classifier(name, settings.classifiers[name])(settings)
    if name in LISTED:
        return LISTED[name](settings)
    if ":" in name:
        return _own(name)(settings)
    near = difflib.get_close_matches(name, (*LISTED, *settings.classifiers), n=1)
    mend = f"use {near[0]!r}" if near else f"use {', '.join(LISTED)}, a name in scores.classifiers, or module:Class of your own"
    raise RecipeError(f"scores.use names {name!r}: there is no such scorer", step="recipe", mend=mend)


def _own(name: str) -> Callable[[ScoreSettings], Scorer]:
    """The class that module:Class names."""
    module, _, attribute = name.partition(":")
    mend = "the module must be importable wherever `rushes` runs (PYTHONPATH), and the class a FrameScorer or an EmbeddingScorer"
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise RecipeError(f"scores.use names {name!r}, which cannot be imported: {error}", step="recipe", mend=mend) from error
    if not (inspect.isclass(found) and issubclass(found, FrameScorer | EmbeddingScorer)) or inspect.isabstract(found):
        raise RecipeError(f"scores.use names {name!r}, which is no scorer", step="recipe", mend=mend)
    made: Callable[[ScoreSettings], Scorer] = found
    return made
