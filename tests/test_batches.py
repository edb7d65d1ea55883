"""Signals do not depend on how frames fall into batches: what segments of a video rest on."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pictures import Gradual, edit, moving
from rushes.media.batch import batch
from rushes.scan.blend import Blend
from rushes.scan.content import Content
from rushes.scan.exposure import Exposure
from rushes.scan.motion import GlobalMotion
from variants import variants

Arrays = tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
SIZES = {"wide": (128, 72), "old": (128, 96), "upright": (72, 128), "odd": (128, 54)}


def views(width: int, height: int, fps: float, gap_s: float = 0.0, before: int = 41) -> Arrays:
    """Times and views of a film with shake, a cut at frame 40, a dissolve, and a pause of `gap_s` before a frame."""
    made = edit(
        [moving(width, height, seed, dx=2 - 1.5 * seed, dy=seed / 2 - 0.75) for seed in range(3)],
        [40, 75, 60],
        [Gradual("cut", 0), Gradual("dissolve", 20)],
    )
    pictures = [made.picture(i) for i in range(made.n_frames)]
    t = np.arange(made.n_frames) / fps
    t[before:] += gap_s
    motion = np.stack([cv2.cvtColor(p, cv2.COLOR_BGR2GRAY) for p in pictures])
    colour = np.stack(
        [np.stack([cv2.resize(p[..., k], (width // 2, height // 2), interpolation=cv2.INTER_AREA) for k in (0, 2)]) for p in pictures]
    )
    return t, motion, colour


def signals(made: Arrays, bounds: list[int]) -> dict[str, npt.NDArray[np.float32]]:
    """All signals of the batch meters, with batches that begin at the bounds."""
    meters = (Content(), Exposure(hdr=False), GlobalMotion(), Blend())
    for start, stop in pairwise([*bounds, len(made[0])]):
        for meter in meters:
            meter.push(batch(made[0][start:stop], made[1][start:stop].copy(), made[2][start:stop].copy()))
    return {name: values for meter in meters for name, values in meter.finish().items()}


@pytest.mark.parametrize("gap_s, before", [(0.0, 41), (4.0, 41), (4.0, 40)], ids=["even", "gap", "gap at a cut"])
@pytest.mark.parametrize("size", variants(SIZES, quick=[*SIZES][:2]))
def test_signals_are_the_same_to_the_bit_however_frames_fall_into_batches(size: str, gap_s: float, before: int) -> None:
    made = views(*SIZES[size], fps=60, gap_s=gap_s, before=before)
    n = len(made[0])
    one = signals(made, [0])
    rng = np.random.default_rng(3)
    splits = [list(range(0, n, 64)), list(range(0, n, 7)), list(range(n)), [0, 41], sorted({0, *rng.integers(1, n, 12).tolist()})]
    for split in splits:
        for name, values in signals(made, split).items():
            assert np.array_equal(values, one[name], equal_nan=True), (name, split)
    assert all(np.isfinite(one[name]).any() for name in ("blend_start", "jump_c", "jump_m"))
