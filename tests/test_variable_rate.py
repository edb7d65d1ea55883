"""One film at a constant and at a variable rate: what it measures and what becomes of it do not depend on how it is stored."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from footage import render
from pictures import U8, Edit, texture
from rushes.engine.fingerprints import fingerprints
from rushes.measures.clip import COLUMNS
from rushes.recipe import Recipe
from rushes.rows.clip_columns import clip_reasons
from rushes.rows.scanned import Stamp, clip_rows
from rushes.rows.signals import Series
from rushes.scan.one_pass import SampledFrame, scan
from rushes.store.store import now
from variants import variants

SIZE = (320, 180)
FINE = {"crf": "8", "preset": "medium", "sc_threshold": "0"}
RECIPE = Recipe().with_overrides(["shots.detector=stride", "shots.stride_s=100", "shots.max_s=0"])


def page(seed: int, lines: int) -> U8:
    """A page of text: each line more changes a little of it, and no cut is in it."""
    rng = np.random.default_rng(seed)
    image = np.full((SIZE[1], SIZE[0], 3), 225, np.uint8)
    for k in range(8):
        words = "".join(rng.choice(list("abcdefgh klmnop"), 34))
        if k < lines:
            cv2.putText(image, words, (8, 20 + 21 * k), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA)
    return image


def typed(holds: Sequence[int]) -> list[tuple[U8, int]]:
    """A text that is written line by line; each picture is shown for so many 25ths of a second."""
    return [(page(7, 1 + k % 8), hold) for k, hold in enumerate(holds)]


def panned(holds: Sequence[int]) -> list[tuple[U8, int]]:
    """A camera that pans while pictures follow each other, and stands where one is held."""
    wide = texture(SIZE[0] * 2, SIZE[1], 5)
    out, x = [], 0
    for hold in holds:
        out.append((wide[:, x : x + SIZE[0]].copy(), hold))
        x = (x + 3) % SIZE[0]
    return out


FILMS: dict[str, list[tuple[U8, int]]] = {
    "two pictures every four seconds": typed([100, 1, 99, 1, 99, 1, 99, 1, 99, 1, 99, 1]),
    "slides": typed([80, 100, 60, 120, 90, 70]),
    "at random": typed(random.Random(1).choices(range(1, 60), k=24)),
    "a pan between pauses": panned([*[1] * 50, 100, *[1] * 50, 75, *[1] * 25]),
    "a pan with short stops": panned([*[1] * 40, 12, *[1] * 40, 8, *[1] * 60, 15, *[1] * 40]),
    "one long still": typed([250]),
}


def stored(path: Path, pictures: Sequence[tuple[U8, int]], *, constant: bool) -> Path:
    if constant:
        each = [image for image, hold in pictures for _ in range(hold)]
        render(path, Edit(lambda i: each[i], len(each)), numbered=False, options=FINE, gop=250)
    else:
        starts = np.concatenate(([0], np.cumsum([hold for _, hold in pictures]))).tolist()
        last = [(pictures[-1][0], 1)] if pictures[-1][1] > 1 else []  # recorders write the last picture again where they end
        shown = [*pictures, *last]
        pts = [*(512 * s for s in starts[:-1]), *([512 * (starts[-1] - 1)] if last else [])]
        how = {"pts": pts, "time_base": Fraction(1, 12_800), "bframes": 0}
        render(path, Edit(lambda i: shown[i][0], len(shown)), numbered=False, options=FINE, gop=250, **how)  # type: ignore[arg-type]
    return path


def judged(path: Path) -> tuple[dict[str, Any], list[str], list[float]]:
    """Measures of the film as one clip, the rules that drop it, and when the stored frames are shown."""
    frames: list[SampledFrame] = []
    found = scan(str(path), RECIPE, on_frame=frames.append)
    made = clip_rows(Series.of("v" * 64, found), RECIPE, fingerprints(RECIPE), Stamp("run", now()))
    assert len(made["clips"]) == 1
    video = {**found.facts.as_row(), "uri": "x", "first_pts": int(found.pts[0])}
    (reasons,) = clip_reasons(RECIPE, made["clips"], made["measures"], video)
    assert sorted(f.pts for f in frames) == [f.pts for f in frames]
    return made["measures"][0], [r["rule"] for r in reasons], [float((f.pts - frames[0].pts) * found.facts.time_base) for f in frames]


@pytest.mark.parametrize("name", variants(FILMS, quick=["a pan between pauses"]))
def test_measures_and_verdicts_do_not_depend_on_the_rate(name: str, tmp_path: Path) -> None:
    even, reasons, _ = judged(stored(tmp_path / "constant.mp4", FILMS[name], constant=True))
    uneven, others, frames = judged(stored(tmp_path / "variable.mp4", FILMS[name], constant=False))
    for column in COLUMNS:
        a, b = even[column.name], uneven[column.name]
        if column.name == "slideshow":  # null where no two pictures a second apart are compared, 0 where they are and nothing is panned
            a, b = a or 0.0, b or 0.0
        if column.kind == "text" or a is None or b is None:
            assert a == b, (column.name, a, b)
        else:
            rel = 0.2 if column.name.startswith("motion_") else 0.08
            assert b == pytest.approx(a, rel=rel, abs=0.02 * (column.high or 0.15)), column.name
    assert others == reasons
    assert frames == sorted(set(frames))


def test_pictures_that_are_held_are_stored_and_not_those_of_a_moment(tmp_path: Path) -> None:
    """A model sees what stands still on the screen, and not the picture of the moment in which the screen changed."""
    path = stored(tmp_path / "a.mp4", FILMS["two pictures every four seconds"], constant=False)
    _, _, frames = judged(path)
    assert {4.04, 8.04, 12.04} <= {round(t, 2) for t in frames}


def test_an_even_rate_is_a_rate_however_low(tmp_path: Path) -> None:
    for per_s, n in ((1, 12), (5, 50)):
        wide = texture(SIZE[0] * 2, SIZE[1], 3)
        render(tmp_path / f"{per_s}.mp4", Edit(lambda i, w=wide: w[:, 5 * i : 5 * i + SIZE[0]].copy(), n), fps=per_s, numbered=False)
        measures, reasons, frames = judged(tmp_path / f"{per_s}.mp4")
        assert measures["freeze_share"] == 0.0 and measures["static_share"] == 0.0 and "frozen" not in reasons and "static" not in reasons
        assert frames == [float(k) for k in range(n // per_s)]


def test_the_reported_screen_recording(data_dir: Path) -> None:
    folder = data_dir / "field" / "07_screen_recording_vfr"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    found = {name: judged(folder / f"{name}.mp4") for name in ("only_changes", "as_a_player_shows_it")}
    for measures, reasons, _ in found.values():
        assert measures["freeze_share"] == pytest.approx(0.98, abs=0.01)
        assert "frozen" in reasons
    assert found["only_changes"][1] == found["as_a_player_shows_it"][1]
