"""Captions of long clips: a clip is cut into windows, each is captioned by its own frames, and one call without frames merges the texts.

A window that has its row is not asked about again, so a run that was killed goes on where it was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from rushes.captions.prompts import Prompt
from rushes.captions.request import Answer, Engine, Part, Request
from rushes.captions.schema import FOLDER

if TYPE_CHECKING:
    import asyncio

TOLERANCE = 1e-6
"""Share of a window by which a clip may be longer than its windows: for the rounding of pts."""


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a clip: half-open, [start_pts, end_pts), in ticks of the video's time base. `index`: its number in the clip, from 0."""

    index: int
    start_pts: int
    end_pts: int


def windows_of(start_pts: int, end_pts: int, time_base: Fraction, window_s: float) -> tuple[Window, ...]:
    """The windows of a clip: as few equal ones as are no longer than `window_s` seconds; none where the clip itself is not, or for 0."""
    length_s = float((end_pts - start_pts) * time_base)
    n = math.ceil(length_s / window_s * (1.0 - TOLERANCE)) if window_s else 1
    if n < 2:
        return ()
    edges = [start_pts + (end_pts - start_pts) * k // n for k in range(n + 1)]
    return tuple(Window(k, edges[k], edges[k + 1]) for k in range(n))


def merge_text(prompt: Prompt) -> str:
    """The words before the task and the parts, in the language of the prompt. They are part of the fingerprint where there are windows."""
    name = "merge_zh.txt" if prompt.language == "chinese" else "merge.txt"
    return files("rushes.captions").joinpath(FOLDER, name).read_text(encoding="utf-8").strip()


def merge_messages(prompt: Prompt, request: Request, system: str | None = None) -> list[dict[str, Any]]:
    """The messages that ask for one caption out of those of a clip's windows.

    Raises:
        KeyError: the prompt names a column that the clip has not.
    """
    spans = (f"{part.span_s[0]:.1f} s to {part.span_s[1]:.1f} s: {part.text}" for part in request.parts)
    words = "\n\n".join([merge_text(prompt), prompt.filled(request.facts), *spans])
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": words}]


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a clip with windows.

    Attributes:
        answer: for the clip: its text and fields are the merged ones; its tokens, seconds and tries are those of all its windows and of the
            merging together, whichever run made them.
        now: the answers that were asked for now.
        of_windows: the answer for each window, by its number.
        merging: the request that merged them; None where there was none.
    """

    answer: Answer
    now: tuple[Answer, ...]
    of_windows: Mapping[int, Answer] = field(default_factory=dict)
    merging: Request | None = None


async def caption_in_windows(
    engine: Engine,
    clip: Request,
    windows: Sequence[Window],
    known: Mapping[int, Answer],
    request_for: Callable[[Window], Awaitable[Request]],
    keep: Callable[[Window, Answer], Awaitable[None]],
    places: asyncio.Semaphore,
) -> Asked:
    """Captions each window that has no answer yet, then merges all.

    Args:
        engine: whom to ask.
        clip: the clip, without frames.
        windows: its windows.
        known: answers of earlier runs by the number of the window.
        request_for: reads the frames of a window.
        keep: makes the answer of a window durable.
        places: limits the windows, of all clips, whose frames are in memory.

    Raises:
        ServerError: the fault is the server's. What was answered is kept.
    """
    import asyncio

    async def ask(window: Window) -> Answer:
        async with places:
            answer = await engine.caption(await request_for(window))
        if answer.error_type is None:
            await keep(window, answer)
        return answer

    missing = [window for window in windows if window.index not in known]
    found = await asyncio.gather(*map(ask, missing), return_exceptions=True)
    if failed := next((one for one in found if isinstance(one, BaseException)), None):
        raise failed
    now = [one for one in found if isinstance(one, Answer)]
    answers = {**known, **{window.index: answer for window, answer in zip(missing, now, strict=True)}}
    for window in windows:
        answer = answers[window.index]
        if answer.error_type is not None:
            what = f"window {window.index + 1} of {len(windows)}: {answer.error}"
            return Asked(_total(replace(answer, error=what), answers.values()), tuple(now), answers)
    merging = replace(clip, parts=_parts(windows, answers, Fraction(str(clip.facts["time_base"]))))
    merged = await engine.caption(merging)
    if merged.error_type is not None:
        merged = replace(merged, error=f"merging the captions of {len(windows)} windows: {merged.error}")
    return Asked(_total(merged, [*answers.values(), merged]), (*now, merged), answers, merging)


async def caption_at_hand(engine: Engine, clip: Request, pieces: Mapping[Window, Request], known: dict[int, Answer]) -> Asked:
    """Captions a clip all of whose frames are in memory.

    Args:
        engine: whom to ask.
        clip: the clip, with its frames.
        pieces: the request for each of its windows; none: it is asked about as a whole.
        known: answers for windows by their number; those that are made are added.

    Raises:
        ServerError: the fault is the server's. What was answered is in `known`.
    """
    import asyncio

    if not pieces:
        answer = await engine.caption(clip)
        return Asked(answer, (answer,))

    async def request_for(window: Window) -> Request:
        return pieces[window]

    async def keep(window: Window, answer: Answer) -> None:
        known[window.index] = answer

    whole, places = replace(clip, frames=(), times_s=()), asyncio.Semaphore(len(pieces))
    return await caption_in_windows(engine, whole, [*pieces], dict(known), request_for, keep, places)


def _parts(windows: Sequence[Window], answers: Mapping[int, Answer], tick: Fraction) -> tuple[Part, ...]:
    """What is to be merged, each part after its span in seconds from the clip's start."""
    start = windows[0].start_pts
    return tuple(
        Part((float((one.start_pts - start) * tick), float((one.end_pts - start) * tick)), _said(answers[one.index])) for one in windows
    )


def _said(answer: Answer) -> str:
    """What a window's answer says, to be merged: all its fields where it is structured."""
    return answer.text or "" if answer.fields is None else json.dumps(answer.fields, ensure_ascii=False)


def _total(answer: Answer, answers: Iterable[Answer]) -> Answer:
    """An answer with the tokens, seconds and tries of several together."""
    every = list(answers)

    def tokens(name: str) -> int | None:
        known = [n for one in every if (n := getattr(one, name)) is not None]
        return sum(known) if known else None

    return replace(
        answer, prompt_tokens=tokens("prompt_tokens"), completion_tokens=tokens("completion_tokens"),
        seconds=sum(one.seconds for one in every), tries=sum(one.tries for one in every),
    )  # fmt: skip
