"""Long clips: windows with their own frames and captions, one call that merges them, and runs that go on where they were killed."""

from __future__ import annotations

import hashlib
import json
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from caption_requests import ask, clip, engine_for
from caption_server import Running, digest, start_server
from footage import render
from pictures import film
from rushes.captions.fields import field_columns
from rushes.captions.request import Answer, Part, Request
from rushes.captions.schema import record_schema
from rushes.captions.windows import Window, windows_of
from rushes.engine.work.windows import WindowRows
from rushes.operators import Caption, Scan
from rushes.recipe import Recipe
from rushes.store.buffer import Buffer
from rushes.store.store import Store
from rushes.store.tables import ERRORS, WINDOWS
from rushes.trial import as_text, tried
from stores import BASE, go, rows_of, seen, settings_of, start

SCHEMA = record_schema()

SETTINGS = ("captions.engine=openai", "captions.model=tiny-vlm", "captions.window_s=1.5", "frames.per_clip=2", "captions.patience_s=0")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shot of 4.8 s: four windows of 1.2 s."""
    return render(tmp_path_factory.mktemp("long") / "long.mp4", film(192, 108, [120], seed=9)).path


@pytest.mark.parametrize(
    ("length", "window_s", "edges"),
    [
        (600 * 90_000, 60.0, [k * 60 * 90_000 for k in range(11)]),
        (601 * 90_000, 60.0, [601 * 90_000 * k // 11 for k in range(12)]),
        (60 * 90_000, 60.0, []),
        (60 * 90_000 + 1, 60.0, []),
        (600 * 90_000, 0.0, []),
    ],
)
def test_windows_are_equal_tile_the_clip_and_are_no_longer_than_asked(length: int, window_s: float, edges: list[int]) -> None:
    made = windows_of(7, 7 + length, Fraction(1, 90_000), window_s)
    pairs = pairwise(edges)
    assert made == tuple(Window(k, 7 + start, 7 + end) for k, (start, end) in enumerate(pairs))


def test_the_rows_of_windows_are_read_once_for_each_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is made in this run is known without another reading, as for a clip that stays pending and is asked about again."""
    store, reads = Store.create(str(tmp_path / "store"), {}), []
    read = store.read
    monkeypatch.setattr(store, "read", lambda *args, **kwargs: [reads.append(kwargs["only"]), read(*args, **kwargs)][1])
    rows = WindowRows(store, Buffer(store, [(WINDOWS, ()), (ERRORS, ())]), None, "f", "r")
    windows = windows_of(0, 480, Fraction(1, 100), 1.5)
    one, other = ({"clip_id": name, "video_id": "v" * 64, "start_pts": 0, "start_s": 0.0, "time_base": "1/100"} for name in ("a", "b"))
    assert rows.known(one, windows) == rows.known(other, windows) == {}
    answer = Answer("a", "A door.", None, "m", "p", 1, 2, 0.5, "stop", 1)
    rows.keep(one, windows[2], answer)
    assert (rows.known(one, windows), rows.known(other, windows)) == ({2: answer}, {})
    assert len(reads) == 1
    again = WindowRows(store, Buffer(store, [(WINDOWS, ()), (ERRORS, ())]), None, "f", "r")
    assert again.known(one, windows) == {2: answer}, "it is durable"


def test_the_merging_call_has_the_task_and_each_text_after_its_span_and_no_frames(server: Running) -> None:
    parts = (Part((0.0, 30.0), "A red door."), Part((30.0, 45.5), "一扇红门。"))
    [answer] = ask(engine_for(server, prompt="dense"), Request("clip1", (), (), {}, "/a.mp4", (0.0, 45.5), parts))
    assert answer.error is None and answer.clip_id == "clip1"
    [request] = server.stats()["requests"]
    assert request["images"] == []
    [words] = request["texts"]
    order = ["whole clip", "80 to 150 words", "0.0 s to 30.0 s: A red door.", "30.0 s to 45.5 s: 一扇红门。"]
    assert sorted(order, key=words.index) == order
    [none] = ask(engine_for(server), clip(1, frames=0))
    assert none.error_type == "no_frames"


def test_each_window_is_asked_about_by_its_own_frames_and_keeps_its_caption_and_span(long: Path, tmp_path: Path, server: Running) -> None:
    server.control(mode="structured", fields={"anomalies": ["a leak"]})
    out, settings = tmp_path / "store", (*SETTINGS, f"captions.base_url={server.base_url}", "captions.prompt=structured")
    counts = go(long, out, *settings).counts
    rows = rows_of(out, "windows", "captions", "clips", "frames", caption=field_columns(SCHEMA))
    [made], [cut] = rows["captions"], rows["clips"]
    windows = sorted(rows["windows"], key=lambda row: row["window"])
    spans = [(w["start_pts"], w["end_pts"]) for w in windows]
    step = (cut["end_pts"] - cut["start_pts"]) // 4
    assert spans == [(cut["start_pts"] + k * step, cut["start_pts"] + (k + 1) * step) for k in range(4)]
    assert [(w["start_s"], w["end_s"]) for w in windows] == [pytest.approx((1.2 * k, 1.2 * k + 1.2)) for k in range(4)]
    stored = {r["pts"]: hashlib.sha256(r["jpeg"]).hexdigest() for r in rows["frames"]}
    requests = server.stats()["requests"]
    with_frames = [r for r in requests if r["images"]]
    inside = [{sha for pts, sha in stored.items() if start <= pts < end} for start, end in spans]
    assert sorted(next(k for k in range(4) if set(r["images"]) <= inside[k]) for r in with_frames) == [0, 1, 2, 3]
    assert all(r["texts"][1].startswith("The clip lasts 1.2 s; 2 frames") for r in with_frames)
    [merging] = [r for r in requests if not r["images"]]
    assert all(window["fields"] in merging["texts"][0] for window in windows)
    assert [w["caption_n_anomalies"] for w in windows] == [1] * 4
    assert made["text"] == "A hall with 0 frames, first none."
    assert (made["tries"], made["prompt_tokens"], made["completion_tokens"]) == (5, 500, 100), "of windows and merging together"
    assert (counts["caption_requests"], counts["prompt_tokens"], counts["captions_made"]) == (5, 500, 1)


def test_a_killed_run_does_not_ask_again_for_windows_that_have_an_answer(long: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    with start_server(mode="slow", slow_s=60, good_first=2) as server:  # two windows are answered, and then none
        settings = (*SETTINGS, f"captions.base_url={server.base_url}")
        with start("run", long, "--out", out, *settings_of(*settings)) as run:
            done: list[dict[str, Any]] = []
            until = time.monotonic() + 60
            while len(done) < 2 and time.monotonic() < until:
                time.sleep(0.05)
                done = rows_of(out, "windows")["windows"] if (out / "windows").is_dir() else []
            run.kill()
            run.communicate()
        assert len(done) == 2
        server.control(mode="ok")
        counts = go(long, out, *settings).counts
        asked = server.stats()["requests"]
        assert (len(asked), len([r for r in asked if r["images"]])) == (3, 2), "two windows, and the merging"
        assert (counts["caption_requests"], counts["captions_made"]) == (3, 1)
        rows = rows_of(out, "windows")["windows"]
        assert len(rows) == 4 and all(row in rows for row in done)
        assert seen(out, *settings).clips()[0]["caption"] == "A hall with 0 frames, first none."


@pytest.mark.slow
def test_a_clip_of_ten_minutes_is_captioned_minute_by_minute_and_resumed_by_window(tmp_path: Path) -> None:
    """The run is killed when three of ten minutes have their captions; the next one asks about seven, and merges all."""
    footage, out = tmp_path / "round.mp4", tmp_path / "store"
    render(footage, film(96, 54, [1200], seed=11), fps=2, gop=20, options={"preset": "ultrafast"})
    with start_server(mode="slow", slow_s=60, good_first=3, names="header") as server:
        settings = (
            *SETTINGS, "captions.window_s=60", "frames.per_clip=4", "frames.per_s=0.2", "shots.detector=stride", "shots.stride_s=600",
            "captions.timeout_s=120", f"captions.base_url={server.base_url}",
        )  # fmt: skip
        done: list[dict[str, Any]] = []
        with start("run", footage, "--out", out, *settings_of(*settings)) as run:
            until = time.monotonic() + 90
            while len(done) < 3 and time.monotonic() < until:
                time.sleep(0.05)
                done = rows_of(out, "windows")["windows"] if (out / "windows").is_dir() else []
            run.kill()
            run.communicate()
        assert len(done) == 3
        server.control(mode="digest")
        assert go(footage, out, *settings).counts["caption_requests"] == 8, "seven minutes, and the merging"
        asked = server.stats()["requests"]
    rows = rows_of(out, "windows", "captions", "clips")
    [cut], [made], windows = rows["clips"], rows["captions"], sorted(rows["windows"], key=lambda row: row["window"])
    assert (cut["start_s"], cut["end_s"]) == (0.0, 600.0)
    assert [(w["window"], w["start_s"], w["end_s"]) for w in windows] == [(k, 60.0 * k, 60.0 * k + 60.0) for k in range(10)]
    assert all(row in windows for row in done)
    with_frames, [merging] = [r for r in asked if r["images"]], [r for r in asked if not r["images"]]
    assert [len(r["images"]) for r in with_frames] == [4] * 7
    assert all("The clip lasts 60.0 s; 4 frames of it follow." in r["texts"] for r in with_frames)
    parts = [f"{60.0 * k:.1f} s to {60.0 * k + 60.0:.1f} s: {windows[k]['text']}" for k in range(10)]
    assert merging["texts"][0].split("\n\n")[-10:] == parts
    assert (made["text"], made["tries"]) == (f"A hall that was shown as {digest(merging)}.", 11)
    assert seen(out, *settings).clips()[0]["caption"] == made["text"]


def test_a_window_that_fails_fails_its_clip_and_says_which_it_was(long: Path, tmp_path: Path, server: Running) -> None:
    server.control(mode="refusal", good_first=2)
    out, settings = tmp_path / "store", (*SETTINGS, f"captions.base_url={server.base_url}", "resources.captions.concurrency=1")
    go(long, out, *settings)
    [row] = seen(out, *settings).clips()
    assert row["verdict"] == "failed"
    assert row["error"].startswith("window 3 of 4: the model refused")


def test_trial_and_operators_make_windows_and_the_columns_of_fields_as_a_run_does(long: Path, tmp_path: Path, server: Running) -> None:
    """All three send the same pictures and words, and get the same columns."""
    server.control(mode="structured", fields={"anomalies": ["a leak"]})
    out, settings = tmp_path / "store", (*SETTINGS, f"captions.base_url={server.base_url}", "captions.prompt=structured")
    recipe = Recipe().with_overrides([*BASE, *settings])

    def sent() -> list[tuple[list[str], list[str]]]:
        seen_there = sorted((request["images"], request["texts"]) for request in server.stats()["requests"])
        server.control(mode="structured", fields={"anomalies": ["a leak"]})
        return seen_there

    go(long, out, *settings)
    of_run = sent()
    rows = rows_of(out, "windows", "captions", caption=field_columns(SCHEMA))
    [made], windows = rows["captions"], sorted(rows["windows"], key=lambda row: row["window"])
    assert len(of_run) == 5

    [row] = tried(str(out), 1, recipe)
    assert sent() == of_run
    assert (row["caption"], row["fields"]) == (made["text"], json.loads(made["fields"]))
    assert [(w["window"], w["start_s"], w["end_s"], w["caption"]) for w in row["windows"]] == [
        (w["window"], pytest.approx(w["start_s"]), pytest.approx(w["end_s"]), w["text"]) for w in windows
    ]
    assert [len([part for part in w["messages"][0]["parts"] if "pts" in part]) for w in row["windows"]] == [2] * 4
    assert row["messages"][0]["parts"] == [{"text": next(words for images, [words, *_] in of_run if not images)}]
    assert "-- window 4 [3.60 s, 4.80 s):" in as_text(row) and "-- merging:" in as_text(row)

    with Scan(recipe) as scan, Caption(recipe) as caption:
        found = scan(pa.table({"uri": [str(long)]}))["scan"].to_pylist()[0]
        kind = Scan.returns.field("clips").type.value_type
        [answer] = caption.column(pa.array([str(long)]), pa.array(found["clips"], kind)).to_pylist()
        names = caption.returns.names
    assert sent() == of_run
    columns = [column.name for column in field_columns(SCHEMA)]
    assert answer["error"] is None and [name for name in names if name.startswith("caption_")] == columns
    same = ("text", "fields", "prompt_tokens", "completion_tokens", "tries", "server", *columns)
    assert {name: answer[name] for name in same} == {name: made[name] for name in same}
