"""Rows of the commands' JSON, made from Arrow tables a batch at a time. The shapes are those of docs/contract.md."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rushes.records import Row
from rushes.results.columns import MEASURES_SEEN, OF_CAPTION, OF_ERROR

if TYPE_CHECKING:
    import pyarrow as pa


BATCH_ROWS = 1024
"""Rows that are Python objects at once."""
CLIP_HEAD = (
    "clip_id", "video_id", "uri", "start_pts", "end_pts", "time_base", "start_s", "end_s", "duration_s", "n_frames", "width", "height",
    "mode", "fps", "aspect", "bit_rate", "codec", "container", "has_audio", "creation_time", "location", "verdict", "reasons",
)  # fmt: skip
LINE_COLUMNS = frozenset({*CLIP_HEAD, *MEASURES_SEEN, *OF_CAPTION, "clip_uri", *OF_ERROR, "extra"})
"""The columns that `clip_line` looks at, besides scores."""
CAPTION = {
    "clip_id": "clip_id", "text": "caption", "model": "caption_model", "prompt_id": "prompt_id", "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens", "seconds": "seconds", "tries": "tries", "finish_reason": "finish_reason",
    "server": "server", "error_type": "error_type", "error": "error", "mend": "mend",
}  # fmt: skip
"""Name in a row of captions -> column of the judged clips."""


def rows_of(table: pa.Table, line: Callable[[Row], Row]) -> Iterator[Row]:
    """The rows of a table as Python objects in a shape, `BATCH_ROWS` at a time."""
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        yield from map(line, batch.to_pylist())


def json_line(row: Row) -> str:
    """A row as strict JSON (RFC 8259): what is no number, such as NaN, is null."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_strict(row), ensure_ascii=False, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _strict(inner) for name, inner in value.items()}
    return [_strict(inner) for inner in value] if isinstance(value, list | tuple) else value


def clip_line(clip: Row, scores: Sequence[str] = (), agreements: Sequence[str] = ()) -> Row:
    """A judged clip as `clips --json` shows it. `scores`, `agreements`: names of the recipe's columns of both."""
    fields, extra = clip["caption_fields"], clip["extra"]
    return {name: clip[name] for name in CLIP_HEAD} | {
        "measures": {name: clip[name] for name in MEASURES_SEEN},
        "scores": {name: clip[name] for name in scores},
        "caption": clip["caption"],
        "caption_fields": json.loads(fields) if fields else None,
        "caption_model": clip["caption_model"],
        "agreements": {name: clip[name] for name in agreements},
        "clip_uri": clip["clip_uri"],
        "error": clip["error"],
        "mend": clip["mend"],
        "extra": json.loads(extra) if extra else {},
    }


def caption_line(clip: Row) -> Row:
    """A judged clip as a row of captions; of a failed one only the clip and the error."""
    if clip["verdict"] == "failed":
        return {name: clip[own] if name in ("clip_id", "error_type", "error", "mend") else None for name, own in CAPTION.items()}
    return {name: None if name in OF_ERROR else clip[own] for name, own in CAPTION.items()}


def video_line(video: Row) -> Row:
    """A video as `videos --json` shows it."""
    return video | {"extra": json.loads(video["extra"]) if video["extra"] else {}}


def error_line(error: Row) -> Row:
    """A failed attempt as `errors --json` shows it."""
    return error | {"at": error["at"].isoformat()}
