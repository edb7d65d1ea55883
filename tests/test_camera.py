"""Measures of motion and camera against scenes, damage and real clips whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from moving import SIZES, U8, Move, Signals, diagonal, film, frame_of, look, noisy, scan, scan_film
from rushes.measures import camera, motion
from rushes.measures.clip_time import ClipTime
from rushes.records import Orientation
from variants import variants

SMALL = SIZES[0]
Measured = dict[str, float | str | None]


def measured(signals: Signals, t: np.ndarray, at: slice | None = None, way: Orientation = camera.UPRIGHT) -> Measured:
    at = at or slice(0, len(t))
    end_s = float(t[at.stop] if at.stop < len(t) else t[-1] + np.median(np.diff(t)))
    clip, contrast = ClipTime(at, t[at], end_s), np.full(len(t), 35.0, np.float32)  # that of the scene
    return motion.measure(signals, clip) | camera.measure({**signals, "luma_std": contrast}, clip, way)


@cache
def jitter(amplitude: float, seed: int = 2) -> Callable[[float], tuple[float, float]]:
    """A shaking hand: sines of 4 to 11 Hz in x and y with a total root mean square of `amplitude` widths."""
    rng = np.random.default_rng(seed)
    hz, phase = np.array([4.0, 6.0, 8.0, 11.0]), rng.uniform(0, 2 * np.pi, (2, 4))
    each = amplitude / 2  # eight sines of this peak: 8 * each**2 / 2 = amplitude**2
    return lambda t: tuple((each * np.sin(2 * np.pi * hz * t + phase)).sum(axis=1))  # type: ignore[return-value]


def shaken(move: Move, amplitude: float) -> Move:
    def pose(t: float) -> tuple[float, float, float]:
        (x, y, zoom), (dx, dy) = move(t), jitter(amplitude)(t)
        return x + dx, y + dy, zoom

    return pose


def still(t: float) -> tuple[float, float, float]:
    return 0.0, 0.0, 1.0


MOVES: dict[str, Move] = {
    "static": still,
    "pan_left": lambda t: (0.08 * t, 0.0, 1.0),
    "pan_right": lambda t: (-0.3 * t, 0.02 * t, 1.0),
    "tilt_up": lambda t: (0.0, 0.1 * t, 1.0),
    "tilt_down": lambda t: (0.0, -0.05 * t, 1.0),
    "zoom_in": lambda t: (0.0, 0.0, float(np.exp(0.15 * t))),
    "zoom_out": lambda t: (0.0, 0.0, float(1.2 * np.exp(-0.15 * t))),
    "shaky": shaken(still, 0.04),
    "mixed": lambda t: (0.1 * np.sin(4 * t), 0.1 * np.cos(4 * t), 1.0),
}


@cache
def seen(label: str, size: tuple[int, int] = SMALL, fps: int = 30, step: int = 1, seconds: float = 1.6) -> Measured:
    frames = film(size, MOVES[label], fps=fps, seconds=seconds)[::step]
    signals, t = scan_film(frames, fps=fps / step)
    return measured(signals, t)


@pytest.mark.parametrize("label", MOVES)
def test_label_says_what_the_camera_did(label: str) -> None:
    found = seen(label)
    assert found["camera_motion"] == label
    assert isinstance(found["camera_motion_confidence"], float)
    assert 0.5 <= found["camera_motion_confidence"] <= 1


@pytest.mark.parametrize("label", variants(["pan_left", "zoom_in", "shaky"], quick=["pan_left"]))
@pytest.mark.parametrize(("size", "fps", "step"), [(SIZES[1], 30, 1), (SIZES[2], 30, 1), (SMALL, 60, 1), (SMALL, 60, 2)], ids=str)
def test_measures_are_the_same_at_each_size_and_frame_rate(label: str, size: tuple[int, int], fps: int, step: int) -> None:
    here, there = seen(label), seen(label, size, fps, step)
    assert here["camera_motion"] == there["camera_motion"]
    for name in ("motion_mean", "shake"):
        assert here[name] == pytest.approx(there[name], rel=0.05, abs=2e-4), name


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_labels_are_as_a_viewer_sees_them(rotation: int) -> None:
    upright = [frame for frame in film(SMALL, MOVES["pan_left"], seconds=0.7)]
    coded = [np.ascontiguousarray(np.rot90(frame, rotation // 90)) for frame in upright]  # rot90 turns against the clock
    signals, t = scan_film(coded)
    assert measured(signals, t, way=Orientation(rotation))["camera_motion"] == "pan_left"


@pytest.mark.parametrize("amplitude", [0.005, 0.02, 0.05])
@pytest.mark.parametrize("speed", [0.0, 0.2], ids=["in_place", "panning"])
def test_shake_is_its_root_mean_square_whatever_the_pan(amplitude: float, speed: float) -> None:
    signals, t = scan_film(film(SMALL, shaken(lambda t: (speed * t - 0.2, 0.0, 1.0), amplitude), seconds=3))
    assert measured(signals, t)["shake"] == pytest.approx(amplitude / diagonal(SMALL), rel=0.1)


def test_a_steady_fast_pan_does_not_shake() -> None:
    signals, t = scan_film(film(SMALL, lambda t: (0.5 * t - 0.4, 0.0, 1.0), seconds=1.6))
    assert measured(signals, t)["shake"] < 0.0005


def test_motion_mean_of_a_pan_is_its_speed_within_5_percent() -> None:
    assert seen("pan_left")["motion_mean"] == pytest.approx(0.08 / diagonal(SMALL), rel=0.05)
    assert seen("static")["motion_mean"] == pytest.approx(0, abs=1e-4)


def test_irregular_time_gives_the_same_measures() -> None:
    """Every third and fourth frame of five left out, as fast mode leaves out frames that no other needs."""
    frames = film(SMALL, shaken(MOVES["pan_left"], 0.02), fps=60, seconds=2)
    keep = np.flatnonzero(~np.isin(np.arange(len(frames)) % 5, (2, 3)))
    whole_signals, whole_t = scan_film(frames, fps=60)
    t = keep / 60
    whole, part = measured(whole_signals, whole_t), measured(scan([frame_of(frames[i]) for i in keep], t), t)
    for name in ("shake", "motion_mean", "motion_p95"):
        assert part[name] == pytest.approx(whole[name], rel=0.06), name
    assert part["camera_motion"] == whole["camera_motion"]


def test_a_clip_does_not_see_the_shot_before_it() -> None:
    cut = 44  # the grid frame at 1.5 s is compared with frame 43, of the other shot
    frames = film(SMALL, MOVES["shaky"], seconds=cut / 30, seed=9) + film(SMALL, MOVES["pan_left"], seconds=1.2)
    signals, t = scan_film(frames)
    clip = measured(signals, t, slice(cut, len(t)))
    assert clip["camera_motion"] == "pan_left"
    assert clip["shake"] < 0.0005
    assert clip["motion_mean"] == pytest.approx(0.08 / diagonal(SMALL), rel=0.05)
    assert measured(signals, t, slice(cut, cut + 1)) == dict.fromkeys(clip, None)


def test_nothing_is_said_about_the_camera_of_a_flat_picture() -> None:
    signals, t = scan_film([np.full((360, 640), 16, np.uint8)] * 30)
    found = measured(signals, t)
    assert found["camera_motion"] is None and found["shake"] is None
    assert found["freeze_share"] == found["static_share"] == 1


def encoded(frames: list[U8], path: Path, crf: int) -> list[av.VideoFrame]:
    """The frames after x264 with key frames once a second."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"crf": str(crf), "preset": "veryfast", "g": "30", "threads": "1"})
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "yuv420p"
        for i, luma in enumerate(frames):
            frame = frame_of(luma)
            frame.pts, frame.time_base = i, Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with av.open(str(path)) as source:
        return list(source.decode(video=0))


@pytest.mark.parametrize("crf", variants([18, 28, 38], quick=[38]))
def test_a_frozen_clip_is_known_from_a_still_camera(tmp_path: Path, crf: int) -> None:
    picture = noisy([look(SMALL, (0.0, 0.0, 1.0))], sigma=4)[0]
    sensor = noisy([look(SMALL, (0.0, 0.0, 1.0))] * 75, sigma=4)
    t = np.arange(75) / 30
    frozen = measured(scan(encoded([picture] * 75, tmp_path / "frozen.mp4", crf), t), t)
    assert frozen["freeze_share"] > 0.95
    assert frozen["static_share"] >= 0.5  # a key frame's redrawing may fall between the two frames of a sample
    living = scan(encoded(sensor, tmp_path / "living.mp4", crf), t) if crf < 38 else None  # at 38 x264 leaves nothing of the noise
    assert living is None or measured(living, t)["freeze_share"] < 0.3


def test_freeze_share_is_the_frozen_part_and_doubled_frames_are_none() -> None:
    moving = film(SMALL, MOVES["pan_left"], seconds=1)
    signals, t = scan_film(moving + [moving[-1]] * 30)
    assert measured(signals, t)["freeze_share"] == pytest.approx(0.5, abs=0.02)
    for slow in (1, 20):
        steps = film(SMALL, lambda t, slow=slow: (0.08 * t / slow, 0.0, 1.0), seconds=1)
        doubled, t = scan_film([frame for frame in steps for _ in (0, 1)], fps=60)
        assert measured(doubled, t)["freeze_share"] == 0


def test_one_small_mover_makes_a_still_view_living() -> None:
    frames = noisy([look(SIZES[1], (0.0, 0.0, 1.0))] * 36, sigma=2)
    empty, t = scan_film(frames)
    assert measured(empty, t)["static_share"] == 1
    for i, frame in enumerate(frames):
        frame[300:380, 200 + 4 * i : 240 + 4 * i] = 40  # a person far away: 0.35 % of the picture, 9 % of the width a second
    living, _ = scan_film(frames)
    assert measured(living, t)["static_share"] == 0
    assert measured(living, t)["camera_motion"] == "static"


@pytest.mark.parametrize("source", ["bgs__video03", "intel__car-detection", "sam2__05_default_juggle"])
def test_real_clips_frozen_shaky_and_clean_are_far_apart(data_dir: Path, source: str) -> None:
    found: dict[str, Measured] = {}
    for damage in ("clean", "frozen", "shaky"):
        with av.open(str(data_dir / "quality" / f"{source}__{damage}.mp4")) as video:
            stream = video.streams.video[0]
            frames = [frame for frame, _ in zip(video.decode(stream), range(75), strict=False)]
            t = np.array([float((frame.pts - frames[0].pts) * stream.time_base) for frame in frames])
        found[damage] = measured(scan(frames, t), t)
    assert found["frozen"]["freeze_share"] > 0.95 and found["clean"]["freeze_share"] < 0.5
    assert found["shaky"]["camera_motion"] == "shaky" and found["clean"]["camera_motion"] != "shaky"
    assert found["shaky"]["shake"] > 10 * found["clean"]["shake"]
    assert found["clean"]["static_share"] < 0.9
