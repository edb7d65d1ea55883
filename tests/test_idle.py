"""Stillness at the ends of shots. Truth: scenes in which a thing begins to move, and stops, at frames that the test chose."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from footage import render
from moving import look
from pictures import U8, Picture
from rushes.engine.fingerprints import fingerprints
from rushes.engine.stages import SHOTS_VERSION, digest
from rushes.errors import RecipeError
from rushes.recipe import Recipe, ShotSettings
from rushes.records import ListedSpan
from rushes.scan.one_pass import Scan, scan
from rushes.shots import Shot, find_shots
from rushes.shots.find import F32
from rushes.shots.listed import listed_shots

SIZE = (320, 180)
KEEP_S = 0.2


def scene(begins: int, ends: int, n: int, *, noise: float, fps: float = 25, share: float = 0.04) -> tuple[Picture, int]:
    """A still room in which a thing, `share` of the picture large, moves a tenth of the width a second; frame `begins` is the first
    that differs from the one before, frame `ends` the first that repeats it.
    """
    side = int((share * SIZE[0] * SIZE[1]) ** 0.5)
    room, thing = look(SIZE, (0.0, 0.0, 1.0)), look((side, side), (0.0, 0.0, 1.0), seed=5)
    rng = np.random.default_rng(2)
    grain = [rng.normal(scale=noise, size=room.shape) for _ in range(9)]

    def picture(i: int) -> U8:
        steps = min(max(i - begins + 1, 0), ends - begins)
        left = 60 + round(steps * SIZE[0] / 10 / fps)
        shown = room.copy()
        shown[70 : 70 + side, left : left + side] = thing
        return np.clip(shown + grain[rng.integers(9)], 16, 235).astype(np.uint8)

    return picture, n


def shots_of(found: Scan, **settings: object) -> list[Shot]:
    how = {"gradual": False, "max_s": 0.0, "trim_idle": KEEP_S, **settings}
    return find_shots(found.signals, found.pts, found.facts.time_base, found.end_pts, ShotSettings(**how))


def frames_of(found: Scan, one: Shot) -> tuple[int, int]:
    """The first frame of a shot, and the one after its last, by number."""
    first, stop = np.searchsorted(found.pts, (one.span.start_pts, one.span.end_pts))
    assert found.pts[first] == one.span.start_pts
    return int(first), int(stop)


def recorded(path: Path, film: tuple[Picture, int], *, fps: int = 25, crf: int = 28) -> Scan:
    options = {"preset": "superfast", "crf": str(crf), "sc_threshold": "0"}
    render(path, film, fps=fps, gop=fps, numbered=False, options=options)
    return scan(str(path), Recipe())


def check(path: Path, *, noise: float = 2.0, crf: int = 28, fps: int = 25, share: float = 0.04) -> None:
    n, begins, ends = (round(s * fps) for s in (5, 2.2, 3.5))
    found = recorded(path, scene(begins, ends, n, noise=noise, fps=fps, share=share), fps=fps, crf=crf)
    (one,) = shots_of(found)
    first, stop = frames_of(found, one)
    keep, off = round(KEEP_S * fps), max(2, round(0.08 * fps))
    assert (one.start, one.end) == ("idle", "idle")
    assert first == pytest.approx(begins - keep, abs=off)
    assert stop == pytest.approx(ends - 1 + keep, abs=off)  # frame `ends` - 1 shows already what stays
    assert one.n_frames == stop - first


def test_a_still_beginning_and_end_are_trimmed_to_the_frame_but_for_what_is_to_stay(tmp_path: Path) -> None:
    check(tmp_path / "a.mp4")


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("crf", [18, 23, 34])
def test_with_any_noise_of_the_sensor_and_any_compression(noise: float, crf: int, tmp_path: Path) -> None:
    check(tmp_path / "a.mp4", noise=noise, crf=crf)


@pytest.mark.slow
@pytest.mark.parametrize("fps", [10, 15, 30, 60])
@pytest.mark.parametrize("share", [0.02, 0.2])
def test_at_any_rate_and_of_any_size(fps: int, share: float, tmp_path: Path) -> None:
    check(tmp_path / "a.mp4", fps=fps, share=share)


def unlike(path: Path) -> list[tuple[Shot, Shot]]:
    """The shots of a video without and with trimming, where they differ."""
    found = scan(str(path), Recipe())
    pairs = zip(shots_of(found, trim_idle=0.0), shots_of(found), strict=True)
    return [pair for pair in pairs if pair[0] != pair[1]]


def test_of_a_robot_that_moves_throughout_nothing_is_trimmed(data_dir: Path) -> None:
    assert unlike(data_dir / "footage" / "lerobot__lerobot_pusht_observation.image_episode_000000.mp4") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sam2__01_dog", "sam2__05_default_juggle", "moviepy__chaplin", "cookbook__robotic_arm_input"])
def test_of_footage_that_moves_throughout_nothing_is_trimmed(name: str, data_dir: Path) -> None:
    assert unlike(data_dir / "footage" / f"{name}.mp4") == []


def signals(change: list[float], whole: float = 0.1, dx: float = 0.0) -> tuple[dict[str, F32], npt.NDArray[np.int64]]:
    """Signals of a shot of ten frames a second: the part that changed most, of which the whole picture has a share; moves of the camera."""
    block = np.array(change, np.float32)
    none = np.zeros_like(block)
    rows = {"block_diff": block, "frame_diff": whole * block, "dx": none + dx, "dy": none, "zoom": none, "motion_fit": none + 1}
    return rows, np.arange(len(change), dtype=np.int64) * 100


def found_in(change: list[float], **how: float) -> list[Shot]:
    settings = ShotSettings(detector="stride", stride_s=100, max_s=0, trim_idle=0.3)
    rows, pts = signals(change, **how)
    return find_shots(rows, pts, Fraction(1, 1000), len(change) * 100, settings)


def test_a_key_frame_is_no_motion_and_neither_is_noise() -> None:
    change = [0.5] * 30
    change[10] = 2.5  # the picture encoded anew
    change[17:24] = [1.6] * 7
    (one,) = found_in(change)
    assert (one.span.start_pts, one.span.end_pts, one.start, one.end) == (1400, 2600, "idle", "idle")
    (one,) = found_in(change, whole=0.4)  # all of the picture changes, by no more than noise
    assert (one.span.start_pts, one.span.end_pts, one.start, one.end) == (0, 3000, "video", "video")


@pytest.mark.parametrize("how", [{"whole": 0.6}, {"dx": 0.002}])
def test_what_fills_the_picture_and_a_camera_that_moves_are_motion(how: dict[str, float]) -> None:
    (one,) = found_in([2.0] * 30, **how)
    assert (one.span.start_pts, one.span.end_pts) == (0, 3000)


def test_a_shot_that_is_still_throughout_stays() -> None:
    (one,) = found_in([0.1] * 30)
    assert (one.span.start_pts, one.span.end_pts, one.start, one.end) == (0, 3000, "video", "video")


def test_a_shot_that_moves_for_a_moment_at_each_end_alone_stays() -> None:
    """25 frames a second; of the ten frames from the first moment on two move, as of the ten up to the last one. So motion that lasts is
    found at the end alone when it is sought from the beginning, and at the beginning alone when it is sought from the end.
    """
    rows, _ = signals([1.6 if i in (1, 2, 98, 99) else 0.1 for i in range(100)])
    settings = ShotSettings(detector="stride", stride_s=100, max_s=0, trim_idle=0.1)
    (one,) = find_shots(rows, np.arange(100, dtype=np.int64) * 40, Fraction(1, 1000), 4000, settings)
    assert (one.span.start_pts, one.span.end_pts, one.start, one.end) == (0, 4000, "video", "video")


def test_what_is_left_is_split_and_spans_of_a_list_are_left_alone() -> None:
    rows, pts = signals([0.1] * 20 + [1.0] * 20 + [0.1] * 20)
    how = ShotSettings(detector="stride", stride_s=100, max_s=1, trim_idle=0.2)
    shots = find_shots(rows, pts, Fraction(1, 1000), 6000, how)
    assert [(s.span.start_pts, s.span.end_pts, s.start, s.end) for s in shots] == [
        (1800, 2500, "idle", "split"), (2500, 3300, "split", "split"), (3300, 4100, "split", "idle"),
    ]  # fmt: skip
    for within in (False, True):
        own = how.model_copy(update={"within_spans": within, "max_s": 0.0})
        listed, _ = listed_shots([ListedSpan("s", "0", "6", "{}")], rows, pts, Fraction(1, 1000), 6000, own)
        assert [(one.shot.span.start_pts, one.shot.span.end_pts) for one in listed] == [(0, 6000)]


def test_the_key_costs_no_decode_and_leaves_older_rows_right_while_it_is_off() -> None:
    off, on = fingerprints(Recipe()), fingerprints(Recipe().with_overrides(["shots.trim_idle=0.5"]))
    assert off["scan"] == on["scan"] and off["frames"] == on["frames"] and off["shots"] != on["shots"]
    settings = Recipe().shots.model_dump(exclude={"within_spans", "trim_idle"})
    assert off["shots"] == digest("shots", SHOTS_VERSION, settings, off["scan"])


def test_sparse_mode_cannot_trim() -> None:
    with pytest.raises(RecipeError, match=r"shots\.trim_idle needs every frame"):
        Recipe().with_overrides(["scan.mode=sparse", "shots.detector=stride", "shots.trim_idle=0.5"])
