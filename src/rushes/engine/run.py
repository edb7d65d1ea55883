"""A run: plan, decode and caption until nothing is wanted that is not present, and keep the books."""

from __future__ import annotations

import json
import platform
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rushes import errors
from rushes.engine.books import RunRow
from rushes.engine.cluster import RemoteDesk
from rushes.engine.desk import Desk
from rushes.engine.identify import Identifier, Keeper
from rushes.engine.lease import Lease
from rushes.engine.metrics import served
from rushes.engine.plan import Plan, make_plan
from rushes.engine.quarantine import quarantined
from rushes.engine.rows import Stamp, attempt_row, failed_video
from rushes.engine.segmenting import forget
from rushes.engine.server import CaptionServer
from rushes.engine.session import SESSIONS, Session, Setup, close_session, video_tables
from rushes.engine.stages import build, start_engine
from rushes.engine.tally import Tally
from rushes.engine.wanted import RULE_COLUMNS
from rushes.engine.workers import worker_count
from rushes.errors import CannotGoOn, FootageError, RushesError, ServerError
from rushes.log import note
from rushes.media.guard import Stopped
from rushes.recipe import Recipe
from rushes.store.buffer import Buffer
from rushes.store.store import Store, now
from rushes.verdict.checks import check_columns

Watch = Callable[[Tally], None]
LOOK_EVERY_S = 0.2
STOP_WITHIN_S = 5.0
"""How long the plan may take to drain after a stop before its threads are left behind."""
WORDS = 400
"""Characters of a broken engine's last words that are shown; Daft's end with the cause."""
IDLE_PASSES = 3
"""Passes in a row that may end without a job done (a cluster that loses nodes), before the run gives up."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to.

    `status` is "finished" or "interrupted"; a run that could not go on raises instead.
    """

    run_id: str
    status: str
    counts: dict[str, Any]

    @property
    def failed(self) -> int:
        """Failed videos and clips."""
        return int(self.counts["videos_failed"]) + int(self.counts["clips_failed"])


def run(
    args: Sequence[str],
    out: str,
    recipe: Recipe,
    *,
    profile: str = "web",
    limit: int | None = None,
    retry_failed: bool = False,
    interrupted: threading.Event | None = None,
    watch: Callable[[Tally], None] | None = None,
    wait: bool = False,
    told: Callable[[str], None] | None = None,
) -> RunResult:
    """Turns footage into clips in a store. Finished work is not done again.

    Args:
        args: FOOTAGE as in the contract.
        out: the store's folder or URL; made if absent.
        recipe: what is wanted.
        profile: the name of the recipe's profile, for the records.
        limit: take the first so many uris only.
        retry_failed: try again what failed for good.
        interrupted: set it to stop the run within seconds.
        watch: called a few times a second with the books.
        wait: wait while another run holds the store; else refuse.
        told: called with a line for people when the run has to wait, or reads new files for long.

    Raises:
        UsageError: wrong recipe, no video, `out` is no store; nothing was written.
        StoreBusy: another run holds the store, or took it over.
        CannotGoOn: the run had to stop; the same call resumes.
    """
    check_columns(recipe.rules, RULE_COLUMNS)
    stop, store = interrupted or threading.Event(), Store(out, recipe.storage)
    run_id = f"{now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    lease = Lease(store, run_id, told=told)
    if not wait:
        lease.refuse()
    identifier = Identifier(recipe, Keeper(store, recipe, run_id), stop, told)
    wish = Wish(tuple(args), recipe, profile, limit, retry_failed, identifier)
    before = store.run_stamps()
    try:
        with CaptionServer(recipe, stop) as server:
            plan = wish.plan(store if store.marked() else None)
            if not plan.sources:
                raise FootageError("--limit 0 leaves no video", step="run", mend="use --limit 1 or more")
            if plan.jobs:
                server.check()
                start_engine(recipe)
            Store.create(out, recipe.storage)
            with lease.held(wait=wait, interrupted=stop):
                if store.run_stamps() != before:  # another run wrote since: what is present has changed
                    plan = wish.plan(store)
                store.gate = lease.check
                one = _Run(run_id, wish, store, plan, server, stop, watch or (lambda _t: None))
                with served(run_id, one.desk.tally, recipe.engine.metrics_port):
                    return one.go()
    except Stopped:  # before anything was written but identities
        return RunResult(run_id, "interrupted", Tally().as_dict())


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run was asked for; see `run`."""

    args: tuple[str, ...]
    recipe: Recipe
    profile: str
    limit: int | None
    retry_failed: bool
    identifier: Identifier

    def plan(self, store: Store | None, *, again: bool = False) -> Plan:
        """What is missing now; `again`, in the same run: what failed in it is not tried anew."""
        retry = self.retry_failed and not again
        return make_plan(self.args, store, self.recipe, limit=self.limit, retry_failed=retry, identifier=self.identifier)


class _Run:
    def __init__(
        self, run_id: str, wish: Wish, store: Store, plan: Plan, server: CaptionServer, interrupted: threading.Event, watch: Watch
    ) -> None:
        self.run_id = run_id
        self.wish = wish
        self.recipe = wish.recipe
        self.store = store
        self.plan = plan
        self.server = server
        self.interrupted = interrupted
        self.watch = watch
        self.fatal: RushesError | None = None
        self.drained = True
        self.setup = Setup(run_id, store.root, self.recipe.model_dump(mode="json"))
        self.workers = worker_count(self.recipe.scan)
        if plan.jobs:
            start_engine(self.recipe)
        on_ray = self.recipe.engine.runner == "ray" and bool(plan.jobs)
        self.desk: Desk | RemoteDesk = RemoteDesk(run_id) if on_ray else Desk()
        if isinstance(self.desk, Desk):
            SESSIONS[run_id] = session = Session(self.setup, self.desk, self.workers, platform.node())
            session.store.gate = store.gate
        self.row = RunRow(store, self.recipe, plan.prints, run_id, wish.profile, self.desk.tally)

    def go(self) -> RunResult:
        self._open_books()
        note("run started", run_id=self.run_id, stage="run", jobs=len(self.plan.jobs), footage_s=self.plan.decode_s)
        try:
            self.row.write("running")
            self._identities()
            self._passes()
        except RushesError as error:
            self.fatal = self.fatal or error
        except Stopped:
            pass
        status = "interrupted" if self.interrupted.is_set() or self.fatal else "finished"
        self._close(status)
        if self.fatal is not None:
            told = {"error_type": type(self.fatal).__name__, "error": str(self.fatal)}
            note("run stopped", run_id=self.run_id, stage=self.fatal.step or "run", level="error", **told)
        counts = self.desk.tally.as_dict()
        note("run ended", run_id=self.run_id, stage="run", status=status, **counts)
        if self.fatal is not None and not self.interrupted.is_set():
            raise self.fatal
        return RunResult(self.run_id, status, counts)

    def _open_books(self) -> None:
        plan, tally = self.plan, self.desk.tally
        scans = [job for job in plan.jobs if job["kind"] == "scan"]
        tally.videos_todo, tally.footage_todo_s = len(scans), plan.decode_s
        tally.bytes_todo = sum(job["size"] or 0 for job in scans)
        reused, failed, duplicate = (plan.count(s) for s in ("reused", "failed", "duplicate"))
        self.desk.add(
            videos_found=len(plan.sources), videos_reused=reused, videos_failed=failed, videos_duplicate=duplicate,
            clips_kept=plan.kept, clips_dropped=plan.dropped, clips_failed=plan.failed_clips,
        )  # fmt: skip

    def _identities(self) -> None:
        """Rows of `videos` for what is known before any decoding, where they say something new: failed, duplicate, known content."""
        forget(self.store, {source.video_id for source in self.plan.sources if source.status == "reused" and source.video_id})
        rows, scan, stamp = Buffer(self.store, video_tables()), self.plan.prints.scan, Stamp(self.run_id, now())
        for source in self.plan.sources:
            who = source.identity()
            if source.status == "failed" and not source.known:
                assert source.error is not None
                video = {**who, "size": source.footage.size}
                permanent = source.error["permanent"] or source.attempts + 1 >= self.recipe.scan.attempts
                attempt = attempt_row(video, source.error, ("identify", video["uri"]), source.attempts + 1, permanent=permanent)
                words = {"error_type": source.error["type"], "error": source.error["message"], "permanent": permanent}
                note("video failed", run_id=self.run_id, stage="identify", level="warning", uri=source.footage.uri, **words)
                rows.add({"videos": [stamp.on(failed_video(video, source.error), scan)], "errors": [stamp.on(attempt, scan)]})
                continue
            row = {**who, "status": "duplicate"} if source.status == "duplicate" else {**(source.video or {}), **who}
            if "status" in row and not source.is_told(row["status"]):
                rows.add({"videos": [stamp.on(row, scan)]})
        rows.commit()

    def _passes(self) -> None:
        """Runs the plan, and runs it again while something is left.

        For captions alone, when some stay pending and the server comes back in time; for all that is missing, when the cluster lost a
        process or broke, or the plan ended before the jobs.
        """
        turn = lost = idle = 0
        jobs = keyed(self.plan.jobs, turn)
        self.plan.jobs = []  # as JSON they take a third of the memory
        while jobs and not self._stopping():
            before = self.desk.tally.snapshot()
            pending, broken = self._execute(jobs, turn)
            lost_before, lost = lost, self._roll_call()
            if self._stopping():
                return
            gone = lost > lost_before or broken is not None or self.desk.left > 0
            idle = idle + 1 if gone and self.desk.tally.snapshot()["counts"] == before["counts"] else 0
            if (broken is not None and isinstance(self.desk, Desk)) or idle >= IDLE_PASSES:
                mend = "run the same command again: it resumes; report it if it stays"
                words = " ".join((broken or f"{self.desk.left} jobs are left, and no process does them").split())
                raise CannotGoOn(f"the engine failed: {words[-WORDS:]}", step="run", mend=mend)
            if not pending and not gone:
                return
            if pending:
                self._await_server()
            plan = self.wish.plan(self.store, again=True)
            turn += 1
            jobs = keyed(plan.jobs if gone else [job for job in plan.jobs if job["kind"] == "clips"], turn)
            self.desk.add(captions_pending=-pending)

    def _execute(self, jobs: Mapping[str, str], turn: int) -> tuple[int, str | None]:
        """One pass: how many clips stay pending, and why the engine broke, if it did."""
        self.desk.load(jobs)
        outcome: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: outcome.append(quarantined(lambda: self._collect(len(jobs), turn))), daemon=True)
        thread.start()
        stopping: float | None = None
        while thread.is_alive():
            thread.join(LOOK_EVERY_S)
            self._tick()
            if self._stopping():
                self.desk.order(stop=True)
                stopping = stopping or time.monotonic()
                if time.monotonic() - stopping > STOP_WITHIN_S:
                    break
        self.drained = not thread.is_alive()
        told = outcome[0] if outcome else {}
        pending = int(told["done"]["pending"]) if "done" in told else 0
        self.desk.add(captions_pending=pending)
        return pending, told["error"]["message"] if "error" in told else None

    def _collect(self, n_jobs: int, turn: int) -> dict[str, Any]:
        pending = 0
        for batch in build(n_jobs, self.setup, self.recipe, turn, self.workers).to_arrow_iter():
            pending += batch.column("outcome").to_pylist().count("pending")
        return {"pending": pending}

    def _stopping(self) -> bool:
        if self.desk.fatal is not None and self.fatal is None:
            kind, message = self.desk.fatal
            self.fatal = getattr(errors, kind, CannotGoOn)(message)
        return self.interrupted.is_set() or self.fatal is not None

    def _tick(self) -> int:
        lost = self.desk.refresh()
        self.watch(self.desk.tally)
        self.row.write_if_due()
        return lost

    def _roll_call(self, *, close: bool = False) -> int:
        """Waits until all living sessions have told what they know, or have closed; gives how many ended without a word."""
        number = self.desk.order(roll_call=True, close=close)
        while self.desk.silent(number, close=close):
            time.sleep(LOOK_EVERY_S / 4)
        return self.desk.refresh()

    def _await_server(self) -> None:
        """Waits for a caption server that went away, for `captions.patience_s`.

        Raises:
            ServerError: it did not come back.
            Stopped: the run was interrupted.
        """
        since = time.monotonic()
        while True:
            try:
                self.server.check()
                return
            except ServerError as error:
                if error.permanent or time.monotonic() - since > self.recipe.captions.patience_s:
                    raise
            self._tick()
            self.interrupted.wait(1.0)

    def _close(self, status: str) -> None:
        try:
            self._dismiss(stop=status != "finished")
        except RushesError as error:
            self.fatal = self.fatal or error
        try:
            self.row.write(status, str(self.fatal) if self.fatal else None)
        except RushesError as error:
            self.fatal = self.fatal or error
        finally:
            self.desk.end(drained=self.drained)
        self.watch(self.desk.tally)

    def _dismiss(self, *, stop: bool) -> None:
        """Ends the sessions, and hears their last news."""
        self.desk.order(stop=stop)
        if isinstance(self.desk, Desk):
            close_session(self.run_id)
        self._roll_call(close=True)


def keyed(jobs: Sequence[dict[str, Any]], turn: int) -> dict[str, str]:
    """Jobs as JSON under the names by which the desk knows them: those of a video in all passes, those of clips in one."""
    for job in jobs:
        job["key"] = f"{job['kind']}:{job['video_id']}" + (f":{turn}" if job["kind"] == "clips" else "")
    return {job["key"]: json.dumps(job) for job in jobs}
