"""The messages sent for a clip: the system message, if any, then the prompt, the clip's length, and each frame after its time."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

from rushes.captions.prompts import Prompt, load_prompt
from rushes.captions.request import Request
from rushes.recipe_captions import CaptionSettings


def clip_messages(prompt: Prompt, request: Request, system: str | None = None) -> list[dict[str, Any]]:
    """One user message of text and image parts, after a system message where the recipe has one (many chat templates of vision models have
    no system role).

    The prompt comes first so that servers with a prefix cache read it once. Images are data URLs of the stored JPEG bytes,
    unchanged. The time of each frame is written before it, since a list of images has no times (LLaVA-Video was
    trained on this form).

    Raises:
        KeyError: the prompt names a column that the clip has not.
    """
    length_s = request.span_s[1] - request.span_s[0]
    count = len(request.frames)
    parts = [
        _text(prompt.filled(request.facts)),
        _text(f"The clip lasts {length_s:.1f} s; {count} frame{'s' if count > 1 else ''} of it follow{'' if count > 1 else 's'}."),
    ]
    for jpeg, at_s in zip(request.frames, request.times_s, strict=True):
        url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        parts += [_text(f"frame at {at_s:.1f} s"), {"type": "image_url", "image_url": {"url": url}}]
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": parts}]


def shown_messages(settings: CaptionSettings, request: Request, pts: Sequence[int]) -> list[dict[str, Any]]:
    """The messages for a clip as people can read them: role and parts, a part is a `text`, or of a frame `pts`, `width`, `height`, `bytes`.

    Args:
        settings: the recipe's captions section.
        request: the clip.
        pts: of its frames, in order.
    """
    sent = clip_messages(load_prompt(settings.prompt, settings.json_schema), request, settings.system)
    frames = iter(zip(pts, request.frames, strict=True))
    return [{"role": message["role"], "parts": [_shown(part, frames) for part in _parts(message["content"])]} for message in sent]


def _parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_text(content)] if isinstance(content, str) else content


def _shown(part: dict[str, Any], frames: Iterator[tuple[int, bytes]]) -> dict[str, Any]:
    """A part of a message; of an image its pts and size, from the next of `frames`."""
    if part["type"] == "text":
        return {"text": part["text"]}
    import cv2
    import numpy as np

    pts, jpeg = next(frames)
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED)
    height, width = picture.shape[:2] if picture is not None else (None, None)
    return {"pts": pts, "width": width, "height": height, "bytes": len(jpeg)}


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}
