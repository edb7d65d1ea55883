"""Clips, videos and errors of a store as sources of lazy Daft data frames, on the native runner and on Ray.

A source hands out one task a range of videos. A task joins its range by itself (`Reader`), so that no join is larger than a range, and a
filter on `video_id`, `uri` or `clip_id` leaves only the videos that it names.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from daft.io.source import DataSource, DataSourceTask

from rushes.captions.agreement import Comparison
from rushes.media.storage import Options
from rushes.records import Column
from rushes.results.asked import values_asked
from rushes.results.columns import errors_schema, joined_schema, videos_schema
from rushes.results.reader import Reader
from rushes.rows.scored import WantedScore
from rushes.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa
    from daft.io.pushdowns import Pushdowns
    from daft.recordbatch import RecordBatch
    from daft.schema import Schema

What = Literal["clips", "videos", "errors"]
FEW_VIDEOS = 64
"""Up to so many videos are read by name; of more, whole ranges are read."""


@dataclass(frozen=True)
class Place:
    """Which store is read, under which fingerprints, with the scores of which scorers and what else `Reader` takes. Two data frames never
    share a `key`, so that each lists the store anew.
    """

    root: str
    options: Options = field(hash=False, compare=False, repr=False)
    prints: Mapping[str, str] = field(hash=False, compare=False)
    scorers: tuple[WantedScore, ...] = field(hash=False, compare=False)
    fields: tuple[Column, ...] = field(hash=False, compare=False)
    compared: tuple[Comparison, ...] = field(hash=False, compare=False)
    key: str = field(default_factory=lambda: secrets.token_hex(8))


@lru_cache(maxsize=8)
def reader_at(place: Place) -> Reader:
    """The reader of this process: the tasks of a data frame that run in it share listings, open parts, and loose rows once sorted."""
    return Reader(Store(place.root, place.options), place.prints, place.scorers, place.fields, place.compared)


@dataclass(frozen=True)
class Task(DataSourceTask):
    """Reads one range, or a few videos."""

    place: Place
    what: What
    names: tuple[str, ...]
    range: str | None
    videos: tuple[str, ...] = ()

    @property
    def schema(self) -> Schema:
        """The columns that it gives."""
        return _schema(self.place, self.what, self.names)

    async def read(self) -> AsyncIterator[RecordBatch]:
        """Gives the rows, a batch for each chunk of the columns."""
        from daft.recordbatch import RecordBatch

        rows = self._rows()
        for batch in rows.combine_chunks().to_batches():
            yield RecordBatch.from_arrow_record_batches([batch], batch.schema)

    def _rows(self) -> pa.Table:
        reader = reader_at(self.place)
        if self.what == "errors":
            rows = reader.errors()
        elif self.what == "videos":
            rows = reader.videos(str(self.range))
        elif self.range is None:
            rows = reader.clips_of(self.videos, self.names)
        else:
            rows = reader.clips(self.range, self.names)
        return rows.select(list(self.names))


class Source(DataSource):
    """One of the three: clips (not judged), videos, errors."""

    def __init__(self, place: Place, what: What) -> None:
        self._place = place
        self._what = what

    @property
    def name(self) -> str:
        """What Daft's plans call it."""
        return f"rushes {self._what}"

    @property
    def schema(self) -> Schema:
        """All columns."""
        return _schema(self._place, self._what)

    async def get_tasks(self, pushdowns: Pushdowns) -> AsyncIterator[DataSourceTask]:
        """Hands out tasks; Daft calls it when a query runs."""
        names = tuple(_arrow_schema(self._place, self._what).names)
        if pushdowns.columns is not None:
            needed = {*pushdowns.columns, *pushdowns.filter_required_column_names()}
            names = tuple(name for name in names if name in needed) or names[:1]
        reader = reader_at(self._place)
        if self._what == "errors":
            yield Task(self._place, self._what, names, None)
            return
        videos = named_videos(reader, pushdowns.filters) if self._what == "clips" else None
        if videos is not None:
            yield Task(self._place, self._what, names, None, tuple(videos))
            return
        for prefix in reader.ranges():
            yield Task(self._place, self._what, names, prefix)


def named_videos(reader: Reader, predicate: Any) -> list[str] | None:
    """The videos that a filter leaves, where it names them by video_id, uri or clip_id and they are few; else None."""
    asked = {} if predicate is None else values_asked(predicate)
    found: set[str] | None = None
    for column, values in asked.items():
        if column == "uri":
            some = set(reader.videos_of(values))
        elif column == "video_id":
            some = set(values)
        elif column == "clip_id" and len(values) == 1:
            some = {video for _, video in reader.find_clips(next(iter(values)))}
        else:
            continue
        found = some if found is None else found & some
    return sorted(found) if found is not None and len(found) <= FEW_VIDEOS else None


def _arrow_schema(place: Place, what: What) -> pa.Schema:
    if what == "clips":
        return joined_schema(reader_at(place).later)
    return videos_schema() if what == "videos" else errors_schema()


def _schema(place: Place, what: What, names: Iterable[str] | None = None) -> Schema:
    import pyarrow as pa
    from daft.schema import Schema

    full = _arrow_schema(place, what)
    return Schema.from_pyarrow_schema(full if names is None else pa.schema([full.field(name) for name in names]))
