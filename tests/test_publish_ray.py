"""Publishing on a cluster: its nodes cut the clips, the driver commits; also when a process or a node dies."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from consumers import files_rows
from footage import render
from pictures import film
from processes import open_files
from publishing import copied, drawn, numbers
from publishing import go as publish_here
from ray_cluster import RunningCluster
from ray_runs import until
from stores import Done, Reel, command, go, settings_of, start


def words(nodes: RunningCluster, store: Path, to: str, *settings: str) -> list[str | Path]:
    return ["publish", store, "--to", to, "--ray", nodes.address, "--json", *settings_of(*settings)]


def clips_in(out: Path) -> dict[str, Any]:
    """What the newest version of a folder holds: the numbers drawn in each film, captions, and lines without the size of the film, since
    x264 does not always make the same bytes of the same pictures.
    """
    folder = out / "LATEST" / "clips"
    films = {path.name: numbers(path) for path in folder.glob("*.mp4")}
    return (
        films
        | {path.name: path.read_text() for path in folder.glob("*.txt")}
        | {"lines": [{**row, "file_bytes": 0} for row in files_rows(out)]}
    )


def test_nodes_cut_and_the_driver_commits(nodes: RunningCluster, reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    def cuts() -> list[int]:
        return [task["retries"] for task in nodes.tasks() if task["name"] == "cut"]

    before, store = cuts(), copied(reel_store, tmp_path / "store")
    done = command(*words(nodes, store, f"files:{tmp_path / 'out'}", "publish.where=\"uri like '%cuts.mp4'\""))
    assert done.code == 0, done.err
    rows = files_rows(tmp_path / "out")
    for row in rows:
        assert numbers(tmp_path / "out" / "LATEST" / "clips" / row["file_name"]) == drawn(reel, row)
    assert len(rows) == done.lines[0]["counts"]["added"] == 2
    assert cuts() == [*before, 0], "one task a video, which Ray does not try again"


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of six films, of which each gives two clips that take a second to encode."""
    folder, store = tmp_path_factory.mktemp("long_clips"), tmp_path_factory.mktemp("stores") / "long_clips"
    for k in range(6):
        render(folder / f"{k}.mp4", film(640, 360, [150, 200], seed=70 + k), options={"preset": "ultrafast"})
    go(folder, store)
    return store


def killed_while_cutting(nodes: RunningCluster, store: Path, out: Path, film: str = "") -> Done:
    """Publishes, and kills a process of Ray that cuts: once, or each that has opened a film."""
    process, stop = start(*words(nodes, store, f"files:{out}")), threading.Event()
    until(nodes.workers)

    def kill() -> None:
        while not stop.wait(0.02):
            for worker, children in nodes.workers().items():
                if any(film in "".join(open_files(child)) for child in children):
                    with suppress(ProcessLookupError):  # it has ended since
                        os.kill(worker, signal.SIGKILL)
                    if not film:
                        return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        told, err = process.communicate(timeout=200)
    finally:
        stop.set()
        killer.join()
    return Done(process.returncode, told, err)


@pytest.mark.slow
def test_a_process_that_dies_is_survived(nodes: RunningCluster, long_clips: Path, tmp_path: Path) -> None:
    publish_here(long_clips, f"files:{tmp_path / 'here'}")
    done = killed_while_cutting(nodes, long_clips, tmp_path / "there")
    assert done.code == 0, done.err
    assert clips_in(tmp_path / "there") == clips_in(tmp_path / "here")


@pytest.mark.slow
def test_a_film_that_kills_its_process_three_times_costs_its_own_clips(nodes: RunningCluster, long_clips: Path, tmp_path: Path) -> None:
    done = killed_while_cutting(nodes, long_clips, tmp_path / "there", film="/3.mp4")
    assert done.code == 1, done.err
    assert (done.lines[0]["counts"]["failed"], done.lines[0]["counts"]["rows"]) == (2, 10)
    assert all("the worker process died" in why for why in done.lines[0]["failed"].values())


@pytest.mark.slow
def test_a_node_that_dies_is_survived(nodes: RunningCluster, long_clips: Path, tmp_path: Path) -> None:
    publish_here(long_clips, f"files:{tmp_path / 'here'}")
    process = start(*words(nodes, long_clips, f"files:{tmp_path / 'there'}"))
    until(lambda: len(nodes.workers()) == 2)
    nodes.kill_node(max(nodes.raylets))
    nodes.add_node()
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert clips_in(tmp_path / "there") == clips_in(tmp_path / "here")


@pytest.mark.slow
def test_a_publish_that_is_asked_to_stop_leaves_the_target(nodes: RunningCluster, long_clips: Path, tmp_path: Path) -> None:
    process = start(*words(nodes, long_clips, f"files:{tmp_path / 'there'}"))
    until(nodes.workers)
    process.terminate()
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert not (tmp_path / "there" / "LATEST").exists()
    until(lambda: not nodes.workers(), within_s=10.0)
