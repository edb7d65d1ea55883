"""Captions by a server: what is sent and what is made of the answers, against a real and strict HTTP server in another process."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from caption_requests import KEY, ask, clip, engine_for, settings_for, words_for
from caption_server import Running
from rushes.captions import identity, make_engine
from rushes.captions.openai_engine import OpenAIEngine
from rushes.captions.prompts import load_prompt
from rushes.errors import RecipeError

# What is sent


def test_the_stored_bytes_are_sent_unchanged_each_after_its_time(server: Running) -> None:
    request = clip(1, frames=8)
    [answer] = ask(engine_for(server, max_tokens=77), request)
    stats = server.stats()
    assert stats["violations"] == []
    [seen] = stats["requests"]
    assert seen["images"] == [hashlib.sha256(frame).hexdigest() for frame in request.frames]
    assert [text for text in seen["texts"] if text.startswith("frame at")] == [f"frame at {i + 0.5:.1f} s" for i in range(8)]
    assert seen["texts"][0] == load_prompt("short").text
    assert "4.0 s" in seen["texts"][1]
    assert seen["max_tokens"] == 77
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens, answer.finish_reason) == (words_for(request), 100, 20, "stop")
    assert (answer.model, answer.prompt_id, answer.tries) == ("tiny-vlm", load_prompt("short").id, 1)


def test_key_and_address_come_from_the_environment(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    server.control(key=KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    engine = make_engine(settings_for(server).model_copy(update={"base_url": None}), 8)
    assert isinstance(engine, OpenAIEngine)
    asyncio.run(engine.check())
    [answer] = ask(engine, clip(1))
    assert answer.error is None
    assert server.stats()["requests"][0]["authorization"] == f"Bearer {KEY}"


def test_no_more_requests_at_once_than_asked_and_answers_go_to_their_own_clips(server: Running) -> None:
    server.control(service_s=0.1)
    requests = [clip(number) for number in range(12)]
    answers = ask(engine_for(server, concurrency=3), *requests)
    assert [answer.text for answer in answers] == [words_for(request) for request in requests]
    assert server.stats()["max_in_flight"] == 3


def test_a_clip_without_frames_is_not_asked_about(server: Running) -> None:
    [answer] = ask(engine_for(server), clip(1, frames=0))
    assert (answer.text, answer.error_type, answer.tries) == (None, "no_frames", 0)
    assert (answer.error, answer.mend) == ("no stored frame lies inside the clip", "raise frames.per_s")
    assert server.stats()["requests"] == []


def test_one_engine_serves_two_event_loops_at_once(server: Running) -> None:
    server.control(service_s=0.1)
    engine = engine_for(server, concurrency=1)
    pairs = [(clip(1), clip(2)), (clip(3), clip(4))]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda pair: ask(engine, *pair), pairs))
    assert [[answer.text for answer in pair] for pair in answers] == [[words_for(request) for request in pair] for pair in pairs]


def test_facts_are_appended_when_asked(server: Running) -> None:
    [answer] = ask(engine_for(server, facts_suffix=True), clip(1))
    assert answer.text == f"{words_for(clip(1))} Measured: 4.0 s of video and evenly lit."


# Answers


@pytest.mark.parametrize("mode", ["ok", "echo", "parts", "no_usage", "think", "fenced", "surrogate", "max_completion_tokens"])
def test_forms_of_a_good_answer(server: Running, mode: str) -> None:
    server.control(mode=mode)
    [answer] = ask(engine_for(server), clip(1))
    assert (answer.error, answer.text, answer.model) == (None, words_for(clip(1)), "tiny-vlm")
    assert answer.prompt_tokens == (None if mode == "no_usage" else 100)


@pytest.mark.parametrize(
    ("mode", "fault", "words"),
    [
        ("empty", "empty", "empty once tidied"),
        ("refusal", "refused", "identifying people"),
        ("refusal_text", "refused", "assist with that request"),
        ("filter", "refused", "content_filter"),
        ("length", "truncated", "was cut off"),
        ("non_json", "bad_answer", "not JSON"),
        ("no_choices", "bad_answer", "no message"),
        ("context", "context_length", "4096 tokens"),
        ("400", "request_refused", "told to answer 400"),
        ("500", "server_error", "told to answer 500"),
        ("500_close", "server_error", "Internal Server Error"),
        ("drop", "dropped", "no answer"),
        ("half", "dropped", "no answer"),
        ("reset", "dropped", "no answer"),
        ("abort", "server_error", "broke off"),
        ("error_200", "server_error", "Provider returned error"),
    ],
)
def test_failures_of_a_clip_have_a_reason(server: Running, mode: str, fault: str, words: str) -> None:
    """The server answers requests without images, so the fault is the clip's."""
    server.control(poison=[hashlib.sha256(clip(1).frames[0]).hexdigest()], poison_mode=mode)
    bad, good = ask(engine_for(server), clip(1), clip(2))
    assert (bad.text, bad.fields, bad.error_type) == (None, None, fault)
    assert words in (bad.error or "")
    key = {"truncated": "captions.max_tokens", "context_length": "frames.per_clip"}.get(fault)
    assert key in (bad.mend or "") if key else bad.mend is None
    assert bad.tries == (6 if fault in ("server_error", "dropped") else 1)
    assert good.text == words_for(clip(2))


def test_slow_answers_time_out(server: Running) -> None:
    server.control(poison=[hashlib.sha256(clip(1).frames[0]).hexdigest()], poison_mode="slow", slow_s=3)
    bad, good = ask(engine_for(server, timeout_s=0.25), clip(1), clip(2))
    assert (bad.error_type, good.error_type) == ("timeout", None)
    assert "0.25 s" in (bad.error or "")


# Structured answers


@pytest.mark.parametrize("mode", ["structured", "structured_fenced", "structured_prose"])
def test_structured_answers_are_read_and_checked(server: Running, mode: str) -> None:
    server.control(mode=mode)
    [answer] = ask(engine_for(server, prompt="structured"), clip(1))
    assert answer.error is None
    assert answer.fields is not None
    assert answer.fields["objects"] == [{"name": "door", "state": "open", "position": "left"}]
    assert answer.text == answer.fields["summary"] == words_for(clip(1))
    assert server.stats()["requests"][0]["response_format"]


@pytest.mark.parametrize(
    ("mode", "fault", "words"),
    [
        ("structured_breach", "schema", "answer.objects[0] is str, the schema wants object"),
        ("ok", "schema", "no JSON object"),
        ("refusal_text", "refused", "assist"),
        ("length", "truncated", "length"),
    ],
)
def test_structured_answers_that_break_the_schema_fail(server: Running, mode: str, fault: str, words: str) -> None:
    server.control(mode=mode)
    [answer] = ask(engine_for(server, prompt="structured"), clip(1))
    assert (answer.text, answer.fields, answer.error_type) == (None, None, fault)
    assert words in (answer.error or "")


@pytest.mark.parametrize("mode", ["schema_refused", "opaque_refusal"])
def test_a_server_that_refuses_the_schema_is_asked_without_it_from_then_on(server: Running, mode: str) -> None:
    server.control(mode=mode)
    engine = engine_for(server, prompt="structured", concurrency=1)
    first, second = ask(engine, clip(1), clip(2))
    assert [first.text, second.text] == [words_for(clip(1)), words_for(clip(2))]
    assert [seen["response_format"] for seen in server.stats()["requests"]] == [True, False, False]
    assert '"additionalProperties": false' in server.stats()["requests"][1]["texts"][0]


# Recipe


def test_the_recipe_is_checked_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    latin = tmp_path / "latin.txt"
    latin.write_bytes("d\xe9cris".encode("latin-1"))
    good = settings_for("http://127.0.0.1:1/v1")
    for change, words in [
        ({"model": None}, "captions.model is not set"),
        ({"base_url": None}, "no address"),
        ({"base_url": "u:secret@127.0.0.1:8000/v1"}, "'127.0.0.1:8000/v1' is not an http address"),
        ({"prompt": "inspektion"}, "did you mean 'inspection'"),
        ({"prompt": str(empty)}, "is empty"),
        ({"prompt": str(latin)}, "not UTF-8"),
        ({"prompt": str(tmp_path)}, "file that can be read"),
    ]:
        with pytest.raises(RecipeError) as caught:
            make_engine(good.model_copy(update=change), 8)
        assert words in str(caught.value)
    assert make_engine(good.model_copy(update={"engine": "none"}), 8) is None


def test_identity_holds_what_changes_captions_and_nothing_else(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("Say what you see.")
    good = settings_for("http://127.0.0.1:1/v1")
    same = {"base_url": "http://elsewhere/v1", "timeout_s": 9.0, "tries": 9, "patience_s": 9.0, "verify": False}
    other: dict[str, object] = {"model": "m", "prompt": "dense", "max_tokens": 9, "temperature": 0.5, "facts_suffix": True}
    other |= {"system": "Be brief.", "top_p": 0.5, "seed": 1, "repetition_penalty": 1.1, "extra_body": {"enable_thinking": False}}
    other["json_schema"] = str(Path(__file__).parent / "data" / "own.schema.json")
    assert identity(good.model_copy(update=same)) == identity(good)
    for name, value in other.items():
        assert identity(good.model_copy(update={name: value})) != identity(good), name
    shown = {"code", "engine", "facts_code", "max_tokens", "model", "prompt", "schema", "temperature"}
    assert set(identity(good) or ()) == shown, "keys that are not set leave the fingerprints of older recipes as they were"
    mine = good.model_copy(update={"prompt": str(own)})
    before = identity(mine), load_prompt(str(own)).id
    own.write_text("Say what you see, briefly.")
    assert identity(mine) != before[0]
    assert load_prompt(str(own)).id != before[1]
    facts = good.model_copy(update={"engine": "facts"})
    assert identity(facts.model_copy(update={"model": "m", "prompt": "short"})) == identity(facts)
