"""Caption servers of a run's own on a cluster: each is an actor's, with the resources that the recipe gives it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from footage import render
from pictures import film
from processes import marked
from ray_cluster import RunningCluster
from ray_runs import on_ray, until
from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import Setup
from rushes.engine.ray_processes import CaptionActor
from rushes.store.store import Store
from stores import command, recipe, rows_of

SERVER = Path(__file__).parent / "caption_server.py"


def test_of_two_moves_the_later_one_counts_in_whichever_order_they_come(tmp_path: Path) -> None:
    """Ray may run the second call of an asynchronous actor before the first: on a busy machine a server was then never asked."""
    wanted = recipe("captions.engine=serve", "captions.model=tiny-vlm", f"captions.serve={sys.executable} {SERVER} --port {{port}}")
    store = Store.create(str(tmp_path / "store"), {})
    actor = CaptionActor(Setup(run_id="r", store=store.root, owner="me", recipe=wanted, prints=fingerprints(wanted)))
    one, both = ["http://127.0.0.1:1/v1"], ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]

    async def moved() -> list[str]:
        await actor.move(2, both, "key")
        await actor.move(1, one, "key")
        return [server.client.base_url for server in actor._captioner._engine._router.servers]

    assert asyncio.run(moved()) == both


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
