"""Each key of the recipe is changed on a finished store: what `rushes plan` says is what `rushes run` does; going back costs nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

from caption_server import Running, start_server
from census import OF_VIDEOS, Attempt, attempt
from footage import render
from pictures import film
from rushes.engine.fingerprints import fingerprints
from rushes.engine.stages import STAGES
from rushes.recipe import Recipe, Rule, StageResources
from stores import SRC, inline, recipe, seen, settings_of
from variants import variants

NOTHING = ""
OWN_SCHEMA = Path(__file__).parent / "data" / "own.schema.json"


@dataclass(frozen=True, slots=True)
class Change:
    """A key's other value, the stages it makes anew, and how many clips get captions and files.

    `anew` names the stages whose fingerprint changes. `captions` and `files` are counted on the shelf below.
    """

    settings: tuple[str, ...]
    anew: str = NOTHING
    captions: int = 0
    files: int = 0


def change(setting: str, anew: str = NOTHING, captions: int = 0, files: int = 0) -> Change:
    return Change((setting,), anew, captions, files)


CUT = "shots measures"
SCAN = "scan shots measures"
LOOK = "frames captions"
CHANGES = {
    "scan.mode": change('scan.mode="fast"', "scan frames shots measures captions", 4),
    "scan.sparse_burst": change("scan.sparse_burst=4"),  # of effect in sparse mode alone: tests/test_sparse_runs.py
    "scan.sparse_s": change("scan.sparse_s=3"),
    "scan.stream": change('scan.stream="all"'),
    "scan.grid_per_s": change("scan.grid_per_s=3", SCAN),
    "scan.hole_s": change("scan.hole_s=20", SCAN),
    "scan.attempts": change("scan.attempts=5"),
    "scan.hang_s": change("scan.hang_s=50"),
    "scan.memory_gib": change("scan.memory_gib=3"),
    "scan.detectors": change('scan.detectors=["hash"]', SCAN),
    "shots.detector": change('shots.detector="stride"', CUT, 2, 2),
    "shots.threshold": change("shots.threshold=1e6", CUT, 2, 2),
    "shots.min_s": change("shots.min_s=1.0", CUT, 1, 1),
    "shots.gradual": change("shots.gradual=true", CUT),
    "shots.guard_s": change("shots.guard_s=0.2", CUT, 3, 3),
    "shots.max_s": change("shots.max_s=1.7", CUT, 2, 2),
    "shots.stride_s": change("shots.stride_s=2", CUT),
    "shots.trim_idle": change("shots.trim_idle=0.5", CUT),
    "shots.within_spans": change("shots.within_spans=true", CUT),
    "frames.at": change('frames.at="key"', LOOK, 4),
    "frames.per_s": change("frames.per_s=3", LOOK, 4),
    "frames.short_side_px": change("frames.short_side_px=64", LOOK, 4),
    "frames.quality": change("frames.quality=60", LOOK, 4),
    "frames.per_clip": change("frames.per_clip=2", "captions", 4),
    "frames.keep": change('frames.keep="kept"', "frames"),
    "rules.NAME.column": change('rules.too_short.column="n_frames"', NOTHING, 1, 1),
    "rules.NAME.min": change("rules.too_short.min=0.5", NOTHING, 1, 1),
    "rules.NAME.max": change("rules.too_short.max=1.9", NOTHING),
    "scores.use": change('scores.use=["frame_scorers:Brightness"]', "scores"),
    "scores.images": change("scores.images=3"),
    "scores.encoder": change('scores.encoder="another/encoder"'),
    "scores.encoder_revision": change('scores.encoder_revision="0123abc"'),
    "scores.encoder_images": change("scores.encoder_images=4"),
    "scores.batch": change("scores.batch=16"),
    "scores.labels": change('scores.labels.corridor=["an empty corridor"]'),
    "scores.templates": change('scores.templates=["{}"]'),
    "scores.aesthetic_model": change('scores.aesthetic_model="another/head"'),
    "scores.aesthetic_revision": change('scores.aesthetic_revision="0123abc"'),
    "scores.nsfw_clip_model": change('scores.nsfw_clip_model="head.pth"'),
    "scores.faces_model": change('scores.faces_model="faces.onnx"'),
    "scores.classifiers": change('scores.classifiers.mine={model="someone/classifier", label="mine"}'),
    "captions.engine": change('captions.engine="facts"', "captions", 4),
    "captions.base_url": change('captions.base_url="http://localhost:PORT/v1"'),
    "captions.model": change('captions.model="other-vlm"', "captions", 4),
    "captions.prompt": change('captions.prompt="short"', "captions", 4),
    "captions.facts_suffix": change("captions.facts_suffix=true", "captions", 4),
    "captions.max_tokens": change("captions.max_tokens=99", "captions", 4),
    "captions.temperature": change("captions.temperature=0.5", "captions", 4),
    "captions.system": change('captions.system="Be brief."', "captions", 4),
    "captions.json_schema": change(f'captions.json_schema="{OWN_SCHEMA}"', "captions", 4),
    "captions.top_p": change("captions.top_p=0.5", "captions", 4),
    "captions.seed": change("captions.seed=7", "captions", 4),
    "captions.repetition_penalty": change("captions.repetition_penalty=1.1", "captions", 4),
    "captions.extra_body": change("captions.extra_body={enable_thinking=false}", "captions", 4),
    "captions.frames_as": change('captions.frames_as="video"', "captions", 4),
    "captions.deadline_s": change("captions.deadline_s=500"),
    "captions.serve": change('captions.serve="transformers serve {model} --port {port}"'),
    "captions.serve_python": change('captions.serve_python="/usr/bin/python3"'),
    "captions.servers": change("captions.servers=2"),
    "captions.restarts": change("captions.restarts=1"),
    "captions.load_s": change("captions.load_s=60"),
    "captions.window_s": change("captions.window_s=100", "captions", 4),
    "captions.price_per_million_prompt_tokens": change("captions.price_per_million_prompt_tokens=1"),
    "captions.price_per_million_completion_tokens": change("captions.price_per_million_completion_tokens=1"),
    "captions.verify": change("captions.verify=false"),
    "captions.timeout_s": change("captions.timeout_s=33"),
    "captions.tries": change("captions.tries=6"),
    "captions.patience_s": change("captions.patience_s=9"),
    "clips.mode": change('clips.mode="copy"', "files", 0, 4),
    "clips.codec": change('clips.codec="vp9"', "files", 0, 4),
    "clips.short_side_px": change("clips.short_side_px=64", "files", 0, 4),
    "clips.fps": change("clips.fps=5", "files", 0, 4),
    "clips.crf": change("clips.crf=30", "files", 0, 4),
    "publish.verdict": change('publish.verdict="all"'),
    "publish.columns": change('publish.columns=["caption"]'),
    "publish.where": change('publish.where="n_frames > 0"'),
    "publish.order": change('publish.order="clip_id"'),
    "publish.sample": change("publish.sample=2"),
    "publish.partition_by": change('publish.partition_by=["codec"]'),
    "publish.bytes": change("publish.bytes=true"),
    "publish.frames": change("publish.frames=2"),
    "publish.paimon_python": change('publish.paimon_python="/usr/bin/python3"'),
    "publish.flavour": change('publish.flavour="messages"'),
    "publish.question": change('publish.question="What happens?"'),
    "publish.shard_mb": change("publish.shard_mb=100"),
    "publish.buckets": change('publish.buckets=["length"]'),
    "publish.video_key": change('publish.video_key="front"'),
    "publish.tolerance_s": change("publish.tolerance_s=0.01"),
    "publish.versions": change("publish.versions=3"),
    "resources.NAME.cpus": change("resources.scan.cpus=0.5"),
    "resources.NAME.gpus": change("resources.scan.gpus=1"),
    "resources.NAME.memory_gib": change("resources.files.memory_gib=2"),
    "resources.NAME.concurrency": change("resources.scan.concurrency=2"),
    "engine.runner": change('engine.runner="native"'),
    "engine.segment_s": change("engine.segment_s=1"),
    "engine.ray_address": change('engine.ray_address="local"'),
    "engine.metrics_port": change("engine.metrics_port=29876"),
    "storage": change('storage.memory.some_option="x"'),
}
"""Every key of the recipe. A new key must find its line here."""
OTHERS = {
    "rule and prompt": Change(("rules.too_short.min=0.5", 'captions.prompt="short"'), "captions", 5, 1),
    "rule and shots": Change(("rules.too_short.min=0.5", "shots.max_s=1.7"), CUT, 5, 5),
    "shots and model": Change(("shots.guard_s=0.2", 'captions.model="other-vlm"'), f"{CUT} captions", 3, 3),
    "frames and shots": Change(("frames.quality=60", "shots.min_s=1.0"), f"frames {CUT} captions", 4, 1),
    "signals and frames": Change(("scan.grid_per_s=3", "frames.per_s=3"), f"{SCAN} {LOOK}", 4),
    "a rule, frames of kept clips": Change(('frames.keep="kept"', "rules.too_short.min=0.5"), "frames", 1, 1),
    "facts, other shots": Change(('captions.engine="facts"', "shots.min_s=1.0"), f"{CUT} captions", 4, 1),
    "no frames, no words, no files": Change(('frames.keep="none"', "scores.use=[]", 'captions.engine="none"', 'clips.mode="reference"')),
    "a detector that was not run": Change(('scan.detectors=["hash"]', 'shots.detector="hash"'), SCAN, 1, 1),
}
"""Pairs, and what one key cannot say alone."""


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with start_server(mode="by_schema") as running:
        yield running


@pytest.fixture(autouse=True)
def _scorers_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that score find modules by PYTHONPATH."""
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{SRC}")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of five shots, four of which are long enough, a second name for one of them, and a file that is no video."""
    folder = tmp_path_factory.mktemp("shelf")
    render(folder / "a.mp4", film(192, 108, [45, 15, 80], seed=1), gop=12)
    render(folder / "b.mkv", film(192, 108, [40, 42], seed=2), gop=12)
    shutil.copyfile(folder / "a.mp4", folder / "second name.mp4")
    (folder / "broken.mp4").write_bytes(bytes(range(250)))
    return folder


@pytest.fixture(scope="module")
def wish(server: Running) -> tuple[str, ...]:
    """Settings of the first recipe: every stage, captions by the server."""
    return (
        "captions.engine=openai", "captions.model=tiny-vlm", f"captions.base_url={server.base_url}", "frames.per_clip=3",
        "clips.mode=encode",
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(shelf: Path, server: Running, wish: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Attempt]:
    """The finished store under the first recipe, and how it was made. Read only."""
    out = tmp_path_factory.mktemp("stores") / "first"
    return out, attempt(shelf, out, server, *wish)


@pytest.fixture
def out(first: tuple[Path, Attempt], tmp_path: Path) -> Path:
    """A copy of the finished store, to run on."""
    return Path(shutil.copytree(first[0], tmp_path / "store"))


BY_NAME: dict[str, type[BaseModel]] = {"rules": Rule, "resources": StageResources}


def keys_of_the_recipe() -> set[str]:
    """section.key of every key, by walking the model; rules and resources by any NAME."""
    found = set()
    for name, field in Recipe.model_fields.items():
        kind = field.annotation
        if name in BY_NAME:
            found |= {f"{name}.NAME.{key}" for key in BY_NAME[name].model_fields}
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= {f"{name}.{key}" for key in kind.model_fields}
        else:
            found.add(name)
    return found


def settings_for(case: Change, wish: tuple[str, ...], server: Running) -> tuple[str, ...]:
    return (*wish, *(s.replace("PORT", str(server.port)) for s in case.settings))


def anew(wish: tuple[str, ...], settings: tuple[str, ...]) -> set[str]:
    """Stages that a recipe wants and whose fingerprint is not that of the first recipe."""
    old, new = fingerprints(recipe(*wish)), fingerprints(recipe(*settings))
    return {s.name for s in STAGES if new.get(s.name) not in (None, old.get(s.name))}


def test_the_first_run_does_what_its_plan_said(first: tuple[Path, Attempt]) -> None:
    _, made = first
    assert made.missing() == dict.fromkeys(OF_VIDEOS, 3)  # the broken file looks like any other
    assert made.planned["unknown_videos"] == 3
    made.kept_its_word(unread=1, new_footage=True)
    assert [made.run[name] for name in ("videos_scanned", "videos_failed", "videos_duplicate")] == [2, 1, 1]
    assert (made.run["clips_kept"], made.run["clips_dropped"]) == (4, 1)
    assert (len(made.asked), len(made.new("files"))) == (4, 4)


def test_every_key_of_the_recipe_is_in_the_table() -> None:
    assert set(CHANGES) == keys_of_the_recipe()


COSTLY = {name: case for name, case in (CHANGES | OTHERS).items() if case.anew or case.captions or case.files}
QUICK = (
    "scan.mode", "shots.min_s", "captions.prompt", "clips.crf", "a rule, frames of kept clips",
)  # fmt: skip
"""One of each sort."""
FREE = {name: case for name, case in (CHANGES | OTHERS).items() if name not in COSTLY}


@pytest.mark.parametrize("name", variants(COSTLY, quick=QUICK))
def test_a_change_costs_what_the_plan_said_and_going_back_nothing(
    name: str, shelf: Path, out: Path, server: Running, wish: tuple[str, ...]
) -> None:
    case, shown = COSTLY[name], seen(out, *wish).clips()
    settings = settings_for(case, wish, server)
    assert anew(wish, settings) == set(case.anew.split())
    made = attempt(shelf, out, server, *settings)
    unread = int("scan" in case.anew.split())  # the broken file is tried under each scan
    assert set(made.missing(unread)) - {"captions", "files"} == set(case.anew.split()) - {"captions", "files"}
    made.kept_its_word(unread)
    assert (len(made.new("captions")), len(made.new("files"))) == (case.captions, case.files)
    assert {c["clip_id"] for c in made.clips if c["verdict"] == "kept" and c["caption"] is None} == set()
    assert made.planned["unknown_videos"] == (2 if "shots" in case.anew.split() else 0) + unread
    back = attempt(shelf, out, server, *wish)
    back.did_nothing()
    assert back.clips == shown
    attempt(shelf, out, server, *settings).did_nothing()


def test_what_changes_no_row_costs_nothing(shelf: Path, out: Path, server: Running, wish: tuple[str, ...]) -> None:
    """Each alone by the plan, all together by a run."""
    assert len(FREE) >= 10
    for name, case in FREE.items():
        assert anew(wish, settings_for(case, wish, server)) == set(), name
    together = [s for case in FREE.values() for s in settings_for(case, (), server)]
    attempt(shelf, out, server, *wish, *together).did_nothing()


def test_the_commands_say_the_same(shelf: Path, out: Path, server: Running, wish: tuple[str, ...]) -> None:
    told = inline("plan", shelf, "--out", out, "--json", *settings_of(*wish, "rules.too_short.min=0.5")).lines[0]
    made = attempt(shelf, out, server, *wish, "rules.too_short.min=0.5")
    assert told == made.planned
    assert {stage: told[stage]["missing"] for stage in ("captions", "files")} == {"captions": 1, "files": 1}
    assert inline("runs", out, "--json").lines[-1]["caption_requests"] == 1
