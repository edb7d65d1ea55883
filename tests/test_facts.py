"""The facts engine: true sentences from measures, nothing of what is null, and the same words for the same columns."""

from __future__ import annotations

import asyncio
import math
from typing import get_args

import pytest

from rushes.captions import Request, make_engine
from rushes.captions.facts import CAMERA, FOCUS, LABEL, LIGHT, sentence
from rushes.measures import exposure, motion, sharpness
from rushes.measures.camera import COLUMNS as CAMERA_COLUMNS
from rushes.measures.camera import Label
from rushes.recipe_captions import CaptionSettings

FULL: dict[str, float | str | None] = {
    "duration_s": 8.04,
    "width": 1280,
    "height": 720,
    "fps": 29.97002997,
    "luma_mean": 112.0,
    "clipped_share": 0.01,
    "sharpness": 0.7,
    "motion_mean": 0.05,
    "static_share": 0.0,
    "freeze_share": 0.0,
    "camera_motion": "pan_left",
    "camera_motion_confidence": 0.8,
}
SPAN = (10.0, 18.04)


def test_everything_known_is_said_once() -> None:
    assert sentence(FULL, SPAN) == (
        "Measured: 8.0 s of 1280x720 video at 29.97 frames a second, evenly lit and sharp. "
        "The camera pans left and there is moderate motion."
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("width", "1280x720"),
        ("height", "1280x720"),
        ("fps", "frames a second"),
        ("luma_mean", "lit"),
        ("sharpness", "sharp"),
        ("motion_mean", "motion"),
        ("camera_motion", "camera"),
    ],
)
@pytest.mark.parametrize("nothing", [None, math.nan])
def test_what_is_null_is_not_spoken_of(name: str, words: str, nothing: float | None) -> None:
    assert words in sentence(FULL, SPAN)
    assert words not in sentence({**FULL, name: nothing}, SPAN)
    assert words not in sentence({key: value for key, value in FULL.items() if key != name}, SPAN)


def test_without_any_measure_the_length_remains() -> None:
    assert sentence({}, (1.5, 4.0)) == "Measured: 2.5 s of video."
    assert sentence(dict.fromkeys(FULL), (1.5, 4.0)) == "Measured: 2.5 s of video."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"luma_mean": 20.0}, "very dark"),
        ({"luma_mean": 50.0}, ", dark"),
        ({"luma_mean": 70.0}, "dim"),
        ({"luma_mean": 118.0}, "evenly lit"),
        ({"luma_mean": 200.0}, ", bright"),
        ({"luma_mean": 255.0}, "very bright"),
        ({"clipped_share": 0.25}, "25 % of the picture clipped to white"),
        ({"sharpness": 0.25}, "blurred"),
        ({"sharpness": 0.48}, "a little soft"),
        ({"motion_mean": 0.0}, "there is little motion"),
        ({"motion_mean": 0.5}, "there is strong motion"),
        ({"static_share": 0.95, "motion_mean": 0.001}, "almost nothing moves"),
        ({"freeze_share": 0.5}, "the picture is frozen for 50 % of the time"),
        ({"camera_motion": "static"}, "The camera does not move"),
        ({"camera_motion": "zoom_in"}, "The camera zooms or moves in"),
        ({"fps": 25}, "at 25 frames a second"),
    ],
)
def test_words_follow_the_measures(change: dict[str, float | str | None], words: str) -> None:
    assert words not in sentence(FULL, SPAN) or words == "evenly lit"
    assert words in sentence(FULL | change, SPAN)


def test_a_camera_one_is_not_sure_of_is_not_spoken_of() -> None:
    assert "camera" not in sentence(FULL | {"camera_motion_confidence": 0.3}, SPAN)
    assert "camera" not in sentence(FULL | {"camera_motion": "orbiting"}, SPAN)
    assert "camera" in sentence(FULL | {"camera_motion_confidence": None}, SPAN)


def test_words_agree_with_the_measures_they_speak_of() -> None:
    """Names exist, every camera label has words, and blurred means what the measure calls blurred."""
    names = {column.name for table in (exposure.COLUMNS, motion.COLUMNS, sharpness.COLUMNS, CAMERA_COLUMNS) for column in table}
    spoken_of = {
        "luma_mean",
        "clipped_share",
        "sharpness",
        "motion_mean",
        "static_share",
        "freeze_share",
        "camera_motion",
        "camera_motion_confidence",
    }
    assert spoken_of <= names
    assert set(CAMERA) == set(get_args(Label))
    assert FOCUS[0] == (sharpness.BLURRED_BELOW, "blurred")


def test_light_is_told_in_stops_from_middle_grey() -> None:
    """sRGB's transfer function (IEC 61966-2-1) at 18 % reflectance and whole stops from it."""

    def grey(linear: float) -> float:
        return 255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055)

    assert [round(bound) for bound, _ in LIGHT[:-1]] == [round(grey(0.18 * 2.0**stops)) for stops in (-3, -2, -1, 1, 2)]


def test_the_engine_labels_itself_and_repeats_itself() -> None:
    engine = make_engine(CaptionSettings(), 8)
    assert engine is not None
    request = Request("c", (), (), FULL, "/footage/a.mp4", SPAN)

    async def go() -> list[tuple[str | None, str, str]]:
        await engine.check()
        answers = [await engine.caption(request) for _ in range(2)]
        await engine.close()
        return [(answer.text, answer.model, answer.prompt_id) for answer in answers]

    first, second = asyncio.run(go())
    assert first == second == (sentence(FULL, SPAN), "rushes-facts", "facts-2")
    assert (first[0] or "").startswith(LABEL)
