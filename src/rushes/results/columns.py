"""The declared columns of what readers see: the same for every store, empty ones too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.records import Column
from rushes.rows.clip_columns import ASPECT, CLIP_COLUMNS
from rushes.store.tables import CAPTIONS, CLIPS, ERRORS, FACTS, FILES, MEASURES, SCORES, VIDEOS, Table, schema

if TYPE_CHECKING:
    import pyarrow as pa

Names = tuple[tuple[str, str], ...]
"""Pairs: the name that readers see, the column of the table."""


def _same(*names: str) -> Names:
    return tuple((name, name) for name in names)


MEASURES_SEEN = tuple(c.name for c in MEASURE_COLUMNS)
FACTS_SEEN = tuple(c.name for c in FACTS if c.name not in CLIP_COLUMNS)
"""What the container says of a clip's video. Its `duration_s` and `time_base` give way to the clip's own."""
JOINED: dict[str, tuple[Table, Names]] = {
    "clips": (CLIPS, _same(*CLIP_COLUMNS)),
    "videos": (VIDEOS, _same("uri", *FACTS_SEEN, "extra", "time_pieces")),
    "measures": (MEASURES, _same(*MEASURES_SEEN)),
    "captions": (
        CAPTIONS,
        (
            ("caption", "text"), ("caption_fields", "fields"), ("caption_model", "model"),
            *_same("prompt_id", "prompt_tokens", "completion_tokens", "seconds", "tries", "finish_reason", "server"),
        ),
    ),
    "files": (FILES, _same("clip_uri")),
    "errors": (ERRORS, _same("error_type", "error", "mend")),
}  # fmt: skip
"""The tables that a clip is joined from, and the columns that each gives; besides, `scores` gives the columns of the recipe's scorers, and
`captions` those of the fields of structured captions.
`errors` are those of scores, captions and files that failed for good: a clip that failed shows that of its score or of its caption, another
one that of its file.
"""
CLIP_FAILED = "clip_failed"
"""Whether a score or the caption of a clip failed for good."""
OF_CAPTION = ("caption", "caption_fields", "caption_model")
OF_ERROR = ("error_type", "error", "mend")
SEEN_FIRST = (
    "clip_id", "video_id", "uri", "start_pts", "end_pts", "time_base", "start_s", "end_s", "duration_s", "n_frames", "start_kind",
    "end_kind", "mode", *FACTS_SEEN, ASPECT.name, "verdict", "reasons", *MEASURES_SEEN,
)  # fmt: skip
SEEN_LAST = (*OF_CAPTION, "clip_uri", *OF_ERROR, "extra")
CAPTIONS_SEEN = (
    "clip_id", "text", "model", "prompt_id", "prompt_tokens", "completion_tokens", "seconds", "tries", "finish_reason",
    "server", *OF_ERROR,
)  # fmt: skip
VIDEOS_SEEN = (
    "video_id", "uri", "status", "error_type", "error", "mend", "container", "codec", "width", "height", "fps", "footage_s", "decoded_s",
    "n_frames", "n_corrupt", "n_repaired_pts", "n_new_clocks", "n_holes", "holes_s", "time_pieces", "covered",
    "mode", "size_bytes", "has_audio", "creation_time", "location", "other_streams", "extra",
)  # fmt: skip
COUNTED = ("n_shots", "n_clips")
ERRORS_SEEN = ("stage", "key", "video_id", "uri", "start_s", "end_s", "error_type", "error", "mend", "attempt", "permanent")


def clips_seen(later: Sequence[Column] = ()) -> tuple[str, ...]:
    """The columns of `rushes.open(store).clips()`; `extra` is the manifest's other columns as a JSON object.

    Args:
        later: the columns that hang on the recipe (`Reader.later`).
    """
    return (*SEEN_FIRST, *(column.name for column in later), *SEEN_LAST)


def joined_schema(later: Sequence[Column] = ()) -> pa.Schema:
    """Arrow schema of clips before they are judged."""
    import pyarrow as pa

    fields = []
    for name, (table, names) in JOINED.items():
        full = schema(table, MEASURE_COLUMNS if name == "measures" else ())
        fields += [pa.field(seen, full.field(own).type) for seen, own in names]
    fields += [schema(SCORES, later).field(column.name) for column in later]
    return pa.schema([*fields, pa.field(ASPECT.name, pa.float64()), pa.field(CLIP_FAILED, pa.bool_())])


def videos_schema() -> pa.Schema:
    """Arrow schema of videos with the number of their shots and clips."""
    import pyarrow as pa

    full = schema(VIDEOS)
    return pa.schema([full.field(name) for name in VIDEOS_SEEN] + [pa.field(name, pa.int64()) for name in COUNTED])


def errors_schema() -> pa.Schema:
    """Arrow schema of failed attempts; `at` is when the row was written."""
    import pyarrow as pa

    full = schema(ERRORS)
    return pa.schema([full.field(name) for name in ERRORS_SEEN] + [pa.field("at", full.field("written_at").type)])
