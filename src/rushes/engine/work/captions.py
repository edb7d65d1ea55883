"""Captions of kept clips, made while videos are decoded: frames from the store, one engine, rows committed as they come.

When the server goes away, clips that arrive are left pending at once, so that scanning goes on; one of them now and then asks whether the
server is back. What waiting does not mend (a refused key, an empty account, a setting) ends the run.

A failure may be the fault of settings although its words do not say so. While no clip has a caption, a clip that failed is left pending,
and its failure is written in a later round; but when `ALIKE` clips in a row have failed in the same way, the run ends and these clips stay
pending.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from rushes.captions import Answer, Request, answer_schema, make_engine, needs
from rushes.captions.fields import field_values
from rushes.captions.openai_engine import OpenAIEngine
from rushes.captions.sample import sample_clip
from rushes.captions.windows import caption_in_windows
from rushes.engine.jobs import Caption, Outcome, Setup
from rushes.engine.stages import resources
from rushes.engine.work.windows import WindowRows, answer_row
from rushes.errors import Failure, ServerError
from rushes.log import note
from rushes.records import Row
from rushes.rows.clip_columns import caption_columns, clip_windows, comparisons, even_pts, judged_by, reasons_of, second, within
from rushes.rows.scanned import Stamp, attempt_row
from rushes.store.buffer import Buffer
from rushes.store.frames import FrameReader
from rushes.store.store import now
from rushes.store.tables import CAPTIONS, ERRORS, WINDOWS

ASK_EVERY_S = 5.0
"""How often a server that went away is asked whether it is back."""
AHEAD = 2
"""Clips whose frames are in memory, as a multiple of the requests under way: the next request is ready when one ends."""
ALIKE = 8
"""Different clips that fail one after the other in the same way, while none has a caption, until the fault is taken for one of settings."""
HELD = 256
"""Failures that are held back at most while no clip has a caption: so many that are not alike are the clips' own."""
NO_FACTS = ("uri", "first_pts", "extra")
"""Columns of a clip that are no facts about it; the manifest's columns in `extra` are added one by one."""
_NUMBERS = re.compile(r"[0-9a-f]{8,}(-[0-9a-f]+)*|\d+", re.IGNORECASE)
"""Parts of a message that differ from request to request: numbers, and ids of requests."""


class Captioner:
    """Captions clips of one run. `caption` may be called many times at once, from one event loop; it keeps to the limit of requests.

    Attributes:
        down: why the server is considered away, or None.
    """

    def __init__(self, setup: Setup) -> None:
        recipe = setup.recipe
        limit = resources(recipe, "captions").concurrency
        engine = make_engine(recipe.captions, limit)
        assert engine is not None, "the recipe wants no captions"
        self.down: ServerError | None = None
        self._down_since = 0.0
        self._engine = engine
        self._recipe = recipe
        self._fingerprint = setup.prints["captions"]
        self._store = setup.gated_store()
        frames = setup.prints.get("frames")
        self._frames = FrameReader(self._store, frames) if frames is not None and "frames" in needs(recipe.captions) else None
        self._run_id = setup.run_id
        self._asked = 0.0
        self._round = 0
        self._places = asyncio.Semaphore(AHEAD * limit)
        self._succeeded = False
        self._held: dict[str, Answer] = {}
        self._alike: tuple[tuple[str, str] | None, set[str]] = (None, set())
        self._schema = answer_schema(recipe.captions)
        self._judges = "captions" in judged_by(recipe)
        self._buffer = Buffer(self._store, [(CAPTIONS, fields := caption_columns(recipe)), (WINDOWS, fields), (ERRORS, ())])
        self._window_s = recipe.captions.window_s if self._frames is not None else 0.0
        self._window_places = asyncio.Semaphore(AHEAD * limit)
        self._windows = WindowRows(self._store, self._buffer, self._schema, self._fingerprint, self._run_id)

    async def caption(self, job: Caption) -> Outcome:
        """Captions one clip; its row is durable when this returns.

        Raises:
            StorageError: rows or frames could not be written or read.
        """
        async with self._places:
            if job.round != self._round:
                self._round, self._asked = job.round, 0.0
            if (held := self._held.pop(job.clip["clip_id"], None)) is not None:
                return await self._final(job.clip, held, {})
            if self.down is not None and not await self._back():
                return self._pending()
            try:
                answer, counts = await self._asked_for(job.clip)
                if answer.of_settings:
                    await self._engine.check(self._sample)  # raises where test pictures are refused, too: then it is not this clip
            except ServerError as error:
                if self.down is None:
                    self._down_since = time.monotonic()
                    note("caption server gone", run_id=self._run_id, stage="captions", level="warning", error=str(error))
                self.down, self._asked = error, time.monotonic()
                return self._pending()
            undecided = self._undecided(job.clip, answer)
            if undecided is not None:
                return replace(undecided, counts=counts, busy={"captions": answer.seconds})
            return replace(await self._final(job.clip, answer, counts), busy={"captions": answer.seconds})

    async def move(self, urls: Sequence[str], key: str) -> None:
        """From now on the servers, which the run has started itself, are those at these addresses; see `OpenAIEngine.move`."""
        assert isinstance(self._engine, OpenAIEngine)
        await self._engine.move(urls, key)
        self._asked = 0.0  # the next clip finds out whether one answers

    async def _final(self, clip: Row, answer: Answer, counts: dict[str, float]) -> Outcome:
        """Writes an answer, whatever it is."""
        stamp = Stamp(self._run_id, now())
        if answer.error_type is None:
            row = stamp.on(answer_row(clip, answer, self._schema), self._fingerprint)
            await asyncio.to_thread(self._buffer.commit, {"captions": [row]})
            broken = self._reasons(clip, answer) if self._judges else []
            dropped = {"clips_kept": -1.0, "clips_dropped": 1.0} if broken else {}
            return Outcome(counts=counts | {"captions_made": 1.0} | dropped, reasons=dict.fromkeys(broken, 1))
        note(
            "caption failed", run_id=self._run_id, stage="captions", level="warning", key=clip["clip_id"], uri=clip["uri"],
            error_type=answer.error_type, error=answer.error,
        )  # fmt: skip
        span_s = (clip["start_s"], clip["end_s"])
        failure = Failure(answer.error_type, answer.error or "", clip["uri"], span_s, "captions", answer.mend)
        row = stamp.on(attempt_row(clip, failure, "captions", clip["clip_id"], answer.tries, permanent=True), self._fingerprint)
        await asyncio.to_thread(self._buffer.commit, {"errors": [row]})
        return Outcome(counts=counts | {"clips_failed": 1.0, "clips_kept": -1.0}, failure=failure)

    def _reasons(self, clip: Row, answer: Answer) -> list[str]:
        """The rules that drop a clip, now that it has its caption."""
        [why] = reasons_of(self._recipe, [clip | field_values(answer.fields, self._schema)], comparisons(self._recipe))
        return [str(reason["rule"]) for reason in why]

    @cached_property
    def _sample(self) -> Request:
        return sample_clip(self._recipe.frames)

    def _pending(self) -> Outcome:
        """The outcome of a clip that cannot be captioned now: it stays pending, or the run ends where waiting does not help."""
        assert self.down is not None
        return Outcome(pending=True, failure=replace(Failure.of(self.down), fatal=self.down.permanent))

    def _undecided(self, clip: Row, answer: Answer) -> Outcome | None:
        """The outcome of a clip whose failure may yet turn out to be one of settings; None where the answer is final."""
        if answer.error_type is None:
            self._succeeded = True
        if self._succeeded or answer.tries == 0 or len(self._held) >= HELD:
            return None
        sort = (answer.error_type or "", _NUMBERS.sub("#", answer.error or ""))
        clips = self._alike[1] if self._alike[0] == sort else set()
        self._alike = (sort, clips | {clip["clip_id"]})
        if len(self._alike[1]) >= ALIKE:
            return Outcome(pending=True, failure=Failure.of(_of_settings(answer)))
        self._held[clip["clip_id"]] = answer
        return Outcome(pending=True)

    async def _back(self) -> bool:
        if self._asked and time.monotonic() - self._asked < ASK_EVERY_S:
            return False
        self._asked = time.monotonic()
        try:
            await self._engine.check(self._sample)
        except ServerError as error:
            self.down = error
            return False
        if self.down is not None:
            note("caption server back", run_id=self._run_id, stage="captions", away_s=round(time.monotonic() - self._down_since, 1))
        self.down = None
        return True

    def _request(self, clip: Row) -> Request:
        start, end = int(clip["start_pts"]), int(clip["end_pts"])
        frames: dict[int, bytes] = {}
        if self._frames is not None:
            chosen = even_pts(self._frames.pts(clip["video_id"]), start, end, self._recipe.frames.per_clip)
            frames = self._frames.jpegs(clip["video_id"], chosen)
        return request_of(clip, frames)

    async def _asked_for(self, clip: Row) -> tuple[Answer, dict[str, float]]:
        """The answer about a clip, and what asking for it adds to the counts of the run.

        Raises:
            ServerError: the fault is the server's.
        """
        if windows := clip_windows(clip, self._window_s):
            known = await asyncio.to_thread(self._windows.known, clip, windows)
            asked = await caption_in_windows(
                self._engine, request_of(clip, {}), windows, known, lambda window: asyncio.to_thread(self._request, within(clip, window)),
                lambda window, answer: asyncio.to_thread(self._windows.keep, clip, window, answer), self._window_places,
            )  # fmt: skip
            answer, now = asked.answer, asked.now
        else:
            answer = await self._engine.caption(await asyncio.to_thread(self._request, clip))
            now = (answer,)
        requests = 0 if self._recipe.captions.engine == "facts" else sum(one.tries for one in now)
        tokens = (sum(one.prompt_tokens or 0 for one in now), sum(one.completion_tokens or 0 for one in now))
        return answer, {"caption_requests": float(requests), "prompt_tokens": float(tokens[0]), "completion_tokens": float(tokens[1])}

    async def close(self) -> None:
        """Gives back connections."""
        await self._engine.close()


def request_of(clip: Row, frames: Mapping[int, bytes]) -> Request:
    """The request for a clip with columns as `rows.clip_columns.clip_columns` gives them, and frames as pts -> JPEG bytes."""
    order = sorted(frames)
    of_manifest = json.loads(clip.get("extra") or "{}")
    facts = of_manifest | {name: value for name, value in clip.items() if name not in NO_FACTS}
    times_s = tuple(second(pts, clip) for pts in order)
    return Request(clip["clip_id"], tuple(frames[pts] for pts in order), times_s, facts, clip["uri"], (clip["start_s"], clip["end_s"]))


def _of_settings(answer: Answer) -> ServerError:
    """The error that ends a run in which all clips failed in the same way."""
    what = (
        f"{ALIKE} clips in a row failed in the same way, and none has a caption: {answer.error_type}: {answer.error}. This is taken for a "
        "fault of the server's or the recipe's settings, so these clips stay pending"
    )
    mend = answer.mend or "look at the server's log and at how it was started"
    error = ServerError(
        what, step="captions", mend=f"{mend}; `rushes caption STORE --try 1` shows what is sent and answered; then run again"
    )
    error.permanent = True
    return error
