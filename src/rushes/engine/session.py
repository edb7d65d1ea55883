"""What the stages of one run share inside one process: children, captioner, books, the stop flag."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rushes.captions import make_engine
from rushes.engine.captioning import Captioner
from rushes.engine.fingerprints import Fingerprints
from rushes.engine.loop import Loop
from rushes.engine.rows import Stamp, received
from rushes.engine.shares import capacity
from rushes.engine.tally import Tally
from rushes.engine.workers import Workers
from rushes.errors import RushesError, StorageError
from rushes.log import note
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.media.guard import Stopped
from rushes.recipe import Recipe
from rushes.store.buffer import Buffer
from rushes.store.store import Store, now
from rushes.store.tables import CLIPS, ERRORS, FILES, MARKS, MEASURES, VIDEOS


class Session:
    """One run in one process. Stages reach it by its run id (`SESSIONS`), since what Daft carries must be plain data.

    Attributes:
        stop: set when the run is to end early; stages then return at once.
        fatal: the error that ends the run, if any.
    """

    def __init__(self, recipe: Recipe, prints: Fingerprints, store: Store, run_id: str, captioned: set[str]) -> None:
        self.recipe = recipe
        self.prints = prints
        self.store = store
        self.run_id = run_id
        self.captioned = captioned
        """Clips whose caption is present or failed for good."""
        self.stop = threading.Event()
        self.fatal: RushesError | None = None
        self.tally = Tally()
        self.rows = Buffer(store, [(CLIPS, ()), (MEASURES, MEASURE_COLUMNS), (FILES, ()), (VIDEOS, ()), (ERRORS, ()), (MARKS, ())])
        setup = {"store": store.root, "recipe": recipe.model_dump(mode="json"), "run_id": run_id}
        self.workers = Workers(recipe.scan, setup, self.stop)
        self.tally.capacity = capacity(recipe)
        engine = make_engine(recipe.captions)
        self.captioner = Captioner(engine, recipe, prints, store, run_id) if engine else None
        self.loop = Loop()
        """Where the captioner lives."""

    def close(self) -> None:
        """Ends the children and the loop."""
        self.workers.close()
        self.loop.close()

    def counts(self) -> dict[str, Any]:
        """All counts of the run so far: the tally's and the captioner's."""
        counts = self.tally.as_dict()
        if self.captioner is not None:
            counts |= {"caption_requests": self.captioner.requests, "captions_pending": self.captioner.pending}
            counts["errors"] |= dict(self.captioner.faults)
        return counts

    def die(self, error: RushesError) -> None:
        """Ends the run with an error; what is durable stays."""
        if self.fatal is None:
            self.fatal = error
            note(
                "run stopped",
                run_id=self.run_id,
                stage=error.step or "run",
                level="error",
                error_type=type(error).__name__,
                error=str(error),
            )
        self.stop.set()

    def video_stage(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Does one job of the plan; gives the kept clips that lack a caption."""
        if self.stop.is_set():
            return []
        clips = job["clips"] if job["kind"] == "clips" else self._work(job)
        return [] if self.captioner is None else [c for c in clips if c["clip_id"] not in self.captioned]

    def _work(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        uri = job["uri"]
        try:
            answer = self.workers.do(job, lambda seconds: self.tally.decoding(uri, seconds))
        except Stopped:
            return []
        finally:
            decoded_s = self.tally.decoding(uri, None)
        if "error" in answer:
            self.tally.add(footage_s=decoded_s, decoded_s=decoded_s)
            self._failed(job, answer["error"])
            return []
        done = answer["done"]
        with self.storing():
            self.rows.add(received(done["rows"]))
        scanned = job["kind"] == "scan"
        note(
            "video done", run_id=self.run_id, stage=job["kind"], key=job["video_id"], uri=uri, decoded_s=done["decoded_s"],
            clips_kept=done["kept"], clips_dropped=done["dropped"],
        )  # fmt: skip
        self.tally.busy(done["busy"])
        self.tally.add(
            footage_s=done["footage_s"], decoded_s=done["decoded_s"], videos_scanned=int(scanned), bytes_read=job["size"] if scanned else 0
        )
        if job["kind"] != "files":
            self.tally.add(clips_kept=done["kept"], clips_dropped=done["dropped"])
        return list(done["clips"])

    def _failed(self, job: Mapping[str, Any], error: Mapping[str, Any]) -> None:
        if error["fatal"]:
            self.die(StorageError(error["message"], mend="then run the same command again: it resumes"))
            return
        self.tally.add(videos_failed=1, bytes_read=job.get("size") or 0)
        rows = self.failure_rows(job, error, job["kind"])
        if job["kind"] != "scan":  # its scan stands; the next run tries again
            self.tally.add(videos_reused=-1)
            del rows["videos"]
        with self.storing():
            self.rows.add(rows)

    def failure_rows(self, video: Mapping[str, Any], error: Mapping[str, Any], stage: str) -> dict[str, list[dict[str, Any]]]:
        """Rows of `videos` and `errors` for a failed video."""
        self.tally.failure(error["type"])
        note(
            "video failed", run_id=self.run_id, stage=stage, level="warning", key=video.get("video_id"), uri=video["uri"],
            error_type=error["type"], error=error["message"], permanent=error["permanent"],
        )  # fmt: skip
        stamp = Stamp(self.run_id, now())
        who = {"uri": video["uri"], "video_id": video.get("video_id")}
        row = {
            **who, "status": "failed", "error_type": error["type"], "error": error["message"], "size_bytes": video.get("size"),
            "stamp": video.get("stamp"), "extra": video.get("extra"),
        }  # fmt: skip
        attempt = {
            **who, "stage": stage, "key": who["video_id"] or who["uri"], "error_type": error["type"], "error": error["message"],
            "attempt": 1, "permanent": error["permanent"],
        }  # fmt: skip
        return {"videos": [stamp.on(row, self.prints.scan)], "errors": [stamp.on(attempt, self.prints.scan)]}

    async def caption_stage(self, clip: Mapping[str, Any]) -> str:
        """Captions one clip; gives the outcome."""
        if self.stop.is_set() or self.captioner is None:
            return "pending"
        outcome, seconds = "pending", 0.0
        try:
            outcome, seconds = await self.loop.run(self.captioner.caption(clip))
        except asyncio.CancelledError:  # the run is stopping
            return "pending"
        except StorageError as error:
            self.die(error)
        self.tally.busy({"captions": seconds})
        if outcome == "made":
            self.tally.add(captions_made=1)
        elif outcome == "failed":
            self.tally.add(clips_failed=1, clips_kept=-1)
        return outcome

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Around writes of the driver: a store that cannot be written ends the run."""
        try:
            yield
        except StorageError as error:
            self.die(error)


SESSIONS: dict[str, Session] = {}
"""The runs of this process, by run id."""
