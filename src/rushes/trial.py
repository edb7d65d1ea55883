"""Captions on trial: what a model is sent about a few kept clips of a store, and what it answers. Nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from rushes.captions import Answer, Engine, Request, make_engine
from rushes.captions.engines import ASKING
from rushes.captions.messages import shown_messages
from rushes.captions.openai_engine import OpenAIEngine
from rushes.captions.serving.fleet import OwnServers, loaded
from rushes.engine.local import shares_here
from rushes.engine.stages import resources
from rushes.engine.work.captions import request_of
from rushes.errors import StoreError
from rushes.recipe import Recipe
from rushes.records import Row
from rushes.results import Results
from rushes.results.choose import chosen_clips
from rushes.rows.clip_columns import even_pts
from rushes.store.store import Store


def tried(store: str, n: int, recipe: Recipe | None = None, settings: Sequence[str] = ()) -> list[Row]:
    """What a model is sent about some kept clips, and what it answers.

    Args:
        store: folder or URL.
        n: so many clips at most, the same ones each time, spread over the store.
        recipe: whose rules choose the clips, and whose `[captions]` and `[frames]` say what is sent; None: the newest run's.
        settings: `section.key=value`, over the newest run's recipe.

    Returns:
        For each clip `clip_id`, `uri`, `start_s`, `end_s`; `messages` (as sent: role and parts, a frame as its pts, second, size in pixels
        and bytes); `answer` (as it came), `caption` and `fields` (as they would be stored), `error_type`, `error`, `mend`, `finish_reason`,
        `prompt_tokens`, `completion_tokens`, `seconds`.

    Raises:
        StoreError: there is no store, or no clip is kept, or the rows of the recipe's shots and measures are missing.
        RecipeError: the captions cannot be made with these settings.
        ServerError: the server does not answer.
    """
    wanted = recipe or _newest(store, settings)
    engine = make_engine(wanted.captions, resources(wanted, "captions").concurrency)
    if engine is None:
        raise StoreError('captions.engine = "none" asks no one', step="caption", mend="--set captions.engine=openai, or facts")
    opened = Store.open(store, wanted.storage)
    no_captions = wanted.captions.model_copy(update={"engine": "none"})  # those of this recipe need not be there yet
    found = Results(opened, wanted.model_copy(update={"captions": no_captions}))
    clips = [clip for table in chosen_clips(found, verdict="kept", sample=n) for clip in table.to_pylist()]
    if not clips:
        raise StoreError(f"{store} holds no kept clip", step="caption", mend="run first, or widen the rules")
    pts_of = {clip["clip_id"]: _frames(found, wanted, clip) for clip in clips}
    requests = [request_of(clip, pts_of[clip["clip_id"]]) for clip in clips]
    with ExitStack() as held:
        own = held.enter_context(loaded(wanted.captions, shares_here(wanted))) if wanted.captions.engine == "serve" else None
        answers = asyncio.run(_ask(engine, requests, own))
    return [_row(wanted, *one) for one in zip(requests, (sorted(pts_of[c["clip_id"]]) for c in clips), answers, strict=True)]


def _newest(store: str, settings: Sequence[str]) -> Recipe:
    storage = Recipe.parse({}, overrides=[text for text in settings if text.startswith("storage.")]).storage
    return Results(Store.open(store, storage)).recipe.with_overrides(settings)


def _frames(found: Results, recipe: Recipe, clip: Row) -> dict[int, bytes]:
    """The bytes of the frames that a run would send, by pts."""
    fingerprint = found.prints.get("frames")
    if fingerprint is None:
        return {}
    there = found.store.frame_pts(clip["video_id"], fingerprint)
    return found.store.frames(clip["video_id"], fingerprint, even_pts(there, clip["start_pts"], clip["end_pts"], recipe.frames.per_clip))


async def _ask(engine: Engine, requests: Sequence[Request], own: OwnServers | None) -> list[Answer]:
    try:
        if own is not None and isinstance(engine, OpenAIEngine):
            await engine.move(own.state().up, own.key)
        return await asyncio.gather(*map(engine.caption, requests))
    finally:
        await engine.close()


def _row(recipe: Recipe, request: Request, pts: Sequence[int], answer: Answer) -> Row:
    return {
        "clip_id": request.clip_id, "uri": request.uri, "start_s": request.span_s[0], "end_s": request.span_s[1],
        "messages": shown_messages(recipe.captions, request, pts) if answer.tries and recipe.captions.engine in ASKING else [],
        "answer": answer.raw, "caption": answer.text, "fields": answer.fields, "error_type": answer.error_type, "error": answer.error,
        "mend": answer.mend, "finish_reason": answer.finish_reason, "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens, "seconds": answer.seconds,
    }  # fmt: skip


def as_text(row: Row) -> str:
    """One row of `tried` for people."""
    return "\n".join(_text_lines(row))


def _text_lines(row: Row) -> Iterator[str]:
    yield f"== {row['uri']} [{row['start_s']:.2f} s, {row['end_s']:.2f} s), clip {row['clip_id'][:8]}"
    for message in row["messages"]:
        yield f"-- {message['role']}:"
        for part in message["parts"]:
            yield _shown(part)
    if row["answer"] is not None:
        yield "-- answer:"
        yield row["answer"]
    if row["error"] is not None:
        yield f"-- no caption, {row['error_type']}: {row['error']}" + (f". Fix: {row['mend']}" if row["mend"] else "")
    elif row["caption"] != row["answer"]:
        yield "-- caption:"
        yield row["caption"]
    if row["completion_tokens"] is not None:
        yield f"-- {row['prompt_tokens']} tokens sent, {row['completion_tokens']} answered, {row['seconds']:.1f} s"


def _shown(part: Row) -> str:
    if "text" in part:
        return str(part["text"])
    if "video_frames" in part:
        return "[video of {video_frames} frames, mp4 of {bytes} bytes]".format(**part)
    return "[pts {pts}: {width}x{height}, JPEG of {bytes} bytes]".format(**part)
