"""What a run would do: for each stage, what is wanted minus what is present. Reads listings, identities and the store; computes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from rushes.engine.fingerprints import Fingerprints, fingerprints
from rushes.engine.machine import cores
from rushes.engine.quarantine import described
from rushes.engine.rows import manifest_columns
from rushes.engine.wanted import wanted_clips
from rushes.errors import VideoError
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.media.identity import video_id
from rushes.recipe import Recipe
from rushes.sources.footage import find_footage
from rushes.sources.found import Footage, Found
from rushes.store.store import Store
from rushes.store.tables import CAPTIONS, CLIPS, ERRORS, FILES, MARKS, MEASURES, VIDEOS

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
    """The row of `videos` of its content, when it was scanned before or failed for good."""
    told: Row | None = None
    """What `videos` says of this uri: its newest row under the recipe's scan."""


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
    captions_failed: set[str] = field(default_factory=set)
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


def make_plan(args: Sequence[str], store: Store | None, recipe: Recipe, *, limit: int | None = None, retry_failed: bool = False) -> Plan:
    """Finds and identifies the footage, and compares what is wanted with what the store has.

    Args:
        args: FOOTAGE as in the contract.
        store: None when there is none yet.
        recipe: what is wanted.
        limit: look at the first so many uris only.
        retry_failed: want again what failed for good.

    Raises:
        FootageError: no video.
        StorageError: the store cannot be read.
    """
    found = find_footage(args, recipe.storage, exclude=[store.root] if store else [])
    items = found.items if limit is None else found.items[:limit]
    plan = Plan(recipe, fingerprints(recipe), found, [Source(item) for item in items])
    known = _Known(store, plan.prints, recipe, retry_failed=retry_failed)
    _identify(plan, known, dict(found.missing))
    _same_content(plan)
    _compare(plan, known)
    return plan


class _Known:
    """What the store knows, by key."""

    def __init__(self, store: Store | None, prints: Fingerprints, recipe: Recipe, *, retry_failed: bool) -> None:
        self.store = store
        self.prints = prints
        videos = store.read(VIDEOS).to_pylist() if store else []
        videos.sort(key=lambda row: row["written_at"])
        self.by_uri: dict[str, Row] = {row["uri"]: row for row in videos}
        scanned = [row for row in videos if row["fingerprint"] == prints.scan]
        self.told: dict[str, Row] = {row["uri"]: row for row in scanned}
        self.failed: dict[str, Row] = {row["video_id"]: row for row in scanned if row["status"] == "failed"}
        self.done: dict[str, Row] = {row["video_id"]: row for row in scanned if row["status"] == "done"}
        self.footage_s: dict[str, float] = {
            row["video_id"]: row["footage_s"]
            for row in sorted(videos, key=lambda row: row["mode"] == recipe.scan.mode)
            if row["status"] == "done"
        }
        """Seconds of footage by video, as the newest scan in the recipe's mode told, else as the newest in the other did."""
        wanted = [p for p in prints.as_dict().values()]
        marks = store.read(MARKS, columns=[], fingerprints=wanted).to_pylist() if store else []
        self.marks = {(row["video_id"], row["stage"], row["fingerprint"]) for row in marks}
        self.errors = store.read(ERRORS, columns=["permanent", "video_id"], fingerprints=wanted).to_pylist() if store else []
        lasting = [row for row in self.errors if row["permanent"] and not retry_failed]
        self.permanent = {(row["stage"], row["key"], row["fingerprint"]) for row in lasting}
        self.attempts: dict[tuple[str, str], int] = {}
        for row in self.errors:
            at = (row["stage"], row["key"])
            self.attempts[at] = max(self.attempts.get(at, 0), row["attempt"])

    def has(self, video: str, stage: str) -> bool:
        fingerprint = self.prints.as_dict().get(stage)
        return fingerprint is None or (video, stage, fingerprint) in self.marks

    def clip_ids(self, table: Any, stage: str) -> set[str]:
        fingerprint = self.prints.as_dict().get(stage)
        if fingerprint is None or self.store is None:
            return set()
        rows = self.store.read(table, columns=[], fingerprints=[fingerprint])
        failed = {key for s, key, f in self.permanent if s == stage and f == fingerprint}
        return {str(key) for key in rows["clip_id"].to_pylist()} | failed

    def captioned(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Clips by video: those with a caption, and those whose caption failed for good."""
        made: dict[str, list[str]] = {}
        failed: dict[str, list[str]] = {}
        fingerprint = self.prints.captions
        if fingerprint is None or self.store is None:
            return made, failed
        rows = self.store.read(CAPTIONS, columns=["video_id"], fingerprints=[fingerprint]).to_pylist()
        for row in rows:
            made.setdefault(row["video_id"], []).append(row["clip_id"])
        have = {row["clip_id"] for row in rows}
        for row in self.errors:
            if (row["stage"], row["key"], fingerprint) in self.permanent and row["key"] not in have:
                failed.setdefault(row["video_id"], []).append(row["key"])
        return made, failed

    def filed(self) -> dict[str, list[str]]:
        """Clips whose file is there or failed for good, by video."""
        if self.prints.files is None or self.store is None:
            return {}
        rows = self.store.read(FILES, columns=["video_id"], fingerprints=[self.prints.files]).to_pylist()
        rows += [row for row in self.errors if ("files", row["key"], self.prints.files) in self.permanent and row["stage"] == "files"]
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row["video_id"], []).append(row.get("clip_id") or row["key"])
        return found

    def rows(self, table: Any, fingerprint: str, extra: Any = ()) -> dict[str, list[Row]]:
        """Rows of clips or measures by video, in order of clip_id."""
        if self.store is None:
            return {}
        rows = self.store.read(table, fingerprints=[fingerprint], extra=extra).to_pylist()
        rows.sort(key=lambda row: (row["video_id"], row["clip_id"]))
        return {video: list(group) for video, group in itertools.groupby(rows, key=lambda row: row["video_id"])}


def _identify(plan: Plan, known: _Known, missing: Mapping[str, str]) -> None:
    """Gives each source its video_id; a uri whose size and stamp are as recorded is not opened again."""

    def one(source: Source) -> None:
        item = source.footage
        source.told = known.told.get(item.uri)
        source.attempts = known.attempts.get(("identify", item.uri), 0)
        row = known.by_uri.get(item.uri)
        if item.uri in missing or item.size is None:
            message = missing.get(item.uri, f"{item.uri}: its size is not known")
            source.status, source.error = "failed", {"type": "ProbeError", "message": message, "permanent": False}
        elif row is not None and row["video_id"] and (row["size_bytes"], row["stamp"]) == (item.size, item.stamp) and item.stamp:
            source.video_id = row["video_id"]
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


def _compare(plan: Plan, known: _Known) -> None:
    cut: list[Source] = []
    captioned, mute = known.captioned()
    stages = {stage: [0, 0] for stage in ("scan", "frames", "shots", "measures")}
    scans: list[Row] = []
    recuts: list[Row] = []
    filed = known.filed()
    sampled_s = 0.0
    for source in plan.sources:
        if source.status != "todo" or source.video_id is None:
            continue
        vid, item = source.video_id, source.footage
        failure = known.failed.get(vid)
        if failure is not None and vid not in known.done and ("scan", vid, plan.prints.scan) in known.permanent:
            source.status, source.known, source.video = "failed", True, failure
            source.error = {"type": failure["error_type"], "message": failure["error"], "permanent": True}
            continue
        source.video = known.done.get(vid)
        have = {stage: known.has(vid, stage) and (source.video is not None or stage == "frames") for stage in stages}
        for stage, is_present in have.items():
            stages[stage][0] += 1
            stages[stage][1] += is_present
        job: Row = {
            "uri": item.uri, "source": item.address, "video_id": vid, "size": item.size, "stamp": item.stamp,
            "extra": manifest_columns(item.extra), "present": [stage for stage, is_present in have.items() if is_present],
            "filed": filed.get(vid, []), "captioned": captioned.get(vid, []), "mute": mute.get(vid, []),
            "attempts": known.attempts.get(("scan", vid), 0),
        }  # fmt: skip
        if source.video is not None and have["shots"] and have["measures"]:
            cut.append(source)
        if source.video is None or not (have["scan"] and have["frames"]):
            scans.append({**job, "kind": "scan"})
            length = known.footage_s.get(vid, (item.size or 0) / ASSUMED_BYTES_PER_S)
            plan.decode_s += length
            sampled_s += 0.0 if have["frames"] else length
        elif not (have["shots"] and have["measures"]):
            source.status = "reused"
            recuts.append({**job, "kind": "recut", "video": _json(source.video, item.uri)})
        else:
            source.status = "reused"
    lacking = _later_stages(plan, known, cut, filed)
    plan.jobs = [*lacking, *recuts, *scans]
    for stage, (wanted, present) in stages.items():
        if (fingerprint := plan.prints.as_dict().get(stage)) is not None:
            plan.counts[stage] = {"wanted": wanted, "present": present, "missing": wanted - present, "fingerprint": fingerprint}
    plan.unknown_videos = stages["shots"][0] - len(cut)
    side = plan.recipe.frames.short_side_px
    if plan.prints.frames:
        plan.expected_bytes = int(sampled_s * plan.recipe.frames.per_s * side * side * 16 / 9 * ASSUMED_JPEG_BYTES)


def _later_stages(plan: Plan, known: _Known, cut: Sequence[Source], filed_of: Mapping[str, Sequence[str]]) -> list[Row]:
    """Captions and files that videos with clips lack, as jobs that open no video (`clips`) or open it to cut (`files`).

    Of a video that must be decoded for its frames they are counted here and made after its scan.
    """
    clips = known.rows(CLIPS, plan.prints.shots) if cut else {}
    measures = known.rows(MEASURES, plan.prints.measures, MEASURE_COLUMNS) if cut else {}
    captioned, filed = known.clip_ids(CAPTIONS, "captions"), {clip for clips in filed_of.values() for clip in clips}
    plan.captions_failed = {key for stage, key, f in known.permanent if stage == "captions" and f == plan.prints.captions}
    jobs: list[Row] = []
    totals = {"captions": [0, 0], "files": [0, 0]}
    for source in cut:
        vid, item = source.video_id, source.footage
        assert vid is not None and source.video is not None
        wanted = wanted_clips(plan.recipe, clips.get(vid, []), measures.get(vid, []), {**source.video, "uri": item.uri})
        for stage, have in (("captions", captioned), ("files", filed)):
            totals[stage][0] += len(wanted.kept)
            totals[stage][1] += sum(c["clip_id"] in have for c in wanted.kept)
        uncut = [c for c in wanted.kept if plan.prints.files and c["clip_id"] not in filed]
        mute = [c for c in wanted.kept if plan.prints.captions and c["clip_id"] not in captioned]
        if plan.recipe.clips.mode == "encode":
            plan.decode_s += sum(c["duration_s"] for c in uncut)
        if source.status != "reused":
            continue
        failed = sum(c["clip_id"] in plan.captions_failed for c in wanted.kept)
        plan.kept += len(wanted.kept) - failed
        plan.failed_clips += failed
        plan.dropped += wanted.n_dropped
        if uncut:
            job = {"kind": "files", "uri": item.uri, "source": item.address, "video_id": vid, "size": item.size, "stamp": item.stamp}
            jobs.append({**job, "clips": uncut, "present": [], "filed": [], "video": _json(source.video, item.uri)})
        if mute:
            jobs.append({"kind": "clips", "uri": item.uri, "video_id": vid, "clips": mute})
    for stage, (wanted_n, present) in totals.items():
        if (fingerprint := plan.prints.as_dict().get(stage)) is not None:
            plan.counts[stage] = {"wanted": wanted_n, "present": present, "missing": wanted_n - present, "fingerprint": fingerprint}
    return jobs


def _json(video: Row, uri: str) -> Row:
    """A row of `videos` that can travel as JSON."""
    return {**{k: v for k, v in video.items() if k != "written_at"}, "uri": uri}
