"""What the store knows of some footage: identities by uri, then rows by video, some thousand videos at a time.

Nothing here grows with the store, only with the footage asked for; of the clips only those of one batch are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rushes.engine.fingerprints import identity_fingerprint
from rushes.engine.plan.grouped import grouped, most, pairs_of
from rushes.engine.plan.known_scores import KnownScores
from rushes.engine.stages import clip_stages
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.records import Column, ListedSpan, Row, spans_id
from rushes.rows.scanned import public_row
from rushes.rows.scored import WantedScore, shown_columns
from rushes.shots.covered import Covered
from rushes.sources.found import Footage
from rushes.store.buckets import Buckets
from rushes.store.fold import newest, of_spans
from rushes.store.parts import MAX_DIGITS, Asked
from rushes.store.store import Store
from rushes.store.tables import CAPTIONS, CLIPS, EMBEDDINGS, ERRORS, IDENTITIES, MARKS, MEASURES, SCORES, TABLES, VIDEOS, schema

if TYPE_CHECKING:
    import pyarrow as pa

Rows = Callable[[Sequence[str]], "pa.Table"]

VIDEOS_A_BATCH = 8192
"""Videos that are compared at once: with 25 clips each some 200,000 clips, 150 MB of rows. With fewer, row groups, which hold some 1,300
videos of clips and more of anything else, would be read by several batches."""


@dataclass(slots=True)
class Identity:
    """What a store knows of one uri.

    Attributes:
        video_id, size, stamp: of its newest row of `videos` under any fingerprint, or of `identities` where only that knows the file as it
            is now; size in bytes.
        recorded: what its newest row under the scan wanted says of it: uri, video_id, size_bytes, stamp, status, extra and spans.
        attempts: failed attempts to identify it.
    """

    video_id: str | None = None
    size: int | None = None
    stamp: str | None = None
    recorded: Row | None = None
    attempts: int = 0

    def of(self, item: Footage) -> str | None:
        """The video_id of a file, if it is as it was when it was identified."""
        same = (self.size, self.stamp) == (item.size, item.stamp) and bool(item.stamp)
        return self.video_id if same else None


class Known:
    """What a store knows that a plan asks for.

    Args:
        store: None when there is none yet.
        prints: the fingerprints wanted.
        retry_failed: take nothing as failed for good.
        of_spans: the stages whose rows hang on the spans that a list gives.
        around: whether what lies around spans has to be decoded, too.
        scorers: the scorers wanted.
        embeddings: the fingerprint of the embeddings wanted; None: none are.
        late: stage after the scores -> its columns that rules look at, or that are compared with others at which rules look.
    """

    def __init__(
        self,
        store: Store | None,
        prints: Mapping[str, str],
        *,
        retry_failed: bool = False,
        of_spans: Collection[str] = (),
        around: bool = False,
        scorers: Sequence[WantedScore] = (),
        embeddings: str | None = None,
        late: Mapping[str, Sequence[Column]] | None = None,
    ) -> None:
        self._late = late or {}
        self._of_spans = of_spans
        self._around = around
        self._embeddings = embeddings
        self._scorers = scorers
        self._store = store
        self._prints = prints
        self._retry_failed = retry_failed

    def identities(self, footage: Sequence[Footage]) -> dict[str, Identity]:
        """What is known of each uri that the store knows."""
        if self._store is None:
            return {}
        uris = {item.uri for item in footage}
        names = ["uri", "video_id", "size_bytes", "stamp", "status", "extra", "spans"]
        rows = self._store.read(VIDEOS, columns=names, only={"uri": uris})
        recorded = {row["uri"]: row for row in newest(_under(rows, self._prints["scan"]), ["uri"]).select(names).to_pylist()}
        last = newest(rows, ["uri"])
        columns = (last[name].to_pylist() for name in names[:4])
        attempts = self._identify_attempts(uris)
        found = {uri: Identity(video, size, stamp, recorded.get(uri)) for uri, video, size, stamp in zip(*columns, strict=True)}
        for uri, n in attempts.items():
            found.setdefault(uri, Identity()).attempts = n
        unsettled = {item.uri: item for item in footage if found.get(item.uri, Identity()).of(item) is None}
        for uri, *who in self._kept(unsettled) if unsettled else ():
            if Identity(*who).of(unsettled[uri]) is not None:
                one = found.setdefault(uri, Identity())
                one.video_id, one.size, one.stamp = who
        return found

    def _kept(self, uris: Collection[str]) -> Iterator[tuple[Any, ...]]:
        """Rows of `identities`, one for each content that was read under a uri: uri, video_id, size, stamp."""
        assert self._store is not None
        names, prints = ["uri", "video_id", "size_bytes", "stamp"], [identity_fingerprint()]
        rows = self._store.read(IDENTITIES, columns=names, fingerprints=prints, only={"uri": uris})
        return zip(*(rows[name].to_pylist() for name in names), strict=True)

    def _identify_attempts(self, uris: Collection[str]) -> dict[str, int]:
        assert self._store is not None
        errors = self._store.read(ERRORS, columns=[], fingerprints=[self._prints["scan"]], only={"stage": ["identify"], "key": uris})
        rows = errors.select(["key", "attempt"]).to_pylist()
        return most((row["key"], row["attempt"]) for row in rows)

    def batches(self, videos: Mapping[str, Sequence[ListedSpan]]) -> Iterator[Batch]:
        """The videos in batches, each with what the store knows of them. `videos`: video_id -> the spans that its list gives."""
        order = sorted(videos)
        digits = next((n for n in range(MAX_DIGITS) if len(order) <= VIDEOS_A_BATCH * 16**n), MAX_DIGITS)
        with ExitStack() as stack:
            tables = self._tables(Asked(order), digits, stack) if self._store is not None else {}
            for start in range(0, len(order), VIDEOS_A_BATCH):
                some = order[start : start + VIDEOS_A_BATCH]
                rows, spans = {name: table.rows for name, table in tables.items()}, {video: videos[video] for video in some}
                yield Batch(
                    some, self._prints, rows, spans, retry_failed=self._retry_failed, of_spans=self._of_spans, around=self._around,
                    scorers=self._scorers,
                )  # fmt: skip

    def _tables(self, videos: Asked, digits: int, stack: ExitStack) -> dict[str, Buckets]:
        assert self._store is not None
        wanted, shown, of_scorers = self._prints, shown_columns(self._scorers), [one.fingerprint for one in self._scorers]
        asked: dict[str, tuple[Any, Any, Any, Any]] = {
            "videos": (VIDEOS, None, [self._prints["scan"]], ()),
            "lengths": (VIDEOS, ["status", "mode", "footage_s", "decoded_s", "duration_s", "covered"], None, ()),
            "marks": (MARKS, ["spans", "covered"], wanted.values(), ()),
            "errors": (ERRORS, ["permanent"], [*wanted.values(), *of_scorers], ()),
            "clips": (CLIPS, None, [self._prints["shots"]], ()),
            "measures": (MEASURES, None, [self._prints["measures"]], MEASURE_COLUMNS),
        }
        for stage in (stage for stage in clip_stages() if stage.name in wanted):
            late = self._late.get(stage.name, ())
            asked[stage.name] = (stage.table, [c.name for c in late], [wanted[stage.name]], late if stage.table is CAPTIONS else ())
        if self._scorers:
            asked["scores"] = (SCORES, [column.name for column in shown], of_scorers, shown)
        if self._embeddings is not None:
            asked["embeddings"] = (EMBEDDINGS, [], [self._embeddings], ())
        found = {}
        for name, (table, columns, prints, extra) in asked.items():
            found[name] = Buckets(self._store, table, videos, digits, columns=columns, fingerprints=prints, extra=extra)
            stack.callback(found[name].close)
        return found


class Batch:
    """What is known of some videos. Tables are read when they are first asked for.

    Attributes:
        videos: their video_ids, sorted.
    """

    def __init__(
        self,
        videos: Sequence[str],
        prints: Mapping[str, str],
        tables: Mapping[str, Rows],
        spans: Mapping[str, Sequence[ListedSpan]],
        *,
        retry_failed: bool,
        of_spans: Collection[str],
        around: bool,
        scorers: Sequence[WantedScore],
    ) -> None:
        self.videos = videos
        self._scorers = scorers
        self._spans = {video: (some, spans_id(some)) for video, some in spans.items() if some}
        self._around = around
        self._of_spans = of_spans
        self._retry_failed = retry_failed
        self._prints = prints
        self._tables = tables

    def _read(self, name: str, videos: Sequence[str]) -> pa.Table:
        return self._tables[name](videos) if name in self._tables else _empty(name)

    @cached_property
    def _videos(self) -> pa.Table:
        return self._read("videos", self.videos)

    @cached_property
    def done(self) -> pa.Table:
        """The row of `videos` of each content that was scanned: of several uris the newest."""
        return newest(_with_status(self._videos, "done"), ["video_id"])

    @cached_property
    def places(self) -> dict[str, int]:
        """video_id -> its row in `done`."""
        return {str(video): i for i, video in enumerate(self.done["video_id"].to_pylist())}

    @cached_property
    def _rows(self) -> list[Row]:
        return self.done.to_pylist()

    def video(self, video_id: str) -> Row | None:
        """The row of `videos` of a scanned content."""
        at = self.places.get(video_id)
        return None if at is None else self._rows[at]

    def facts(self, video_id: str, uri: str) -> Row:
        """The row of `videos` of a scanned content as it travels with jobs, under the uri by which this run sees it."""
        return {**public_row(self.video(video_id) or {}), "uri": uri}

    @cached_property
    def failed(self) -> dict[str, Row]:
        """video_id -> the newest row of `videos` of a failed scan."""
        rows = newest(_with_status(self._videos, "failed"), ["video_id"]).to_pylist()
        return {row["video_id"]: row for row in rows}

    def failure(self, video_id: str) -> Row | None:
        """The row of `videos` of a content whose scan failed for good."""
        hopeless = video_id not in self.places and video_id in self._unscannable
        return self.failed.get(video_id) if hopeless else None

    def lengths(self, videos: Sequence[str], mode: str) -> dict[str, tuple[float, float]]:
        """video_id -> seconds of footage, and the share of them that a pass in this mode decodes, of those that were scanned under any
        fingerprint: the newest scan in this mode comes first. The share is 1 where no scan in sparse mode tells it.
        """
        found: dict[str, tuple[float, float]] = {}
        if not videos:
            return found
        rows = _with_status(self._read("lengths", videos), "done").to_pylist()
        for row in sorted(rows, key=lambda r: (r["mode"] == mode, r["written_at"], r["run_id"])):
            length = row["footage_s"] if row["covered"] is None else row["duration_s"]
            share = row["decoded_s"] / row["footage_s"] if row["mode"] == mode == "sparse" else 1.0
            found[row["video_id"]] = (length, share)
        return found

    @cached_property
    def _marks(self) -> dict[tuple[str, str, str], tuple[str | None, str | None]]:
        """Video, stage and fingerprint of each mark -> the spans by which its rows were made, and which stretches they cover."""
        names = ("video_id", "stage", "fingerprint", "spans", "covered")
        columns = (self._read("marks", self.videos)[name].to_pylist() for name in names)
        return {(video, stage, of): (spans, covered) for video, stage, of, spans, covered in zip(*columns, strict=True)}

    def _mark(self, video_id: str, stage: str) -> tuple[str | None, str | None] | None:
        """The mark of a stage, if its rows were made by the spans that the list gives now, or do not hang on spans."""
        found = self._marks.get((video_id, stage, self._prints[stage]))
        return None if found is not None and stage in self._of_spans and found[0] != self._spans_id(video_id) else found

    def _spans_id(self, video_id: str) -> str | None:
        return self._spans.get(video_id, ((), None))[1]

    def has(self, video_id: str, stage: str) -> bool:
        """Whether a video has passed a stage, by the spans that its list gives now, or the stage is not wanted."""
        if stage not in self._prints:
            return True
        found = self._mark(video_id, stage)
        if found is None or found[1] is None:
            return found is not None
        covered, (spans, identity), video = Covered.of_text(found[1]), self._spans.get(video_id, ((), None)), self.video(video_id)
        if not spans or video is None or (self._around and not covered.around):
            return False
        same = found[0] == identity
        return same or (not self._around and covered.holds(spans, video["first_pts"], Fraction(video["time_base"])))

    def covered(self, video_id: str) -> dict[str, str]:
        """Of the stages scan and frames, where a video has some stretches of them: these, as `marks.covered` says."""
        marks = {stage: self._mark(video_id, stage) for stage in ("scan", "frames") if stage in self._prints}
        return {stage: found[1] for stage, found in marks.items() if found is not None and found[1] is not None}

    @cached_property
    def _errors(self) -> list[Row]:
        found: list[Row] = self._read("errors", self.videos).to_pylist()
        return found

    @cached_property
    def permanent(self) -> set[tuple[str, str, str]]:
        """(stage, key, fingerprint) of what failed for good."""
        return {(row["stage"], row["key"], row["fingerprint"]) for row in self._errors if row["permanent"] and not self._retry_failed}

    @cached_property
    def _unscannable(self) -> set[str]:
        """Videos whose scan, or that of a segment, failed for good."""
        mine = (row for row in self._errors if (row["stage"], row["fingerprint"]) == ("scan", self._prints["scan"]))
        return {row["video_id"] for row in mine if row["permanent"] and not self._retry_failed}

    @cached_property
    def _attempts(self) -> dict[str, dict[str, dict[str, int]]]:
        found: dict[str, dict[str, dict[str, int]]] = {}
        for row in self._errors:
            if row["video_id"] is not None and row["key"].startswith(row["video_id"]):
                of_stage = found.setdefault(row["video_id"], {}).setdefault(row["stage"], {})
                of_stage[row["key"]] = max(of_stage.get(row["key"], 0), row["attempt"])
        return found

    def attempts_at(self, video_id: str, stage: str) -> dict[str, int]:
        """Failed attempts of a stage by earlier runs: key, that of the video or of one of its segments -> number."""
        return self._attempts.get(video_id, {}).get(stage, {})

    def failed_clips(self, stage: str) -> set[str]:
        """Clips of which a stage failed for good."""
        return {key for s, key, fingerprint in self.permanent if (s, fingerprint) == (stage, self._prints.get(stage))}

    def clip_ids(self, stage: str, videos: Sequence[str]) -> pa.Table:
        """`clip_id` and `video_id` of the videos' clips that have the row of a stage, or on which the stage failed for good."""
        import pyarrow as pa

        have = self._read(stage, videos).select(["clip_id", "video_id"])
        rows = [{"clip_id": clip, "video_id": video} for video, clips in self._hopeless(stage, videos).items() for clip in clips]
        return pa.concat_tables([have, pa.Table.from_pylist(rows, schema=have.schema)])

    def _hopeless(self, stage: str, videos: Sequence[str]) -> dict[str, list[str]]:
        """video_id -> its clips of which a stage failed for good."""
        failed, some = self.failed_clips(stage), set(videos)
        pairs = {(r["video_id"], r["key"]) for r in self._errors if r["stage"] == stage and r["key"] in failed and r["video_id"] in some}
        return grouped(sorted(pairs))

    def settled(self, stage: str, videos: Sequence[str]) -> dict[str, list[str]]:
        """Clips by video that have the row of a stage, or of which it failed for good, under whatever shots they were cut."""
        return grouped(pairs_of(self.clip_ids(stage, videos))) if stage in self._prints and videos else {}

    def failed_for_good(self, stage: str, videos: Sequence[str]) -> dict[str, list[str]]:
        """Clips by video that have no row of a stage and of which it failed for good, under whatever shots they were cut."""
        if stage not in self._prints or not videos:
            return {}
        if stage == "scores":
            return self.scores.failed(videos)
        have = {clip for _, clip in pairs_of(self._read(stage, videos))}
        return {v: [c for c in clips if c not in have] for v, clips in self._hopeless(stage, videos).items()}

    def embedded(self, videos: Sequence[str]) -> set[str]:
        """Those of the videos of whose frames some embedding is there."""
        rows: Any = self._read("embeddings", videos)
        return set(rows["video_id"].unique().to_pylist())

    @cached_property
    def scores(self) -> KnownScores:
        """The scores of the videos' clips."""
        failures = ((row["video_id"], row["key"], row["fingerprint"]) for row in self._errors)
        hopeless = (failure for failure in failures if ("scores", *failure[1:]) in self.permanent)
        return KnownScores(self._scorers, self._read("scores", self.videos), hopeless)

    def late(self, stage: str, clip_ids: Any, columns: Sequence[Column]) -> dict[str, Any]:
        """Columns of a stage after the scores, in the order of some clips; null of those without its row."""
        import pyarrow.compute as pc

        rows = self._read(stage, self.videos)
        at = pc.index_in(clip_ids, value_set=rows["clip_id"])
        return {column.name: rows[column.name].take(at) for column in columns}

    def clips(self, videos: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """Rows of `clips` and of `measures` of some videos, in the same order, by video and clip: of the spans that lists give now."""
        import pyarrow as pa
        import pyarrow.compute as pc

        clips, measures = self._read("clips", videos), self._read("measures", videos)
        wanted = pa.array([self._spans_id(video) for video in videos], pa.string())
        place = pc.index_in(clips["video_id"], value_set=pa.array(videos, pa.string()))
        clips = clips.filter(of_spans(clips["spans"], wanted.take(place)))
        at = pc.index_in(clips["clip_id"], value_set=measures["clip_id"])
        return clips.filter(at.is_valid()), measures.take(at.drop_null())


def _with_status(videos: pa.Table, status: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    return videos.filter(pc.equal(videos["status"], pa.scalar(status)))


def _under(rows: pa.Table, fingerprint: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.equal(rows["fingerprint"], pa.scalar(fingerprint)))


def _empty(name: str) -> pa.Table:
    extra = MEASURE_COLUMNS if name == "measures" else ()
    return schema(VIDEOS if name == "lengths" else TABLES[name], extra).empty_table()
