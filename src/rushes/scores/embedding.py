"""One vector for a clip, for search and for finding near duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.scorer import ClipVectors, EmbeddingScorer, Values, means, stacked

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
        rows, starts = stacked(clips)
        mean = means(rows, starts)
        length = np.linalg.norm(mean, axis=1, keepdims=True)
        unit = mean / np.where(length > 0, length, 1)
        return [{"embedding": one if long else None} for one, long in zip(unit.tolist(), length[:, 0] > 0, strict=True)]
