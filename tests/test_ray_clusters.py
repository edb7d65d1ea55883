"""Clusters that go or are not there: a head that dies, and addresses at which there is no cluster."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from caption_server import start_server
from ray_cluster import cluster
from ray_runs import QUICK, on_ray, until
from rushes import ray_cluster
from stores import seen, settings_of, start


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "name"),
    [
        pytest.param(0, "the head of the cluster", id="gcs", marks=pytest.mark.slow),
        pytest.param(1, "the raylet of the driver's node", id="raylet"),
    ],
)
def test_a_head_that_dies_ends_the_run_with_a_word(ray_films: Path, tmp_path: Path, which: int, name: str) -> None:
    """A cluster of its own. Left to itself, Ray's client would end the driver with exit code 1.

    A second process stands in for a run that waits in a call of Ray's and cannot look for itself.
    """
    out = tmp_path / "store"
    code = "from rushes import cli; from rushes import ray_cluster; ray_cluster.HEAD_S = 2.0; cli.main()"
    with start_server(service_s=3600, spare_tests=True) as server, cluster() as held:
        waits = f"import time; ray_cluster.GRACE_S = 0.5; ray_cluster.join('{held.address}'); print('joined', flush=True); time.sleep(300)"
        waiting = start(code=code.replace("cli.main()", waits))
        assert waiting.stdout is not None and waiting.stdout.readline() == "joined\n"
        model = ("captions.engine=openai", "captions.model=tiny-vlm", f"captions.base_url={server.base_url}")
        process = start(*on_ray(held, ray_films, out, *model), code=code)
        until(lambda: any(r["images"] for r in server.stats()["requests"]))
        os.kill(held.head[which], signal.SIGKILL)
        _, err = process.communicate(timeout=120)
        until(lambda: not held.workers(), within_s=30.0)
        _, waiting_err = waiting.communicate(timeout=60)
    assert (process.returncode, waiting.returncode) == (3, 3), (err, waiting_err)
    for words in (err, waiting_err):
        assert f"{name} takes no connection at {held.address.rpartition(':')[0]}:" in words and " s and more. Fix: " in words
    assert "run the same command again" in err
    assert seen(out, *QUICK, *model).runs()[-1]["status"] == "interrupted"


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """Takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("", 0))  # Ray's client turns a loopback address into that of the machine
        listening.listen()
        listening.settimeout(60)
        yield listening


def test_an_address_without_a_cluster_is_one_line_and_exit_3(ray_films: Path, tmp_path: Path, deaf: socket.socket) -> None:
    """Nothing listens, no such host, and something that is no Ray, which Ray's client would try for ten minutes, with lines of its own."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
        code = "from rushes import cli; from rushes import ray_cluster; ray_cluster.JOIN_S = 2.5; cli.main()"
        for address in (f"127.0.0.1:{closed}", "no-such-host.invalid:6379", f"127.0.0.1:{deaf.getsockname()[1]}"):
            process = start("run", ray_films, "--out", tmp_path / "store", "--ray", address, *settings_of(*QUICK), code=code)
            _, err = process.communicate(timeout=60)
            assert process.returncode == 3, err
            assert err.count("\n") == 1 and f"no Ray cluster at {address}: " in err and "Fix: " in err
    assert not (tmp_path / "store").exists()
    assert ray_cluster.CONNECT_S + ray_cluster.JOIN_S <= 30, "the time that the pages state"


def test_a_run_says_that_it_is_joining(ray_films: Path, tmp_path: Path, deaf: socket.socket) -> None:
    code = "from rushes import cli; from rushes import ray_cluster as r; r.JOIN_S, r.TELL_EVERY_S = 4.5, 2.0; cli.main()"
    address = f"127.0.0.1:{deaf.getsockname()[1]}"
    process = start("run", ray_films, "--out", tmp_path / "store", "--ray", address, *settings_of(*QUICK), code=code)
    _, err = process.communicate(timeout=60)
    assert err.splitlines()[:-1] == [f"joining the Ray cluster {address} ... {s} s" for s in (2, 4)], err


def test_a_run_that_waits_for_a_wrong_address_obeys_the_first_signal(ray_films: Path, tmp_path: Path, deaf: socket.socket) -> None:
    address = f"127.0.0.1:{deaf.getsockname()[1]}"
    process = start("run", ray_films, "--out", tmp_path / "store", "--ray", address, *settings_of(*QUICK))
    held = [deaf.accept() for _ in range(2)]  # a look whether anything listens; then Ray's client, which goes on for minutes
    process.send_signal(signal.SIGINT)
    since = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - since < 15, err
    for connection, _ in held:
        connection.close()
