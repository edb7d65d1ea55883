"""One writer at a time: two runs on one store, what a dead or a silent holder leaves, and a lease that is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError

from object_server import object_server
from ray_runs import until
from rushes.errors import StoreBusy
from rushes.media.guard import Stopped
from rushes.store import process
from rushes.store.lease import Lease, OwnerCheck, holder
from rushes.store.store import Store, now
from stores import SRC, command, go, inline, rows_of, seen, settings_of, start
from test_conditional import options_of
from variants import variants

QUICK = ("frames.per_s=10",)


@pytest.fixture(scope="module")
def films(films_of_14_s: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films of 14 s."""
    folder = tmp_path_factory.mktemp("films")
    for path in films_of_14_s[:6]:
        os.link(path, folder / path.name)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store"), {})


def stopped(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, err


def wait_for(out: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not list(out.glob(pattern)) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def left_by(store: Store, **changes: Any) -> dict[str, Any]:
    """A lease as another machine would have left it, written by hand."""
    at = (now() - timedelta(hours=3)).isoformat()
    row = {
        "owner": "feed", "run_id": "20200101T000000-abcdef", "host": "elsewhere", "place": "another boot", "pid": 1, "started": 1,
        "since": at, "beat": 7, "at": at, **changes,
    }  # fmt: skip
    Path(store.path("lease.json")).write_text(json.dumps(row))
    return row


def taken(store: Store, *, wait: bool = False, expiry_s: float = 1.0, interrupted: threading.Event | None = None) -> float:
    """Takes and frees the lease; gives the seconds that the taking took."""
    began = time.monotonic()
    with Lease(store, "mine", beat_s=expiry_s / 4, expiry_s=expiry_s).held(wait=wait, interrupted=interrupted or threading.Event()):
        return time.monotonic() - began


# Two runs


@pytest.mark.slow
def test_the_second_run_refuses_and_the_first_is_unharmed(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    first = start("run", films, "--out", out, *settings_of(*QUICK))
    try:
        wait_for(out, "frames/**/*.parquet", first)
        held = json.loads((out / "lease.json").read_text())
        second = command("run", films, "--out", out, *settings_of(*QUICK))
        assert first.poll() is None, "the first run must still be at work for this test to mean anything"
        assert second.code == 3, second.err
        for word in (str(out), held["run_id"], str(first.pid), held["host"], held["since"], "--wait"):
            assert word in second.err
        assert "Traceback" not in second.err
        assert inline("plan", films, "--out", out, "--json", *settings_of(*QUICK)).code == 0
    finally:
        code, err = stopped(first)
    assert code == 0, err
    assert [(r["run_id"], r["status"], r["videos_scanned"]) for r in seen(out, *QUICK).runs()] == [(held["run_id"], "finished", 6)]
    go(films, tmp_path / "alone", *QUICK)
    assert rows_of(out) == rows_of(tmp_path / "alone")
    assert not (out / "lease.json").exists()


@pytest.mark.slow
def test_with_wait_the_second_run_waits_and_plans_anew(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    first = start("run", films, "--out", out, *settings_of(*QUICK))
    wait_for(out, "frames/**/*.parquet", first)
    second = start("run", films, "--out", out, "--wait", *settings_of(*QUICK))
    (code, err), (code_2, err_2) = stopped(first), stopped(second)
    assert (code, code_2) == (0, 0), err + err_2
    assert "waiting for the store" in err_2
    runs = seen(out, *QUICK).runs()
    assert [(r["videos_scanned"], r["videos_reused"]) for r in runs] == [(6, 0), (0, 6)]
    assert runs[0]["ended_at"] <= runs[1]["started_at"]


def test_waiting_ends_with_the_signal(films: Path, store: Store) -> None:
    left_by(store, at=now().isoformat())
    waiting = start("run", films, "--out", store.root, "--wait", *settings_of(*QUICK))
    assert waiting.stderr is not None
    assert "waiting for the store" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGTERM)
    assert stopped(waiting)[0] == 130
    assert holder(store) is not None


def test_a_killed_run_leaves_the_store_free_at_once(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    first = start("run", films, "--out", out, *settings_of(*QUICK))
    wait_for(out, "frames/**/*.parquet", first)
    first.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while (stat := Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split())[0] != "Z" or stat[17] != "1":
        assert time.monotonic() < deadline  # its threads end one by one
        time.sleep(0.01)
    assert (out / "lease.json").exists()
    assert taken(Store.open(str(out), {}), expiry_s=60) < 1, "not waited for by its parent: a zombie is dead too"
    first.communicate()


def test_a_store_taken_over_is_written_no_more(films: Path, tmp_path: Path) -> None:
    """Another's lease over the run's own, as after a sleep of the machine: the run ends with 3 at its next write or heartbeat."""
    out = tmp_path / "store"
    program = (
        "import sys; from rushes.store import lease; lease.BEAT_S, lease.EXPIRY_S = 0.2, 30;"
        "lease.Lease.__init__.__kwdefaults__.update(beat_s=0.2, expiry_s=30); from rushes.cli import main; main()"
    )
    words = [sys.executable, "-W", "ignore", "-c", program, "run", str(films), "--out", str(out), *settings_of(*QUICK)]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(SRC)})
    wait_for(out, "frames/**/*.parquet", run)
    left_by(Store(str(out), {}), at=now().isoformat())
    time.sleep(0.5)
    before = {p for name in ("clips", "videos", "marks") for p in out.glob(f"{name}/*.parquet")}
    code, err = stopped(run)
    assert code == 3, err
    assert "was taken over by run 20200101T000000-abcdef" in err
    assert {p for name in ("clips", "videos", "marks") for p in out.glob(f"{name}/*.parquet")} == before
    lease = json.loads((out / "lease.json").read_text())
    assert lease["run_id"] == "20200101T000000-abcdef", "the loser must leave the new holder's lease alone"


# Who may be taken over, and when


def test_a_lease_of_this_process_is_not_its_own_grandchild(store: Store) -> None:
    """Two leases of one living process exclude each other."""
    with Lease(store, "one").held(wait=False, interrupted=threading.Event()):
        with pytest.raises(StoreBusy, match="run one"):
            taken(store)
        found = holder(store)
        assert found is not None and not found["dead"]
    assert holder(store) is None


@pytest.mark.parametrize(
    ("changes", "at_once"),
    [
        ({}, False),
        ({"place": "HERE", "pid": "DEAD", "started": 1}, True),
        ({"place": "HERE", "pid": "ALIVE", "started": 1}, True),
        ({"place": "HERE", "pid": "ALIVE", "started": "ITS"}, False),
        ({"place": "", "pid": "DEAD", "started": None}, False),
        ({"host": "HERE", "place": "another boot", "pid": "DEAD"}, False),
    ],
    ids=["another machine", "dead here", "its pid was used again", "alive but silent", "no /proc", "dead before this boot"],
)
def test_a_dead_holder_frees_the_store_at_once_others_when_silent(store: Store, changes: dict[str, Any], at_once: bool) -> None:
    with subprocess.Popen(["sleep", "60"]) as alive, subprocess.Popen(["true"]) as dead:
        dead.wait()
        here, its = process.myself(), process._started(alive.pid)
        words = {"HERE": here["place"], "DEAD": dead.pid, "ALIVE": alive.pid, "ITS": its}
        words |= {"host": here["host"]}
        left_by(store, **{k: words[k] if v == "HERE" and k == "host" else words.get(v, v) for k, v in changes.items()})
        try:
            seconds = taken(store)
        finally:
            alive.kill()
    assert (seconds < 0.3) == at_once
    assert at_once or 1.0 <= seconds < 3


def test_a_fresh_lease_of_another_machine_is_refused_at_once_and_waited_for(store: Store) -> None:
    left_by(store, at=now().isoformat())
    began = time.monotonic()
    with pytest.raises(StoreBusy, match="on elsewhere, since"):
        taken(store)
    with pytest.raises(StoreBusy):
        Lease(store, "mine").refuse()
    assert time.monotonic() - began < 0.3
    assert 1.0 <= taken(store, wait=True) < 3


@pytest.mark.parametrize("hours", [-3, 3])
def test_clocks_that_differ_take_no_lease_from_a_living_holder(store: Store, hours: float) -> None:
    """The holder's clock is hours off; its heartbeats go on: watched, and refused."""
    lying, done = now() + timedelta(hours=hours), threading.Event()

    def beat() -> None:
        for k in range(100):
            left_by(store, at=(lying + timedelta(seconds=k)).isoformat(), beat=k)
            if done.wait(0.3):
                return

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        time.sleep(0.1)
        with pytest.raises(StoreBusy):
            taken(store, expiry_s=2)
        stop = threading.Event()
        threading.Timer(3, stop.set).start()
        with pytest.raises(Stopped):
            taken(store, wait=True, expiry_s=2, interrupted=stop)
    finally:
        done.set()
        thread.join()


def test_a_file_that_is_no_lease_is_waited_out(store: Store) -> None:
    Path(store.path("lease.json")).write_text("{half a li")
    assert 1.0 <= taken(store) < 3


# Losing it


class Flaky:
    """A lease file whose storage fails once for each kind of request, as a client of Google's or Azure's does: not with an OSError."""

    def __init__(self, file: Any) -> None:
        self._file, self._failed = file, set[str]()
        self.exact = file.exact

    def __getattr__(self, name: str) -> Any:
        def request(*words: Any) -> Any:
            found = getattr(self._file, name)(*words)  # it is done, and the answer is lost
            if name not in self._failed:
                self._failed.add(name)
                raise ServiceRequestError("connection reset")
            return found

        return request


def test_a_storage_that_fails_once_costs_no_lease(store: Store) -> None:
    lease = Lease(store, "run")
    lease._file = Flaky(lease._file)  # type: ignore[assignment]
    with lease.held(wait=False, interrupted=threading.Event()):
        assert (holder(store) or {})["owner"] == lease.owner
        lease.check()
        check = OwnerCheck(store, lease.owner)
        check._file = Flaky(check._file)  # type: ignore[assignment]
        check()
    assert holder(store) is None


def test_a_heartbeat_keeps_it_and_tells_when_it_is_lost(store: Store) -> None:
    lease = Lease(store, "one", beat_s=0.1, expiry_s=4)  # a busy machine may hold up one beat or ten
    with lease.held(wait=False, interrupted=threading.Event()):
        time.sleep(4.5)
        lease.check()
        assert json.loads(Path(store.path("lease.json")).read_text())["beat"] > 5
        row = left_by(store)
        until(lambda: lease.lost is not None)
        with pytest.raises(StoreBusy, match=row["run_id"]):
            lease.check()
    assert json.loads(Path(store.path("lease.json")).read_text()) == row


def test_a_lease_that_cannot_be_renewed_is_lost_before_it_expires(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder's name changes under it, as a mount that goes away: from expiry less a heartbeat on, nothing may be written."""
    lease = Lease(store, "one", beat_s=0.2, expiry_s=1)
    away = Path(store.root).with_name("away")
    with lease.held(wait=False, interrupted=threading.Event()):
        os.rename(store.root, away)
        Path(store.root).write_text("not a folder")
        began = time.monotonic()
        while lease.lost is None:
            assert time.monotonic() - began < 1
            time.sleep(0.01)
        assert time.monotonic() - began > 0.5
        with pytest.raises(StoreBusy, match="could not be renewed"):
            lease.check()


def test_a_process_that_slept_finds_its_lease_lost_before_it_writes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps, as it does over a suspend; no heartbeat has come round yet."""
    lease = Lease(store, "one", beat_s=20, expiry_s=60)
    with lease.held(wait=False, interrupted=threading.Event()):
        lease.check()
        there = time.clock_gettime(time.CLOCK_BOOTTIME) + 41
        monkeypatch.setattr(time, "clock_gettime", lambda _clock: there)
        with pytest.raises(StoreBusy, match="could not be renewed for 40 s"):
            lease.check()


# A race

RACER = """
import sys, threading, time
from rushes.store.lease import Lease
from rushes.errors import StoreBusy
from rushes.store.store import Store
options = eval(sys.argv[2])
store, never = Store(sys.argv[1], options), threading.Event()
print("ready", flush=True)
for line in sys.stdin:
    try:
        with Lease(store, "racer", beat_s=0.5, expiry_s=float(sys.argv[3])).held(wait=False, interrupted=never):
            print("won", flush=True)
            sys.stdin.readline()
        print("freed", flush=True)
    except StoreBusy:
        print("refused", flush=True)
"""


def race(store: Store, rounds: int, racers: int, expiry_s: float) -> None:
    """Processes that race for a stale lease: each time exactly one wins, and holds it against the others."""
    words = [sys.executable, "-W", "ignore", "-c", RACER, store.root, repr(store.options), str(expiry_s)]
    environ = {**os.environ, "PYTHONPATH": str(SRC)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1, "env": environ}
    running = [subprocess.Popen(words, **pipes) for _ in range(racers)]
    try:
        assert {p.stdout.readline() for p in running} == {"ready\n"}
        for _ in range(rounds):
            row = {"owner": "feed", "run_id": "old", "host": "elsewhere", "place": "another boot", "pid": 1, "started": 1, "beat": 1}
            row |= dict.fromkeys(("since", "at"), (now() - timedelta(hours=1)).isoformat())
            write(store, json.dumps(row).encode())
            for p in running:
                p.stdin.write("go\n")
            said = [p.stdout.readline().strip() for p in running]
            assert sorted(said) == ["refused"] * (racers - 1) + ["won"]
            winner = running[said.index("won")]
            winner.stdin.write("free\n")
            assert winner.stdout.readline().strip() == "freed"
            assert holder(store) is None
    finally:
        for p in running:
            p.kill()
            p.communicate()


def write(store: Store, data: bytes) -> None:
    from rushes.media.storage import put_atomic

    put_atomic(store.path("lease.json"), data, store.options)


def test_of_eight_processes_one_takes_a_stale_lease(store: Store) -> None:
    race(store, rounds=5, racers=8, expiry_s=1.1)


@pytest.fixture(scope="module", params=variants(["s3", "s3-deaf"], quick=["s3-deaf"]))
def bucket(request: pytest.FixtureRequest) -> Any:
    with object_server(request.param) as address:
        yield address


def test_of_four_processes_one_takes_a_stale_lease_in_a_bucket(bucket: str) -> None:
    """Also on a server that ignores conditions, there after a second look."""
    import fsspec

    options = {"s3": options_of("s3", bucket)["s3"]}
    fsspec.filesystem("s3", **options["s3"]).call_s3("create_bucket", Bucket="bucket")
    race(Store.create("s3://bucket/store", options), rounds=1, racers=4, expiry_s=4)
