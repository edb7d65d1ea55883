"""What a run would do: for each stage, what is wanted minus what is present. Reads listings, identities and the store; computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from rushes.engine.compare import lacking
from rushes.engine.fingerprints import Fingerprints, fingerprints
from rushes.engine.known import Batch, Known
from rushes.engine.machine import cores
from rushes.engine.quarantine import described
from rushes.engine.rows import manifest_columns
from rushes.errors import VideoError
from rushes.media.identity import video_id
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
    video: Row | None = None
    """The row of `videos` of its content, where it was scanned before and last seen under another uri or stamp."""


@dataclass(slots=True)
class Plan:
    """What is wanted, and what of it is missing."""

    recipe: Recipe
    prints: Fingerprints
    found: Found
    sources: list[Source]
    jobs: list[Row] = field(default_factory=list)
    """Work in order: rows that only lack later stages first, so that captions start while videos are decoded. Jobs that cut shots carry the
    `clip_id`s of their video that are `captioned` already (or never will be), if there are any."""
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: int = 0
    dropped: int = 0
    failed_clips: int = 0
    captions_failed: set[str] = field(default_factory=set)
    decode_s: float = 0.0
    expected_bytes: int = 0

    def count(self, status: str) -> int:
        """Sources of one status."""
        return sum(s.status == status for s in self.sources)

    def as_dict(self) -> dict[str, Any]:
        """The contract's `plan --json`."""
        return {
            **{stage: self.counts[stage] for stage in self.prints.as_dict()},
            "decode_s": self.decode_s,
            "expected_bytes": self.expected_bytes,
        }


def make_plan(args: Sequence[str], store: Store | None, recipe: Recipe, *, limit: int | None = None) -> Plan:
    """Finds and identifies the footage, and compares what is wanted with what the store has.

    Args:
        args: FOOTAGE as in the contract.
        store: None when there is none yet.
        recipe: what is wanted.
        limit: look at the first so many uris only.

    Raises:
        FootageError: no video.
        StorageError: the store cannot be read.
    """
    found = find_footage(args, recipe.storage, exclude=[store.root] if store else [])
    return compared(found, found.items if limit is None else found.items[:limit], store, recipe)


def compared(found: Found, items: Sequence[Footage], store: Store | None, recipe: Recipe) -> Plan:
    """Identifies footage that was found, and compares what is wanted of it with what the store has.

    Raises:
        StorageError: the store cannot be read.
    """
    plan = Plan(recipe, fingerprints(recipe), found, [Source(item) for item in items])
    known = Known(store, plan.prints)
    _identify(plan, known, dict(found.missing))
    _same_content(plan)
    _compare(plan, known)
    return plan


def _identify(plan: Plan, known: Known, missing: Mapping[str, str]) -> None:
    """Gives each source its video_id; a uri whose size and stamp are as recorded is not opened again."""
    before = known.identities(source.footage.uri for source in plan.sources)

    def one(source: Source) -> None:
        item = source.footage
        recorded, size, stamp = before.get(item.uri, (None, None, None))
        if item.uri in missing or item.size is None:
            message = missing.get(item.uri, f"{item.uri}: its size is not known")
            source.status, source.error = "failed", {"type": "ProbeError", "message": message, "permanent": False}
        elif recorded and (size, stamp) == (item.size, item.stamp) and item.stamp:
            source.video_id = recorded
        else:
            try:
                source.video_id = video_id(item.address, item.size, plan.recipe.storage)
            except VideoError as error:
                source.status, source.error = "failed", described(error)

    with ThreadPoolExecutor(max_workers=4 * cores()) as threads:
        list(threads.map(one, plan.sources))


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
        some = [todo[video] for video in batch.videos]
        complete, found = _by_mark(plan, batch, some, stages)
        jobs += _later_stages(plan, batch, complete, stages)
        captioned = batch.captioned([job["video_id"] for job in found])
        jobs += [job | {"captioned": captioned[job["video_id"]]} if job["video_id"] in captioned else job for job in found]
        plan.captions_failed |= batch.failed_clips("captions")
    first = {"clips": 0, "files": 0, "recut": 1, "scan": 2}
    plan.jobs = sorted(jobs, key=lambda job: (first[job["kind"]], job["uri"], job["kind"] == "clips"))
    for stage, (wanted, present) in stages.items():
        if (fingerprint := plan.prints.as_dict().get(stage)) is not None:
            plan.counts[stage] = {"wanted": wanted, "present": present, "missing": wanted - present, "fingerprint": fingerprint}
    side = plan.recipe.frames.short_side_px
    if plan.prints.frames:
        plan.expected_bytes = int(plan.decode_s * plan.recipe.frames.per_s * side * side * 16 / 9 * ASSUMED_JPEG_BYTES)


def _by_mark(plan: Plan, batch: Batch, sources: Sequence[Source], stages: dict[str, list[int]]) -> tuple[list[Source], list[Row]]:
    """The videos whose scan, frames, shots and measures are there; for the others the jobs that make them."""
    complete: list[Source] = []
    jobs: list[Row] = []
    for source in sources:
        vid, item = source.video_id, source.footage
        assert vid is not None
        failure = batch.failed.get((item.uri, vid))
        if failure is not None and ("scan", vid, plan.prints.scan) in batch.permanent:
            source.status, source.known = "failed", True
            source.error = {"type": failure["error_type"], "message": failure["error"], "permanent": True}
            continue
        scanned = vid in batch.places
        have = {stage: scanned and batch.has(vid, stage) for stage in VIDEO_STAGES}
        for stage, is_present in have.items():
            stages[stage][0] += 1
            stages[stage][1] += is_present
        job = {
            "uri": item.uri, "source": item.address, "video_id": vid, "size": item.size, "stamp": item.stamp,
            "extra": manifest_columns(item.extra),
        }  # fmt: skip
        if not (have["scan"] and have["frames"]):
            video = batch.video(vid)
            jobs.append({**job, "kind": "scan"})
            plan.decode_s += video["footage_s"] if video else (item.size or 0) / ASSUMED_BYTES_PER_S
            continue
        source.status = "reused"
        if batch.seen_as(vid) != (item.uri, item.stamp):
            source.video = batch.video(vid)
        if have["shots"] and have["measures"]:
            complete.append(source)
        else:
            jobs.append({**job, "kind": "recut", "video": _json(batch.video(vid), item.uri)})
    return complete, jobs


def _later_stages(plan: Plan, batch: Batch, complete: Sequence[Source], stages: dict[str, list[int]]) -> list[Row]:
    """Captions and files that videos with clips lack, as jobs that open no video (`clips`) or open it to cut (`files`)."""
    wanted = [stage for stage in CLIP_STAGES if stage in plan.prints.as_dict()]
    found = lacking(plan.recipe, batch, {str(s.video_id): s.footage.uri for s in complete}, wanted)
    plan.kept += found.kept - found.failed
    plan.failed_clips += found.failed
    plan.dropped += found.dropped
    for stage in wanted:
        stages[stage][0] += found.kept
        stages[stage][1] += found.present[stage]
    jobs: list[Row] = []
    for source in complete:
        vid, item = str(source.video_id), source.footage
        if uncut := found.clips.get("files", {}).get(vid):
            job = {"kind": "files", "uri": item.uri, "source": item.address, "video_id": vid, "clips": uncut}
            jobs.append({**job, "video": _json(batch.video(vid), item.uri)})
        if mute := found.clips.get("captions", {}).get(vid):
            jobs.append({"kind": "clips", "uri": item.uri, "video_id": vid, "clips": mute})
    return jobs


def _json(video: Row | None, uri: str) -> Row:
    """A row of `videos` that can travel as JSON."""
    return {**{k: v for k, v in (video or {}).items() if k != "written_at"}, "uri": uri}
