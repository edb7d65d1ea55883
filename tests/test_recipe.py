"""The recipe: one source of defaults, and words that name the right key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from rushes.engine.fingerprints import fingerprints
from rushes.errors import RecipeError
from rushes.recipe import Recipe
from rushes.recipe_text import as_toml

OPENAI = ("captions.engine=openai", "captions.model=m", "captions.base_url=http://x/v1")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("shots.treshold=1", "no key shots.treshold (value 1); did you mean shots.threshold?"),
        ("shot.min_s=1", "no key shot (value {'min_s': 1}); did you mean shots?"),
        ("frames.zzzzzz=1", "no key frames.zzzzzz (value 1); the keys there are at, keep, per_clip, per_s, quality, short_side_px"),
        ("rules.dark.minn=1", "no key rules.dark.minn (value 1); did you mean rules.dark.min?"),
        ("scan.mode=quick", "scan.mode = 'quick': must be 'exact', 'fast' or 'sparse'"),
        ("shots.detector=adaptiv", "use 'adaptive'"),
        ("captions.engine=fact", "did you mean 'facts'?"),
        ("frames.per_s=0", "frames.per_s = 0: Input should be greater than 0"),
        ("frames.per_s=nan", "frames.per_s = nan: Input should be a finite number"),
        ("shots.min_s=soon", "shots.min_s = 'soon'"),
        ("frames=1", "--set 'frames=1' is not section.key=value"),
        ("nonsense", "--set 'nonsense' is not section.key=value"),
        ("a=1", "--set 'a=1' is not section.key=value"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_the_nearest_right_one(setting: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse({}, overrides=[setting])
    assert words in str(caught.value)
    assert "Fix:" in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_wrong_keys_are_named_at_once() -> None:
    with pytest.raises(RecipeError, match=r"shots\.a.*frames\.b"):
        Recipe.parse({"shots": {"a": 1}, "frames": {"b": 2}})


def test_a_file_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    for text, words in ((b"[shots\n", "is not TOML"), (b"\xff\xfe", "cannot be read")):
        bad.write_bytes(text)
        with pytest.raises(RecipeError, match=words):
            Recipe.load(bad)
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.load(tmp_path / "absent.toml")
    with pytest.raises(RecipeError, match=r"no profile 'webb'.*'web'"):
        Recipe.profile("webb")


def test_settings_go_over_the_file_and_the_file_over_the_profile(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[frames]\nshort_side_px = 360\nquality = 70\n[rules.too_short]\nmin = 2.0\n[rules.wide]\ncolumn = "aspect"\nmax = 2.4\n'
    )
    made = Recipe.load(file, profile="inspection", overrides=["frames.quality=60"])
    assert (made.frames.short_side_px, made.frames.quality, made.shots.detector) == (360, 60, "stride")
    assert (made.rules["too_short"].min, made.rules["too_short"].column, made.rules["wide"].max) == (2.0, "duration_s", 2.4)
    assert Recipe.profile("inspection").frames.short_side_px == 720


def test_values_are_toml_else_text() -> None:
    made = Recipe.parse(
        {}, overrides=["captions.model=Qwen/Qwen3-VL-8B", "captions.base_url='http://a:1/v1'", "shots.gradual=false", "shots.max_s=1e1"]
    )
    assert (made.captions.model, made.captions.base_url, made.shots.gradual, made.shots.max_s) == (
        "Qwen/Qwen3-VL-8B",
        "http://a:1/v1",
        False,
        10.0,
    )


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Recipe().shots.min_s = 3  # type: ignore[misc]


@pytest.mark.parametrize("profile", ["web", "inspection"])
def test_the_printed_recipe_is_the_recipe(profile: str) -> None:
    text = as_toml(Recipe.profile(profile))
    assert Recipe.parse(tomllib.loads(text), profile=profile).model_dump() == Recipe.profile(profile).model_dump()
    assert text.count("#") > 30, "every key is explained"


def test_further_keys_of_requests_are_printed_and_read_back() -> None:
    made = Recipe.parse({}, overrides=["captions.extra_body.chat_template_kwargs.enable_thinking=false", "captions.extra_body.top_k=20"])
    assert made.captions.extra_body == {"chat_template_kwargs": {"enable_thinking": False}, "top_k": 20}
    assert Recipe.parse(tomllib.loads(as_toml(made))) == made
    for key in ("model", "messages"):
        with pytest.raises(RecipeError, match=f"extra_body holds '{key}'"):
            Recipe.parse({"captions": {"extra_body": {key: "x"}}})


def test_models_need_frames() -> None:
    with pytest.raises(RecipeError, match="needs frames"):
        Recipe.parse({}, overrides=["captions.engine=openai", "frames.keep=none"])


CHANGES = {
    "scan.mode=fast": {"scan", "frames", "shots", "measures", "captions"},
    "scan.grid_per_s=3": {"scan", "shots", "measures", "captions"},
    "shots.min_s=1": {"shots", "measures", "captions"},
    "frames.per_s=2": {"frames"},
    "frames.quality=50": {"frames"},
    "rules.too_short.min=1": set(),
    "captions.concurrency=1": set(),
    "scan.workers=3": set(),
    "scan.hang_s=3": set(),
    "scan.memory_gib=3": set(),
    "frames.per_clip=2": set(),
}


@pytest.mark.parametrize("setting", CHANGES)
def test_a_setting_changes_the_identity_of_what_it_changes_and_of_nothing_else(setting: str) -> None:
    """Under the facts engine, whose captions are made from measures."""
    before, after = (fingerprints(Recipe.parse({}, overrides=o)) for o in ([], [setting]))
    assert {stage for stage in before if before[stage] != after[stage]} == CHANGES[setting]


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("captions.prompt=short", {"captions"}),
        ("captions.model=other", {"captions"}),
        ("captions.temperature=1", {"captions"}),
        ("captions.base_url=http://y/v1", set()),
        ("captions.tries=9", set()),
        ("captions.timeout_s=9", set()),
        ("frames.per_clip=2", {"captions"}),
        ("frames.short_side_px=64", {"frames", "captions"}),
        ("shots.min_s=1", {"shots", "measures"}),
        ("frames.keep=kept", {"frames"}),
        ("clips.mode=copy", {"files"}),
    ],
)
def test_captions_of_a_model_depend_on_what_it_is_sent(setting: str, changed: set[str]) -> None:
    before, after = (fingerprints(Recipe.parse({}, overrides=[*OPENAI, *o])) for o in ([], [setting]))
    assert {stage for stage in before | after if before.get(stage) != after.get(stage)} == changed
