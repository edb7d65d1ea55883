"""What the store knows of some footage: identities by uri, then rows by video, some thousand videos at a time.

Nothing here grows with the store, only with the footage asked for; of the clips only those of one batch are in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rushes.engine.fingerprints import Fingerprints
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.store.buckets import Buckets
from rushes.store.fold import newest
from rushes.store.parts import MAX_DIGITS, Asked
from rushes.store.store import Store
from rushes.store.tables import CAPTIONS, CLIPS, ERRORS, FILES, MARKS, MEASURES, VIDEOS, schema

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
Rows = Callable[[Sequence[str]], "pa.Table"]

VIDEOS_A_BATCH = 8192
"""Videos that are compared at once: with 25 clips each some 200,000 clips, 150 MB of rows. With fewer, row groups, which hold some 1,300
videos of clips and more of anything else, would be read by several batches."""
CLIP_TABLES = {"captions": CAPTIONS, "files": FILES}
"""Stages whose rows are looked up clip by clip."""


class Known:
    """What a store knows that a plan asks for.

    Args:
        store: None when there is none yet.
        prints: the fingerprints wanted.
    """

    def __init__(self, store: Store | None, prints: Fingerprints) -> None:
        self._store = store
        self._prints = prints

    def identities(self, uris: Iterable[str]) -> dict[str, tuple[str | None, int | None, str | None]]:
        """For each uri that the store knows: (video_id, size in bytes, stamp) of its newest row under any fingerprint."""
        if self._store is None:
            return {}
        found = newest(self._store.read(VIDEOS, columns=["size_bytes", "stamp"], only={"uri": set(uris)}), ["uri"])
        columns = (found[name].to_pylist() for name in ("uri", "video_id", "size_bytes", "stamp"))
        return {uri: (video, size, stamp) for uri, video, size, stamp in zip(*columns, strict=True)}

    def batches(self, videos: Iterable[str]) -> Iterator[Batch]:
        """The videos in batches, each with what the store knows of them."""
        order = sorted(videos)
        digits = next((n for n in range(MAX_DIGITS) if len(order) <= VIDEOS_A_BATCH * 16**n), MAX_DIGITS)
        with ExitStack() as stack:
            tables = self._tables(Asked(order), digits, stack) if self._store is not None else {}
            for start in range(0, len(order), VIDEOS_A_BATCH):
                some = order[start : start + VIDEOS_A_BATCH]
                yield Batch(some, self._prints, {name: table.rows for name, table in tables.items()})

    def _tables(self, videos: Asked, digits: int, stack: ExitStack) -> dict[str, Buckets]:
        assert self._store is not None
        wanted = self._prints.as_dict()
        asked: dict[str, tuple[Any, Any, Any, Any]] = {
            "videos": (VIDEOS, None, [self._prints.scan], ()),
            "marks": (MARKS, [], wanted.values(), ()),
            "errors": (ERRORS, ["permanent"], wanted.values(), ()),
            "clips": (CLIPS, None, [self._prints.shots], ()),
            "measures": (MEASURES, None, [self._prints.measures], MEASURE_COLUMNS),
            **{stage: (table, [], [wanted[stage]], ()) for stage, table in CLIP_TABLES.items() if stage in wanted},
        }
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

    def __init__(self, videos: Sequence[str], prints: Fingerprints, tables: Mapping[str, Rows]) -> None:
        self.videos = videos
        self._prints = prints.as_dict()
        self._tables = tables

    def _read(self, name: str, videos: Sequence[str]) -> Any:
        return self._tables[name](videos) if name in self._tables else _empty(name)

    @cached_property
    def _videos(self) -> Any:
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

    @cached_property
    def _stamps(self) -> list[tuple[Any, Any]]:
        return list(zip(self.done["uri"].to_pylist(), self.done["stamp"].to_pylist(), strict=True))

    def video(self, video_id: str) -> Row | None:
        """The row of `videos` of a scanned content."""
        at = self.places.get(video_id)
        return None if at is None else self._rows[at]

    def seen_as(self, video_id: str) -> tuple[str, str]:
        """The uri and stamp under which a scanned content was last seen."""
        return self._stamps[self.places[video_id]]

    @cached_property
    def failed(self) -> dict[tuple[str, str], Row]:
        """(uri, video_id) -> the row of `videos` of a failed scan."""
        rows = _with_status(self._videos, "failed").to_pylist()
        return {(row["uri"], row["video_id"]): row for row in rows}

    @cached_property
    def _marks(self) -> set[tuple[str, str, str]]:
        rows = self._read("marks", self.videos)
        return set(zip(*(rows[name].to_pylist() for name in ("video_id", "stage", "fingerprint")), strict=True))

    def has(self, video_id: str, stage: str) -> bool:
        """Whether a video has passed a stage, or the stage is not wanted."""
        fingerprint = self._prints.get(stage)
        return fingerprint is None or (video_id, stage, fingerprint) in self._marks

    @cached_property
    def _errors(self) -> list[Row]:
        found: list[Row] = self._read("errors", self.videos).to_pylist()
        return found

    @cached_property
    def permanent(self) -> set[tuple[str, str, str]]:
        """(stage, key, fingerprint) of what failed for good."""
        return {(row["stage"], row["key"], row["fingerprint"]) for row in self._errors if row["permanent"]}

    def failed_clips(self, stage: str) -> set[str]:
        """Clips of which a stage failed for good."""
        return {key for s, key, fingerprint in self.permanent if (s, fingerprint) == (stage, self._prints.get(stage))}

    def clip_ids(self, stage: str, videos: Sequence[str]) -> pa.Table:
        """`clip_id` and `video_id` of the videos' clips that have a caption or a file, or of which that failed for good."""
        import pyarrow as pa

        have = self._read(stage, videos).select(["clip_id", "video_id"])
        failed, some = self.failed_clips(stage), set(videos)
        rows = [{"clip_id": r["key"], "video_id": r["video_id"]} for r in self._errors if r["key"] in failed and r["video_id"] in some]
        return pa.concat_tables([have, pa.Table.from_pylist(rows, schema=have.schema)])

    def captioned(self, videos: Sequence[str]) -> dict[str, list[str]]:
        """video_id -> its clips that want no caption any more, under whatever shots they were cut."""
        found: dict[str, list[str]] = defaultdict(list)
        if "captions" in self._prints and videos:
            rows: Any = self.clip_ids("captions", videos)
            for video, clip in zip(rows["video_id"].to_pylist(), rows["clip_id"].to_pylist(), strict=True):
                found[video].append(clip)
        return found

    def clips(self, videos: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """Rows of `clips` and of `measures` of some videos, in the same order: by video and clip."""
        import pyarrow.compute as pc

        clips, measures = self._read("clips", videos), self._read("measures", videos)
        at = pc.index_in(clips["clip_id"], value_set=measures["clip_id"])
        return clips.filter(at.is_valid()), measures.take(at.drop_null())


def _with_status(videos: pa.Table, status: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    return videos.filter(pc.equal(videos["status"], pa.scalar(status)))


def _empty(name: str) -> pa.Table:
    extra = MEASURE_COLUMNS if name == "measures" else ()
    tables = {t.name: t for t in (VIDEOS, MARKS, ERRORS, CLIPS, MEASURES, CAPTIONS, FILES)}
    return schema(tables[name], extra).empty_table()
