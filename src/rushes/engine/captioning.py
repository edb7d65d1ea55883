"""Captions of kept clips, made while videos are decoded: frames from the store, one engine, rows committed as they come.

When the server goes away, clips that arrive are left pending at once, so that scanning goes on; one of them now and then asks whether the
server is back.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rushes.captions import Answer, Engine, Request
from rushes.engine.fingerprints import Fingerprints
from rushes.engine.rows import Stamp
from rushes.engine.wanted import even_pts, second
from rushes.errors import ServerError
from rushes.log import note
from rushes.recipe import Recipe
from rushes.store.buffer import Buffer
from rushes.store.store import Store, now
from rushes.store.tables import CAPTIONS, ERRORS

ASK_EVERY_S = 5.0
"""How often a server that went away is asked whether it is back."""
AHEAD = 2
"""Clips whose frames are in memory, as a multiple of `captions.concurrency`: the next request is ready when one ends."""
VIDEOS_HELD = 64
"""Videos whose list of frame pts is kept: clips of one video come together."""
FACTS_OF_A_CLIP = ("uri", "first_pts")


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a clip: the outcome, seconds to the answer, requests made, type of the error of a failed one."""

    outcome: Literal["made", "failed", "pending"]
    seconds: float = 0.0
    requests: int = 0
    error_type: str | None = None


PENDING = Told("pending")


class Captioner:
    """Captions clips of one run. `caption` may be called many times at once, from one event loop.

    Attributes:
        down: why the server is considered away, or None.
    """

    def __init__(self, engine: Engine, recipe: Recipe, prints: Fingerprints, store: Store, run_id: str) -> None:
        self.down: ServerError | None = None
        self._down_since = 0.0
        self._turn = 0
        self._engine = engine
        self._recipe = recipe
        self._prints = prints
        self._store = store
        self._run_id = run_id
        self._asked = 0.0
        self._turns = asyncio.Semaphore(AHEAD * recipe.captions.concurrency)
        self._pts: OrderedDict[str, list[int]] = OrderedDict()
        self._buffer = Buffer(store, [(CAPTIONS, ()), (ERRORS, ())])

    async def caption(self, clip: Mapping[str, Any], turn: int) -> Told:
        """Captions one clip; its row is durable when this returns.

        Args:
            clip: its columns.
            turn: number of the pass over the plan; in a new one a server that was away is asked at once.

        Raises:
            StorageError: rows or frames could not be written or read.
        """
        async with self._turns:
            if turn != self._turn:
                self._turn, self._asked = turn, 0.0
            if self.down is not None and not await self._back():
                return PENDING
            request = await asyncio.to_thread(self._request, clip)
            try:
                answer = await self._engine.caption(request)
            except ServerError as error:
                if self.down is None:
                    self._down_since = time.monotonic()
                    note("caption server gone", run_id=self._run_id, stage="captions", level="warning", error=str(error))
                self.down, self._asked = error, time.monotonic()
                return PENDING
            await asyncio.to_thread(self._keep, clip, answer)
            requests = 0 if self._recipe.captions.engine == "facts" else answer.tries
            return Told("made" if answer.error_type is None else "failed", answer.seconds, requests, answer.error_type)

    async def _back(self) -> bool:
        if self._asked and time.monotonic() - self._asked < ASK_EVERY_S:
            return False
        self._asked = time.monotonic()
        try:
            await self._engine.check()
        except ServerError as error:
            self.down = error
            return False
        if self.down is not None:
            note("caption server back", run_id=self._run_id, stage="captions", away_s=round(time.monotonic() - self._down_since, 1))
        self.down = None
        return True

    def _request(self, clip: Mapping[str, Any]) -> Request:
        start, end = int(clip["start_pts"]), int(clip["end_pts"])
        frames: dict[int, bytes] = {}
        if self._recipe.captions.engine != "facts" and self._prints.frames is not None:
            chosen = even_pts(self._frame_pts(clip["video_id"]), start, end, self._recipe.frames.per_clip)
            frames = self._store.frames(clip["video_id"], self._prints.frames, chosen)
        order = sorted(frames)
        facts = {name: value for name, value in clip.items() if name not in FACTS_OF_A_CLIP}
        return Request(
            clip["clip_id"],
            tuple(frames[p] for p in order),
            tuple(second(p, clip) for p in order),
            facts,
            clip["uri"],
            (clip["start_s"], clip["end_s"]),
        )

    def _frame_pts(self, video_id: str) -> list[int]:
        found = self._pts.get(video_id)
        if found is None:
            assert self._prints.frames is not None
            found = self._pts[video_id] = self._store.frame_pts(video_id, self._prints.frames)
            while len(self._pts) > VIDEOS_HELD:
                self._pts.popitem(last=False)
        return found

    def _keep(self, clip: Mapping[str, Any], answer: Answer) -> None:
        assert self._prints.captions is not None
        stamp = Stamp(self._run_id, now())
        if answer.error_type is None:
            row = {
                "clip_id": clip["clip_id"], "video_id": clip["video_id"], "text": answer.text,
                "fields": None if answer.fields is None else json.dumps(answer.fields, ensure_ascii=False),
                "model": answer.model, "prompt_id": answer.prompt_id, "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.completion_tokens, "seconds": answer.seconds, "tries": answer.tries,
                "finish_reason": answer.finish_reason,
            }  # fmt: skip
            self._buffer.commit(self._buffer.add({"captions": [stamp.on(row, self._prints.captions)]}))
            return
        note(
            "caption failed", run_id=self._run_id, stage="captions", level="warning", key=clip["clip_id"], uri=clip["uri"],
            error_type=answer.error_type, error=answer.error,
        )  # fmt: skip
        row = {
            "stage": "captions", "key": clip["clip_id"], "video_id": clip["video_id"], "uri": clip["uri"], "start_s": clip["start_s"],
            "end_s": clip["end_s"], "error_type": answer.error_type, "error": answer.error, "attempt": answer.tries, "permanent": True,
        }  # fmt: skip
        self._buffer.commit(self._buffer.add({"errors": [stamp.on(row, self._prints.captions)]}))

    async def close(self) -> None:
        """Gives back connections."""
        await self._engine.close()
