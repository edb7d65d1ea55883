"""The verdict on many clips at once: which of them a rule drops. The same answer as `judge`, a column at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rushes.recipe import Rule
from rushes.verdict.judge import DURATION, SLACK_FRAMES


def dropped(column: Callable[[str], Any], rules: Mapping[str, Rule], frame_s: Any) -> Any:
    """Which clips break a rule.

    Args:
        column: a column of the clips by name, one value a clip; None where nothing makes it, or where it is no number.
        rules: the recipe's rules by name.
        frame_s: length of a clip's frames in seconds.

    Returns:
        One bool a clip.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    broken: Any = pa.repeat(False, len(frame_s))
    for name, rule in rules.items():
        found: Any = column(rule.column or name)
        if found is None:
            continue
        value = found.cast(pa.float64())
        if rule.min is not None:
            reach = pc.add(value, pc.multiply(frame_s, SLACK_FRAMES)) if (rule.column or name) == DURATION else value
            broken = pc.or_(broken, pc.fill_null(pc.less(reach, pa.scalar(rule.min, pa.float64())), False))
        if rule.max is not None:
            broken = pc.or_(broken, pc.fill_null(pc.greater(value, pa.scalar(rule.max, pa.float64())), False))
    return broken.combine_chunks() if isinstance(broken, pa.ChunkedArray) else broken
