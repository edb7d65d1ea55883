"""What is before the camera, by labels of the recipe: zero-shot, from the cosines between frames and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rushes.errors import RecipeError
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.scorer import ClipVectors, EmbeddingScorer, Values, means, stacked

if TYPE_CHECKING:
    from rushes.models.encoder import Encoder

VERSION = 1
"""Raise when the same vectors and sentences give other numbers."""
SOURCE = "zero-shot classification with an ensemble of prompts, arXiv 2103.00020, section 3.1.4"


class Subject(EmbeddingScorer):
    """The probability of each label: softmax, with the model's own scale, over the cosines with the labels; mean over frames.

    The vector of a label is the mean of those of its sentences, each in each template, made of unit length.
    """

    name = "subject"
    licence = "none of its own: the encoder's"

    def __init__(self, settings: ScoreSettings) -> None:
        super().__init__(settings)
        self.model = settings.encoder
        self._templates = settings.templates
        self._labels = {name: tuple(sentences) for name, sentences in settings.labels.items() if sentences}
        if len(self._labels) < 2:
            what = f"scores.labels has {len(self._labels)} label; a probability is a share among labels, so at least two are needed"
            raise RecipeError(what, step="recipe", mend="add a label, such as other = ['a photo']")
        self.columns = (
            Column("subject", "text", "", f"the most probable of {', '.join(self._labels)}: mean over frames", source=SOURCE),
            *(
                Column(f"subject_{name}", "float", "probability", f"{name}: mean over frames", 0.0, 1.0, SOURCE)
                for name in self._labels
            ),
        )  # fmt: skip
        self._vectors: npt.NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._scale = 1.0

    def identity(self) -> dict[str, object]:
        """Code, labels with their sentences, templates."""
        return {"version": VERSION, "labels": {name: list(said) for name, said in self._labels.items()}, "templates": list(self._templates)}

    def load(self, encoder: Encoder) -> None:
        """Has the encoder make the vectors of the labels."""
        self._scale = encoder.logit_scale
        self._vectors = np.stack([self._of_label(encoder, sentences) for sentences in self._labels.values()])

    def score(self, clips: Sequence[ClipVectors]) -> list[Values]:
        """The mean probability of each label, and the most probable one."""
        rows, starts = stacked(clips)
        shares = means(_softmax(self._scale * (rows @ self._vectors.T)), starts)
        names, columns = list(self._labels), [f"subject_{name}" for name in self._labels]
        best = shares.argmax(axis=1).tolist()
        return [{"subject": names[k], **dict(zip(columns, one, strict=True))} for k, one in zip(best, shares.tolist(), strict=True)]

    def _of_label(self, encoder: Encoder, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        mean = encoder.texts([template.replace("{}", said) for said in sentences for template in self._templates]).mean(axis=0)
        unit: npt.NDArray[np.float32] = mean / np.linalg.norm(mean)
        return unit


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return shares
