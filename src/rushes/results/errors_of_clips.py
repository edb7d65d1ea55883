"""Which clips failed, and the error that each shows: of scores, captions and files that failed for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rushes.results.columns import CLIP_FAILED, JOINED
from rushes.store.fold import newest

if TYPE_CHECKING:
    import pyarrow as pa


def of_errors(errors: pa.Table, clip_ids: Any, rows: Mapping[str, pa.Table]) -> dict[str, Any]:
    """Whether a score or the caption of each clip failed for good, and the error: that of its score, or else of its caption, or else of its
    file.

    Args:
        errors: rows of `errors`.
        clip_ids: the clips.
        rows: those of `captions` and `files`, in the same order, null where a clip has none; and those of `scores`, where scores are
            wanted, in any order.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    failed: dict[str, Any] = {}
    taken: dict[str, pa.Table] = {}
    for stage in ("scores", "captions", "files"):
        found = _hopeless(errors, stage)
        if stage == "scores" and stage in rows:
            found = found.filter(pc.invert(pc.is_in(_row_ids(found, "key"), value_set=_row_ids(rows[stage], "clip_id"))))
        found = newest(found, ["key"])
        taken[stage] = found.take(pc.index_in(clip_ids, value_set=found["key"]))
        made = {"captions": "clip_id", "files": "clip_uri"}.get(stage)
        failed[stage] = taken[stage]["key"].is_valid()
        if made is not None:
            failed[stage] = pc.and_(failed[stage], rows[stage][made].is_null())
    columns: dict[str, Any] = {CLIP_FAILED: pc.or_(failed["scores"], failed["captions"])}
    for seen, own in (pair for pair in JOINED["errors"][1] if pair[1] in errors.column_names):
        shown: Any = pa.nulls(len(clip_ids), errors.schema.field(own).type)
        for stage in ("files", "captions", "scores"):
            shown = pc.if_else(failed[stage], taken[stage][own], shown)
        columns[seen] = shown
    return columns


def _hopeless(errors: pa.Table, stage: str) -> pa.Table:
    """Of rows of `errors` those of clips of which a stage failed for good."""
    import pyarrow as pa
    import pyarrow.compute as pc

    permanent: Any = errors["permanent"]
    lasting: Any = pc.and_(pc.equal(errors["stage"], pa.scalar(stage)), pc.fill_null(permanent, False))
    return errors.filter(lasting)


def _row_ids(rows: pa.Table, clip: str) -> Any:
    """Clip and fingerprint of rows of the table `scores`, or of failures: each scorer has a fingerprint of its own."""
    import pyarrow.compute as pc

    columns: list[Any] = [rows[clip], rows["fingerprint"], " "]
    return pc.binary_join_element_wise(*columns).combine_chunks()
