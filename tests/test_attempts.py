"""How often a video is tried: a child that dies of it, bytes that cannot be read, and all of it once more when asked."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from footage import render
from pictures import film
from processes import descendants, open_files
from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import Attempt, Scan, Setup, Video
from rushes.engine.worker import MODULE, Failures, Worker
from rushes.media.identity import video_id
from rushes.store.lease import Lease
from rushes.store.store import Store
from stores import go, inline, recipe, rows_of, seen, settings_of, start
from variants import variants


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attempts")
    render(folder / "good.mp4", film(192, 108, [75], seed=1))
    render(folder / "poison.mp4", film(640, 360, [600], seed=2), options={"preset": "ultrafast"})
    return folder


SLOW = ("frames.per_s=10", "frames.quality=100")
"""With these the poison takes a second or two to scan: long enough to be seen at work, also on a busy machine."""
SLOW_SEGMENTS = ("frames.per_s=25", "frames.quality=100")
"""With these a segment of 6 s takes a second."""


@contextmanager
def killed_by(poison: Path, parent: int, times: int = 10**6, number: signal.Signals = signal.SIGKILL) -> Iterator[list[int]]:
    """Whichever process below `parent` opens the poison is killed, or sent another signal, so many times."""
    killed: list[int] = []
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.005) and len(killed) < times:
            for pid in descendants(parent):
                if pid not in killed and str(poison) in open_files(pid):
                    killed.append(pid)
                    os.kill(pid, number)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def test_a_child_that_always_dies_of_a_video_fails_it_after_three_attempts_and_the_run_goes_on(footage: Path, tmp_path: Path) -> None:
    out, poison = tmp_path / "store", footage / "poison.mp4"
    process = start("run", footage, "--out", out, *settings_of(*SLOW))
    with killed_by(poison, process.pid) as killed:
        _, err = process.communicate(timeout=120)
    assert (process.returncode, len(killed)) == (0, 3), err
    found = seen(out, *SLOW)
    assert {Path(v["uri"]).name: (v["status"], v["error_type"]) for v in found.videos()} == {
        "good.mp4": ("done", None), "poison.mp4": ("failed", "CrashError"),
    }  # fmt: skip
    attempts = [(e["attempt"], e["permanent"]) for e in found.errors()]
    assert sorted(attempts) == [(1, False), (2, False), (3, True)]
    [row] = found.runs()
    assert (row["videos_scanned"], row["videos_failed"], row["clips_failed"]) == (1, 1, 0)
    again = go(footage, out, *SLOW)
    assert (again.counts["decoded_s"], again.counts["videos_failed"]) == (0, 1), "what failed for good is not tried by itself"
    asked = inline("run", footage, "--out", out, "--retry-failed", *settings_of(*SLOW))
    assert asked.code == 0, asked.err
    assert {v["status"] for v in seen(out, *SLOW).videos()} == {"done"}
    assert seen(out, *SLOW).runs()[-1]["videos_failed"] == 0


@pytest.mark.slow
def test_a_segment_that_cannot_be_scanned_fails_its_video_once(footage: Path, tmp_path: Path) -> None:
    """Both workers have segments of it; a fourth of the video is enough to fail it, and nobody waits for the rest."""
    out, poison = tmp_path / "store", footage / "poison.mp4"
    process = start("run", footage, "--out", out, *settings_of("engine.segment_s=6", "scan.workers=2", *SLOW_SEGMENTS))
    with killed_by(poison, process.pid):
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    status = {Path(v["uri"]).name: (v["status"], v["error_type"]) for v in seen(out, *SLOW_SEGMENTS).videos()}
    assert status == {"good.mp4": ("done", None), "poison.mp4": ("failed", "CrashError")}
    [row] = seen(out, *SLOW_SEGMENTS).runs()
    assert (row["videos_found"], row["videos_scanned"], row["videos_failed"]) == (2, 1, 1)


@pytest.mark.slow
def test_segments_are_tried_each_for_itself(footage: Path, tmp_path: Path) -> None:
    """Two segments of one video under way die at the same moment: each is recorded by its start, neither is a second attempt."""
    out, poison = tmp_path / "store", footage / "poison.mp4"
    process = start("run", poison, "--out", out, *settings_of("engine.segment_s=3", "scan.workers=2", "scan.attempts=2"))
    held: list[int] = []
    while len(held) < 2:
        assert process.poll() is None
        for pid in descendants(process.pid) if list(out.glob("segments/**/*.parquet")) else ():  # before that it is seen where to cut
            if pid not in held and str(poison) in open_files(pid):
                os.kill(pid, signal.SIGSTOP)
                held.append(pid)
        time.sleep(0.002)
    for pid in held:
        os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert {v["status"] for v in seen(out).videos()} == {"done"}
    errors = seen(out).errors()
    assert [(e["stage"], e["attempt"], e["error_type"], e["permanent"]) for e in errors] == [("scan", 1, "CrashError", False)] * 2
    assert len({int(e["key"].removeprefix(f"{e['video_id']}@")) for e in errors}) == 2


@pytest.mark.slow
def test_a_child_that_dies_once_is_no_failure(footage: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    process = start("run", footage, "--out", out, *settings_of(*SLOW))
    with killed_by(footage / "poison.mp4", process.pid, times=1) as killed:
        _, err = process.communicate(timeout=120)
    assert (process.returncode, len(killed)) == (0, 1), err
    assert {v["status"] for v in seen(out, *SLOW).videos()} == {"done"}
    assert [(e["attempt"], e["error_type"], e["permanent"]) for e in seen(out, *SLOW).errors()] == [(1, "CrashError", False)]


def test_a_child_that_dies_between_two_jobs_costs_nothing(footage: Path, tmp_path: Path) -> None:
    """The next job gets a new child, which is told of the run first; no job was under way, so there is no attempt to record."""
    store, stop = Store.create(str(tmp_path / "store"), {}), threading.Event()
    lease, prints = Lease(store, "run"), fingerprints(recipe())
    setup = Setup(run_id="run", store=store.root, owner=lease.owner, recipe=recipe(), prints=prints)
    worker, found = Worker(setup, Failures(setup, store), stop), []
    with lease.held(wait=False, interrupted=stop):
        for path in (footage / "poison.mp4", footage / "good.mp4"):
            stat = path.stat()
            digest = video_id(str(path), stat.st_size, {})
            video = Video(uri=str(path), source=str(path), video_id=digest, size=stat.st_size, stamp=str(stat.st_mtime_ns))
            found.append(worker.do(Scan(video=video), Attempt()))
            [child] = [pid for pid, words in descendants(os.getpid()).items() if MODULE in words]
            os.kill(child, signal.SIGKILL)
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has ended; the guard itself waits for it
        worker.kill()
    assert [(outcome.failure, outcome.counts.get("videos_scanned")) for outcome in found] == [(None, 1.0)] * 2
    assert rows_of(tmp_path / "store", "errors") == {"errors": []}


def test_what_may_pass_is_tried_by_so_many_runs(footage: Path, tmp_path: Path) -> None:
    """A child that stands still, as a disk makes it: a hang. Each child that opens the film is stopped."""
    out, slow = tmp_path / "store", ("scan.hang_s=1", "scan.attempts=2")
    poison = [footage / "poison.mp4"]
    for n in (1, 2):
        with killed_by(poison[0], os.getpid(), number=signal.SIGSTOP):
            go(poison, out, *slow)
        assert [(e["attempt"], e["permanent"]) for e in seen(out).errors()][-1] == (n, n == 2)
    assert {e["error_type"] for e in seen(out).errors()} == {"HangError"}
    go(poison, out, "scan.attempts=2")
    assert len(seen(out).errors()) == 2
    assert [v["status"] for v in seen(out).videos()] == ["failed"], "two attempts are used up, though it would pass now"


@pytest.mark.parametrize("attempts", variants([1, 2], quick=[2]))
def test_a_child_that_dies_of_a_clip_file_leaves_the_scan(footage: Path, tmp_path: Path, attempts: int) -> None:
    """Files are made when what the scan found is durable, so nothing of it is done again; the counts add up also when they fail."""
    out, poison = tmp_path / "store", footage / "poison.mp4"
    settings = settings_of("clips.mode=encode", "rules.too_short.min=0", f"scan.attempts={attempts}")
    process = start("run", poison, "--out", out, *settings)
    while not list(out.glob("clip_files/**/*.tmp")):
        assert process.poll() is None
        time.sleep(0.002)
    assert list(out.glob("marks/*.parquet")) and list(out.glob("clips/*.parquet"))
    for pid, words in descendants(process.pid).items():
        if "rushes.engine.work.child" in words:
            os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found, done = seen(out, "clips.mode=encode", "rules.too_short.min=0"), attempts == 2
    [row] = found.runs()
    assert (row["videos_scanned"], row["videos_reused"], row["videos_failed"]) == (1, 0, 0), "the scan stands"
    assert (row["files_made"], row["files_failed"]) == (done, not done)
    assert row["footage_s"] == pytest.approx(24.0) and row["decoded_s"] == pytest.approx(48.0 if done else 24.0)
    assert [(e["stage"], e["attempt"], e["permanent"]) for e in found.errors()] == [("files", 1, not done)]
    [clip] = found.clips()
    assert (bool(clip["clip_uri"]), clip["verdict"], bool(clip["error"])) == (done, "kept", not done)
    again = inline("run", poison, "--out", out, *settings)
    assert again.code == 0, again.err
    last = seen(out, "clips.mode=encode", "rules.too_short.min=0").runs()[-1]
    assert (last["decoded_s"], last["files_made"], last["files_failed"]) == (0, 0, not done), "what failed for good is not tried again"
