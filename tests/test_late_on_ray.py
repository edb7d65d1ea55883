"""Stages of clips that wait for captions, on a cluster: clip files that captions judge, and captions compared with their frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caption_server import Running
from footage import render
from pictures import edit, moving
from ray_cluster import RunningCluster
from rushes.captions.fields import field_columns
from rushes.captions.schema import record_schema
from stores import command, go, rows_of, seen, settings_of
from variants import variants

SETTINGS = (
    "captions.engine=openai", "captions.model=tiny-vlm", "captions.prompt=structured", "clips.mode=copy",
    "rules.contradicted.column=agreement_camera_move", "rules.contradicted.min=1",
)  # fmt: skip
COMPARED = ("captions", "alignment", "scores", "embeddings", "files")


def rows(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of the stages of clips; those of files without the place of the store."""
    found = rows_of(out, *COMPARED, caption=field_columns(record_schema()))
    for row in found["files"]:
        row["clip_uri"] = str(row["clip_uri"]).replace(str(out), "STORE")
    return found


@pytest.fixture(scope="module")
def panned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shots of 2 s: the camera pans to the right, then to the left."""
    shots = [moving(256, 144, seed=5, dx=2.0), moving(256, 144, seed=6, dx=-2.0)]
    return render(tmp_path_factory.mktemp("panned") / "panned.mp4", edit(shots, [50, 50])).path


@pytest.mark.parametrize("stage", variants(["files", "alignment"], quick=["files"]))
def test_stages_that_wait_for_captions_make_the_same_rows_on_a_cluster(
    stage: str, panned: Path, nodes: RunningCluster, server: Running, tmp_path: Path
) -> None:
    """The model says that both shots pan to the left: the one that pans to the right gets no file, and is not compared with its frames."""
    server.control(mode="structured", fields={"camera_move": "pan_left", "summary": "A hall. It is bright."})
    settings = (*SETTINGS, f"captions.base_url={server.base_url}")
    if stage == "alignment":
        from tiny_checkpoints import random_clip

        settings += ('scores.use=["embedding"]', f'scores.encoder="{random_clip(tmp_path / "clip")}"')
    natively, on_ray = tmp_path / "natively", tmp_path / "on_ray"
    counts = go(panned, natively, *settings).counts
    done = command("run", panned, "--out", on_ray, "--ray", nodes.address, *settings_of(*settings, "scan.workers=0"))
    assert done.code == 0, done.err
    mine, theirs = rows(on_ray), rows(natively)
    assert mine == theirs
    assert (len(mine["captions"]), len(mine["files"]), counts["clips_kept"]) == (2, 1, 1)
    assert len(mine["alignment"]) == (1 if stage == "alignment" else 0)
    clips = {out: [(c["clip_id"], c["verdict"], c["agreements"]) for c in seen(out, *settings).clips()] for out in (natively, on_ray)}
    assert clips[natively] == clips[on_ray]
