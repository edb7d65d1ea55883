"""What the caption server of the tests holds requests to, and the answers it gives in each mode. Standard library only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

PLAIN_MODES = (
    "ok",
    "digest",
    "shuffled",
    "echo",
    "parts",
    "no_usage",
    "think",
    "fenced",
    "structured",
    "structured_fenced",
    "structured_prose",
    "structured_breach",
    "schema_refused",
    "video_refused",
    "opaque_refusal",
    "unknown_field",
    "max_completion_tokens",
    "empty",
    "refusal",
    "refusal_text",
    "filter",
    "length",
    "abort",
    "non_json",
    "no_choices",
    "error_200",
    "surrogate",
    "by_schema",
    "reasoning_only",
    "reasoning_cut",
    "thinking_aloud",
    "thinking_tag",
    "loop",
    "preamble",
    "no_images",
    "chinese",
    "sorry_sign",
)
"""Modes that answer after the service time. The rest answer at once: a number is that HTTP status."""
FAULT_MODES = (
    "400",
    "401",
    "402",
    "403",
    "404",
    "429",
    "quota",
    "500",
    "500_plain",
    "500_close",
    "503",
    "context",
    "slow",
    "drop",
    "half",
    "reset",
)
TOP_LEVEL = {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "response_format"}
OPTIONAL = {
    "top_p",
    "seed",
    "repetition_penalty",
    "top_k",
    "presence_penalty",
    "chat_template_kwargs",
    "reasoning_effort",
    "enable_thinking",
    "stream",
}
"""What a recipe may add: keys of `[captions]`, and what people write in `captions.extra_body`."""
TEST_PICTURE = b"Rushes test picture"
"""Stands in the pictures that Rushes draws itself, to try a server out."""
LABELS = {
    "subject": "interior", "style": "live_action", "camera_move": "static", "quality": "good", "exposure": "normal",
    "overlay_text": False, "watermark": False, "nsfw": False, "several_scenes": False, "time_lapse": False,
}  # fmt: skip
"""The labels of a structured answer, where a test asks for no others."""
LIES = {
    "thinking_aloud": "Okay, let me look at the frames. The user wants one sentence. WORDS",
    "thinking_tag": "\u25c1think\u25b7The hall is empty, I believe.\u25c1/think\u25b7 WORDS",
    "loop": "WORDS " + "The floor is grey and the walls are white. " * 12,
    "preamble": "Sure! Here is a description of the clip:\n\nWORDS",
    "no_images": "I'm sorry, but I don't see any images in your message. Please upload the frames and I will describe them.",
    "chinese": "一个明亮的大厅，地面干燥，左侧有一扇打开的门，墙上贴着一张告示。",  # noqa: RUF001
    "sorry_sign": "Sorry, we are closed, reads a sign on the glass door of a shop, and no one passes by. WORDS",
}
"""Answers of models that are no captions, but for the last, which quotes a sign in the picture."""


class Breach(Exception):
    """A request that breaks the protocol."""


def need(condition: object, words: str) -> None:
    if not condition:
        raise Breach(words)


@dataclass
class Content:
    """What a request's messages hold.

    Attributes:
        images: SHA-256 of each image.
        texts: all texts, in order.
        system: the text of the system message, or None.
        videos: how many of the images are videos.
        test: the images are test pictures of Rushes' own.
    """

    images: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    system: str | None = None
    videos: int = 0
    test: bool = False


def read_messages(messages: Any) -> Content:
    """What messages hold; raises Breach."""
    need(isinstance(messages, list) and messages, "messages must be a list with at least one message")
    found = Content()
    shas, texts = found.images, found.texts
    for message in messages:
        need(
            isinstance(message, dict) and message.get("role") in ("system", "user", "assistant"), "a message must be an object with a role"
        )
        content = message.get("content")
        if message["role"] == "system":
            need(message is messages[0] and isinstance(content, str), "a system message must be a text, and come first")
            found.system = content
            continue
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        need(isinstance(parts, list) and parts, "content must be a string or a list of parts")
        for part in parts:
            if part.get("type") == "text":
                need(isinstance(part.get("text"), str) and part["text"].strip(), "empty text part")
                texts.append(part["text"])
                continue
            if part.get("type") == "video_url":
                read_video(part.get("video_url", {}).get("url", ""), found)
                continue
            need(part.get("type") == "image_url", f"unknown part {part.get('type')!r}")
            need(texts and texts[-1].startswith("frame at "), "an image must follow its time")
            url = part.get("image_url", {}).get("url", "")
            head, _, data = url.partition(",")
            need(head == "data:image/jpeg;base64", f"not a JPEG data URL: {head[:60]!r}")
            try:
                jpeg = base64.b64decode(data, validate=True)
            except binascii.Error as error:
                raise Breach(f"bad base64: {error}") from error
            need(jpeg[:3] == b"\xff\xd8\xff" and jpeg[-2:] == b"\xff\xd9", "the image is not a whole JPEG")
            shas.append(hashlib.sha256(jpeg).hexdigest())
            found.test = TEST_PICTURE in jpeg
    return found


def read_video(url: str, found: Content) -> None:
    """Takes a video as one picture."""
    head, _, data = url.partition(",")
    need(head == "data:video/mp4;base64", f"not an mp4 data URL: {head[:60]!r}")
    need(found.texts and "the video that follows holds" in found.texts[-1], "a video must follow the times of its frames")
    mp4 = base64.b64decode(data, validate=True)
    need(mp4[4:8] == b"ftyp", "the video is no mp4")
    found.images.append(hashlib.sha256(mp4).hexdigest())
    found.videos += 1
    found.test = TEST_PICTURE in mp4


def check_body(body: Any) -> None:
    need(isinstance(body, dict), "the body must be a JSON object")
    foreign = sorted(set(body) - TOP_LEVEL - OPTIONAL)
    need(not foreign, f"unexpected fields {foreign}")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    need(isinstance(limit, int) and limit > 0, f"bad max_tokens {limit!r}")
    need(isinstance(body.get("temperature"), (int, float)) and 0 <= body["temperature"] <= 2, "bad temperature")
    form = body.get("response_format")
    if form is not None:
        need(form.get("type") == "json_schema" and isinstance(form.get("json_schema", {}).get("schema"), dict), "bad response_format")
        need(isinstance(form["json_schema"].get("name"), str), "response_format needs a name")


def fields_for(words: str) -> dict[str, Any]:
    """The answer that the schema of the built-in prompts asks for."""
    made: dict[str, Any] = {"scene": "a plain hall", "conditions": "evenly lit", "summary": words} | LABELS
    made |= {name: [] for name in ("signs", "anomalies", "changes", "risks")}
    return made | {"objects": [{"name": "door", "state": "open", "position": "left"}]}


def value_for(schema: dict[str, Any], words: str) -> Any:
    """A value that keeps a schema of plain types; its texts are `words`."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            return {name: value_for(inner, words) for name, inner in schema["properties"].items()}
        case "array":
            return [value_for(schema["items"], words)]
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return True
        case _:
            return words


def answer_of(mode: str, words: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The body of a 200 answer in one of PLAIN_MODES. `fields`: what a structured answer says besides, and instead of, `fields_for`."""
    content: Any = words
    finish, refusal = "stop", None
    more: dict[str, Any] = {}
    written = json.dumps(fields_for(words) | fields)
    if mode in ("structured", "schema_refused", "opaque_refusal"):
        content = written
    elif mode == "structured_fenced":
        content = f"```json\n{written}\n```"
    elif mode == "structured_prose":
        content = f"Here is the JSON:\n{written}\nAnything else?"
    elif mode == "structured_breach":
        content = json.dumps({**fields_for(words), "objects": ["a door"]})
    elif mode == "parts":
        content = [{"type": "text", "text": words[:5]}, {"type": "text", "text": words[5:]}]
    elif mode == "think":
        content = f"<think>\nThe user wants a caption of {{}} ...\n</think>\n\n{words}"
    elif mode == "fenced":
        content = f"```text\n{words}\n```"
    elif mode == "surrogate":
        content = f"\x00{words}\ud83d\x07"
    elif mode == "empty":
        content = " \n"
    elif mode == "refusal":
        content, refusal = None, "I can't help with identifying people."
    elif mode == "refusal_text":
        content = "I\u2019m sorry, but I can't assist with that request."
    elif mode == "filter":
        content, finish = "", "content_filter"
    elif mode == "length":
        content, finish = f"{words} and then the camera", "length"
    elif mode == "abort":
        finish = "abort"
    elif mode == "reasoning_only":
        content, more = None, {"reasoning_content": f"The user wants a caption. {words}"}
    elif mode == "reasoning_cut":
        content, finish, more = "", "length", {"reasoning": "Okay, let me look at the frames one by one."}
    elif mode in LIES:
        content = LIES[mode].replace("WORDS", words)
    message = {"role": "assistant", "content": content, "refusal": refusal, **more}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    made = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    return made if mode == "no_usage" else made | {"usage": usage}
