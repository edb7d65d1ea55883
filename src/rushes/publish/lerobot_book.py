"""Writes the files of a LeRobot data set episode by episode, but for the films themselves."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rushes.errors import FootageError
from rushes.publish import lerobot_format as form
from rushes.publish.film_facts import FilmFacts
from rushes.publish.lerobot_before import Before
from rushes.publish.lerobot_stats import Stats, Totals, stats_of
from rushes.publish.versions import Draft
from rushes.records import Row

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Episode:
    """A clip that becomes an episode.

    Attributes:
        row: its columns, as `Changes.rows` gives them.
        film: where its film is now.
        is_cut: the film was made for this publish, and goes when it has been taken.
        facts: of its film.
        task: what is done in it, in words.
        frames: a row of states for each of its frames; None: those of the version before.
        pictures: statistics of its pictures; None: those of the version before.
        before: the episode that it was in the version before.
    """

    row: Row
    film: str
    is_cut: bool
    facts: FilmFacts
    task: str
    frames: pa.Table | None
    pictures: Stats | None
    before: int | None


@dataclass(frozen=True, slots=True)
class _Placed:
    """An episode with its number, the index of its first frame in the data set, and that of its task."""

    episode: Episode
    number: int
    first: int
    task: int


class Book:
    """The tables of a version.

    Args:
        draft: the version that is being written.
        before: what the version before has.
        published: the published columns.
        key: name of the video.

    Attributes:
        features: of the states; None until the first rows of states have come.
        n: episodes until now.
    """

    def __init__(self, draft: Draft, before: Before, published: pa.Schema, key: str) -> None:
        self._draft, self._before, self._published, self._key = draft, before, published, key
        self.features: dict[str, form.Feature] | None = None
        self.n = 0
        self._n_frames = 0
        self._tasks: dict[str, int] = {}
        self._block: list[_Placed] = []
        self._totals = Totals()

    def shaped(self, rows: pa.Table, names: Mapping[str, Any]) -> pa.Table:
        """Rows of states as the data set holds them; the first ones say which columns it has.

        Raises:
            FootageError: they have other columns than the ones before.
        """
        rows = form.shaped(rows)
        found = form.features_of(rows, names)
        if not found:
            raise FootageError("the table of states has no column of numbers", mend="name a table that has some")
        if self.features is None:
            self.features = found
        for name in found.keys() | self.features.keys():
            one, other = (_told(features.get(name)) for features in (found, self.features))
            if one != other:
                what = f"the column {name} of its table is {one}, and in the data set it is {other}"
                raise FootageError(what, mend="publish clips of one kind of table, by publish.where")
        return rows.select(list(self.features))

    def add(self, episode: Episode, fps: Fraction) -> str:
        """Takes an episode; gives the name of its film in the version."""
        task = self._tasks.setdefault(episode.task, len(self._tasks))
        number = self.n
        self._block.append(_Placed(episode, number, self._n_frames, task))
        self.n, self._n_frames = self.n + 1, self._n_frames + episode.facts.n_frames
        if len(self._block) == form.BLOCK:
            self._flush(fps)
        return form.placed(form.VIDEO, number, self._key)

    def finish(self, video: form.Feature | None, fps: Fraction, robot_type: str | None) -> None:
        """Writes what is left. `video`: the feature of the films; None where there is none."""
        if self._block:
            self._flush(fps)
        features = {**({self._key: video} if video else {}), **(self.features or {}), **form.own_features()}
        totals = {"episodes": self.n, "frames": self._n_frames, "tasks": len(self._tasks)}
        self._draft.put(form.TASKS, form.tasks_file(list(self._tasks)))
        self._draft.put(form.STATS, json.dumps(self._totals.as_json(), indent=4).encode())
        self._draft.put(form.INFO, form.info_of(features, form.number(fps), totals, robot_type).encode())

    def _flush(self, fps: Fraction) -> None:
        """Writes the rows of a block, or links its files where nothing of it differs."""
        block, some = self._block[0].number // form.BLOCK, self._block
        self._block = []
        data, episodes = form.placed(form.DATA, block), form.placed(form.EPISODES, block)
        if self._before.n_in(block) == len(some) and all(self._same(one) for one in some):
            self._draft.keep(data)
            self._draft.keep(episodes)
            for one in some:
                row = self._before.episode(one.number)
                self._totals.add({feature: form.stats_in(row, feature) for feature in self._counted(row)})
            return
        tables, rows = [], []
        for one in some:
            old = self._before.episode(one.episode.before) if one.episode.before is not None else None
            states = one.episode.frames
            if states is None:
                assert one.episode.before is not None
                states = self._before.frames(one.episode.before).select(list(self.features or ()))
            pictures = one.episode.pictures
            if pictures is None:
                assert old is not None
                pictures = form.stats_in(old, self._before.key)
            tables.append(form.with_own(states, fps, one.number, one.first, one.task))
            stats = {self._key: pictures} | {name: stats_of(values) for name, values in form.arrays_of(tables[-1]).items()}
            self._totals.add(stats)
            rows.append(self._row(one, fps, block, stats))
        self._draft.put(data, _as_parquet(tables))
        numbers = [feature for feature in stats if feature != self._key]
        self._draft.put(episodes, _rows_as_parquet(rows, form.episode_schema(self._published, self._key, numbers)))

    def _same(self, one: _Placed) -> bool:
        """Whether all that is written of an episode is as it was. Its first frame has the index it had where its number stays, since the
        episodes before it are then those that were, with the films that they had.
        """
        if one.episode.frames is not None or one.episode.before != one.number or self._before.key != self._key:
            return False
        return bool(self._before.episode(one.number)["task_index"] == one.task)

    def _counted(self, row: Row) -> list[str]:
        """Features of which a row of the table of episodes has statistics."""
        return [name.split("/")[1] for name in row if name.startswith("stats/") and name.endswith("/count")]

    def _row(self, one: _Placed, fps: Fraction, block: int, stats: Mapping[str, Stats]) -> Row:
        n, row = one.episode.facts.n_frames, one.episode.row
        found: Row = dict(zip(form.OF_EPISODE, (one.number, [one.episode.task], n, one.first, one.first + n, one.task), strict=True))
        for of, at in (("data", block), ("meta/episodes", block), (f"videos/{self._key}", one.number)):
            found |= {f"{of}/chunk_index": at // form.CHUNK, f"{of}/file_index": at % form.CHUNK}
        found |= {f"videos/{self._key}/from_timestamp": 0.0, f"videos/{self._key}/to_timestamp": float(n / fps)}
        found |= {f"stats/{feature}/{name}": value for feature, of in stats.items() for name, value in of.items()}
        return found | {name: row[name] for name in self._published.names}


def _told(feature: form.Feature | None) -> str:
    if feature is None:
        return "not there"
    return f"{feature['dtype']} of {feature['shape'][0]}" if feature["shape"] != [1] else str(feature["dtype"])


def _as_parquet(tables: Sequence[pa.Table]) -> bytes:
    """Rows of episodes, a row group for each, as LeRobot writes them: so a reader of one episode reads it alone."""
    import pyarrow.parquet as pq

    out = io.BytesIO()
    with pq.ParquetWriter(out, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    return out.getvalue()


def _rows_as_parquet(rows: Sequence[Row], schema: pa.Schema) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema), out)
    return out.getvalue()
