"""The same program on Ray: the same rows on a cluster of two nodes, also when a node, a worker or the driver dies in the middle."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from caption_server import start_server
from conftest import ours
from footage import render
from pictures import film
from processes import open_files
from ray_cluster import RunningCluster, cluster
from stores import command, go, rows_of, seen, settings_of, start

QUICK = ("scan.workers=0", "rules.too_short.min=0.5", "frames.per_s=10")
N_FILMS = 8


@pytest.fixture(scope="module")
def nodes() -> Iterator[RunningCluster]:
    """Two nodes with one CPU each."""
    with cluster() as running:
        yield running


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of 14 s and two shots, and one that is none."""
    folder = tmp_path_factory.mktemp("films")
    for k in range(N_FILMS):
        render(folder / f"{k}.mp4", film(320, 180, [150, 200], seed=40 + k), options={"preset": "ultrafast"})
    (folder / "broken.mp4").write_bytes(bytes(range(256)) * 40)
    return folder


@pytest.fixture(scope="module")
def native(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the native runner makes of the films."""
    out = tmp_path_factory.mktemp("native") / "store"
    go(films, out, *QUICK)
    return out


def on_ray(nodes: RunningCluster, films: Path, out: Path, *settings: str) -> list[str | Path]:
    return ["run", films, "--out", out, "--ray", nodes.address, *settings_of(*QUICK, *settings)]


def but_errors(out: Path) -> dict[str, list[dict[str, object]]]:
    return {name: rows for name, rows in rows_of(out).items() if name != "errors"}


def until(condition: object, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_cluster_makes_the_rows_that_one_machine_makes(nodes: RunningCluster, films: Path, native: Path, tmp_path: Path) -> None:
    process, at_work = start(*on_ray(nodes, films, tmp_path / "store")), set()
    while process.poll() is None:
        at_work |= nodes.workers().keys()
        time.sleep(0.05)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert len(at_work) == 2, "both nodes decode"
    assert rows_of(tmp_path / "store") == rows_of(native)
    assert seen(tmp_path / "store", *QUICK).clips() == seen(native, *QUICK).clips()
    [row] = seen(tmp_path / "store", *QUICK).runs()
    assert (row["runner"], row["status"], row["videos_scanned"], row["videos_failed"]) == ("ray", "finished", N_FILMS, 1)
    assert row["decoded_s"] == pytest.approx(row["footage_s"]) == pytest.approx(14.0 * N_FILMS, abs=0.5)
    again = command(*on_ray(nodes, films, tmp_path / "store"))
    assert again.code == 0, again.err
    assert seen(tmp_path / "store", *QUICK).runs()[-1]["decoded_s"] == 0
    assert rows_of(tmp_path / "store") == rows_of(native)


def test_a_worker_process_that_dies_is_survived(nodes: RunningCluster, films: Path, native: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    process = start(*on_ray(nodes, films, out))
    until(lambda: list(out.glob("marks/*.parquet")) and len(nodes.workers()) == 2)
    os.kill(min(nodes.workers()), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert but_errors(out) == but_errors(native)
    [row] = seen(out, *QUICK).runs()
    assert row["videos_found"] == row["videos_scanned"] + row["videos_failed"]


def test_a_driver_that_dies_takes_all_workers_with_it(nodes: RunningCluster, films: Path, native: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    process = start(*on_ray(nodes, films, out))
    until(lambda: list(out.glob("marks/*.parquet")))
    process.kill()
    process.communicate()
    until(lambda: not any("rushes.engine.work.child" in cmd for cmd in ours().values()), within_s=2.0)
    files = {p: p.stat().st_mtime_ns for p in out.rglob("*.parquet")}
    time.sleep(1.5)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.parquet")} == files, "an orphan wrote"
    done = command(*on_ray(nodes, films, out))
    assert done.code == 0, done.err
    assert but_errors(out) == but_errors(native)


@pytest.mark.parametrize("is_local", [False, True])
def test_a_run_that_is_asked_to_stop_stops_as_on_one_machine(nodes: RunningCluster, films: Path, tmp_path: Path, is_local: bool) -> None:
    """Ray's own handler of SIGTERM would end the driver at once, with exit code 15. `local` also ends the cluster that it began."""
    out = tmp_path / "store"
    words = ["local" if is_local and word == nodes.address else word for word in on_ray(nodes, films, out)]
    process = start(*words)
    until(lambda: list(out.glob("marks/*.parquet")) or process.poll() is not None)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "stopping (SIGTERM)" in err and "run the same command again" in err
    [row] = seen(out, *QUICK).runs()
    assert row["status"] == "interrupted" and 0 < row["videos_scanned"] < N_FILMS


def test_a_video_that_kills_its_worker_is_one_failed_row_and_the_rest_goes_on(nodes: RunningCluster, films: Path, tmp_path: Path) -> None:
    """Whoever opens the poison dies, as by the system's out-of-memory killer: three times, then it is failed, in the same run."""
    out, poison = tmp_path / "store", tmp_path / "poison.mp4"
    render(poison, film(640, 360, [700, 700], seed=9), options={"preset": "ultrafast"})
    verb, *rest = on_ray(nodes, films, out, "captions.engine=none")
    process = start(verb, poison, *rest)
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.01):
            for worker, children in nodes.workers().items():
                if any(str(poison) in open_files(child) for child in children):
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


def test_captions_are_asked_for_from_the_nodes(nodes: RunningCluster, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    with start_server() as server:
        model = ("captions.engine=openai", "captions.model=tiny-vlm", f"captions.base_url={server.base_url}", "captions.concurrency=2")
        process = start(*on_ray(nodes, films, out, *model))
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        [row] = seen(out, *QUICK, *model).runs()
        assert row["captions_made"] == row["clips_kept"] == len(rows_of(out, "captions")["captions"])


@pytest.mark.parametrize(("which", "name"), [(0, "the head of the cluster"), (1, "the raylet of the driver's node")], ids=["gcs", "raylet"])
def test_a_head_that_dies_ends_the_run_with_a_word(films: Path, tmp_path: Path, which: int, name: str) -> None:
    """A cluster of its own. Left to itself, Ray's client would end the driver with exit code 1.

    A second process stands in for a run that waits in a call of Ray's and cannot look for itself.
    """
    out = tmp_path / "store"
    code = "from rushes import cli; from rushes.engine import ray_cluster; ray_cluster.HEAD_S = 2.0; cli.main()"
    with start_server(service_s=3600) as server, cluster() as held:
        waits = f"import time; ray_cluster.GRACE_S = 0.5; ray_cluster.join('{held.address}'); print('joined', flush=True); time.sleep(50)"
        waiting = start(code=code.replace("cli.main()", waits))
        assert waiting.stdout is not None and waiting.stdout.readline() == "joined\n"
        model = ("captions.engine=openai", "captions.model=tiny-vlm", f"captions.base_url={server.base_url}")
        process = start(*on_ray(held, films, out, *model), code=code)
        until(lambda: any(r["images"] for r in server.stats()["requests"]))
        os.kill(held.head[which], signal.SIGKILL)
        _, err = process.communicate(timeout=40)
        until(lambda: not held.workers(), within_s=10.0)
        _, waiting_err = waiting.communicate(timeout=10)
    assert (process.returncode, waiting.returncode) == (3, 3), (err, waiting_err)
    for words in (err, waiting_err):
        assert f"{name} takes no connection at {held.address.rpartition(':')[0]}:" in words and " s and more. Mend: " in words
    assert "run the same command again" in err
    assert seen(out, *QUICK, *model).runs()[-1]["status"] == "interrupted"


def test_a_run_is_stopped_while_a_task_is_on_a_dead_node(nodes: RunningCluster, films: Path, tmp_path: Path) -> None:
    """Ray takes some 14 s to call the node dead; its client, asked after it was disconnected, would turn exit code 130 into 1."""
    out = tmp_path / "store"
    process = start(*on_ray(nodes, films, out))
    until(lambda: list(out.glob("marks/*.parquet")) and len(nodes.workers()) == 2)
    nodes.kill_node(min(nodes.raylets))
    nodes.add_node()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err


def test_a_node_that_joins_in_mid_run_gets_work(films: Path, native: Path, tmp_path: Path) -> None:
    """Tasks that wait in Ray's hands go to it: the driver need not notice."""
    out = tmp_path / "store"
    with cluster(gpus=(0,)) as small:
        process = start(*on_ray(small, films, out))
        until(lambda: list(out.glob("marks/*.parquet")))
        assert len(small.workers()) == 1
        small.add_node()
        since = time.monotonic()
        until(lambda: len(small.workers()) == 2 or process.poll() is not None)
        assert process.poll() is None and time.monotonic() - since < 10
        _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert rows_of(out) == rows_of(native)


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """Takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("", 0))  # Ray's client turns a loopback address into that of the machine
        listening.listen()
        listening.settimeout(60)
        yield listening


def test_an_address_without_a_cluster_is_one_line_and_exit_3(films: Path, tmp_path: Path, deaf: socket.socket) -> None:
    """Nothing listens, no such host, and something that is no Ray, which Ray's client would try for ten minutes, with lines of its own."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
        for address, within_s in (
            (f"127.0.0.1:{closed}", 10),
            ("no-such-host.invalid:6379", 10),
            (f"127.0.0.1:{deaf.getsockname()[1]}", 32),
        ):
            since = time.monotonic()
            done = command("run", films, "--out", tmp_path / "store", "--ray", address, *settings_of(*QUICK))
            assert done.code == 3 and time.monotonic() - since < within_s
            assert done.err.count("\n") == 1 and f"no Ray cluster at {address}: " in done.err and "Mend: " in done.err
    assert not (tmp_path / "store").exists()


def test_a_run_that_waits_for_a_wrong_address_obeys_the_first_signal(films: Path, tmp_path: Path, deaf: socket.socket) -> None:
    address = f"127.0.0.1:{deaf.getsockname()[1]}"
    process = start("run", films, "--out", tmp_path / "store", "--ray", address, *settings_of(*QUICK))
    held = [deaf.accept() for _ in range(2)]  # a look whether anything listens; then Ray's client, which goes on for minutes
    process.send_signal(signal.SIGINT)
    since = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - since < 5, err
    for connection, _ in held:
        connection.close()


def test_a_node_that_dies_is_survived(nodes: RunningCluster, films: Path, native: Path, tmp_path: Path) -> None:
    """Last of all, since the node does not come back."""
    out = tmp_path / "store"
    process = start(*on_ray(nodes, films, out))
    until(lambda: list(out.glob("marks/*.parquet")) and len(nodes.workers()) == 2)
    nodes.kill_node(min(nodes.raylets))
    _, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert rows_of(out) == rows_of(native), "a machine that goes is no attempt at what it held"
    [row] = seen(out, *QUICK).runs()
    assert row["videos_found"] == row["videos_scanned"] + row["videos_failed"]
