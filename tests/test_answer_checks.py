"""Answers that are no captions: each has a name and a reason, and descriptions that merely look like them are kept."""

# ruff: noqa: RUF001  (Chinese punctuation)

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from caption_protocol import fields_for
from caption_requests import ask, clip, engine_for, jpeg, words_for
from caption_server import Running
from rushes.captions import Request
from rushes.captions.accept import accept
from rushes.captions.answer_checks import is_preamble, is_thinking, loop_in, says_no_images
from rushes.captions.language import language_of, wrong_language
from rushes.captions.prompts import Prompt, load_prompt
from rushes.captions.reply import Reply
from rushes.captions.request import Rejection
from rushes.captions.schema import first_breach, load_schema, text_field
from rushes.captions.tidy import is_refusal
from rushes.errors import RecipeError

OWN = Path(__file__).parent / "data" / "own.schema.json"
DENSE = (
    "A delivery van reverses into a narrow yard between two brick walls while a man in an orange vest walks ahead of it and waves his left "
    "arm. The camera stays still at the height of his chest. At first the van fills the right half of the picture; then it turns, its rear "
    "lights come on, and it stops one metre in front of a stack of blue crates. The man lowers his arm, looks to the left and walks out of "
    'the picture. The light is flat and comes from above. A sign on the wall reads "No parking".'
)


@pytest.mark.parametrize(
    ("mode", "fault", "words", "mend"),
    [
        ("thinking_aloud", "thinking", "thinking is left", "enable_thinking = false"),
        ("thinking_tag", "thinking", "thinking is left", "enable_thinking = false"),
        ("loop", "loop", "floor is grey", "captions.repetition_penalty"),
        ("preamble", "preamble", "Sure! Here is", "captions.system"),
        ("no_images", "no_images", "shown no pictures", "captions.model"),
        ("chinese", "language", "asks for English, and the answer is in Chinese", "captions.system"),
        (
            "reasoning_only",
            "empty",
            "characters of reasoning",
            "captions.extra_body = { chat_template_kwargs = { enable_thinking = false } }",
        ),
        ("reasoning_cut", "empty", "cut off", "captions.max_tokens"),
    ],
)
def test_an_answer_that_is_no_caption_has_a_name(server: Running, mode: str, fault: str, words: str, mend: str) -> None:
    server.control(mode=mode)
    [answer] = ask(engine_for(server), clip(1))
    assert (answer.text, answer.error_type) == (None, fault)
    assert words in (answer.error or "") and mend in (answer.mend or "")


def test_a_sign_that_says_sorry_is_no_refusal(server: Running) -> None:
    server.control(mode="sorry_sign")
    [answer] = ask(engine_for(server), clip(1))
    assert answer.error is None and (answer.text or "").startswith("Sorry, we are closed, reads a sign")


@pytest.mark.parametrize(
    "text",
    [
        "Sorry, we are closed, says a board behind the window of a bakery.",
        "Sorry we cannot take cards is written on a cardboard sign beside the till.",
        "I'm sorry, I can't stop, reads a sticker on the rear window of a grey car.",
        "Sorry! Under repair. A yellow barrier stands in front of the lift.",
        "抱歉，暂停营业的牌子挂在玻璃门上，门内没有灯光。",
        "对不起，本机暂停服务，字样贴在售票机的屏幕上。",
        "Unfortunate weather: heavy rain falls on an empty street.",
    ],
)
def test_words_of_a_sign_are_no_refusal(text: str) -> None:
    assert not is_refusal(text)
    assert not says_no_images(text)


@pytest.mark.parametrize(
    "text",
    [
        "I don't see any images in your message.",
        "It seems that no images were provided. Please upload the frames so that I can describe them.",
        "I'm sorry, but I can't see the video you mentioned.",
        "There are no images attached to this conversation.",
        "I'm happy to help, but I don't see an image. You mentioned [img-0].",
        "The images were not included in your message.",
        "You haven't provided any frames.",
        "Unfortunately, I do not have access to the video frames.",
        "抱歉，我没有看到您提供的图片。",
        "请上传视频画面，我会为您描述。",
        "我无法查看图片，请您提供更多信息。",
    ],
)
def test_a_model_that_was_shown_nothing_says_so(text: str) -> None:
    assert says_no_images(text)


@pytest.mark.parametrize(
    "text",
    [
        "Okay, let's see. The user wants a dense caption.",
        "Got it, let me look at the frames first.",
        "The user wants me to describe a clip of a robot.",
        "So, I need to describe the video in one sentence.",
        "First, I should look at the frames.",
        "Hmm, let me think about what the frames show.",
        "好的，用户要求我描述这段视频。",
        "首先，我需要仔细观察这些画面。",
        "A hall. </think> A hall with doors.",
        "<|channel|>analysis<|message|>We see a hall.",
    ],
)
def test_thinking_aloud(text: str) -> None:
    assert is_thinking(text)


@pytest.mark.parametrize(
    "text",
    [
        "Sure! Here is a caption for the clip: a man walks.",
        "Certainly! A man walks through a hall.",
        "Of course, here's the description:\nA man walks.",
        "Here is a detailed description of the video:\n\nA man walks.",
        "Here's the one-sentence summary: a man walks.",
        "Okay, here is what I see: a man walks.",
        "**Sure, here is the caption:** A man walks.",
        "Below is a factual record of the clip:\nA hall.",
        "好的，这段视频展示了一个大厅。",
        "以下是对视频的描述：大厅里有一扇门。",
    ],
)
def test_preambles(text: str) -> None:
    assert is_preamble(text)


@pytest.mark.parametrize(
    "text",
    [
        DENSE,
        "A man walks a dog along a beach at dusk.",
        "Okapi graze between trees. Right of them stands a keeper.",
        "The user interface of a phone fills the picture; a thumb opens the settings.",
        "Here a path forks; two cyclists take the left branch.",
        "Well lit corridor with six doors, all closed, and a wet floor sign.",
        "Surely old, the wall has wide cracks. Great heaps of sand lie before it.",
        "First the gate opens, then a lorry drives in. I-beams lie on its bed.",
        "No images hang on the white walls of the empty gallery.",
        "No people are visible. No anomaly can be seen.",
        "A boy asks a clerk; the clerk shakes her head. Let me in is painted on the door.",
        "Gauge reads 0 0 0 0 0 0. Lamp off. Valve closed. Valve closed. Floor dry.",
        "Car passes. Car passes. Bus passes. Car passes. The light turns red, and a long queue forms behind the crossing.",
        "这是一条走廊，两侧各有三扇门，地面干燥，灯光明亮。未见异常。",
        "The record of the round begins at the gate. The gate is closed. The lamp beside it is on.",
        "Great Wall section seen from above, no visitors on it.",
        "OK, reads a green lamp above the machine; its door is closed.",
    ],
)
def test_descriptions_are_left_alone(text: str) -> None:
    assert not is_thinking(text)
    assert not is_preamble(text)
    assert not says_no_images(text)
    assert loop_in(text) is None
    assert not is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "The man walks. " * 12,
        "A hall with white walls and a grey floor and " + "a door and a window and " * 12,
        "A hall. " + "very " * 30,
        "红色的门，" * 12,
        "\n".join(f"{n}. The camera moves slowly to the left side." for n in range(1, 9)),
        DENSE + " The man looks at the van again." * 5,
    ],
)
def test_loops(text: str) -> None:
    assert loop_in(text)


def test_a_loop_that_was_cut_off_is_a_loop_and_not_too_few_tokens() -> None:
    made = accept(Reply("A hall. " + "The floor is grey and dry. " * 40, None, "length", 1, 512), load_prompt("dense"))
    assert isinstance(made, Rejection) and made.fault == "loop"


def test_a_list_of_things_that_are_alike_is_no_loop_and_a_text_that_loops_is_one() -> None:
    prompt = load_prompt("structured")
    things = [{"name": "box", "state": "closed", "position": "left"}] * 8
    fields: dict[str, Any] = fields_for("Eight boxes stand on the left of a hall.") | {"objects": things}
    made = accept(Reply(json.dumps(fields), None, "stop", 1, 1), prompt)
    assert not isinstance(made, Rejection), made
    made = accept(Reply(json.dumps(fields | {"summary": "A box is closed. " * 9}), None, "stop", 1, 1), prompt)
    assert isinstance(made, Rejection) and made.fault == "loop"
    made = accept(Reply(json.dumps(fields)[:-60] + '{"name": "box"}, ' * 30, None, "length", 1, 1), prompt)
    assert isinstance(made, Rejection) and made.fault == "loop"


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("short", "english"), ("dense", "english"), ("inspection", "english"), ("structured", "english"), ("inspection_zh", "chinese"),
    ],
)  # fmt: skip
def test_built_in_prompts_expect_their_own_language(prompt: str, language: str) -> None:
    assert load_prompt(prompt).language == language


def test_a_prompt_that_names_a_language_expects_none_that_can_be_told() -> None:
    assert language_of("Describe the clip in Chinese, please, with all that can be seen of it.") is None
    assert language_of("请用英文描述这段视频。") is None
    assert language_of("Опиши видео одним предложением.") is None
    assert language_of("Describe the clip.") == "latin"
    assert language_of("Décris la vidéo en une phrase, avec le lieu et les personnes que l'on voit dans la scène.") == "latin"


@pytest.mark.parametrize(
    ("text", "expected", "found"),
    [
        ("一个男人牵着狗沿着海滩散步，远处有几艘小船，天色渐暗。", "english", "Chinese"),
        ("一个男人牵着狗沿着海滩散步，远处有几艘小船，天色渐暗。", "latin", "Chinese"),
        ("Мужчина ведёт собаку вдоль берега моря вечером.", "english", "another script"),
        ("Un hombre pasea con el perro por la playa y los barcos están en el puerto al fondo de la escena.", "english", "Spanish"),
        ("Un homme marche dans la rue avec son chien et les voitures sont garées le long du trottoir.", "english", "French"),
        ("Ein Mann geht mit dem Hund über die Straße und das Licht der Laternen ist auf dem nassen Boden zu sehen.", "english", "German"),
        ("A man walks a dog along a beach at dusk while boats lie in the harbour.", "chinese", "Latin letters"),
        (DENSE, "english", None),
        ("Man, dog, beach, dusk, boats, harbour, calm sea, footprints, driftwood, gulls, clouds, lamps, pier.", "english", None),
        ('A banner across the road reads "热烈欢迎参加第二届全国机器人大会的各位来宾", and two buses pass below it.', "english", None),
        ("一块写着 “EXIT” 的标牌挂在门上方，旁边的设备型号为 KX-200。", "chinese", None),
        ("A man.", "english", None),
        ("A hall that was shown as b31044c5f941fe9f79e1e245.", "english", None),
        ("A blue van, plate E 7 E 41 E, waits near gate E, bay E, row E, beside a forklift.", "english", None),
    ],
)
def test_the_language_of_an_answer(text: str, expected: Any, found: str | None) -> None:
    assert wrong_language(text, expected) == found


# Prompts with columns, and schemas of one's own


def filmed(columns: dict[str, Any]) -> Request:
    return Request("clip1", (jpeg(1),), (0.5,), columns, "/footage/1.mp4", (2.0, 6.0))


def test_columns_of_the_clip_and_the_manifest_are_filled_in(server: Running, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text('Camera {camera}: {duration_s} s, sharpness {sharpness}, sound {has_audio}, noise {noise}. Form: {"a": {b c}, {}}.')
    columns = {"camera": "gate 2", "duration_s": 4.0041, "sharpness": 0.5249, "has_audio": True, "noise": None}
    [answer] = ask(engine_for(server, prompt=str(own)), filmed(columns))
    assert answer.error is None
    [seen] = server.stats()["requests"]
    assert seen["texts"][0] == 'Camera gate 2: 4 s, sharpness 0.52, sound yes, noise unknown. Form: {"a": {b c}, {}}.'
    assert load_prompt(str(own)).columns == ("camera", "duration_s", "sharpness", "has_audio", "noise")
    assert answer.prompt_id == load_prompt(str(own)).id
    [answer] = ask(engine_for(server, prompt=str(own)), filmed({"duration_s": 4.0}))
    assert (answer.error_type, answer.tries) == ("no_column", 0)
    assert "{camera}" in (answer.error or "")
    assert asyncio.run(engine_for(server, prompt=str(own)).check()) is None, "test pictures have every column, unknown"


def test_a_schema_of_ones_own_is_sent_and_kept(server: Running, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("Describe the shelf as JSON.")
    engine = engine_for(server, prompt=str(own), json_schema=str(OWN))
    [answer] = ask(engine, clip(1))
    assert answer.error_type == "schema"
    [seen] = server.stats()["requests"]
    assert seen["schema"] == json.loads(OWN.read_text())
    assert json.dumps(seen["schema"], ensure_ascii=False) in seen["texts"][0]
    server.control(mode="by_schema")
    [answer] = ask(engine, clip(1))
    assert answer.text == words_for(clip(1)) and answer.fields is not None
    assert first_breach(answer.fields, load_schema(str(OWN))) is None
    prompt = load_prompt(str(own), str(OWN))
    made = accept(Reply('{"caption": "A shelf with two boxes.", "people": 0, "note": null}', None, "stop", 1, 1), prompt)
    assert not isinstance(made, Rejection)
    assert (made.text, made.fields) == ("A shelf with two boxes.", {"caption": "A shelf with two boxes.", "people": 0, "note": None})


GOOD = {"caption": "A shelf with boxes.", "people": 2}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"people": 2.0, "kind": "yard", "boxes": [{"label": "a", "more": 1}]}, None),
        ({"people": True}, "answer.people is bool, the schema wants integer"),
        ({"people": 2.5}, "answer.people is float"),
        ({"people": 51}, "answer.people is 51, the schema wants at most 50"),
        ({"people": -1}, "at least 0"),
        ({"kind": "sea"}, "answer.kind is 'sea', the schema wants one of 'hall', 'yard', 'road'"),
        ({"note": 3}, "answer.note is int, the schema wants string or null"),
        ({"caption": "short"}, "answer.caption has 5 characters, the schema wants at least 8"),
        ({"boxes": [{"label": "a"}] * 4}, "answer.boxes has 4 items, the schema wants at most 3"),
        ({"boxes": [{"label": "a"}, {}]}, "answer.boxes[1] lacks label"),
        ({"mood": "calm"}, "fields the schema does not know: mood"),
    ],
)
def test_an_answer_is_held_to_a_schema_of_ones_own(change: dict[str, Any], words: str | None) -> None:
    """The same verdicts as the package jsonschema gives, where it is installed."""
    schema, value = load_schema(str(OWN)), GOOD | change
    breach = first_breach(value, schema)
    assert (breach is None) if words is None else words in (breach or "")
    peer = pytest.importorskip("jsonschema")
    assert peer.Draft202012Validator(schema).is_valid(value) is (words is None)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("no json", "cannot be read as JSON"),
        ('{"type": "array"}', "no schema of an object"),
        ('{"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}', "schema.a has pattern"),
        ('{"type": "object", "properties": {"a": {"type": "strng"}}}', "the type 'strng'"),
        ('{"type": "object", "properties": {"a": {"type": "integer"}}}', "no text that could be the caption"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_an_error_of_the_recipe(schema: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(schema)
    with pytest.raises(RecipeError, match=r"captions\.json_schema") as caught:
        load_schema(str(path))
    assert words in str(caught.value)
    with pytest.raises(RecipeError, match="schema of its own"):
        load_prompt("structured", str(OWN))


def test_the_captions_text_is_the_field_that_is_named_so() -> None:
    def fields(*names: str) -> dict[str, Any]:
        return {"type": "object", "properties": {name: {"type": "string"} for name in names}}

    assert text_field(fields("a", "description", "caption")) == "caption"
    assert text_field(fields("a", "b")) == "a"
    assert text_field(json.loads(OWN.read_text())) == "caption"


def test_what_goes_into_a_prompt_is_what_is_sent() -> None:
    assert Prompt("own", "Say {a}.").filled({"a": 1234567.891}) == "Say 1234567.89."
    assert Prompt("own", "Say {a}.").filled({"a": float("nan")}) == "Say unknown."
    assert words_for(clip(1))
