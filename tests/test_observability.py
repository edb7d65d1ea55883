"""What can be seen of a run from outside: `rushes status` from another terminal, the log, the metrics."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sys
import time
import urllib.request
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from caption_server import start_server
from rushes.api import run as run_here
from rushes.engine.run import RunResult
from rushes.errors import CannotGoOn, MissingExtra
from rushes.log import logged
from rushes.progress import status_lines
from rushes.results import alive
from rushes.results.shares import bottleneck, busy_shares, left_s
from rushes.store.store import now
from stores import SRC, Reel, command, go, inline, recipe, settings_of, start
from test_caption_run import wait_for_requests

SECRET = "0123456789abcdefSECRET"


@pytest.fixture(scope="module")
def films(films_of_14_s: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films of 14 s, and one that is broken."""
    folder = tmp_path_factory.mktemp("films")
    for path in films_of_14_s[:6]:
        os.link(path, folder / path.name)
    (folder / "0broken.mp4").write_bytes(bytes(range(256)) * 40)
    return folder


# Status

COUNTS: dict[str, Any] = {
    "run_id": "R", "status": "running", "host": "vm", "pid": 7, "runner": "native", "profile": "web", "message": None, "wall_s": 120.0,
    "videos_found": 50, "videos_scanned": 18, "videos_reused": 4, "videos_failed": 2, "videos_duplicate": 1, "videos_todo": 45,
    "clips_kept": 30, "clips_dropped": 10, "clips_failed": 1, "captions_made": 24, "caption_requests": 25, "captions_pending": 3,
    "footage_s": 1800.0, "decoded_s": 1800.0, "decoded_now_s": 2400.0, "footage_todo_s": 6000.0, "bytes_read": 240_000_000, "in_flight": 2,
    "busy_s": {"scan": 180.0, "shots": 12.0, "captions": 864.0}, "capacity": {"scan": 2, "shots": 2, "captions": 8},
    "errors": {"ProbeError": 1, "refused": 3},
    "reasons": {"too_short": 7, "static": 12},
}  # fmt: skip


def test_shares_rates_and_time_left_are_as_worked_out_by_hand() -> None:
    """120 s on 2 workers: 180 CPU seconds are 75 %; 864 s in flight of 8 requests are 90 %. 2400 of 6000 s in 120 s leave 180 s."""
    assert busy_shares(COUNTS) == {"scan": 0.75, "shots": 0.05, "captions": pytest.approx(0.9)}
    assert bottleneck(COUNTS) == "captions"
    assert bottleneck({**COUNTS, "busy_s": {"scan": 180.0, "shots": 12.0, "captions": 700.0}}) == "scan", "children: 80 %, requests: 73 %"
    assert left_s(COUNTS) == pytest.approx(180)
    assert left_s({**COUNTS, "footage_todo_s": 0.0, "videos_scanned": 30}) == pytest.approx(60), "15 of 45 videos, 4 s each"
    assert left_s({**COUNTS, "footage_todo_s": 0.0, "videos_scanned": 0, "videos_failed": 0, "decoded_now_s": 0.0}) is None
    text = "\n".join(status_lines(COUNTS))
    for words in (
        "running, 2.0 min, process 7 on vm", "25 to do", "10.0 videos/min, 2 being decoded", "40.0 min of about 100.0 min",
        "20.0 video-hours/h, 2.0 MB/s; decode ratio 1.00", "24 made (12.0/min), 25 requests, 3 pending", "scan: 75 % of 2 workers",
        "captions: 90 % of 8 requests (14.4 min)  <- the bottleneck", "4 = 3 refused + 1 ProbeError", "left     about 3.0 min",
        "dropped  static 12, too_short 7",
    ):  # fmt: skip
        assert words in text, text
    assert "left " not in "\n".join(status_lines({**COUNTS, "status": "finished"}))


def test_status_follows_a_run_from_another_terminal(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    run = start("run", films, "--out", out, *settings_of("frames.per_s=10"))
    try:
        shown, rows = "", []
        while run.poll() is None and len(rows) < 2:
            if any(out.glob("runs/*.parquet")):
                run.send_signal(signal.SIGSTOP)  # else it may be over before the second command has been imported
                done = inline("status", out, "--json")
                assert done.code == 0, done.err
                far = rows[-1]["decoded_now_s"] if rows else 0
                rows += [r for r in done.lines if r["status"] == "running" and r["decoded_now_s"] > far]
                shown = shown or (inline("status", out).out if rows else "")
                run.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        assert f"process {run.pid} on {socket.gethostname()}" in shown
    finally:
        run.send_signal(signal.SIGCONT)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert {(r["pid"], r["videos_found"], r["videos_todo"]) for r in rows} == {(run.pid, 7, 7)}
    assert rows[0]["capacity"]["scan"] == 1 and rows[0]["in_flight"] <= 1
    [last] = inline("status", out, "--json").lines
    assert (last["status"], last["errors"], last["in_flight"]) == ("finished", {"ProbeError": 1}, 0)
    assert last["decoded_now_s"] == pytest.approx(last["decoded_s"], abs=0.01)


def test_status_reads_nothing_but_the_runs(reel_store: Path, tmp_path: Path) -> None:
    """Every part of every other table is unreadable, and one is half written: status does not notice."""
    out = Path(shutil.copytree(reel_store, tmp_path / "store"))
    before = inline("status", out, "--json")
    for part in out.rglob("*.parquet"):
        if part.parent.name != "runs":
            part.write_bytes(b"PAR1 no more")
    (out / "runs" / ".half.parquet.99.tmp").write_bytes(b"PAR1 half")
    after = inline("status", out, "--json")
    assert (after.code, after.out) == (0, before.out)
    with pytest.raises(pa.ArrowInvalid, match="Parquet"):  # the damage must be there for this test to mean anything
        inline("clips", out)


def test_a_run_that_says_it_runs_is_believed_by_the_lease() -> None:
    row = {"run_id": "R"}
    fresh, old = ((now() - timedelta(seconds=s)).isoformat() for s in (10, 100))
    lease = {"run_id": "R", "dead": False, "at": fresh}
    assert alive(row, lease)
    for what in (None, {**lease, "run_id": "another"}, {**lease, "dead": True}, {**lease, "at": old}):
        assert not alive(row, what)


# The log


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_log_has_each_event_with_run_stage_and_key(reel: Reel, tmp_path: Path) -> None:
    out, log = tmp_path / "store", tmp_path / "run.jsonl"
    done = inline("run", reel.folder, "--out", out, "--log", log, *settings_of())
    assert done.code == 0, done.err
    rows = events(log)
    [run] = inline("runs", out, "--json").lines
    assert {row["run_id"] for row in rows} == {run["run_id"]}
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    order = [row["event"] for row in rows]
    assert order[:2] == ["lease taken", "run started"] and order[-2:] == ["run ended", "lease freed"]
    videos = {v["video_id"]: v for v in inline("videos", out, "--json").lines if v["status"] != "duplicate"}
    ended = {row["key"]: row for row in rows if row["event"] in ("video done", "video failed")}
    assert {k: (v["uri"], v["event"], v["level"], v["stage"]) for k, v in ended.items()} == {
        k: (v["uri"], "video done" if v["status"] == "done" else "video failed", "info" if v["status"] == "done" else "warning", "scan")
        for k, v in videos.items()
    }
    [failed] = [row for row in rows if row["event"] == "video failed"]
    assert (failed["error_type"], failed["permanent"]) == ("ProbeError", True)
    again = inline("run", reel.folder, "--out", out, "--log", "-", *settings_of())
    lines = [json.loads(line) for line in again.err.splitlines() if line.startswith("{")]
    assert [row["event"] for row in lines] == ["lease taken", "run started", "run ended", "lease freed"]
    assert lines[-2]["videos_reused"] == 2


def test_a_log_that_cannot_be_opened_is_exit_2(reel: Reel, tmp_path: Path) -> None:
    wrong = inline("run", reel.folder, "--out", tmp_path / "other", "--log", tmp_path / "no" / "folder.jsonl", *settings_of())
    assert (wrong.code, "cannot be opened" in wrong.err, (tmp_path / "other").exists()) == (2, True, False)


@pytest.mark.slow
def test_no_secret_is_in_the_log(reel: Reel, tmp_path: Path) -> None:
    """A signed address that cannot be reached, and a caption server with a key: neither the signature nor the key is in it."""
    address = f"http://user:{SECRET}@127.0.0.1:1/film.mp4?X-Amz-Signature={SECRET}&part=1"
    (tmp_path / "list.txt").write_text(f"{reel.cuts.path}\n{address}\n")
    log = tmp_path / "run.jsonl"
    done = command("run", tmp_path / "list.txt", "--out", tmp_path / "store", "--log", log, *settings_of(), OPENAI_API_KEY=SECRET)
    assert done.code == 0, done.err
    assert [row["uri"] for row in events(log) if row["event"] == "video failed"] == ["http://127.0.0.1:1/film.mp4?part=1"]
    assert SECRET not in log.read_text() + done.err


def test_the_log_has_a_child_that_died(films: Path, tmp_path: Path) -> None:
    """A memory limit that no child meets."""
    log = tmp_path / "run.jsonl"
    with logged(str(log)):
        go([films / "1.mp4"], tmp_path / "store", "scan.memory_gib=0.01")
    last = {row["event"]: row for row in events(log)}
    assert last["child ended"]["error_type"] == "MemoryError" == last["video failed"]["error_type"]
    assert last["child ended"]["uri"] == str(films / "1.mp4")


@pytest.mark.slow
def test_the_log_has_a_caption_server_that_goes_and_comes(films: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    with start_server(service_s=0.2) as server:
        words = settings_of(
            "captions.engine=openai", "captions.model=tiny-vlm", f"captions.base_url={server.base_url}", "shots.detector=stride",
            "shots.stride_s=2", "rules.too_short.min=0.5", "captions.concurrency=2", "captions.patience_s=60",
        )  # fmt: skip
        run = start("run", films / "1.mp4", films / "2.mp4", "--out", tmp_path / "store", "--log", log, *words)
        wait_for_requests(server, 2)
        server.stop()
        deadline = time.monotonic() + 60
        while run.poll() is None and "caption server gone" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        with start_server(port=server.port):
            _, err = run.communicate(timeout=90)
    assert run.returncode == 0, err
    order = [row["event"] for row in events(log) if row["event"].startswith("caption server")]
    assert order == ["caption server gone", "caption server back"]


# Metrics


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def scraped(port: int) -> dict[str, dict[str, float]]:
    """Metric -> label (or "") -> value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: dict[str, dict[str, float]] = {}
    for family in families:
        for sample in family.samples:
            label = "".join(v for k, v in sample.labels.items() if k != "run_id")
            assert re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{6}", sample.labels["run_id"])
            found.setdefault(sample.name, {})[label] = sample.value
    return found


@dataclass(frozen=True, slots=True)
class Watched:
    """A run of the reel whose metrics were scraped each time that it called its watcher."""

    result: RunResult
    port: int
    scrapes: list[dict[str, dict[str, float]]]


@pytest.fixture(scope="module")
def watched(reel: Reel, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    port, scrapes = free_port(), []
    wanted, out = recipe(f"engine.metrics_port={port}"), tmp_path_factory.mktemp("watched") / "store"
    result = run_here([reel.folder], out=out, recipe=wanted, watch=lambda _tally: scrapes.append(scraped(port)))
    return Watched(result, port, scrapes)


def test_metrics_are_the_counts_of_the_run(reel: Reel, watched: Watched) -> None:
    last = watched.scrapes[-1]
    assert last["rushes_videos"] == {"scanned": 2, "reused": 0, "failed": 1, "duplicate": 1, "forgotten": 0}
    assert last["rushes_clips"] == {"kept": 4, "dropped": 2, "failed": 0}
    assert last["rushes_captions_total"] == {"": 4}
    assert last["rushes_errors_total"] == {"ProbeError": 1}
    lengths = [float(c.times[-1]) + 1 / 25 for c in reel.clips.values()]
    assert last["rushes_footage_seconds_total"][""] == last["rushes_decoded_seconds_total"][""] == pytest.approx(sum(lengths), abs=0.05)
    assert last["rushes_bytes_read_total"][""] == sum(c.path.stat().st_size for c in reel.clips.values()) + 30_000
    assert set(last["rushes_busy_seconds_total"]) >= {"scan", "shots", "captions"} and last["rushes_busy_seconds_total"]["scan"] > 0
    assert last["rushes_videos_in_flight"] == {"": 0}
    decoded = [s["rushes_decoded_now_seconds"][""] for s in watched.scrapes]
    assert decoded == sorted(decoded) and decoded[0] < decoded[-1]
    assert watched.result.counts["videos_scanned"] == 2
    with pytest.raises(OSError):
        scraped(watched.port)


def test_every_metric_and_event_is_on_the_page(watched: Watched) -> None:
    """The page against a scrape and against the source."""
    page = (Path(__file__).parent.parent / "docs" / "observability.md").read_text()
    assert set(re.findall(r"^\| `(rushes_\w+)`", page, re.MULTILINE)) == set(watched.scrapes[-1])
    calls = [call for path in (SRC / "rushes").rglob("*.py") for call in re.findall(r"\b_?note\(\s*\"([^\"]+)\"", path.read_text())]
    assert set(calls) == set(re.findall(r"^\| `([a-z ]+)` \| (?:info|warning|error) \|", page, re.MULTILINE))


def test_a_port_in_use_and_a_missing_package_are_errors_in_words(reel: Reel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotGoOn, match=f"metrics_port = {port}"):
            run_here([reel.folder], out=tmp_path / "store", recipe=recipe(f"engine.metrics_port={port}"))
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'rushes[metrics]'")):
        run_here([reel.folder], out=tmp_path / "store", recipe=recipe(f"engine.metrics_port={port}"))
    assert not (tmp_path / "store" / "lease.json").exists()
    assert run_here([reel.folder], out=tmp_path / "store", recipe=recipe()).status == "finished"
