"""`clips --where`: a SQL expression over the columns of clips, applied to one range of clips after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rushes.errors import UsageError
from rushes.results.columns import clips_seen
from rushes.results.daft_runner import start_daft
from rushes.results.judged import judged
from rushes.results.results import Results

if TYPE_CHECKING:
    import pyarrow as pa


def clips_where(results: Results, expression: str, names: Collection[str], videos: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The clips for which a SQL expression holds, as `Results.clip_tables` gives them, with these columns at least.

    It may name the columns of `rushes.open(store).clips()` and the manifest's; `reasons` is a list of names of rules in it. Where it names
    videos, by `uri`, `video_id` or `clip_id`, only those are read; with `videos`, only clips of these.

    Raises:
        UsageError: the expression cannot be read, or names a column that is not there.
    """
    start_daft()
    import daft
    import pyarrow as pa
    from daft.io.pushdowns import Pushdowns

    from rushes.results.source import named_videos

    used = _UsedOn(expression)
    with used:
        predicate = daft.sql_expr(f"({expression}\n)")  # without the brackets Daft reads no further than the first expression
        looked_at = Pushdowns(filters=predicate).filter_required_column_names()
        named = named_videos(results.reader, predicate)
    unknown = looked_at - set(clips_seen(results.later))
    own = {name: kind for name, kind in results.manifest_names().items() if name in unknown} if unknown else {}
    with used:
        none = judged(results.reader.clips_of([]), results.checks)
        daft.from_arrow(_as_asked(none, own)).where(predicate).to_arrow()
    for clips in results.clip_tables(named if videos is None else videos, names={*names, *looked_at}):
        rows = _as_asked(clips, own).append_column("row_", pa.array(range(clips.num_rows), pa.int64()))
        with used:
            chosen = daft.from_arrow(rows).where(predicate).select("row_").to_arrow()
        yield clips.take(chosen["row_"].combine_chunks().sort())


UNEXPORTED = ("InvalidSQLException", "PanicException")
"""Errors that Daft raises and does not export; a panic is what it meets where it has not implemented something."""
NOISE = re.compile(r"Unable to create logical plan node\.|Due to|Caused by the following errors:|\b\d: (?=DaftError)|DaftError::\w+ ?")


class _UsedOn:
    """Turns what Daft says of an expression into a `UsageError`: it cannot be parsed, there is no such column or function ..."""

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, ValueError) or type(error).__name__ in UNEXPORTED:
            words = re.sub(NOISE, "", " ".join(str(error).split()))[:300]
            mend = "use SQL over the columns of `rushes clips --json`"
            raise UsageError(f"--where {self._expression!r} cannot be used: {words}", step="clips", mend=mend) from error


def _as_asked(clips: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Clips as an expression sees them: `reasons` as a list of the names of rules, and the manifest's columns that are asked for, of one
    type in all ranges.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    reasons: Any = clips["reasons"].combine_chunks()
    rules: Any = pa.ListArray.from_arrays(reasons.offsets, pc.struct_field(reasons.values, "rule"))
    clips = clips.set_column(clips.column_names.index("reasons"), "reasons", rules)
    if not names:
        return clips
    rows = [json.loads(extra) if extra else {} for extra in clips["extra"].to_pylist()]
    for name, kind in names.items():
        values: list[Any] = [row.get(name) for row in rows]
        array = (
            pa.array([None if v is None else float(v) for v in values], pa.float64())
            if kind == "number"
            else pa.array([None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values], pa.string())
        )
        clips = clips.append_column(name, array)
    return clips
