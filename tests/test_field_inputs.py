"""What people bring, from the command to the JSON: links, lists with NaN, what cameras and recorders write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from footage import render
from pictures import film
from stores import go, inline, seen, settings_of

KEEP = ("rules.too_short.min=0",)


def strict(text: str) -> list[Any]:
    """JSON lines, read as RFC 8259 has it: a parser that knows no NaN and no Infinity."""

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_case_05_links_that_lead_nowhere_are_failed_rows_and_the_run_goes_on(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    day.mkdir()
    render(day / "good.mp4", film(160, 96, [60], seed=1))
    (day / "loop.mp4").symlink_to("loop.mp4")
    (day / "latest").symlink_to("latest")
    (day / "gone.mov").symlink_to(tmp_path / "nowhere.mov")
    done = inline("run", day, "--out", tmp_path / "store", *settings_of(*KEEP))
    assert done.code == 0 and "Traceback" not in done.err, done.err
    videos = {Path(v["uri"]).name: (v["status"], v["error"]) for v in inline("videos", tmp_path / "store", "--json").lines}
    nowhere = ("failed", "the link leads nowhere")
    assert videos == {"good.mp4": ("done", None), "loop.mp4": nowhere, "gone.mov": nowhere}
    [run] = inline("runs", tmp_path / "store", "--json").lines
    assert (run["videos_found"], run["videos_failed"], run["passed_over"]) == (3, 2, {"": 1})
    assert inline("status", tmp_path / "store", "--json").lines == [run]


def test_case_10_json_is_strict_whatever_a_list_holds(tmp_path: Path) -> None:
    render(tmp_path / "a.mp4", film(160, 96, [60], seed=1))
    row = '{"uri": "a.mp4", "speed": NaN, "ceiling": Infinity, "deep": [NaN], "big": 1e999, "half": "\\ud800", "camera": "cam2"}\n'
    (tmp_path / "l.jsonl").write_text(row)
    out = tmp_path / "store"
    go(tmp_path / "l.jsonl", out, *KEEP)
    extra = {"speed": None, "ceiling": None, "deep": "[null]", "big": None, "half": "?", "camera": "cam2"}
    for verb in ("clips", "videos"):
        [found] = strict(inline(verb, out, "--json").out)
        assert found["extra"] == extra
    for args in (["captions"], ["runs"], ["errors"], ["explain", str(tmp_path / "a.mp4")], ["status"]):
        strict(inline(args[0], out, *args[1:], "--json").out)
    [odd] = strict(inline("sql", out, "SELECT 'nan'::DOUBLE AS x, ['inf'::DOUBLE] AS y, {'z': '-inf'::DOUBLE} AS s", "--json").out)
    assert odd == {"x": None, "y": [None], "s": {"z": None}}


def test_a_column_of_words_and_numbers_can_be_asked_for(tmp_path: Path) -> None:
    for k in (1, 2):
        render(tmp_path / f"{k}.mp4", film(160, 96, [60], seed=k))
    (tmp_path / "l.jsonl").write_text('{"uri": "1.mp4", "camera": "cam2"}\n{"uri": "2.mp4", "camera": 1}\n')
    out = tmp_path / "store"
    go(tmp_path / "l.jsonl", out, *KEEP)
    for where, camera in (("camera = 'cam2'", "cam2"), ("camera = '1'", 1)):
        assert [c["extra"]["camera"] for c in inline("clips", out, "--json", "--where", where).lines] == [camera]
    refused = inline("clips", out, "--where", "camera > 0")
    assert refused.code == 2 and refused.err.count("\n") == 1 and "Traceback" not in refused.err


def test_cases_13_and_29_what_cameras_and_recorders_write_is_taken_from_a_folder(data_dir: Path, tmp_path: Path) -> None:
    field = data_dir / "field"
    done = go([field / "13_unknown_suffixes", field / "29_recorder_raw_264"], tmp_path / "store", *KEEP)
    frames = {Path(v["uri"]).name: v["n_frames"] for v in seen(tmp_path / "store", *KEEP).videos()}
    six = ("DJI_0001.LRF", "GS010001.360", "MOV001.MOD", "MOV002.TOD", "recording.tp", "cam1.dav")
    assert frames == {**dict.fromkeys(six, 125), "cam.h264": 150}
    assert done.counts["passed_over"] == {"md": 2} and done.counts["videos_failed"] == 0


def test_no_error_of_a_video_of_the_field_has_a_line_of_source_in_it(data_dir: Path, tmp_path: Path) -> None:
    """Case 16, and all hostile files."""
    go([data_dir / "field" / "16_absurd_pixel_aspect", data_dir / "hostile"], tmp_path / "store", *KEEP)
    for row in seen(tmp_path / "store", *KEEP).errors():
        assert row["error_type"] != "UnforeseenError", row
        assert not any(word in row["error"] for word in (".py", "Traceback", "Error(", " line ")), row
