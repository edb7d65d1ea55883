"""Caption servers of a run's own on a cluster: each is an actor's, with the resources that the recipe gives it."""

from __future__ import annotations

import sys
from pathlib import Path

from footage import render
from pictures import film
from processes import marked
from ray_cluster import RunningCluster
from ray_runs import on_ray, until
from stores import command, rows_of

SERVER = Path(__file__).parent / "caption_server.py"


def test_replicas_are_actors_with_gpus_and_end_with_the_run(nodes: RunningCluster, tmp_path: Path) -> None:
    """The one GPU of the cluster is shared by two servers, each on a share that Ray gives it; both answer, and none is left."""
    render(tmp_path / "film.mp4", film(192, 108, [300], seed=97))
    out = tmp_path / "store"
    settings = (
        "captions.engine=serve", "captions.model=tiny-vlm", "captions.prompt=short", "frames.per_clip=2", "shots.detector=stride",
        "shots.stride_s=0.6", "resources.captions.gpus=0.5", "resources.captions.concurrency=4", "captions.restarts=0",
        f"captions.serve={sys.executable} {SERVER} --port {{port}} --model {{model}} --host {{host}} --service-s 2",
    )  # fmt: skip
    done = command(*on_ray(nodes, tmp_path / "film.mp4", out, *settings))
    assert done.code == 0, done.err
    rows = rows_of(out, "captions")["captions"]
    assert len(rows) == 20 and all(row["text"].startswith("A hall with ") for row in rows)
    assert len({row["server"] for row in rows}) == 2
    until(lambda: not any(f"{SERVER} --port" in line and "--host 0.0.0.0" in line for line in marked("").values()))
