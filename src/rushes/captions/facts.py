"""Captions without a model: one or two sentences that say what was measured, labelled "Measured:" so that no one takes them for a
description.

Each phrase says the value of one column of the clip; a column that is null is left out. The same columns always give the same sentences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rushes.captions.request import Answer, Request
from rushes.records import AGREES

CODE = 2
"""Raise when the sentences for the same columns change."""
MODEL = "rushes-facts"
LABEL = "Measured:"

LIGHT = ((41.0, "very dark"), (60.0, "dark"), (85.0, "dim"), (162.0, "evenly lit"), (221.0, "bright"), (math.inf, "very bright"))
"""Words for `luma_mean` (0 to 255) below each bound. The bounds are photographic stops from middle grey: 18 % reflectance is 118 in
sRGB (IEC 61966-2-1); 1, 2 and 3 stops below are 85, 60 and 41; 1 and 2 above are 162 and 221."""
FOCUS = ((0.43, "blurred"), (0.52, "a little soft"), (math.inf, "sharp"))
"""Words for `sharpness` (0 to 1) below each bound: under 0.43 a sample counts as blurred (measures/sharpness.py), ordinary clean footage
reads 0.45 to 1, most of it above 0.52 (docs/calibration.md)."""
MOTION = ((0.02, "there is little motion"), (0.1, "there is moderate motion"), (math.inf, "there is strong motion"))
"""Words for `motion_mean` (picture diagonals a second) below each bound. A choice of wording: at 0.02 the picture's content needs 50 s to
cross it, at 0.1 it needs 10 s."""
STILL = 0.9
"""`static_share` (0 to 1) from which almost nothing moves."""
CAMERA = {
    "static": "the camera does not move",
    "pan_left": "the camera pans left",
    "pan_right": "the camera pans right",
    "tilt_up": "the camera tilts up",
    "tilt_down": "the camera tilts down",
    "zoom_in": "the camera zooms or moves in",
    "zoom_out": "the camera zooms or moves out",
    "shaky": "the camera shakes",
    "mixed": "the camera moves in several ways",
}
"""Words for `camera_motion`. A zoom and a move forward look alike to what is measured, so both are named."""
SURE = 0.5
"""Least `camera_motion_confidence` (0 to 1) at which the sentence says what the camera does: a direction that holds half of the motion, all
of the time (measures/camera.py)."""
SHARE = 0.1
"""Least clipped share of the picture, and least frozen share of the clip, that the sentence mentions."""


class FactsEngine:
    """The engine `facts`: needs no frames, no model and no server, and never fails."""

    async def check(self, sample: Request | None = None) -> None:
        """Nothing to check."""

    async def caption(self, request: Request) -> Answer:
        """The sentence of one clip."""
        text = sentence(request.facts, request.span_s)
        return Answer(
            clip_id=request.clip_id,
            text=text,
            fields=None,
            model=MODEL,
            prompt_id=f"facts-{CODE}",
            prompt_tokens=None,
            completion_tokens=None,
            seconds=0.0,
            finish_reason=None,
            tries=1,
        )

    async def close(self) -> None:
        """Nothing to close."""


def sentence(facts: Mapping[str, float | str | None], span_s: tuple[float, float]) -> str:
    """One or two true sentences.

    Args:
        facts: the clip's columns by name; absent, null and NaN are the same.
        span_s: (start, end) in seconds, for the length when `duration_s` is null.
    """
    length_s = _number(facts, "duration_s")
    first = [f"{span_s[1] - span_s[0] if length_s is None else length_s:.1f} s of {_size(facts)}video{_rate(facts)}", *_looks(facts)]
    second = _moves(facts)
    text = f"{LABEL} {_listed(first)}."
    return f"{text} {_listed(second).capitalize()}." if second else text


def _size(facts: Mapping[str, float | str | None]) -> str:
    width, height = _number(facts, "width"), _number(facts, "height")
    return "" if width is None or height is None else f"{width:.0f}x{height:.0f} "


def _rate(facts: Mapping[str, float | str | None]) -> str:
    """The clip's own frames a second, where all its frames are counted; the video's where that is the same, or in fast mode."""
    fps, n_frames, length_s = _number(facts, "fps"), _number(facts, "n_frames"), _number(facts, "duration_s")
    if facts.get("mode") != "fast" and n_frames and length_s:
        own = n_frames / length_s
        fps = fps if fps is not None and abs(fps - own) <= AGREES * own else round(own, 1)
    return "" if fps is None else f" at {round(fps, 2):g} frames a second"


def _looks(facts: Mapping[str, float | str | None]) -> list[str]:
    """Words for light and sharpness."""
    said = [word for name, words in (("luma_mean", LIGHT), ("sharpness", FOCUS)) if (word := _word(facts, name, words))]
    clipped = _share(facts, "clipped_share")
    return [*said, f"{clipped} of the picture clipped to white"] if clipped else said


def _moves(facts: Mapping[str, float | str | None]) -> list[str]:
    """Words for camera and motion."""
    said = []
    label, sure = facts.get("camera_motion"), _number(facts, "camera_motion_confidence")
    if isinstance(label, str) and label in CAMERA and (sure is None or sure >= SURE):
        said.append(CAMERA[label])
    still = _number(facts, "static_share")
    motion = "almost nothing moves" if still is not None and still >= STILL else _word(facts, "motion_mean", MOTION)
    if motion:
        said.append(motion)
    frozen = _share(facts, "freeze_share")
    return [*said, f"the picture is frozen for {frozen} of the time"] if frozen else said


def _word(facts: Mapping[str, float | str | None], name: str, words: tuple[tuple[float, str], ...]) -> str | None:
    value = _number(facts, name)
    return None if value is None else next(word for bound, word in words if value < bound or bound == math.inf)


def _share(facts: Mapping[str, float | str | None], name: str) -> str | None:
    value = _number(facts, name)
    return None if value is None or value < SHARE else f"{value * 100:.0f} %"


def _number(facts: Mapping[str, float | str | None], name: str) -> float | None:
    value = facts.get(name)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
