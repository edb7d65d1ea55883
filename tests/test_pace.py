"""What a plan says of speed and costs, by the store's own runs, against a server of known capacity and prices."""

from __future__ import annotations

from pathlib import Path

import pytest

import rushes
from caption_server import Running
from stores import Reel, go, inline, recipe, settings_of

PACE = ("captions_per_s", "tokens_per_s", "cores_per_gpu", "hours_to_go", "cost_to_go")
SERVICE_S = 0.25
"""Seconds of an answer of the server, which makes one at a time: 4 captions a second."""


def test_a_plan_tells_rates_hours_and_costs_by_the_stores_own_runs(reel: Reel, tmp_path: Path, server: Running) -> None:
    server.control(service_s=SERVICE_S, parallel=1)
    out, settings = tmp_path / "store", ["captions.engine=openai", "captions.model=tiny-vlm", f"captions.base_url={server.base_url}"]
    settings += [
        "resources.captions.concurrency=1",
        "captions.price_per_million_prompt_tokens=3",
        "captions.price_per_million_completion_tokens=15",
    ]
    first = rushes.plan([reel.cuts.path], out=out, recipe=recipe(*settings))
    assert [first[name] for name in PACE] == [None] * 5, "nothing is known before the first run"
    counts = go(reel.cuts.path, out, *settings).counts
    assert (counts["captions_made"], counts["prompt_tokens"], counts["completion_tokens"]) == (2, 200, 40)
    done = rushes.plan([reel.cuts.path], out=out, recipe=recipe(*settings))
    assert 0.3 / SERVICE_S < done["captions_per_s"] <= 1.0 / SERVICE_S
    assert done["tokens_per_s"] == pytest.approx(20 * done["captions_per_s"], rel=1e-3)
    assert (done["hours_to_go"], done["cost_to_go"]) == (0.0, 0.0)
    core_s = counts["busy_s"]["scan"]  # of 7 s of footage with two clips to caption
    assert done["cores_per_gpu"] == pytest.approx(done["captions_per_s"] / (2 / core_s), rel=0.01)

    more = rushes.plan([reel.cuts.path, reel.uneven.path], out=out, recipe=recipe(*settings))
    pace, clips = more, more["decode_s"] * 2 / 7
    assert pace["cost_to_go"] == pytest.approx(clips * (100 * 3 + 20 * 15) / 1e6, rel=0.01)
    slowest = max(clips / pace["captions_per_s"], more["decode_s"] / (7 / core_s))
    assert pace["hours_to_go"] == pytest.approx(slowest / 3600, rel=0.01)
    said = inline("plan", reel.cuts.path, reel.uneven.path, "--out", out, *settings_of(*settings)).out
    assert f"{pace['captions_per_s']:.4g} captions/s" in said and "to go: about" in said and "costs about" in said

    of_other = go(reel.uneven.path, out, *settings).counts  # the clips of other videos say nothing of how many these have
    other = rushes.plan([reel.cuts.path], out=out, recipe=recipe(*settings))
    a_core = (7 + of_other["footage_s"]) / (core_s + of_other["busy_s"]["scan"])
    assert other["cores_per_gpu"] == pytest.approx(other["captions_per_s"] / (a_core * 2 / 7), rel=0.01)


def test_a_plan_says_which_settings_are_taken_for_the_model(reel: Reel, tmp_path: Path) -> None:
    settings = ["captions.engine=openai", "captions.base_url=http://127.0.0.1:1/v1", "captions.temperature=0.1"]
    known = settings_of(*settings, "captions.model=Qwen/Qwen3-VL-8B-Instruct")
    said = inline("plan", reel.cuts.path, "--out", tmp_path / "store", *known).out
    assert "captions: settings of Qwen3-VL (model card" in said and "temperature 0.1, presence_penalty 1.5, top_k 20, top_p 0.8" in said
    unknown = rushes.plan([reel.cuts.path], out=tmp_path / "store", recipe=recipe(*settings, "captions.model=tiny-vlm"))
    assert unknown["caption_settings"] is None
