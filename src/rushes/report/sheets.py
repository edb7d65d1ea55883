"""Contact sheets: a bounded, deterministic choice of clips, each with a frame small enough to embed."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rushes.report import numbers
from rushes.report.data import ReportData, Row, base, cell
from rushes.report.reasons import RuleCount, broken

KEPT, PER_RULE, FAILED = 24, 8, 8
"""Clips on the sheet of kept ones, of each rule, and of failed ones."""
FRAME_WIDTH = 400
"""Widest embedded frame, pixels: two to a row on a phone of double density."""
QUALITY = 76
IMAGE_BUDGET = 5_500_000
"""Characters of images in the page, which keeps it below 8 MB; frames beyond that are left out."""


@dataclass(frozen=True)
class Card:
    """One clip as it is shown.

    `image` is a data URI or None; `facts` are all its columns as (name, text, fails its rule). `film` is where the page can play the clip,
    and `made` where it gets it as H.264; both are None in a page that stands alone.
    """

    clip: Row
    name: str
    span: str
    image: str | None
    why: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str, bool]]
    film: str | None = None
    made: str | None = None


@dataclass(frozen=True)
class Sheet:
    """A titled set of cards; `total` clips stand behind it; `rule` is None for kept and failed ones."""

    key: str
    title: str
    total: int
    cards: Sequence[Card]
    rule: RuleCount | None = None


@dataclass
class Frames:
    """Fetches, shrinks and embeds frames until the budget is spent."""

    data: ReportData
    left: int = IMAGE_BUDGET
    skipped: int = 0
    made: dict[str, str | None] = field(default_factory=dict)

    def of(self, clip: Row) -> str | None:
        """The clip's frame as a data URI; None where there is none, it is no picture, or the budget is spent."""
        key = str(clip["clip_id"])
        if key not in self.made:
            jpeg = self.data.frame(clip["video_id"], clip["start_pts"], clip["end_pts"])
            small = shrink(jpeg) if jpeg else None
            self.made[key] = "data:image/jpeg;base64," + base64.b64encode(small).decode() if small else None
        uri = self.made[key]
        if uri is None:
            return None
        if len(uri) > self.left:
            self.skipped += 1
            return None
        self.left -= len(uri)
        return uri


def shrink(jpeg: bytes) -> bytes | None:
    """A JPEG at most `FRAME_WIDTH` wide; the bytes unchanged if they are small already; None if they are no picture."""
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return None
    height, width = picture.shape[:2]
    if width <= FRAME_WIDTH and jpeg.startswith(b"\xff\xd8"):
        return jpeg
    scale = min(1.0, FRAME_WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    _, small = cv2.imencode(".jpg", cv2.resize(picture, size, interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return small.tobytes()


@dataclass
class Cards:
    """Makes cards: `columns` are the facts shown of each, `errors` the caption errors by clip_id as (type, message).

    `films` is the beginning of the addresses at which clips can be played; None where the page stands alone.
    """

    columns: Sequence[str]
    errors: Mapping[str, tuple[str, str]]
    frames: Frames
    films: str | None = None

    def of(self, clips: Sequence[Row]) -> list[Card]:
        """The clips as cards, in their order."""
        return [self._card(clip) for clip in clips]

    def _card(self, clip: Row) -> Card:
        reasons = clip["reasons"] if clip["verdict"] == "dropped" else ()
        why = [(str(reason["rule"]), broken(reason)) for reason in reasons]
        if clip["verdict"] == "failed" and clip["clip_id"] in self.errors:
            why.append(self.errors[clip["clip_id"]])
        bad = {str(reason["column"]) for reason in reasons}
        values = ((name, cell(clip, name)) for name in self.columns)
        return Card(
            clip,
            base(clip["uri"]),
            f"{numbers.clock(clip.get('start_s'))} to {numbers.clock(clip.get('end_s'))}",
            self.frames.of(clip),
            why,
            [(name, "not measured" if value is None else numbers.short(value), name in bad) for name, value in values],
            *self._addresses(clip),
        )

    def _addresses(self, clip: Row) -> tuple[str | None, str | None]:
        if self.films is None:
            return None, None
        part = "" if clip.get("clip_uri") else f"#t={clip['start_s']:.3f},{clip['end_s']:.3f}"  # of the source, a browser plays this much
        return f"{self.films}clip/{clip['clip_id']}{part}", f"{self.films}made/{clip['clip_id']}"


def sheets(data: ReportData, rules: Sequence[RuleCount], frames: Frames, films: str | None = None) -> list[Sheet]:
    """Kept clips evenly spread over the footage; each rule's from nearest its bound to farthest; failed ones."""
    kept, failed = (sorted(data.sheets.get(verdict, ()), key=_place) for verdict in ("kept", "failed"))
    totals = data.totals.clips
    columns = list(dict.fromkeys([*(rule.column or name for name, rule in data.rules.items()), *data.columns]))
    errors = {str(c["clip_id"]): (str(c["error_type"]), str(c.get("error") or "")) for c in data.captions if c.get("error_type")}
    cards = Cards(columns, errors, frames, films)
    made = [Sheet("kept", "Kept", totals.get("kept", 0), cards.of(spread(kept, KEPT)))]
    for index, rule in enumerate(rules):
        if rule.broke:
            clips = _dropped_by(data, rule.rule)
            made.append(Sheet(f"rule-{index}", rule.rule, rule.broke, cards.of(spread(clips, PER_RULE)), rule))
    if failed:
        made.append(Sheet("failed", "Failed", totals.get("failed", 0), cards.of(spread(failed, FAILED))))
    return made


def spread(clips: Sequence[Row], number: int) -> list[Row]:
    """At most `number` of the clips in their order, evenly spaced, the first and the last among them."""
    if len(clips) <= number:
        return list(clips)
    return [clips[round(i * (len(clips) - 1) / (number - 1))] for i in range(number)]


def rule_key(rule: str) -> str:
    """The key of a rule's clips in `ReportData.sheets`."""
    return f"rule {rule}"


def _dropped_by(data: ReportData, rule: str) -> list[Row]:
    """Dropped clips that broke the rule, nearest its bound first."""
    near: list[tuple[float, str, Row]] = []
    for clip in data.sheets.get(rule_key(rule), ()):
        gaps = [_gap(reason) for reason in clip["reasons"] if reason["rule"] == rule]
        near.append((min(gaps, default=0.0), str(clip["clip_id"]), clip))
    return [clip for _, _, clip in sorted(near, key=lambda item: item[:2])]


def _gap(reason: Row) -> float:
    value, bound = reason.get("value"), reason.get("bound")
    if isinstance(value, (int, float)) and isinstance(bound, (int, float)):
        return abs(float(value) - float(bound))
    return 0.0


def _place(clip: Row) -> tuple[str, int]:
    return str(clip["uri"]), int(clip["start_pts"])
