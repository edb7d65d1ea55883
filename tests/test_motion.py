"""Global and dense motion against scenes that move as they were told to."""

from __future__ import annotations

import numpy as np
import pytest

from moving import SIZES, Move, diagonal, film, frame_of, look, noisy, scan, scan_film
from rushes.scan.align import overlap


def pan(per_s: float) -> Move:
    return lambda t: (per_s * t - 0.1, 0.0, 1.0)


def tilt(per_s: float) -> Move:
    return lambda t: (0.0, per_s * t - 0.1, 1.0)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[1]}p")
@pytest.mark.parametrize(("fps", "per_s"), [(24, 0.05), (30, 0.05), (60, 0.05), (30, -0.3), (24, 1.0)])
def test_pan_is_read_within_3_percent(size: tuple[int, int], fps: int, per_s: float) -> None:
    signals, _ = scan_film(film(size, pan(per_s), fps=fps, seconds=0.4), fps=fps)
    read = np.nanmean(signals["dx"]) * fps * diagonal(size)
    assert read == pytest.approx(per_s, rel=0.03)
    assert abs(np.nanmean(signals["dy"])) * fps < 0.001
    assert np.nanmin(signals["motion_fit"]) > 0.95


def test_tilt_and_zoom_are_read_within_3_percent() -> None:
    size = SIZES[1]
    down, _ = scan_film(film(size, tilt(0.1), seconds=0.4))
    assert np.nanmean(down["dy"]) * 30 * diagonal(size) == pytest.approx(0.1, rel=0.03)
    for per_s in (0.2, -0.4):
        grown, _ = scan_film(film(size, lambda t, z=per_s: (0.0, 0.0, float(np.exp(z * t))), seconds=0.4))
        assert np.nanmean(grown["zoom"]) * 30 == pytest.approx(per_s, rel=0.03)
        assert np.abs(grown["dx"][1:]).max() < 1e-4


def test_every_step_of_a_jump_about_is_read_not_only_the_mean() -> None:
    size, rng = SIZES[1], np.random.default_rng(3)
    places = rng.uniform(-0.1, 0.1, size=(20, 2))
    signals, _ = scan_film([look(size, (x, y, 1.0)) for x, y in places])
    steps = np.diff(places, axis=0) / diagonal(size)
    # within 1 % and a twentieth of a pixel at 128 wide; swscale's FAST_BILINEAR itself magnifies x by (1278 / 254) / 5, 0.6 %
    np.testing.assert_allclose(signals["dx"][1:], steps[:, 0], rtol=0.01, atol=0.0003)
    np.testing.assert_allclose(signals["dy"][1:], steps[:, 1], rtol=0.01, atol=0.0003)


def test_sub_pixel_steps_are_not_drawn_to_whole_pixels_or_to_zero() -> None:
    size = SIZES[1]
    truth = np.linspace(0.0, 2.0, 21) / 128  # a step of 0 to 2 pixels of the motion view, in widths
    for step in truth[1:]:
        signals, _ = scan_film([look(size, (0.0, 0.0, 1.0)), look(size, (step, 0.0, 1.0))])
        assert signals["dx"][1] * diagonal(size) == pytest.approx(step, abs=0.02 * step + 0.01 / 128)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2])
def test_a_mover_on_a_still_background_is_not_the_camera(share: float) -> None:
    size = SIZES[1]
    side = int((share * size[0] * size[1]) ** 0.5)
    patch = look((side, side), (0.0, 0.0, 1.0), seed=5)
    frames = noisy([look(size, (0.0, 0.0, 1.0))] * 12, sigma=2)
    for i, frame in enumerate(frames):
        frame[150 : 150 + side, 100 + 16 * i : 100 + 16 * i + side] = patch  # 37 % of the width a second
    signals, _ = scan_film(frames)
    assert np.nanmax(np.hypot(signals["dx"], signals["dy"])) < 1e-4
    assert np.nanmedian(signals["block_diff"]) > 5


def test_fit_is_low_at_a_cut_and_on_flat_pictures_only() -> None:
    size = SIZES[0]
    signals, _ = scan_film(film(size, pan(0.2), seconds=0.3) + film(size, pan(0.2), seconds=0.3, seed=7))
    assert signals["motion_fit"][9] < 0.4
    assert np.delete(signals["motion_fit"], [0, 9]).min() > 0.95
    fade, _ = scan_film([np.full((360, 640), 20 + 6 * i, np.uint8) for i in range(10)])
    assert np.nanmax(fade["motion_fit"]) < 0.1
    assert np.nanmedian(fade["frame_diff"]) == pytest.approx(6, abs=0.1)


def test_signals_do_not_depend_on_how_frames_are_batched() -> None:
    frames = film(SIZES[0], lambda t: (0.05 * np.sin(40 * t), 0.1 * t, 1 + 0.1 * t), seconds=0.7)
    whole, _ = scan_film(frames)
    for batch in (1, 7):
        parts, _ = scan_film(frames, batch=batch)
        for name, values in whole.items():
            np.testing.assert_allclose(parts[name], values, atol=2e-4 if name != "block_diff" else 1e-3, err_msg=name)
    assert all(len(v) == len(frames) and np.isnan(v[0]) and v.dtype == np.float32 for v in whole.values())


def test_still_pictures_read_zero_and_frame_diff_reads_a_known_change() -> None:
    picture = look(SIZES[0], (0.0, 0.0, 1.0))
    signals, _ = scan_film([picture, picture, np.clip(picture, 30, 200), np.clip(picture, 30, 200) + np.uint8(5)])
    assert signals["frame_diff"][1] == signals["block_diff"][1] == 0
    assert signals["dx"][1] == pytest.approx(0, abs=1e-7)
    assert signals["frame_diff"][3] == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[1]}p")
@pytest.mark.parametrize(("fps", "per_s"), [(24, 0.05), (30, 0.05), (60, 0.3), (30, 0.6)])
def test_flow_mean_of_a_pan_is_read_within_5_percent(size: tuple[int, int], fps: int, per_s: float) -> None:
    frames = film(size, pan(per_s), fps=fps, seconds=0.6)[fps // 2 - 6 :]  # the grid frame and the baseline before it
    t = (np.arange(len(frames)) + fps // 2 - 6) / fps
    signals = scan([frame_of(f) for f in frames], t)
    truth = per_s / diagonal(size)
    assert np.isfinite(signals["flow_mean"]).sum() == 1
    assert np.nanmean(signals["flow_mean"]) == pytest.approx(truth, rel=0.05)
    assert np.nanmean(signals["flow_p95"]) == pytest.approx(truth, rel=0.15)
    assert np.nanmean(signals["flow_still"]) < 0.1
    assert 0.06 <= np.nanmean(signals["flow_dt"]) < 0.09


def test_flow_of_a_mover_is_its_speed_times_its_share_and_the_rest_is_still() -> None:
    size, side = SIZES[1], 360
    frames = noisy([look(size, (0.0, 0.0, 1.0))] * 17, sigma=2)
    for i, frame in enumerate(frames):
        frame[200 : 200 + side, 200 + 8 * i : 200 + 8 * i + side] = look((side, side), (0.0, 0.0, 1.0), seed=5)
    signals, _ = scan_film(frames)
    speed = 8 * 30 / np.hypot(*size)
    assert signals["flow_p95"][15] == pytest.approx(speed, rel=0.05)
    assert signals["flow_mean"][15] == pytest.approx(speed * side**2 / (size[0] * size[1]), rel=0.25)  # edges smear over a patch's width
    assert 0.7 < signals["flow_still"][15] < 0.9


def test_flow_is_measured_on_the_grid_and_after_a_pause_as_a_quick_change() -> None:
    frames = [frame_of(look(SIZES[0], (0.0, 0.0, 1.0)))] * 4
    signals = scan(frames, np.array([0.0, 0.1, 0.6, 5.0]))
    assert np.isfinite(signals["flow_mean"]).tolist() == [False, False, True, True]
    assert signals["flow_dt"][2:].tolist() == pytest.approx([0.5, 0.08])


@pytest.mark.parametrize("size", [(16, 16), (18, 34), (200, 20), (96, 96), (640, 40)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_tiny_and_narrow_pictures_are_survived(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(16, 235, (size[1], size[0]), dtype=np.uint8) for _ in range(20)]
    signals, _ = scan_film(frames)
    assert all(np.isfinite(signals[name][1:]).all() for name in ("dx", "dy", "zoom", "motion_fit"))
    assert np.isfinite(signals["flow_mean"][15])


def test_overlap_is_the_same_content_in_both_pictures() -> None:
    picture = np.random.default_rng(0).normal(size=(20, 30))
    for dx, dy in ((3, -2), (-5, 4), (0, 0)):
        to, source = overlap(dx, dy, 20, 30)
        assert np.array_equal(np.roll(picture, (dy, dx), axis=(0, 1))[to], picture[source])
