"""Luma and contrast inside black bars, beside numpy on the cells that the tests leave free."""

from __future__ import annotations

import numpy as np
import pytest

from rushes.media.views import THUMB
from rushes.scan.light import Light, in_bars

WIDTH, HEIGHT = THUMB


def pictures(n: int = 3, low: int = 30) -> np.ndarray:
    """(n, h, w) pictures without a black row or column."""
    return np.random.default_rng(n).integers(low, 230, (n, HEIGHT, WIDTH)).astype(np.uint8)


def barred(inside: np.ndarray, top: int, bottom: int, left: int, right: int, black: int) -> tuple[np.ndarray, np.ndarray]:
    """The pictures with bars around, with coding noise of a level; and which cells are free, (h, w)."""
    free = np.zeros((HEIGHT, WIDTH), np.bool_)
    free[top : HEIGHT - bottom, left : WIDTH - right] = True
    noise = np.random.default_rng(1).integers(0, 2, inside.shape).astype(np.uint8)
    return np.where(free, np.maximum(inside, black + 20), black + noise).astype(np.uint8), free


@pytest.mark.parametrize("bars", [(2, 2, 0, 0), (0, 3, 0, 0), (0, 0, 4, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("black", [16, 72])
def test_bars_count_for_nothing(bars: tuple[int, int, int, int], black: int) -> None:
    film, free = barred(pictures(), *bars, black)
    light = Light.of(film.reshape(len(film), -1))
    inside = film[:, free].astype(np.float64)
    assert np.array_equal(in_bars(film.reshape(len(film), -1)), np.broadcast_to(~free.ravel(), (len(film), free.size)))
    assert light.mean == pytest.approx(inside.mean(1), rel=1e-5)
    assert light.std == pytest.approx(inside.std(1), rel=1e-5)
    assert light.share == pytest.approx(free.mean())


def test_a_change_by_the_contrast_of_what_is_shown_is_one() -> None:
    """Of two pictures of which one has bars all cells are shown, and of two with bars those inside both."""
    plain, (film, free) = pictures(2), barred(pictures(2), 3, 3, 0, 0, 16)
    light = Light.of(np.concatenate((plain, film)).reshape(4, -1))
    a, b = np.array([0, 2, 0]), np.array([1, 3, 2])
    shown = light.shown(np.concatenate((plain, film)).reshape(4, -1), a, b)
    assert np.array_equal(shown[1], free.ravel()) and shown[0].all() and shown[2].all()
    assert light.spread(a, b) == pytest.approx(light.contrast(a, b) * np.array([1.0, free.mean(), 1.0]))


@pytest.mark.parametrize("level", [0, 16, 255])
def test_a_picture_without_detail_has_no_bars(level: int) -> None:
    flat = np.full((1, HEIGHT * WIDTH), level, np.uint8)
    assert not in_bars(flat).any() and Light.of(flat).share[0] == 1.0


def test_a_dark_picture_with_one_light_has_no_bars() -> None:
    """Most of it is black: that is the scene, not a frame around it."""
    night = np.full((1, HEIGHT, WIDTH), 16, np.uint8)
    night[0, 8:11, 14:19] = 200
    assert not in_bars(night.reshape(1, -1)).any()
