"""The written form of LeRobotDataset v3.0 (lerobot/datasets, release 0.4.4): names of files, features, tasks, and columns of its tables."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from rushes.errors import FootageError
from rushes.publish.film_facts import FilmFacts
from rushes.publish.lerobot_stats import NAMES, Stats

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA, EPISODES, VIDEO = f"data/{PLACE}.parquet", f"meta/episodes/{PLACE}.parquet", f"videos/{{video_key}}/{PLACE}.mp4"
CHUNK = 1000
"""Files of a chunk, a folder."""
BLOCK = 500
"""Episodes whose rows share a file; one whose episodes stay as they are is linked from the version before."""
OF_EPISODE = ("episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index", "task_index")
"""Columns of the table of episodes, besides those whose names have a slash; `task_index` is not LeRobot's, and published columns follow."""
CHANNELS = ["height", "width", "channels"]

Feature = dict[str, Any]


def placed(pattern: str, number: int, key: str = "") -> str:
    """The name of the file of this number, in its chunk."""
    return pattern.format(video_key=key, chunk_index=number // CHUNK, file_index=number % CHUNK)


def shaped(rows: pa.Table) -> pa.Table:
    """Rows of states in the types in which LeRobot has them: lists of one fixed length, and numbers for lists of one.

    Raises:
        FootageError: a list is longer than another, or a value is missing.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for at, name in enumerate(rows.column_names):
        found: Any = rows[name].combine_chunks()
        missing = found.null_count
        if pa.types.is_nested(found.type) and not missing:
            sizes = pc.unique(pc.list_value_length(found)).to_pylist()
            if len(sizes) > 1:
                raise FootageError(f"lists in the column {name} have {sizes} values", mend="give each frame as many")
            values: Any = pc.list_flatten(found)
            found, missing = values if sizes == [1] else pa.FixedSizeListArray.from_arrays(values, sizes[0]), values.null_count
        if missing:
            raise FootageError(f"a frame of the clip has no value in the column {name}", mend="fill it, or leave the column out")
        rows = rows.set_column(at, name, found.cast(pa.string()) if pa.types.is_large_string(found.type) else found)
    return rows


def features_of(rows: pa.Table, names: Mapping[str, Any]) -> dict[str, Feature]:
    """Features of the columns of states. `names`: of their numbers, such as joints, by column."""
    return {field.name: {**_feature(field.type), "names": names.get(field.name)} for field in rows.schema}


def _feature(kind: Any) -> Feature:
    import pyarrow as pa

    size = kind.list_size if pa.types.is_fixed_size_list(kind) else 1
    value = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    return {"dtype": "string" if pa.types.is_string(value) else np.dtype(value.to_pandas_dtype()).name, "shape": [size]}


def video_feature(facts: FilmFacts, fps: Fraction, codec: str, has_audio: bool) -> Feature:
    """The feature of the clip files, which are encoded by one recipe."""
    about = {"height": facts.height, "width": facts.width, "codec": codec, "pix_fmt": "yuv420p", "is_depth_map": False}
    about |= {"fps": number(fps), "channels": 3}
    info = {**{f"video.{name}": value for name, value in about.items()}, "has_audio": has_audio}
    return {"dtype": "video", "shape": [facts.height, facts.width, 3], "names": CHANNELS, "info": info}


def own_features() -> dict[str, Feature]:
    """The features that each data set has."""
    numbers = ("frame_index", "episode_index", "index", "task_index")
    kinds = {"timestamp": "float32", **dict.fromkeys(numbers, "int64")}
    return {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in kinds.items()}


def number(fps: Fraction) -> int | float:
    """A rate as JSON has it: whole where it is."""
    return int(fps) if fps.denominator == 1 else float(fps)


def info_of(features: Mapping[str, Feature], fps: int | float, totals: Mapping[str, int], robot_type: str | None) -> str:
    """The text of `info.json`. `totals`: number of episodes, frames and tasks."""
    found = {
        "codebase_version": VERSION, "robot_type": robot_type, **{f"total_{name}": n for name, n in totals.items()}, "chunks_size": CHUNK,
        "data_files_size_in_mb": 100, "video_files_size_in_mb": 200, "fps": fps, "splits": {"train": f"0:{totals['episodes']}"},
        "data_path": DATA, "video_path": VIDEO, "features": features,
    }  # fmt: skip
    return json.dumps(found, indent=4, ensure_ascii=False)


def with_own(rows: pa.Table, fps: Fraction, episode: int, first: int, task: int) -> pa.Table:
    """Rows of states of an episode with LeRobot's own columns. `first`: index of its first frame in the data set."""
    import pyarrow as pa

    n = rows.num_rows
    own: dict[str, Any] = {
        "timestamp": pa.array(np.arange(n) / float(fps), pa.float32()), "frame_index": pa.array(np.arange(n), pa.int64()),
        "episode_index": pa.array(np.full(n, episode), pa.int64()), "index": pa.array(np.arange(first, first + n), pa.int64()),
        "task_index": pa.array(np.full(n, task), pa.int64()),
    }  # fmt: skip
    for name, values in own.items():
        rows = rows.append_column(name, values)
    return rows


def arrays_of(rows: pa.Table) -> dict[str, Any]:
    """Columns of numbers as NumPy arrays, one row a frame; text has no statistics."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = {}
    for field in rows.schema:
        if not pa.types.is_string(field.type):
            column: Any = rows[field.name].combine_chunks()
            flat = pc.list_flatten(column) if pa.types.is_nested(field.type) else column
            found[field.name] = np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(rows.num_rows, -1)
    return found


def episode_schema(published: pa.Schema, key: str, numbers: Sequence[str]) -> pa.Schema:
    """The columns of the table of episodes. `numbers`: features that have statistics, besides the video's."""
    import pyarrow as pa

    of_file = [f"{of}/{name}" for of in ("data", "meta/episodes", f"videos/{key}") for name in ("chunk_index", "file_index")]
    fields: list[Any] = [pa.field(name, pa.list_(pa.string()) if name == "tasks" else pa.int64()) for name in (*OF_EPISODE, *of_file)]
    fields += [pa.field(f"videos/{key}/{name}", pa.float64()) for name in ("from_timestamp", "to_timestamp")]
    values, deep = pa.list_(pa.float64()), pa.list_(pa.list_(pa.list_(pa.float64())))
    for feature in (key, *numbers):
        kinds = {name: deep if feature == key else values for name in NAMES} | {"count": pa.list_(pa.int64())}
        fields += [pa.field(f"stats/{feature}/{name}", kind) for name, kind in kinds.items()]
    return pa.schema([*fields, *published])


def stats_in(row: Mapping[str, Any], feature: str) -> Stats:
    """The statistics of a feature that a row of the table of episodes holds."""
    return {name: row[f"stats/{feature}/{name}"] for name in NAMES}


def tasks_file(tasks: Sequence[str]) -> bytes:
    """`tasks.parquet` as pandas writes it: the texts are the index of its table, by which LeRobot finds them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = [{"name": name, "field_name": name, "pandas_type": kind, "numpy_type": of, "metadata": None}
             for name, kind, of in (("task_index", "int64", "int64"), ("task", "unicode", "object"))]  # fmt: skip
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": about, "pandas_version": "2.2.0"}
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), out)
    return out.getvalue()
