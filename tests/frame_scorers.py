"""Scorers of one's own, as the recipe names them: `scores.use = ["frame_scorers:Brightness"]`. They need no model."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rushes.errors import ModelError, ScoreError
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.scorer import ClipFrames, FrameScorer, Values

VERSION = "OWN_SCORER_VERSION"
"""Environment variable that stands for the code version of `Brightness`."""
DEATHS = "DEATHS_OF_MORTAL"
"""Environment variable with the path of a file that says how often `Mortal` dies."""


def gray(jpeg: bytes) -> Any:
    """A frame's gray values."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)


class Brightness(FrameScorer):
    """How bright a clip's frames are, and the device that the process may use."""

    name = "brightness"
    licence = "none needed"
    model = "none"
    columns = (
        Column("brightness", "float", "", "mean of the frames' gray values", 0.0, 255.0, "this test"),
        Column("score_device", "text", "", "the GPU that the process may use"),
    )

    def identity(self) -> dict[str, object]:
        return {"version": os.environ.get(VERSION, "1")}

    def load(self, device: object) -> None:
        """There is nothing to load."""

    def score(self, clips: Sequence[ClipFrames]) -> Sequence[Values | ScoreError]:
        return [
            {
                "brightness": float(np.mean([gray(picture.jpeg).mean() for picture in clip.pictures])),
                "score_device": os.environ.get("CUDA_VISIBLE_DEVICES"),
            }
            for clip in clips
        ]


class Picky(FrameScorer):
    """Raises on dark clips, as a scorer may on one clip of a batch; else it counts the frames."""

    name = "picky"
    licence = "none needed"
    model = "none"
    revision = "7"
    columns = (Column("n_seen", "float", "", "frames that it was given", 0.0),)

    def __init__(self, settings: ScoreSettings) -> None:
        self.images = 3

    def identity(self) -> dict[str, object]:
        return {"version": 1}

    def load(self, device: object) -> None:
        """There is nothing to load."""

    def score(self, clips: Sequence[ClipFrames]) -> Sequence[Values | ScoreError]:
        for clip in clips:
            if gray(clip.pictures[0].jpeg).mean() < 105:
                raise ValueError("this clip is too dark for me")
        return [{"n_seen": float(len(clip.pictures))} for clip in clips]


class Absent(Brightness):
    """Its model cannot be had."""

    name = "absent"
    columns = (Column("nothing", "float", "", "nothing"),)

    def load(self, device: object) -> None:
        raise ModelError("the model nobody/has-it cannot be had", step="scores", mend="set scores.encoder to a folder that has it")


class Mortal(Brightness):
    """Its process dies while it is loaded, as often as the file that `DEATHS` names has lines."""

    def load(self, device: object) -> None:
        path = Path(os.environ[DEATHS])
        if left := path.read_text():
            path.write_text(left.partition("\n")[2])
            os.kill(os.getpid(), signal.SIGKILL)


class Slow(Brightness):
    """Takes a quarter of a second for a clip, so that something can happen meanwhile."""

    name = "slow"
    columns = (Column("slow_brightness", "float", "", "mean of the frames' gray values", 0.0, 255.0),)

    def score(self, clips: Sequence[ClipFrames]) -> Sequence[Values | ScoreError]:
        time.sleep(0.25 * len(clips))
        return [{"slow_brightness": float(np.mean([gray(picture.jpeg).mean() for picture in clip.pictures]))} for clip in clips]


class Noise(Brightness):
    """Its column has the name of a measure."""

    columns = (Column("noise", "float", "", "nothing"),)
