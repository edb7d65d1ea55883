"""A video's signals: a row of the table `signals`, and what shots and measures are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from rushes.records import Column, Orientation
from rushes.scan.one_pass import Scan
from rushes.store.parts import video_part
from rushes.store.store import Store
from rushes.store.tables import SIGNALS, schema


@dataclass(frozen=True, slots=True)
class Series:
    """A video's signals as they stand in the store: what shots and measures are made from, without the video."""

    video_id: str
    pts: npt.NDArray[np.int64]
    signals: Mapping[str, npt.NDArray[np.float32]]
    time_base: Fraction
    end_pts: int
    way: Orientation
    mode: str

    @classmethod
    def of(cls, video_id: str, scan: Scan) -> Series:
        """The series of a fresh scan."""
        return cls(video_id, scan.pts, scan.signals, scan.facts.time_base, scan.end_pts, scan.facts.orientation, scan.mode)


def write_signals(store: Store, series: Series, stamp: Mapping[str, Any], columns: Sequence[Column]) -> None:
    """Writes the row of a video, as a part of its own.

    Args:
        store: where to.
        series: the signals.
        stamp: the last columns of the row.
        columns: the signals, as the table declares them.

    Raises:
        StorageError: it could not be written.
    """
    import pyarrow as pa

    fixed = {
        "video_id": series.video_id, "time_base": str(series.time_base), "end_pts": series.end_pts,
        "mode": series.mode, "rotation": series.way.rotation, "mirrored": series.way.mirrored, "pts": series.pts,
    }  # fmt: skip
    row, full, cells = {**fixed, **series.signals, **stamp}, schema(SIGNALS, columns), []
    for field in full:
        value = row[field.name]
        if pa.types.is_list(field.type):
            inner = pa.array(value, field.type.value_type, from_pandas=True)
            cells.append(pa.ListArray.from_arrays(pa.array([0, len(inner)], pa.int32()), inner))
        else:
            cells.append(pa.array([value], field.type))
    store.write_table(SIGNALS, pa.Table.from_arrays(cells, schema=full), video_part(series.video_id, stamp["fingerprint"]))


def read_signals(store: Store, video_id: str, fingerprint: str, columns: Sequence[Column]) -> Series:
    """The signals of a video that was scanned.

    Raises:
        StorageError: they could not be read.
    """
    found = store.read(SIGNALS, extra=columns, fingerprints=[fingerprint], only={"video_id": [video_id]})
    row: dict[str, Any] = {name: found[name][0] for name in found.column_names}
    arrays = {c.name: np.asarray(row[c.name].values.to_numpy(zero_copy_only=False), np.float32) for c in columns}
    return Series(
        video_id, np.asarray(row["pts"].values, np.int64), arrays, Fraction(row["time_base"].as_py()), row["end_pts"].as_py(),
        Orientation(row["rotation"].as_py(), bool(row["mirrored"].as_py())), row["mode"].as_py(),
    )  # fmt: skip
