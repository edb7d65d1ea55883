"""Captions on trial: what a model is sent about a few kept clips of a store, and what it answers. Nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from rushes.captions import Answer, Engine, Request, make_engine, needs
from rushes.captions.engines import ASKING
from rushes.captions.messages import shown_messages
from rushes.captions.openai_engine import OpenAIEngine
from rushes.captions.serving.fleet import OwnServers, loaded
from rushes.captions.windows import Asked, Window, caption_at_hand
from rushes.engine.local import shares_here
from rushes.engine.stages import resources
from rushes.engine.work.captions import request_of
from rushes.errors import StoreError
from rushes.recipe import Recipe
from rushes.records import Row
from rushes.results import Results
from rushes.results.choose import chosen_clips
from rushes.rows.clip_columns import clip_windows, even_pts, within
from rushes.store.store import Store


@dataclass(frozen=True, slots=True)
class _Trial:
    """What is asked about a clip.

    Attributes:
        request: about the whole clip.
        pts: of its frames, in order.
        pieces: about each of its windows, where it has some.
        pts_of: of the frames of each window.
    """

    request: Request
    pts: Sequence[int]
    pieces: Mapping[Window, Request]
    pts_of: Mapping[Window, Sequence[int]]


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
        `prompt_tokens`, `completion_tokens`, `seconds`; and `windows`, of a clip that has some: the same of each window, with its number
        and its span, while `messages` and `answer` of the clip are those of the merging.

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
    trials = [_trial(found, wanted, clip) for clip in clips]
    with ExitStack() as held:
        own = held.enter_context(loaded(wanted.captions, shares_here(wanted))) if wanted.captions.engine == "serve" else None
        answers = asyncio.run(_ask(engine, trials, own))
    return [_row(wanted, *one) for one in zip(trials, answers, strict=True)]


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


def _trial(found: Results, recipe: Recipe, clip: Row) -> _Trial:
    """The requests about a clip that a run would send, and the pts of their frames."""
    window_s = recipe.captions.window_s if "frames" in needs(recipe.captions) else 0.0
    of_windows = {window: within(clip, window) for window in clip_windows(clip, window_s)}
    frames = {window: _frames(found, recipe, piece) for window, piece in of_windows.items()}
    whole = {} if of_windows else _frames(found, recipe, clip)
    pieces = {window: request_of(piece, frames[window]) for window, piece in of_windows.items()}
    return _Trial(request_of(clip, whole), sorted(whole), pieces, {window: sorted(some) for window, some in frames.items()})


async def _ask(engine: Engine, trials: Sequence[_Trial], own: OwnServers | None) -> list[Asked]:
    try:
        if own is not None and isinstance(engine, OpenAIEngine):
            await engine.move(own.state().up, own.key)
        return await asyncio.gather(*(caption_at_hand(engine, one.request, one.pieces, {}) for one in trials))
    finally:
        await engine.close()


def _row(recipe: Recipe, trial: _Trial, asked: Asked) -> Row:
    of_windows = [
        {"window": window.index, **_of_answer(recipe, request, trial.pts_of[window], asked.of_windows[window.index])}
        for window, request in trial.pieces.items()
    ]
    who = {"clip_id": trial.request.clip_id, "uri": trial.request.uri}
    return who | _of_answer(recipe, asked.merging or trial.request, trial.pts, asked.answer) | {"windows": of_windows}


def _of_answer(recipe: Recipe, request: Request, pts: Sequence[int], answer: Answer) -> Row:
    is_sent = answer.tries and recipe.captions.engine in ASKING and (request.frames or request.parts)
    return {
        "start_s": request.span_s[0], "end_s": request.span_s[1],
        "messages": shown_messages(recipe.captions, request, pts) if is_sent else [],
        "answer": answer.raw, "caption": answer.text, "fields": answer.fields, "error_type": answer.error_type, "error": answer.error,
        "mend": answer.mend, "finish_reason": answer.finish_reason, "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens, "seconds": answer.seconds,
    }  # fmt: skip


def as_text(row: Row) -> str:
    """One row of `tried` for people."""
    return "\n".join(_text_lines(row))


def _text_lines(row: Row) -> Iterator[str]:
    yield f"== {row['uri']} [{row['start_s']:.2f} s, {row['end_s']:.2f} s), clip {row['clip_id'][:8]}"
    for window in row["windows"]:
        yield f"-- window {window['window'] + 1} [{window['start_s']:.2f} s, {window['end_s']:.2f} s):"
        yield from _words_of(window)
    if row["windows"] and row["messages"]:
        yield "-- merging:"
    yield from _words_of(row)


def _words_of(row: Row) -> Iterator[str]:
    """What was sent and answered, of a clip or a window of it."""
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
