"""Captions through whole runs, by a real server in another process: what it is sent, and what becomes of a run when it goes away."""

from __future__ import annotations

import hashlib
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from caption_server import Running, start_server
from footage import render
from pictures import film
from rushes.engine.run_row import without_secrets
from rushes.recipe import Recipe
from stores import Reel, command, inline, parts_of, rows_of, seen, settings_of, start

SETTINGS = ("captions.engine=openai", "captions.model=tiny-vlm", "frames.per_clip=3", "rules.too_short.min=0.5")
STRIDE = ("shots.detector=stride", "shots.stride_s=1.2")
KEY = "sk-secret-0123456789"


@pytest.fixture
def server() -> Iterator[Running]:
    with start_server() as running:
        yield running


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films of 4.8 s: 24 clips of 1.2 s under the detector "stride"."""
    folder = tmp_path_factory.mktemp("films")
    for k in range(6):
        render(folder / f"{k}.mp4", film(192, 108, [120], seed=50 + k))
    return folder


def asked(url: str, *settings: str) -> list[str]:
    return settings_of(*SETTINGS, f"captions.base_url={url}", *settings)


def run(footage: Path, out: Path, server: Running, *options: str) -> Any:
    return inline("run", footage, "--out", out, *asked(server.base_url), *options)


def clips_of(out: Path, *settings: str) -> list[dict[str, Any]]:
    return seen(out, *SETTINGS, *settings).clips()


def test_the_server_sees_the_stored_bytes_of_each_clip_and_nothing_else(reel: Reel, tmp_path: Path, server: Running) -> None:
    out = tmp_path / "store"
    done = run(reel.folder, out, server)
    assert done.code == 0, done.err
    stats = server.stats()
    assert stats["violations"] == []
    stored = {(r["video_id"], r["pts"]): hashlib.sha256(r["jpeg"]).hexdigest() for r in rows_of(out, "frames")["frames"]}
    clips = clips_of(out)
    assert len(clips) == 6
    inside = {
        c["clip_id"]: [h for (v, p), h in sorted(stored.items()) if v == c["video_id"] and c["start_pts"] <= p < c["end_pts"]]
        for c in clips
    }
    sent = {tuple(r["images"]) for r in stats["requests"] if r["images"]}
    assert len(sent) == 6
    for c in clips:
        own = inside[c["clip_id"]]
        [mine] = [s for s in sent if set(s) <= set(own)]
        assert list(mine) == [h for h in own if h in mine], "in order of time"
        assert len(mine) == 3
        assert c["caption"] == f"A hall with 3 frames, first {mine[0][:12]}."
        assert c["caption_model"] == "tiny-vlm"
    [row] = seen(out, *SETTINGS).runs()
    assert (row["captions_made"], row["caption_requests"]) == (6, 6)


@pytest.mark.slow
def test_another_prompt_makes_captions_only_and_a_run_with_nothing_to_ask_needs_no_server(
    reel: Reel, tmp_path: Path, server: Running
) -> None:
    out, prompt = tmp_path / "store", "captions.prompt=short"
    assert run(reel.folder, out, server).code == 0
    before = rows_of(out)
    planned = inline("plan", reel.folder, "--out", out, "--json", *asked(server.base_url, prompt)).lines[0]
    assert [planned[s]["missing"] for s in ("scan", "frames", "shots", "measures", "captions")] == [0, 0, 0, 0, 6]
    assert run(reel.folder, out, server, "--set", prompt).code == 0
    row = seen(out, *SETTINGS, prompt).runs()[-1]
    assert (row["decoded_s"], row["videos_reused"], row["captions_made"]) == (0, 2, 6)
    after = rows_of(out)
    assert {t for t in after if after[t] != before[t]} == {"captions"}
    assert len(after["captions"]) == 12
    server.stop()
    done = run(reel.folder, out, server)
    assert done.code == 0, done.err
    assert all(c["caption"] for c in clips_of(out))


@pytest.mark.slow
def test_a_clip_on_which_the_server_breaks_fails_alone(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    out, victim = tmp_path / "store", seen(reel_store).clips()[0]
    frames = [r for r in rows_of(reel_store, "frames")["frames"] if r["video_id"] == victim["video_id"]]
    poison = [hashlib.sha256(r["jpeg"]).hexdigest() for r in frames if victim["start_pts"] <= r["pts"] < victim["end_pts"]]
    with start_server(poison=poison, poison_mode="context") as server:
        done = run(reel.folder, out, server, "--strict")
        assert done.code == 1, done.err
        [failed] = [c for c in clips_of(out) if c["verdict"] == "failed"]
        assert (failed["clip_id"], failed["caption"], "maximum context length" in failed["error"]) == (victim["clip_id"], None, True)
        row = seen(out, *SETTINGS).runs()[-1]
        assert (row["clips_kept"], row["clips_failed"], row["captions_made"]) == (5, 1, 5)
        [error] = [e for e in seen(out, *SETTINGS).errors() if e["stage"] == "captions"]
        assert (error["key"], error["error_type"]) == (victim["clip_id"], "context_length")
        server.control()
        assert run(reel.folder, out, server).code == 0
        assert not [r for r in server.stats()["requests"] if r["images"]], "what failed for good is not asked again"
        row = seen(out, *SETTINGS).runs()[-1]
        assert (row["clips_kept"], row["clips_failed"]) == (5, 1)


def test_without_a_server_nothing_is_decoded_or_written(reel: Reel, tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
    done = inline("run", reel.folder, "--out", tmp_path / "store", *asked(url))
    assert done.code == 3
    assert url in done.err
    assert "Fix:" in done.err
    assert not (tmp_path / "store").exists()


def test_a_wrong_model_or_key_is_found_before_anything_is_decoded(reel: Reel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start_server(key=KEY) as server:
        for settings, key in ((("--set", "captions.model=other"), KEY), ((), "sk-wrong-key-111")):
            monkeypatch.setenv("OPENAI_API_KEY", key)
            done = run(reel.folder, tmp_path / "store", server, *settings)
            assert done.code == 3, done.err
            assert not (tmp_path / "store").exists()
            assert "sk-" not in done.err


@pytest.mark.slow
def test_the_key_is_nowhere_in_the_store(reel: Reel, tmp_path: Path) -> None:
    out = tmp_path / "store"
    with start_server(key=KEY) as server:
        done = command("run", reel.folder, "--out", out, *asked(server.base_url), OPENAI_API_KEY=KEY)
        assert done.code == 0, done.err
        assert {r["authorization"] for r in server.stats()["requests"]} == {f"Bearer {KEY}"}
    shown = command("recipe", *asked("http://x/v1"), OPENAI_API_KEY=KEY)
    for text in (done.err, done.out, shown.out, shown.err):
        assert KEY not in text
    for path in out.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def wait_for_requests(server: Running, n: int) -> None:
    deadline = time.monotonic() + 60
    while sum(bool(r["images"]) for r in server.stats()["requests"]) < n:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_that_dies_leaves_captions_pending_while_scanning_goes_on(films: Path, tmp_path: Path) -> None:
    out, slow = tmp_path / "store", (*STRIDE, "captions.concurrency=2", "captions.patience_s=1")
    with start_server(service_s=0.1) as server:
        process = start("run", films, "--out", out, *asked(server.base_url, *slow))
        wait_for_requests(server, 3)
        server.stop()
        _, err = process.communicate(timeout=90)
    assert process.returncode == 3, err
    assert "Traceback" not in err
    assert "run the same command again" in err or "resume" in err
    clips = clips_of(out, *STRIDE)
    assert len(clips) == 24, "every film was scanned"
    assert {c["verdict"] for c in clips} == {"kept"}
    made = {c["clip_id"]: c["caption"] for c in clips if c["caption"]}
    assert 0 < len(made) < 24
    assert not [e for e in seen(out, *SETTINGS, *STRIDE).errors() if e["stage"] == "captions"]
    row = seen(out, *SETTINGS, *STRIDE).runs()[-1]
    assert row["status"] == "interrupted"
    before = parts_of(out)
    with start_server() as server:
        done = inline("run", films, "--out", out, *asked(server.base_url, *slow))
        assert done.code == 0, done.err
        asked_for = [r for r in server.stats()["requests"] if r["images"]]
    assert len(asked_for) == 24 - len(made)
    row = seen(out, *SETTINGS, *STRIDE).runs()[-1]
    assert (row["decoded_s"], row["captions_made"], row["videos_reused"]) == (0, 24 - len(made), 6)
    after = {c["clip_id"]: c["caption"] for c in clips_of(out, *STRIDE)}
    assert None not in after.values()
    assert {k: after[k] for k in made} == made
    assert {p for p in parts_of(out) if p.split("/")[0] in ("signals", "frames")} <= set(before)


def test_a_server_that_comes_back_in_time_finishes_the_same_run(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    with start_server(service_s=0.1) as server:
        process = start("run", films, "--out", out, *asked(server.base_url, *STRIDE, "captions.concurrency=2", "captions.patience_s=60"))
        wait_for_requests(server, 3)
        server.stop()
        time.sleep(3)
        with start_server(port=server.port):
            _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    clips = clips_of(out, *STRIDE)
    assert len(clips) == 24
    assert all(c["caption"] for c in clips)
    [row] = seen(out, *SETTINGS, *STRIDE).runs()
    assert (row["status"], row["captions_made"], row["clips_kept"], row["clips_failed"]) == ("finished", 24, 24, 0)
    assert row["videos_scanned"] == 6
    assert row["videos_found"] == 6


def test_failing_requests_are_tried_again_within_the_run(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    some = tmp_path / "films"
    some.mkdir()
    shutil.copyfile(films / "0.mp4", some / "0.mp4")
    with start_server(mode="503", fail_first=2, spare_tests=True) as server:
        assert run(some, out, server).code == 0
    assert all(c["caption"] for c in clips_of(out))
    [row] = seen(out, *SETTINGS).runs()
    assert row["caption_requests"] == row["captions_made"] + 2


def test_user_and_signature_of_a_servers_address_are_not_stored() -> None:
    recipe = Recipe.parse({}, overrides=["captions.base_url=https://me:sk-secret@host/v1?token=sk-secret", "storage.s3.secret=sk-secret"])
    stored = without_secrets(recipe).model_dump_json()
    assert "sk-secret" not in stored
    assert "https://host/v1" in stored
