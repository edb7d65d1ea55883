"""Tables of states and actions that come with footage: the rows of a clip, one for each of its frames.

A column `frames_table` of a list says where the table of a video is: a Parquet file with the column `timestamp`, seconds, and any columns
of numbers; with `#COLUMN=VALUE` behind it, its rows of that value. A column `frames_start_s` says at which second of the video its times
begin.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rushes.errors import FootageError
from rushes.media.address import local_path, public_uri
from rushes.media.storage import Options, exists, filesystem, ranges, stat

if TYPE_CHECKING:
    import pyarrow as pa

TABLE, START = "frames_table", "frames_start_s"
TIME = "timestamp"
OWN = (TIME, "frame_index", "episode_index", "index", "task_index")
"""Columns that LeRobot's tables have of their own; a table's columns of these names are not taken."""
_ROWS = re.compile(r"#([^#=/]+)=([^#=]*)$")
MARGIN_S = 1e-4
"""Rounding of times that are float32, as LeRobot has them, at 1,000 s."""


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Where the states of a clip are.

    Attributes:
        uri: the Parquet file.
        column, value: only rows in which the column has the value; None: all rows.
        start_s: second of the video at which the table's times begin.
    """

    uri: str
    column: str | None
    value: str
    start_s: float

    @classmethod
    def of(cls, extra: str | None) -> FrameTable:
        """The table that the columns of a clip's list name.

        Args:
            extra: these columns, as a JSON object.

        Raises:
            FootageError: they name none.
        """
        columns = json.loads(extra) if extra else {}
        named = columns.get(TABLE)
        if not named:
            raise FootageError("its list names no table of states", mend=f"give it the column {TABLE}: a Parquet file, a row a frame")
        found = _ROWS.search(str(named))
        uri = str(named)[: found.start()] if found else str(named)
        try:
            start_s = float(columns.get(START) or 0)
        except ValueError as error:
            raise FootageError(f"{START} is {columns[START]!r}", uri=public_uri(uri), mend="give it in seconds") from error
        return cls(uri, found[1] if found else None, found[2] if found else "", start_s)

    def rows(self, start_s: float, n: int, fps: Fraction, tolerance_s: float, options: Options) -> pa.Table:
        """For each frame the row that is nearest in time: the columns of numbers, truth values, text and lists of numbers.

        Args:
            start_s: when the clip's first frame is shown, seconds from the video's first.
            n: its frames.
            fps: frames a second; they are evenly spaced.
            tolerance_s: how far the row may be from its frame, seconds.
            options: storage options by protocol.

        Raises:
            FootageError: the table cannot be read, holds no such columns, or has no row near a frame.
        """
        import numpy as np
        import pyarrow as pa

        first_s = start_s - self.start_s
        found = self._read(first_s - tolerance_s - MARGIN_S, first_s + float((n - 1) / fps) + tolerance_s + MARGIN_S, options)
        times = found[TIME].to_numpy().astype(np.float64)
        wanted = first_s + np.arange(n) / float(fps)
        if not len(times):
            raise self._lacking(start_s, tolerance_s)
        after = np.searchsorted(times, wanted).clip(1, max(1, len(times) - 1))
        before = after - 1
        after = after.clip(0, len(times) - 1)
        nearest = np.where(wanted - times[before] <= times[after] - wanted, before, after)
        far = np.flatnonzero(np.abs(times[nearest] - wanted) > tolerance_s + MARGIN_S)
        if len(far):
            raise self._lacking(start_s + int(far[0]) / float(fps), tolerance_s)
        return found.drop_columns([TIME]).take(pa.array(nearest, pa.int64()))

    def _lacking(self, at_s: float, tolerance_s: float) -> FootageError:
        what = f"the table of states has no row within {tolerance_s:.4g} s of the frame at {at_s:.3f} s"
        return FootageError(what, uri=public_uri(self.uri), mend="add rows, or set publish.tolerance_s higher")

    def _read(self, first_s: float, last_s: float, options: Options) -> pa.Table:
        """The rows between two times of the table, in order."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        path = local_path(self.uri)
        try:
            where: dict[str, Any] = {"source": path}
            if path is None:
                fs, inner = filesystem(self.uri, options)
                where = {"source": inner, "filesystem": fs}
            data = ds.dataset(**where, format="parquet")
            if lacking := [name for name in (TIME, self.column) if name is not None and name not in data.schema.names]:
                what = f"the table of states has no column {lacking[0]}; its columns are {', '.join(data.schema.names)}"
                raise FootageError(what, uri=public_uri(self.uri), mend=f"give each row its {lacking[0]}")
            only: Any = (ds.field(TIME) >= first_s) & (ds.field(TIME) <= last_s)
            if self.column is not None:
                only &= ds.field(self.column) == pa.scalar(self.value).cast(data.schema.field(self.column).type)
            names = [one.name for one in data.schema if one.name not in OWN and taken(one.type)]
            found: pa.Table = data.to_table(columns=[TIME, *names], filter=only)
            return found.sort_by(TIME).combine_chunks()
        except (OSError, pa.ArrowException) as error:
            words = " ".join(str(error).split())[:300]
            raise FootageError(f"the table of states cannot be read: {words}", uri=public_uri(self.uri), mend="write it again") from error


def taken(kind: Any) -> bool:
    """Whether columns of an Arrow type are taken: numbers, truth values, text, and lists of numbers."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return True
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def source_names(uri: str, options: Options) -> dict[str, Any]:
    """Names of the numbers of each column, such as joints, where the table lies in a LeRobot data set, by its `info.json`."""
    folder = uri.rpartition("/data/")[0]
    info = f"{folder}/meta/info.json"
    if not folder or not exists(info, options):
        return {}
    with ranges(info, options) as read:
        features = json.loads(read(0, stat(info, options).size or 0)).get("features", {})
    return {name: feature.get("names") for name, feature in features.items()}
