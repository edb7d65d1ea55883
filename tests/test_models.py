"""Models: equal to plain transformers code on tiny checkpoints, batched across pictures, and missing ones said in words."""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import rushes
from embedded import Embedded
from rushes.errors import MissingExtra, ModelError
from rushes.models import hub
from rushes.models.device import Device, choose
from rushes.models.encoder import Encoder, identity
from rushes.models.pixels import Preparation, decoded
from rushes.search import queries
from stores import command, inline

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = Device("cpu", "float32", "CPU", "for the test")
SIZES = [(180, 320), (320, 180), (96, 96), (240, 426), (225, 400), (70, 300)]
"""Heights and widths: wide, tall, square, smaller and larger than what the models see."""


def jpeg(height: int, width: int, seed: int) -> bytes:
    """A picture with structure at all scales, whose brightness and colours depend on the seed."""
    random = np.random.default_rng(seed)
    coarse = cv2.resize(random.uniform(0, 255, (4, 6, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(random.normal(0, 1, (height, width, 3)).astype(np.float32), (0, 0), 1.0) * 60
    ok, data = cv2.imencode(".jpg", np.clip(coarse + fine, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert ok
    return data.tobytes()


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [jpeg(*SIZES[k % len(SIZES)], seed=k) for k in range(14)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints: clip, siglip (random weights), vit."""
    import tiny_checkpoints as tiny

    made = tmp_path_factory.mktemp("models")
    tiny.random_clip(made / "clip")
    tiny.random_siglip(made / "siglip")
    tiny.bright_vit(made / "vit")
    return made


def plain_vectors(model: Path, pictures: list[bytes]) -> npt.NDArray[np.float32]:
    """What a page of transformers' documentation would do, one picture at a time, with Pillow."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    net, processor = AutoModel.from_pretrained(model).eval(), AutoImageProcessor.from_pretrained(model)
    rows = []
    for picture in pictures:
        inputs = processor(Image.open(io.BytesIO(picture)).convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            found: Any = net.get_image_features(**inputs)
        row = getattr(found, "pooler_output", found)[0]
        rows.append((row / row.norm()).numpy())
    return np.array(rows)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_vectors_equal_those_of_plain_transformers(name: str, folder: Path, pictures: list[bytes]) -> None:
    """Pixels differ from Pillow's by one level here and there. That is the whole tolerance: pictures are a thousand times farther apart."""
    encoder = Encoder.load(str(folder / name), None, PLAIN, batch=4)
    found, right = encoder.pictures(pictures).rows, plain_vectors(folder / name, pictures)
    assert found.shape == right.shape == (len(pictures), encoder.dimensions)
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    off = 1 - (found * right).sum(axis=1)
    apart = 1 - (right @ right.T)[~np.eye(len(pictures), dtype=bool)]
    assert off.max() < 2e-4 and np.median(apart) > 1000 * np.median(off)


def test_a_batch_changes_nothing(folder: Path, pictures: list[bytes]) -> None:
    whole = Encoder.load(str(folder / "clip"), None, PLAIN, batch=64).pictures(pictures).rows
    for batch in (1, 5):
        assert np.allclose(Encoder.load(str(folder / "clip"), None, PLAIN, batch=batch).pictures(pictures).rows, whole, atol=1e-5)
    assert Encoder.load(str(folder / "clip"), None, PLAIN).pictures([]).rows.size == 0


def test_a_number_format_changes_a_vector_by_rounding_only(folder: Path, pictures: list[bytes]) -> None:
    """The scale of the logits is read before the weights are rounded."""
    half = Encoder.load(str(folder / "clip"), None, Device("cpu", "bfloat16", "CPU", "for the test"))
    full = Encoder.load(str(folder / "clip"), None, PLAIN)
    assert (half.pictures(pictures).rows * full.pictures(pictures).rows).sum(axis=1).min() > 0.999
    assert half.logit_scale == full.logit_scale == pytest.approx(np.exp(2.6592), rel=1e-6)


def test_a_picture_that_cannot_be_decoded_costs_no_other(folder: Path, pictures: list[bytes]) -> None:
    encoder = Encoder.load(str(folder / "clip"), None, PLAIN, batch=3)
    found = encoder.pictures([*pictures[:4], b"not a picture", *pictures[4:7], b""])
    assert set(found.faults) == {4, 8} and "cannot be decoded" in found.faults[4]
    assert np.isnan(found.rows[[4, 8]]).all()
    assert np.allclose(np.delete(found.rows, [4, 8], axis=0), encoder.pictures(pictures[:7]).rows, atol=1e-5)


def test_a_batch_that_does_not_fit_into_memory_is_halved() -> None:
    """As often as needed, and for what follows, too; a single picture that does not fit is an error."""
    import torch

    from rushes.models.passes import Passes

    most, sizes = 3, []

    def forward(batch: Any) -> Any:
        if len(batch) > most:
            raise torch.OutOfMemoryError("no room")
        sizes.append(len(batch))
        return batch.mean(dim=(1, 2, 3))[:, None]

    flat = Preparation(8, 8, None, "bilinear", 1.0, (0.0,) * 3, (1.0,) * 3)
    passes = Passes(PLAIN, flat, forward, batch=16, decode=lambda level: np.full((8, 8, 3), level, np.uint8))
    assert passes.run(range(40)).rows[:, 0].tolist() == list(range(40))
    assert (passes.batch, set(sizes)) == (2, {2})
    assert passes.run(range(5)).rows[:, 0].tolist() == list(range(5))
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        passes.run(range(2))


def test_what_a_failed_call_left_to_the_threads_spoils_no_later_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of the first call is decoded slowly, while the model fails; the second call fills the same buffers."""
    from rushes import machine
    from rushes.models.passes import Passes

    monkeypatch.setattr(machine, "cores", lambda: 4)
    second, fails = threading.Event(), [True]

    def decode(level: int) -> Any:
        if level == 102:  # the third picture: the first place of the second buffer
            second.wait(1.0)
        if level == 3:  # its neighbour in the second call, when the place has been written again
            second.set()
            time.sleep(0.2)
        return np.full((8, 8, 3), level, np.uint8)

    def forward(batch: Any) -> Any:
        if fails.pop() if fails else False:
            raise RuntimeError("the model fails")
        return batch.mean(dim=(1, 2, 3))[:, None]

    passes = Passes(PLAIN, Preparation(8, 8, None, "bilinear", 1.0, (0.0,) * 3, (1.0,) * 3), forward, batch=2, decode=decode)
    with pytest.raises(RuntimeError, match="the model fails"):
        passes.run(range(100, 106))
    assert passes.run(range(6)).rows[:, 0].tolist() == list(range(6))


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_texts_equal_those_of_plain_transformers(name: str, folder: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["an empty corridor", "a dog", "a photo of a very long sentence about a machine"]
    net, tokens = AutoModel.from_pretrained(folder / name).eval(), AutoTokenizer.from_pretrained(folder / name)
    padding = {"padding": "max_length", "max_length": 64} if name == "siglip" else {"padding": True}
    with torch.no_grad():
        found: Any = net.get_text_features(**tokens(texts, return_tensors="pt", **padding))
    right = torch.nn.functional.normalize(getattr(found, "pooler_output", found)).numpy()
    encoder = Encoder.load(str(folder / name), None, PLAIN)
    assert np.allclose(encoder.texts(texts), right, atol=1e-5)
    with pytest.raises(ModelError, match="has 102 tokens, and the encoder takes 77" if name == "clip" else "takes 64"):
        encoder.texts(["x" * 100])


@pytest.mark.slow
def test_a_search_is_made_by_the_recipes_own_encoder(
    folder: Path, pictures: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cosines between a text, or a picture in a file, and the clips are those of plain transformers code."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    monkeypatch.setattr(queries, "choose", lambda: PLAIN)  # bfloat16, where the CPU has it, is off by 0.0001
    vectors, text = plain_vectors(folder / "clip", pictures), "a corridor with a red door"
    made = Embedded(tmp_path / "store", vectors, f"scores.encoder={folder / 'clip'}")
    net, tokens = AutoModel.from_pretrained(folder / "clip").eval(), AutoTokenizer.from_pretrained(folder / "clip")
    with torch.no_grad():
        found: Any = net.get_text_features(**tokens([text], return_tensors="pt"))
    asked = torch.nn.functional.normalize(getattr(found, "pooler_output", found)).numpy()[0]
    rows = rushes.open(made.root).search(text, n=5, verdict=None)
    assert [(row["clip_id"], pytest.approx(row["score"], abs=1e-5)) for row in rows] == made.truth(asked, 5, None)
    (tmp_path / "picture.jpg").write_bytes(pictures[3])
    done = inline("search", made.root, "--like", tmp_path / "picture.jpg", "--verdict", "all", "-n", "1", "--json")
    assert done.lines[0]["clip_id"] == made.clip_ids[3] and done.lines[0]["score"] == pytest.approx(1, abs=2e-4)
    whole = command("search", made.root, text, "--verdict", "all", "-n", "5", "--json", OMP_NUM_THREADS="1")
    assert whole.code == 0 and len(whole.lines) == 5, f"the command keeps pandas out, which transformers looks for: {whole.err}"
    (tmp_path / "notes.txt").write_text("no picture")
    assert "notes.txt is no picture that can be read" in inline("search", made.root, "--like", tmp_path / "notes.txt").err
    assert "has 202 tokens, and the encoder takes 77" in inline("search", made.root, "x" * 200).err
    away = inline("search", made.root, text, "--set", f"scores.encoder={tmp_path / 'none'}")
    assert away.code == 2 and "holds no rows of the scorer embedding under this recipe" in away.err
    (folder / "clip").rename(folder / "moved")
    away = inline("search", made.root, text)
    (folder / "moved").rename(folder / "clip")
    assert away.code == 3 and "Fix: set scores.encoder to a folder" in away.err


@pytest.mark.parametrize("name", ["clip", "siglip", "vit"])
def test_pictures_are_prepared_as_the_models_own_processor_does(name: str, folder: Path, pictures: list[bytes]) -> None:
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder / name)
    preparation = Preparation.of(processor)
    tall = [pictures[k] for k, (height, width) in enumerate(SIZES) if height > width]  # PyTorch resizes them along columns first
    for picture in pictures[: len(SIZES)]:
        found = preparation.normalised(preparation.sized(decoded(picture))[None])
        right = processor(Image.open(io.BytesIO(picture)).convert("RGB"), return_tensors="pt")["pixel_values"]
        level = preparation.scale / min(preparation.std)
        off = (found - right).abs()
        assert off.max() <= 2.01 * level
        assert (off > 1.01 * level).float().mean() < 1e-4, "two levels are rare"
        assert off.mean() < (0.25 if picture in tall else 0.01) * level
        assert (found - right).mean().abs() < 0.01 * level, "rounding has no direction"
        assert torch.isfinite(found).all()


def test_decoded_pixels_equal_pillows(pictures: list[bytes]) -> None:
    from PIL import Image

    for picture in pictures:
        assert np.array_equal(decoded(picture), np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")))


def test_a_processor_that_does_more_is_refused(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder / "clip")
    processor.do_pad = True
    with pytest.raises(ValueError, match="not known here"):
        Preparation.of(processor)


def test_what_is_no_such_model_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"scores\.encoder: .*vit is not a model that can be used here.*no vectors of pictures and texts"):
        Encoder.load(str(folder / "vit"), None, PLAIN)
    with pytest.raises(ModelError, match=r"scores\.encoder: .*Fix: set scores\.encoder to a folder") as caught:
        Encoder.load(str(tmp_path / "none"), None, PLAIN)
    assert caught.value.exit_code == 3 and not caught.value.permanent
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(ModelError, match=r"scores\.encoder"):
        Encoder.load(str(tmp_path), None, PLAIN)


def test_a_model_that_the_hub_does_not_give_is_said() -> None:
    with pytest.raises(ModelError, match=r"rushes-tests/there-is-none at revision 0123abc cannot be had.*HF_HUB_OFFLINE is set.*download"):
        Encoder.load("rushes-tests/there-is-none", "0123abc", PLAIN)
    with pytest.raises(ModelError, match=r"scores\.aesthetic_model: the model rushes-tests/none cannot be had"):
        hub.weights("rushes-tests/none", None, ("model.safetensors",), "scores.aesthetic_model")


def test_revisions_of_named_models_are_pinned() -> None:
    assert identity("openai/clip-vit-large-patch14", None)["revision"] == "32bd64288804d66eefd0ccbe215aa642df71cc41"
    assert identity("openai/clip-vit-large-patch14", "main")["revision"] == "main"
    assert identity("someone/else", None)["revision"] is None
    assert all(len(revision) == 40 for revision in hub.PINNED.values())


def test_a_missing_package_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None if name == "transformers" else True)
    with pytest.raises(MissingExtra, match=r"transformers is not installed.*pip install 'rushes\[models\]'"):
        Encoder.load("openai/clip-vit-large-patch14", None, PLAIN)


def test_devices_are_said_in_words() -> None:
    import torch

    device = choose()
    assert device.name == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert device.number in str(device) and device.why in str(device)
    with pytest.raises(ModelError, match="there is no device 'cuda:77'"):
        choose("cuda:77")
    with pytest.raises(ModelError, match="there is no device 'gpu'"):
        choose("gpu")


def test_the_benchmark_of_the_encoder_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """On a tiny model its figures mean nothing. That both sides make the same vectors it checks itself."""
    from benchmarks import encoder
    from benchmarks.targets import Targets
    from transformers import CLIPModel

    import tiny_checkpoints as tiny

    encoder.measure(CLIPModel(tiny.clip_config()), PLAIN, Targets(), seconds=0.01, rounds=1, batch=2)
    told = capsys.readouterr().out
    assert all(words in told for words in ("encoder / bare loop", "from JPEGs of 854 x 480", "heads / encoder", "video-hours per hour"))
