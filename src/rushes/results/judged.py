"""Clips with their verdicts, as Arrow columns or as a lazy Daft data frame, both by the one description of the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rushes.records import Column
from rushes.results.columns import CAPTIONS_SEEN, CLIP_FAILED, OF_CAPTION, OF_ERROR, clips_seen
from rushes.verdict import arrow, expressions
from rushes.verdict.checks import Check

HIDDEN = (*OF_CAPTION, "clip_uri", *OF_ERROR)
"""Columns that a dropped clip does not show."""

if TYPE_CHECKING:
    import daft
    import pyarrow as pa


def judged(clips: pa.Table, checks: Sequence[Check]) -> pa.Table:
    """Clips as `Reader.clips` gives them, with `verdict` and `reasons`.

    A dropped clip shows no caption, no file and no error, as if its recipe had been the only one to use the store.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    n = clips.num_rows
    gone = arrow.dropped(checks, clips.column, n)
    failed = clips[CLIP_FAILED].to_numpy() & ~gone
    for name in clips.column_names:
        if name in HIDDEN:
            column = clips[name]
            masked = pc.if_else(pa.array(gone), pa.scalar(None, column.type), column)
            clips = clips.set_column(clips.column_names.index(name), name, masked)
    clips = clips.append_column("verdict", arrow.verdicts(gone, failed))
    return clips.append_column("reasons", arrow.reasons(checks, clips.column, n))


def of_failed(clips: pa.Table) -> pa.Table:
    """Judged clips, of which only those that failed show an error: the errors of scores and captions, without those of files."""
    import pyarrow as pa
    import pyarrow.compute as pc

    failed = pc.equal(clips["verdict"], pa.scalar("failed"))
    for name in set(OF_ERROR).intersection(clips.column_names):
        column = pc.if_else(failed, clips[name], pa.scalar(None, clips[name].type))
        clips = clips.set_column(clips.column_names.index(name), name, column)
    return clips


def judged_frame(clips: daft.DataFrame, checks: Sequence[Check], later: Sequence[Column]) -> daft.DataFrame:
    """The same of a data frame: the columns of `columns.clips_seen`. `later`: those that hang on the recipe."""
    from daft import col, lit
    from daft import functions as F

    reasons = expressions.reasons(checks)
    verdict = expressions.verdict(reasons, col(CLIP_FAILED))
    dropped = verdict == lit("dropped")
    shown: list[Any] = []
    for name in clips_seen(later):
        if name in HIDDEN:
            shown.append(F.when(~dropped, col(name)).otherwise(lit(None)).alias(name))
        else:
            shown.append({"verdict": verdict, "reasons": reasons}.get(name, col(name)).alias(name))
    return clips.select(*shown)


def captions_frame(clips: daft.DataFrame, checks: Sequence[Check]) -> daft.DataFrame:
    """The captions of clips that are not dropped, those that were made, and the clips that failed: `columns.CAPTIONS_SEEN`."""
    from daft import col, lit
    from daft import functions as F

    verdict = expressions.verdict(expressions.reasons(checks), col(CLIP_FAILED))
    own = clips.where((verdict != lit("dropped")) & (col("caption").not_null() | col(CLIP_FAILED)))
    renamed = {"text": "caption", "model": "caption_model"}
    return own.select(
        *(
            (F.when(col(CLIP_FAILED), col(name)).otherwise(lit(None)) if name in OF_ERROR else col(renamed.get(name, name))).alias(name)
            for name in CAPTIONS_SEEN
        )
    )
