"""How pleasing a clip looks: LAION's aesthetic predictor v2, a head over CLIP ViT-L/14."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rushes.errors import ModelError
from rushes.models.hub import revision_of, weights
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.scorer import ClipVectors, EmbeddingScorer, Values, means, stacked

if TYPE_CHECKING:
    from rushes.models.encoder import Encoder

VERSION = 1
"""Raise when the same vectors and weights give other numbers."""
KEY = "scores.aesthetic_model"
FILES = ("model.safetensors", "sac+logos+ava1-l14-linearMSE.pth")
LAYERS = (0, 2, 4, 6, 7)
"""The linear layers, by their number in the published Sequential; between them lies dropout alone, which does nothing once trained."""
SOURCE = "LAION aesthetic predictor v2 (sac+logos+ava1-l14-linearMSE), github.com/christophschuhmann/improved-aesthetic-predictor"


class Aesthetic(EmbeddingScorer):
    """Points of about 1 to 10, as people gave them to pictures on photography sites."""

    name = "aesthetic"
    licence = "Apache-2.0"
    columns = (
        Column("aesthetic", "float", "points", "aesthetic points, about 1 to 10: mean over frames", source=SOURCE),
        Column("aesthetic_min", "float", "points", "the same of the frame with the fewest", source=SOURCE),
        Column("aesthetic_middle", "float", "points", "the same of the frame in the middle", source=SOURCE),
    )

    def __init__(self, settings: ScoreSettings) -> None:
        super().__init__(settings)
        self.model = settings.aesthetic_model
        self.revision = revision_of(self.model, settings.aesthetic_revision)
        self._map = np.zeros(0), 0.0

    def identity(self) -> dict[str, object]:
        """Code, model, revision."""
        return {"version": VERSION, "model": self.model, "revision": self.revision}

    def load(self, encoder: Encoder) -> None:
        """Reads the head and folds it."""
        held = weights(self.model, self.revision, FILES, KEY)
        self._map = folded({name: tensor.numpy() for name, tensor in held.items()}, self.model)
        if len(self._map[0]) != encoder.dimensions:
            what = f"{KEY}: {self.model} is made for vectors of {len(self._map[0])} numbers, and the encoder gives {encoder.dimensions}"
            raise ModelError(what, step="scores", mend="use it with the encoder that it was trained on, openai/clip-vit-large-patch14")

    def score(self, clips: Sequence[ClipVectors]) -> list[Values]:
        """Mean, minimum and middle over the frames of each clip."""
        slope, bias = self._map
        rows, starts = stacked(clips)
        points = rows @ slope.astype(np.float32) + np.float32(bias)
        middles = starts + np.diff(np.append(starts, len(points))) // 2
        of_clips = zip(means(points, starts).tolist(), np.minimum.reduceat(points, starts).tolist(), points[middles].tolist(), strict=True)
        return [{"aesthetic": mean, "aesthetic_min": least, "aesthetic_middle": middle} for mean, least, middle in of_clips]


def folded(held: Mapping[str, npt.NDArray[Any]], model: str) -> tuple[npt.NDArray[np.float64], float]:
    """The published stack of linear layers without activations as the one affine map that it is: points = vector @ slope + bias.

    Args:
        held: the weights by name: layers.N.weight (out, in) and layers.N.bias (out,).
        model: what they come from, for the message.

    Raises:
        ModelError: they are not these layers.
    """
    names = {f"layers.{n}.{part}" for n in LAYERS for part in ("weight", "bias")}
    if set(held) != names:
        odd = sorted(names ^ set(held), key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
        what = f"{KEY}: {model} is not LAION's aesthetic head v2: {odd[0]} is {'missing' if odd[0] in names else 'strange'}"
        raise ModelError(what, step="scores", mend="use ttj/sac-logos-ava1-l14-linearMSE, or its file")
    slope, bias = np.eye(held["layers.0.weight"].shape[1]), np.zeros(held["layers.0.weight"].shape[1])
    for n in LAYERS:
        weight = held[f"layers.{n}.weight"].astype(np.float64)
        slope, bias = weight @ slope, weight @ bias + held[f"layers.{n}.bias"]
    return slope[0], float(bias[0])
