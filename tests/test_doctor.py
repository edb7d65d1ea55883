"""The doctor, against a machine it can be told the truth about: real servers, real folders, real packages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import daft
import pytest

from caption_server import Running, start_server
from rushes import doctor
from rushes.doctor import Finding, examine
from rushes.recipe import Recipe, ScanSettings
from rushes.recipe_captions import CaptionSettings


def named(findings: list[Finding], name: str) -> Finding:
    (only,) = [f for f in findings if f.name == name]
    return only


def asking(base_url: str | None) -> Recipe:
    return Recipe(captions=CaptionSettings(engine="openai", base_url=base_url, model="tiny-vlm"))


@pytest.fixture(autouse=True)
def _engine_is_asked_for_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting Daft costs two CPU-seconds: only the tests about it do."""
    if "engine" not in request.node.name and "machine" not in request.node.name:
        monkeypatch.setattr(doctor, "START_DAFT", "print(True)")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with start_server(key="right") as server:
        yield server


@pytest.fixture
def server(running: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A caption server that takes the key "right", which this process has."""
    running.control()
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    return running


def test_this_machine_is_found_able(tmp_path: Path) -> None:
    findings = examine(Recipe(), tmp_path)
    assert {f.name for f in findings if f.ok is False} <= {"disk", "memory", "shared memory"}
    assert named(findings, "daft").what.startswith(daft.__version__)
    assert named(findings, "decoders").what.split() == list(doctor.DECODERS)
    assert all(bool(f.mend) == (f.ok is False) for f in findings)


def test_a_missing_codec_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "DECODERS", ("h264", "no_such_codec"))
    found = named(examine(Recipe(), tmp_path), "decoders")
    assert (found.ok, found.what) == (False, "lacking no_such_codec")


def test_another_version_of_the_engine_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_version", lambda _: "0.0.1")
    found = named(examine(Recipe(), tmp_path), "daft")
    assert found.ok is False
    assert "0.7.26" in found.mend


def test_more_workers_than_cores_is_a_fault(tmp_path: Path) -> None:
    assert named(examine(Recipe().with_overrides(["resources.scan.concurrency=999"]), tmp_path), "cores").ok is False


def test_an_extra_is_missed_only_by_a_recipe_that_needs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"scenedetect": ("no_such_module", "scan.detectors"), "s3": ("no_such_module", "s3://")})
    assert named(examine(Recipe(), tmp_path), "extra scenedetect").ok is None
    found = named(examine(Recipe(scan=ScanSettings(detectors=("hash",))), tmp_path), "extra scenedetect")
    assert (found.ok, found.mend) == (False, "pip install 'rushes[scenedetect]'")


def test_the_caption_server_is_asked_for_a_completion_about_test_pictures(server: Running, tmp_path: Path) -> None:
    found = named(examine(asking(server.base_url).with_overrides(["frames.per_clip=3"]), tmp_path), "captions")
    assert (found.ok, found.what) == (True, "tiny-vlm answers about 3 test pictures")
    stats = server.stats()
    assert [len(seen["images"]) for seen in stats["tests"]] == [3] and stats["requests"] == []


@pytest.mark.parametrize(
    ("mode", "words", "mend"),
    [
        ("401", "refused the key", "OPENAI_API_KEY"),
        ("500", "is not there", "start it"),
        ("vllm_text_only", "takes no pictures", "captions.model"),
        ("login_page", "Sign in to Acme", "captions.base_url"),
        ("reasoning_only", "the model only thought", "enable_thinking = false"),
        ("no_images", "shown no pictures", "captions.model"),
    ],
)
def test_a_caption_server_that_only_lists_its_models_is_a_fault(server: Running, mode: str, words: str, mend: str, tmp_path: Path) -> None:
    server.control(mode=mode)
    found = named(examine(asking(server.base_url), tmp_path), "captions")
    assert found.ok is False
    assert words in found.what and mend in found.mend
    assert len(server.stats()["tests"]) == (3 if mode == "500" else 1)


def test_a_wrong_key_and_a_wrong_path_are_faults(server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"set captions.base_url to {server.base_url}" in named(examine(asking(server.root), tmp_path), "captions").mend
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key-1")
    found = named(examine(asking(server.base_url), tmp_path), "captions")
    assert found.ok is False and "refused the key" in found.what
    assert "wrong-key-1" not in found.what + found.mend


def test_a_server_that_is_not_there_and_its_password_stays_hidden(tmp_path: Path) -> None:
    found = named(examine(asking("http://user:secret@127.0.0.1:9/v1"), tmp_path), "captions")
    assert found.ok is False
    assert "127.0.0.1:9/v1 is not there" in found.what
    assert "secret" not in found.what + found.mend


def test_no_server_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert "OPENAI_BASE_URL" in named(examine(asking(None), tmp_path), "captions").mend


def test_scorers_are_named_with_the_licence_of_their_weights_and_their_models_are_loaded(tmp_path: Path) -> None:
    findings = examine(Recipe.parse({"scores": {"use": ["frame_scorers:Brightness"]}}), tmp_path)
    assert (
        named(findings, "scorer brightness").ok,
        "licence of the weights: none needed" in named(findings, "scorer brightness").what,
    ) == (
        None,
        True,
    )
    assert named(findings, "scores").ok is True and "CPU" in named(findings, "scores").what
    absent = named(examine(Recipe.parse({"scores": {"use": ["frame_scorers:Absent"]}}), tmp_path), "scores")
    assert absent.ok is False and absent.what == "the model nobody/has-it cannot be had"
    assert absent.mend == "set scores.encoder to a folder that has it"
    assert named(examine(Recipe(), tmp_path), "scores").ok is None


def test_the_engine_starts_with_telemetry_off_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAFT_ANALYTICS_ENABLED", "1")
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    assert doctor._engine().ok is True


@pytest.mark.parametrize(("code", "words"), [("print(False)", "telemetry is on"), ("import no_such_engine", "no_such_engine")])
def test_an_engine_that_reports_or_does_not_start_is_a_fault(code: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "START_DAFT", code)
    found = doctor._engine()
    assert found.ok is False
    assert words in found.what


def test_a_store_that_does_not_exist_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    assert str(tmp_path) in named(examine(Recipe(), tmp_path / "store" / "to" / "be"), "disk").what
