"""Image classifiers of the hub by id: the probability of one class, found by its name. Two are in the list; the recipe may name others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rushes.errors import ModelError, ScoreError
from rushes.models.device import Device, dtype_of
from rushes.models.hub import loading, quiet_transformers, revision_of
from rushes.models.passes import Passes
from rushes.models.pixels import Preparation
from rushes.recipe_scores import ClassifierSettings, ScoreSettings
from rushes.records import Column
from rushes.scores.scorer import ClipFrames, FrameScorer, Scorer, Values

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Raise when the same pictures and weights give other numbers."""
CLASSIFIERS: Mapping[str, ClassifierSettings] = {
    "nsfw_vit": ClassifierSettings(model="Falconsai/nsfw_image_detection", label="nsfw", licence="Apache-2.0"),
    "watermark": ClassifierSettings(model="prithivMLmods/Watermark-Detection-SigLIP2", label="Watermark", licence="Apache-2.0"),
}
"""The classifiers of the list, by the name of their scorer."""


class ImageClass(FrameScorer):
    """The probability of one class of a classifier; of a clip the maximum over its frames."""

    def __init__(self, settings: ScoreSettings, name: str, classifier: ClassifierSettings) -> None:
        super().__init__(settings)
        self.name, self.model, self.licence = name, classifier.model, classifier.licence
        self.revision = revision_of(self.model, classifier.revision)
        self._label, self._batch = classifier.label, settings.batch
        doc = f"the class {self._label!r} of {self.model}: maximum over frames"
        self.columns = (Column(name, "float", "probability", doc, 0.0, 1.0, f"huggingface.co/{self.model}"),)
        self._passes: Passes | None = None
        self._index = 0

    def identity(self) -> dict[str, object]:
        """Code, model, revision, class."""
        return {"version": VERSION, "model": self.model, "revision": self.revision, "label": self._label}

    def load(self, device: Device) -> None:
        """Loads the classifier and finds the class by its name."""
        key = f"scores.classifiers.{self.name}.model"
        with quiet_transformers(), loading(self.model, key, self.revision):
            from transformers import AutoImageProcessor, AutoModelForImageClassification

            net = AutoModelForImageClassification.from_pretrained(self.model, revision=self.revision, dtype=dtype_of(device))
            preparation = Preparation.of(AutoImageProcessor.from_pretrained(self.model, revision=self.revision))
        labels = {str(label): int(index) for index, label in net.config.id2label.items()}
        if self._label not in labels:
            what = f"{self.model} has no class {self._label!r}; its classes are {', '.join(map(repr, labels))}"
            raise ModelError(what, step="scores", mend=f"set scores.classifiers.{self.name}.label to one of them")
        self._index = labels[self._label]
        net = net.eval().to(device.name)
        several = net.config.problem_type == "multi_label_classification"

        def forward(batch: torch.Tensor) -> torch.Tensor:
            logits: Any = net(pixel_values=batch.to(dtype_of(device))).logits.float()
            shares: torch.Tensor = logits.sigmoid() if several else logits.softmax(dim=-1)
            return shares

        self._passes = Passes(device, preparation, forward, self._batch)

    def score(self, clips: Sequence[ClipFrames]) -> list[Values | ScoreError]:
        """The maximum over the frames of each clip."""
        assert self._passes is not None, "load() comes before score()"
        passed = self._passes.run([picture.jpeg for clip in clips for picture in clip.pictures])
        found: list[Values | ScoreError] = []
        at = 0
        for clip in clips:
            end = at + len(clip.pictures)
            broken = [fault for i, fault in passed.faults.items() if at <= i < end]
            found.append(ScoreError(broken[0]) if broken else {self.name: float(np.max(passed.rows[at:end, self._index]))})
            at = end
        return found


def classifier(name: str, settings: ClassifierSettings) -> Callable[[ScoreSettings], Scorer]:
    """What makes the scorer of a classifier."""
    return lambda scores: ImageClass(scores, name, settings)
