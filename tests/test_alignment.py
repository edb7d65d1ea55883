"""Captions compared with their frames by the encoder, against plain transformers and numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caption_server import Running
from rushes.engine import stages
from rushes.engine.fingerprints import fingerprints
from rushes.engine.work.alignment import cosine, pieces
from rushes.results.choose import chosen_clips
from rushes.results.query import query
from stores import Reel, go, recipe, rows_of, seen

WORDS = ("captions.engine=openai", "captions.model=tiny-vlm")


def test_a_caption_is_cut_into_sentences_and_what_is_still_too_long_into_halves() -> None:
    def fits(piece: str) -> bool:
        return len(piece) <= 20

    assert list(pieces("A door. It opens! 门开了。灯亮着。", fits)) == ["A door.", "It opens!", "门开了。", "灯亮着。"]
    parts = list(pieces("A long corridor with many doors on both sides of it.", fits))
    assert " ".join(parts) == "A long corridor with many doors on both sides of it." and all(map(fits, parts))
    parts = list(pieces("走廊" * 20, fits))
    assert "".join(parts) == "走廊" * 20 and all(map(fits, parts))
    assert list(pieces(" \n", fits)) == []


def test_the_agreement_is_wanted_where_a_model_captions_and_an_encoder_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    def wanted(*settings: str) -> bool:
        return "alignment" in fingerprints(recipe(*settings))

    assert wanted(*WORDS, 'scores.use=["embedding"]')
    assert not wanted(*WORDS) and not wanted('scores.use=["embedding"]')
    both = (*WORDS, 'scores.use=["embedding"]')
    before = fingerprints(recipe(*both))
    others = {
        name: fingerprints(recipe(*both, name)) for name in ("captions.prompt=short", 'scores.encoder="another"', "frames.quality=60")
    }
    assert all(made["alignment"] != before["alignment"] for made in others.values())
    monkeypatch.setattr(stages, "ALIGNMENT_VERSION", stages.ALIGNMENT_VERSION + 1)
    assert {name for name, value in fingerprints(recipe(*both)).items() if value != before[name]} == {"alignment"}
    names = [stage.name for stage in stages.clip_stages()]
    assert names.index("captions") < names.index("alignment") < names.index("files")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_agreement_equals_that_of_plain_transformers_and_files_wait_for_it(reel: Reel, tmp_path: Path, server: Running) -> None:
    import torch
    from transformers import AutoTokenizer, CLIPModel

    from rushes.models.device import choose
    from rushes.models.encoder import Encoder
    from tiny_checkpoints import random_clip

    folder, text = random_clip(tmp_path / "clip"), "A hall. It is bright."
    server.control(mode="structured", fields={"summary": text})
    out = tmp_path / "store"
    settings = (
        *WORDS, f"captions.base_url={server.base_url}", "captions.prompt=structured", 'scores.use=["embedding"]',
        f'scores.encoder="{folder}"', "clips.mode=copy",
    )  # fmt: skip
    counts = go(reel.cuts.path, out, *settings).counts
    assert (counts["captions_made"], counts["alignment_made"], counts["files_made"]) == (2, 2, 2)
    clips = {c["clip_id"]: c for c in seen(out, *settings).clips() if c["verdict"] == "kept"}
    net, tokens = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        found: Any = net.get_text_features(**tokens(["A hall.", "It is bright."], return_tensors="pt", padding=True))
        unit = torch.nn.functional.normalize(getattr(found, "pooler_output", found)).numpy()
    vectors = rows_of(out, "embeddings")["embeddings"]
    for name, clip in clips.items():
        inside = [v["vector"] for v in vectors if v["video_id"] == clip["video_id"] and clip["start_pts"] <= v["pts"] < clip["end_pts"]]
        mean = np.mean(np.array(inside, np.float32), axis=0)
        truth = float(np.mean(unit @ mean) / np.linalg.norm(mean))
        assert clip["agreements"]["agreement"] == pytest.approx(truth, abs=0.01), name
        assert cosine(Encoder.load(str(folder), None, choose("cpu")), text, [np.array(v) for v in inside]) == pytest.approx(truth, abs=0.01)

    results = seen(out, *settings).results
    by_sql = {row["clip_id"]: row["agreement"] for row in query(results, "SELECT clip_id, agreement FROM clips WHERE verdict = 'kept'")}
    assert by_sql == {name: clip["agreements"]["agreement"] for name, clip in clips.items()}
    [table] = chosen_clips(results, where="agreement < 2")
    assert set(table["clip_id"].to_pylist()) == set(clips)

    bound = float(np.mean(list(by_sql.values())))
    ruled = (*settings, "rules.fits.column=agreement", f"rules.fits.min={bound}", "clips.mode=encode", "clips.crf=40")
    counts = go(reel.cuts.path, out, *ruled).counts
    assert (counts["captions_made"], counts["clips_kept"], counts["reasons"]["fits"], counts["files_made"]) == (0, 1, 1, 1)
