"""A worker: one guarded child, and what is recorded when a job fails in it or kills it.

On one machine a thread of the run's process holds a worker; on Ray a process of the cluster does.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from rushes.engine.executor import WorkerDied
from rushes.engine.jobs import (
    Attempt,
    Clips,
    Outcome,
    Recut,
    Scan,
    Segment,
    Setup,
    Stitch,
    VideoJob,
    error_stage,
    key_of,
    log_stage,
)
from rushes.engine.pipe import JobChild, Progress, Reached
from rushes.engine.stages import resources
from rushes.errors import CrashError, Failure, HangError, MemoryError_, ProbeError, WorkerLost
from rushes.log import note
from rushes.machine import cores, memory_bytes
from rushes.media.same_file import SameFile
from rushes.media.storage import Options
from rushes.recipe import Recipe
from rushes.records import Video
from rushes.rows.scanned import Rows, Stamp, attempt_row, failed_video, identity_row
from rushes.store.buffer import Buffer
from rushes.store.store import Store, now
from rushes.store.tables import ERRORS, VIDEOS

MODULE = "rushes.engine.work.child"
MAY_PASS = (CrashError.__name__, WorkerLost.__name__)
"""Types of failure after which the same run tries again: a process that died while it worked on a file may live through the next try."""


def worker_count(recipe: Recipe) -> int:
    """Children at work at once on this machine: as many as the CPUs, the memory and the concurrency of `[resources.scan]` allow."""
    needs = resources(recipe, "scan")
    by_cpu = int(cores() / needs.cpus) if needs.cpus else cores()
    by_memory = int(memory_bytes() / (needs.memory_gib * 2**30)) if needs.memory_gib else by_cpu
    return needs.concurrency or max(1, min(by_cpu, by_memory))


class Failures:
    """Records what failed: rows of `errors`, and of `videos` where a scan has failed for this run. Where work on the clips of a video has
    failed for good, there is one row for each of them, and the video stands. Safe for several threads.
    """

    def __init__(self, setup: Setup, store: Store) -> None:
        self._run_id = setup.run_id
        self._prints = setup.prints
        self._options = store.options
        self._buffer = Buffer(store, [(VIDEOS, ()), (ERRORS, ())])

    def record(self, job: VideoJob, failure: Failure, attempt: Attempt, *, decoded_s: float = 0.0) -> Outcome:
        """Records a failed attempt, in which so many seconds were decoded in vain, and gives its outcome. The rows are durable then.

        Raises:
            StorageError: the rows could not be written.
        """
        if failure.fatal:
            return Outcome(failure=failure)
        video = job.video
        if failure.permanent and not isinstance(job, Recut):
            failure = cause(video, failure, self._options)
        again = failure.error_type in MAY_PASS and not attempt.last
        permanent = not again and (failure.permanent or attempt.last)
        self._write(job, failure, attempt, permanent=permanent, final=not again)
        words: dict[str, Any] = {
            "run_id": self._run_id, "stage": log_stage(job), "level": "warning", "key": video.video_id, "uri": video.uri,
            "error_type": failure.error_type, "attempt": attempt.number,
        }  # fmt: skip
        if again:
            note("video tried again", **words)
            return Outcome(failure=failure, again=True)
        words |= {"error": failure.what, "permanent": permanent, "detail": failure.detail}
        if isinstance(job, Clips):
            note("clips failed", **words)
            return Outcome(counts={f"{job.stage}_failed": float(len(job.clips)), "decoded_s": decoded_s}, failure=failure)
        note("video failed", **words)
        counts = {"footage_s": decoded_s, "decoded_s": decoded_s, "videos_failed": 1.0, "bytes_read": float(video.size or 0)}
        if isinstance(job, Recut):  # it was counted as reused
            counts = {"videos_failed": 1.0, "videos_reused": -1.0}
        return Outcome(counts=counts, failure=failure)

    def _write(self, job: VideoJob, failure: Failure, attempt: Attempt, *, permanent: bool, final: bool) -> None:
        video, stamp = job.video, Stamp(self._run_id, now())
        who = identity_row(video)
        fingerprint = self._prints[job.stage if isinstance(job, Clips) else "scan"]
        keys = [(key_of(job), failure)]
        if isinstance(job, Clips) and permanent:  # each of its clips has failed
            keys = [(clip["clip_id"], replace(failure, span_s=(clip["start_s"], clip["end_s"]))) for clip in job.clips]
        errors = [attempt_row(who, why, error_stage(job), key, attempt.number, permanent=permanent) for key, why in keys]
        rows: Rows = {"errors": [stamp.on(row, fingerprint) for row in errors]}
        scan = job.scan if isinstance(job, Segment | Stitch) else job
        if final and isinstance(scan, Scan) and "scan" not in scan.present:  # else its earlier scan stands; the next run tries again
            rows["videos"] = [stamp.on(failed_video(who, failure), self._prints["scan"])]
        self._buffer.commit(rows)


class Worker:
    """Does jobs in one guarded child, one at a time. The job under way is given up when `stop` is set."""

    def __init__(self, setup: Setup, failures: Failures, stop: threading.Event) -> None:
        scan = setup.recipe.scan
        self._run_id = setup.run_id
        self._failures = failures
        limit = int(scan.memory_gib * 2**30)
        self._child = JobChild(MODULE, setup, stop, hang_s=scan.hang_s, memory_bytes=limit)

    def do(self, job: VideoJob, attempt: Attempt, progress: Progress = lambda _s: None) -> Outcome:
        """One attempt at a job. Its rows are durable when this returns, those of a failure too.

        Raises:
            Stopped: the run is stopping.
            StorageError: a failure could not be recorded.
        """
        reached, video = Reached(progress), job.video
        answer = self._answer(job, reached)
        if isinstance(answer, Failure):
            return self._failures.record(job, answer, attempt, decoded_s=reached.seconds)
        if isinstance(job, Segment):
            return answer
        if answer.note:
            note("scanned whole", run_id=self._run_id, stage=log_stage(job), key=video.video_id, uri=video.uri, note=answer.note)
        if answer.division is not None:
            return answer
        decoded_s, kept, dropped = (answer.counts.get(name) for name in ("decoded_s", "clips_kept", "clips_dropped"))
        note(
            "video done", run_id=self._run_id, stage=log_stage(job), key=video.video_id, uri=video.uri,
            decoded_s=decoded_s, clips_kept=kept, clips_dropped=dropped,
        )  # fmt: skip
        return answer

    def _answer(self, job: VideoJob, progress: Progress) -> Outcome | Failure:
        uri = job.video.uri
        try:
            return self._child.attempt(job, uri, progress)
        except (HangError, MemoryError_, CrashError) as error:
            failure = Failure.of(error)
            kind = failure.error_type
            note("child ended", run_id=self._run_id, stage=log_stage(job), level="warning", key=key_of(job), uri=uri, error_type=kind)
            return failure

    def kill(self) -> None:
        """Ends the child at once."""
        self._child.kill()


def lost(job: VideoJob, died: WorkerDied) -> Failure:
    """The failure of a job whose worker died."""
    mend = "it may have taken the machine's memory; rushes run --retry-failed tries again"
    error = WorkerLost(f"the worker process died while it was at work on it: {died}", uri=job.video.uri, step=job.kind, mend=mend)
    return replace(Failure.of(error), permanent=False)


def cause(video: Video, failure: Failure, options: Options) -> Failure:
    """Why work on a video failed: the failure, or that its file changed; then a broken picture or a crash says nothing of what was
    identified.
    """
    try:
        SameFile(video, options)
    except ProbeError as changed:
        return Failure.of(changed)
    return failure
