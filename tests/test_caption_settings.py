"""Settings of servers and recipes that are wrong, in the words of real servers: each is named with the flag or key that mends it."""

from __future__ import annotations

import asyncio

import pytest

from caption_requests import ask, clip, engine_for, settings_for, words_for
from caption_server import CERTIFICATE, Running, start_server
from rushes.captions import filled_in, identity, make_engine
from rushes.captions.explain import right_address
from rushes.captions.known_models import known_model
from rushes.errors import RecipeError, ServerError
from variants import variants


def complaint(server: Running | str, **settings: object) -> ServerError:
    with pytest.raises(ServerError) as caught:
        asyncio.run(engine_for(server, **settings).check())
    return caught.value


@pytest.mark.parametrize(
    ("mode", "words", "mend"),
    [
        ("vllm_text_only", "takes no pictures", "captions.model"),
        ("sglang_text_only", "takes no pictures", "captions.model"),
        ("lm_studio_text_only", "takes no pictures", "captions.model"),
        ("lm_studio_no_adapter", "takes no pictures", "vision adapter"),
        ("ollama_text_only", "takes no pictures", "captions.model"),
        ("llama_cpp_text_only", "takes no pictures", "--mmproj"),
        ("vllm_image_limit", "fewer pictures in one request than frames.per_clip = 8", "--limit-mm-per-prompt '{\"image\": 8}'"),
        ("sglang_image_limit", "fewer pictures", "--limit-mm-data-per-request '{\"image\": 8}'"),
        ("xinference_image_limit", "fewer pictures", "--limit-mm-per-prompt"),
        ("deepinfra_image_limit", "fewer pictures", "frames.per_clip"),
        ("nginx_413", "no request as large", "client_max_body_size"),
        ("vllm_context", "too short", "--max-model-len"),
        ("sglang_context", "too short", "--context-length"),
        ("lm_studio_context", "too short", "LM Studio its context length"),
        ("lm_studio_n_keep", "too short", "frames.per_clip"),
        ("dashscope_stream", "streaming", "captions.model"),
        ("dashscope_thinking", "does not think", "captions.extra_body = { enable_thinking = false }"),
        ("sse", "streaming", "captions.extra_body = { stream = false }"),
        ("lm_studio_format", "response_format", "captions.prompt"),
        ("login_page", "Sign in to Acme", "OPENAI_API_KEY"),
        ("ollama_no_model", "has no model 'tiny-vlm'", "captions.model"),
        ("vllm_no_model", "has no model 'tiny-vlm'", "captions.model"),
        ("lm_studio_no_model", "has no model 'tiny-vlm'", "captions.model"),
        ("lm_studio_route", "no chat completions at this path", "captions.base_url"),
        ("lm_studio_200", "refused the request: The model has crashed", "log"),
        ("openai_temperature", "captions.temperature", "captions.temperature"),
        ("openai_unknown_key", "captions.repetition_penalty", "leave out captions.repetition_penalty"),
        ("nginx_plain_http", "http and https", "captions.base_url"),
        ("deepseek_unpaid", "payment", "account"),
        ("dashscope_unpaid", "payment", "account"),
        ("numbered", "refused the request", "[captions]"),
    ],
)
def test_what_settings_have_wrong_is_named_with_what_mends_it(server: Running, mode: str, words: str, mend: str) -> None:
    server.control(mode=mode)
    error = complaint(server, repetition_penalty=1.05)
    assert words in error.what
    assert mend in (error.mend or "")
    assert (error.permanent, error.exit_code) == (True, 3)
    assert len(server.stats()["tests"]) == 1, "what waiting does not mend is not tried again"


@pytest.mark.parametrize("kind", ["openai", "ollama", "fastapi", "not_allowed", "lm_studio", "web_app"])
@pytest.mark.parametrize("path", variants(["", "/v1/v1", "/v1/chat/completions", "/api"], quick=["", "/v1/v1"]))
def test_a_missing_or_doubled_v1_is_named_with_the_right_address(server: Running, kind: str, path: str) -> None:
    server.control(no_route=kind)
    error = complaint(f"{server.root}{path}")
    assert f"set captions.base_url to {server.base_url}" in (error.mend or ""), error
    assert error.permanent


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h/v1/v1/", "http://h/v1"),
        ("http://h/proxy/v1/v1", "http://h/proxy/v1"),
        ("http://h/v1/chat/completions", "http://h/v1"),
        ("http://h/v1/models", "http://h/v1"),
        ("http://h:11434/api/chat", "http://h:11434/v1"),
        ("http://h/v1", None),
        ("http://h/v1/", None),
        ("https://h/api/paas/v4", None),
        ("https://h/v1beta/openai", None),
    ],
)
def test_the_address_that_was_meant(address: str, right: str | None) -> None:
    assert right_address(address) == right


def test_a_certificate_that_nobody_signed_is_named_and_can_be_trusted() -> None:
    with start_server(tls=True) as server:
        error = complaint(server)
        assert "certificate that is not trusted" in error.what and "captions.verify" in (error.mend or "")
        assert error.permanent and server.stats()["tests"] == []
        for verify in (False, str(CERTIFICATE)):
            engine = make_engine(settings_for(server, verify=verify), 8)
            assert engine is not None
            assert asyncio.run(engine.check()) is None
    with pytest.raises(RecipeError, match=r"captions\.verify"):
        make_engine(settings_for("https://127.0.0.1:1/v1", verify="/nowhere.pem"), 8)


def test_https_to_a_server_that_speaks_http_is_named(server: Running) -> None:
    error = complaint(server.base_url.replace("http", "https"), timeout_s=5)
    assert "http and https" in error.what and error.permanent


def test_a_refusal_in_words_of_settings_is_marked_so_and_says_how_to_mend_it(server: Running) -> None:
    server.control(mode="vllm_image_limit")
    [answer] = ask(engine_for(server), clip(1, frames=3))
    assert (answer.error_type, answer.of_settings) == ("request_refused", True)
    assert "--limit-mm-per-prompt '{\"image\": 3}'" in (answer.mend or "")


def test_system_sampling_and_further_keys_are_sent_and_nothing_where_they_are_not_set(server: Running) -> None:
    ask(engine_for(server), clip(1))
    more = {"chat_template_kwargs": {"enable_thinking": False}}
    settings = {"system": "Answer in English.", "top_p": 0.8, "seed": 7, "repetition_penalty": 1.05, "extra_body": more}
    [answer] = ask(engine_for(server, **settings), clip(1))
    plain, full = server.stats()["requests"]
    assert (plain["system"], plain["sampling"]) == (None, {})
    assert full["system"] == "Answer in English."
    assert full["sampling"] == {"top_p": 0.8, "seed": 7, "repetition_penalty": 1.05, **more}
    assert answer.text == words_for(clip(1))
    with pytest.raises(ValueError, match="extra_body holds 'messages'"):
        settings_for(server, extra_body={"messages": []})


# Settings of known models


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", "Qwen3-VL"), ("qwen3-vl:8b", "Qwen3-VL"), ("Qwen/Qwen3-VL-4B-Thinking-FP8", "Qwen3-VL Thinking"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen2.5-VL"), ("Qwen/Qwen3.5-9B", "Qwen3.5, Qwen3.6"), ("OpenGVLab/InternVL3_5-8B", "InternVL"),
        ("HuggingFaceTB/SmolVLM2-2.2B-Instruct", "SmolVLM, SmolVLM2"), ("openbmb/MiniCPM-V-4_5", "MiniCPM-V"),
        ("google/gemma-3-12b-it", "Gemma 3"), ("tiny-vlm", None), ("meta-llama/Llama-3.2-11B-Vision", None), (None, None),
    ],
)  # fmt: skip
def test_a_models_family_is_told_by_its_name(model: str | None, family: str | None) -> None:
    known = known_model(model)
    assert (known.name if known else None) == family
    assert known is None or known.source


def test_what_the_makers_recommend_is_sent_where_the_recipe_leaves_it_open_and_is_part_of_the_fingerprint(server: Running) -> None:
    name = "Qwen/Qwen3.5-9B"
    server.control(model=name)
    assert ask(engine_for(server, model=name), clip(1))[0].error is None
    own = {"temperature": 0.2, "extra_body": {"top_k": 5, "chat_template_kwargs": {"x": 1}}, "max_tokens": 9}
    ask(engine_for(server, model=name, **own), clip(1))
    ask(engine_for(server, model=name, prompt="structured"), clip(1))
    first, second, third = server.stats()["requests"]
    table = {"top_k": 20, "presence_penalty": 1.5, "top_p": 0.8, "chat_template_kwargs": {"enable_thinking": False}}
    assert (first["sampling"], first["temperature"], first["max_tokens"]) == (table, 0.7, 512)
    kept = table | {"top_k": 5, "chat_template_kwargs": {"enable_thinking": False, "x": 1}}
    assert (second["sampling"], second["temperature"], second["max_tokens"]) == (kept, 0.2, 9)
    assert third["max_tokens"] == 1024
    made = identity(settings_for(server, model=name))
    assert made is not None and made["temperature"] == 0.7 and made["extra_body"]["chat_template_kwargs"] == {"enable_thinking": False}
    plain = identity(settings_for(server))
    assert plain is not None and (plain["temperature"], plain["max_tokens"], "extra_body" in plain) == (0.0, 512, False)
    assert "thinking false" in filled_in(settings_for(server, model=name)) and filled_in(settings_for(server)) == ""


def test_a_server_that_refuses_a_key_of_the_table_is_asked_without_the_tables_keys(server: Running) -> None:
    name = "Qwen/Qwen3-VL-2B-Instruct"
    server.control(mode="unknown_field", model=name)
    first, second = ask(engine_for(server, model=name, concurrency=1), clip(1), clip(2))
    assert first.error is second.error is None
    assert [set(seen["sampling"]) for seen in server.stats()["requests"]] == [{"top_k", "presence_penalty", "top_p"}, set(), set()]
    server.control(mode="unknown_field", model=name)
    [refused] = ask(engine_for(server, model=name, extra_body={"top_k": 5}), clip(1))
    assert refused.error_type == "request_refused", "a key of the recipe is never left out"
