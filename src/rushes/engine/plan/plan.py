"""What a run would do: for each stage, what is wanted minus what is present. Reads listings, identities and the store; computes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rushes.engine.jobs import Caption, Clips, Recut, Scan, Score
from rushes.engine.plan.clip_jobs import later_jobs, score_jobs, with_settled
from rushes.engine.plan.compare import Lacking, lacking
from rushes.engine.plan.identify import Identifier
from rushes.engine.plan.known import Batch, Identity, Known
from rushes.engine.plan.source import Source
from rushes.engine.stages import STAGES
from rushes.errors import Failure, FootageError, ProbeError
from rushes.recipe import Recipe
from rushes.shots.covered import asked_s
from rushes.sources.by_stream import by_stream
from rushes.sources.footage import find_footage
from rushes.sources.found import Footage, Found
from rushes.store.forgotten import Forgotten
from rushes.store.store import Store

ASSUMED_BYTES_PER_S = 500_000
"""Bytes a second of footage whose length no scan has recorded: 4 Mbit/s, usual for 720p to 1080p H.264. Only for estimates."""
ASSUMED_JPEG_BYTES = 0.12
"""Bytes a pixel of a stored JPEG at quality 85, for estimates (measured on the footage of the benchmarks: 0.08 to 0.16)."""


@dataclass(slots=True)
class Plan:
    """What is wanted, and what of it is missing."""

    found: Found
    sources: list[Source]
    known: Known
    of_videos: list[Source] = field(default_factory=list)
    """Videos that lack rows of the stages of videos."""
    of_clips: list[Source] = field(default_factory=list)
    """Videos that are complete but for rows of the stages of clips."""
    scores_pending: int = 0
    """Clips of these videos that are kept by their measures and lack a score."""
    n_scans: int = 0
    bytes_to_scan: int = 0
    counts: dict[str, dict[str, int | str]] = field(default_factory=dict)
    kept: int = 0
    dropped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Rule -> clips that it drops."""
    failed_clips: int = 0
    failed_files: int = 0
    known_s: float = 0.0
    """Seconds of footage of the videos whose clips are known."""
    unknown_videos: int = 0
    """Videos whose clips are not known before the run cuts them: what is counted of scores, captions and files leaves them out."""
    footage_s: float = 0.0
    """Seconds of footage that scans will go through; in sparse mode they decode a part of it."""
    decode_s: float = 0.0
    """Seconds that will pass a decoder, those of clip files included."""
    expected_bytes: int = 0

    @property
    def prints(self) -> Mapping[str, str]:
        """The fingerprints wanted."""
        return self.known.prints

    def count(self, status: str) -> int:
        """Sources of one status."""
        return sum(s.status == status for s in self.sources)

    @property
    def has_jobs(self) -> bool:
        """Whether anything is missing."""
        return bool(self.of_videos or self.of_clips)

    @property
    def may_caption(self) -> bool:
        """Whether captions may be asked for: some are missing, or videos are to be scanned whose clips may want some."""
        return bool(self.of_videos or self.counts.get("captions", {}).get("missing"))

    def video_jobs(self) -> Iterator[Scan | Recut]:
        """What makes the missing rows of the stages of videos, a batch of videos at a time: re-cuts first, then in order of the uris."""
        for batch, sources in self.batches(self.of_videos):
            jobs = with_settled(batch, _by_mark(batch, sources).jobs)
            yield from sorted(jobs, key=lambda job: (job.kind == "scan", job.video.uri))

    @property
    def may_score(self) -> bool:
        """Whether scores may be asked for, as `may_caption`."""
        return "scores" in self.prints and bool(self.of_videos or self.scores_pending)

    def score_jobs(self) -> Iterator[Score]:
        """What makes the missing scores, of videos whose clips are known, a batch of videos at a time."""
        for batch, sources in self.batches(self.of_clips) if self.scores_pending else ():
            yield from score_jobs(batch, _by_uri(sources))

    def clip_jobs(self) -> Iterator[Clips | Caption]:
        """What makes the missing rows of the other stages of clips, of videos whose clips are known, a batch of videos at a time: of clips
        whose scores are there.
        """
        for batch, sources in self.batches(self.of_clips):
            yield from later_jobs(batch, _by_uri(sources))

    def batches(self, sources: Iterable[Source]) -> Iterator[tuple[Batch, list[Source]]]:
        """Some sources of different content, in batches."""
        by_id = {str(source.video_id): source for source in sources}
        for batch in self.known.batches({video: source.footage.spans for video, source in by_id.items()}):
            yield batch, [by_id[video] for video in batch.videos]

    def as_dict(self) -> dict[str, Any]:
        """The contract's `plan --json`."""
        return {
            **{stage: self.counts[stage] for stage in self.prints},
            "unknown_videos": self.unknown_videos,
            "decode_s": self.decode_s,
            "expected_bytes": self.expected_bytes,
        }


def make_plan(
    args: Sequence[str],
    store: Store | None,
    recipe: Recipe,
    *,
    limit: int | None = None,
    retry_failed: bool = False,
    identifier: Identifier | None = None,
) -> Plan:
    """Finds and identifies the footage, and compares what is wanted with what the store has; `store` is None when there is none yet. New
    files are identified by `identifier`; the default is one that writes nothing. The rest: see `run`.

    Raises:
        FootageError: no video.
        StorageError: the store cannot be read.
        CannotGoOn, Stopped: see `Identifier.read`.
    """
    found = find_footage(args, recipe.storage, exclude=[store.root] if store else [], paimon_python=recipe.publish.paimon_python)
    identifier = identifier or Identifier(recipe)
    items = by_stream(found.items[:limit], recipe, identifier.interrupted)[:limit]
    return compared(found, items, store, recipe, retry_failed=retry_failed, identifier=identifier)


def compared(
    found: Found,
    items: Sequence[Footage],
    store: Store | None,
    recipe: Recipe,
    *,
    retry_failed: bool = False,
    identifier: Identifier | None = None,
) -> Plan:
    """Identifies footage that was found, and compares what is wanted of it with what the store has; see `make_plan`."""
    known = Known(store, recipe, retry_failed=retry_failed)
    _check_spans(items, recipe)
    if recipe.shots.within_spans or not all(item.spans for item in items):
        recipe.check_sparse()
    plan = Plan(found, [Source(item) for item in items], known)
    gone = Forgotten.of(store)
    _identify(plan, {error.uri or "": error for error in found.missing}, identifier or Identifier(recipe))
    _leave_out(plan, gone)
    _same_content(plan)
    _compare(plan)
    return plan


def _identify(plan: Plan, missing: Mapping[str, ProbeError], identifier: Identifier) -> None:
    """Gives each source its video_id; a uri whose size and stamp are as recorded is not opened again."""
    before, unread = plan.known.identities([source.footage for source in plan.sources]), []
    for source in plan.sources:
        item = source.footage
        row = before.get(item.uri, Identity())
        source.recorded, source.attempts, source.video_id = row.recorded, row.attempts, row.of(item)
        if item.uri in missing or item.size is None:
            source.video_id, source.status = None, "failed"
            error = missing.get(item.uri) or ProbeError("its size is not known", uri=item.uri, step="identify")
            source.failure = replace(Failure.of(error), permanent=False)
        elif source.video_id is None:
            unread.append(source)

    def take(k: int, found: str | Failure) -> None:
        if isinstance(found, Failure):
            unread[k].status, unread[k].failure = "failed", found
        else:
            unread[k].video_id = found

    identifier.read([source.footage for source in unread], take)


def _leave_out(plan: Plan, gone: Forgotten) -> None:
    """Marks the sources that were taken out of the store for good: nothing of them is read or written."""
    if not gone.ids:
        return
    of_files, of_all = gone, gone.with_streams() if any(source.footage.stream is not None for source in plan.sources) else gone
    for source in plan.sources:
        if (of_files if source.footage.stream is None else of_all).holds(source.video_id, source.footage.uri):
            source.status, source.failure = "forgotten", None


def _same_content(plan: Plan) -> None:
    """The first uri of a content, in sorted order, is its source; the rest are duplicates. Spans of these are spans of the source, too."""
    first: dict[str, Source] = {}
    for source in plan.sources:
        if (
            source.video_id is not None
            and source.status != "forgotten"
            and (own := first.setdefault(source.video_id, source)) is not source
        ):
            source.status = "duplicate"
            known = {span.key for span in own.footage.spans}
            if more := [span for span in source.footage.spans if span.key not in known]:
                spans = sorted((*own.footage.spans, *more), key=lambda span: span.key)
                own.footage = replace(own.footage, spans=tuple(spans))


def _check_spans(items: Sequence[Footage], recipe: Recipe) -> None:
    """Makes sure that frame numbers mean frames of the video."""
    mode = recipe.scan.mode
    if mode != "exact" and (item := next((i for i in items if any(s.unit == "frame" for s in i.spans)), None)):
        what = f'a list gives spans by frame numbers, and scan.mode = "{mode}" may not decode every frame'
        raise FootageError(what, uri=item.uri, mend='set scan.mode to "exact", or give the spans as start_s and end_s')


def _by_uri(sources: Iterable[Source]) -> list[Source]:
    return sorted(sources, key=lambda source: source.footage.uri)


def _compare(plan: Plan) -> None:
    """Finds what each video lacks, and counts it, a batch of videos at a time. The jobs themselves are made when they are begun."""
    counts = {stage.name: [0, 0] for stage in STAGES}
    for batch, sources in plan.batches([source for source in plan.sources if source.status == "todo" and source.video_id is not None]):
        found = _by_mark(batch, sources)
        _count_videos(plan, batch, found, counts)
        complete = [source for source in found.cut if source.status == "reused"]
        lacking = _count_clips(plan, batch, complete, counts)
        _count_clips(plan, batch, [source for source in found.cut if source.status != "reused"], counts)
        plan.kept += lacking.kept - lacking.failed
        plan.failed_clips += lacking.failed
        plan.failed_files += lacking.failed_files
        plan.dropped += lacking.dropped
        plan.reasons += lacking.reasons
        plan.scores_pending += lacking.wanted["scores"] - lacking.present["scores"]
        of_videos, of_clips = {job.video.video_id for job in found.jobs}, set[str]().union(*lacking.clips.values())
        plan.of_videos += [source for source in sources if source.video_id in of_videos]
        plan.of_clips += [source for source in complete if source.video_id in of_clips]
        plan.unknown_videos -= len(found.cut)
        plan.known_s += sum(batch.scanned[str(source.video_id)]["footage_s"] or 0.0 for source in found.cut)
    plan.unknown_videos += counts["shots"][0]
    for stage, (wanted, present) in counts.items():
        if (fingerprint := plan.prints.get(stage)) is not None:
            plan.counts[stage] = {"wanted": wanted, "present": present, "missing": wanted - present, "fingerprint": fingerprint}


@dataclass(slots=True)
class _ByMark:
    """What the marks of some videos say.

    Attributes:
        cut: videos whose clips are there. One that must be decoded for its frames alone is among these and has a job.
        jobs: what makes the rows that others lack.
        have: one entry for each video that did not fail: stage -> whether its rows are there.
    """

    cut: list[Source] = field(default_factory=list)
    jobs: list[Scan | Recut] = field(default_factory=list)
    have: list[dict[str, bool]] = field(default_factory=list)


def _by_mark(batch: Batch, sources: Sequence[Source]) -> _ByMark:
    """Compares the stages of videos that are wanted with the marks that are there."""
    found, stages = _ByMark(), [stage.name for stage in STAGES if stage.row == "video"]
    for source in sources:
        vid = source.video_id
        assert vid is not None
        if (failure := batch.failure(vid)) is not None:
            source.status, source.known, source.video = "failed", True, None if source.is_recorded("failed") else failure
            source.failure = Failure(failure["error_type"], failure["error"], source.footage.uri, mend=failure["mend"])
            continue
        scanned = vid in batch.scanned
        source.video = batch.scanned[vid] if scanned and not source.is_recorded("done") else None
        have = {stage: batch.has(vid, stage) and (scanned or stage == "frames") for stage in stages}
        found.have.append(have)
        if scanned and have["shots"] and have["measures"]:
            found.cut.append(source)
        there = tuple(stage for stage, is_present in have.items() if is_present)
        if not (have["scan"] and have["frames"]):
            attempts, covered = batch.attempts_at(vid, "scan"), batch.covered(vid)
            found.jobs.append(Scan(video=source.as_video(), present=there, covered=covered, attempts=attempts))
            continue
        source.status = "reused"
        if not (have["shots"] and have["measures"]):
            facts = batch.facts(vid, source.footage.uri)
            found.jobs.append(Recut(video=source.as_video(), facts=facts, present=there, attempts=batch.attempts_at(vid, "recut")))
    return found


def _count_videos(plan: Plan, batch: Batch, found: _ByMark, counts: Mapping[str, list[int]]) -> None:
    """Adds the stages of videos to the counts, with what scans will decode, and the bytes of the frames that they will sample."""
    for have in found.have:
        for stage, is_present in have.items():
            counts[stage][0] += 1
            counts[stage][1] += is_present
    scans = [job for job in found.jobs if isinstance(job, Scan)]
    lengths = batch.lengths([job.video.video_id for job in scans], plan.known.recipe.scan.mode)
    frames = plan.known.recipe.frames
    for job in scans:
        size = job.video.size or 0
        length, share = lengths.get(job.video.video_id, (size / ASSUMED_BYTES_PER_S, 1.0))
        if job.video.spans:
            length = min(length, asked_s(job.video.spans, batch.scanned.get(job.video.video_id)))
        plan.n_scans, plan.bytes_to_scan = plan.n_scans + 1, plan.bytes_to_scan + size
        plan.footage_s, plan.decode_s = plan.footage_s + length, plan.decode_s + length * share
        if plan.prints.get("frames") and "frames" not in job.present:
            plan.expected_bytes += int(length * frames.per_s * frames.short_side_px**2 * 16 / 9 * ASSUMED_JPEG_BYTES)


def _count_clips(plan: Plan, batch: Batch, sources: Sequence[Source], counts: Mapping[str, list[int]]) -> Lacking:
    """What the clips of some videos lack, added to the counts."""
    found = lacking(batch, sources, [stage.name for stage in plan.known.clip_stages])
    for stage, n in found.wanted.items():
        counts[stage][0] += n
        counts[stage][1] += found.present[stage]
    if plan.known.recipe.clips.mode == "encode":
        plan.decode_s += found.missing_s.get("files", 0.0)
    return found
