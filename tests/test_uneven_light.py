"""Light that falls on each part of a scene by another amount is no cut, no dissolve and no fade; the same scene's cuts still are."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from pictures import U8, texture
from rushes.recipe import ShotSettings
from rushes.scan.detail import same_detail
from rushes.shots.find import cuts_of, transitions_of
from rushes.shots.gradual import SAME_DETAIL
from shot_signals import luma_of, signals_of

MS = Fraction(1, 1000)
SIZE = (192, 108)
F32 = npt.NDArray[np.float32]
SCENE, OTHER = (texture(*SIZE, seed).astype(np.float32) for seed in (3, 4))
X = np.linspace(0, 1, SIZE[0], dtype=np.float32)[None, :, None]
LEFT, RIGHT = (0.15 + 1.1 * np.exp(-(((X - at) / 0.35) ** 2)) for at in (0.1, 0.9))
"""The light of two lamps, one at each side of the picture."""


def found(frames: list[F32]) -> tuple[list[int], list[tuple[int, int, str]]]:
    """Cuts and transitions of frames shown 25 times a second, with some noise."""
    rng, pts = np.random.default_rng(1), 40 * np.arange(len(frames), dtype=np.int64)
    seen = [np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8) for frame in frames]
    signals = signals_of(seen, pts, MS)
    cuts = cuts_of(signals, pts, MS, ShotSettings(detector="combined"))
    return cuts.tolist(), [(x.start, x.end, x.kind) for x in transitions_of(signals, pts, MS)]


def ramp(i: int, first: int, n: int) -> float:
    return float(np.clip((i - first) / n, 0, 1))


@pytest.mark.parametrize("frames", [1, 3, 15])
def test_a_lamp_that_goes_on_as_another_goes_off_is_no_boundary(frames: int) -> None:
    """Each picture between is a blend of the two ends, as in a dissolve, and the ends correlate no more than two shots may."""
    light = [LEFT * (1 - ramp(i, 40, frames)) + RIGHT * ramp(i, 40, frames) for i in range(100)]
    assert found([SCENE * lit for lit in light]) == ([], [])


@pytest.mark.parametrize(("frames", "kind"), [(1, "cut"), (15, "dissolve")])
def test_another_scene_in_another_light_is_a_boundary(frames: int, kind: str) -> None:
    shares = [ramp(i, 40, frames) for i in range(100)]
    cuts, gradual = found([SCENE * LEFT * (1 - share) + OTHER * RIGHT * share for share in shares])
    assert (cuts, [x[2] for x in gradual]) == (([41], []) if kind == "cut" else ([], ["dissolve"]))


@pytest.mark.parametrize("darkest", [0.1, 0.0])
def test_a_dark_scene_between_two_lights_is_no_fade_and_a_black_one_is(darkest: float) -> None:
    """Headlights sweep over a scene at night: light and contrast sink and rise as in a fade, but the scene is still seen."""
    gain = [darkest + (1 - darkest) * abs(ramp(i, 35, 16) * 2 - 1) for i in range(100)]
    cuts, gradual = found([SCENE * one for one in gain])
    assert cuts == []
    assert [x[2] for x in gradual] == ([] if darkest else ["fade"])


def thumb(frame: F32 | U8) -> U8:
    return luma_of(np.clip(frame, 0, 255).astype(np.uint8), 32, 18).reshape(-1)


@pytest.mark.parametrize("level", [0, 60, 255])
def test_bars_that_stay_are_no_detail(level: int) -> None:
    """Between two shots that have the same bars."""
    for seed in range(6):
        pair = [texture(*SIZE, 20 * k + seed) for k in (1, 2)]
        for frame in pair:
            frame[:14] = frame[-14:] = level
        assert not same_detail(*map(thumb, pair)) >= SAME_DETAIL


def test_detail_is_the_same_in_any_light() -> None:
    assert same_detail(thumb(SCENE * LEFT), thumb(SCENE * RIGHT)) > 0.8
    assert np.isnan(same_detail(thumb(SCENE), thumb(SCENE))), "nothing differs: nothing is said"
