"""What a report is made from: exact totals of all clips, and a bounded choice of rows to show, independent of how they are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rushes.report.said import Said

if TYPE_CHECKING:
    from rushes.recipe import Rule
    from rushes.records import Column

Row = Mapping[str, Any]
Counts = Mapping[str, int]


@dataclass(frozen=True)
class Totals:
    """Sums over all rows of a store under one recipe.

    Attributes:
        clips, clip_s: verdict -> clips, and their seconds.
        broke: rule -> dropped clips that broke it; `only`: those that broke no other.
        videos: status -> uris. `footage_s`: seconds of the scanned ones.
        video_errors, caption_errors: type of error -> failed videos, failed captions.
        models, finishes: of the captions that were made, how many by model and by finish reason.
        made: captions that were made. `pending`: kept clips without one.
        prompt_tokens, completion_tokens: None where no caption tells.
        said: what the captions say.
    """

    clips: Counts = field(default_factory=dict)
    clip_s: Mapping[str, float] = field(default_factory=dict)
    broke: Counts = field(default_factory=dict)
    only: Counts = field(default_factory=dict)
    videos: Counts = field(default_factory=dict)
    footage_s: float = 0.0
    video_errors: Counts = field(default_factory=dict)
    caption_errors: Counts = field(default_factory=dict)
    models: Counts = field(default_factory=dict)
    finishes: Counts = field(default_factory=dict)
    made: int = 0
    pending: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    said: Said = field(default_factory=Said)

    @property
    def n_clips(self) -> int:
        """All clips."""
        return sum(self.clips.values())

    @property
    def n_videos(self) -> int:
        """All uris."""
        return sum(self.videos.values())


@dataclass(frozen=True)
class ReportData:
    """One store under one recipe.

    Attributes:
        store: the store's path or URL, as given.
        run: the run's row as in `runs --json`, with `recipe_toml` (text), `profile` (text, optional) and `versions` (package -> version).
        totals: of all rows.
        videos: rows as in `videos --json`: the longest that were scanned, and some that failed.
        clips: rows with measures and other columns, `verdict` and `reasons`: all, or a sample that charts are drawn from.
        sheets: "kept", "failed" or `rule_key` of a rule (sheets.py) -> clips to show under it: all, or a sample.
        strips: the clips of the longest videos, by video_id.
        captions: some captions that were made and some that failed: `clip_id`, `uri`, `start_pts`, `start_s`, `end_s`, `text`, `model`,
            `prompt_id`, `prompt_tokens`, `completion_tokens`, `seconds`, `finish_reason`, `error_type`, `error`, `mend`; `error_type` is
            null for a caption that was made.
        columns: what each measure and score means, by name.
        rules: the recipe's rules, by name.
        prices: of a million tokens read and written; 0: none is stated.
        frame: (video_id, start_pts, end_pts) -> JPEG of an upright frame of that half-open span, best its middle; None if there is none.
        published: rows of the table `published`: of each target that of its newest publish, the newest first.
    """

    store: str
    run: Row
    totals: Totals
    videos: Sequence[Row]
    clips: Sequence[Row]
    sheets: Mapping[str, Sequence[Row]]
    strips: Mapping[str, Sequence[Row]]
    captions: Sequence[Row]
    columns: Mapping[str, Column]
    rules: Mapping[str, Rule]
    prices: tuple[float, float]
    frame: Callable[[str, int, int], bytes | None]
    published: Sequence[Row] = ()


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
