"""Pictures drawn by script, whose facts are known by construction: textures, moves, edits, and a frame number in each picture.

A *picture* is a function from a frame's index to an image: (h, w, 3) BGR or (h, w) gray, uint8, full range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
Picture = Callable[[int], U8]

NUMBER_BITS = 16
CHECK_BITS = 4
CELLS = 1 + NUMBER_BITS + CHECK_BITS + 1
"""A white cell, the number in Gray code (one bit changes from frame to frame), its check bits, a black cell."""


def bar_height(height: int) -> int:
    """Rows at the top of a picture of `height` rows that the frame number takes."""
    return max(6, height // 12)


def _bits(number: int) -> list[int]:
    if not 0 <= number < 1 << NUMBER_BITS:
        raise ValueError(f"frame number {number} is outside [0, {1 << NUMBER_BITS})")
    gray = number ^ (number >> 1)
    check = (number * 7 + 3) % (1 << CHECK_BITS)
    value = (gray << CHECK_BITS) | check
    return [1, *((value >> k) & 1 for k in reversed(range(NUMBER_BITS + CHECK_BITS))), 0]


def draw_frame_number(image: U8, number: int) -> U8:
    """A copy of the image with `number` written across its top as a row of black and white cells."""
    height, width = image.shape[:2]
    cells = np.array(_bits(number), np.uint8) * 255
    row = cells[np.arange(width) * CELLS // width]
    out = image.copy()
    out[: bar_height(height)] = row if image.ndim == 2 else row[:, None]
    return out


def read_frame_number(gray: U8) -> int:
    """The number in a decoded picture's luma, (h, w), of any size from 64 x 48 on, studio or full range.

    Raises ValueError when the bar is unreadable: too little contrast, or check bits that do not fit.
    """
    height, width = gray.shape
    rows = gray[max(1, bar_height(height) // 4) : max(2, bar_height(height) * 3 // 4)]
    cell = width / CELLS
    lefts = [int(np.ceil((k + 0.25) * cell)) for k in range(CELLS)]
    levels = [rows[:, left : max(left + 1, int((k + 0.75) * cell))].mean() for k, left in enumerate(lefts)]
    white, black = levels[0], levels[-1]
    if white - black < 40:
        raise ValueError(f"no frame number here: white cell {white:.0f}, black cell {black:.0f}")
    value = 0
    for level in levels[1:-1]:
        value = value << 1 | int(level > (white + black) / 2)
    gray_code, check = value >> CHECK_BITS, value & ((1 << CHECK_BITS) - 1)
    number = gray_code
    shift = 1
    while shift < NUMBER_BITS:
        number ^= number >> shift
        shift *= 2
    if check != (number * 7 + 3) % (1 << CHECK_BITS):
        raise ValueError(f"frame number {number} with wrong check bits {check}")
    return number


def texture(width: int, height: int, seed: int) -> U8:
    """A colourful landscape of noise with detail at every scale, (h, w, 3) BGR, mean about 110, different for each seed."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 8):
        cells = 1 << octave
        grid = rng.random((max(2, cells * height // max(width, 1)), cells, 3), np.float32) - 0.5
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.75 ** (octave - 2)
    tint = rng.uniform(0.55, 1.0, 3).astype(np.float32)
    return np.clip((total * 110 + 140) * tint, 0, 255).astype(np.uint8)


def still(width: int, height: int, seed: int) -> Picture:
    """The same texture for ever."""
    image = texture(width, height, seed)
    return lambda _: image


def moving(width: int, height: int, seed: int, dx: float = 2.0, dy: float = 0.0) -> Picture:
    """A camera that pans over a texture: the scene moves by (-dx, -dy) pixels a frame, sub-pixel exact, mirrored at the edges."""
    image = texture(width * 2, height * 2, seed)

    def picture(i: int) -> U8:
        shift = np.array([[1, 0, -width / 2 - dx * i], [0, 1, -height / 2 - dy * i]], np.float32)
        return cv2.warpAffine(image, shift, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

    return picture


@dataclass(frozen=True, slots=True)
class Gradual:
    """A transition of `n` frames that belong to neither shot.

    kind "dissolve": blends with weights k/(n+1); "fadeblack", "fadewhite": the old shot fades out over the first half, the new
    one in over the second.
    """

    kind: str
    n: int


CUT = Gradual("cut", 0)


@dataclass(frozen=True, slots=True)
class Transition:
    """Where a gradual transition lies: frames [start, end), half-open, end is the first whole frame of the new shot."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Edit:
    """A film of several shots: `picture` for `n_frames` frames, hard `cuts` (first frame of the new shot) and `gradual` ones."""

    picture: Picture
    n_frames: int
    cuts: tuple[int, ...] = ()
    gradual: tuple[Transition, ...] = ()


def _blend(kind: str, old: U8, new: U8, weight: float) -> U8:
    if kind == "dissolve":
        return cv2.addWeighted(old, 1 - weight, new, weight, 0)
    level = {"fadeblack": 0.0, "fadewhite": 255.0}[kind]
    away = abs(2 * weight - 1)
    source = old if weight < 0.5 else new
    return np.clip(source * away + level * (1 - away) + 0.5, 0, 255).astype(np.uint8)


def edit(shots: Sequence[Picture], lengths: Sequence[int], joints: Sequence[Gradual] | None = None) -> Edit:
    """Shots of `lengths` whole frames, joined by `joints` (default: all hard cuts). Shots go on moving within a transition."""
    joints = [CUT] * (len(shots) - 1) if joints is None else list(joints)
    if not len(shots) == len(lengths) == len(joints) + 1:
        raise ValueError(f"{len(shots)} shots, {len(lengths)} lengths and {len(joints)} joints do not fit: joints are one fewer")
    starts, cuts, gradual, at = [], [], [], 0
    for k, length in enumerate(lengths):
        starts.append(at)
        at += length
        if k < len(joints) and joints[k].n == 0:
            cuts.append(at)
        elif k < len(joints):
            gradual.append(Transition(joints[k].kind, at, at + joints[k].n))
            at += joints[k].n

    def picture(i: int) -> U8:
        k = max(j for j, start in enumerate(starts) if start <= i)
        into = i - starts[k] - lengths[k]
        here = shots[k](i - starts[k])
        if into < 0:
            return here
        return _blend(joints[k].kind, here, shots[k + 1](i - starts[k + 1]), (into + 1) / (joints[k].n + 1))

    return Edit(picture, at, tuple(cuts), tuple(gradual))


def film(width: int, height: int, lengths: Sequence[int], joints: Sequence[Gradual] | None = None, *, seed: int = 0) -> Edit:
    """`edit` of slowly panning shots, each with its own texture."""
    shots = [moving(width, height, seed * 1000 + k, dx=1.0 + 0.5 * (k % 3), dy=0.5 * (k % 2)) for k in range(len(lengths))]
    return edit(shots, lengths, joints)
