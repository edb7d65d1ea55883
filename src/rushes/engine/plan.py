"""What a run would do: for each stage, what is wanted minus what is present. Reads listings, identities and the store; computes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rushes.engine.compare import Lacking, lacking
from rushes.engine.fingerprints import Fingerprints, fingerprints
from rushes.engine.identify import Identifier
from rushes.engine.known import Batch, Identity, Known
from rushes.engine.rows import manifest_columns
from rushes.recipe import Recipe
from rushes.sources.footage import find_footage
from rushes.sources.found import Footage, Found
from rushes.store.store import Store

Row = dict[str, Any]

ASSUMED_BYTES_PER_S = 500_000
"""Bytes a second of footage whose length no scan has recorded: 4 Mbit/s, usual for 720p to 1080p H.264. Only for estimates."""
ASSUMED_JPEG_BYTES = 0.12
"""Bytes a pixel of a stored JPEG at quality 85, for estimates (measured on the footage of the benchmarks: 0.08 to 0.16)."""


@dataclass(slots=True)
class Source:
    """One uri of a run: who it is, and what there is to do about it.

    `status` is "todo" (some stage lacks rows), "reused", "duplicate" or "failed"; `error` tells why it failed, and `known` that an earlier
    run found so.
    """

    footage: Footage
    video_id: str | None = None
    status: str = "todo"
    error: Row | None = None
    known: bool = False
    attempts: int = 0
    """Failed attempts at it by earlier runs."""
    video: Row | None = None
    """The row of `videos` of its content, when it was scanned before or failed for good, and the store does not say so of this uri yet."""
    told: Row | None = None
    """What `videos` says of this uri: `identity` and status of its newest row under the recipe's scan."""

    def identity(self) -> Row:
        """What a row of `videos` says of the file."""
        item = self.footage
        extra = manifest_columns(item.extra)
        return {"uri": item.uri, "video_id": self.video_id, "size_bytes": item.size, "stamp": item.stamp, "extra": extra}

    def is_told(self, status: str) -> bool:
        """Whether the newest row of this uri says the same already."""
        return self.told == {**self.identity(), "status": status}


@dataclass(slots=True)
class Plan:
    """What is wanted, and what of it is missing."""

    recipe: Recipe
    prints: Fingerprints
    found: Found
    sources: list[Source]
    jobs: list[Row] = field(default_factory=list)
    """Work in order: rows that only lack later stages first, so that captions start while videos are decoded."""
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: int = 0
    dropped: int = 0
    failed_clips: int = 0
    unknown_videos: int = 0
    """Videos whose clips are not known before the run cuts them: what is counted of captions and files leaves them out."""
    decode_s: float = 0.0
    expected_bytes: int = 0

    def count(self, status: str) -> int:
        """Sources of one status."""
        return sum(s.status == status for s in self.sources)

    def as_dict(self) -> dict[str, Any]:
        """The contract's `plan --json`."""
        return {
            **{stage: self.counts[stage] for stage in self.prints.as_dict()},
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
    """Finds and identifies the footage, and compares what is wanted with what the store has.

    Args:
        args: FOOTAGE as in the contract.
        store: None when there is none yet.
        recipe: what is wanted.
        limit: look at the first so many uris only.
        retry_failed: want again what failed for good.
        identifier: what reads the identities of new files; default: one that writes nothing.

    Raises:
        FootageError: no video.
        StorageError: the store cannot be read.
        CannotGoOn, Stopped: see `Identifier.answers`.
    """
    found = find_footage(args, recipe.storage, exclude=[store.root] if store else [])
    items = found.items if limit is None else found.items[:limit]
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
    plan = Plan(recipe, fingerprints(recipe), found, [Source(item) for item in items])
    known = Known(store, plan.prints, retry_failed=retry_failed)
    _identify(plan, known, {e.uri or "": e.what for e in found.missing}, identifier or Identifier(recipe))
    _same_content(plan)
    _compare(plan, known)
    return plan


def _identify(plan: Plan, known: Known, missing: Mapping[str, str], identifier: Identifier) -> None:
    """Gives each source its video_id; a uri whose size and stamp are as recorded is not opened again."""
    before, unread = known.identities([source.footage for source in plan.sources]), []
    for source in plan.sources:
        item = source.footage
        row = before.get(item.uri, Identity())
        source.told, source.attempts, source.video_id = row.told, row.attempts, row.of(item)
        if item.uri in missing or item.size is None:
            message = missing.get(item.uri, f"{item.uri}: its size is not known")
            source.video_id, source.status = None, "failed"
            source.error = {"type": "ProbeError", "message": message, "permanent": False}
        elif source.video_id is None:
            unread.append(source)
    for k, answer in identifier.answers([source.footage for source in unread]):
        if "done" in answer:
            unread[k].video_id = answer["done"]["video_id"]
        else:
            unread[k].status, unread[k].error = "failed", answer["error"]


def _same_content(plan: Plan) -> None:
    """The first uri of a content, in sorted order, is its source; the rest are duplicates."""
    first: dict[str, Source] = {}
    for source in plan.sources:
        if source.video_id is not None and first.setdefault(source.video_id, source) is not source:
            source.status = "duplicate"


VIDEO_STAGES = ("scan", "frames", "shots", "measures")
CLIP_STAGES = ("captions", "files")


def _compare(plan: Plan, known: Known) -> None:
    """Finds what each video lacks, a batch of videos at a time; jobs come in the order of the uris."""
    todo = {s.video_id: s for s in plan.sources if s.status == "todo" and s.video_id is not None}
    stages = {stage: [0, 0] for stage in (*VIDEO_STAGES, *CLIP_STAGES)}
    jobs: list[Row] = []
    for batch in known.batches(todo):
        cut, found = _by_mark(plan, batch, [todo[video] for video in batch.videos], stages)
        jobs += _later_stages(plan, batch, cut, stages)
        jobs += _with_clips(batch, found)
        plan.unknown_videos -= len(cut)
    first = {"clips": 0, "files": 0, "recut": 1, "scan": 2}
    plan.jobs = sorted(jobs, key=lambda job: (first[job["kind"]], job["uri"], job["kind"] == "clips"))
    plan.unknown_videos += stages["shots"][0]
    for stage, (wanted, present) in stages.items():
        if (fingerprint := plan.prints.as_dict().get(stage)) is not None:
            plan.counts[stage] = {"wanted": wanted, "present": present, "missing": wanted - present, "fingerprint": fingerprint}


def _by_mark(plan: Plan, batch: Batch, sources: Sequence[Source], stages: dict[str, list[int]]) -> tuple[list[Source], list[Row]]:
    """The videos whose clips are there, and the jobs that make what others lack of scan, frames, shots and measures.

    A video that must be decoded for its frames alone is among both.
    """
    cut: list[Source] = []
    jobs: list[Row] = []
    unsampled: set[str] = set()
    for source in sources:
        vid, item = source.video_id, source.footage
        assert vid is not None
        if (failure := batch.failure(vid)) is not None:
            source.status, source.known, source.video = "failed", True, None if source.is_told("failed") else failure
            source.error = {"type": failure["error_type"], "message": failure["error"], "permanent": True}
            continue
        scanned = vid in batch.places
        source.video = batch.video(vid) if scanned and not source.is_told("done") else None
        have = {stage: batch.has(vid, stage) and (scanned or stage == "frames") for stage in VIDEO_STAGES}
        for stage, is_present in have.items():
            stages[stage][0] += 1
            stages[stage][1] += is_present
        if scanned and have["shots"] and have["measures"]:
            cut.append(source)
        job: Row = {
            "uri": item.uri, "source": item.address, "video_id": vid, "size": item.size, "stamp": item.stamp,
            "extra": manifest_columns(item.extra), "present": [stage for stage, is_present in have.items() if is_present],
            "attempts": batch.attempts.get(vid, {}),
        }  # fmt: skip
        if not (have["scan"] and have["frames"]):
            jobs.append({**job, "kind": "scan"})
            unsampled |= set() if have["frames"] else {vid}
            continue
        source.status = "reused"
        if not (have["shots"] and have["measures"]):
            jobs.append({**job, "kind": "recut", "video": _json(batch.video(vid), item.uri)})
    _estimate(plan, batch, [job for job in jobs if job["kind"] == "scan"], unsampled)
    return cut, jobs


def _estimate(plan: Plan, batch: Batch, scans: Sequence[Row], unsampled: Collection[str]) -> None:
    """Adds what scans will decode, and the bytes of the frames that they will sample."""
    lengths = batch.lengths([job["video_id"] for job in scans], plan.recipe.scan.mode)
    frames = plan.recipe.frames
    for job in scans:
        length = lengths.get(job["video_id"], (job["size"] or 0) / ASSUMED_BYTES_PER_S)
        plan.decode_s += length
        if plan.prints.frames and job["video_id"] in unsampled:
            plan.expected_bytes += int(length * frames.per_s * frames.short_side_px**2 * 16 / 9 * ASSUMED_JPEG_BYTES)


def _with_clips(batch: Batch, jobs: Sequence[Row]) -> list[Row]:
    """Jobs that cut shots, with the clips of which they need not make captions and files."""
    videos = [job["video_id"] for job in jobs]
    (captioned, mute), filed = batch.captioned(videos), batch.filed(videos)
    return [
        {**job, "filed": filed.get(v, []), "captioned": captioned.get(v, []), "mute": mute.get(v, [])}
        for v, job in zip(videos, jobs, strict=True)
    ]


def _later_stages(plan: Plan, batch: Batch, cut: Sequence[Source], stages: dict[str, list[int]]) -> list[Row]:
    """Captions and files that videos with clips lack, as jobs that open no video (`clips`) or open it to cut (`files`).

    Of a video that must be decoded for its frames they are counted here and made after its scan.
    """
    complete = {str(s.video_id): s.footage for s in cut if s.status == "reused"}
    found = _counted(plan, batch, {vid: item.uri for vid, item in complete.items()}, stages)
    _counted(plan, batch, {str(s.video_id): s.footage.uri for s in cut if s.status != "reused"}, stages)
    plan.kept += found.kept - found.failed
    plan.failed_clips += found.failed
    plan.dropped += found.dropped
    jobs: list[Row] = []
    for vid, item in complete.items():
        if uncut := found.clips.get("files", {}).get(vid):
            job: Row = {"kind": "files", "uri": item.uri, "source": item.address, "video_id": vid, "size": item.size, "stamp": item.stamp}
            job |= {"attempts": batch.attempts.get(vid, {}), "video": _json(batch.video(vid), item.uri)}
            jobs.append({**job, "clips": uncut, "present": [], "filed": []})
        if mute := found.clips.get("captions", {}).get(vid):
            jobs.append({"kind": "clips", "uri": item.uri, "video_id": vid, "clips": mute})
    return jobs


def _counted(plan: Plan, batch: Batch, uris: Mapping[str, str], stages: dict[str, list[int]]) -> Lacking:
    """What the clips of some videos lack, entered into the counts."""
    wanted = [stage for stage in CLIP_STAGES if stage in plan.prints.as_dict()]
    found = lacking(plan.recipe, batch, uris, wanted)
    for stage in wanted:
        stages[stage][0] += found.kept
        stages[stage][1] += found.present[stage]
    if plan.recipe.clips.mode == "encode":
        plan.decode_s += found.missing_s.get("files", 0.0)
    return found


def _json(video: Row | None, uri: str) -> Row:
    """A row of `videos` that can travel as JSON."""
    return {**{k: v for k, v in (video or {}).items() if k != "written_at"}, "uri": uri}
