"""How likely a clip is not safe for work: LAION's head over CLIP ViT-L/14."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rushes.errors import ModelError, RecipeError
from rushes.models.hub import weights
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.scorer import ClipVectors, EmbeddingScorer, Values, stacked

if TYPE_CHECKING:
    import torch

    from rushes.models.encoder import Encoder

VERSION = 1
"""Raise when the same vectors and weights give other numbers."""
KEY = "scores.nsfw_clip_model"
FILES = ("model.safetensors", "clip_autokeras_binary_nsfw.pth")
WIDTHS = (64, 512, 256, 1)
"""Numbers that each of the linear layers gives."""
HOME = "https://github.com/LAION-AI/CLIP-based-NSFW-Detector/files/10250461/clip_autokeras_binary_nsfw.zip"
SOURCE = "github.com/LAION-AI/CLIP-based-NSFW-Detector (ViT-L/14), as in NeMo Curator's nemo_curator/models/nsfw.py"


class NsfwClip(EmbeddingScorer):
    """Probability, 0 to 1, that a frame is not safe for work; of a clip the maximum over its frames."""

    name = "nsfw_clip"
    licence = "MIT"
    columns = (Column("nsfw_clip", "float", "probability", "not safe for work: maximum over frames", 0.0, 1.0, SOURCE),)

    def __init__(self, settings: ScoreSettings) -> None:
        super().__init__(settings)
        if settings.nsfw_clip_model is None:
            mend = f"set it to the path of clip_autokeras_binary_nsfw.pth, which lies in {HOME}"
            raise RecipeError(f"scores.use names nsfw_clip, but {KEY} is not set", step="recipe", mend=mend)
        self.model = settings.nsfw_clip_model
        self._held: dict[str, Any] = {}
        self._where = "cpu"

    def identity(self) -> dict[str, object]:
        """Code and file."""
        return {"version": VERSION, "model": self.model}

    def load(self, encoder: Encoder) -> None:
        """Reads the head."""
        held = weights(self.model, None, FILES, KEY)
        inputs = (encoder.dimensions, *WIDTHS)
        shapes: dict[str, tuple[int, ...]] = {"norm.mean": (encoder.dimensions,), "norm.variance": (encoder.dimensions,)}
        for k, width in enumerate(WIDTHS, 1):
            shapes |= {f"linear_{k}.weight": (width, inputs[k - 1]), f"linear_{k}.bias": (width,)}
        if odd := [name for name, shape in shapes.items() if name not in held or tuple(held[name].squeeze().shape) != _squeezed(shape)]:
            what = f"{KEY}: {self.model} is not LAION's head for vectors of {encoder.dimensions} numbers: {odd[0]} does not fit"
            raise ModelError(what, step="scores", mend=f"use clip_autokeras_binary_nsfw.pth of {HOME} with openai/clip-vit-large-patch14")
        self._where = encoder.device.name
        self._held = {name: held[name].reshape(shape).to(self._where) for name, shape in shapes.items()}

    def score(self, clips: Sequence[ClipVectors]) -> list[Values]:
        """The maximum over the frames of each clip."""
        import torch

        rows, starts = stacked(clips)
        with torch.inference_mode():
            found = probability(self._held, torch.from_numpy(rows).to(self._where)).cpu().numpy()
        return [{"nsfw_clip": highest} for highest in np.maximum.reduceat(found, starts).tolist()]


def probability(held: Mapping[str, torch.Tensor], vectors: torch.Tensor) -> torch.Tensor:
    """The published definition: (x - mean) / sqrt(variance), three linear layers with ReLU, one with the logistic function.

    Args:
        held: norm.mean, norm.variance, linear_1.weight (64, d), linear_1.bias, ... linear_4.
        vectors: (n, d) of unit length.

    Returns:
        (n,), 0 to 1.
    """
    x = (vectors - held["norm.mean"]) / held["norm.variance"].sqrt()
    for k in range(1, len(WIDTHS) + 1):
        x = x @ held[f"linear_{k}.weight"].T + held[f"linear_{k}.bias"]
        x = x.relu() if k < len(WIDTHS) else x.sigmoid()
    return x[:, 0]


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
