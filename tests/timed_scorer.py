"""A scorer that takes a given time for each clip, as a model on a device does: it decodes the frames and then sleeps."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from frame_scorers import Brightness, gray
from rushes.errors import ScoreError
from rushes.records import Column
from rushes.scores.scorer import ClipFrames, Values

TIME_OF_A_CLIP = "RUSHES_TEST_TIME_OF_A_CLIP"
"""Environment variable with the path of a file that holds the seconds of one clip."""


class Timed(Brightness):
    """The brightness of a clip's frames, after a while."""

    name = "timed"
    columns = (Column("timed_brightness", "float", "", "mean of the frames' gray values", 0.0, 255.0),)

    def score(self, clips: Sequence[ClipFrames]) -> Sequence[Values | ScoreError]:
        time.sleep(float(Path(os.environ[TIME_OF_A_CLIP]).read_text()) * len(clips))
        return [{"timed_brightness": float(gray(clip.pictures[0].jpeg).mean())} for clip in clips]
