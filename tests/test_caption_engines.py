"""The table of caption engines: an entry is all that a new engine needs, and no engine is left without a fingerprint."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest

from caption_requests import clip
from rushes.captions import Answer, Request, identity, make_engine, needs
from rushes.captions.engines import ENGINES, NO_CAPTIONS, EngineEntry, Need
from rushes.engine.fingerprints import fingerprints
from rushes.errors import RecipeError
from rushes.recipe import Recipe
from rushes.recipe_captions import CaptionSettings


class Echo:
    """An engine that answers with the clip's id and its number of frames."""

    async def check(self, sample: Request | None = None) -> None: ...

    async def caption(self, request: Request) -> Answer:
        return Answer(request.clip_id, f"{request.clip_id} of {len(request.frames)}", None, "echo", "echo", None, None, 0.0, None, 1)

    async def close(self) -> None: ...


def echo(*needed: Need, code: int = 1) -> EngineEntry:
    return EngineEntry(make=lambda _settings, _n: Echo(), identity=lambda _: {"code": code}, needs=lambda _: frozenset(needed))


def recipe(engine: str, *settings: str) -> Recipe:
    """A recipe with these settings whose engine may be one that the recipe's type does not name."""
    made = Recipe.parse({"captions": {"model": "m"}}, overrides=settings)
    return made.model_copy(update={"captions": made.captions.model_copy(update={"engine": engine})})


def captions_print(engine: str, *settings: str) -> str | None:
    return fingerprints(recipe(engine, *settings)).get("captions")


def test_the_recipe_names_the_engines_of_the_table() -> None:
    assert set(get_args(CaptionSettings.model_fields["engine"].annotation)) == {*ENGINES, NO_CAPTIONS}


def test_a_third_engine_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "echo", echo("measures"))
    engine = make_engine(recipe("echo").captions, 8)
    assert engine is not None
    assert asyncio.run(engine.caption(clip(7))).text == "clip7 of 2"
    prints = {name: captions_print(name) for name in ENGINES}
    assert prints.pop("serve") == prints["openai"], "who started a server changes no caption"
    assert len(ENGINES) == 4 and None not in prints.values() and len(set(prints.values())) == 3
    monkeypatch.setitem(ENGINES, "twin", echo("measures"))
    assert captions_print("twin") != captions_print("echo"), "the name is part of the identity"
    before = captions_print("echo")
    monkeypatch.setitem(ENGINES, "echo", echo("measures", code=2))
    assert captions_print("echo") != before


@pytest.mark.parametrize(("needed", "of_frames", "of_measures"), [((), 0, 0), (("frames",), 1, 0), (("measures",), 0, 1)])
def test_captions_depend_on_what_their_engine_needs(
    needed: tuple[Need, ...], of_frames: bool, of_measures: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "echo", echo(*needed))
    assert needs(recipe("echo").captions) == set(needed)
    plain = captions_print("echo")
    assert (captions_print("echo", "frames.per_s=3") != plain) == of_frames
    assert (captions_print("echo", "shots.min_s=1") != plain) == of_measures


def test_models_that_need_frames_are_refused_a_recipe_that_keeps_none() -> None:
    for name in ENGINES:
        settings = CaptionSettings.model_validate({"engine": name, "model": "m"})
        if "frames" in needs(settings):
            with pytest.raises(RecipeError, match="needs frames"):
                Recipe.parse({}, overrides=[f"captions.engine={name}", "frames.keep=none"])


def test_an_unknown_engine_is_an_error_of_the_recipe() -> None:
    for ask in (lambda settings: make_engine(settings, 8), identity, needs, lambda settings: fingerprints(recipe(settings.engine))):
        with pytest.raises(RecipeError) as caught:
            ask(recipe("openia").captions)
        assert (caught.value.step, caught.value.mend) == ("recipe", "use 'openai'")
        assert "captions.engine = 'openia'" in caught.value.what


def test_no_captions_have_no_engine_and_no_fingerprint() -> None:
    settings = recipe(NO_CAPTIONS).captions
    assert (make_engine(settings, 8), identity(settings), needs(settings), captions_print(NO_CAPTIONS)) == (None, None, frozenset(), None)
