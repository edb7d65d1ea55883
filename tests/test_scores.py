"""Scorers: heads equal to their published definitions, classes found by name, one pass for all, faults kept to one clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

import rushes
from rushes.errors import ModelError, RecipeError, ScoreError
from rushes.models.encoder import Encoder
from rushes.recipe import Recipe
from rushes.recipe_scores import ScoreSettings
from rushes.records import Column
from rushes.scores.aesthetic import folded
from rushes.scores.batch import ENCODER, Scored, ScorePass
from rushes.scores.listed import LISTED, columns_of, encoder_identity, identity_of, scorers_of
from rushes.scores.scorer import ClipFrames, Picture, Values
from stores import SRC, go, recipe, seen

pytestmark = pytest.mark.usefixtures("one_thread")
TESTS = Path(__file__).resolve().parent
RUN = ("rules.too_short.min=0.5", "frames.per_s=5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints: an encoder, heads of random weights, two classifiers with the same weights and their classes in another order."""
    import tiny_checkpoints as tiny

    made = tmp_path_factory.mktemp("models")
    tiny.random_clip(made / "clip")
    tiny.aesthetic_head(made / "aesthetic.safetensors", seed=5)
    tiny.nsfw_head(made / "nsfw.pth", seed=6)
    tiny.bright_vit(made / "vit")
    tiny.bright_vit(made / "tiv", labels=("nsfw", "normal"))
    return made


def settings(folder: Path, *use: str, **more: object) -> ScoreSettings:
    table = {
        "use": use, "encoder": str(folder / "clip"), "aesthetic_model": str(folder / "aesthetic.safetensors"),
        "nsfw_clip_model": str(folder / "nsfw.pth"), **more,
    }  # fmt: skip
    return Recipe.parse({"scores": table}).scores


def loaded(folder: Path, *use: str, **more: object) -> ScorePass:
    made = ScorePass(settings(folder, *use, **more), device="cpu")
    made.load()
    return made


def grey(level: int, seed: int = 0) -> bytes:
    """A picture of one brightness with a little grain, which the seed makes unlike others."""
    grain = np.random.default_rng(seed).integers(-3, 4, (120, 160, 1))
    ok, data = cv2.imencode(".jpg", np.clip(np.full((120, 160, 3), level) + grain, 0, 255).astype(np.uint8))
    assert ok
    return data.tobytes()


def clip(name: str, *levels: int) -> ClipFrames:
    pictures = tuple(Picture(10 * k, grey(level, seed=100 * len(name) + k)) for k, level in enumerate(levels))
    return ClipFrames(name, pictures, uri=f"{name}.mp4", span_s=(0.0, float(len(levels))))


CLIPS = [clip("one", 20, 90, 160, 230, 60), clip("three", 200, 40), clip("eleven", *range(10, 250, 22))]


def vectors(made: ScorePass, one: ClipFrames, n: int = 8) -> npt.NDArray[np.float32]:
    """The vectors of a clip's frames from the encoder alone, rounded as they are stored."""
    from rushes.records import evenly

    assert made.device is not None
    encoder = Encoder.load(made.scorers[0].model if made.scorers[0].name == "embedding" else "", None, made.device)
    rows = encoder.pictures([picture.jpeg for picture in evenly(one.pictures, n)]).rows
    return rows.astype(np.float16).astype(np.float32)


def values(scored: Scored, name: str) -> list[Values]:
    found = [of_clip[name] for of_clip in scored.values]
    assert not any(isinstance(one, ScoreError) for one in found), found
    return found  # type: ignore[return-value]


# Heads


def test_the_aesthetic_head_equals_its_published_layers(folder: Path) -> None:
    """improved-aesthetic-predictor's Sequential, in evaluation, where dropout does nothing."""
    import torch
    from safetensors.torch import load_file
    from torch import nn

    published = nn.Sequential(
        nn.Linear(768, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2), nn.Linear(128, 64), nn.Dropout(0.1),
        nn.Linear(64, 16), nn.Linear(16, 1),
    )  # fmt: skip
    held = load_file(folder / "aesthetic.safetensors")
    published.load_state_dict({name.removeprefix("layers."): tensor for name, tensor in held.items()})
    made = loaded(folder, "embedding", "aesthetic")
    scored = made.score(CLIPS)
    for one, found in zip(CLIPS, values(scored, "aesthetic"), strict=True):
        with torch.no_grad():
            points = published.double().eval()(torch.from_numpy(vectors(made, one)).double())[:, 0].numpy()
        assert len(points) == min(8, len(one.pictures)) and np.ptp(points) > 0.02
        right = {"aesthetic": points.mean(), "aesthetic_min": points.min(), "aesthetic_middle": points[len(points) // 2]}
        assert found == pytest.approx(right, abs=1e-5)


def test_the_nsfw_head_equals_its_published_layers(folder: Path) -> None:
    """NeMo Curator's torch port of LAION's head, its weights random and its variances unequal."""
    import torch
    from torch import nn

    class Published(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear_1, self.linear_2, self.linear_3, self.linear_4 = (
                nn.Linear(768, 64), nn.Linear(64, 512), nn.Linear(512, 256), nn.Linear(256, 1),
            )  # fmt: skip
            self.norm = nn.Module()
            self.norm.register_buffer("mean", torch.zeros(768))
            self.norm.register_buffer("variance", torch.ones(768))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = (x - self.norm.mean) / self.norm.variance.sqrt()
            for layer in (self.linear_1, self.linear_2, self.linear_3):
                x = torch.relu(layer(x))
            return torch.sigmoid(self.linear_4(x))

    published = Published()
    published.load_state_dict(torch.load(folder / "nsfw.pth", weights_only=True))
    made = loaded(folder, "embedding", "nsfw_clip")
    for one, found in zip(CLIPS, values(made.score(CLIPS), "nsfw_clip"), strict=True):
        with torch.no_grad():
            right = published(torch.from_numpy(vectors(made, one)))[:, 0].numpy()
        assert 0.05 < right.min() < right.max() < 0.95 and np.ptp(right) > 0.001
        assert found["nsfw_clip"] == pytest.approx(right.max(), abs=1e-5)


def test_the_subject_is_the_softmax_of_the_models_own_logits(folder: Path) -> None:
    """Against CLIPModel's logits_per_image where each label has one sentence, and an ensemble's mean vector where it has several."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    alone = {"animals": [], "vehicles": [], "objects": [], "people": ["a person"], "empty": ["an empty room"]}
    made = loaded(folder, "embedding", "subject", labels=alone, templates=["a photo of {}"])
    net, tokens = AutoModel.from_pretrained(folder / "clip").eval(), AutoTokenizer.from_pretrained(folder / "clip")
    texts = {"empty": "a photo of an empty room", "people": "a photo of a person"}
    with torch.no_grad():
        said = net.get_text_features(**tokens(list(texts.values()), return_tensors="pt", padding=True))
        said = torch.nn.functional.normalize(getattr(said, "pooler_output", said))
        for one, found in zip(CLIPS, values(made.score(CLIPS), "subject"), strict=True):
            logits = net.logit_scale.exp() * torch.from_numpy(vectors(made, one)) @ said.T
            right = dict(zip(texts, logits.softmax(dim=1).mean(dim=0).tolist(), strict=True))
            assert {name: found[f"subject_{name}"] for name in texts} == pytest.approx(right, abs=0.01)  # the text tower is in bfloat16
            assert found["subject"] == max(right, key=lambda name: right[name])
    two = loaded(folder, "subject", labels={**alone, "people": ["a person", "a crowd"]}, templates=["a photo of {}", "{} at night"])
    again = values(two.score(CLIPS), "subject")
    assert again != values(made.score(CLIPS), "subject")
    assert all(one["subject_empty"] + one["subject_people"] == pytest.approx(1) for one in again)  # type: ignore[operator]


def test_the_embedding_is_the_unit_mean_of_frames(folder: Path) -> None:
    made = loaded(folder, "embedding", encoder_images=3)
    scored = made.score(CLIPS)
    for one, found in zip(CLIPS, values(scored, "embedding"), strict=True):
        mean = vectors(made, one, n=3).mean(axis=0)
        assert np.allclose(found["embedding"], mean / np.linalg.norm(mean), atol=1e-6)
    assert scored.encoded == 3 + 2 + 3


def test_a_head_of_other_shape_is_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    held = load_file(folder / "aesthetic.safetensors")
    arrays = {name: tensor.numpy() for name, tensor in held.items()}
    with pytest.raises(ModelError, match=r"layers\.7\.bias is missing"):
        folded({k: v for k, v in arrays.items() if k != "layers.7.bias"}, "mine")
    with pytest.raises(ModelError, match=r"layers\.9\.bias is strange"):
        folded({**arrays, "layers.9.bias": arrays["layers.7.bias"]}, "mine")
    save_file({**held, "layers.0.weight": held["layers.0.weight"][:, :512].contiguous()}, tmp_path / "short.safetensors")
    with pytest.raises(ModelError, match="made for vectors of 512 numbers, and the encoder gives 768"):
        loaded(folder, "aesthetic", aesthetic_model=str(tmp_path / "short.safetensors"))
    with pytest.raises(ModelError, match=r"norm\.mean does not fit"):
        loaded(folder, "nsfw_clip", nsfw_clip_model=str(folder / "aesthetic.safetensors"))
    with pytest.raises(RecipeError, match=r"scores.nsfw_clip_model is not set.*clip_autokeras_binary_nsfw"):
        scorers_of(Recipe.parse({"scores": {"use": ["nsfw_clip"]}}).scores)


# Classifiers


@pytest.mark.parametrize("model", ["vit", "tiv"])
def test_a_class_is_found_by_its_name(model: str, folder: Path) -> None:
    """P(nsfw) rises with brightness, wherever the class stands in the model's list; a clip has that of its brightest frame."""
    table = {"glare": {"model": str(folder / model), "label": "nsfw"}}
    made = loaded(folder, "glare", classifiers=table, images=8)
    found = [one["glare"] for one in values(made.score([clip("a", 30, 100), clip("b", 150), clip("c", 20, 150, 90)]), "glare")]
    right = [1 / (1 + np.exp(-12 * (level / 127.5 - 1))) for level in (100, 150, 150)]
    assert found == pytest.approx(right, abs=0.06)
    assert found[0] < 0.2 < 0.8 < found[1]
    with pytest.raises(ModelError, match=r"has no class 'nude'; its classes are 'n.*scores.classifiers.glare.label"):
        loaded(folder, "glare", classifiers={"glare": {"model": str(folder / model), "label": "nude"}})


def test_a_classifier_takes_frames_evenly_spread(folder: Path) -> None:
    made = loaded(folder, "glare", classifiers={"glare": {"model": str(folder / "vit"), "label": "nsfw"}}, images=1)
    (found,) = values(made.score([clip("a", 250, 250, 100, 250, 250)]), "glare")
    assert found["glare"] == pytest.approx(1 / (1 + np.exp(-12 * (100 / 127.5 - 1))), abs=0.06)


# One pass for all


def test_a_frame_is_encoded_once_and_a_known_one_never(folder: Path) -> None:
    heads = ("embedding", "aesthetic", "nsfw_clip", "subject", "own_scorers:FirstCoordinate")
    made = loaded(folder, *heads)
    scored = made.score(CLIPS)
    wanted = [made.pts_wanted([picture.pts for picture in one.pictures]) for one in CLIPS]
    assert scored.encoded == sum(map(len, wanted)) and [list(one) for one in scored.vectors] == wanted
    assert all(vector.dtype == np.float16 for one in scored.vectors for vector in one.values())
    assert set(scored.seconds) == {ENCODER, *(scorer.name for scorer in made.scorers)} and min(scored.seconds.values()) > 0
    bare = [ClipFrames(one.clip_id, tuple(Picture(picture.pts, b"") for picture in one.pictures)) for one in CLIPS]
    again = made.score(bare, known=scored.vectors)
    assert (again.encoded, again.vectors) == (0, [{}, {}, {}])
    assert again.values == scored.values
    half = [{pts: vector for pts, vector in one.items() if pts % 20 == 0} for one in scored.vectors]
    third = made.score(CLIPS, known=half)
    assert third.encoded == sum(pts % 20 != 0 for one in wanted for pts in one)
    for one, before in zip(values(third, "embedding"), values(scored, "embedding"), strict=True):
        assert np.allclose(one["embedding"], before["embedding"], atol=1e-3)  # another batch may round in another way


def test_equal_frames_are_encoded_once(folder: Path) -> None:
    """Spans of a list may overlap, so two clips may hold the same frame."""
    made = loaded(folder, "embedding")
    twin = ClipFrames("twin", CLIPS[0].pictures[1:])
    assert made.score([CLIPS[0], twin]).encoded == 5


def test_only_what_is_wanted_is_scored(folder: Path) -> None:
    made = loaded(folder, "embedding", "aesthetic", "own_scorers:Redness")
    scored = made.score(CLIPS, wanted=[{"redness"}, {"aesthetic"}, set()])
    assert [set(of_clip) for of_clip in scored.values] == [{"redness"}, {"aesthetic"}, set()]
    assert scored.encoded == 2
    assert set(ScorePass(settings(folder, "embedding", "own_scorers:Redness"), names=["redness"]).scorers[0].columns) == {
        Column("redness", "float", "share of 255", "mean of red over frames", 0.0, 1.0)
    }


# Faults


def test_a_scorer_that_raises_on_one_clip_fails_that_clip_alone(folder: Path) -> None:
    made = loaded(folder, "own_scorers:Redness", "embedding")
    clips = [clip("one", 51), clip("bad", 90), clip("odd", 70), clip("two", 102, 102), ClipFrames("none", ())]
    found = made.score(clips)
    assert [type(of_clip["redness"]) is ScoreError for of_clip in found.values] == [False, True, True, False, True]
    assert [found.values[k]["redness"]["redness"] for k in (0, 3)] == pytest.approx([0.2, 0.4], abs=0.01)  # type: ignore[index]
    errors = [found.values[k]["redness"] for k in (1, 2, 4)]
    assert [str(error) for error in errors] == [
        "scores on bad.mp4 [0.00 s, 1.00 s): the scorer redness failed on the clip bad: KeyError: 'this clip has no red'",
        "scores on odd.mp4 [0.00 s, 1.00 s): the scorer redness failed on the clip odd: it is odd",
        "scores: the scorer redness failed on the clip none: no frame of it is stored",
    ]
    assert [type(of_clip["embedding"]) is ScoreError for of_clip in found.values] == [False, False, False, False, True]


def test_a_frame_that_cannot_be_decoded_fails_its_clip_alone(folder: Path) -> None:
    glare = {"glare": {"model": str(folder / "vit"), "label": "nsfw"}}
    made = loaded(folder, "embedding", "aesthetic", "glare", classifiers=glare, images=3)
    broken = ClipFrames("broken", (Picture(0, grey(40)), Picture(1, b"\xff\xd8 nothing"), Picture(2, grey(80))))
    found = made.score([CLIPS[0], broken, CLIPS[1]])
    assert all(isinstance(error, ScoreError) for error in found.values[1].values())
    assert "1 of its 3 frames cannot be decoded" in str(found.values[1]["aesthetic"])
    assert not any(isinstance(one, ScoreError) for k in (0, 2) for one in found.values[k].values())
    assert found.encoded == 5 + 2 + 2


def test_a_scorer_that_forgets_a_column_is_no_silence(folder: Path) -> None:
    found = loaded(folder, "own_scorers:Nothing").score([clip("one", 90)])
    assert "it gave the columns redness and states nothing" in str(found.values[0]["nothing"])


def test_a_model_that_cannot_be_had_is_one_error_before_any_clip(folder: Path) -> None:
    missing = {"glare": {"model": "rushes-tests/there-is-none", "label": "nsfw"}}
    with pytest.raises(ModelError, match=r"scores\.classifiers\.glare\.model: the model rushes-tests/there-is-none cannot be had.*Fix: "):
        loaded(folder, "glare", classifiers=missing)
    with pytest.raises(ModelError, match=r"scores\.encoder: the model rushes-tests/none cannot be had"):
        loaded(folder, "embedding", encoder="rushes-tests/none")


# The list


def test_wrong_names_are_said() -> None:
    def wrong(*use: str) -> str:
        with pytest.raises(RecipeError) as caught:
            scorers_of(Recipe.parse({"scores": {"use": use}}).scores)
        return str(caught.value)

    assert "'aestetic': there is no such scorer. Fix: use 'aesthetic'" in wrong("aestetic")
    assert "cannot be imported" in wrong("no_such_module:Class") and "cannot be imported" in wrong("own_scorers:Missing")
    assert "which is no scorer" in wrong("own_scorers:NOT_A_SCORER") and "which is no scorer" in wrong("rushes.scores.scorer:FrameScorer")
    assert "redness and twin both have the column redness" in wrong("own_scorers:Redness", "own_scorers:Twin")


def test_an_identity_hangs_on_what_changes_the_numbers_and_on_nothing_else(folder: Path) -> None:
    def of(**more: object) -> dict[str, object]:
        table = settings(folder, "aesthetic", "subject", "nsfw_vit", **more)
        return {scorer.name: identity_of(scorer, table) for scorer in scorers_of(table)} | {"vectors": encoder_identity(table)}

    plain = of()

    def changed(**more: object) -> set[str]:
        new = of(**more)
        return {name for name in new if new[name] != plain[name]}

    assert changed(images=3) == {"nsfw_vit"}
    assert changed(encoder_images=4) == {"aesthetic", "subject"}
    assert changed(encoder="other/clip") == changed(encoder_revision="abc") == {"aesthetic", "subject", "vectors"}
    assert changed(labels={"corridor": ["a corridor"]}) == changed(templates=["{}"]) == {"subject"}
    assert changed(aesthetic_revision="abc") == changed(aesthetic_model="other/head") == {"aesthetic"}
    assert changed(classifiers={"nsfw_vit": {"model": "Falconsai/nsfw_image_detection", "label": "normal"}}) == {"nsfw_vit"}
    assert changed(batch=3) == changed(nsfw_clip_model="other.pth") == changed(faces_model="x.onnx") == set()


def test_every_scorer_of_the_list_states_its_columns(tmp_path: Path) -> None:
    table = Recipe.parse({"scores": {"use": list(LISTED), "nsfw_clip_model": "a.pth", "faces_model": "b.onnx"}}).scores
    scorers = scorers_of(table)
    assert [scorer.name for scorer in scorers] == list(LISTED)
    for scorer in scorers:
        assert scorer.licence and scorer.model and scorer.images >= 1
        assert all(column.doc and column.source and column.kind in ("float", "text", "floats") for column in scorer.columns)
    names = [column.name for column in columns_of(table)]
    assert len(set(names)) == len(names)


# In a run


def test_a_new_head_over_known_embeddings_costs_no_pass_of_the_encoder(
    folder: Path, short_films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder is a tiny checkpoint; the head gives the first number of the vector of the last of three frames."""
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{SRC}")  # processes that score find modules by it
    out, encoder = tmp_path / "store", f'scores.encoder="{folder / "clip"}"'
    first = (*RUN, encoder, 'scores.use=["own_scorers:FirstCoordinate"]')
    go(short_films, out, *first)
    vectors = {(row["video_id"], row["pts"]): row["vector"] for row in pq.read_table(out / "embeddings").to_pylist()}

    def inside(clip: dict[str, Any]) -> list[list[float]]:
        start, end = clip["start_pts"], clip["end_pts"]
        return [v for (video, pts), v in sorted(vectors.items()) if video == clip["video_id"] and start <= pts < end]

    now = seen(out, *first)
    assert now.runs()[-1]["frames_encoded"] == len(vectors) == 3 * 6, "each frame once"
    clips = {clip["clip_id"]: clip for clip in now.clips()}
    for clip in clips.values():
        mine = [
            v for (video, pts), v in sorted(vectors.items()) if video == clip["video_id"] and clip["start_pts"] <= pts < clip["end_pts"]
        ]
        assert (len(mine), clip["scores"]["first"]) == (3, mine[-1][0])
        assert float(np.linalg.norm(mine[-1])) == pytest.approx(1.0, abs=2e-3)
    both = (*RUN, encoder, "scores.encoder_images=3", 'scores.use=["own_scorers:FirstCoordinate", "embedding"]')
    go(short_films, out, *both)
    now = seen(out, *both)
    assert (now.runs()[-1]["frames_encoded"], now.runs()[-1]["scores_made"], now.runs()[-1]["decoded_s"]) == (0, 6, 0)
    assert [clip["scores"] for clip in now.clips()] == [clips[clip["clip_id"]]["scores"] for clip in now.clips()], "lists are not shown"
    every = [row for part in (out / "scores").glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    rows = [row for row in every if row["scorer"] == "embedding"]
    for row in rows:
        mean = np.mean(np.array(inside(clips[row["clip_id"]]), np.float64), axis=0)
        assert row["embedding"] == pytest.approx(list(mean / np.linalg.norm(mean)), abs=1e-3)
    assert len(rows) == 6
    shown = now.clips()
    rushes.api.compact(out, drop_other_fingerprints=True, recipe=recipe(*both))
    assert seen(out, *both).clips() == shown
    merged = pq.read_table(next((out / "embeddings" / "merged").rglob("*.parquet"))).to_pylist()
    assert {(row["video_id"], row["pts"]): row["vector"] for row in merged} == vectors
