"""One vector for a clip, for search and for finding near duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.scorer import ClipVectors, EmbeddingScorer, Values

if TYPE_CHECKING:
    from rushes.models.encoder import Encoder

VERSION = 1
"""Raise when the same vectors give another one."""


class Embedding(EmbeddingScorer):
    """The mean of the frames' vectors, made of unit length."""

    name = "embedding"
    licence = "none of its own: the encoder's"
    columns = (
        Column("embedding", "floats", "", "the clip's vector, of unit length: the mean of its frames' vectors, in the space of the encoder",
               -1.0, 1.0, "mean pooling of frame vectors, as CLIP4Clip's parameter-free type, arXiv 2104.08860"),
    )  # fmt: skip

    def __init__(self, settings: ScoreSettings) -> None:
        super().__init__(settings)
        self.model = settings.encoder

    def identity(self) -> dict[str, object]:
        """Code; the encoder is part of every such scorer's identity."""
        return {"version": VERSION}

    def load(self, encoder: Encoder) -> None:
        """Needs no weights."""

    def score(self, clips: Sequence[ClipVectors]) -> list[Values]:
        """The vector of each clip; None where the frames' vectors cancel out."""
        found: list[Values] = []
        for clip in clips:
            mean = clip.vectors.mean(axis=0)
            length = float(np.linalg.norm(mean))
            found.append({"embedding": (mean / length).tolist() if length > 0 else None})
        return found
