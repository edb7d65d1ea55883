"""Labels of a structured answer that a measure or a score also knows: which values of the two say the same. Plain data; nothing is computed
here.

`rows/agreed.py` computes the columns `agreement_*` of Arrow tables, `results/agreed_sql.py` writes them in DuckDB's SQL. In both, a
comparison is true where the label claims what the evidence shows, false where it claims something else, and null where the label claims
nothing (`mixed`, `unclear`), the evidence is between its bounds, or either is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from rushes.captions.facts import CAMERA, LIGHT, SURE
from rushes.captions.fields import PREFIX
from rushes.records import Column

AGREEMENT = "agreement_"
"""Begins the name of each column."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A column has this text, or is a number in [low, high]; None is no bound."""

    column: str
    equals: str | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One label, and the evidence for it.

    Attributes:
        name: of the column, after `agreement_`.
        label: the field of the answer.
        claims: value of the label -> what it claims.
        shows: what the evidence shows -> tests that must all hold; the first that do count.
        doc: what is compared, in words.
    """

    name: str
    label: str
    claims: tuple[tuple[str | bool, str], ...]
    shows: tuple[tuple[str, tuple[Bound, ...]], ...]
    doc: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that it is computed from, each once."""
        return (self.label_column, *self.evidence)

    @property
    def column(self) -> Column:
        """The column that it gives."""
        return Column(AGREEMENT + self.name, "bool", "", self.doc)

    @property
    def label_column(self) -> str:
        """The column of the label."""
        return PREFIX + self.label

    @property
    def evidence(self) -> tuple[str, ...]:
        """The columns of the evidence, each once."""
        return tuple(dict.fromkeys(test.column for _, tests in self.shows for test in tests))


def _yes_no(name: str, label: str, column: str, no: float, yes: float, doc: str) -> Comparison:
    """A label that is true or false against a number: up to `no` shows false, from `yes` on true."""
    shows = (("yes", (Bound(column, low=yes),)), ("no", (Bound(column, high=no),)))
    return Comparison(name, label, ((True, "yes"), (False, "no")), shows, doc)


_MOVES = tuple(move for move in CAMERA if move != "mixed")
_DARK, _DIM = (next(bound for bound, word in LIGHT if word == wanted) for wanted in ("dark", "dim"))
_BURNT, _CLEAN = 0.25, 0.1
"""Shares of the picture clipped to white: from the first the default rule `overexposed` drops a clip (docs/calibration.md); a tenth is
where the facts sentence begins to mention it."""
COMPARISONS = (
    Comparison(
        "camera_move",
        "camera_move",
        tuple((move, move) for move in _MOVES),
        tuple((move, (Bound("camera_motion", equals=move), Bound("camera_motion_confidence", low=SURE))) for move in _MOVES),
        f"the label camera_move is camera_motion, where its confidence is {SURE:g} or more",
    ),
    _yes_no("several_scenes", "several_scenes", "cuts", 0, 1, "the label several_scenes says whether there are cuts"),
    Comparison(
        "exposure",
        "exposure",
        (("dark", "dark"), ("normal", "normal"), ("overexposed", "overexposed")),
        (
            ("overexposed", (Bound("clipped_share", low=_BURNT),)),
            ("dark", (Bound("luma_mean", high=_DARK),)),
            ("normal", (Bound("luma_mean", low=_DIM), Bound("clipped_share", high=_CLEAN))),
        ),
        f"the label exposure is overexposed where clipped_share is from {_BURNT:g} on, else dark where luma_mean is up to {_DARK:g}, "
        f"normal where it is from {_DIM:g} on and clipped_share up to {_CLEAN:g}",
    ),
    _yes_no("overlay_text", "overlay_text", "text_overlay", 0.0, 0.002, "the label overlay_text says whether text_overlay is above 0"),
    _yes_no(
        "nsfw", "nsfw", "nsfw", 0.2, 0.8, "the label nsfw is true where the score nsfw is from 0.8 on, false up to 0.2 (Yahoo's advice)"
    ),
    _yes_no("nsfw_clip", "nsfw", "nsfw_clip", 0.3, 0.7, "the label nsfw is true where the score nsfw_clip is from 0.7 on, false up to 0.3"),
    _yes_no("nsfw_vit", "nsfw", "nsfw_vit", 0.3, 0.7, "the label nsfw is true where the score nsfw_vit is from 0.7 on, false up to 0.3"),
)
"""All comparisons. `text_overlay` is a share of the picture: in the drawn pictures of the tests a line of subtitles takes 2 % to 3 % of
it, a clock in a corner 0.8 %; from a quarter of that on it counts. Yahoo's advice for its nsfw is in docs/scores.md; the other two are
probabilities of two classes, of which the middle is left out."""


def comparisons_of(schema: Mapping[str, Any] | None, known: Collection[str]) -> tuple[Comparison, ...]:
    """The comparisons that can be made: the schema has the label as text or truth value, and all columns of the evidence are known.

    Args:
        schema: of the answers; None: they have no fields.
        known: columns that clips have.
    """
    fields = (schema or {}).get("properties", {})
    found = []
    for one in COMPARISONS:
        inner = fields.get(one.label)
        wanted = "boolean" if isinstance(one.claims[0][0], bool) else "string"
        if isinstance(inner, dict) and inner.get("type") == wanted and set(one.evidence) <= set(known):
            found.append(one)
    return tuple(found)
