"""Text that was put over the picture, such as subtitles, clocks and channel names, told from text of the scene by staying in place.

The detector is that of PP-OCRv6 (small), whose weights lie in the wheel rapidocr; nothing is read, only found. Text is overlay where a line
lies in the same place in most of the frames while the picture around it changes. Where the picture around it does not change, as with a
camera that stands still, place says nothing: there a line counts as overlay only in the bands at the top and the bottom of the picture,
where overlays are put. The idea of telling overlay by staying in place, and by zones at the edge, is cosmos-curate's filter for artificial
text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rushes.errors import ScoreError
from rushes.models.device import Device
from rushes.models.onnx import in_wheel, session
from rushes.models.pixels import decoded
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.free_box import largest_free
from rushes.scores.scorer import ClipFrames, FrameScorer, Values

VERSION = 1
"""Raise when the same pictures give other numbers."""
PACKAGE, FILE = "rapidocr", "models/PP-OCRv6_det_small.onnx"
LONG_SIDE, MULTIPLE = 640, 32
"""The long side at which text is looked for, pixels, as in cosmos-curate; what the sides of the network's input must be multiples of."""
PIXEL, LINE, GROW = 0.3, 0.5, 1.6
"""Least probability of a pixel of text, least mean probability of a line, and by how much a line is larger than its middle that the network
marks (area / perimeter times this): PaddleOCR's thresh, box_thresh and unclip_ratio, as rapidocr sets them."""
SMALLEST, LARGEST, FULL = 3, 0.08, 0.6
"""Of a mark that is a line: least short side, pixels; largest short side, as a share of the picture's; least share of its box that it
fills. The network also marks things that are no text, such as test patterns, foliage and people, in large marks of any form: over frames
of 41 clips of all kinds these bounds left the text alone."""
TOP_BAND, BOTTOM_BAND = 0.15, 0.25
"""Where a line counts as overlay although nothing around it changes: its middle is in this share of the height at the top or the bottom.
The bottom band holds subtitles and lower thirds."""
CHANGED = 8.0
"""Mean difference of the picture around a line, 8-bit levels, above which it has changed; JPEG's own noise is below 3."""
SOURCE = "PP-OCRv6 of PaddleOCR; overlay told from scene text after cosmos-curate (NVIDIA)"
_CROP = "of the largest box that is free of overlay, as a share of the picture's"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text: its box, in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def height(self) -> int:
        """Height of the box."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Width of the box."""
        return self.right - self.left


class TextOverlay(FrameScorer):
    """How much of the picture is covered by text, by overlay, and the box that would be free of overlay.

    A clip of one frame has no value for overlay.
    """

    name = "text_overlay"
    licence = "Apache-2.0"
    model = "PP-OCRv6_det_small, of rapidocr 3.10.0"
    columns = (
        Column("text_share", "float", "share of the picture", "boxes of all lines of text: mean over frames", 0.0, 1.0, SOURCE),
        Column("text_overlay", "float", "share of the picture", "boxes of lines that stay in place: all frames together", 0.0, 1.0, SOURCE),
        Column("overlay_free", "float", "share of the picture", "the largest box that is free of overlay", 0.0, 1.0, SOURCE),
        Column("overlay_free_left", "float", "share of the width", f"left edge {_CROP} width", 0.0, 1.0, SOURCE),
        Column("overlay_free_top", "float", "share of the height", f"top edge {_CROP} height", 0.0, 1.0, SOURCE),
        Column("overlay_free_right", "float", "share of the width", f"right edge {_CROP} width", 0.0, 1.0, SOURCE),
        Column("overlay_free_bottom", "float", "share of the height", f"bottom edge {_CROP} height", 0.0, 1.0, SOURCE),
    )

    def __init__(self, settings: ScoreSettings) -> None:
        super().__init__(settings)
        self._session: Any = None

    def identity(self) -> dict[str, object]:
        """Code and model."""
        return {"version": VERSION, "model": self.model}

    def load(self, device: Device) -> None:
        """Opens the weights in the wheel."""
        self._session = session(in_wheel(PACKAGE, FILE), device)

    def score(self, clips: Sequence[ClipFrames]) -> list[Values | ScoreError]:
        """The shares and the box of each clip."""
        return [self._of_clip([_sized(decoded(picture.jpeg)) for picture in clip.pictures]) for clip in clips]

    def _of_clip(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> Values:
        batch = np.stack([picture.transpose(2, 0, 1)[::-1] for picture in pictures]).astype(np.float32)  # the network takes BGR
        (maps,) = self._session.run(None, {self._session.get_inputs()[0].name: batch / 127.5 - 1})
        found = [lines(one[0]) for one in maps]
        shape = pictures[0].shape[:2]
        overlay = in_place(found, pictures)
        taken = _mask(overlay, shape)
        left, top, right, bottom = largest_free(taken)
        height, width = shape
        values: dict[str, float | None] = {
            "text_overlay": float(taken.mean()),
            "overlay_free": (right - left) * (bottom - top) / (height * width),
            "overlay_free_left": left / width,
            "overlay_free_top": top / height,
            "overlay_free_right": right / width,
            "overlay_free_bottom": bottom / height,
        }
        known = len(pictures) > 1
        share = float(np.mean([_mask(one, shape).mean() for one in found]))
        return {"text_share": share, **{name: value if known else None for name, value in values.items()}}


def lines(probability: npt.NDArray[np.float32]) -> list[Line]:
    """The lines of text in a map (h, w) of the probability that a pixel is the middle of a line, as PaddleOCR finds them; boxes upright."""
    import cv2

    marks, _ = cv2.findContours((probability > PIXEL).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for mark in marks:
        left, top, width, height = cv2.boundingRect(mark)
        inside = np.zeros((height, width), np.uint8)
        cv2.fillPoly(inside, [mark - np.array([left, top])], (1,))
        score = float(probability[top : top + height, left : left + width][inside > 0].mean())
        large = min(width, height) > LARGEST * min(probability.shape)
        if min(width, height) < SMALLEST or large or inside.mean() < FULL or score < LINE:
            continue
        grow = round(GROW * width * height / (2 * (width + height)))
        found.append(Line(
            max(0, left - grow), max(0, top - grow),
            min(probability.shape[1], left + width + grow), min(probability.shape[0], top + height + grow),
        ))  # fmt: skip
    return found


def in_place(found: Sequence[Sequence[Line]], pictures: Sequence[npt.NDArray[np.uint8]]) -> list[Line]:
    """The lines that are overlay: each lies in the same place in two of three frames and in two at least, and is put over the scene.

    Args:
        found: the lines of each frame.
        pictures: the frames, (h, w, 3), of one size.
    """
    enough = max(2, math.ceil(2 * len(found) / 3))
    texts = np.any([_mask(one, pictures[0].shape[:2], around=True) for one in found], axis=0)
    overlay = []
    for k, some in enumerate(found):
        for line in some:
            others = [n for n, those in enumerate(found) if n != k and any(same_place(line, other) for other in those)]
            if len(others) + 1 >= enough and _put_over(line, pictures[k], [pictures[n] for n in others], texts):
                overlay.append(line)
    return overlay


def same_place(a: Line, b: Line) -> bool:
    """Whether two lines are one line of overlay: at the same height, and left, right or centred at the same place. The length may differ,
    since subtitles and clocks change.
    """
    slack = 0.5 * min(a.height, a.width, b.height, b.width)
    both = min(a.bottom, b.bottom) - max(a.top, b.top)
    either = max(a.bottom, b.bottom) - min(a.top, b.top)
    off = min(abs(a.left - b.left), abs(a.right - b.right), abs(a.left + a.right - b.left - b.right) / 2)
    return both >= 0.7 * either and off <= slack


def _put_over(line: Line, picture: npt.NDArray[np.uint8], others: Sequence[npt.NDArray[np.uint8]], texts: npt.NDArray[np.bool_]) -> bool:
    """Whether the picture around a line changes while the line stays; or, where it does not, whether the line is where overlays are put."""
    height = picture.shape[0]
    middle = (line.top + line.bottom) / 2 / height
    if middle < TOP_BAND or middle > 1 - BOTTOM_BAND:
        return True
    rows = slice(max(0, line.top - line.height), line.bottom + line.height)
    columns = slice(max(0, line.left - line.height), line.right + line.height)
    around = ~texts[rows, columns]
    if not around.any():
        return True
    off = [np.abs(picture[rows, columns].astype(np.int16) - other[rows, columns])[around].mean() for other in others]
    return float(np.max(off)) > CHANGED


def _mask(some: Sequence[Line], shape: tuple[int, ...], *, around: bool = False) -> npt.NDArray[np.bool_]:
    """Which pixels lie in boxes of lines; `around`: or a little beside them, where a line's shadow is."""
    found = np.zeros(shape, bool)
    for line in some:
        edge = line.height // 4 if around else 0
        found[max(0, line.top - edge) : line.bottom + edge, max(0, line.left - edge) : line.right + edge] = True
    return found


def _sized(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The picture at the size at which text is looked for; it is never enlarged but to the next multiple."""
    import cv2

    scale = min(1.0, LONG_SIDE / max(picture.shape[:2]))
    height, width = (max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in picture.shape[:2])
    sized: npt.NDArray[np.uint8] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return sized
