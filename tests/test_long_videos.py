"""Long videos through the whole run: the segments of one are scanned by all workers, and nobody can tell afterwards."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from footage import render
from pictures import film
from processes import descendants, open_files
from rushes.store.store import Store
from rushes.store.tables import SEGMENTS
from stores import go, rows_of, seen, settings_of, start

SEGMENTS_OF_4 = ("engine.segment_s=4", "scan.workers=2")
TABLES = ("videos", "signals", "frames", "clips", "measures", "captions", "marks")


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One film of 40 s and three shots, one of 3 s, and a 24 s one whose bytes are broken in the middle."""
    folder = tmp_path_factory.mktemp("long")
    render(folder / "long.mp4", film(320, 180, [400, 250, 350], seed=5), gop=25)
    render(folder / "short.mp4", film(192, 108, [75], seed=6), gop=25)
    render(folder / "damaged.mp4", film(192, 108, [300, 300], seed=7), gop=25)
    data = bytearray((folder / "damaged.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    (folder / "damaged.mp4").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def whole(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "store"
    go(footage, out, "engine.segment_s=0")
    return out


def left(out: Path) -> list[str]:
    return Store.open(str(out), {}).parts(SEGMENTS)


@pytest.mark.slow
def test_a_run_in_segments_makes_the_same_rows(footage: Path, whole: Path, tmp_path: Path) -> None:
    """The damaged one too: it is scanned whole where segments cannot be joined."""
    done = go(footage, tmp_path / "store", *SEGMENTS_OF_4)
    assert rows_of(tmp_path / "store", *TABLES) == rows_of(whole, *TABLES)
    assert seen(tmp_path / "store").clips() == seen(whole).clips()
    assert (done.counts["videos_scanned"], done.counts["videos_failed"]) == (3, 0)
    assert done.counts["footage_s"] == pytest.approx(40 + 3 + 24, abs=0.2)
    assert left(tmp_path / "store") == []


@pytest.mark.slow
def test_one_video_keeps_two_workers_busy(footage: Path, tmp_path: Path) -> None:
    video, at_work = footage / "long.mp4", set()
    process = start("run", video, "--out", tmp_path / "store", *settings_of(*SEGMENTS_OF_4))
    while process.poll() is None:
        at_work |= {pid for pid in descendants(process.pid) if str(video) in open_files(pid)}
        time.sleep(0.01)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert len(at_work) == 2
    [row] = seen(tmp_path / "store").runs()
    assert row["decoded_s"] == pytest.approx(row["footage_s"]) == pytest.approx(40.0, abs=0.1)


@pytest.mark.slow
def test_a_killed_run_keeps_the_segments_that_were_done(footage: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    process = start("run", footage / "long.mp4", "--out", out, *settings_of(*SEGMENTS_OF_4))
    deadline = time.monotonic() + 60
    while len(list(out.glob("segments/**/*.parquet"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = len(left(out))
    assert there >= 4
    done = go([footage / "long.mp4"], out, *SEGMENTS_OF_4)
    assert done.counts["decoded_s"] <= 40.0 - 4.0 * there + 0.5
    assert left(out) == []
    kept = [v["video_id"] for v in seen(out).videos()]
    mine = {name: [row for row in rows if row["video_id"] in kept] for name, rows in rows_of(whole, *TABLES).items()}
    assert rows_of(out, *TABLES) == mine
