"""What the stages of one run share inside one process: children, captioner, rows on their way. The driver's side is `desk.py`.

A session is built from plain data, on first use, in each process where Daft runs a stage: the driver on one machine, one process a node
on Ray.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from rushes.captions import make_engine
from rushes.engine import cluster
from rushes.engine.captioning import Captioner
from rushes.engine.desk import DeskGone, Door, Turn
from rushes.engine.fingerprints import fingerprints
from rushes.engine.loop import Loop
from rushes.engine.quarantine import described
from rushes.engine.reporter import Reporter
from rushes.engine.rows import Rows, Stamp, attempt_row, failed_video, received, tried
from rushes.engine.same_file import cause
from rushes.engine.segmenting import forget, present
from rushes.engine.shares import capacity
from rushes.engine.tally import Books
from rushes.engine.workers import Workers, worker_count
from rushes.errors import CrashError, StorageError, WorkerLost
from rushes.log import Level, buffer_events, note
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.media.guard import Child, Stopped
from rushes.recipe import Recipe
from rushes.store.buffer import Buffer
from rushes.store.store import Store, now
from rushes.store.tables import CLIPS, ERRORS, FILES, MARKS, MEASURES, VIDEOS

ASK_AGAIN_S = 0.2
"""How soon a free worker asks for a job again when there is none, but some may come back."""
COMMITTING = 2
"""Jobs whose rows are being committed while all children are at work: a child does not wait for the store."""


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a session is built from, as plain data.

    Attributes:
        run_id: the run.
        store: root of the store.
        recipe: the recipe, options of its storage included: it travels with the plan, and is not written anywhere.
    """

    run_id: str
    store: str
    recipe: dict[str, Any]


def video_tables() -> list[Any]:
    """The tables that a run's process writes for videos, with their declared columns, in the order of writing."""
    return [(CLIPS, ()), (MEASURES, MEASURE_COLUMNS), (FILES, ()), (VIDEOS, ()), (ERRORS, ()), (MARKS, ())]


class Session:
    """One run in one process.

    Args:
        setup: what to build.
        door: the desk.
        workers: children: videos decoded at once by this process.
        node: the machine's name at the desk. A node has one session of a run: a second one says that the first is dead, or, in the same
            process, that it has ended.
    """

    def __init__(self, setup: Setup, door: Door, workers: int, node: str) -> None:
        self.setup = setup
        self.recipe = Recipe.model_validate(setup.recipe)
        self.prints = fingerprints(self.recipe)
        self.stop = threading.Event()
        self._door = door
        self.store = Store(setup.store, self.recipe.storage)
        self._rows = Buffer(self.store, video_tables())
        self._workers = Workers(self.recipe.scan, workers, asdict(setup), self.stop)
        self._threads = ThreadPoolExecutor(workers + COMMITTING, thread_name_prefix="videos")
        self._loop = Loop()
        engine = make_engine(self.recipe.captions)
        self._captioner = Captioner(engine, self.recipe, self.prints, self.store, setup.run_id) if engine else None
        self._name = f"{node}/{os.getpid()}-{secrets.token_hex(2)}"
        room = capacity(self.recipe, workers)
        self.reporter = Reporter(self._name, door, room, on_stop=self._halt, on_close=lambda: close_session(setup.run_id))

    def close(self) -> None:
        """Ends the children and the loop, and tells the desk."""
        self.stop.set()
        self._workers.close()
        self._threads.shutdown(cancel_futures=True)
        self.reporter.close()
        if self.reporter.carrier is not None:
            self.reporter.carrier.close()
        if self._captioner is not None:
            self._loop.call(self._captioner.close())
        self._loop.close()

    def _halt(self) -> None:
        self.stop.set()
        self._loop.cancel()

    async def caption_stage(self, clip: Mapping[str, Any], turn: int) -> str:
        """Captions one clip; gives the outcome: made, failed or pending.

        Args:
            clip: its columns.
            turn: number of the pass over the plan: in a new one the caption server is asked anew whether it is there.
        """
        if self.stop.is_set() or self._captioner is None:
            return "pending"
        try:
            told = await self._loop.run(self._captioner.caption(clip, turn))
        except asyncio.CancelledError:  # the run is stopping
            return "pending"
        except StorageError as error:
            self.reporter.die(error)
            return "pending"
        counts: dict[str, float] = {"caption_requests": told.requests}
        if told.outcome == "made":
            counts["captions_made"] = 1
        elif told.outcome == "failed":
            counts |= {"clips_failed": 1, "clips_kept": -1}
        self.reporter.add(Books(counts=counts, busy={"captions": told.seconds}, errors={told.error_type: 1} if told.error_type else {}))
        return told.outcome

    async def video_stage(self) -> list[dict[str, Any]]:
        """Does the next job of the run, when a child is free; gives the kept clips that lack a caption."""
        if self.stop.is_set():
            return []
        try:
            work = asyncio.get_running_loop().run_in_executor(self._threads, self._next_job)
        except RuntimeError:  # the pool was shut: the run is stopping
            return []
        try:
            return await work
        except DeskGone:  # what it answered may have been a job: the desk must hear that nobody does it
            threading.Thread(target=close_session, args=(self.setup.run_id,), daemon=True).start()
            return []
        except (Stopped, asyncio.CancelledError):
            return []

    def _next_job(self) -> list[dict[str, Any]]:
        """Does jobs up to the first that ends a video, or has only captions to make."""
        while True:
            clips = self._one_job()
            if clips is not None:
                return clips

    def _one_job(self) -> list[dict[str, Any]] | None:
        """Does the next job: clips to caption; None when there can be none of it: a part of a video, clip files."""
        with self._workers.lent() as child:
            while not self.stop.is_set() and (turn := self._door.take(self._name)) is not None:
                if turn["job"]:
                    break
                self.stop.wait(ASK_AGAIN_S)
            else:  # all is done, or the run is stopping
                return []
            job = json.loads(turn["job"])
            if job["kind"] == "clips":
                self.reporter.ended(job["key"], Books(counts={}, busy={}, errors={}))
                return list(job["clips"])
            answer, attempt = self._attempts(child, job, turn)
        if "done" in answer and "cuts" in answer["done"]:
            self._divide(job, answer["done"]["cuts"])
            return None
        clips = self._done(job, answer["done"]) if "done" in answer else self._failed(job, answer["error"], attempt, turn)
        if job["kind"] in ("segment", "files"):
            return None
        have = {*job.get("captioned", ()), *job.get("mute", ())}
        return [] if self._captioner is None else [c for c in clips if c["clip_id"] not in have]

    def _attempts(self, child: Child, job: Mapping[str, Any], turn: Turn) -> tuple[dict[str, Any], int]:
        """Does a job, again when the child dies of it, as often as `scan.attempts` allows: the last answer, and which attempt it was."""
        stage, key = tried(job)
        before = int(job.get("attempts", {}).get(stage, {}).get(key, 0))
        attempt, limit = turn["attempt"], self.recipe.scan.attempts
        if before < limit:  # else it is tried because --retry-failed asked for it, as often as at first
            limit -= before
        if turn["lost"]:
            lost = described(_lost(job))
            self._write({"errors": [self._attempt(job, lost, before + n, permanent=n >= limit) for n in turn["lost"]]})
        if attempt > limit:
            return {"error": described(_lost(job))}, before + attempt - 1
        while True:
            self.reporter.under_way(job["key"], 0.0)
            answer = self._workers.do(child, job, lambda seconds: self.reporter.under_way(job["key"], seconds))
            decoded_s = self.reporter.under_way(job["key"], None)
            if "error" not in answer:
                return answer, before + attempt
            answer["error"]["decoded_s"] = decoded_s
            if answer["error"]["type"] != CrashError.__name__ or attempt >= limit:
                return answer, before + attempt
            self._write({"errors": [self._attempt(job, answer["error"], before + attempt, permanent=False)]})
            attempt = self._door.again(job["key"])
            self._note("video tried again", job, level="warning", attempt=attempt, error_type=answer["error"]["type"])

    def _divide(self, job: Mapping[str, Any], cuts: Mapping[str, Any]) -> None:
        """Puts the segments of a long video in the place of its scan, those that are not there yet."""
        video, print_ = job["video_id"], cuts["fingerprint"]
        there = present(self.store, video, print_)
        parts = {}
        for index in range(len(cuts["segments"])):
            if index not in there:
                key = f"segment:{video}:{print_[:8]}:{index}"
                parts[key] = json.dumps({**job, "kind": "segment", "key": key, "whole": job["key"], "cuts": cuts, "index": index})
        self._door.divide(job["key"], parts, json.dumps({**job, "kind": "stitch", "cuts": cuts}))

    def _done(self, job: Mapping[str, Any], done: Mapping[str, Any]) -> list[dict[str, Any]]:
        if not self._write(received(done["rows"])):
            return []
        counts: dict[str, float] = {"footage_s": done["footage_s"], "decoded_s": done["decoded_s"]}
        if done.get("note"):
            self._note("scanned whole", job, note=done["note"])
        if job["kind"] == "segment":
            if done["note"]:  # it cannot be joined: the others are not needed
                stitch = {k: v for k, v in job.items() if k not in ("whole", "index")} | {"kind": "stitch", "key": job["whole"]}
                self._door.divide(job["whole"], {}, json.dumps(stitch))
            self.reporter.ended(job["key"], Books(counts=counts, busy=done["busy"], errors={}))
            return []
        if job["kind"] in ("scan", "stitch"):
            counts |= {"videos_scanned": 1, "bytes_read": job["size"]}
        if job["kind"] == "stitch":
            forget(self.store, {job["video_id"]})
        if job["kind"] != "files":
            mute = frozenset(job["mute"])
            failed = sum(clip["clip_id"] in mute for clip in done["clips"])
            counts |= {"clips_kept": done["kept"] - failed, "clips_dropped": done["dropped"], "clips_failed": failed}
        self._note("video done", job, decoded_s=done["decoded_s"], clips_kept=done["kept"], clips_dropped=done["dropped"])
        books = Books(counts=counts, busy=done["busy"], errors={})
        if done.get("unfiled"):
            left = {name: job[name] for name in ("key", "uri", "source", "video_id", "size", "stamp", "attempts")}
            left |= {"kind": "files", "clips": done["unfiled"], "video": done["video"], "present": [], "filed": []}
            self._door.advance(job["key"], json.dumps(left), books)
        else:
            self.reporter.ended(job["key"], books)
        return list(done["clips"])

    def _failed(self, job: Mapping[str, Any], error: Mapping[str, Any], attempt: int, turn: Turn) -> list[dict[str, Any]]:
        if error["fatal"]:
            self.reporter.die(StorageError(error["message"], mend="then run the same command again: it resumes"))
            return []
        decoded_s = error.get("decoded_s", 0.0)
        if error["permanent"] and job["kind"] != "recut":
            error = cause(job, error, self.recipe.storage)
        counts: dict[str, float] = {"footage_s": decoded_s, "decoded_s": decoded_s, "videos_failed": 1, "bytes_read": job.get("size") or 0}
        permanent = error["permanent"] or attempt >= self.recipe.scan.attempts
        rows: Rows = {"errors": [self._attempt(job, error, attempt, permanent=permanent)]}
        if job["kind"] in ("recut", "files"):
            counts["videos_scanned" if turn["scanned"] else "videos_reused"] = -1
        elif "scan" not in job["present"]:  # else its scan stands; the next run tries again
            rows["videos"] = [Stamp(self.setup.run_id, now()).on(failed_video(job, error), self.prints.scan)]
        if self._write(rows):
            told = {"error_type": error["type"], "error": error["message"], "permanent": permanent, "attempt": attempt}
            self._note("video failed", job, level="warning", **told)
            if "whole" in job:
                self.reporter.ended(job["key"], Books(counts={}, busy={}, errors={}))
            self.reporter.ended(job.get("whole", job["key"]), Books(counts=counts, busy={}, errors={error["type"]: 1}))
        return []

    def _note(self, event: str, job: Mapping[str, Any], *, level: Level = "info", **fields: object) -> None:
        note(event, run_id=self.setup.run_id, stage=str(job["kind"]), level=level, key=job["video_id"], uri=job["uri"], **fields)

    def _attempt(self, job: Mapping[str, Any], error: Mapping[str, Any], attempt: int, *, permanent: bool) -> dict[str, Any]:
        row = attempt_row(job, error, tried(job), attempt, permanent=permanent)
        return Stamp(self.setup.run_id, now()).on(row, self.prints.scan)

    def _write(self, rows: Rows) -> bool:
        """Makes rows durable; False when they could not be, which ends the run."""
        try:
            self._rows.commit(self._rows.add(rows))
        except StorageError as error:
            self.reporter.die(error)
            return False
        return True


def _lost(job: Mapping[str, Any]) -> WorkerLost:
    return WorkerLost(
        "the worker process died while it was at work on it", uri=job["uri"], step=str(job["kind"]),
        mend="it may have taken the machine's memory, or the machine may have gone; rushes run --retry-failed tries again",
    )  # fmt: skip


SESSIONS: dict[str, Session] = {}
"""The sessions of this process, by run id."""
_OPENING = threading.Lock()


def close_session(run_id: str) -> None:
    """Ends the session of a run in this process, if there is one."""
    with _OPENING:
        session = SESSIONS.pop(run_id, None)
    if session is not None:
        session.close()


def session_of(setup: Setup) -> Session:
    """The session of a run in this process; on a node of a cluster it is made on first use.

    Raises:
        DeskGone: the run has ended.
    """
    with _OPENING:
        session = SESSIONS.get(setup.run_id)
        if session is None:
            recipe = Recipe.model_validate(setup.recipe)
            node, cpus = cluster.this_node()
            session = SESSIONS[setup.run_id] = Session(setup, cluster.door(setup.run_id), worker_count(recipe.scan, cpus), node)
            session.reporter.carrier = buffer_events()
        return session
