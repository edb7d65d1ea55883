"""Noise, textures and gradients from which the demo's scenes are drawn. Images are (h, w, 3) BGR uint8 unless stated otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Colour = tuple[int, int, int]
"""Blue, green, red, 0 to 255."""
Scene = Callable[[float], U8]
"""A scene: seconds since its start -> picture (HEIGHT, WIDTH, 3)."""

WIDTH, HEIGHT, FPS = 640, 360, 20


def fractal(width: int, height: int, seed: int, octaves: int = 7, first: int = 2) -> F32:
    """Fractal value noise, (height, width), about -1 to 1: octaves of halving size and amplitude 0.6 each."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width), np.float32)
    for octave in range(first, first + octaves):
        across = 1 << octave
        grid = rng.uniform(-1, 1, (max(2, across * height // width), across)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(0.6 ** (octave - first))
    return total / np.float32(1.6)


def tinted(noise: F32, colour: Colour, depth: float) -> U8:
    """A surface of one colour, lighter and darker by `depth` grey levels with the noise."""
    return np.clip(np.array(colour, np.float32) + noise[:, :, None] * depth, 0, 255).astype(np.uint8)


def gradient(top: Colour, bottom: Colour, width: int = WIDTH, height: int = HEIGHT) -> U8:
    """A vertical run from one colour to another."""
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    run = np.array(top, np.float32) * (1 - share) + np.array(bottom, np.float32) * share
    return np.broadcast_to(run, (height, width, 3)).round().astype(np.uint8)


def write(image: U8, text: str, at: tuple[int, int], colour: Colour, scale: float = 0.7, weight: int = 2) -> None:
    """Put text on the image, its baseline's left end at (x, y)."""
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_DUPLEX, scale, colour, weight, cv2.LINE_AA)


def u8(image: npt.NDArray[Any]) -> U8:
    """The array as uint8, without a copy where it is that already (OpenCV's stubs do not say which type comes back)."""
    return image.astype(np.uint8, copy=False)
