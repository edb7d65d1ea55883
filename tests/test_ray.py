"""The same program on Ray: the same rows on a cluster of two nodes, also when a node, a worker or the driver dies in the middle.

What begins and ends with the cluster itself is in test_ray_clusters.py.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from caption_server import start_server
from conftest import ours
from footage import render
from pictures import film
from processes import open_files
from ray_cluster import RunningCluster
from ray_runs import N_FILMS, QUICK, but_errors, on_ray, until
from stores import command, rows_of, seen, start


def test_a_cluster_makes_the_rows_that_one_machine_makes(nodes: RunningCluster, ray_films: Path, ray_native: Path, tmp_path: Path) -> None:
    process, at_work = start(*on_ray(nodes, ray_films, tmp_path / "store")), set()
    while process.poll() is None:
        at_work |= nodes.workers().keys()
        time.sleep(0.05)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert len(at_work) == 2, "both nodes decode"
    assert rows_of(tmp_path / "store") == rows_of(ray_native)
    assert seen(tmp_path / "store", *QUICK).clips() == seen(ray_native, *QUICK).clips()
    [row] = seen(tmp_path / "store", *QUICK).runs()
    assert (row["runner"], row["status"], row["videos_scanned"], row["videos_failed"]) == ("ray", "finished", N_FILMS, 1)
    assert row["decoded_s"] == pytest.approx(row["footage_s"]) == pytest.approx(14.0 * N_FILMS, abs=0.5)
    again = command(*on_ray(nodes, ray_films, tmp_path / "store"))
    assert again.code == 0, again.err
    assert seen(tmp_path / "store", *QUICK).runs()[-1]["decoded_s"] == 0
    assert rows_of(tmp_path / "store") == rows_of(ray_native)


@pytest.mark.slow
def test_a_worker_process_that_dies_is_survived(nodes: RunningCluster, ray_films: Path, ray_native: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    process = start(*on_ray(nodes, ray_films, out))
    until(lambda: list(out.glob("marks/*.parquet")) and len(nodes.workers()) == 2)
    os.kill(min(nodes.workers()), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert but_errors(out) == but_errors(ray_native)
    [row] = seen(out, *QUICK).runs()
    assert row["videos_found"] == row["videos_scanned"] + row["videos_failed"]


def test_a_driver_that_dies_takes_all_workers_with_it(nodes: RunningCluster, ray_films: Path, ray_native: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    process = start(*on_ray(nodes, ray_films, out))
    until(lambda: list(out.glob("marks/*.parquet")))
    process.kill()
    process.communicate()
    until(lambda: not any("rushes.engine.work.child" in cmd for cmd in ours().values()), within_s=10.0)  # 2 s on a quiet machine
    files = {p: p.stat().st_mtime_ns for p in out.rglob("*.parquet")}
    time.sleep(1.5)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.parquet")} == files, "an orphan wrote"
    done = command(*on_ray(nodes, ray_films, out))
    assert done.code == 0, done.err
    assert but_errors(out) == but_errors(ray_native)


@pytest.mark.parametrize("is_local", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_that_is_asked_to_stop_stops_as_on_one_machine(
    nodes: RunningCluster, ray_films: Path, tmp_path: Path, is_local: bool
) -> None:
    """Ray's own handler of SIGTERM would end the driver at once, with exit code 15. `local` also ends the cluster that it began."""
    out = tmp_path / "store"
    words = ["local" if is_local and word == nodes.address else word for word in on_ray(nodes, ray_films, out)]
    log = tmp_path / "log"
    process = start(*words, "--log", log)
    until(lambda: (log.exists() and "video done" in log.read_text()) or process.poll() is not None)  # so the driver has counted it
    process.terminate()
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "stopping (SIGTERM)" in err and "run the same command again" in err
    [row] = seen(out, *QUICK).runs()
    assert row["status"] == "interrupted" and 0 < row["videos_scanned"] < N_FILMS


def test_a_video_that_kills_its_worker_is_one_failed_row_and_the_rest_goes_on(
    nodes: RunningCluster, ray_films: Path, tmp_path: Path
) -> None:
    """Whoever opens the poison dies, as by the system's out-of-memory killer: three times, then it is failed, in the same run."""
    out, poison = tmp_path / "store", tmp_path / "poison.mp4"
    render(poison, film(320, 180, [150, 200], seed=9), options={"preset": "ultrafast"})
    verb, *rest = on_ray(nodes, ray_films, out, "captions.engine=none")
    process = start(verb, poison, *rest)
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.05):
            for worker, children in nodes.workers().items():
                if any(str(poison) in open_files(child) for child in children):
                    with suppress(ProcessLookupError):  # it has ended since
                        os.kill(worker, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        _, err = process.communicate(timeout=200)
    finally:
        stop.set()
        killer.join()
    assert process.returncode == 0, err
    found = seen(out, *QUICK, "captions.engine=none")
    status = {Path(v["uri"]).name: (v["status"], v["error_type"]) for v in found.videos()}
    assert status.pop("poison.mp4") == ("failed", "WorkerLost")
    assert status.pop("broken.mp4")[0] == "failed"
    assert set(status.values()) == {("done", None)}
    attempts = sorted(e["attempt"] for e in found.errors() if e["uri"] == str(poison))
    assert attempts == [1, 2, 3]


@pytest.mark.slow
def test_captions_are_asked_for_from_the_nodes(nodes: RunningCluster, ray_films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    with start_server() as server:
        model = ("captions.engine=openai", "captions.model=tiny-vlm", f"captions.base_url={server.base_url}", "captions.concurrency=2")
        process = start(*on_ray(nodes, ray_films, out, *model))
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        [row] = seen(out, *QUICK, *model).runs()
        assert row["captions_made"] == row["clips_kept"] == len(rows_of(out, "captions")["captions"])


@pytest.mark.slow
def test_a_run_is_stopped_while_a_task_is_on_a_dead_node(nodes: RunningCluster, ray_films: Path, tmp_path: Path) -> None:
    """Ray takes some 14 s to call the node dead; its client, asked after it was disconnected, would turn exit code 130 into 1."""
    out = tmp_path / "store"
    process = start(*on_ray(nodes, ray_films, out))
    until(lambda: list(out.glob("marks/*.parquet")) and len(nodes.workers()) == 2)
    nodes.kill_node(max(nodes.raylets))
    nodes.add_node()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err


def test_a_node_that_dies_is_survived(nodes: RunningCluster, ray_films: Path, ray_native: Path, tmp_path: Path) -> None:
    """The node stays away: the next test begins with one."""
    out = tmp_path / "store"
    process = start(*on_ray(nodes, ray_films, out))
    until(lambda: list(out.glob("marks/*.parquet")) and len(nodes.workers()) == 2)
    nodes.kill_node(max(nodes.raylets))
    _, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert rows_of(out) == rows_of(ray_native), "a machine that goes is no attempt at what it held"
    [row] = seen(out, *QUICK).runs()
    assert row["videos_found"] == row["videos_scanned"] + row["videos_failed"]


@pytest.mark.slow
def test_a_node_that_joins_in_mid_run_gets_work(nodes: RunningCluster, ray_films: Path, ray_native: Path, tmp_path: Path) -> None:
    """Tasks that wait in Ray's hands go to it: the driver need not notice."""
    out = tmp_path / "store"
    while len(nodes.raylets) > 1:
        nodes.kill_node(max(nodes.raylets))
    process = start(*on_ray(nodes, ray_films, out))
    until(lambda: list(out.glob("marks/*.parquet")))
    assert len(nodes.workers()) == 1
    nodes.add_node()
    since = time.monotonic()
    until(lambda: len(nodes.workers()) == 2 or process.poll() is not None)
    assert process.poll() is None and time.monotonic() - since < 30
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert rows_of(out) == rows_of(ray_native)
