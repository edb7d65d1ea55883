"""`rushes caption STORE --try N`: what a model is sent about kept clips of a store and what it answers; the store stays as it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from caption_server import Running
from footage import render
from pictures import film
from stores import inline, parts_of, rows_of, settings_of

STRIDE = ("shots.detector=stride", "shots.stride_s=1.2", "rules.too_short.min=0.5", "frames.per_clip=2")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of 4.8 s, and a list of them with a column."""
    folder = tmp_path_factory.mktemp("films")
    for k in range(2):
        render(folder / f"{k}.mp4", film(192, 108, [120], seed=90 + k))
    lines = [json.dumps({"uri": str(folder / f"{k}.mp4"), "camera": f"gate {k}"}) for k in range(2)]
    (folder / "list.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def store(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of eight clips without captions."""
    out = tmp_path_factory.mktemp("store") / "store"
    done = inline("run", films / "list.jsonl", "--out", out, *settings_of(*STRIDE, "captions.engine=none"))
    assert done.code == 0, done.err
    return out


@pytest.fixture
def own(tmp_path: Path) -> Path:
    prompt = tmp_path / "own.txt"
    prompt.write_text("Describe what camera {camera} sees for {duration_s} s.")
    return prompt


def asking(server: Running, *more: str) -> list[str]:
    url = f"captions.base_url={server.base_url}"
    given = ["captions.engine=openai", "captions.model=tiny-vlm", url, *more]
    return [word for setting in given for word in ("--set", setting)]


def test_five_clips_are_tried_and_nothing_is_written(store: Path, server: Running, own: Path) -> None:
    before = parts_of(store)
    done = inline("caption", store, "--try", "5", "--json", *asking(server, f"captions.prompt={own}", "captions.system=Be brief."))
    assert done.code == 0, done.err
    rows = done.lines
    assert parts_of(store) == before
    assert len({row["clip_id"] for row in rows}) == 5
    stored = {(row["video_id"], row["pts"]): row["jpeg"] for row in rows_of(store, "frames")["frames"]}
    video = {row["clip_id"]: row["video_id"] for row in rows_of(store, "clips")["clips"]}
    stats = server.stats()
    assert stats["tests"] == [] and stats["violations"] == [] and len(stats["requests"]) == 5
    sent = {tuple(seen["images"]): seen for seen in stats["requests"]}
    for row in rows:
        system, user = row["messages"]
        assert (system["role"], system["parts"]) == ("system", [{"text": "Be brief."}])
        frames = [part for part in user["parts"] if "pts" in part]
        jpegs = [stored[video[row["clip_id"]], frame["pts"]] for frame in frames]
        seen = sent[tuple(hashlib.sha256(jpeg).hexdigest() for jpeg in jpegs)]
        assert [part["text"] for part in user["parts"] if "text" in part] == seen["texts"]
        assert seen["texts"][0] == f"Describe what camera gate {Path(row['uri']).stem} sees for 1.2 s."
        assert [(f["width"], f["height"], f["bytes"]) for f in frames] == [(192, 108, len(jpeg)) for jpeg in jpegs]
        assert row["answer"] == row["caption"] == f"A hall with 2 frames, first {seen['images'][0][:12]}."


def test_people_see_prompt_frames_answer_and_what_is_wrong_with_it(store: Path, server: Running) -> None:
    server.control(mode="preamble")
    done = inline("caption", store, "--try", "1", *asking(server, "captions.prompt=short"))
    assert done.code == 0, done.err
    for words in (
        "-- user:",
        "Describe the clip in one sentence",
        "frame at 0.",
        "192x108, JPEG of",
        "-- answer:\nSure! Here is",
        "no caption, preamble:",
    ):
        assert words in done.out, words
    assert len(server.stats()["requests"]) == 1


def test_a_server_that_refuses_is_exit_3_with_words(store: Path, server: Running) -> None:
    server.control(mode="401")
    done = inline("caption", store, "--try", "2", *asking(server))
    assert done.code == 3
    assert "refused the key" in done.err and "Traceback" not in done.err


def test_what_cannot_be_tried_is_a_usage_error(store: Path, tmp_path: Path) -> None:
    assert inline("caption", tmp_path / "nothing", "--try", "1").code == 2
    assert inline("caption", store, "--try", "1").code == 2, "the newest recipe makes no captions"
    assert inline("caption", store, "--try", "1", "--set", "captions.engine=facts", "--set", "rules.too_short.min=100").code == 2
    done = inline("caption", store, "--try", "1", "--json", "--set", "captions.engine=facts")
    assert done.code == 0 and done.lines[0]["caption"].startswith("Measured:")


@pytest.mark.slow
def test_a_prompt_may_name_columns_of_the_clip_and_of_the_list(films: Path, tmp_path: Path, server: Running, own: Path) -> None:
    out = tmp_path / "store"
    settings = [*settings_of(*STRIDE), *asking(server, f"captions.prompt={own}")]
    done = inline("run", films / "list.jsonl", "--out", out, *settings)
    assert done.code == 0, done.err
    asked = sorted(seen["texts"][0] for seen in server.stats()["requests"])
    assert asked == [f"Describe what camera gate {k} sees for 1.2 s." for k in (0, 0, 0, 0, 1, 1, 1, 1)]
    own.write_text("Describe what camera {camra} sees.")
    wrong = inline("run", films / "list.jsonl", "--out", tmp_path / "other", *settings)
    assert wrong.code == 2 and "{camra}" in wrong.err and "did you mean {camera}?" in wrong.err
    assert not (tmp_path / "other").exists()
    own.write_text("Describe what camera {camera} sees for {duration_s} s.")
    without = inline("run", films, "--out", tmp_path / "other", *settings)
    assert without.code == 2 and "{camera}" in without.err


def test_captions_of_a_later_run_fill_columns_as_those_of_the_run_that_scanned(
    films: Path, store: Path, tmp_path: Path, server: Running, own: Path
) -> None:
    """The clips of a store that was scanned before come from its rows, with the list's columns."""
    import shutil

    out = tmp_path / "store"
    shutil.copytree(store, out)
    done = inline("run", films / "list.jsonl", "--out", out, *settings_of(*STRIDE), *asking(server, f"captions.prompt={own}"))
    assert done.code == 0, done.err
    asked = sorted(seen["texts"][0] for seen in server.stats()["requests"])
    assert asked == [f"Describe what camera gate {k} sees for 1.2 s." for k in (0, 0, 0, 0, 1, 1, 1, 1)]
