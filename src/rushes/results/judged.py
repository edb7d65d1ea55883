"""Clips with their verdicts, as Arrow columns or as a lazy Daft data frame, both by the one description of the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rushes.results.columns import CAPTION_FAILED, CAPTIONS_SEEN, CLIPS_SEEN, OF_CAPTION, OF_ERROR
from rushes.verdict import arrow, expressions
from rushes.verdict.checks import Check

if TYPE_CHECKING:
    import daft
    import pyarrow as pa


def judged(clips: pa.Table, checks: Sequence[Check]) -> pa.Table:
    """Clips as `Reader.clips` gives them, with `verdict` and `reasons`.

    A dropped clip shows no caption and no file, as if its recipe had been the only one to use the store. Only a failed one shows an error.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    n = clips.num_rows
    gone = arrow.dropped(checks, clips.column, n)
    failed = clips[CAPTION_FAILED].to_numpy() & ~gone
    for name in clips.column_names:
        hidden = gone if name in (*OF_CAPTION, "clip_uri") else ~failed if name in OF_ERROR else None
        if hidden is not None:
            column = clips[name]
            masked = pc.if_else(pa.array(hidden), pa.scalar(None, column.type), column)
            clips = clips.set_column(clips.column_names.index(name), name, masked)
    clips = clips.append_column("verdict", arrow.verdicts(gone, failed))
    return clips.append_column("reasons", arrow.reasons(checks, clips.column, n))


def judged_frame(clips: daft.DataFrame, checks: Sequence[Check]) -> daft.DataFrame:
    """The same of a data frame: the columns of `columns.CLIPS_SEEN`."""
    from daft import col, lit
    from daft import functions as F

    reasons = expressions.reasons(checks)
    verdict = expressions.verdict(reasons, col(CAPTION_FAILED))
    dropped, failed = verdict == lit("dropped"), verdict == lit("failed")
    shown: list[Any] = []
    for name in CLIPS_SEEN:
        if name in (*OF_CAPTION, "clip_uri"):
            shown.append(F.when(~dropped, col(name)).otherwise(lit(None)).alias(name))
        elif name in OF_ERROR:
            shown.append(F.when(failed, col(name)).otherwise(lit(None)).alias(name))
        else:
            shown.append({"verdict": verdict, "reasons": reasons}.get(name, col(name)).alias(name))
    return clips.select(*shown)


def captions_frame(clips: daft.DataFrame, checks: Sequence[Check]) -> daft.DataFrame:
    """The captions of clips that are not dropped, those that were made and those that failed: `columns.CAPTIONS_SEEN`."""
    from daft import col, lit

    verdict = expressions.verdict(expressions.reasons(checks), col(CAPTION_FAILED))
    own = clips.where((verdict != lit("dropped")) & (col("caption").not_null() | col(CAPTION_FAILED)))
    renamed = {"text": "caption", "model": "caption_model"}
    return own.select(*(col(renamed.get(name, name)).alias(name) for name in CAPTIONS_SEEN))
