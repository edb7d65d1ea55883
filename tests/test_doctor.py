"""The doctor, against a machine it can be told the truth about: real servers, real folders, real packages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import daft
import pytest

from rushes import doctor
from rushes.doctor import Finding, examine
from rushes.recipe import CaptionSettings, Recipe, ScanSettings


def named(findings: list[Finding], name: str) -> Finding:
    (only,) = [f for f in findings if f.name == name]
    return only


def asking(base_url: str | None) -> Recipe:
    return Recipe(captions=CaptionSettings(engine="openai", base_url=base_url, model="any"))


@pytest.fixture(autouse=True)
def _engine_is_asked_for_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting Daft costs two CPU-seconds: only the tests about it do."""
    if "engine" not in request.node.name and "machine" not in request.node.name:
        monkeypatch.setattr(doctor, "START_DAFT", "print(True)")


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """An HTTP server that lists models under /v1 to those with the key "right", and what it was asked."""
    asked: list[tuple[str, str | None]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = self.headers.get("Authorization")
            asked.append((self.path, key))
            code = 404 if self.path != "/v1/models" else 200 if key == "Bearer right" else 401
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()
        thread.join()


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


@pytest.mark.parametrize(
    ("key", "path", "ok", "words"),
    [("right", "/v1", True, "answers"), ("wrong", "/v1", False, "refuses the key"), ("right", "", False, "end in /v1")],
    ids=["there", "wrong key", "wrong path"],
)
def test_the_caption_server_is_asked(
    server: tuple[str, list[tuple[str, str | None]]],
    key: str,
    path: str,
    ok: bool,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    found = named(examine(asking(server[0] + path), tmp_path), "captions")
    assert found.ok is ok
    assert words in found.what
    assert server[1] == [(f"{path}/models", f"Bearer {key}")]


def test_a_server_that_is_not_there_and_its_password_stays_hidden(tmp_path: Path) -> None:
    found = named(examine(asking("http://user:secret@127.0.0.1:9/v1"), tmp_path), "captions")
    assert found.ok is False
    assert "127.0.0.1:9/v1 does not answer" in found.what
    assert "secret" not in found.what + found.mend


def test_no_server_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert "OPENAI_BASE_URL" in named(examine(asking(None), tmp_path), "captions").mend


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
