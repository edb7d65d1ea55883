"""The one loop of a run: it keeps a bounded window of jobs with the executor, counts what came of each, and submits what follows from it.

A job is counted when its outcome arrives, which is when its rows are durable. When a worker dies, this counts as an attempt at the job that
it held: it is recorded, and the job is submitted again. When a whole machine is lost, it does not count. The loop ends when no job is left,
or when the run is to stop.
"""

from __future__ import annotations

import queue
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from rushes.counts.tally import Tally
from rushes.engine.executor import Executor, WorkerDied
from rushes.engine.jobs import (
    Attempt,
    Caption,
    Clips,
    Division,
    Identify,
    Job,
    Outcome,
    Recut,
    Scan,
    Score,
    ScoreClips,
    Segment,
    Stitch,
    clip_jobs,
    key_of,
)
from rushes.engine.stages import clip_stages
from rushes.engine.tries import Divided, ScorePace, Source, Try, n_clips
from rushes.engine.worker import Failures, lost
from rushes.errors import CannotGoOn, Failure, RushesError
from rushes.log import replay
from rushes.media.guard import Stopped
from rushes.quarantine import failure_of

LOOK_EVERY_S = 0.2
"""How often the loop looks whether it is to stop, and shows how far the run has come."""
WAITING = 1024
"""Jobs of later stages that may wait while further videos are begun; the columns of a clip take about 2 kB. All clips of a video come at
once, so with a much smaller number decoding and captioning would wait for each other."""
HELD = WAITING // 2
"""Clips that may wait for a caption server of the run's own while it loads; those beyond are left pending, so that scanning goes on."""
LOSSES = 10
"""Times that a job may lose the machine it is on before it is failed: a job that takes whole machines with it must end, too."""
DRAIN_S = 5.0
"""How long jobs under way may take to end after a stop."""


@dataclass
class Loop:
    """Runs jobs until there is none.

    Attributes:
        executor: what runs them.
        tally: the counts of the run.
        prints: the fingerprints of the stages that are wanted.
        attempts: `scan.attempts`: attempts at a video over all runs.
        failures: records attempts whose worker died; None where only identities are read.
        watch: called several times a second; it raises to end the run.
        stopping: whether the run has been asked to stop.
        identified: takes the outcome of each job that read identities.
        late: stages of clips that do not follow from other jobs, but are planned when all others are done.
        no_server: whether captions are to wait, since all caption servers of the run's own are still loading.
        away: why captions cannot be made: the words of the newest clip that was left pending for its server; None once a clip was answered.
    """

    executor: Executor
    tally: Tally
    prints: Mapping[str, str]
    attempts: int
    failures: Failures | None
    watch: Callable[[], None]
    stopping: Callable[[], bool]
    identified: Callable[[Outcome], None] = lambda _outcome: None
    late: Collection[str] = ()
    no_server: Callable[[], bool] = lambda: False
    away: Failure | None = None

    def __post_init__(self) -> None:
        self._stages = [stage for stage in clip_stages() if self.prints.get(stage.name)]
        self._pace = ScorePace()
        self._ready: defaultdict[str, deque[Try]] = defaultdict(deque)
        self._flying: Counter[str] = Counter()
        self._ended: queue.SimpleQueue[tuple[Try, Future[Outcome]]] = queue.SimpleQueue()
        self._pending = 0
        self._away_since = 0.0

    @property
    def away_s(self) -> float:
        """Seconds since the first clip was left pending for its server, if none has been answered since; else 0."""
        return 0.0 if self.away is None else time.monotonic() - self._away_since

    def run(self, *sources: Iterator[Job]) -> int:
        """Does the jobs, and all that follows from them; gives how many captions are left pending.

        Args:
            sources: jobs of the plan, each made when the loop takes it. Jobs of one source are begun in order; sources do not wait for each
            other.

        Raises:
            CannotGoOn: the run cannot go on; what is durable stays.
            Stopped: the run has been asked to stop.
        """
        self._pending = 0
        open_sources = [Source(jobs) for jobs in sources]
        looked = 0.0
        while True:
            if self.stopping():
                raise Stopped
            self._submit_waiting()
            for source in open_sources:
                while source.next is not None and self._wants(source.next):
                    self._enqueue(source.take())
            open_sources = [source for source in open_sources if source.next is not None]
            if not (open_sources or any(self._flying.values()) or any(self._ready.values())):
                self._show()
                return self._pending
            self._take_what_ended()
            if time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                self._show()

    def drain(self) -> None:
        """After `Executor.stop`: counts what still ends within `DRAIN_S`, and leaves the rest."""
        deadline = time.monotonic() + DRAIN_S
        while any(self._flying.values()) and time.monotonic() < deadline:
            try:
                self.executor.check()
            except CannotGoOn:  # what it still knew is lost with it
                return
            try:
                tried, future = self._ended.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                continue
            self._flying[tried.job.stage] -= 1
            if not future.cancelled() and future.exception() is None:
                outcome = future.result()
                replay(outcome.events)
                if not (outcome.again or outcome.pending or (outcome.failure and outcome.failure.fatal)):
                    self._count(tried, outcome)

    def _show(self) -> None:
        self.executor.check()
        self.tally.under_way = dict(self.executor.decoding())
        self.tally.scans_submitted = min(self._flying["scan"], self.executor.slots("scan"))
        self.tally.capacity = {name: self.executor.slots(name) for name in ("scan", "shots", *(s.name for s in self._stages))}
        self.executor.show(self.tally)
        self.watch()

    # -- what is submitted ---------------------------------------------------------------------------------------------------------

    def _submit_waiting(self) -> None:
        """Submits jobs that follow from others, as far as there is room."""
        for stage, waiting in list(self._ready.items()):
            while waiting and self._has_room(stage) and not self._is_held(stage, waiting):
                tried = self._pace.joined(waiting) if stage == "scores" else waiting.popleft()
                if isinstance(tried.job, Segment) and tried.whole is not None and tried.whole.over:
                    self._segment_ended(tried.whole)
                else:
                    self._submit(tried)

    def _is_held(self, stage: str, waiting: deque[Try]) -> bool:
        """Whether jobs that wait are not to be submitted yet."""
        if stage == "captions":
            return len(waiting) <= HELD and self.no_server()
        return stage == "scores" and self._more_may_join(waiting)

    def _more_may_join(self, waiting: deque[Try]) -> bool:
        """Whether clips that wait for scores wait for others: no process is without a job, and they do not fill one yet."""
        idle = self._flying["scores"] < self.executor.slots("scores")
        return not idle and n_clips(waiting) < self._pace.clips

    def _wants(self, job: Job) -> bool:
        """Whether a job of the plan is to be begun now: there is room, nothing else waits for it, and later stages are not far behind."""
        stage = job.stage
        waiting = {s.name: n_clips(self._ready[s.name]) for s in self._stages}
        if isinstance(job, Score):  # jobs of scores that wait become one
            return waiting[stage] < WAITING
        later = 0 if isinstance(job, Caption | Clips) else sum(waiting.values())
        others_first = bool(self._ready[stage]) and not (isinstance(job, Caption) and self.no_server())
        return later < WAITING and not others_first and self._has_room(stage)

    def _has_room(self, stage: str) -> bool:
        return self._flying[stage] < self.executor.room(stage)

    def _enqueue(self, job: Job, whole: Divided | None = None) -> None:
        tried = Try(job, whole=whole)
        if not isinstance(job, Score | Caption | Identify):
            earlier = job.attempts.get(key_of(job), 0)
            tried.number = earlier + 1
            # what has used up its attempts is here because --retry-failed asked for it: it is tried as often as at first
            tried.tries_left = self.attempts - earlier if earlier < self.attempts else self.attempts
        self._ready[job.stage].append(tried)
        self._submit_waiting()

    def _submit(self, tried: Try) -> None:
        self._flying[tried.job.stage] += 1
        future = self.executor.submit(tried.job, tried.attempt)
        future.add_done_callback(lambda ended: self._ended.put((tried, ended)))

    # -- what ended ----------------------------------------------------------------------------------------------------------------

    def _take_what_ended(self) -> None:
        """Waits for an outcome, not for long, and takes all that are there."""
        try:
            self._take(*self._ended.get(timeout=LOOK_EVERY_S))
            while True:
                self._take(*self._ended.get_nowait())
        except queue.Empty:
            return

    def _take(self, tried: Try, future: Future[Outcome]) -> None:
        self._flying[tried.job.stage] -= 1
        outcome = self._outcome(tried, future)
        if outcome is None:
            self._first(tried)
        elif outcome.again:
            tried.number, tried.tries_left = tried.number + 1, tried.tries_left - 1
            self._first(tried)
        else:
            self._follow(tried, outcome)

    def _outcome(self, tried: Try, future: Future[Outcome]) -> Outcome | None:
        """What came of an attempt; None where the job is to be done as if it had not been submitted."""
        error = CancelledError() if future.cancelled() else future.exception()
        match error:
            case None:
                outcome = future.result()
                replay(outcome.events)
                if outcome.failure is not None and outcome.failure.fatal:
                    raise outcome.failure.error()
                return outcome
            case WorkerDied():
                return self._of_dead(tried, error)
            case Stopped() | CancelledError():
                raise Stopped
            case RushesError():
                raise error
            case _:
                mend = "run the same command again, with --log FILE: it resumes; report it with the log if it stays"
                words = failure_of(error).what if isinstance(error, Exception) else "a job was broken off"
                raise CannotGoOn(f"the engine failed: {words}", step="run", mend=mend) from error

    def _of_dead(self, tried: Try, died: WorkerDied) -> Outcome | None:
        job = tried.job
        tried.losses += isinstance(job, Score | Caption | Identify) or not died.blame
        too_often = tried.losses > LOSSES
        if isinstance(job, Score | Caption | Identify):
            if not too_often:
                return None
            looked_at = "memory of the machine and of its GPU" if isinstance(job, Score) else "cluster (ray status)"
            mend = f"look at the {looked_at}, then run the same command again: it resumes"
            raise CannotGoOn(f"{tried.losses} processes of {job.stage} died one after the other: {died}", step="run", mend=mend)
        if not died.blame and not too_often:
            return None
        assert self.failures is not None
        return self.failures.record(job, lost(job, died), Attempt(tried.number, tried.attempt.last or too_often))

    def _first(self, tried: Try) -> None:
        self._ready[tried.job.stage].appendleft(tried)

    def _count(self, tried: Try, outcome: Outcome) -> None:
        """Counts what came of a job. A video of which several segments fail fails once."""
        whole = tried.whole
        if outcome.failure is not None and whole is not None:
            if whole.failed:
                return
            whole.failed = True
        if isinstance(tried.job, Score):
            self.tally.add(scores_pending=-tried.job.n_clips)
        errors = {outcome.failure.error_type: 1} if outcome.failure else outcome.errors
        self.tally.enter(outcome.counts, outcome.busy, errors, outcome.reasons)

    def _follow(self, tried: Try, outcome: Outcome) -> None:
        """Counts an outcome, and submits what is to be done next."""
        job, whole = tried.job, tried.whole
        if isinstance(job, Caption):
            self._look_at_server(outcome)
        if outcome.pending:
            self.tally.enter(outcome.counts, outcome.busy, {}, {})
            self._pending += 1
            self.tally.add(captions_pending=1)
            return
        self._count(tried, outcome)
        match job:
            case Segment() if whole is not None:
                whole.over |= outcome.refused or whole.failed
                self._segment_ended(whole)
            case Scan() if outcome.division is not None:
                self._divide(job, outcome.division)
            case Identify():
                self.identified(outcome)
            case Score():
                self._scored(job, outcome)
            case Stitch() if outcome.failure is None:
                self._later_stages(job.scan, outcome)
            case Scan() | Recut() if outcome.failure is None:
                self._later_stages(job, outcome)

    def _look_at_server(self, outcome: Outcome) -> None:
        """Notes since when the server of the captions has answered no clip."""
        if outcome.pending and outcome.failure is not None:
            self._away_since = self._away_since if self.away is not None else time.monotonic()
            self.away = outcome.failure
        elif outcome.counts.get("caption_requests"):
            self.away = None

    def _divide(self, scan: Scan, division: Division) -> None:
        """Puts the segments of a long video that are missing in the place of its scan."""
        whole = Divided(scan, division, left=len(division.missing) + 1)
        for index in division.missing:
            self._enqueue(Segment(scan=scan, division=division, index=index), whole)
        self._segment_ended(whole)

    def _segment_ended(self, whole: Divided) -> None:
        whole.left -= 1
        if whole.left == 0 and not whole.failed:
            self._enqueue(Stitch(scan=whole.scan, division=whole.division))

    def _later_stages(self, job: Scan | Recut, outcome: Outcome) -> None:
        """Submits what is to be done with the clips that are kept: first their scores, where these are wanted."""
        part = ScoreClips(video=job.video, facts=outcome.facts or {}, clips=outcome.kept, settled=job.settled)
        if all(stage.name != "scores" for stage in self._stages):
            self._after_scores(part)
            return
        hopeless = set(job.settled.failed.get("scores", ()))
        part = part.only(clip for clip in outcome.kept if clip["clip_id"] not in hopeless)
        if part.clips:
            self.tally.add(scores_pending=len(part.clips))
            self._enqueue(Score(parts=(part,)))

    def _scored(self, job: Score, outcome: Outcome) -> None:
        """Submits what the stages after the scores are to do with the clips that are still kept."""
        self._pace.learn(job.n_clips, sum(outcome.busy.values()))
        kept = {clip["clip_id"]: clip for clip in outcome.kept}
        for part in job.parts:
            self._after_scores(part.only(kept[clip["clip_id"]] for clip in part.clips if clip["clip_id"] in kept))

    def _after_scores(self, part: ScoreClips) -> None:
        """Submits what the stages of clips but scores are to do with clips of one video."""
        for stage in self._stages:
            if stage.name != "scores" and stage.name not in self.late:
                settled = set(part.settled.done.get(stage.name, ()))
                clips = [clip for clip in part.clips if clip["clip_id"] not in settled]
                for later in clip_jobs(stage, part.video, part.facts, clips, part.attempts.get(stage.name)):
                    self._enqueue(later)
