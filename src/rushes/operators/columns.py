"""The Arrow types of what the operators return. docs/operators.md says what each field means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from rushes.measures.clip import COLUMNS as MEASURES
from rushes.operators.from_engine import ASPECT
from rushes.records import Column
from rushes.store.tables import CAPTIONS, CLIPS, FACTS, FILES, STAMPS, Table, schema

CONTAINER = ("container", "codec", "width", "height", "fps", "bit_rate", "has_audio", "creation_time", "location")
"""Facts of the video that each of its clips repeats."""

ERROR = pa.struct(
    [
        ("error_type", pa.string()),
        ("what", pa.string()),
        ("uri", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("mend", pa.string()),
        ("permanent", pa.bool_()),
    ]
)
"""Why a row has no result: the class of the error, what went wrong, where (video, and span in seconds from its first frame), how to mend
it, and whether trying again would give the same."""
REASON = pa.struct([("rule", pa.string()), ("column", pa.string()), ("value", pa.float64()), ("bound", pa.float64())])
"""Why a clip was dropped."""
FRAME = pa.struct([("pts", pa.int64()), ("jpeg", pa.large_binary())])
"""A sampled frame. The offsets of the JPEG bytes have 64 bits, since the frames of many clips together pass 2 GiB."""


def _of_table(table: Table, *more: Column, extra: Sequence[Column] = (), without: Sequence[str] = ()) -> Iterator[pa.Field[pa.DataType]]:
    """The fields of a table of the store with further columns, less the stamps and the columns named in `without`."""
    columns = [c for c in table.columns if c not in STAMPS and c.name not in without]
    yield from schema(Table(table.name, (), "", (*columns, *more)), extra)


CLIP = pa.struct(
    [
        *_of_table(CLIPS, *(c for c in FACTS if c.name in CONTAINER), extra=(ASPECT, *MEASURES)),
        pa.field("verdict", pa.string()),
        pa.field("reasons", pa.list_(REASON)),
        pa.field("frames", pa.list_(FRAME)),
        pa.field("time_pieces", pa.string()),
    ]
)
"""One clip: what the table `clips` says of it, facts of its video, every measure, the verdict with its reasons, its frames, and the time
line of its video."""
SCAN = pa.struct(
    [
        ("video_id", pa.string()),
        ("footage_s", pa.float64()),
        ("n_corrupt", pa.int64()),
        ("clips", pa.list_(CLIP)),
        ("error", ERROR),
    ]
)
"""One video: its identity, the seconds of footage that were decoded, corrupt packets and frames survived, and its clips; or the error."""
CAPTION = pa.struct([*_of_table(CAPTIONS, without=("clip_id", "video_id")), pa.field("error", ERROR)])
"""One caption: as in the table `captions`; or the error."""
FILE = pa.struct([*_of_table(FILES, without=("clip_id", "video_id")), pa.field("error", ERROR)])
"""One clip file: as in the table `files`; or the error."""


def caption_type(columns: Sequence[Column]) -> pa.StructType:
    """The Arrow type of a caption of a recipe whose captions have these fields as columns."""
    return pa.struct([*_of_table(CAPTIONS, extra=columns, without=("clip_id", "video_id")), pa.field("error", ERROR)])


def score_type(columns: Sequence[Column]) -> pa.StructType:
    """The Arrow type of the scores of a clip: the columns of the recipe's scorers, and the error."""
    return pa.struct([*_of_table(Table("", (), "", ()), extra=columns), pa.field("error", ERROR)])
