"""Measures of light, sharpness, damage and texture from hand-made signals, and their separation on the shared damaged clips."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import numpy.typing as npt
import pytest

from rushes.measures import exposure, noise, sharpness, texture
from rushes.measures.clip_time import ClipTime
from rushes.media.batch import batch
from rushes.media.views import Shape, Shrinker, Views
from rushes.scan.exposure import Exposure
from rushes.scan.grid import Grid

FAMILIES = (sharpness, exposure, noise, texture)
NAN = float("nan")


def signal(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


SIGNALS = {
    "sharpness": signal(0.9, NAN, 0.2, NAN, 0.3, NAN, NAN),
    "sharpness_before": np.full(7, NAN, np.float32),
    "sharpness_after": np.full(7, NAN, np.float32),
    "texture": signal(0.5, NAN, 0.7, NAN, 0.0, NAN, NAN),
    "letterbox": signal(0.25, NAN, 0.25, NAN, NAN, NAN, NAN),
    "noise": signal(2, NAN, 4, NAN, 12, NAN, NAN),
    "blockiness": signal(0.02, NAN, -0.01, NAN, -0.05, NAN, NAN),
    "luma_mean": signal(10, 20, 30, 40, 50, 60, 70),
    "luma_std": signal(1, 2, 3, 4, 5, 6, 7),
    "luma_dark": signal(1, 1, 0, 0, 0, 0, 0.5),
    "luma_clipped": signal(0, 0, 0, 0.4, 0.2, 0, 0),
}


def all_measures(at: slice, signals: dict[str, npt.NDArray[np.float32]] = SIGNALS) -> dict[str, float | None]:
    return {name: value for family in FAMILIES for name, value in family.measure(signals, clip(at, signals)).items()}


def clip(at: slice, signals: dict[str, npt.NDArray[np.float32]]) -> ClipTime:
    """A clip of frames that are shown for 40 ms each."""
    t = np.arange(len(signals["luma_mean"]) + 1) * 0.04
    stop = len(t) - 1 if at.stop is None else at.stop
    return ClipTime(slice(at.start, stop), t[at.start : stop], float(t[stop]))


def test_means_are_over_the_measured_frames_of_the_clip_only() -> None:
    seen = all_measures(slice(0, 4))
    expected = {
        "sharpness": 0.55, "blurred_share": 0.5, "luma_mean": 25.0, "contrast": 2.5, "dark_share": 0.5,
        "clipped_share": 0.1, "noise": 3.0, "blockiness": 0.005, "texture": 0.6, "letterbox": 0.25,
    }  # fmt: skip
    assert seen == pytest.approx(expected)
    assert all_measures(slice(0, 7))["blurred_share"] == pytest.approx(2 / 3)


def test_a_display_is_told_by_the_samples_of_the_clip_alone() -> None:
    told = {"sharpness_before": signal(0.1, NAN, NAN, NAN, 0.2, NAN, NAN), "sharpness_after": signal(0.4, NAN, NAN, NAN, 0.1, NAN, NAN)}
    assert all_measures(slice(0, 7), SIGNALS | told)["sharpness"] == pytest.approx((0.4 + 0.2 + 0.2) / 3)
    assert all_measures(slice(0, 2), SIGNALS | told)["sharpness"] == pytest.approx(0.9)


def test_a_clip_between_two_grid_points_has_light_and_no_grid_measure() -> None:
    seen = all_measures(slice(5, 7))
    light = {"luma_mean": 65.0, "contrast": 6.5, "dark_share": 0.25, "clipped_share": 0.0}
    assert {name: value for name, value in seen.items() if value is not None} == pytest.approx(light)


def test_no_negative_blockiness_and_no_letterbox_of_black() -> None:
    seen = all_measures(slice(4, 5))
    assert seen["blockiness"] == 0.0
    assert seen["letterbox"] is None


def test_a_picture_counts_for_as_long_as_it_is_shown() -> None:
    """Of three pictures the second is shown for nine tenths of the time, and at nine of ten points of the grid."""
    signals = {name: row[[0, 2, 4]] for name, row in SIGNALS.items()}
    seen = {
        name: value
        for family in FAMILIES
        for name, value in family.measure(signals, ClipTime(slice(0, 3), np.array([0.0, 0.5, 9.5]), 10.0)).items()
    }
    light = {"luma_mean": 0.05 * 10 + 0.9 * 30 + 0.05 * 50, "dark_share": 0.05, "contrast": 0.05 * 1 + 0.9 * 3 + 0.05 * 5}
    assert {name: seen[name] for name in light} == pytest.approx(light)
    weights = ClipTime(slice(0, 3), np.array([0.0, 0.5, 9.5]), 12.0).sample_weights(np.array([True, True, True]))
    assert weights.tolist() == [1.0, 9.0, 2.0]
    assert seen["texture"] == pytest.approx((0.5 + 9 * 0.7 + 0.0) / 11)  # the last one is a sample by itself


def test_hdr_has_no_shares() -> None:
    hdr = SIGNALS | {"luma_dark": np.full(7, NAN, np.float32), "luma_clipped": np.full(7, NAN, np.float32)}
    seen = all_measures(slice(0, 7), hdr)
    assert seen["dark_share"] is None and seen["clipped_share"] is None
    assert seen["luma_mean"] == 40.0


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__.rsplit(".", 1)[1])
def test_columns_say_what_is_given(family: ModuleType) -> None:
    for at in (slice(0, 7), slice(0, 1), slice(5, 7)):
        seen = family.measure(SIGNALS, clip(at, SIGNALS))
        assert list(seen) == [column.name for column in family.COLUMNS]
        for column in family.COLUMNS:
            value = seen[column.name]
            if value is not None:
                assert (column.low is None or value >= column.low) and (column.high is None or value <= column.high), column.name
    for column in family.COLUMNS:
        assert column.unit and column.doc and column.source, column.name


@pytest.fixture(scope="module")
def measured(data_dir: Path) -> Callable[[str], dict[str, dict[str, float | None]]]:
    """Measures of the shared clips with one damage, by source; the first second of each, decoded once."""
    truth = json.loads((data_dir / "quality" / "truth.json").read_text())
    done: dict[str, dict[str, dict[str, float | None]]] = {}

    def of(damage: str) -> dict[str, dict[str, float | None]]:
        if damage not in done:
            done[damage] = {row["source"]: _measure(data_dir / "quality" / row["file"]) for row in truth if row["damage"] == damage}
        return done[damage]

    return of


def _measure(path: Path, n_frames: int = 26) -> dict[str, float | None]:
    meter, light = Grid(), Exposure(hdr=False)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        shrinker = Shrinker(Shape.of(stream.width, stream.height))
        for i, frame in zip(range(n_frames), container.decode(stream), strict=False):
            views = Views(frame, i, i / 25, shrinker, full_range=False)
            meter.push(views, i % 12 == 0)
            light.push(batch(np.array([views.t]), views.motion[None].copy(), views.colour[None].copy()))
    return all_measures(slice(0, None), meter.finish() | light.finish())


@pytest.mark.parametrize(
    ("damage", "column", "ratio"),
    [("blurred", "sharpness", 0.5), ("dark", "luma_mean", 0.25), ("blocky", "blockiness", 1.2), ("overexposed", "clipped_share", 2.0)],
)
def test_damage_moves_its_column_against_the_clean_source(
    measured: Callable[[str], dict[str, dict[str, float | None]]], damage: str, column: str, ratio: float
) -> None:
    clean, bad = measured("clean"), measured(damage)
    assert len(bad) == 10
    for source, values in bad.items():
        after, before = values[column], clean[source][column]
        assert after is not None and before is not None
        assert after < ratio * before if ratio < 1 else after > ratio * before, (source, before, after)


def test_noisy_clips_read_noisier_than_every_clean_one(measured: Callable[[str], dict[str, dict[str, float | None]]]) -> None:
    clean = [values["noise"] or 0.0 for values in measured("clean").values()]
    assert all((values["noise"] or 0.0) > 2 * max(clean) for values in measured("noisy").values())


@pytest.fixture
def ruler(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The calibration script, which is not part of the package."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent))
    return importlib.import_module("benchmarks.calibrate")


@pytest.mark.parametrize(
    ("bad", "clean", "bound"),
    [([5, 6], [1, 2], 3.5), ([5, 6, 1.5], [1, 2], 3.5), ([9, 9, 9], [1, 2, 10], 5.5), ([], [1], None), ([1], [], None), ([1], [1], None)],
)
def test_the_fitted_bound_lies_in_the_widest_best_gap(ruler: ModuleType, bad: list[float], clean: list[float], bound: float | None) -> None:
    assert ruler.fit(bad, clean) == bound


def test_a_source_does_not_choose_its_own_bound(ruler: ModuleType) -> None:
    rule = ruler.Judged("blurred", "sharpness", "min", ("blurred",))
    values = {"a": (0.9, 0.2), "b": (0.8, 0.3), "c": (0.4, 0.35)}
    clips = [
        ruler.Clip(source, damage, {"sharpness": value})
        for source, pair in values.items()
        for damage, value in zip(("clean", "blurred"), pair, strict=True)
    ]
    assert rule.bound(ruler.fitted(clips, rule)) == pytest.approx(0.375)
    assert rule.bound(ruler.fitted(clips, rule, "c")) == pytest.approx(0.55)
    bounds = [ruler.dropped_by(clip, lambda judged, source: ruler.fitted(clips, judged, source), [rule]) for clip in clips]
    assert bounds == [[], ["blurred"], [], ["blurred"], ["blurred"], ["blurred"]]


def test_what_was_not_measured_is_not_dropped(ruler: ModuleType) -> None:
    rule = ruler.Judged("blurred", "sharpness", "min", ("blurred",))
    clip = ruler.Clip("a", "clean", {"sharpness": None})
    assert ruler.dropped_by(clip, lambda judged, source: -0.5, [rule]) == []
    assert ruler.dropped_by(ruler.Clip("a", "clean", {"sharpness": 0.49}), lambda judged, source: -0.5, [rule]) == ["blurred"]
    assert ruler.dropped_by(ruler.Clip("a", "clean", {"sharpness": 0.5}), lambda judged, source: -0.5, [rule]) == []
