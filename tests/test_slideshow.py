"""Stills that are panned and zoomed against footage of cameras. Truth: scenes drawn so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from footage import render
from moving import Pose, look, scan_film
from pictures import U8
from rushes.measures.clip_time import ClipTime
from rushes.measures.slideshow import measure
from rushes.recipe import Recipe
from rushes.scan.one_pass import scan

SIZE = (320, 180)
FPS, N = 25, 70
MOVES: dict[str, Callable[[float], Pose]] = {
    "pan": lambda t: (0.05 * t, 0.0, 1.0),
    "zoom in": lambda t: (0.0, 0.0, 1.0 + 0.06 * t),
    "zoom out and tilt": lambda t: (0.0, 0.03 * t, 1.2 - 0.05 * t),
}


def still(i: int, move: str = "pan") -> U8:
    return look(SIZE, MOVES[move](i / FPS))


def with_a_mover(i: int) -> U8:
    """The same camera, and a thing of 4 % of the picture that goes its own way."""
    shown = still(i)
    left, top = 40 + 2 * i, 60
    shown[top : top + 48, left : left + 48] = look((48, 48), (0.0, 0.0, 1.0), seed=5)
    return shown


def with_a_near_thing(i: int) -> U8:
    """The same camera, past a third of the picture that is twice as near."""
    shown = still(i)
    near = look(SIZE, (0.1 * i / FPS, 0.0, 1.0), seed=6)
    shown[110:] = near[110:]
    return shown


def value(picture: Callable[[int], U8], *, n: int = N) -> float | str | None:
    signals, t = scan_film([picture(i) for i in range(n)], fps=FPS)
    return measure(signals, ClipTime(slice(0, n), t, n / FPS))["slideshow"]


@pytest.mark.parametrize("move", MOVES)
def test_a_still_that_is_panned_and_zoomed(move: str) -> None:
    assert value(lambda i: still(i, move)) == 1.0


@pytest.mark.parametrize("picture", [with_a_mover, with_a_near_thing])
def test_a_camera_that_pans_over_a_scene(picture: Callable[[int], U8]) -> None:
    assert value(picture) == 0.0


def test_a_picture_that_stands_and_a_clip_below_a_second_are_not_judged() -> None:
    assert value(lambda i: still(0)) is None
    assert value(still, n=20) is None


def test_pictures_from_before_the_clip_do_not_count() -> None:
    signals, t = scan_film([with_a_mover(i) for i in range(40)] + [look(SIZE, MOVES["pan"](i / FPS), seed=9) for i in range(N)], fps=FPS)
    parts = (slice(0, 40), slice(40, 40 + N))
    assert [measure(signals, ClipTime(at, t[at], at.stop / FPS))["slideshow"] for at in parts] == [0.0, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize("fps", [10, 60])
@pytest.mark.parametrize("crf", [18, 32])
def test_at_any_rate_and_after_compression(fps: int, crf: int, tmp_path: Path) -> None:
    for name, picture, wanted in (("a", still, 1.0), ("b", with_a_mover, 0.0)):
        n = 3 * fps
        options = {"preset": "veryfast", "crf": str(crf)}
        render(tmp_path / f"{name}.mp4", (lambda i, p=picture: p(round(i * FPS / fps)), n), fps=fps, numbered=False, options=options)
        found = scan(str(tmp_path / f"{name}.mp4"), Recipe())
        t = (found.pts - found.pts[0]) * float(found.facts.time_base)
        assert measure(found.signals, ClipTime(slice(0, n), t, 3.0))["slideshow"] == wanted
