"""The messages sent for a clip: the system message, if any, then the prompt, the clip's length, and its frames with their times."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rushes.captions.clip_video import mp4_of
from rushes.captions.prompts import Prompt, load_prompt
from rushes.captions.request import Request
from rushes.captions.windows import merge_messages
from rushes.recipe_captions import CaptionSettings


def clip_messages(prompt: Prompt, request: Request, system: str | None = None, *, as_video: bool = False) -> list[dict[str, Any]]:
    """One user message of text and pictures, after a system message where the recipe has one (many chat templates of vision models have
    no system role).

    The prompt comes first so that servers with a prefix cache read it once. Images are data URLs of the stored JPEG bytes,
    unchanged. The time of each frame is written before it, since a list of images has no times (LLaVA-Video was
    trained on this form). A video is a data URL of an mp4 made of the frames; the times stand before it, since a server may take frames
    from it at a rate of its own.

    Raises:
        KeyError: the prompt names a column that the clip has not.
    """
    length_s = request.span_s[1] - request.span_s[0]
    parts = [_text(prompt.filled(request.facts)), *(_video if as_video else _images)(request, f"The clip lasts {length_s:.1f} s;")]
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": parts}]


def messages_for(prompt: Prompt, request: Request, system: str | None) -> Callable[[bool], list[dict[str, Any]]]:
    """The messages for a clip as a function of `as_video`: what the server takes may turn out on the way. Those that merge the captions of
    its windows have no frames.
    """
    if request.parts:
        return lambda _as_video: merge_messages(prompt, request, system)
    return lambda as_video: clip_messages(prompt, request, system, as_video=as_video)


def _images(request: Request, length: str) -> Iterator[dict[str, Any]]:
    count = len(request.frames)
    yield _text(f"{length} {count} frame{'s' if count > 1 else ''} of it follow{'' if count > 1 else 's'}.")
    for jpeg, at_s in zip(request.frames, request.times_s, strict=True):
        yield _text(f"frame at {at_s:.1f} s")
        yield {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")}}


def _video(request: Request, length: str) -> Iterator[dict[str, Any]]:
    count, times = len(request.frames), [f"{at_s:.1f} s" for at_s in request.times_s]
    listed = times[0] if count == 1 else f"{', '.join(times[:-1])} and {times[-1]}"
    yield _text(f"{length} the video that follows holds {count} frame{'s' if count > 1 else ''} of it, at {listed}.")
    mp4 = mp4_of(request.frames, request.times_s)
    yield {"type": "video_url", "video_url": {"url": "data:video/mp4;base64," + base64.b64encode(mp4).decode("ascii")}}


def shown_messages(settings: CaptionSettings, request: Request, pts: Sequence[int]) -> list[dict[str, Any]]:
    """The messages for a clip as people can read them: role and parts; a part is a `text`, or of a frame `pts`, `width`, `height`, `bytes`,
    or of a video `video_frames`, `bytes`.

    Args:
        settings: the recipe's captions section.
        request: the clip.
        pts: of its frames, in order.
    """
    prompt = load_prompt(settings.prompt, settings.json_schema)
    sent = messages_for(prompt, request, settings.system)(settings.frames_as == "video")
    frames = iter(zip(pts, request.frames, strict=True))
    return [{"role": message["role"], "parts": [_shown(part, frames) for part in _parts(message["content"])]} for message in sent]


def _parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_text(content)] if isinstance(content, str) else content


def _shown(part: dict[str, Any], frames: Iterator[tuple[int, bytes]]) -> dict[str, Any]:
    """A part of a message; of an image its pts and size, from the next of `frames`; of a video how many of them it holds."""
    if part["type"] == "text":
        return {"text": part["text"]}
    if part["type"] == "video_url":
        data = part["video_url"]["url"].partition(",")[2]
        return {"video_frames": len(list(frames)), "bytes": len(base64.b64decode(data))}
    import cv2
    import numpy as np

    pts, jpeg = next(frames)
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED)
    height, width = picture.shape[:2] if picture is not None else (None, None)
    return {"pts": pts, "width": width, "height": height, "bytes": len(jpeg)}


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}
