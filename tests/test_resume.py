"""Stopping a run, roughly and politely, and going on: readers see what an undisturbed run would have made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ours
from rushes.engine.plan.plan import make_plan
from rushes.store.store import Store
from stores import SRC, command, go, inline, recipe, rows_of, seen, settings_of, start
from variants import variants

N_FILMS = 8
QUICK = ("scan.workers=2", "rules.too_short.min=0.5", "frames.per_s=10")


@pytest.fixture(scope="module")
def films(films_of_14_s: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight films of 14 s and two shots, three of them one content under other names and one broken."""
    folder = tmp_path_factory.mktemp("films")
    for path in films_of_14_s[: N_FILMS - 2]:
        os.link(path, folder / path.name)
    shutil.copyfile(folder / "3.mp4", folder / "copy.mp4")
    (folder / "broken.mp4").write_bytes(bytes(range(256)) * 40)
    return folder


@pytest.fixture(scope="module")
def undisturbed(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "store"
    go(films, out, *QUICK)
    return out


def begun(films: Path, out: Path) -> subprocess.Popen[str]:
    return start("run", films, "--out", out, *settings_of(*QUICK))


def ended(process: subprocess.Popen[str], within_s: float) -> tuple[int, str]:
    began = time.monotonic()
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - began < within_s
    return process.returncode, err


def wait_for(out: Path, pattern: str, process: subprocess.Popen[str], n: int = 1) -> None:
    deadline = time.monotonic() + 60
    while len(list(out.glob(pattern))) < n and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def orphans_gone(before: set[int], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while set(ours()) - before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("number", variants([signal.SIGINT, signal.SIGTERM], quick=[signal.SIGTERM]))
def test_asked_to_stop_it_stops_in_seconds_and_says_how_to_go_on(
    films: Path, undisturbed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out, before = tmp_path / "store", set(ours())
    process = begun(films, out)
    wait_for(out, "marks/*.parquet", process)  # the last rows of a video
    process.send_signal(number)
    code, err = ended(process, within_s=30)
    assert code == 130
    assert "run the same command again to go on" in err
    assert orphans_gone(before, 10.0)
    [row] = seen(out, *QUICK).runs()
    assert (row["status"], row["videos_found"]) == ("interrupted", N_FILMS)
    have = {v["uri"] for v in seen(out, *QUICK).videos() if v["status"] == "done"}
    assert have, "what was done before the stop is there"
    plan = make_plan([str(films)], Store.open(str(out), {}), recipe(*QUICK))
    assert {s.footage.uri for s in plan.sources if s.status == "reused"} == have
    counts = go(films, out, *QUICK).counts
    assert counts["videos_scanned"] == N_FILMS - 2 - len(have)
    assert rows_of(out) == rows_of(undisturbed)


def test_a_second_ctrl_c_ends_it_at_once(films: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "store", set(ours())
    process = begun(films, out)
    wait_for(out, "frames/**/*.parquet", process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, _ = ended(process, within_s=15)
    assert code == 130
    assert orphans_gone(before, 10.0)


def test_status_tells_a_running_run_from_a_crashed_one(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    process = begun(films, out)
    wait_for(out, "frames/**/*.parquet", process)
    [row] = inline("status", out, "--json").lines
    assert (row["status"], row["videos_found"]) == ("running", N_FILMS)
    process.kill()
    process.communicate()
    assert [r["status"] for r in inline("runs", out, "--json").lines] == ["crashed"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_in_words_and_room_lets_it_go_on(films: Path, undisturbed: Path, small_disk: Path) -> None:
    out = small_disk / "store"
    full = command("run", films, "--out", out, *settings_of(*QUICK))
    assert full.code == 3, full.err
    assert "space" in full.err.lower()
    assert "Traceback" not in full.err
    assert str(out) in full.err
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert command("run", films, "--out", out, *settings_of(*QUICK)).code == 0
    assert rows_of(out) == rows_of(undisturbed)


def test_a_store_that_may_not_grow_stops_the_run_in_words(films: Path, undisturbed: Path, tmp_path: Path) -> None:
    """A limit on the size of files, as a quota would be: every part is refused; without it the run goes on."""
    out = tmp_path / "store"
    program = (
        "import resource, signal, runpy, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); sys.argv = sys.argv[1:];"
        "runpy.run_module('rushes.cli', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "rushes", "run", str(films), "--out", str(out), *settings_of(*QUICK)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SRC)}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "Fix:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [
        v for v in (seen(out, *QUICK).videos() if (out / "videos").exists() else []) if v["status"] == "failed" and "broken" not in v["uri"]
    ]
    assert go(films, out, *QUICK).status == "finished"
    assert rows_of(out) == rows_of(undisturbed)
