"""Reads clips, videos and errors as Arrow columns, one range of videos at a time; each range is joined by itself.

Of the whole store only one thing is in memory: which video each uri shows, some 150 bytes a video.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rushes.captions.agreement import Comparison
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.records import Column
from rushes.results.columns import (
    CLIP_FAILED,
    COUNTED,
    ERRORS_SEEN,
    JOINED,
    OF_ERROR,
    VIDEOS_SEEN,
    errors_schema,
    joined_schema,
    videos_schema,
)
from rushes.results.errors_of_clips import of_errors
from rushes.rows.agreed import agreed
from rushes.rows.clip_columns import ASPECT, aspect_of
from rushes.rows.scored import WantedScore, scores_of, shown_columns
from rushes.store.fold import newest, of_spans
from rushes.store.parts import Asked, Part, digits_for, prefixes
from rushes.store.ranges import Ranges
from rushes.store.store import Store, steadily
from rushes.store.tables import AGREEMENT, ALIGNMENT, CAPTIONS, CLIPS, ERRORS, MEASURES, SCORES, VIDEOS, Table

if TYPE_CHECKING:
    import pyarrow as pa

RANGE_BYTES = 16 << 20
"""Compressed bytes of clips, measures and captions in a range: after `compact` up to 115,000 clips."""
STAGES = {
    "clips": ("shots",), "videos": ("scan",), "measures": ("measures",), "captions": ("captions",), "files": ("files",),
    "errors": ("captions", "files"),
}  # fmt: skip
"""The stages by whose fingerprints the rows of a joined table are chosen; those of scores and their errors have the scorers' own."""

Read = Callable[[str], "pa.Table"]
"""Name of a joined table -> its newest rows of some videos."""


class Reader:
    """What a store holds under some fingerprints.

    Args:
        store: the store.
        prints: the fingerprints.
        scorers: the scorers whose scores clips have.
        fields: the columns of the fields of captions.
        compared: what labels of captions are compared with.
        digits: first digits of a video_id that make a range; default: so that a range fits `RANGE_BYTES`.
    """

    def __init__(
        self,
        store: Store,
        prints: Mapping[str, str],
        scorers: Sequence[WantedScore] = (),
        fields: Sequence[Column] = (),
        compared: Sequence[Comparison] = (),
        digits: int | None = None,
    ) -> None:
        self.store = store
        self.prints = prints
        self.scorers = scorers
        self.fields = fields
        self.compared = compared
        aligned = (AGREEMENT,) if "alignment" in prints else ()
        self.later = (*shown_columns(scorers), *fields, *(one.column for one in compared), *aligned)
        """The columns of clips that hang on the recipe: of scores, fields of captions, and agreements."""
        self._digits = digits
        self._ranges: dict[tuple[str, tuple[str, ...]], Ranges] = {}

    @cached_property
    def digits(self) -> int:
        """First digits of a video_id that make a range."""
        if self._digits is not None:
            return self._digits
        sizes = [
            part.size
            for table, stage in ((CLIPS, "shots"), (MEASURES, "measures"), (CAPTIONS, "captions"))
            for part in self.store.parts(table, fingerprints=self._print(stage))
        ]
        return digits_for(sum(sizes), RANGE_BYTES)

    def ranges(self) -> list[str]:
        """The ranges, in order."""
        return prefixes(self.digits)

    def close(self) -> None:
        """Closes parts and removes scratch files."""
        for ranges in self._ranges.values():
            ranges.close()

    def _print(self, *stages: str) -> list[str]:
        return [found for stage in stages if (found := self.prints.get(stage)) is not None]

    @cached_property
    def _known(self) -> pa.Table:
        """uri, video_id and status of every row of `videos` under the scan."""
        return self.store.read(VIDEOS, columns=["status"], fingerprints=self._print("scan"))

    @cached_property
    def current(self) -> pa.Table:
        """The newest row of each uri under the scan: uri, video_id, status and when it was written."""
        return _newest(self._known, "uri")

    @cached_property
    def _replaced(self) -> dict[str, str | None]:
        """Uri -> video_id of its newest row, of uris that have several rows."""
        import pyarrow.compute as pc

        again = _repeated(self._known["uri"])
        rows = self.current.filter(pc.is_in(self.current["uri"], value_set=again)) if len(again) else self.current.slice(0, 0)
        uris: Any = rows["uri"].to_pylist()
        return dict(zip(uris, rows["video_id"].to_pylist(), strict=True))

    @cached_property
    def sources(self) -> pa.Table:
        """video_id and uri of each scanned video: of several uris that show it, the newest."""
        import pyarrow as pa
        import pyarrow.compute as pc

        done = self.current.filter(pc.equal(self.current["status"], pa.scalar("done")))
        return _newest(done, "video_id").sort_by("video_id").combine_chunks()

    @cached_property
    def _starts(self) -> dict[str, tuple[int, int]]:
        """Range -> place of its first row in `sources`, and number of its rows."""
        import pyarrow.compute as pc

        counts: Any = pc.value_counts(
            pc.utf8_slice_codeunits(self.sources["video_id"], 0, self.digits) if self.digits else _blank(self.sources)
        )
        found, start = {}, 0
        for count in counts.to_pylist():
            found[count["values"]] = (start, count["counts"])
            start += count["counts"]
        return found

    def _sources_in(self, prefix: str) -> pa.Table:
        return self.sources.slice(*self._starts.get(prefix, (0, 0)))

    def current_of(self, uris: Collection[str]) -> pa.Table:
        """`current` of a few uris. The other columns of `videos` are read only where its column `uri` has one of them."""
        return _newest(self.store.read(VIDEOS, columns=["status"], fingerprints=self._print("scan"), only={"uri": uris}), "uri")

    def _sources_of(self, videos: Collection[str]) -> pa.Table:
        """`sources` of a few videos."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows: Any = self.store.read(VIDEOS, columns=[], fingerprints=self._print("scan"), only={"video_id": videos})
        current = self.current_of(rows["uri"].to_pylist())
        own = pc.is_in(current["video_id"], value_set=pa.array(sorted(videos), pa.string()))
        return _newest(current.filter(pc.and_(own, pc.equal(current["status"], pa.scalar("done")))), "video_id")

    def videos_of(self, uris: Collection[str]) -> list[str]:
        """The video_ids of the scanned videos that are seen under some uris."""
        current = self.current_of(uris).to_pylist()
        sources = self._sources_of({row["video_id"] for row in current if row["status"] == "done"}).to_pylist()
        return sorted(row["video_id"] for row in sources if row["uri"] in uris)

    def clips(self, prefix: str, names: Collection[str] | None = None) -> pa.Table:
        """The clips of one range, joined with all that is known of them, not judged. See `columns.joined_schema`.

        Args:
            prefix: the range.
            names: only these columns; default: all.

        Raises:
            StorageError: the store cannot be read.
        """
        needed = self._needed(names)
        return self._joined(lambda name: self._range(name, needed).rows(prefix), self._sources_in(prefix), names)

    def clips_of(self, videos: Collection[str], names: Collection[str] | None = None) -> pa.Table:
        """The clips of a few videos, as `clips` gives them; only the row groups that may hold them are read."""
        needed = self._needed(names)

        def read(name: str) -> pa.Table:
            table, columns, prints, extra = self._asked(name, needed)
            return self.store.read(table, columns=columns, fingerprints=prints, extra=extra, only={"video_id": videos})

        return self._joined(read, self._sources_of(videos), names)

    def find_clips(self, beginning: str) -> list[tuple[str, str]]:
        """(clip_id, video_id) of the clips whose clip_id begins so. All clips are looked at, of each only its clip_id."""
        prints = self._print("shots")

        def look() -> list[tuple[str, str]]:
            parts = self.store.parts(CLIPS, fingerprints=prints)
            with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as threads:
                return sorted({pair for some in threads.map(lambda part: self._find(part, beginning), parts) for pair in some})

        return steadily(look, self.store.path(CLIPS.name))

    def _find(self, part: Part, beginning: str) -> list[tuple[str, str]]:
        import pyarrow as pa
        import pyarrow.compute as pc

        names = pa.schema([("clip_id", pa.string()), ("video_id", pa.string())])
        found: set[str] = set()
        for rows in self.store.rows(part, pa.schema([names.field("clip_id")])):
            matching: Any = rows.filter(pc.starts_with(rows["clip_id"], beginning))["clip_id"].to_pylist()
            found |= set(matching)
        some = self.store.rows(part, names, self._print("shots"), {"clip_id": Asked(found)}) if found else ()
        pairs: Any = (zip(rows["clip_id"].to_pylist(), rows["video_id"].to_pylist(), strict=True) for rows in some)
        return [pair for pairs_of_group in pairs for pair in pairs_of_group]

    def _needed(self, names: Collection[str] | None) -> Collection[str] | None:
        """The columns that have to be read to give `names`: an agreement is computed from others."""
        if names is None:
            return None
        return {*names, *(need for one in self.compared if one.column.name in names for need in one.needs)}

    def _columns(self, name: str, names: Collection[str] | None) -> list[str]:
        """The columns of a joined table that are needed to give `names`."""
        wanted = {own for seen, own in JOINED[name][1] if names is None or seen in names}
        always = {"clips": ["start_pts", "spans"], "videos": ["status", "spans"], "files": ["clip_uri"], "errors": ["permanent"]}
        if name == "clips" and (names is None or "extra" in names):
            wanted.add("extra")
        if name == "videos" and (names is None or ASPECT.name in names):
            wanted |= {"width", "height"}
        return sorted(wanted | set(always.get(name, ())))

    def _asked(self, name: str, names: Collection[str] | None) -> tuple[Table, list[str], list[str], Sequence[Column]]:
        """Of a table that gives `names` to clips: the table, the columns and fingerprints that are read, and its declared columns."""
        of_scorers = [one.fingerprint for one in self.scorers]
        if name == "scores":
            shown = shown_columns(self.scorers)
            return SCORES, [column.name for column in shown if names is None or column.name in names], of_scorers, shown
        if name == "alignment":
            return ALIGNMENT, [AGREEMENT.name], self._print(name), ()
        prints = self._print(*STAGES[name]) + (of_scorers if name == "errors" else [])
        if name == "captions":
            fields = [column.name for column in self.fields if names is None or column.name in names]
            return JOINED[name][0], [*self._columns(name, names), *fields], prints, self.fields
        return JOINED[name][0], self._columns(name, names), prints, MEASURE_COLUMNS if name == "measures" else ()

    def _range(self, name: str, names: Collection[str] | None) -> Ranges:
        return self._ranges_by(*self._asked(name, names))

    def _ranges_of(self, table: Table, columns: Sequence[str], stage: str) -> Ranges:
        return self._ranges_by(table, columns, self._print(stage))

    def _ranges_by(self, table: Table, columns: Sequence[str], prints: Sequence[str], extra: Sequence[Column] = ()) -> Ranges:
        key = (table.name, tuple(columns))
        if key not in self._ranges:
            self._ranges[key] = Ranges(self.store, table, self.digits, columns=columns, fingerprints=prints, extra=extra)
        return self._ranges[key]

    def _joined(self, read: Read, sources: pa.Table, names: Collection[str] | None) -> pa.Table:
        """Clips that have measures and whose video is seen, in order of uri and time, with what the other tables say of them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        asked, names = names, self._needed(names)
        clips, measures, videos = read("clips"), read("measures"), _seen(read("videos"), sources)
        measured = pc.index_in(clips["clip_id"], value_set=measures["clip_id"])
        video = pc.index_in(clips["video_id"], value_set=videos["video_id"])
        current = of_spans(clips["spans"], videos["spans"].take(video))
        both = pc.and_(pc.and_(measured.is_valid(), video.is_valid()), current)
        clips, measured, video = clips.filter(both), measured.filter(both), video.filter(both)
        order = pc.sort_indices(
            pa.table({"uri": videos["uri"].take(video), "start": clips["start_pts"], "clip": clips["clip_id"]}),
            sort_keys=[("uri", "ascending"), ("start", "ascending"), ("clip", "ascending")],
        )
        clips, measured, video = clips.take(order), measured.take(order), video.take(order)
        rows: dict[str, Any] = {"clips": clips, "measures": measures.take(measured), "videos": videos.take(video)}
        errors_wanted = names is None or not {CLIP_FAILED, *OF_ERROR}.isdisjoint(names)
        of_fields = [column.name for column in self.fields if names is None or column.name in names]
        for name in ("captions", "files"):
            own = name == "captions" and of_fields
            if names is None or errors_wanted or own or any(seen in names for seen, _ in JOINED[name][1]):
                found = read(name)
                rows[name] = found.take(pc.index_in(clips["clip_id"], value_set=found["clip_id"]))
        columns: dict[str, Any] = {
            seen: rows[name][own] for name in rows for seen, own in JOINED[name][1] if names is None or seen in names
        }
        columns |= {name: rows["captions"][name] for name in of_fields}
        if self.scorers:
            rows["scores"] = read("scores")
            columns |= scores_of(rows["scores"], clips["clip_id"], self.scorers).columns
        if AGREEMENT in self.later and (names is None or AGREEMENT.name in names):
            aligned = read("alignment")
            columns[AGREEMENT.name] = aligned[AGREEMENT.name].take(pc.index_in(clips["clip_id"], value_set=aligned["clip_id"]))
        if errors_wanted:
            columns |= of_errors(read("errors"), clips["clip_id"], rows)
        if "extra" in columns:  # a span of a list has columns of its own
            columns["extra"] = pc.coalesce(clips["extra"], columns["extra"])
        if names is None or ASPECT.name in names:
            sides = (pc.cast(rows["videos"][side], pa.float64()) for side in ("width", "height"))
            columns[ASPECT.name] = aspect_of(*sides)
        columns |= {one.column.name: agreed(one, columns.__getitem__) for one in self.compared if names is None or one.column.name in names}
        wanted = [field for field in joined_schema(self.later) if asked is None or field.name in asked]
        return pa.table([columns[field.name].cast(field.type) for field in wanted], schema=pa.schema(wanted))

    def videos(self, prefix: str) -> pa.Table:
        """The newest row of each uri of one range, with the number of its shots and clips, by uri. See `columns.videos_schema`.

        Videos without a video_id, whose bytes could not be read, come with the last range.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = self._ranges_of(VIDEOS, [*VIDEOS_SEEN, "status", "spans"], "scan").rows(prefix)
        if prefix == self.ranges()[-1]:
            rows = pa.concat_tables([rows, self._unread()])
        if self._replaced:  # of a uri whose file was replaced only the newest row is seen
            at = pc.index_in(rows["uri"], value_set=pa.array(sorted(self._replaced), pa.string()))
            newest_id = pa.array([self._replaced[uri] for uri in sorted(self._replaced)], pa.string()).take(at)
            equal: Any = pc.equal(rows["video_id"], newest_id)
            same: Any = pc.fill_null(equal, False)
            rows = rows.filter(pc.or_(at.is_null(), pc.or_(same, pc.and_(rows["video_id"].is_null(), newest_id.is_null()))))
        clips = self._ranges_of(CLIPS, ["start_kind", "spans"], "shots").rows(prefix)
        sources = _seen(rows, self._sources_in(prefix))
        clips = clips.filter(of_spans(clips["spans"], sources["spans"].take(pc.index_in(clips["video_id"], value_set=sources["video_id"]))))
        is_shot = pc.cast(pc.not_equal(clips["start_kind"], pa.scalar("split")), pa.int64())
        sums = (
            clips.select(["video_id"])
            .append_column("n_shots", is_shot)
            .group_by("video_id")
            .aggregate([("n_shots", "sum"), ([], "count_all")])
        )
        at = pc.index_in(rows["video_id"], value_set=sums["video_id"].combine_chunks())
        own = pc.and_(pc.equal(rows["status"], pa.scalar("done")), rows["video_id"].is_valid())
        columns: dict[str, Any] = {name: rows[name] for name in VIDEOS_SEEN}
        for name, sum_name in zip(COUNTED, ("n_shots_sum", "count_all"), strict=True):
            number: Any = sums[sum_name].take(at)
            columns[name] = pc.if_else(own, pc.fill_null(number, 0), 0)
        return pa.table([columns[f.name].cast(f.type) for f in videos_schema()], schema=videos_schema()).sort_by("uri")

    def _unread(self) -> pa.Table:
        """The newest rows of uris whose bytes could not be read."""
        uris: Any = self.current.filter(self.current["video_id"].is_null())["uri"].to_pylist()
        rows = self.store.read(VIDEOS, columns=[*VIDEOS_SEEN, "spans"], fingerprints=self._print("scan"), only={"uri": uris})
        return rows.filter(rows["video_id"].is_null())

    def errors(self) -> pa.Table:
        """All failed attempts under the fingerprints, the newest last. See `columns.errors_schema`."""
        import pyarrow as pa

        prints = [*self.prints.values(), *(one.fingerprint for one in self.scorers)]
        rows: Any = self.store.read(ERRORS, fingerprints=prints).sort_by("written_at")
        return pa.table([rows[name] for name in (*ERRORS_SEEN, "written_at")], schema=errors_schema())

    def manifest_columns(self) -> Iterator[str | None]:
        """`extra` of each scanned video, and of each span: the manifest's other columns as JSON texts."""
        for prefix in self.ranges():
            rows = self._ranges_of(VIDEOS, ["extra", "status"], "scan").rows(prefix)
            yield from _seen(rows, self._sources_in(prefix))["extra"].to_pylist()
            yield from self._ranges_of(CLIPS, ["extra"], "shots").rows(prefix)["extra"].drop_null().to_pylist()


def _seen(videos: pa.Table, sources: pa.Table) -> pa.Table:
    """Of rows of `videos` those of `sources`: scanned videos, each under the uri that it is seen under."""
    import pyarrow.compute as pc

    at = pc.index_in(videos["video_id"], value_set=sources["video_id"])
    known = videos.filter(at.is_valid())
    return known.filter(pc.equal(known["uri"], sources["uri"].take(at.drop_null())))


def _blank(rows: pa.Table) -> pa.StringArray:
    import pyarrow as pa

    return pa.array([""] * rows.num_rows, pa.string())


def _repeated(values: Any) -> Any:
    """The values that a column has more than once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counts: Any = pc.value_counts(values)
    return counts.field("values").filter(pc.greater(counts.field("counts"), pa.scalar(1)))


def _newest(rows: pa.Table, key: str) -> pa.Table:
    """The newest row of each value of a column; most have one only, and those are not sorted."""
    return newest(rows, [key]) if len(_repeated(rows[key])) else rows
