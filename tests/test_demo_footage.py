"""The demo's footage: what it promises of each file, read back by libav."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest

from rushes.demo import render_footage
from rushes.demo.films import FILMS, Film, Shot, _encode
from rushes.demo.paint import FPS, HEIGHT, WIDTH
from rushes.demo.scenes import blocks, road


@pytest.fixture
def files(demo_footage: Path) -> dict[str, Path]:
    return {path.name: path for path in demo_footage.iterdir()}


def luma(path: Path, width: int = 80, height: int = 45) -> np.ndarray:
    """Every fourth frame's luma, (n, height, width)."""
    with av.open(str(path)) as source:
        return np.stack(
            [f.reformat(width, height, "gray").to_ndarray() for k, f in enumerate(source.decode(video=0)) if k % 4 == 0]
        ).astype(float)


@pytest.mark.slow
def test_length_and_books(files: dict[str, Path]) -> None:
    seconds = 0.0
    for film in FILMS:
        with av.open(str(files[film.name])) as source:
            stream = source.streams.video[0]
            assert (stream.width, stream.height) == (WIDTH, HEIGHT)
            seconds += float(source.duration or 0) / 1e6
    assert 90 <= seconds <= 120
    assert len(files) == len(FILMS) + 3
    assert not [path for path in next(iter(files.values())).parent.iterdir() if path.name.startswith(".")]


def test_one_duplicate_one_broken_one_that_is_no_video(files: dict[str, Path]) -> None:
    assert files["inspection_round_copy.mp4"].read_bytes() == files["inspection_round.mp4"].read_bytes()
    for name in ("upload_stopped_half_way.mp4", "notes.txt"):
        with pytest.raises(av.error.InvalidDataError):
            av.open(str(files[name])).close()


def test_damages_are_visible(files: dict[str, Path]) -> None:
    night_and_noon = luma(files["night_and_noon.mp4"])
    assert night_and_noon[:20].mean() < 30
    assert night_and_noon[-20:].mean() > 200
    stopped = luma(files["feed_that_stopped.mp4"])
    steps = np.abs(np.diff(stopped, axis=0)).mean((1, 2))
    assert steps[:20].min() > 0.5
    assert steps[-20:].max() < 0.5
    soft, sharp = (
        np.abs(np.diff(luma(files[name], WIDTH, HEIGHT), axis=2)).mean() for name in ("out_of_focus.mp4", "inspection_round.mp4")
    )
    assert soft < sharp / 2


def test_the_uneven_clock_is_uneven(files: dict[str, Path]) -> None:
    with av.open(str(files["uneven_clock.mkv"])) as source:
        pts = [f.pts for f in source.decode(video=0)]
    assert len(set(np.diff(pts))) >= 3


def test_files_that_are_there_are_left_alone(files: dict[str, Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in files.values()}
    assert render_footage(next(iter(files.values())).parent) == sorted(files.values())
    assert {path: path.stat().st_mtime_ns for path in files.values()} == before


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    film = Film("a.mp4", lambda: [Shot(blocks(1), 0.4), Shot(road(2), 0.4, "dissolve", 0.3), Shot(road(3), 0.4, "fade", 0.3)])
    sums = set()
    for name in ("a.mp4", "b.mp4"):
        _encode(film, tmp_path / name)
        sums.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(sums) == 1
    with av.open(str(tmp_path / "a.mp4")) as source:
        assert sum(1 for _ in source.decode(video=0)) == round(1.8 * FPS)
