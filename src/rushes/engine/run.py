"""A run: it plans, does the jobs that are missing, counts what came of them, and writes the row of the table `runs`."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from rushes.captions.server import CaptionServer
from rushes.counts.metrics import served
from rushes.counts.tally import Tally
from rushes.engine.executor import Executor
from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import Caption, Clips, Setup
from rushes.engine.local import Local, check_servers
from rushes.engine.loop import Loop
from rushes.engine.plan.identify import Identifier, Keeper
from rushes.engine.plan.plan import Plan, make_plan
from rushes.engine.preflight import check_prompt, load_models
from rushes.engine.run_row import RunRow, recipe_change
from rushes.engine.stages import check_resources
from rushes.engine.work.files import folder_of
from rushes.engine.work.segments import forget
from rushes.engine.worker import Failures
from rushes.errors import FootageError, RushesError, ServerError
from rushes.log import note
from rushes.media.guard import Stopped
from rushes.quarantine import detail_of
from rushes.recipe import Recipe
from rushes.rows.clip_columns import judged_by, rule_columns
from rushes.rows.scanned import Stamp, attempt_row, failed_video
from rushes.scan.meters import check_detectors
from rushes.store.buffer import Buffer
from rushes.store.lease import OWNER_S, Lease
from rushes.store.store import Store, now
from rushes.store.tables import ERRORS, VIDEOS
from rushes.verdict.checks import check_columns

ROUND_EVERY_S = 5.0
"""How long captions wait before they are tried again where a server makes completions about test pictures but answers no clip."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    `status` is "finished" or "interrupted"; a run that could not go on raises instead. `notes` are lines for people, besides the counts.
    """

    run_id: str
    status: str
    counts: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Failed videos and clips, spans that give no clip, clip files that could not be made, and what failed of further stages."""
        return sum(int(n) for name, n in self.counts.items() if name.endswith("_failed"))


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
    wait_server_s: float = 0.0,
    announce: Callable[[str], None] | None = None,
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
        watch: called a few times a second with the run's counts.
        wait: wait while another run holds the store; else refuse.
        wait_server_s: wait so long for a caption server that is still loading, before anything is decoded.
        announce: called with a line for people, such as that the run waits, or that its recipe differs from the last one's.

    Raises:
        UsageError: wrong recipe, no video, `out` is not a store; nothing was written.
        StoreBusy: another run holds the store, or took it over.
        CannotGoOn: the run had to stop; the same call resumes.
    """
    check_columns(recipe.rules, rule_columns(recipe))
    check_resources(recipe)
    stop, store = interrupted or threading.Event(), Store(out, recipe.storage)
    run_id = f"{now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    watch, announce = watch or (lambda _tally: None), announce or (lambda _line: None)
    lease = Lease(store, run_id, announce=announce)
    if not wait:
        lease.refuse()
    before = store.run_stamps()
    with ExitStack() as stack:
        one = _Run(tuple(args), recipe, store, lease, run_id, stop, stack, limit, retry_failed, watch, announce)
        try:
            plan = one.plan(store if store.marked() else None)
            one.make_ready(plan, wait_server_s)
            Store.create(out, recipe.storage)
            stack.enter_context(lease.held(wait=wait, interrupted=stop))
            stack.callback(one.close)  # before the lease is freed
            if lease.replaced:  # processes of a run that was killed may still write; they look every OWNER_S whose the lease is
                stop.wait(OWNER_S)
            if lease.replaced or store.run_stamps() != before:  # what is present may have changed
                plan = one.plan(store)
            store.gate = lease.check
            stack.enter_context(served(run_id, one.tally, recipe.engine.metrics_port))
            return one.go(plan, profile)
        except Stopped:  # before anything was written but identities
            return RunResult(run_id, "interrupted", Tally().as_dict())


@dataclass
class _Run:
    """One run; its arguments are those of `run`. Its executor and its caption server end with `stack`."""

    args: Sequence[str]
    recipe: Recipe
    store: Store
    lease: Lease
    run_id: str
    stop: threading.Event
    stack: ExitStack
    limit: int | None
    retry_failed: bool
    watch: Callable[[Tally], None]
    announce: Callable[[str], None]

    def __post_init__(self) -> None:
        self.tally = Tally()
        self.server = self.stack.enter_context(CaptionServer(self.recipe, self.stop))
        self.prints = fingerprints(self.recipe)
        self.setup = Setup(run_id=self.run_id, store=self.store.root, owner=self.lease.owner, recipe=self.recipe, prints=self.prints)
        self.failures = Failures(self.setup, self.store)
        on_cluster = (lambda: self.executor) if self.recipe.engine.runner == "ray" else None
        keeper = Keeper(self.store, self.run_id, lambda: self.executor.check())
        self.identifier = Identifier(self.recipe, keeper, self.stop, self.announce, on_cluster)
        self._closed = False

    def plan(self, store: Store | None, *, again: bool = False) -> Plan:
        """What is missing now; `again`, in the same run: what failed in it is not tried anew."""
        retry = self.retry_failed and not again
        plan = make_plan(self.args, store, self.recipe, limit=self.limit, retry_failed=retry, identifier=self.identifier)
        if not plan.sources:
            raise FootageError("--limit 0 leaves no video", step="run", mend="use --limit 1 or more")
        return plan

    @cached_property
    def executor(self) -> Executor:
        """What runs the jobs: this machine, or the cluster, which is joined now.

        Raises:
            MissingExtra, UsageError, CannotGoOn, Stopped: see `make_ready`.
        """
        made: Executor
        if self.recipe.engine.runner == "ray":
            from rushes import ray_cluster
            from rushes.engine.ray import OnRay

            ray_cluster.join(self.recipe.engine.ray_address, self.stop.is_set, self.announce)
            made = OnRay(self.setup)
        else:
            made = Local(self.setup, self.failures)
        self.stack.callback(self.close)
        return made

    def make_ready(self, plan: Plan, wait_server_s: float) -> None:
        """Makes sure, before anything is decoded, that the caption server makes completions, or that servers of the run's own can be
        started; that there is something to run jobs on, and that the models of scorers can be had.

        Raises:
            RecipeError: the prompt names a column that is not there, or the command of caption servers cannot be used.
            ServerError: the caption server makes none.
            MissingExtra, UsageError, CannotGoOn: the cluster cannot be joined, or a model or a detector not be had.
            Stopped: the run was interrupted meanwhile.
        """
        if self.store.marked() and (line := recipe_change(self.store, self.recipe)) is not None:
            self.announce(line)
        check_prompt(self.recipe, [source.footage for source in plan.sources])
        if plan.n_scans and self.recipe.engine.runner == "native":  # on a cluster its nodes need what is not needed here
            check_detectors(self.recipe.scan)
        serves = self.recipe.captions.engine == "serve"
        if plan.may_caption and not serves:
            self.server.await_ready(wait_server_s, self.announce)
        if plan.has_jobs:
            self.executor.check()
        if plan.may_caption and serves and self.recipe.engine.runner == "native":
            check_servers(self.recipe)
        if plan.may_caption:
            self.executor.expect_captions()
        if plan.may_score:
            load_models(self.executor, self.stop, self.announce)

    def close(self) -> None:
        """Ends the executor, with all jobs that it still has."""
        if "executor" in self.__dict__ and not self._closed:
            self._closed = True
            self.executor.close()

    def go(self, plan: Plan, profile: str) -> RunResult:
        """Does what the plan says is missing, and writes the row of the run."""
        row = RunRow(self.store, self.recipe, self.prints, self.run_id, profile, self.tally)
        self._begin_counts(plan)
        note("run started", run_id=self.run_id, stage="run", jobs=len(plan.of_videos) + len(plan.of_clips), footage_s=plan.decode_s)
        fatal: RushesError | None = None
        try:
            row.write("running")
            self._write_identities(plan)
            if plan.has_jobs:
                self._work(plan, row)
        except RushesError as error:
            fatal = error
        except Stopped:
            pass
        status = "interrupted" if self.stop.is_set() or fatal else "finished"
        try:
            row.write(status, str(fatal) if fatal else None)
        except RushesError as error:
            fatal = fatal or error
        self.watch(self.tally)
        if fatal is not None:
            words = {"error_type": type(fatal).__name__, "error": str(fatal), "detail": detail_of(fatal)}
            note("run stopped", run_id=self.run_id, stage=fatal.step or "run", level="error", **words)
        counts = self.tally.as_dict()
        note("run ended", run_id=self.run_id, stage="run", status=status, **counts)
        if fatal is not None and not self.stop.is_set():
            raise fatal
        return RunResult(self.run_id, status, counts, self._notes())

    def _notes(self) -> tuple[str, ...]:
        made = int(self.tally.counts["files_made"])
        return (f"{made} clip files made, in {folder_of(self.store, self.recipe)}",) if made else ()

    def _begin_counts(self, plan: Plan) -> None:
        tally = self.tally
        for line in plan.found.notes:
            self.announce(line)
        tally.passed_over, tally.data_sets = dict(plan.found.passed_over), dict(plan.found.versions)
        tally.videos_todo, tally.footage_todo_s, tally.bytes_todo = plan.n_scans, plan.decode_s, plan.bytes_to_scan
        reused, failed, duplicate, forgotten = (plan.count(s) for s in ("reused", "failed", "duplicate", "forgotten"))
        tally.add(
            videos_found=len(plan.sources), videos_reused=reused, videos_failed=failed, videos_duplicate=duplicate,
            videos_forgotten=forgotten, clips_kept=plan.kept, clips_dropped=plan.dropped, clips_failed=plan.failed_clips,
            files_failed=plan.failed_files,
        )  # fmt: skip
        tally.enter({}, {}, {}, plan.reasons)

    def _write_identities(self, plan: Plan) -> None:
        """Rows of `videos` for what is known before any decoding, where they say something new: failed, duplicate, known content."""
        forget(self.store, {source.video_id for source in plan.sources if source.status == "reused" and source.video_id})
        rows, scan, stamp = Buffer(self.store, [(VIDEOS, ()), (ERRORS, ())]), self.prints["scan"], Stamp(self.run_id, now())
        for source in plan.sources:
            if source.status == "forgotten":
                continue
            who = source.identity()
            if source.status == "failed" and not source.known:
                assert source.failure is not None
                number = source.attempts + 1
                permanent = source.failure.permanent or number >= self.recipe.scan.attempts
                attempt = attempt_row(who, source.failure, "identify", who["uri"], number, permanent=permanent)
                note(
                    "video failed", run_id=self.run_id, stage="identify", level="warning", uri=source.footage.uri,
                    error_type=source.failure.error_type, error=source.failure.what, permanent=permanent, detail=source.failure.detail,
                )  # fmt: skip
                rows.add({"videos": [stamp.on(failed_video(who, source.failure), scan)], "errors": [stamp.on(attempt, scan)]})
                continue
            row = {**who, "status": "duplicate"} if source.status == "duplicate" else {**(source.video or {}), **who}
            if "status" in row and not source.is_recorded(row["status"]):
                rows.add({"videos": [stamp.on(row, scan)]})
        rows.commit()

    def _work(self, plan: Plan, row: RunRow) -> None:
        """Does the jobs; then, round by round, the captions that stayed pending, when the server comes back in time."""

        def watch() -> None:
            self.server.look()
            self.watch(self.tally)
            row.write_if_due()

        if plan.may_caption and self.recipe.captions.engine == "serve":
            self.server.follow(self.executor.servers(), self.executor.move_captions, self.announce)
        attempts, judging = self.recipe.scan.attempts, judged_by(self.recipe)
        late = [stage for stage in ("alignment", "files") if stage in self.prints and (stage == "alignment" or judging)]
        loop = Loop(
            self.executor, self.tally, self.prints, attempts, self.failures, watch, self.stop.is_set, late=late,
            no_server=self.server.none_is_up,
        )  # fmt: skip
        done = False
        try:
            self.tally.add(scores_pending=plan.scores_pending)
            pending, rounds = loop.run(plan.score_jobs(), plan.clip_jobs(), plan.video_jobs()), 0
            while pending:
                self._await_server(loop, watch, rounds)
                rounds += 1
                captions = _captions(self.plan(self.store, again=True), rounds)
                self.tally.add(captions_pending=-pending)
                pending = loop.run(captions)
            for _ in late:  # each may be what the next one waits for
                plan = self.plan(self.store, again=True)
                loop.run(job for job in plan.clip_jobs() if isinstance(job, Clips))
            if judging:
                self._count_again(self.plan(self.store, again=True))
            done = True
        finally:
            if not done:
                self.executor.stop()
                loop.drain()

    def _count_again(self, plan: Plan) -> None:
        """Makes the counts of clips those of a new plan: jobs that cut shots do not know the captions that were there before."""
        counts = {"clips_kept": plan.kept, "clips_dropped": plan.dropped, "clips_failed": plan.failed_clips}
        self.tally.add(**{name: n - self.tally.counts[name] for name, n in counts.items()})
        self.tally.reasons = Counter(plan.reasons)

    def _await_server(self, loop: Loop, watch: Callable[[], None], rounds: int) -> None:
        """Waits for a caption server that went away, until `captions.patience_s` after the first clip that it did not answer.

        It is back when it makes a completion about test pictures. One that does so and then, round after round, answers no clip, counts as
        away, too.

        Raises:
            ServerError: it did not come back.
            Stopped: the run was interrupted.
        """
        patience_s, since = self.recipe.captions.patience_s, time.monotonic() - loop.away_s
        if rounds and loop.away is not None:
            if loop.away_s > patience_s and not self.server.is_loading:
                raise loop.away.error()
            self.stop.wait(min(ROUND_EVERY_S, patience_s))
        while True:
            try:
                self.server.check()
                return
            except ServerError as error:
                if error.permanent or (time.monotonic() - since > patience_s and not self.server.is_loading):
                    raise
            self.executor.check()
            watch()
            self.stop.wait(1.0)


def _captions(plan: Plan, rounds: int) -> Iterator[Caption]:
    """The captions that are missing, for a later round."""
    return (replace(job, round=rounds) for job in plan.clip_jobs() if isinstance(job, Caption))
