"""Runs against servers that list their models and make no captions: each ends, with words, and what it could not do stays pending."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from caption_server import Running, start_server
from footage import render
from pictures import film
from stores import inline, seen, settings_of, start
from variants import variants

SETTINGS = (
    "captions.engine=openai", "captions.model=tiny-vlm", "captions.prompt=short", "frames.per_clip=2", "rules.too_short.min=0.5",
    "shots.detector=stride", "shots.stride_s=1.2", "captions.timeout_s=5", "captions.patience_s=2",
)  # fmt: skip
GIVE_UP = "1000"
"""Retry-After, seconds: more than the client waits, so that it does not try again."""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films of 4.8 s: 12 clips of 1.2 s."""
    folder = tmp_path_factory.mktemp("films")
    for k in range(3):
        render(folder / f"{k}.mp4", film(192, 108, [120], seed=70 + k))
    return folder


def run(films: Path, out: Path, server: Running, *more: str) -> Any:
    return inline("run", films, "--out", out, *settings_of(*SETTINGS, f"captions.base_url={server.base_url}"), *more)


def clips_of(out: Path) -> list[dict[str, Any]]:
    return list(seen(out, *SETTINGS).clips())


def failures_of(out: Path) -> list[dict[str, Any]]:
    return [error for error in seen(out, *SETTINGS).errors() if error["stage"] == "captions"]


def finish(films: Path, out: Path, server: Running) -> None:
    """The server is well again: the same command makes what was pending, and asks about no clip that has its caption."""
    there = sum(bool(clip["caption"]) for clip in clips_of(out))
    server.control()
    done = run(films, out, server)
    assert done.code == 0, done.err
    clips = clips_of(out)
    assert len(clips) == 12 and all(clip["caption"] for clip in clips)
    assert len(server.stats()["requests"]) == 12 - there


SAID = {
    "401": "OPENAI_API_KEY",
    "429": "too busy",
    "500": "is not there",
    "vllm_image_limit": "--limit-mm-per-prompt",
    "quota": "account",
}
"""How a server refuses -> what is said of it."""


@pytest.mark.parametrize("mode", variants(SAID, quick=["vllm_image_limit"]))
def test_a_server_that_only_lists_its_models_is_found_out_before_anything_is_decoded(
    films: Path, tmp_path: Path, server: Running, mode: str
) -> None:
    server.control(mode=mode, retry_after=GIVE_UP)
    done = run(films, tmp_path / "store", server)
    assert done.code == 3, done.err
    assert SAID[mode] in done.err and "Traceback" not in done.err
    assert not (tmp_path / "store").exists()
    stats = server.stats()
    assert (stats["tests"] and stats["requests"] == []) or mode == "500", "no picture of the footage was sent"


@pytest.mark.parametrize("mode", variants(["401", "quota", "403", "402"], quick=["401"]))
def test_what_waiting_does_not_mend_ends_the_run_at_once(films: Path, tmp_path: Path, server: Running, mode: str) -> None:
    out = tmp_path / "store"
    server.control(mode=mode, spare_tests=True)
    begun = time.monotonic()
    done = inline("run", films, "--out", out, *settings_of(*SETTINGS, f"captions.base_url={server.base_url}", "captions.patience_s=600"))
    assert done.code == 3, done.err
    assert time.monotonic() - begun < 60
    assert ("account" if mode in ("quota", "402") else "OPENAI_API_KEY") in done.err
    assert failures_of(out) == []
    finish(films, out, server)


@pytest.mark.slow
def test_a_server_that_answers_test_pictures_and_no_clip_is_waited_for_no_longer_than_our_patience(
    films: Path, tmp_path: Path, server: Running
) -> None:
    out = tmp_path / "store"
    server.control(mode="429", spare_tests=True, retry_after=GIVE_UP)
    begun = time.monotonic()
    done = run(films, out, server)
    assert done.code == 3, done.err
    assert time.monotonic() - begun < 60
    assert "too busy" in done.err
    row = seen(out, *SETTINGS).runs()[-1]
    assert (row["status"], row["captions_made"], row["captions_pending"], row["clips_kept"]) == ("interrupted", 0, 12, 12)
    assert failures_of(out) == []
    finish(films, out, server)


@pytest.mark.parametrize("mode", variants(["numbered", "no_images", "reasoning_only"], quick=["numbered"]))
def test_eight_clips_that_fail_alike_stop_the_run_and_stay_pending(films: Path, tmp_path: Path, server: Running, mode: str) -> None:
    out = tmp_path / "store"
    server.control(mode=mode, spare_tests=True)
    done = run(films, out, server)
    assert done.code == 3, done.err
    assert "8 clips in a row failed in the same way" in done.err
    words = {"numbered": "policy 17", "no_images": "shown no pictures", "reasoning_only": "enable_thinking = false"}[mode]
    assert words in done.err
    assert failures_of(out) == []
    assert {clip["verdict"] for clip in clips_of(out)} == {"kept"}
    assert 8 <= len(server.stats()["requests"]) <= 12
    finish(films, out, server)


@pytest.mark.slow
def test_fewer_clips_that_fail_alike_are_failed(films: Path, tmp_path: Path, server: Running) -> None:
    out = tmp_path / "store"
    server.control(mode="numbered", spare_tests=True)
    done = run(films / "0.mp4", out, server, "--strict")
    assert done.code == 1, done.err
    assert len(server.stats()["requests"]) == 4
    assert [error["error_type"] for error in failures_of(out)] == ["request_refused"] * 4
    row = seen(out, *SETTINGS).runs()[-1]
    assert (row["clips_kept"], row["clips_failed"], row["captions_pending"], row["caption_requests"]) == (0, 4, 0, 4)


@pytest.mark.slow
def test_settings_that_go_wrong_on_the_way_fail_no_clip(films: Path, tmp_path: Path, server: Running) -> None:
    """The server answers three clips, then is started anew with a limit on pictures: test pictures are refused as well as clips."""
    out = tmp_path / "store"
    server.control(mode="vllm_image_limit", good_first=3)
    done = run(films, out, server)
    assert done.code == 3, done.err
    assert "--limit-mm-per-prompt '{\"image\": 2}'" in done.err
    assert failures_of(out) == []
    assert 0 < sum(bool(clip["caption"]) for clip in clips_of(out)) <= 3
    finish(films, out, server)


@pytest.mark.slow
def test_a_clip_alone_that_is_too_long_fails_alone(films: Path, tmp_path: Path, server: Running) -> None:
    """The words are those of a setting, but test pictures are answered: so it is the clip's own failure."""
    out = tmp_path / "store"
    assert run(films / "0.mp4", tmp_path / "first", server).code == 0
    server.control(poison=server.stats()["requests"][0]["images"][:1], poison_mode="sglang_context")
    done = run(films, out, server)
    assert done.code == 0, done.err
    [failed] = failures_of(out)
    assert failed["error_type"] == "context_length" and "--context-length" in failed["mend"]
    assert sum(bool(clip["caption"]) for clip in clips_of(out)) == 11


def test_wait_server_waits_for_a_server_that_is_loading(films: Path, tmp_path: Path) -> None:
    with start_server() as first:
        port = first.port
    out, url = tmp_path / "store", f"captions.base_url=http://127.0.0.1:{port}/v1"
    waiting = start("run", films, "--out", out, "--wait-server", "90", *settings_of(*SETTINGS, url))
    assert waiting.stderr is not None
    told = next(line for line in waiting.stderr if "waiting" in line)
    assert "waiting up to 90 s for the caption server" in told and "is not there" in told
    with start_server(port=port, mode="503", fail_first=2, probe_too=True):
        _, err = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, err
    assert all(clip["caption"] for clip in clips_of(out))


def test_wait_server_does_not_wait_for_what_waiting_does_not_mend(films: Path, tmp_path: Path, server: Running) -> None:
    server.control(mode="vllm_text_only")
    begun = time.monotonic()
    done = run(films, tmp_path / "store", server, "--wait-server", "600")
    assert done.code == 3 and "takes no pictures" in done.err
    assert time.monotonic() - begun < 30


@pytest.mark.slow
def test_a_doubtful_answer_about_test_pictures_is_told_and_the_run_goes_on(films: Path, tmp_path: Path, server: Running) -> None:
    server.control(mode="preamble", spare_clips=True)
    done = run(films / "0.mp4", tmp_path / "store", server)
    assert done.code == 0, done.err
    assert "what it says about test pictures would be no caption" in done.err and "captions.system" in done.err
