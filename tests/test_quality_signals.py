"""Sharpness, exposure, noise, blockiness, texture and letterbox against scenes whose truth is known by construction."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from footage import Clip, render
from rushes.media.batch import batch
from rushes.media.views import Shape, Shrinker, Views
from rushes.recipe import Recipe
from rushes.scan.blocks import blockiness
from rushes.scan.crops import crops
from rushes.scan.exposure import Exposure
from rushes.scan.grid import Grid
from rushes.scan.levels import levels
from rushes.scan.noise import noise_sigma

F32 = npt.NDArray[np.float32]
SIZES = [pytest.param((640, 360), id="360p"), pytest.param((1280, 720), id="720p"), pytest.param((1920, 1080), id="1080p")]
MASTER = (1920, 1080)


@pytest.fixture(scope="module")
def room() -> F32:
    """A room in grey levels 30..225 at 1080p: furniture with sharp edges, a textured floor, a plain wall."""
    rng = np.random.default_rng(5)
    width, height = MASTER
    image = np.full((height, width), 150, np.float32)
    floor = cv2.resize(rng.random((90, 320), np.float32), (width, height // 2), interpolation=cv2.INTER_CUBIC)
    image[height // 2 :] = 60 + 90 * floor
    for _ in range(40):
        x, y = int(rng.integers(0, width)), int(rng.integers(height // 4, height))
        size, grey = int(rng.integers(40, 160)), float(rng.integers(30, 225))
        points = (rng.random((5, 2)) * size + (x, y)).astype(np.int32)
        cv2.fillPoly(image, [points], grey, lineType=cv2.LINE_AA)
    return image


def at_size(image: F32, size: tuple[int, int]) -> F32:
    """The same scene as a smaller camera sees it."""
    return image if size == MASTER else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def picture(levels: F32, pixels: str = "yuv420p") -> av.VideoFrame:
    """Full-range grey levels as a grey video frame, rounded to the codes of its format and range."""
    full, deep = pixels == "yuvj420p", pixels.endswith("10le")
    codes = np.clip(levels, 0, 255) if full else 16 + np.clip(levels, 0, 255) * 219 / 255
    kind, scale = (np.uint16, 4) if deep else (np.uint8, 1)
    luma = np.round(codes * scale).astype(kind)
    chroma = np.full((luma.shape[0] // 2, luma.shape[1]), 128 * scale, kind)
    return av.VideoFrame.from_ndarray(np.concatenate((luma, chroma)), pixels)


def views(levels: F32, pixels: str = "yuv420p") -> Views:
    frame = picture(levels, pixels)
    return Views(frame, 0, 0.0, Shrinker(Shape.of(frame.width, frame.height)), full_range=pixels == "yuvj420p")


def grid(levels: F32, pixels: str = "yuv420p") -> dict[str, float]:
    meter = Grid()
    meter.push(views(levels, pixels), True)
    return {name: float(values[0]) for name, values in meter.finish().items()}


def exposure(levels: F32, pixels: str = "yuv420p", *, hdr: bool = False) -> dict[str, float]:
    view = views(levels, pixels)
    meter = Exposure(hdr=hdr)
    meter.push(batch(np.zeros(1), view.motion[None], view.colour[None]))
    return {name: float(values[0]) for name, values in meter.finish().items()}


def noisy(levels: F32, sigma: float, seed: int = 0) -> F32:
    return levels + np.random.default_rng(seed).normal(0, sigma, levels.shape).astype(np.float32)


def blurred(levels: F32, sigma: float) -> F32:
    return cv2.GaussianBlur(levels, (0, 0), sigma) if sigma else levels


@pytest.mark.parametrize("size", SIZES)
def test_sharpness_falls_with_blur(room: F32, size: tuple[int, int]) -> None:
    scene = at_size(room, size)
    seen = [grid(blurred(scene, sigma * size[0] / 640))["sharpness"] for sigma in (0, 0.5, 1, 2, 3, 4, 6)]
    assert all(sharp > soft for sharp, soft in itertools.pairwise(seen)), seen
    assert seen[0] > 2.5 * seen[5]


def test_sharpness_means_the_same_at_every_size(room: F32) -> None:
    for sigma in (0.0, 6.0):
        seen = [grid(at_size(blurred(room, sigma), size.values[0]))["sharpness"] for size in SIZES]
        assert max(seen) / min(seen) < 1.10, (sigma, seen)


@pytest.mark.parametrize("gain", [0.5, 0.25, 0.15])
@pytest.mark.parametrize("lift", [0, 120])
def test_sharpness_does_not_know_light_or_contrast(room: F32, gain: float, lift: float) -> None:
    scene = at_size(room, (640, 360))
    assert grid(scene * gain + lift)["sharpness"] == pytest.approx(grid(scene)["sharpness"], rel=0.10)


def test_noise_does_not_make_blur_sharp(room: F32) -> None:
    scene = at_size(room, (640, 360))
    soft = blurred(scene, 5)
    assert grid(noisy(soft, 5))["sharpness"] < 0.6 * grid(scene)["sharpness"]
    assert grid(noisy(scene, 10))["sharpness"] == pytest.approx(grid(scene)["sharpness"], rel=0.15)


def sharpness(pictures: list[F32], step_s: float = 1.0) -> list[float]:
    """The sharpness of the samples of a clip, as its measure takes them."""
    meter = Grid()
    for i, grey in enumerate(pictures):
        seen = views(grey)
        seen.t = i * step_s
        meter.push(seen, True)
    made = meter.finish()
    return np.fmin(np.fmin(made["sharpness"], made["sharpness_before"]), made["sharpness_after"]).tolist()  # type: ignore[no-any-return]


def display(levels: F32, seconds: int) -> F32:
    """The picture under a pilot's instruments and a running clock, in white with a dark shadow."""
    out = np.clip(levels, 0, 255).astype(np.uint8)
    lines = [f"21:00:{seconds:02}", *(f"SPD {k}2.4 ALT 10{k}" for k in range(5))]
    for k, line in enumerate(lines):
        for x in (12, 440):
            for offset, grey in ((1, 10), (0, 250)):
                cv2.putText(out, line, (x + offset, 40 + 50 * k + offset), cv2.FONT_HERSHEY_SIMPLEX, 0.6, grey, 1, cv2.LINE_AA)
    return out.astype(np.float32)


def test_a_display_over_the_picture_is_not_what_is_sharp(room: F32) -> None:
    scene = at_size(room, (1280, 720))
    flight = [scene[200 + 30 * i : 560 + 30 * i, 60 * i : 60 * i + 640] for i in range(5)]
    soft = [blurred(part, 5) for part in flight]
    plain = sharpness(soft)
    assert max(plain) < 0.35 < 0.8 < min(grid(display(part, 0))["sharpness"] for part in soft)
    shown = sharpness([display(part, i) for i, part in enumerate(soft)])
    assert shown == pytest.approx(plain, abs=0.08), "the first and the last as well"
    assert sharpness([display(part, i) for i, part in enumerate(soft)], step_s=2.0)[0] > 0.8, "frames far apart are not compared"


def test_what_is_sharp_below_a_display_stays_sharp(room: F32) -> None:
    scene = at_size(room, (1280, 720))
    flight = [display(scene[200 + 30 * i : 560 + 30 * i, 60 * i : 60 * i + 640], i) for i in range(5)]
    assert sharpness(flight) == [grid(part)["sharpness"] for part in flight]


def test_a_camera_that_stands_still_keeps_the_sharpness_of_its_scene(room: F32) -> None:
    scene = at_size(room, (640, 360))
    alone = grid(scene)["sharpness"]
    assert sharpness([scene] * 3) == [alone] * 3
    passing = []
    for i in range(4):  # most of the picture is filled by something out of focus that moves
        picture = scene.copy()
        picture[:, 240:] = blurred(np.roll(scene, 77 * i, 0), 8)[:, 240:]
        passing.append(picture)
    assert min(sharpness(passing)) > 0.9 * alone


def test_a_strip_lower_than_a_block_has_no_sharpness(room: F32) -> None:
    """At 320 px it is 8 px high, which is less than one block."""
    for strip in (room[:16, :640], room[:640, :16]):
        assert np.isnan(sharpness([strip, strip + 1, strip + 2])).all()


def test_nothing_to_judge_is_not_blur() -> None:
    wall = grid(np.full((360, 640), 120, np.float32))
    assert np.isnan(wall["sharpness"])
    assert wall["texture"] == 0.0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("sigma", "low", "high"), [(0, 0, 0.5), (3, 2.7, 3.3), (10, 9, 11), (20, 18, 22)])
def test_noise_measures_its_sigma(room: F32, size: tuple[int, int], sigma: float, low: float, high: float) -> None:
    assert low <= grid(noisy(at_size(room, size) * 0.7 + 35, sigma))["noise"] <= high


@pytest.mark.parametrize("pixels", ["yuvj420p", "yuv420p10le"])
def test_range_and_depth_cancel(room: F32, pixels: str) -> None:
    scene = noisy(at_size(room, (640, 360)) * 0.7 + 35, 6)
    plain, other = grid(scene), grid(scene, pixels)
    for name in ("sharpness", "noise", "texture", "letterbox"):
        assert other[name] == pytest.approx(plain[name], rel=0.05, abs=0.01), name
    light, same = exposure(scene), exposure(scene, pixels)
    assert same["luma_mean"] == pytest.approx(light["luma_mean"], abs=1.0)
    assert same["luma_dark"] == pytest.approx(light["luma_dark"], abs=0.02)


def test_noise_of_one_field_only_is_read_from_that_field(footage: Callable[[str, Callable[[Path], Clip]], Clip]) -> None:
    def field(i: int) -> npt.NDArray[np.uint8]:
        level = np.full((360, 640), 120, np.float32)
        if i % 2 == 0:
            level = noisy(level, 20, seed=i)
        return np.repeat(np.clip(level, 0, 255).astype(np.uint8)[..., None], 3, 2)

    quiet = {"crf": "1", "preset": "ultrafast"}
    clip = footage("half_noise.mp4", lambda path: render(path, (field, 4), interlaced=True, numbered=False, options=quiet))
    meter = Grid()
    with av.open(str(clip.path)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            meter.push(Views(frame, i, i / 25, Shrinker(Shape.of(frame.width, frame.height)), full_range=False), True)
    assert meter.finish()["noise"] == pytest.approx(20, rel=0.10)


@pytest.mark.parametrize(
    ("full_range", "bits", "black", "white"),
    [(False, 8, 16, 235), (True, 8, 0, 255), (False, 10, 64, 940), (True, 10, 0, 1023), (False, 12, 256, 3760), (True, 12, 0, 4095)],
)
def test_black_is_0_and_white_is_255(full_range: bool, bits: int, black: int, white: int) -> None:
    codes = np.array([[black, white]], np.uint8 if bits == 8 else np.uint16)
    assert levels(codes, full_range=full_range, bits=bits) == pytest.approx(np.array([[0.0, 255.0]]), abs=1e-3)


def test_tiles_of_another_pitch_are_no_codec_blocks() -> None:
    shades = np.random.default_rng(2).integers(100, 140, (28, 50)).astype(np.float32)

    def tiled(pitch: int) -> float:
        return grid(np.kron(shades, np.ones((pitch, pitch), np.float32))[:360, :640])["blockiness"]

    assert abs(tiled(13)) < 0.1 * tiled(16)
    assert tiled(16) > 0.2


@pytest.mark.parametrize("size", SIZES)
def test_blocks_on_the_grid_are_seen_and_only_there(room: F32, size: tuple[int, int]) -> None:
    scene = noisy(at_size(room, size), 4)
    means = cv2.resize(scene, (size[0] // 8, size[1] // 8), interpolation=cv2.INTER_AREA)
    tiles = cv2.resize(means, size, interpolation=cv2.INTER_NEAREST)
    on_grid = grid(tiles)["blockiness"]
    assert abs(grid(scene)["blockiness"]) < 0.1 * on_grid
    assert on_grid > 0.2
    for beside in (1, 2, 4, 6, 7):
        assert grid(np.roll(tiles, (beside, beside), (0, 1)))["blockiness"] < 0.2 * on_grid, beside


@pytest.mark.parametrize("slope", [1.0, 1.5, 2.5])
@pytest.mark.parametrize("fold", [0, 3, 4])
def test_steep_shading_is_no_step(slope: float, fold: int) -> None:
    """Shading that rises and falls, by so many grey levels a pixel, with steps of 2 levels between blocks at most, as codecs at a good rate
    leave them. Neighbours then differ by 8 to 20 levels, on the lattice and off it, but for those that hold a fold.
    """
    rng = np.random.default_rng(1)
    ramp = 20 + slope * np.abs((np.arange(fold, 640 + fold) % 160) - 80)
    steps = np.kron(rng.uniform(-1, 1, (45, 80)), np.ones((8, 8)))
    bound = Recipe().rules["blocky"].max
    assert bound is not None
    assert abs(grid(noisy((ramp + steps).astype(np.float32), 1))["blockiness"]) < 0.5 * bound


@pytest.mark.parametrize(
    ("codec", "good", "poor"),
    [("h264", {"crf": "20"}, {"crf": "45"}), ("mpeg4", {"qmin": "4", "qmax": "4"}, {"qmin": "28", "qmax": "28"})],
)
def test_blocks_of_a_real_encoder(
    footage: Callable[[str, Callable[[Path], Clip]], Clip], codec: str, good: dict[str, str], poor: dict[str, str]
) -> None:
    """Slow shading under a moving camera. At a good rate MPEG-4 leaves steps of a few codes between blocks, which nobody sees."""
    sky = 30 + 195 * cv2.resize(np.random.default_rng(3).random((22, 40), np.float32), (640, 360), interpolation=cv2.INTER_CUBIC)

    def pan(i: int) -> npt.NDArray[np.uint8]:
        scene = noisy(np.roll(sky, 3 * i, 1), 2, seed=i)
        return np.repeat(np.clip(scene, 0, 255).astype(np.uint8)[..., None], 3, 2)

    seen = []
    for name, settings in (("good", good), ("poor", poor)):
        how = settings | ({"preset": "veryfast"} if codec == "h264" else {})
        clip = footage(f"sky_{codec}_{name}.mp4", lambda path, s=how: render(path, (pan, 9), numbered=False, codec=codec, options=s))  # type: ignore[misc]
        with av.open(str(clip.path)) as container:
            frames = list(container.decode(video=0))[2::3]
        planes = [Views(f, 0, 0.0, Shrinker(Shape.of(640, 360)), full_range=False).native for f in frames]
        samples = [crops(plane, full_range=False, bits=8, interlaced=False) for plane in planes if plane is not None]
        seen.append(float(np.mean([blockiness(sample) for sample in samples if sample is not None])))
    bound = Recipe().rules["blocky"].max
    assert bound is not None
    assert seen[0] < 0.5 * bound and seen[1] > 2 * bound, seen


@pytest.mark.parametrize("size", SIZES)
def test_exposure_shares_are_exact(size: tuple[int, int]) -> None:
    width, height = size
    for pixels in ("yuv420p", "yuvj420p"):
        scene = np.full((height, width), 120, np.float32)
        scene[:, : width // 4] = 10
        scene[:, width // 2 :] = 255
        seen = exposure(scene, pixels)
        assert seen["luma_dark"] == pytest.approx(0.25, abs=0.01)
        assert seen["luma_clipped"] == pytest.approx(0.5, abs=0.01)
        assert seen["luma_mean"] == pytest.approx(scene.mean(), abs=1.5)
        assert seen["luma_std"] == pytest.approx(scene.std(), abs=2.0)


@pytest.mark.parametrize(("level", "dark", "clipped"), [(0, 1, 0), (29, 1, 0), (35, 0, 0), (247, 0, 0), (252, 0, 1), (255, 0, 1)])
def test_exposure_levels(level: float, dark: float, clipped: float) -> None:
    seen = exposure(np.full((72, 128), level, np.float32))
    assert (seen["luma_dark"], seen["luma_clipped"]) == (dark, clipped)


def test_exposure_shares_of_hdr_are_not_measured() -> None:
    seen = exposure(np.zeros((72, 128), np.float32), hdr=True)
    assert np.isnan(seen["luma_dark"]) and np.isnan(seen["luma_clipped"])
    assert seen["luma_mean"] == 0.0


def test_exposure_keeps_the_order_of_frames_over_batches() -> None:
    meter = Exposure(hdr=False)
    codes = np.arange(16, 236, dtype=np.uint8)
    for part in np.array_split(codes, 4):
        meter.push(
            batch(np.zeros(len(part)), np.repeat(part, 72 * 128).reshape(-1, 72, 128), np.full((len(part), 2, 36, 64), 128, np.uint8))
        )
    signals = meter.finish()
    assert signals["luma_mean"].dtype == np.float32
    assert signals["luma_mean"] == pytest.approx((codes - 16.0) * 255 / 219, abs=1e-3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("top", "side"), [(0, 0), (1 / 9, 0), (0, 1 / 8), (1 / 9, 1 / 16)])
def test_letterbox_share(room: F32, size: tuple[int, int], top: float, side: float) -> None:
    scene = at_size(room, size).copy()
    bar_h, bar_w = round(size[1] * top), round(size[0] * side)
    scene[:bar_h] = scene[size[1] - bar_h :] = 0
    scene[:, :bar_w] = scene[:, size[0] - bar_w :] = 0
    assert grid(noisy(scene, 0.7))["letterbox"] == pytest.approx(1 - (1 - 2 * top) * (1 - 2 * side), abs=0.01)


def test_night_is_no_letterbox(room: F32) -> None:
    night = at_size(room, (640, 360)) * 0.1
    night[:90] = noisy(np.full((90, 640), 12, np.float32), 1)
    assert grid(night)["letterbox"] == 0.0
    stars = night.copy()
    stars[:90] = 3
    stars[4:90:8, ::24] = 90
    stars[0, ::24] = 90
    assert grid(stars)["letterbox"] == 0.0
    assert np.isnan(grid(np.zeros((360, 640), np.float32))["letterbox"])


@pytest.mark.parametrize("size", SIZES)
def test_texture_of_a_room_and_of_a_wall(room: F32, size: tuple[int, int]) -> None:
    height, width = size[1], size[0]
    wall = noisy(np.linspace(110, 150, width, dtype=np.float32)[None].repeat(height, 0), 3)
    half = wall.copy()
    half[height // 2 :] = at_size(room, size)[height // 2 :]
    assert grid(wall)["texture"] < 0.02
    assert 0.4 < grid(half)["texture"] < 0.6
    assert grid(at_size(room, size))["texture"] > 0.5


def test_off_the_grid_nothing_is_measured(room: F32) -> None:
    meter = Grid()
    view = views(at_size(room, (640, 360)))
    for on_grid in (True, False, False, True):
        meter.push(view, on_grid)
    for name, values in meter.finish().items():
        assert values.dtype == np.float32, name
        compared = name in ("sharpness_before", "sharpness_after")  # and nothing is drawn over the picture
        assert np.isnan(values).tolist() == [compared, True, True, compared], name


def test_rgb_has_no_plane_for_noise(room: F32) -> None:
    scene = np.repeat(at_size(room, (640, 360)).astype(np.uint8)[..., None], 3, 2)
    meter = Grid()
    meter.push(Views(av.VideoFrame.from_ndarray(scene, "rgb24"), 0, 0.0, Shrinker(Shape.of(640, 360)), full_range=True), True)
    seen = {name: float(values[0]) for name, values in meter.finish().items()}
    assert np.isnan(seen["noise"]) and np.isnan(seen["blockiness"])
    assert seen["sharpness"] == pytest.approx(grid(at_size(room, (640, 360)))["sharpness"], rel=0.1)


def test_a_small_picture_is_looked_at_whole() -> None:
    """At the size of a phone's video of 2004 a step in a corner counts, and grain there is found calm where all else is texture."""
    plane = np.full((144, 176), 128, np.uint8)
    plane[:64, :64] = np.kron(np.indices((8, 8)).sum(0) % 2 * 24 + 100, np.ones((8, 8)))
    sample = crops(plane, full_range=True, bits=8, interlaced=False)
    assert sample is not None and sample.shape == (144, 1, 176)
    at_rim = 2 * 4  # half of the tiles at the rim are 4 levels from what is beside them, the others 28
    assert blockiness(sample) == pytest.approx((2 * 7 * 8 + at_rim) / (17 * 22 + 18 * 21))
    rough = np.random.default_rng(1).integers(0, 255, (144, 176)).astype(np.uint8)
    rough[:, 144:] = 128
    sample = crops(rough, full_range=True, bits=8, interlaced=False)
    assert sample is not None and noise_sigma(sample) < 5


@pytest.mark.parametrize("size", [(16, 16), (64, 48), (96, 96), (176, 144), (362, 640)])
def test_small_and_odd_frames_are_measured(size: tuple[int, int]) -> None:
    scene = noisy(np.full((size[1], size[0]), 128, np.float32), 10)
    plane = picture(scene).to_ndarray()[: size[1]]
    sample = crops(plane, full_range=False, bits=8, interlaced=False)
    assert sample is not None
    assert noise_sigma(sample) == pytest.approx(10, rel=0.25)
    assert crops(plane[:15], full_range=False, bits=8, interlaced=False) is None
