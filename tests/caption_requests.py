"""Clips to caption and engines to ask, for the tests of captions."""

from __future__ import annotations

import asyncio
import hashlib

import cv2
import numpy as np

from caption_server import Running
from rushes.captions import Answer, Request
from rushes.captions.known_models import filled
from rushes.captions.openai_engine import OpenAIEngine
from rushes.captions.prompts import load_prompt
from rushes.recipe_captions import CaptionSettings

KEY = "sk-secret-0123456789"


def jpeg(seed: int) -> bytes:
    picture = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def clip(number: int, frames: int = 2) -> Request:
    pictures = tuple(jpeg(number * 100 + i) for i in range(frames))
    times = tuple(0.5 + i for i in range(frames))
    return Request(f"clip{number}", pictures, times, {"duration_s": 4.0, "luma_mean": 120.0}, f"/footage/{number}.mp4", (2.0, 6.0))


def words_for(request: Request) -> str:
    """What the server answers to this clip and to no other."""
    return f"A hall with {len(request.frames)} frames, first {hashlib.sha256(request.frames[0]).hexdigest()[:12]}."


def settings_for(server: Running | str | list[str], **changes: object) -> CaptionSettings:
    base_url = server.base_url if isinstance(server, Running) else server
    return CaptionSettings.model_validate({"engine": "openai", "base_url": base_url, "model": "tiny-vlm", "prompt": "short", **changes})


def engine_for(server: Running | str | list[str], key: str = "none", **changes: object) -> OpenAIEngine:
    concurrency = int(str(changes.pop("concurrency", 8)))
    settings = settings_for(server, **changes)
    urls = (settings.base_url,) if isinstance(settings.base_url, str) else settings.base_url or ()
    prompt = load_prompt(settings.prompt, settings.json_schema)
    full = filled(settings, structured=prompt.schema is not None)
    return OpenAIEngine(full.settings, prompt, of_table=full.of_table, urls=urls, key=key, concurrency=concurrency, first_backoff_s=0.002)


def ask(engine: OpenAIEngine, *requests: Request) -> list[Answer]:
    async def go() -> list[Answer]:
        try:
            return await asyncio.gather(*(engine.caption(request) for request in requests))
        finally:
            await engine.close()

    return asyncio.run(go())
