"""What a report is made from: plain rows, independent of how they are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rushes.recipe import Rule
    from rushes.records import Column

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ReportData:
    """The rows of one store under one recipe.

    Attributes:
        store: the store's path or URL, as given.
        run: the run's row as in `runs --json`, with `recipe_toml` (text), `profile` (text, optional) and `versions` (package -> version).
        videos: rows as in `videos --json`, one for each uri; `mend` is optional.
        clips: rows as in `clips --json`, all verdicts, with the container's facts beside them.
        captions: `clip_id`, `text`, `model`, `prompt_id`, `prompt_tokens`, `completion_tokens`, `seconds`, `finish_reason`,
            `error_type`, `error`; `error_type` is null for a caption that was made.
        columns: what each measure means, by name.
        rules: the recipe's rules, by name.
        frame: (video_id, start_pts, end_pts) -> JPEG of an upright frame of that half-open span, best its middle; None if there is none.
    """

    store: str
    run: Row
    videos: Sequence[Row]
    clips: Sequence[Row]
    captions: Sequence[Row]
    columns: Mapping[str, Column]
    rules: Mapping[str, Rule]
    frame: Callable[[str, int, int], bytes | None]


def cell(clip: Row, column: str) -> Any:
    """A clip's value in a column: its measures first, then its scores, then the clip's own fields; None where not measured."""
    for group in ("measures", "scores"):
        inner = clip.get(group)
        if inner and column in inner:
            return inner[column]
    return clip.get(column)


def base(uri: Any) -> str:
    """The last part of a path or URL, for labels: 'night/cam2.mp4' -> 'cam2.mp4'."""
    text = str(uri or "")
    return text.rstrip("/").rsplit("/", 1)[-1] or text
