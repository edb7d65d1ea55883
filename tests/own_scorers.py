"""Scorers of a user's own, named in a recipe as own_scorers:Class."""

from __future__ import annotations

from collections.abc import Sequence

from rushes.errors import ScoreError
from rushes.models.device import Device
from rushes.models.encoder import Encoder
from rushes.models.pixels import decoded
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.scorer import ClipFrames, ClipVectors, EmbeddingScorer, FrameScorer, Values


class Redness(FrameScorer):
    """The mean of red, 0 to 1. It raises on a clip whose name begins with "bad", and says itself that one named "odd" has no score."""

    name = "redness"
    licence = "none"
    model = "none"
    columns = (Column("redness", "float", "share of 255", "mean of red over frames", 0.0, 1.0),)

    def identity(self) -> dict[str, object]:
        return {"version": 1}

    def load(self, device: Device) -> None:
        pass

    def score(self, clips: Sequence[ClipFrames]) -> list[Values | ScoreError]:
        if any(clip.clip_id.startswith("bad") for clip in clips):
            raise KeyError("this clip has no red")
        return [ScoreError("it is odd") if clip.clip_id == "odd" else self._one(clip) for clip in clips]

    def _one(self, clip: ClipFrames) -> Values:
        pictures = [decoded(picture.jpeg) for picture in clip.pictures]
        return {"redness": sum(float(one[:, :, 0].mean()) for one in pictures) / len(pictures) / 255}


class FirstCoordinate(EmbeddingScorer):
    """The first number of the last vector."""

    name = "first"
    licence = "none"
    model = "none"
    columns = (Column("first", "float", "", "first number of the last frame's vector", -1.0, 1.0),)

    def __init__(self, settings: ScoreSettings) -> None:
        super().__init__(settings)
        self.images = 3

    def identity(self) -> dict[str, object]:
        return {"version": 1}

    def load(self, encoder: Encoder) -> None:
        pass

    def score(self, clips: Sequence[ClipVectors]) -> list[Values]:
        return [{"first": float(clip.vectors[-1, 0])} for clip in clips]


class Nothing(Redness):
    """It forgets a column."""

    name = "nothing"
    columns = (Column("nothing", "float", "", "never given"),)


class Twin(Redness):
    """It gives a column of another scorer."""

    name = "twin"


NOT_A_SCORER = 3
