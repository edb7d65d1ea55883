"""The message sent for a clip: the prompt, the clip's length, then each frame after its time."""

from __future__ import annotations

import base64
from typing import Any

from rushes.captions.prompts import Prompt
from rushes.captions.request import Request


def clip_message(prompt: Prompt, request: Request) -> list[dict[str, Any]]:
    """One user message of text and image parts (many chat templates of vision models have no system role).

    The prompt comes first so that servers with a prefix cache read it once. Images are data URLs of the stored JPEG bytes,
    unchanged. The time of each frame is written before it, since a list of images has no times (LLaVA-Video was
    trained on this form).
    """
    length_s = request.span_s[1] - request.span_s[0]
    count = len(request.frames)
    parts = [
        _text(prompt.text),
        _text(f"The clip lasts {length_s:.1f} s; {count} frame{'s' if count > 1 else ''} of it follow{'' if count > 1 else 's'}."),
    ]
    for jpeg, at_s in zip(request.frames, request.times_s, strict=True):
        url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        parts += [_text(f"frame at {at_s:.1f} s"), {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}
