"""What is made of a model's raw words: tidying, refusals, the schema, and servers' ways of saying no."""

# ruff: noqa: RUF001  (Chinese punctuation)

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from rushes.captions.backoff import MAX_WAIT_S, backoff_s, retry_after_s
from rushes.captions.prompts import BUILT_IN, load_prompt
from rushes.captions.reply import MAX_MESSAGE, FailedTry, error_message, read_reply
from rushes.captions.schema import first_breach, record_schema
from rushes.captions.tidy import is_refusal, read_fields, tidy

SCHEMA = record_schema()

GOOD: dict[str, Any] = {
    "scene": "a corridor",
    "objects": [{"name": "door", "state": "open", "position": "left"}],
    "signs": ["EXIT"],
    "anomalies": [],
    "conditions": "dim, dry ground",
    "changes": [],
    "risks": ["wet floor"],
    "summary": "A corridor with an open door.",
    "subject": "interior",
    "style": "live_action",
    "camera_move": "zoom_in",
    "quality": "good",
    "exposure": "dark",
    "overlay_text": False,
    "watermark": False,
    "nsfw": False,
    "several_scenes": False,
    "time_lapse": False,
}


@pytest.mark.parametrize(
    ("raw", "tidied"),
    [
        ("  A dog runs.\r\nIt stops. \n", "A dog runs.\nIt stops."),
        ("<think>A cat?\nNo.</think>\n\nA dog runs.", "A dog runs."),
        ("A cat? No.\n</think>\nA dog runs.", "A dog runs."),
        ("A dog<think>hm</think> runs.", "A dog runs."),
        ("<think>it never ends", ""),
        ("```\nA dog runs.\n```", "A dog runs."),
        ("```markdown\nA dog runs.\n```\n", "A dog runs."),
        ("Use ``` as\nfence```", "Use ``` as\nfence```"),
        ("A\x00 dog\x1b\ud83d runs.\t\x7f", "A dog runs."),
        ("走廊里有一扇开着的门。", "走廊里有一扇开着的门。"),
        (" \n\t", ""),
    ],
)
def test_tidy(raw: str, tidied: str) -> None:
    assert tidy(raw) == tidied
    tidied.encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I\u2019m sorry, I can\u2019t describe people.",
        "Sorry, I cannot help with this request.",
        "I cannot provide a description of these images.",
        "I am unable to view videos.",
        "As an AI language model, I do not see images.",
        "I apologize, but no frames were given.",
        "Unfortunately, I can't see any image.",
        "抱歉，我无法查看图片。",
        "很抱歉，我不能回答。",
        "对不起，无法处理该请求。",
        "作为一个AI，我没有视觉。",
        "我无法描述这些画面。",
    ],
)
def test_refusals(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        'A sign reads "Sorry, we are closed".',
        "\"I'm sorry, I can't\" is painted on a wall.",
        "A man says nothing; I can see a door.",
        "Unfortunately parked cars block the path.",
        "A person cannot pass: the door is closed.",
        "Asphalt road, as an aisle between shelves.",
        "门上贴着“抱歉，暂停服务”的告示。",
    ],
)
def test_descriptions_are_no_refusals(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"summary": None}, "answer.summary is NoneType, the schema wants string"),
        ({"signs": "EXIT"}, "answer.signs is str, the schema wants array"),
        ({"risks": ["a", 3]}, "answer.risks[1] is int"),
        ({"objects": [{"name": "door", "state": "open"}]}, "answer.objects[0] lacks position"),
        ({"mood": "calm"}, "fields the schema does not know: mood"),
    ],
)
def test_breaches_of_the_schema_are_named(change: dict[str, Any], words: str) -> None:
    assert words in (first_breach(GOOD | change, SCHEMA) or "")
    assert words in str(read_fields(json.dumps(GOOD | change), SCHEMA))


def test_fields_are_read_and_cleaned() -> None:
    dirty = json.dumps(GOOD | {"conditions": " dim, dry ground\x00\ud800 "})
    assert read_fields(dirty, SCHEMA) == GOOD
    assert read_fields(f"Here:\n```json\n{dirty}\n```\nDone.", SCHEMA) == GOOD
    assert "lacks" in str(read_fields("{}", SCHEMA))
    assert "not JSON" in str(read_fields(dirty[:-20], SCHEMA))
    assert "not JSON" in str(read_fields("{" + '"a":[' * 100_000, SCHEMA))
    assert "no JSON object" in str(read_fields("[]", SCHEMA))


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        ({"error": {"message": "no such model", "code": "model_not_found"}}, "no such model", "model_not_found"),
        ({"detail": "Server is pinned to 'x'"}, "Server is pinned to 'x'", None),
        ({"detail": [{"loc": ["body"], "msg": "bad"}]}, '[{"loc": ["body"], "msg": "bad"}]', None),
        ({"error": "model 'x' not found, try pulling it first"}, "model 'x' not found, try pulling it first", None),
        ({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, "too long", "BadRequestError"),
        (None, "Internal Server Error", None),
        ("Internal Server Error", "Internal Server Error", None),
    ],
    ids=["openai", "fastapi", "fastapi list", "ollama", "vllm", "plain", "plain as body"],
)
def test_errors_are_read_in_every_servers_form(body: object, words: str, code: str | None) -> None:
    assert error_message("Internal Server Error", body) == (words, code)


def test_a_server_that_echoes_the_request_is_cut_short() -> None:
    words, _ = error_message("", {"detail": "data:image/jpeg;base64," + "A" * 100_000})
    assert len(words) <= MAX_MESSAGE + 4


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"\xff\xfe", b'{"choices": {}}', b'{"choices": [{"message": "hi"}]}', b'"text"', b"[" * 100_000]
)
def test_bodies_that_are_no_completion(body: bytes) -> None:
    got = read_reply(body)
    assert isinstance(got, FailedTry)
    assert got.unreadable
    assert not got.transient


def test_waits_double_and_are_bounded() -> None:
    for tries, middle_s in [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (50, MAX_WAIT_S)]:
        waits = [backoff_s(tries, 0.5) for _ in range(200)]
        assert middle_s * 0.75 <= min(waits) < max(waits) <= middle_s * 1.25
        assert len(set(waits)) > 100


def test_retry_after_in_all_its_forms() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=30), usegmt=True)
    assert retry_after_s({"retry-after": "7"}) == 7.0
    assert retry_after_s({"retry-after": " 0.5 "}) == 0.5
    assert 28.0 <= (retry_after_s({"retry-after": soon}) or 0.0) <= 30.0
    assert retry_after_s({"retry-after": past}) == 0.0
    assert [retry_after_s({"retry-after": odd}) for odd in ("", "soon", "-3", "1s")] == [None] * 4
    assert retry_after_s({}) is None


def test_built_in_prompts_ask_for_what_they_promise() -> None:
    ids = {load_prompt(name).id for name in BUILT_IN}
    assert len(ids) == len(BUILT_IN)
    topics = {
        "inspection": (*SCHEMA["properties"], "layout", "ground", "robot", "nothing that cannot be seen", json.dumps(SCHEMA)),
        "inspection_zh": (
            "环境",
            "布局",
            "状态",
            "位置",
            "标识",
            "异常",
            "光照",
            "地面",
            "变化",
            "风险",
            "不要写任何看不到的内容",
            *SCHEMA["properties"],
            json.dumps(SCHEMA),
        ),
        "dense": ("chronological", "camera", "light", "cannot be seen"),
        "short": ("one sentence", "cannot be seen"),
        "structured": (*SCHEMA["properties"], "cannot be seen", json.dumps(SCHEMA)),
    }
    for name, words in topics.items():
        text = load_prompt(name).text
        assert [word for word in words if word.lower() not in text.lower()] == [], name
    assert [name for name in BUILT_IN if load_prompt(name).schema] == ["inspection", "inspection_zh", "structured"]
