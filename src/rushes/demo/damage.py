"""Camera moves and damage that the demo applies to its scenes, so that rules have clips to drop."""

from __future__ import annotations

import math

import cv2
import numpy as np

from rushes.demo.paint import FPS, HEIGHT, U8, WIDTH, Scene, u8


def steered(scene: Scene, dx: float = 0.0, dy: float = 0.0, zoom: float = 0.0, crop: float = 1.5) -> Scene:
    """A camera over the scene's first picture, enlarged `crop` times: (dx, dy) pixels a second, `zoom` in shares a second."""
    still = scene(0.0)

    def picture(t: float) -> U8:
        scale = crop * (1 + zoom) ** t
        left, top = WIDTH / 2 * (1 - scale) - dx * t, HEIGHT / 2 * (1 - scale) - dy * t
        matrix = np.array([[scale, 0, left], [0, scale, top]], np.float32)
        return u8(cv2.warpAffine(still, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT))

    return picture


def shaky(scene: Scene, reach_px: float = 14.0, seed: int = 0) -> Scene:
    """A camera in a trembling hand: each frame is displaced by up to about `reach_px` pixels, independently of the others."""
    offsets = np.random.default_rng(seed).normal(0, reach_px / 2, (1024, 3))

    def picture(t: float) -> U8:
        x, y, angle = offsets[round(t * FPS) % len(offsets)]
        matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), angle * 0.12, 1.12)
        matrix[:, 2] += (x, y)
        return u8(cv2.warpAffine(scene(t), matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT))

    return picture


def blurred(scene: Scene, sigma: float = 7.0) -> Scene:
    """Out of focus: a Gaussian of `sigma` pixels, applied at half size, which looks the same for a quarter of the work."""

    def picture(t: float) -> U8:
        small = cv2.resize(scene(t), (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(small, (0, 0), sigma / 2)
        return u8(cv2.resize(soft, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR))

    return picture


def exposed(scene: Scene, stops: float) -> Scene:
    """The light changed by `stops` (doublings): at -3.5 the scene looks like night, at +2 it is overexposed."""
    curve = np.clip(np.arange(256) * 2.0**stops, 0, 255).round().astype(np.uint8)
    return lambda t: u8(cv2.LUT(scene(t), curve))


def frozen(scene: Scene) -> Scene:
    """A camera whose picture froze: the first picture, repeated."""
    first = scene(0.0)
    return lambda _: first


def noisy(scene: Scene, sigma: float = 28.0, seed: int = 0) -> Scene:
    """Sensor noise of `sigma` grey levels, different in each frame: each frame gets another part of one large picture of noise."""
    rng = np.random.default_rng(seed)
    sheet = rng.normal(0, sigma, (HEIGHT + 128, WIDTH + 128, 3)).astype(np.int16)
    places = rng.integers(0, 128, (1024, 2))

    def picture(t: float) -> U8:
        top, left = places[round(t * FPS) % len(places)]
        grain = sheet[top : top + HEIGHT, left : left + WIDTH]
        return u8(cv2.add(scene(t), grain, dtype=cv2.CV_8U))

    return picture


def breathing(scene: Scene, reach: float = 0.1) -> Scene:
    """A slow change of light, as when clouds pass, which must not be taken for a fade."""

    def picture(t: float) -> U8:
        return u8(cv2.convertScaleAbs(scene(t), alpha=1 - reach * (0.5 - 0.5 * math.cos(t))))

    return picture
