"""Which clips the costly stages want: one clip's columns, and the verdict on clips of a run, by their measures, then with their scores, and
then with what their captions say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rushes.captions import answer_schema, needs
from rushes.captions.agreement import Comparison, comparisons_of
from rushes.captions.fields import field_columns
from rushes.captions.windows import Window, windows_of
from rushes.errors import RecipeError
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.recipe import Recipe
from rushes.records import Column, evenly
from rushes.rows.agreed import agreed
from rushes.scores.listed import columns_of, scorers_of
from rushes.scores.scorer import EmbeddingScorer
from rushes.store.tables import AGREEMENT, CAPTIONS, CLIPS, ERRORS, FACTS, MEASURES, SCORES, VIDEOS, schema
from rushes.verdict.arrow import Column as ColumnOf
from rushes.verdict.arrow import reasons
from rushes.verdict.checks import checks_of
from rushes.verdict.checks import columns_of as columns_looked_at

if TYPE_CHECKING:
    import pyarrow as pa

CLIP_COLUMNS = (
    "clip_id", "video_id", "start_pts", "end_pts", "time_base", "start_s", "end_s", "duration_s", "n_frames", "start_kind",
    "end_kind", "mode",
)  # fmt: skip
ASPECT = Column("aspect", "float", "width / height", "shape of the displayed picture", 0.0)
DURATION = Column("duration_s", "float", "s", "length of the clip", 0.0)
RULE_COLUMNS = frozenset([c.name for c in (*MEASURE_COLUMNS, *FACTS) if c.kind != "text"] + ["duration_s", "n_frames", "aspect"])
"""What a rule may look at, besides scores: numbers, and bools as 0 and 1."""
PROMPT_COLUMNS = frozenset([*CLIP_COLUMNS, ASPECT.name, *(c.name for c in (*MEASURE_COLUMNS, *FACTS))])
"""What a prompt may name, besides scores and the manifest's columns."""

Row = Mapping[str, Any]


TAKEN = PROMPT_COLUMNS.union(
    (c.name for table in (SCORES, CAPTIONS, ERRORS) for c in table.columns),
    ("verdict", "reasons", "caption", "caption_fields", "caption_model", "clip_uri", "extra", "clip_failed", "time_pieces", AGREEMENT.name),
)
"""What no scorer may call a column: clips have one of that name."""


def score_columns(recipe: Recipe) -> tuple[Column, ...]:
    """The columns of the scorers that a recipe wants, without those that are lists: no rule and no prompt can use a list.

    Raises:
        RecipeError: see `scorers_of`; or a column of a scorer has the name of another column of clips.
    """
    found = columns_of(recipe.scores)
    if taken := [column.name for column in found if column.name in TAKEN]:
        what = f"scores.use: a scorer gives the column {taken[0]!r}, and clips have another column of that name"
        raise RecipeError(what, step="recipe", mend="rename the column of your scorer")
    return tuple(column for column in found if column.kind != "floats")


def caption_columns(recipe: Recipe) -> tuple[Column, ...]:
    """The columns of the fields of the recipe's structured captions; none where captions are plain text.

    Raises:
        RecipeError: the prompt or its schema cannot be used; or a field has the name of a scorer's column.
    """
    found, scores = field_columns(answer_schema(recipe.captions)), {column.name for column in score_columns(recipe)}
    if taken := next((column.name for column in found if column.name in scores), None):
        what = f"the schema's fields give the column {taken!r}, and a scorer gives one of that name"
        raise RecipeError(what, step="recipe", mend="rename the field in the schema, or the column of your scorer")
    return found


def comparisons(recipe: Recipe) -> tuple[Comparison, ...]:
    """What labels of the recipe's captions are compared with: measures, and the scores that it wants."""
    known = PROMPT_COLUMNS.union(column.name for column in score_columns(recipe))
    return comparisons_of(answer_schema(recipe.captions), known)


def later_columns(recipe: Recipe) -> tuple[Column, ...]:
    """The columns that are not known when a clip is cut, but for lists: scores, fields of captions, and agreements with their labels."""
    return (*score_columns(recipe), *of_captions(recipe))


def of_captions(recipe: Recipe) -> tuple[Column, ...]:
    """Of these, the ones that are not known before a clip has its caption."""
    return (*caption_columns(recipe), *(one.column for one in comparisons(recipe)), *alignment_columns(recipe))


def alignment_columns(recipe: Recipe) -> tuple[Column, ...]:
    """The column that says how well captions fit their frames; none where no model makes captions or no encoder looks at frames."""
    heads = any(isinstance(scorer, EmbeddingScorer) for scorer in scorers_of(recipe.scores))
    return (AGREEMENT,) if heads and "frames" in needs(recipe.captions) else ()


def judged_by(recipe: Recipe) -> dict[str, tuple[Column, ...]]:
    """The stages after the scores at whose columns rules look, each with the columns that have to be known of it."""
    names = {rule.column or name for name, rule in recipe.rules.items()}
    fields = caption_columns(recipe)
    by_captions = not names.isdisjoint(c.name for c in (*fields, *(one.column for one in comparisons(recipe))))
    found = {"captions": fields} if by_captions else {}
    return found | ({"alignment": (AGREEMENT,)} if AGREEMENT.name in names else {})


def rule_columns(recipe: Recipe) -> frozenset[str]:
    """What a rule of the recipe may look at."""
    return RULE_COLUMNS.union(column.name for column in later_columns(recipe) if column.kind != "text")


def prompt_columns(recipe: Recipe) -> frozenset[str]:
    """What a prompt of the recipe may name, besides the manifest's columns."""
    return PROMPT_COLUMNS.union(column.name for column in score_columns(recipe))


def clip_columns(clip: Row, measures: Row, video: Row) -> dict[str, Any]:
    """All that is known of a clip without models, flat: its span, its measures, its video's container facts, uri, first pts and, as JSON
    text in `extra`, the manifest's columns.
    """
    columns: dict[str, Any] = {c.name: video.get(c.name) for c in FACTS}  # the container's duration_s and time_base give way to the clip's
    columns |= {name: clip.get(name) for name in CLIP_COLUMNS}
    columns |= {c.name: measures.get(c.name) for c in MEASURE_COLUMNS}
    width, height = video.get("width"), video.get("height")
    columns["aspect"] = width / height if width and height else None
    columns |= {name: video.get(name) for name in ("uri", "first_pts", "extra")}
    return columns


def rule_column(
    clips: pa.Table, measures: pa.Table, videos: pa.Table, at: Any, later: Mapping[str, Any], compared: Sequence[Comparison] = ()
) -> ColumnOf:
    """The columns that a rule may look at, by name, one value a clip.

    Args:
        clips: rows of `clips`.
        measures: rows of `measures`, in the same order.
        videos: rows of `videos`.
        at: for each clip the place of its video's row in `videos`, as an Arrow array of integers.
        later: columns of scores and captions by name, in the order of the clips.
        compared: what labels of captions are compared with.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    measured, comparison = {c.name for c in MEASURE_COLUMNS}, {one.column.name: one for one in compared}

    def column(name: str) -> Any:
        if name == ASPECT.name:
            width, height = (pc.cast(videos[side].take(at), pa.float64()) for side in ("width", "height"))
            return aspect_of(width, height)
        if name in measured:
            return measures[name]
        if name in later:
            return later[name]
        if name in comparison:
            return agreed(comparison[name], column)
        return clips[name] if name in CLIP_COLUMNS else videos[name].take(at)

    return column


def aspect_of(width: Any, height: Any) -> Any:
    """Width over height, as Arrow columns of float64; null where either is unknown or 0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    unknown: Any = pc.equal(pc.multiply(width, height), pa.scalar(0.0))
    return pc.if_else(unknown, pa.scalar(None, pa.float64()), pc.divide(width, height))


@dataclass(frozen=True, slots=True)
class Wanted:
    """The clips of one video that pass the rules, as columns, how many do not, and rule -> how many it drops."""

    kept: tuple[dict[str, Any], ...]
    n_dropped: int
    reasons: dict[str, int]


def clip_reasons(recipe: Recipe, clips: Sequence[Row], measures: Sequence[Row], video: Row) -> list[list[dict[str, Any]]]:
    """Why the rules drop each of a video's clips (no reason: they keep it), by their measures as the store will hold them. Scores are not
    known yet, so no rule drops a clip by them.

    The two sequences are in the same order; a reason has rule, column, value and bound.
    """
    import pyarrow as pa

    tables = [
        pa.Table.from_pylist(list(rows), schema=schema(table, extra))
        for rows, table, extra in ((clips, CLIPS, ()), (measures, MEASURES, MEASURE_COLUMNS), ([video], VIDEOS, ()))
    ]
    checks = checks_of(recipe.rules)
    unknown = {name: pa.nulls(len(clips), pa.float32()) for name in columns_looked_at(checks) if name not in RULE_COLUMNS}
    column = rule_column(tables[0], tables[1], tables[2], pa.array([0] * len(clips), pa.int64()), unknown)
    return [list(of_clip or ()) for of_clip in reasons(checks, column, len(clips)).to_pylist()]


def reasons_of(recipe: Recipe, clips: Sequence[Row], compared: Sequence[Comparison] = ()) -> list[list[dict[str, Any]]]:
    """Why the rules drop each of some clips: as `clip_reasons`.

    Args:
        recipe: the rules.
        clips: as `clip_columns` gives them, with their scores and the fields of their captions added as far as they are known.
        compared: what labels of captions are compared with, where these are known. The prompt's file, from which it follows, need not be
            there for processes that know no captions.
    """
    import pyarrow as pa

    full = [schema(VIDEOS), schema(MEASURES, MEASURE_COLUMNS), schema(SCORES, score_columns(recipe)), schema(CLIPS)]
    types = {field.name: field.type for one in full for field in one} | {ASPECT.name: pa.float64()}
    comparison = {one.column.name: one for one in compared}

    def column(name: str) -> Any:
        if name in comparison:
            return agreed(comparison[name], column)
        return pa.array([clip.get(name) for clip in clips], types.get(name))

    return [list(of_clip or ()) for of_clip in reasons(checks_of(recipe.rules), column, len(clips)).to_pylist()]


def wanted_clips(recipe: Recipe, clips: Sequence[Row], measures: Sequence[Row], video: Row) -> Wanted:
    """Judges a video's clips. The two sequences are in the same order."""
    why = clip_reasons(recipe, clips, measures, video)
    judged = zip(clips, measures, why, strict=True)
    kept = tuple(clip_columns(clip, measured, video) for clip, measured, broken in judged if not broken)
    return Wanted(kept, len(clips) - len(kept), dict(Counter(reason["rule"] for broken in why for reason in broken)))


def even_pts(pts: Sequence[int], start_pts: int, end_pts: int, n: int) -> list[int]:
    """At most n of the pts in [start_pts, end_pts), evenly spread: the middles of n equal pieces of the list."""
    return evenly([p for p in pts if start_pts <= p < end_pts], n)


def second(pts: int, columns: Row) -> float:
    """A pts as seconds from the clip's start."""
    return float((pts - int(columns["start_pts"])) * Fraction(str(columns["time_base"])))


def within(clip: Row, window: Window) -> dict[str, Any]:
    """The columns of a clip, of which those of its span are those of a window."""
    start_s, end_s = (clip["start_s"] + second(pts, clip) for pts in (window.start_pts, window.end_pts))
    span = {"start_pts": window.start_pts, "end_pts": window.end_pts, "start_s": start_s, "end_s": end_s, "duration_s": end_s - start_s}
    return {**clip, **span}


def clip_windows(clip: Row, window_s: float) -> tuple[Window, ...]:
    """The windows of a clip, from its columns; see `windows_of`."""
    return windows_of(int(clip["start_pts"]), int(clip["end_pts"]), Fraction(str(clip["time_base"])), window_s)


def captioned_pts(pts: Sequence[int], clip: Row, window_s: float, n: int) -> list[int]:
    """Which of the pts of a video's frames are sent about a clip: n at most, of each of its windows where it has some."""
    pieces: list[Row] = [within(clip, window) for window in clip_windows(clip, window_s)]
    return [one for piece in pieces or [clip] for one in even_pts(pts, int(piece["start_pts"]), int(piece["end_pts"]), n)]
