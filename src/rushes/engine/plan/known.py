"""What the store knows of some footage: identities by uri, then rows by video, some thousand videos at a time.

Nothing here grows with the store, only with the footage asked for; of the clips only those of one batch are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rushes.engine.fingerprints import fingerprints, identity_fingerprint
from rushes.engine.stages import clip_stages, embeddings_fingerprint, stages_of_spans, wanted_scores
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.recipe import Recipe
from rushes.records import Column, ListedSpan, Row, spans_id
from rushes.rows.clip_columns import judged_by
from rushes.rows.scanned import public_row
from rushes.rows.scored import Scores, scores_of, shown_columns
from rushes.shots.covered import Covered
from rushes.sources.found import Footage
from rushes.store.buckets import Buckets
from rushes.store.fold import newest, of_spans
from rushes.store.parts import MAX_DIGITS, Asked
from rushes.store.store import Store
from rushes.store.tables import CLIPS, EMBEDDINGS, ERRORS, IDENTITIES, MARKS, MEASURES, TABLES, VIDEOS, Table, schema

if TYPE_CHECKING:
    import pyarrow as pa

Rows = Callable[[Collection[str]], "pa.Table"]

_KEYS = ("video_id", "clip_id", "fingerprint")
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
        recipe: what is wanted.
        retry_failed: take nothing as failed for good.
    """

    def __init__(self, store: Store | None, recipe: Recipe, *, retry_failed: bool = False) -> None:
        self._store = store
        self.recipe = recipe
        self.prints = fingerprints(recipe)
        self.retry_failed = retry_failed
        self.of_spans = stages_of_spans(recipe)
        self.scorers = wanted_scores(recipe)
        self.judged_by = judged_by(recipe)
        self.clip_stages = [stage for stage in clip_stages() if stage.name in self.prints]
        self.prints_of = {name: {fingerprint} for name, fingerprint in self.prints.items()}
        """Stage -> the fingerprints of its rows: each scorer has its own."""
        if self.scorers:
            self.prints_of["scores"] = {one.fingerprint for one in self.scorers}

    def identities(self, footage: Sequence[Footage]) -> dict[str, Identity]:
        """What is known of each uri that the store knows."""
        if self._store is None:
            return {}
        uris, scan = {item.uri for item in footage}, self.prints["scan"]
        names = ["uri", "video_id", "size_bytes", "stamp", "status", "extra", "spans"]
        rows = self._store.read(VIDEOS, columns=names, only={"uri": uris})
        recorded = {row["uri"]: row for row in newest(_where(rows, "fingerprint", scan), ["uri"]).select(names).to_pylist()}
        last = _each(newest(rows, ["uri"]), *names[:4])
        found = {uri: Identity(video, size, stamp, recorded.get(uri)) for uri, video, size, stamp in last}
        errors = self._store.read(ERRORS, columns=[], fingerprints=[scan], only={"stage": ["identify"], "key": uris})
        for uri, attempt in _each(errors, "key", "attempt"):
            one = found.setdefault(uri, Identity())
            one.attempts = max(one.attempts, attempt)
        unsettled = {item.uri: item for item in footage if found.get(item.uri, Identity()).of(item) is None}
        if unsettled:  # `identities` has a row for each content that was read under a uri
            prints = [identity_fingerprint()]
            rows = self._store.read(IDENTITIES, columns=names[:4], fingerprints=prints, only={"uri": unsettled})
            for uri, *who in _each(rows, *names[:4]):
                if Identity(*who).of(unsettled[uri]) is not None:
                    one = found.setdefault(uri, Identity())
                    one.video_id, one.size, one.stamp = who
        return found

    def batches(self, videos: Mapping[str, Sequence[ListedSpan]]) -> Iterator[Batch]:
        """The videos in batches, each with what the store knows of them. `videos`: video_id -> the spans that its list gives."""
        order = sorted(videos)
        digits = next((n for n in range(MAX_DIGITS) if len(order) <= VIDEOS_A_BATCH * 16**n), MAX_DIGITS)
        with ExitStack() as stack:
            tables = self._tables(Asked(order), digits, stack) if self._store is not None else {}
            for start in range(0, len(order), VIDEOS_A_BATCH):
                yield Batch(self, tables, {video: videos[video] for video in order[start : start + VIDEOS_A_BATCH]})

    def _tables(self, videos: Asked, digits: int, stack: ExitStack) -> dict[str, Rows]:
        assert self._store is not None
        wanted, lengths = self.prints, ["status", "mode", "footage_s", "decoded_s", "duration_s", "covered"]
        asked: dict[str, tuple[Table, Sequence[str] | None, Collection[str] | None, Sequence[Column]]] = {
            "videos": (VIDEOS, None, [wanted["scan"]], ()),
            "lengths": (VIDEOS, lengths, None, ()),
            "marks": (MARKS, ["spans", "covered"], wanted.values(), ()),
            "errors": (ERRORS, ["permanent"], {*wanted.values(), *self.prints_of.get("scores", ())}, ()),
            "clips": (CLIPS, None, [wanted["shots"]], ()),
            "measures": (MEASURES, None, [wanted["measures"]], MEASURE_COLUMNS),
        }
        for stage in self.clip_stages:
            shown = shown_columns(self.scorers) if stage.name == "scores" else self.judged_by.get(stage.name, ())
            declared = [column for column in shown if column not in stage.table.columns]
            asked[stage.name] = (stage.table, [column.name for column in shown], self.prints_of[stage.name], declared)
        if (embeddings := embeddings_fingerprint(self.recipe)) is not None:
            asked["embeddings"] = (EMBEDDINGS, [], [embeddings], ())
        found: dict[str, Rows] = {}
        for name, (table, names, prints, extra) in asked.items():
            buckets = Buckets(self._store, table, videos, digits, columns=names, fingerprints=prints, extra=extra)
            stack.callback(buckets.close)
            found[name] = buckets.rows
        return found


class Batch:
    """What is known of some videos. Tables are read when they are first asked for.

    Attributes:
        known: the comparison that this is a part of.
        videos: their video_ids, sorted.
    """

    def __init__(self, known: Known, tables: Mapping[str, Rows], spans: Mapping[str, Sequence[ListedSpan]]) -> None:
        self.known = known
        self.videos = list(spans)
        self._spans = {video: (some, spans_id(some)) for video, some in spans.items() if some}
        self._prints = known.prints
        self._tables = tables

    def rows(self, name: str, videos: Sequence[str]) -> pa.Table:
        """Rows of some of the videos: of a stage of clips all that are there, under whatever shots these were cut."""
        return self._tables[name](videos) if name in self._tables else _empty(name)

    @cached_property
    def _videos(self) -> pa.Table:
        return self.rows("videos", self.videos)

    @cached_property
    def done(self) -> pa.Table:
        """The row of `videos` of each content that was scanned: of several uris the newest."""
        return newest(_where(self._videos, "status", "done"), ["video_id"])

    @cached_property
    def scanned(self) -> dict[str, Row]:
        """video_id -> its row in `done`."""
        return {row["video_id"]: row for row in self.done.to_pylist()}

    def facts(self, video_id: str, uri: str) -> Row:
        """The row of `videos` of a scanned content as it travels with jobs, under the uri by which this run sees it."""
        return {**public_row(self.scanned.get(video_id, {})), "uri": uri}

    @cached_property
    def failed(self) -> dict[str, Row]:
        """video_id -> the newest row of `videos` of a failed scan."""
        rows = newest(_where(self._videos, "status", "failed"), ["video_id"]).to_pylist()
        return {row["video_id"]: row for row in rows}

    def failure(self, video_id: str) -> Row | None:
        """The row of `videos` of a content whose scan failed for good."""
        hopeless = video_id not in self.scanned and video_id in self._unscannable
        return self.failed.get(video_id) if hopeless else None

    def lengths(self, videos: Sequence[str], mode: str) -> dict[str, tuple[float, float]]:
        """video_id -> seconds of footage, and the share of them that a pass in this mode decodes, of those that were scanned under any
        fingerprint: the newest scan in this mode comes first. The share is 1 where no scan in sparse mode tells it.
        """
        found: dict[str, tuple[float, float]] = {}
        if not videos:
            return found
        rows = _where(self.rows("lengths", videos), "status", "done").to_pylist()
        for row in sorted(rows, key=lambda r: (r["mode"] == mode, r["written_at"], r["run_id"])):
            length = row["footage_s"] if row["covered"] is None else row["duration_s"]
            share = row["decoded_s"] / row["footage_s"] if row["mode"] == mode == "sparse" else 1.0
            found[row["video_id"]] = (length, share)
        return found

    @cached_property
    def _marks(self) -> dict[tuple[str, str, str], tuple[str | None, str | None]]:
        """Video, stage and fingerprint of each mark -> the spans by which its rows were made, and which stretches they cover."""
        names = ("video_id", "stage", "fingerprint", "spans", "covered")
        return {(video, stage, of): (spans, covered) for video, stage, of, spans, covered in _each(self.rows("marks", self.videos), *names)}

    def _mark(self, video_id: str, stage: str) -> tuple[str | None, str | None] | None:
        """The mark of a stage, if its rows were made by the spans that the list gives now, or do not hang on spans."""
        found = self._marks.get((video_id, stage, self._prints[stage]))
        return None if found is not None and stage in self.known.of_spans and found[0] != self._spans_id(video_id) else found

    def _spans_id(self, video_id: str) -> str | None:
        return self._spans.get(video_id, ((), None))[1]

    def has(self, video_id: str, stage: str) -> bool:
        """Whether a video has passed a stage, by the spans that its list gives now, or the stage is not wanted."""
        if stage not in self._prints:
            return True
        found = self._mark(video_id, stage)
        if found is None or found[1] is None:
            return found is not None
        covered, (spans, identity), video = Covered.of_text(found[1]), self._spans.get(video_id, ((), None)), self.scanned.get(video_id)
        if not spans or video is None or (self.known.recipe.shots.within_spans and not covered.around):
            return False
        same = found[0] == identity
        return same or (not self.known.recipe.shots.within_spans and covered.holds(spans, video["first_pts"], Fraction(video["time_base"])))

    def covered(self, video_id: str) -> dict[str, str]:
        """Of the stages scan and frames, where a video has some stretches of them: these, as `marks.covered` says."""
        marks = {stage: self._mark(video_id, stage) for stage in ("scan", "frames") if stage in self._prints}
        return {stage: found[1] for stage, found in marks.items() if found is not None and found[1] is not None}

    @cached_property
    def _errors(self) -> list[Row]:
        found: list[Row] = self.rows("errors", self.videos).to_pylist()
        return found

    @cached_property
    def _hopeless(self) -> list[Row]:
        """Errors of what is not to be tried again."""
        return [] if self.known.retry_failed else [row for row in self._errors if row["permanent"]]

    @cached_property
    def _unscannable(self) -> set[str]:
        """Videos whose scan, or that of a segment, failed for good."""
        of_scan = ("scan", self._prints["scan"])
        return {row["video_id"] for row in self._hopeless if (row["stage"], row["fingerprint"]) == of_scan}

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

    def failed_for_good(self, stage: str, videos: Sequence[str]) -> dict[str, list[str]]:
        """video_id -> clips on which a stage, or one of the scorers, failed for good, and that have no row of it."""
        prints, some = self.known.prints_of.get(stage, ()), set(videos)
        failed = {
            (row["video_id"], row["key"], row["fingerprint"])
            for row in self._hopeless
            if row["stage"] == stage and row["fingerprint"] in prints and row["video_id"] in some
        }
        have = set(_each(self.rows(stage, sorted({video for video, *_ in failed})), *_KEYS)) if failed else set()
        return grouped(sorted({(video, clip) for video, clip, _ in failed - have}))

    def settled(self, stage: str, videos: Sequence[str]) -> dict[str, list[str]]:
        """video_id -> clips that have the row of a stage, or on which it failed for good."""
        if stage not in self._prints or not videos:
            return {}
        found = grouped(_each(self.rows(stage, videos), "video_id", "clip_id"))
        for video, clips in self.failed_for_good(stage, videos).items():
            found.setdefault(video, []).extend(clips)
        return found

    def scored(self, videos: Sequence[str]) -> dict[str, dict[str, list[str]]]:
        """video_id -> scorer -> clips that have its row."""
        names = {one.fingerprint: one.name for one in self.known.scorers}
        found: dict[str, dict[str, list[str]]] = {}
        for video, clip, fingerprint in _each(self.rows("scores", videos), *_KEYS):
            found.setdefault(video, {}).setdefault(names[fingerprint], []).append(clip)
        return found

    def embedded(self, videos: Sequence[str]) -> set[str]:
        """Those of the videos of whose frames some embedding is there."""
        rows: Any = self.rows("embeddings", videos)
        return set(rows["video_id"].unique().to_pylist())

    def scores(self, clip_ids: Any) -> Scores:
        """The scores of clips, in their order."""
        return scores_of(self.rows("scores", self.videos), clip_ids, self.known.scorers)

    def late(self, clip_ids: Any) -> dict[str, Any]:
        """The columns of the stages after the scores that rules look at, in the order of some clips; null of those without the row."""
        import pyarrow.compute as pc

        found: dict[str, Any] = {}
        for stage, columns in self.known.judged_by.items():
            rows = self.rows(stage, self.videos)
            at = pc.index_in(clip_ids, value_set=rows["clip_id"])
            found |= {column.name: rows[column.name].take(at) for column in columns}
        return found

    def clips(self, videos: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """Rows of `clips` and of `measures` of some videos, in the same order, by video and clip: of the spans that lists give now."""
        import pyarrow as pa
        import pyarrow.compute as pc

        clips, measures = self.rows("clips", videos), self.rows("measures", videos)
        wanted = pa.array([self._spans_id(video) for video in videos], pa.string())
        place = pc.index_in(clips["video_id"], value_set=pa.array(videos, pa.string()))
        clips = clips.filter(of_spans(clips["spans"], wanted.take(place)))
        at = pc.index_in(clips["clip_id"], value_set=measures["clip_id"])
        return clips.filter(at.is_valid()), measures.take(at.drop_null())


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """(video_id, clip_id) -> the clips of each video."""
    found: dict[str, list[str]] = {}
    for video, clip in pairs:
        found.setdefault(video, []).append(clip)
    return found


def _each(rows: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    """Rows as tuples of some columns."""
    return zip(*(rows[name].to_pylist() for name in names), strict=True)


def _where(rows: pa.Table, column: str, value: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.equal(rows[column], pa.scalar(value)))


def _empty(name: str) -> pa.Table:
    extra = MEASURE_COLUMNS if name == "measures" else ()
    return schema(VIDEOS if name == "lengths" else TABLES[name], extra).empty_table()
