"""A stage that is added by one entry of the list, its table and its file of work: planned, run, resumed, counted and shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from ray_cluster import RunningCluster
from stores import SRC, Done, inline, rows_of, seen, settings_of

TESTS = Path(__file__).resolve().parent
QUICK = ("rules.too_short.min=0.5", "captions.engine=none", "scan.workers=0")
GPU = ("resources.brightness.gpus=1", "resources.brightness.cpus=0")
PATH = f"{TESTS}:{SRC}"


def command(*words: str | Path, version: str = "1") -> Done:
    """The command `rushes` with the stage added."""
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": PATH, "PYTHONWARNINGS": "ignore", "ADDED_STAGE_VERSION": version}
    done = subprocess.run([sys.executable, "-m", "added_stage", *map(str, words)], capture_output=True, text=True, timeout=120, env=env)
    return Done(done.returncode, done.stdout, done.stderr)


def run(short_films: Path, out: Path, *more: str, version: str = "1") -> dict[str, Any]:
    """A run that is planned first: what was missing by stage, and the row of the run."""
    settings = settings_of(*QUICK, *GPU)
    planned = command("plan", short_films, "--out", out, "--json", *settings, version=version)
    assert planned.code == 0, planned.err
    done = command("run", short_films, "--out", out, *settings, *more, version=version)
    assert done.code == 0, done.err
    row = inline("runs", out, "--json", *settings_of()).lines[-1]
    return row | {"missing": {name: stage["missing"] for name, stage in planned.lines[0].items() if isinstance(stage, dict)}}


def brightness(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset(str(out / "brightness"), format="parquet").to_table().to_pylist()
    return rows


@pytest.fixture(scope="module")
def native(short_films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("added") / "store"
    row = run(short_films, out)
    assert (row["videos_scanned"], row["clips_kept"], row["brightness_made"]) == (3, 6, 6)
    assert row["busy_s"]["brightness"] > 0 and row["capacity"]["brightness"] >= 1
    return out


def test_it_is_planned_run_and_counted(short_films: Path, native: Path) -> None:
    rows = brightness(native)
    clips = {c["clip_id"]: c for c in seen(native, *QUICK).clips()}
    assert {row["clip_id"] for row in rows} == set(clips) and len(rows) == 6
    for row in rows:  # a measure of the same footage by another way
        assert row["brightness"] == pytest.approx(clips[row["clip_id"]]["measures"]["luma_mean"], abs=12)
    shown = command("status", native, *settings_of())
    assert "busy     brightness:" in shown.out


def test_it_is_not_done_again_and_a_new_version_makes_it_alone_anew(short_films: Path, native: Path) -> None:
    again = run(short_films, native)
    assert set(again["missing"].values()) <= {0, 1} and again["missing"]["brightness"] == 0
    assert "brightness_made" not in again and again["decoded_s"] == 0
    changed = run(short_films, native, version="2")
    assert changed["missing"]["brightness"] == 6 == changed["brightness_made"]
    assert (changed["decoded_s"], changed["videos_scanned"]) == (0, 0)
    assert len({row["fingerprint"] for row in brightness(native)}) == 2


def test_its_resources_are_checked_by_name(short_films: Path, tmp_path: Path) -> None:
    wrong = command("run", short_films, "--out", tmp_path / "store", *settings_of("resources.brigthness.gpus=1"))
    assert wrong.code == 2 and "there is no stage of that name" in wrong.err and "brightness" in wrong.err


@pytest.mark.slow
def test_on_a_cluster_its_jobs_run_by_name_where_there_is_a_gpu(
    short_films: Path, native: Path, nodes: RunningCluster, tmp_path: Path
) -> None:
    out = tmp_path / "store"
    row = run(short_films, out, "--ray", nodes.address)
    assert (row["runner"], row["brightness_made"], row["capacity"]["brightness"]) == ("ray", 6, 1)
    assert {r["device"] for r in brightness(out)} == {"0"}, "the one GPU of the node that has one"
    mine, theirs = ({r["clip_id"]: r["brightness"] for r in brightness(store)} for store in (out, native))
    assert mine == theirs
    assert rows_of(out, "clips", "measures") == rows_of(native, "clips", "measures")
    tasks = [task for task in nodes.tasks() if task["name"] in ("scan", "brighten")]
    assert {task["name"] for task in tasks} == {"scan", "brighten"} and {task["retries"] for task in tasks} == {0}
