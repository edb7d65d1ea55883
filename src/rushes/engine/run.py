"""A run: plan, decode and caption until nothing is wanted that is not present, and keep the books."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rushes.engine.books import RunRow
from rushes.engine.lease import Lease
from rushes.engine.metrics import served
from rushes.engine.plan import Plan, Source, make_plan
from rushes.engine.quarantine import quarantined
from rushes.engine.rows import Stamp, manifest_columns
from rushes.engine.session import SESSIONS, Session
from rushes.engine.stages import build, start_engine
from rushes.engine.tally import Tally
from rushes.engine.wanted import RULE_COLUMNS
from rushes.errors import CannotGoOn, FootageError, RushesError
from rushes.log import note
from rushes.media.guard import Stopped
from rushes.recipe import Recipe
from rushes.store.store import Store, now
from rushes.store.tables import CAPTIONS
from rushes.verdict.judge import check_columns

LOOK_EVERY_S = 0.2
STOP_WITHIN_S = 5.0
"""How long the plan may take to drain after a stop before its threads are left behind."""


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
        interrupted: set it to stop the run within seconds.
        watch: called a few times a second with the books.
        wait: wait while another run holds the store; else refuse.
        told: called with a line for people when the run has to wait.

    Raises:
        UsageError: wrong recipe, no video, `out` is no store; nothing was written.
        StoreBusy: another run holds the store, or took it over.
        CannotGoOn: the run had to stop; the same call resumes.
    """
    check_columns(recipe.rules, RULE_COLUMNS)
    store = Store(out, recipe.storage)
    run_id = f"{now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    lease = Lease(store, run_id, told=told)
    if not wait:
        lease.refuse()
    before = store.run_stamps()
    known = store if store.marked() else None
    plan = make_plan(args, known, recipe, limit=limit)
    if not plan.sources:
        raise FootageError("--limit 0 leaves no video", step="run", mend="use --limit 1 or more")
    session = Session(recipe, plan.prints, store, run_id, set())
    stop = interrupted or threading.Event()
    SESSIONS[run_id] = session
    try:
        if session.captioner is not None and plan.jobs:
            session.loop.call(session.captioner.check(), stop)
        Store.create(out, recipe.storage)
        with lease.held(wait=wait, interrupted=stop):
            if store.run_stamps() != before:  # another run wrote since: what is present has changed
                plan = make_plan(args, store, recipe, limit=limit)
            session.tally.began = time.monotonic()  # waiting is no work
            store.gate = lease.check
            with served(session, recipe.engine.metrics_port):
                return _Run(session, plan, args, limit, profile, stop, watch or (lambda _t: None)).go()
    except Stopped:  # before anything was written
        return RunResult(run_id, "interrupted", session.tally.as_dict())
    finally:
        del SESSIONS[run_id]
        session.close()


class _Run:
    def __init__(
        self,
        session: Session,
        plan: Plan,
        args: Sequence[str],
        limit: int | None,
        profile: str,
        interrupted: threading.Event,
        watch: Callable[[Tally], None],
    ) -> None:
        self.session = session
        self.plan = plan
        self.args = args
        self.limit = limit
        self.interrupted = interrupted
        self.watch = watch
        self.row = RunRow(session, profile)

    def go(self) -> RunResult:
        self._open_books()
        note("run started", run_id=self.session.run_id, stage="run", jobs=len(self.plan.jobs), footage_s=self.plan.decode_s)
        try:
            self.row.write("running")
            self._identities()
            self._passes()
        except RushesError as error:
            self.session.die(error)
        status = "interrupted" if self.interrupted.is_set() or self.session.fatal else "finished"
        self._close(status)
        counts = self.session.tally.as_dict()
        note("run ended", run_id=self.session.run_id, stage="run", status=status, **counts)
        if self.session.fatal is not None and not self.interrupted.is_set():
            raise self.session.fatal
        return RunResult(self.session.run_id, status, counts)

    def _open_books(self) -> None:
        plan, tally = self.plan, self.session.tally
        scans = [job for job in plan.jobs if job["kind"] == "scan"]
        tally.videos_todo, tally.footage_todo_s = len(scans), plan.decode_s
        tally.bytes_todo = sum(job["size"] or 0 for job in scans)
        reused, failed, duplicate = (plan.count(s) for s in ("reused", "failed", "duplicate"))
        tally.add(videos_found=len(plan.sources), videos_reused=reused, videos_failed=failed, videos_duplicate=duplicate)
        tally.add(clips_kept=plan.kept, clips_dropped=plan.dropped, clips_failed=plan.failed_clips)
        self.session.captioned = self._captioned()

    def _captioned(self) -> set[str]:
        fingerprint = self.plan.prints.captions
        if fingerprint is None:
            return set()
        rows = self.session.store.read(CAPTIONS, columns=[], fingerprints=[fingerprint])
        return {str(key) for key in rows["clip_id"].to_pylist()} | self.plan.captions_failed

    def _identities(self) -> None:
        """Rows of `videos` for what is known before any decoding: failed, duplicate, and known content under a new uri."""
        session, stamp = self.session, Stamp(self.session.run_id, now())
        for source in self.plan.sources:
            item = source.footage
            who = {
                "uri": item.uri,
                "video_id": source.video_id,
                "size_bytes": item.size,
                "stamp": item.stamp,
                "extra": manifest_columns(item.extra),
            }
            if source.status == "failed" and not source.known:
                assert source.error is not None
                session.rows.add(session.failure_rows({**who, "size": item.size}, source.error, "identify"))
            elif source.status == "duplicate":
                session.rows.add({"videos": [stamp.on({**who, "status": "duplicate"}, session.prints.scan)]})
            elif source.status == "reused" and source.video is not None and _moved(source):
                session.rows.add({"videos": [stamp.on({**source.video, **who}, session.prints.scan)]})
        session.rows.flush()

    def _passes(self) -> None:
        """Runs the plan; then again, for captions alone, as long as some are pending and the server comes back in time."""
        start_engine(self.session.recipe)
        jobs = self.plan.jobs
        while jobs and not self.session.stop.is_set():
            self._execute(jobs)
            self._flush()
            captioner = self.session.captioner
            if captioner is None or captioner.pending == 0 or self.session.stop.is_set():
                return
            self._await_server()
            plan = make_plan(self.args, self.session.store, self.session.recipe, limit=self.limit)
            jobs = [job for job in plan.jobs if job["kind"] == "clips"]
            self.session.captioned = self._captioned()
            captioner.pending = 0

    def _execute(self, jobs: Sequence[dict[str, Any]]) -> None:
        outcome: list[dict[str, Any]] = []
        thread = threading.Thread(target=self._collect, args=(jobs, outcome), daemon=True)
        thread.start()
        stopping: float | None = None
        while thread.is_alive():
            thread.join(LOOK_EVERY_S)
            if self.interrupted.is_set():
                self.session.stop.set()
            if self.session.stop.is_set():
                self.session.loop.cancel()
                stopping = stopping or time.monotonic()
                if time.monotonic() - stopping > STOP_WITHIN_S:
                    break
            self._tick()
        if outcome and "error" in outcome[0] and not self.session.stop.is_set():
            words = outcome[0]["error"]["message"]
            raise CannotGoOn(
                f"the engine failed: {words}", step="run", mend="run the same command again: it resumes; report it if it stays"
            )

    def _collect(self, jobs: Sequence[dict[str, Any]], outcome: list[dict[str, Any]]) -> None:
        def work() -> dict[str, Any]:
            for _ in build(jobs, self.session.run_id, self.session.recipe).iter_partitions():
                pass
            return {}

        outcome.append(quarantined(work))

    def _tick(self) -> None:
        self.watch(self.session.tally)
        self.row.write_if_due("running")
        with self.session.storing():
            self.session.rows.flush_if_due()
            if self.session.captioner is not None:
                self.session.captioner.buffer.flush_if_due()

    def _await_server(self) -> None:
        """Waits for a caption server that went away, until `captions.patience_s` after it did.

        Raises:
            ServerError: it did not come back.
        """
        captioner, patience = self.session.captioner, self.session.recipe.captions.patience_s
        assert captioner is not None
        try:
            while captioner.down is not None and not self.session.loop.call(captioner.ask(), self.interrupted):
                if captioner.down.permanent or time.monotonic() - captioner.down_since > patience:
                    raise captioner.down
                self._tick()
                self.interrupted.wait(1.0)
        except Stopped:
            self.session.stop.set()

    def _flush(self) -> None:
        with self.session.storing():
            self.session.rows.flush()
            if self.session.captioner is not None:
                self.session.captioner.buffer.flush()

    def _close(self, status: str) -> None:
        self._flush()
        captioner = self.session.captioner
        if captioner is not None:
            self.session.loop.call(captioner.close())
        with self.session.storing():
            self.row.write(status)
        self.watch(self.session.tally)


def _moved(source: Source) -> bool:
    assert source.video is not None
    return (source.video["uri"], source.video["stamp"]) != (source.footage.uri, source.footage.stamp)
