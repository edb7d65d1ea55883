"""Structured captions: fields as columns of clips, and labels compared with measures and scores, in all readers, rules and runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from caption_server import Running, start_server
from rushes.captions.agreement import COMPARISONS, comparisons_of
from rushes.captions.fields import field_columns, field_values
from rushes.captions.prompts import load_prompt
from rushes.captions.schema import record_schema
from rushes.errors import RecipeError, ServerError
from rushes.results.agreed_sql import agreed_sql
from rushes.results.choose import chosen_clips
from rushes.results.query import query
from rushes.rows.agreed import agreed
from rushes.rows.clip_columns import reasons_of
from stores import Reel, go, inline, recipe, rows_of, seen, settings_of

OWN = {
    "type": "object",
    "properties": {
        "caption": {"type": "string"},
        "mood": {"type": "string", "enum": ["calm", "busy"]},
        "people": {"type": "integer"},
        "sure": {"type": ["number", "null"]},
        "wet": {"type": "boolean"},
        "boxes": {"type": "array", "items": {"type": "string"}},
        "place": {"type": "object", "properties": {"floor": {"type": "integer"}}},
    },
}


def test_each_field_of_a_schema_is_a_column_of_its_own_kind() -> None:
    kinds = {column.name: column.kind for column in field_columns(OWN)}
    assert kinds == {
        "caption_caption": "text", "caption_mood": "text", "caption_people": "int", "caption_sure": "double", "caption_wet": "bool",
        "caption_boxes": "text", "caption_n_boxes": "int", "caption_place": "text",
    }  # fmt: skip
    answer = {"caption": "A hall.", "mood": "calm", "people": 2.0, "wet": True, "boxes": ["红", "b"], "place": {"floor": 1}}
    assert field_values(answer, OWN) == {
        "caption_caption": "A hall.", "caption_mood": "calm", "caption_people": 2, "caption_sure": None, "caption_wet": True,
        "caption_boxes": '["红", "b"]', "caption_n_boxes": 2, "caption_place": '{"floor": 1}',
    }  # fmt: skip
    assert set(field_values(None, OWN).values()) == {None}
    assert field_columns(None) == ()
    for clash in ({"model": {"type": "string"}}, {"n_a": {"type": "integer"}, "a": {"type": "array"}}):
        with pytest.raises(RecipeError, match="another column of that name"):
            field_columns({"type": "object", "properties": clash})


CASES: list[tuple[str, dict[str, Any], bool | None]] = [
    ("camera_move", {"caption_camera_move": "pan_left", "camera_motion": "pan_left", "camera_motion_confidence": 0.9}, True),
    ("camera_move", {"caption_camera_move": "pan_left", "camera_motion": "pan_right", "camera_motion_confidence": 0.9}, False),
    ("camera_move", {"caption_camera_move": "pan_left", "camera_motion": "pan_right", "camera_motion_confidence": 0.4}, None),
    ("camera_move", {"caption_camera_move": "static", "camera_motion": "mixed", "camera_motion_confidence": 0.9}, None),
    ("camera_move", {"caption_camera_move": "unclear", "camera_motion": "static", "camera_motion_confidence": 0.9}, None),
    ("camera_move", {"caption_camera_move": None, "camera_motion": "static", "camera_motion_confidence": 0.9}, None),
    ("several_scenes", {"caption_several_scenes": True, "cuts": 2.0}, True),
    ("several_scenes", {"caption_several_scenes": True, "cuts": 0.0}, False),
    ("several_scenes", {"caption_several_scenes": False, "cuts": 0.0}, True),
    ("several_scenes", {"caption_several_scenes": False, "cuts": None}, None),
    ("exposure", {"caption_exposure": "dark", "luma_mean": 30.0, "clipped_share": 0.0}, True),
    ("exposure", {"caption_exposure": "normal", "luma_mean": 30.0, "clipped_share": 0.0}, False),
    ("exposure", {"caption_exposure": "normal", "luma_mean": 120.0, "clipped_share": 0.02}, True),
    ("exposure", {"caption_exposure": "overexposed", "luma_mean": 120.0, "clipped_share": 0.02}, False),
    ("exposure", {"caption_exposure": "overexposed", "luma_mean": 120.0, "clipped_share": 0.4}, True),
    ("exposure", {"caption_exposure": "dark", "luma_mean": 70.0, "clipped_share": 0.0}, None),
    ("exposure", {"caption_exposure": "dark", "luma_mean": float("nan"), "clipped_share": 0.0}, None),
    ("overlay_text", {"caption_overlay_text": True, "text_overlay": 0.0}, False),
    ("overlay_text", {"caption_overlay_text": True, "text_overlay": 0.03}, True),
    ("overlay_text", {"caption_overlay_text": False, "text_overlay": 0.0005}, None),
    ("nsfw", {"caption_nsfw": False, "nsfw": 0.95}, False),
    ("nsfw", {"caption_nsfw": False, "nsfw": 0.1}, True),
    ("nsfw", {"caption_nsfw": True, "nsfw": 0.5}, None),
]
KINDS = {"camera_motion": pa.string(), "caption_camera_move": pa.string(), "caption_exposure": pa.string()}
KINDS |= {f"caption_{name}": pa.bool_() for name in ("several_scenes", "overlay_text", "nsfw")}


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _, _ in CASES))
def test_a_label_agrees_or_not_with_what_was_measured_in_arrow_and_in_duckdb(name: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    [comparison] = [one for one in COMPARISONS if one.name == name]
    rows = [row for of, row, _ in CASES if of == name]
    table = pa.table({c: pa.array([row[c] for row in rows], KINDS.get(c, pa.float32())) for c in rows[0]})
    wanted = [truth for of, _, truth in CASES if of == name]
    assert agreed(comparison, table.column).to_pylist() == wanted
    with duckdb.connect() as base:
        base.register("clips", table)
        assert [row[0] for row in base.execute(f"SELECT {agreed_sql(comparison)} FROM clips").fetchall()] == wanted


def test_columns_without_any_value_agree_with_nothing() -> None:
    for one in COMPARISONS:
        table = pa.table({name: pa.nulls(2) for name in one.needs})
        assert agreed(one, table.column).to_pylist() == [None, None]


def test_the_rules_of_a_run_need_no_prompt_but_where_captions_are_made() -> None:
    """A process on another machine than the prompt's file judges clips by measures and scores."""
    gone = recipe(*SETTINGS, "captions.prompt=/nowhere/prompt.txt", "rules.x.column=agreement_camera_move", "rules.x.min=1")
    clip = {"duration_s": 3.0, "n_frames": 75, "camera_motion": "static", "camera_motion_confidence": 1.0}
    assert reasons_of(gone, [clip]) == [[]]
    told = clip | {"caption_camera_move": "pan_left"}
    [[reason]] = reasons_of(gone, [told], comparisons_of(record_schema(), clip))
    assert (reason["rule"], reason["value"], reason["bound"]) == ("x", 0.0, 1.0)


def test_a_comparison_is_made_only_where_label_and_evidence_are_there() -> None:
    measured = {"camera_motion", "camera_motion_confidence", "cuts", "luma_mean", "clipped_share"}
    assert [one.name for one in comparisons_of(record_schema(), measured)] == ["camera_move", "several_scenes", "exposure"]
    assert [one.name for one in comparisons_of(record_schema(), {"nsfw"})] == ["nsfw"]
    assert comparisons_of(OWN, measured) == comparisons_of(None, measured) == ()


def test_a_prompt_file_says_its_name_version_schema_and_language(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps(OWN))
    file = tmp_path / "round.txt"
    file.write_text(
        "---\nname: night round\nversion: 3b\nschema: own.json\nlanguage: chinese\n---\nRecord {speed}, said {camera_motion}.\n"
    )
    made = load_prompt(str(file))
    assert (made.name, made.version, made.language, made.schema) == ("night round", "3b", "chinese", OWN)
    assert made.id.startswith("night round-v3b-") and len(made.id) == len("night round-v3b-") + 8
    assert made.columns == ("speed", "camera_motion")
    assert made.filled({"speed": 1.5, "camera_motion": "static"}).startswith("Record 1.5, said static.\n\nAnswer with one JSON object")
    assert json.dumps(OWN, ensure_ascii=False) in made.text and "version" not in made.text
    file.write_text("---\nvresion: 3\n---\nRecord.")
    with pytest.raises(RecipeError, match=r"the head of the prompt file .* has the line 'vresion: 3'") as caught:
        load_prompt(str(file))
    assert "name, version, schema, language" in str(caught.value)
    file.write_text("Record ---\n---\nall.")
    assert load_prompt(str(file)).ask == "Record ---\n---\nall.", "a file without a head is text"


SETTINGS = ("captions.engine=openai", "captions.model=tiny-vlm", "captions.prompt=structured")
RULE = ("rules.contradicted.column=agreement_camera_move", "rules.contradicted.min=1", "clips.mode=copy")


def test_fields_and_agreements_are_columns_of_every_reader_and_rules_look_at_them(reel: Reel, tmp_path: Path, server: Running) -> None:
    """The films do not pan: a model that says so contradicts the measure, and the rule drops its clips before they are cut to files."""
    moves = {"camera_move": "pan_left", "exposure": "normal", "anomalies": ["a leak", "smoke"]}
    server.control(mode="structured", fields=moves)
    out, settings = tmp_path / "store", (*SETTINGS, f"captions.base_url={server.base_url}")
    result = go(reel.cuts.path, out, *settings, *RULE)
    found = seen(out, *settings, *RULE)
    clips = found.clips()
    measured = {c["clip_id"]: (c["measures"]["camera_motion"], c["measures"]["camera_motion_confidence"] or 0.0) for c in clips}
    asked = [c for c in clips if "too_short" not in {r["rule"] for r in c["reasons"]}]
    against = {c["clip_id"] for c in asked if measured[c["clip_id"]][0] not in ("pan_left", "mixed") and measured[c["clip_id"]][1] >= 0.5}
    assert len(asked) == 2 and against, "the films have two shots of 1.5 s or more, and one at least whose camera is known"
    dropped = {c["clip_id"] for c in asked if c["verdict"] == "dropped"}
    assert dropped == against == {c["clip_id"] for c in clips if c["agreements"]["agreement_camera_move"] is False}
    assert {r["rule"] for c in clips if c["clip_id"] in dropped for r in c["reasons"]} == {"contradicted"}
    counts = result.counts
    assert (counts["clips_kept"], counts["clips_dropped"], counts["reasons"]["contradicted"]) == (
        2 - len(dropped),
        1 + len(dropped),
        len(dropped),
    )
    assert (counts["captions_made"], counts["files_made"]) == (2, 2 - len(dropped))

    rows = rows_of(out, "captions", caption=field_columns(record_schema()))["captions"]
    assert [(r["caption_camera_move"], r["caption_n_anomalies"], r["caption_watermark"]) for r in rows] == [("pan_left", 2, False)] * 2
    assert json.loads(rows[0]["fields"])["anomalies"] == ["a leak", "smoke"]
    assert rows[0]["prompt_id"].startswith("structured-v2-")

    names = ("clip_id", "caption_camera_move", "caption_n_anomalies", "agreement_camera_move", "verdict")
    by_arrow = {row["clip_id"]: row for table in chosen_clips(found.results, names=names) for row in table.select(names).to_pylist()}
    by_sql = {row["clip_id"]: row for row in query(found.results, f"SELECT {', '.join(names)} FROM clips")}
    assert by_arrow == by_sql
    [table] = chosen_clips(found.results, where="caption_camera_move = 'pan_left' AND agreement_camera_move = false")
    assert set(table["clip_id"].to_pylist()) == dropped

    leaks = seen(out, *settings, "rules.leaks.column=caption_n_anomalies", "rules.leaks.max=1").clips()
    assert [c["verdict"] for c in leaks] == ["dropped"] * 3, "another rule on a field costs no run"
    again = inline("plan", reel.cuts.path, "--out", out, "--json", *settings_of(*settings, *RULE)).lines[0]
    assert [again[s]["missing"] for s in ("captions", "files")] == [0, 0]


@pytest.mark.slow
def test_a_run_that_is_broken_off_has_counted_what_captions_dropped(reel: Reel, tmp_path: Path) -> None:
    fields = {"anomalies": ["a leak", "smoke"]}
    with start_server(mode="structured", die_after=1) as server:
        server.control(mode="structured", die_after=1, fields=fields)
        settings = (*SETTINGS, f"captions.base_url={server.base_url}", "captions.patience_s=0", "resources.captions.concurrency=1")
        settings += ("rules.leaks.column=caption_n_anomalies", "rules.leaks.max=1")
        with pytest.raises(ServerError):
            go(reel.cuts.path, tmp_path / "store", *settings)
        row = seen(tmp_path / "store", *settings).runs()[-1]
    assert (row["captions_made"], row["clips_kept"], row["clips_dropped"], row["reasons"]) == (1, 1, 2, {"too_short": 1, "leaks": 1})


def test_a_rule_on_a_field_that_no_prompt_gives_is_an_error_of_the_recipe(reel: Reel, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="agreement_camera_move"):
        go(reel.cuts.path, tmp_path / "store", "rules.x.column=agreement_camera_move", "rules.x.min=1")
