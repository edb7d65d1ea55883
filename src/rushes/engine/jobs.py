"""What there is to do, and what came of it: plain data that any process can read.

A job is one piece of work: a video to scan, a segment of one, clips to cut, a clip to caption. An attempt at a job gives an outcome, which
is reported when its rows are durable in the store. `stage` of a job is the stage whose resources it takes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter

from rushes.engine.stages import Stage
from rushes.errors import Failure
from rushes.log import Event
from rushes.media.segments import Cuts
from rushes.recipe import Recipe
from rushes.records import Row, Video
from rushes.store.lease import OwnerCheck
from rushes.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a process needs to know of a run before its first job.

    Attributes:
        run_id: the run.
        store: root of the store.
        owner: who holds the lease of the store, as `lease.json` names it: nobody writes for this run when another holds it.
        recipe: the recipe with the options of its storage. It travels to processes, and is not written anywhere.
        prints: stage -> fingerprint.
    """

    run_id: str
    store: str
    owner: str
    recipe: Recipe
    prints: dict[str, str]

    def gated_store(self) -> Store:
        """The store, to which this process can write only while the run holds its lease."""
        store = Store(self.store, self.recipe.storage)
        store.gate = OwnerCheck(store, self.owner)
        return store


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What the stages of clips have done with clips of one video before this run. These may come from other shots: the id of a clip depends
    on its span alone.

    Attributes:
        done: stage -> ids of clips for which the stage has nothing to do: their row is in the store, or the stage failed for good on them.
        failed: stage -> of these, clips on which the stage failed for good, and that have no row of it.
        scored: scorer -> ids of clips whose row of this scorer is in the store.
        embedded: embeddings of frames of the video are in the store, of the encoder that is wanted.
    """

    done: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    scored: dict[str, tuple[str, ...]] = field(default_factory=dict)
    embedded: bool = False

    def failures(self, stage: str, clips: Container[str]) -> int:
        """How many of some clips a stage has failed on for good."""
        return sum(clip in clips for clip in self.failed.get(stage, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The one pass over a video, then its shots and measures.

    Attributes:
        present: stages of videos whose rows are there already: they are not written again.
        attempts: failed attempts by earlier runs: key of the video or of one of its segments (`errors.key`) -> number.
        settled: what the stages of clips need not do.
        covered: of the stages scan and frames, where they have some stretches of the video: these, as in `marks.covered`.
    """

    stage: ClassVar = "scan"
    kind: Literal["scan"] = "scan"
    video: Video
    present: tuple[str, ...] = ()
    covered: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    settled: Settled = field(default_factory=Settled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recut:
    """Shots and measures anew from stored signals; the video is not opened. `facts`: its row of `videos`. The rest: see `Scan`."""

    stage: ClassVar = "shots"
    kind: Literal["recut"] = "recut"
    video: Video
    facts: Row
    present: tuple[str, ...] = ()
    attempts: dict[str, int] = field(default_factory=dict)
    settled: Settled = field(default_factory=Settled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """How a long video is divided. `fingerprint` names the segments' rows; `missing` are those that are not in the store yet."""

    cuts: Cuts
    fingerprint: str
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfDivided:
    """Work on a long video that is scanned in segments."""

    stage: ClassVar = "scan"
    scan: Scan
    division: Division

    @property
    def video(self) -> Video:
        """The long video."""
        return self.scan.video

    @property
    def attempts(self) -> dict[str, int]:
        """See `Scan`."""
        return self.scan.attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment(_OfDivided):
    """The pass over one segment of a long video."""

    kind: Literal["segment"] = "segment"
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stitch(_OfDivided):
    """Joins the segments of a long video to what one pass would have found."""

    kind: Literal["stitch"] = "stitch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """Work of one stage on kept clips of one video, in a guarded child. `stage` and `work`: as the list of stages names them; `clips`:
    columns as `rows.clip_columns.clip_columns` gives them. The rest: see `Scan` and `Recut`.
    """

    kind: Literal["clips"] = "clips"
    stage: str
    work: str
    video: Video
    facts: Row
    clips: tuple[Row, ...]
    attempts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreClips:
    """Clips of one video that lack scores, and that the rules keep by their measures, with what the stages after the scores need to know.
    `attempts`: stage -> failed attempts by earlier runs. The rest: see `Clips` and `Scan`.
    """

    video: Video
    facts: Row
    clips: tuple[Row, ...]
    settled: Settled = field(default_factory=Settled)
    attempts: dict[str, dict[str, int]] = field(default_factory=dict)

    def only(self, clips: Iterable[Row]) -> ScoreClips:
        """The same of other columns of clips."""
        return replace(self, clips=tuple(clips))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Scores of clips of several videos, and the verdict that follows from these. Without clips it only has the models loaded."""

    stage: ClassVar = "scores"
    kind: Literal["score"] = "score"
    parts: tuple[ScoreClips, ...] = ()

    @property
    def n_clips(self) -> int:
        """Clips of all videos."""
        return sum(len(part.clips) for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """Words for one clip.

    Attributes:
        clip: its columns, so that the captioner reads nothing but frames.
        round: how often this run has planned captions again because the server was away, from 0. At each new number the captioner asks at
            once whether the server is there.
    """

    stage: ClassVar = "captions"
    kind: Literal["caption"] = "caption"
    clip: Row
    round: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file, or one stream of it, whose `video_id` is not known yet; `place`: its index in the list that `Identifier.read` was given."""

    place: int
    address: str
    size: int
    stream: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identify:
    """Computes the `video_id` of some files, from up to 4 MiB of each."""

    stage: ClassVar = "identify"
    kind: Literal["identify"] = "identify"
    files: tuple[File, ...]


VideoJob = Scan | Recut | Segment | Stitch | Clips
"""Jobs on one video. They are done in guarded children (`work/child.py`)."""
InChild = VideoJob | Score
"""All jobs of guarded children: scores are made in those that hold models (`work/score_child.py`)."""
Job = InChild | Caption | Identify


def clip_jobs(
    stage: Stage, video: Video, facts: Row, clips: Sequence[Row], attempts: Mapping[str, int] | None = None
) -> Iterator[Clips | Caption]:
    """The jobs of one stage on clips of one video: one for all of them, or, where a captioner does the work, one for each."""
    if not stage.work:
        yield from (Caption(clip=clip) for clip in clips)
    elif clips:
        tries = dict(attempts or {})
        yield Clips(stage=stage.name, work=stage.work, video=video, facts=facts, clips=tuple(clips), attempts=tries)


def kept_counts(clips: Sequence[Row], settled: Settled, *, scored: bool) -> dict[str, float]:
    """How clips of one video that the rules keep are counted: on some of them a stage has failed for good. `scored`: their scores are
    known, or not wanted; else captions and files are counted when they are.
    """
    ids = {clip["clip_id"] for clip in clips}
    failed = settled.failures("captions" if scored else "scores", ids)
    files = settled.failures("files", ids) if scored else 0
    return {"clips_kept": float(len(ids) - failed), "clips_failed": float(failed), "files_failed": float(files)}


def key_of(job: VideoJob) -> str:
    """The column `key` of a job's rows of `errors`. Attempts are counted by key, so those at each segment of a video, and at joining the
    segments, have numbers of their own.
    """
    match job:
        case Segment():
            segment = job.division.cuts.segments[job.index]
            return f"{job.video.video_id}@{segment.first_pts if segment.start_pts is None else segment.start_pts}"
        case Stitch():
            return f"{job.video.video_id}@joined"
        case _:
            return job.video.video_id


def error_stage(job: VideoJob) -> str:
    """The column `stage` of a job's rows of `errors`."""
    return job.kind if isinstance(job, Recut) else job.stage


def log_stage(job: VideoJob) -> str:
    """What the log calls a job: the stage for work on clips, else its kind."""
    return job.stage if isinstance(job, Clips) else job.kind


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a job: its number over all runs, from 1; `last`: a failure of it is final."""

    number: int = 1
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one attempt at a job. The rows that it counts are durable.

    Attributes:
        counts: what the attempt adds to the run's counts, see `counts.tally.Tally`.
        busy: stage -> seconds that it was busy.
        reasons: rule -> clips of the video that it drops.
        failure: why it failed; None where it did not.
        errors: of `Score`: type of error -> clips that failed.
        again: the job is to be submitted again in this run: a process died during this attempt, and it was not the last one.
        kept: columns of the clips that the rules keep, for the stages of clips; empty where no such stage is wanted. Those of `Score` have
            their scores.
        facts: the video's row of `videos`, for stages that open it again.
        division: how to scan a long video, of which nothing was decoded.
        refused: a segment that cannot be joined to its neighbours: the video is to be scanned whole.
        pending: the clip is left without a caption, since the server is away (`failure` says so), or since its failure may not be its own.
        identities: of `Identify`: place -> video_id, or why the file could not be read.
        note: something for the log, such as why a video is scanned whole.
        events: log events of the process that did it, where that is not the driver.
    """

    counts: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    failure: Failure | None = None
    errors: dict[str, int] = field(default_factory=dict)
    again: bool = False
    kept: tuple[Row, ...] = ()
    facts: Row | None = None
    division: Division | None = None
    refused: bool = False
    pending: bool = False
    identities: dict[int, str | Failure] = field(default_factory=dict)
    note: str | None = None
    events: tuple[Event, ...] = ()


IN_CHILD: TypeAdapter[InChild] = TypeAdapter(Annotated[InChild, Field(discriminator="kind")])
"""Jobs to and from the JSON of a guarded child."""
FAILURE: TypeAdapter[Failure] = TypeAdapter(Failure)
OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
SETUP: TypeAdapter[Setup] = TypeAdapter(Setup)
