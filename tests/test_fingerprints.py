"""Fingerprints: code versions are in them, and recipes that share a store do not touch each other's rows."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from census import Census
from footage import render
from pictures import film
from rushes.api import plan
from rushes.captions import facts, openai_engine
from rushes.engine import stages as engine_stages
from rushes.engine.fingerprints import fingerprints
from rushes.engine.stages import STAGES
from rushes.recipe import Recipe
from rushes.scores.listed import LISTED
from stores import go, inline, recipe, seen, settings_of

OPENAI = {"engine": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
WORDS = {
    "facts": {"engine": "facts"},
    "openai": OPENAI,
    "openai and facts": {**OPENAI, "facts_suffix": True},
}
VERSIONS: dict[str, tuple[Any, str, dict[str, str]]] = {
    "signals": (engine_stages, "SCAN_VERSION", {
        "facts": "scan shots measures captions", "openai": "scan shots measures", "openai and facts": "scan shots measures captions",
    }),
    "frames": (engine_stages, "FRAMES_VERSION", {
        "facts": "frames", "openai": "frames captions", "openai and facts": "frames captions",
    }),
    "shots": (engine_stages, "SHOTS_VERSION", {
        "facts": "shots measures captions", "openai": "shots measures", "openai and facts": "shots measures captions",
    }),
    "measures": (engine_stages, "MEASURES_VERSION", {
        "facts": "measures captions", "openai": "measures", "openai and facts": "measures captions",
    }),
    "agreement": (engine_stages, "ALIGNMENT_VERSION", {"facts": "", "openai": "", "openai and facts": ""}),  # test_alignment.py has more
    "clip files": (engine_stages, "FILES_VERSION", {"facts": "files", "openai": "files", "openai and facts": "files"}),
    "words of facts": (facts, "CODE", {"facts": "captions", "openai": "", "openai and facts": "captions"}),
    "words of a model": (openai_engine, "CODE", {"facts": "", "openai": "captions", "openai and facts": "captions"}),
}  # fmt: skip
"""Each code version: where it is, and by the engine of captions the stages whose rows it makes anew."""


def prints(words: dict[str, Any]) -> dict[str, str]:
    return fingerprints(Recipe.parse({"captions": words, "clips": {"mode": "encode"}}))


@pytest.mark.parametrize("step", VERSIONS)
@pytest.mark.parametrize("words", WORDS)
def test_a_raised_code_version_makes_its_stage_anew_and_those_made_from_it(step: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, stages = VERSIONS[step]
    before = prints(WORDS[words])
    monkeypatch.setattr(module, name, getattr(module, name) + 1)
    after = prints(WORDS[words])
    assert {s.name for s in STAGES if before.get(s.name) != after.get(s.name)} == set(stages[words].split())


def test_clip_files_of_stores_made_before_a_setting_existed_are_still_right() -> None:
    """The fingerprints of recipes without those settings."""
    names = {"encode": "803d6a43b84e785940a867cf36caf947", "copy": "5b94e0b7b43cb18a1aed26b39c74c564"}
    assert {mode: fingerprints(Recipe.parse({"clips": {"mode": mode}}))["files"] for mode in names} == names


OF_SCORES = {
    "encoder": "aesthetic nsfw_clip subject embedding", "aesthetic": "aesthetic", "nsfw_clip": "nsfw_clip", "subject": "subject",
    "embedding": "embedding", "nsfw": "nsfw", "text_overlay": "text_overlay", "faces": "faces", "image_class": "nsfw_vit watermark",
}  # fmt: skip
"""Module with a code version -> the scorers whose rows it makes anew."""


@pytest.mark.parametrize("module", OF_SCORES)
def test_a_raised_code_version_of_a_model_makes_its_scores_anew(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use = {"use": list(LISTED), "faces_model": "centerface.onnx", "nsfw_clip_model": "head.pth"}
    before = {one.name: one.fingerprint for one in engine_stages.wanted_scores(Recipe.parse({"scores": use}))}
    holder = importlib.import_module(f"rushes.{'models' if module == 'encoder' else 'scores'}.{module}")
    monkeypatch.setattr(holder, "VERSION", holder.VERSION + 1)
    after = {one.name: one.fingerprint for one in engine_stages.wanted_scores(Recipe.parse({"scores": use}))}
    assert {name for name in before if before[name] != after[name]} == set(OF_SCORES[module].split())


def test_every_code_version_is_in_the_table() -> None:
    """A constant of the source that is named VERSION or CODE raises some fingerprint, so it must be tried above."""
    source = Path(engine_stages.__file__).parent.parent
    found = set()
    for path in source.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, equals, value = line.partition(" = ")
            if equals and name.isidentifier() and value.isdigit() and (name.endswith("VERSION") or name == "CODE"):
                found.add(f"{path.stem}.{name}")
    found.discard("segments.VERSION")  # of rows that no stage reads: tests/test_segment_jobs.py
    found.discard("identity.VERSION")  # likewise: tests/test_identities.py
    found.discard("sparse.VERSION")  # of one mode: tests/test_sparse_runs.py
    found.discard("transnet.VERSION")  # of one detector: tests/test_transnet.py
    found.discard("target.RECORD_VERSION")  # of what a publish leaves in its target, which no stage reads
    found.discard("index.VERSION")  # of a file beside the store, of which a search reads its own version alone
    found -= {f"{module}.VERSION" for module in OF_SCORES}
    tried = {
        "one_pass.VERSION",
        "one_pass.FRAMES_VERSION",
        "find.VERSION",
        "clip.VERSION",
        "stages.FILES_VERSION",
        "stages.ALIGNMENT_VERSION",
    }
    assert found == tried | {"facts.CODE", "openai_engine.CODE"}
    assert len(VERSIONS) == len(found)


@pytest.fixture(scope="module")
def one_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one film of three shots: 1.8, 0.6 and 2 s."""
    folder = tmp_path_factory.mktemp("one_film")
    render(folder / "a.mp4", film(192, 108, [45, 15, 50], seed=1), gop=12)
    return folder


@pytest.fixture(scope="module")
def one_store(one_film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its store under the tests' recipe. Read only."""
    out = tmp_path_factory.mktemp("one_store") / "store"
    go(one_film, out)
    return out


@pytest.mark.parametrize("step", ["signals", "frames", "shots", "measures", "words of facts"])
def test_the_plan_misses_what_a_new_code_version_would_make(
    step: str, one_film: Path, one_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, stages = VERSIONS[step]
    monkeypatch.setattr(module, name, getattr(module, name) + 1)
    told = plan([one_film], out=one_store, recipe=recipe())
    missing = {stage for stage, row in told.items() if isinstance(row, dict) and row["missing"]}
    anew = set(stages["facts"].split())
    assert missing == (anew - {"captions"} if "measures" in anew else anew)
    assert told["unknown_videos"] == int("measures" in anew)
    assert (told["decode_s"] > 0) == bool({"scan", "frames"} & anew)


RECIPES: dict[str, tuple[str, ...]] = {
    "first": (),
    "other grid": ("frames.per_s=2", "rules.too_short.min=0.5"),
    "fast": ('scan.mode="fast"',),
    "other shots": ("shots.detector=stride", "shots.stride_s=1.1", "rules.too_short.min=0.5"),
    "own rules": ("rules.long.column=duration_s", "rules.long.max=1.9", 'captions.engine="none"'),
}


def shown(out: Path, *settings: str) -> tuple[Any, Any, Any]:
    """What readers see under a recipe: clips, captions, and videos but for which run decoded them."""
    found = seen(out, *settings)
    return found.clips(), sorted(found.captions(), key=lambda row: row["clip_id"]), found.videos()


@pytest.mark.slow
def test_recipes_that_share_a_store_see_what_each_would_see_alone(one_film: Path, tmp_path: Path) -> None:
    shared, alone = tmp_path / "shared", {}
    for name, settings in RECIPES.items():
        go(one_film, tmp_path / "alone", *settings)
        alone[name] = shown(tmp_path / "alone", *settings)
        shutil.rmtree(tmp_path / "alone")
        go(one_film, shared, *settings)
        for past in alone:
            assert shown(shared, *RECIPES[past]) == alone[past], f"{past} after {name}"
    before = Census.of(shared)
    for name in (*reversed(RECIPES), "first", "fast", "first"):
        counts = go(one_film, shared, *RECIPES[name]).counts
        verdicts = [c["verdict"] for c in alone[name][0]]
        assert [counts[f"clips_{v}"] for v in ("kept", "dropped", "failed")] == [verdicts.count(v) for v in ("kept", "dropped", "failed")]
        assert (counts["decoded_s"], counts["captions_made"]) == (0, 0)
    assert Census.of(shared) == before
    newest = inline("clips", shared, "--json").lines
    assert newest == alone["first"][0], "the newest run's recipe is the default"
    own = inline("clips", shared, "--json", *settings_of(*RECIPES["own rules"])).lines
    assert own == alone["own rules"][0]
    looser = inline("clips", shared, "--json", "--set", "rules.too_short.min=0.1").lines
    assert {c["verdict"] for c in looser} == {"kept"}


def test_the_views_give_one_row_for_a_key_and_fingerprint_of_any_recipe(one_film: Path, one_store: Path, tmp_path: Path) -> None:
    import duckdb

    out = Path(shutil.copytree(one_store, tmp_path / "store"))
    go(one_film, out, *RECIPES["fast"])
    with duckdb.connect() as base:
        base.execute(inline("views", out).out)
        for settings in ((), RECIPES["fast"]):
            wanted = seen(out, *settings)
            rows = base.execute("SELECT clip_id FROM clips WHERE fingerprint = ? ORDER BY 1", [wanted.prints["shots"]]).fetchall()
            assert [row[0] for row in rows] == sorted(c["clip_id"] for c in wanted.clips())
        assert base.execute("SELECT count(DISTINCT fingerprint) FROM clips").fetchone() == (2,)


def test_rules_apply_at_once_also_where_frames_are_those_of_kept_clips(one_film: Path, tmp_path: Path) -> None:
    keep = 'frames.keep="kept"'
    go(one_film, tmp_path / "store", keep)
    assert {c["verdict"] for c in seen(tmp_path / "store", keep, "rules.too_short.min=0.1").clips()} == {"kept"}
