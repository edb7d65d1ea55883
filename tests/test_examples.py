"""The examples run as they stand: in Daft on one machine and on Ray, and in Ray Data, all on a cluster of two nodes, with the same rows.

Each pipeline meets a file that is no video and one on which the decoder is killed; what a second run finds written it does not do again.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from footage import render
from pictures import film
from processes import descendants, open_files
from ray_cluster import RunningCluster, cluster
from rushes.measures.clip import COLUMNS as MEASURES
from rushes.operators import Caption, CutClips, Scan
from rushes.recipe_text import as_toml
from stores import SRC, go, inline, recipe, settings_of
from test_docs import blocks, section
from test_docs import rows as page_rows

EXAMPLES = SRC.parent / "examples"
PAGE = SRC.parent / "docs" / "operators.md"
CHILD = "rushes.operators.child"
QUIET = {"DAFT_ANALYTICS_ENABLED": "0", "DAFT_PROGRESS_BAR": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
POISON = "poison.mp4"
STRUCK = {POISON: signal.SIGSEGV}


@pytest.fixture(scope="module")
def nodes() -> Iterator[RunningCluster]:
    """Two nodes of Ray with one CPU each."""
    with cluster(**QUIET) as running:
        yield running


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films of shots of 3.6, 1 and 2.4 s, one that is none, and one on which the decoder is to be killed."""
    folder = tmp_path_factory.mktemp("films")
    for k in range(3):
        render(folder / f"{k}.mp4", film(192, 108, [90, 25, 60], seed=70 + k))
    (folder / "broken.mp4").write_bytes(bytes(range(256)) * 40)
    render(folder / POISON, film(640, 360, [700, 700], seed=9), options={"preset": "ultrafast"})
    return folder


@pytest.fixture(scope="module")
def of_run(films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The clips that `rushes run` keeps of the films, but for the poison: clip_id -> caption."""
    out = tmp_path_factory.mktemp("run") / "store"
    go([p for p in films.iterdir() if p.name != POISON], out)
    found = {c["clip_id"]: c["caption"] for c in inline("clips", out, "--json", "--verdict", "kept", *settings_of()).lines}
    assert len(found) == 6
    return found


def example(name: str, *words: str | Path, roots: Sequence[int] = (), struck: Mapping[str, int] = STRUCK) -> set[str]:
    """Runs an example, and gives the names of the files that were seen open in guarded children.

    Args:
        name: the script.
        words: its arguments.
        roots: processes below which its children are, besides its own.
        struck: the signal that a child gets when it opens a file of this name, such as SIGSEGV, as if the decoder crashed.
    """
    env = {**os.environ, **QUIET, "PYTHONPATH": str(SRC), "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / name, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    opened: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            for child in [pid for root in (process.pid, *roots) for pid, line in descendants(root).items() if CHILD in line]:
                for path in open_files(child):
                    if path.endswith(".mp4"):
                        opened.add(Path(path).name)
                        if Path(path).name in struck:
                            with suppress(ProcessLookupError):
                                os.kill(child, struck[Path(path).name])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        said, _ = process.communicate(timeout=240)
    finally:
        process.kill()
        ended.set()
        watcher.join()
    assert process.returncode == 0, said[-4000:]
    return opened


def rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of a folder of Parquet files, in order of their first key."""
    found = pyarrow.dataset.dataset(folder).to_table().to_pylist()
    return sorted(found, key=lambda row: (Path(row["uri"]).name, row.get("clip_id") or ""))


def check(out: Path, of_run: dict[str, Any]) -> None:
    """The rows of a pipeline, against what was rendered and what `rushes run` makes of it."""
    videos = {Path(row["uri"]).name: row for row in rows(out / "videos")}
    assert len(rows(out / "videos")) == len(videos)
    assert {name: (row["error"] or {}).get("error_type") for name, row in videos.items()} == {
        **dict.fromkeys(("0.mp4", "1.mp4", "2.mp4")), "broken.mp4": "ProbeError", POISON: "CrashError",
    }  # fmt: skip
    assert [[c["n_frames"] for c in videos[f"{k}.mp4"]["clips"]] for k in range(3)] == [[90, 25, 60]] * 3
    assert all(clip["frames"][0]["jpeg"].startswith(b"\xff\xd8") for clip in videos["0.mp4"]["clips"])
    clips = rows(out / "clips")
    assert {row["clip_id"]: row["text"] for row in clips} == of_run
    assert len(clips) == len(of_run)
    assert {row["verdict"] for row in clips} == {"kept"} and all(row["sharpness"] > 0 for row in clips)


def run_twice(films: Path, out: Path, of_run: dict[str, Any], name: str, *words: str | Path, roots: Sequence[int] = ()) -> None:
    """Runs a pipeline on part of the films, then on all of them: the second run opens and writes only what is missing."""
    folder = out.parent / "footage"
    shutil.copytree(films, folder)
    (folder / "2.mp4").rename(out.parent / "2.mp4")
    call = pipeline(folder, out, *words)
    assert POISON in example(name, *call, roots=roots)
    assert len(rows(out / "videos")) == len(list(folder.iterdir()))
    (out.parent / "2.mp4").rename(folder / "2.mp4")
    assert example(name, *call, roots=roots) <= {"2.mp4"}
    check(out, of_run)


def pipeline(folder: Path, out: Path, *words: str | Path, settings: Sequence[str] = ()) -> tuple[str | Path, ...]:
    """The arguments of a pipeline on a folder, under the tests' recipe with further settings."""
    file = out.parent / "recipe.toml"
    file.write_text(as_toml(recipe(*settings)), encoding="utf-8")
    return (str(folder / "*.mp4"), out, "--recipe", file, *words)


def children_below(root: int) -> list[int]:
    """The living guarded children below a process."""
    return [pid for pid, line in descendants(root).items() if CHILD in line]


def test_daft_on_one_machine(films: Path, of_run: dict[str, Any], tmp_path: Path) -> None:
    run_twice(films, tmp_path / "out", of_run, "daft_pipeline.py")
    assert example("daft_pipeline.py", *pipeline(tmp_path / "footage", tmp_path / "out")) == set()
    check(tmp_path / "out", of_run)


@pytest.mark.parametrize("script", ["daft_pipeline.py", "ray_data_pipeline.py"])
def test_on_a_cluster(nodes: RunningCluster, films: Path, of_run: dict[str, Any], tmp_path: Path, script: str) -> None:
    pid = nodes.process.pid
    run_twice(films, tmp_path / "out", of_run, script, "--ray", nodes.address, roots=[pid])
    deadline = time.monotonic() + 2
    while children_below(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children_below(pid) == [], "children end with the driver"


def test_what_may_pass_is_tried_again(films: Path, tmp_path: Path) -> None:
    """A child that is stopped looks like a disk that stands still: the error is not permanent."""
    (tmp_path / "footage").mkdir()
    shutil.copyfile(films / POISON, tmp_path / "footage" / "stuck.mp4")
    call = pipeline(tmp_path / "footage", tmp_path / "out", settings=["scan.hang_s=10"])
    example("daft_pipeline.py", *call, struck={"stuck.mp4": signal.SIGSTOP})
    [stuck] = rows(tmp_path / "out" / "videos")
    assert (stuck["error"]["error_type"], stuck["error"]["permanent"]) == ("HangError", False)
    assert example("daft_pipeline.py", *call) == {"stuck.mp4"}
    assert example("daft_pipeline.py", *call) == set()
    assert sorted(row["error"] is None for row in rows(tmp_path / "out" / "videos")) == [False, True]
    assert len(rows(tmp_path / "out" / "clips")) == 2


def test_what_ray_data_finds_written(tmp_path: Path) -> None:
    ray_data_pipeline = runpy.run_path(str(EXAMPLES / "ray_data_pipeline.py"))
    error = pa.array([None, {"permanent": True}, {"permanent": False}])
    pq.write_table(pa.table({"uri": ["done", "broken", "stuck"], "error": error}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-100])
    assert ray_data_pipeline["written"](str(tmp_path), "uri") == {"done", "broken"}
    assert ray_data_pipeline["written"](str(tmp_path / "absent"), "uri") == set()


# The page


def tables_of(heading: str) -> dict[str, str]:
    """Field -> type, as told by the tables of a section of the page."""
    found = [row for row in page_rows(section(PAGE.read_text(encoding="utf-8"), heading)) if len(row) == 3]
    return {row[0]: row[1] for row in found}


def told(kind: pa.DataType) -> str:
    """How the page calls an Arrow type."""
    names = {"string": "text", "double": "float64", "int64": "int64", "bool": "bool"}
    return "list of structs" if pa.types.is_list(kind) else "struct" if pa.types.is_struct(kind) else names[str(kind)]


def test_the_page_has_every_field() -> None:
    clip = Scan.returns.field("clips").type.value_type
    own = [*Scan.returns, *(field for field in clip if field.name in ("verdict", "reasons", "frames"))]
    assert tables_of("## What they return") == {field.name: told(field.type) for field in own}
    assert tables_of("## Errors") == {field.name: told(field.type) for field in Scan.returns.field("error").type}
    prose = section(PAGE.read_text(encoding="utf-8"), "## What they return")
    named = set(re.findall(r"`(\w+)`", prose))
    for kind in (clip, Caption.returns, CutClips.returns):
        assert {field.name for field in kind} - {column.name for column in MEASURES} <= named
    operators = {row[0]: row[1:3] for row in page_rows(section(PAGE.read_text(encoding="utf-8"), "## The operators"))}
    for operator in (Scan, Caption, CutClips):
        [(_, (reads, adds))] = [(name, row) for name, row in operators.items() if name.startswith(operator.__name__)]
        assert (reads, adds) == (", ".join(f"`{name}`" for name in operator.reads), f"`{operator.adds}`")


def test_the_code_of_the_page_runs(films: Path, tmp_path: Path) -> None:
    (tmp_path / "footage").mkdir()
    shutil.copyfile(films / POISON, tmp_path / "footage" / "long shots.mp4")
    shutil.copyfile(films / "broken.mp4", tmp_path / "footage" / "broken.mp4")
    plain, daft, ray_data = blocks(PAGE.read_text(encoding="utf-8"), "python")
    said = []
    for code in (plain, daft):
        env = {**os.environ, **QUIET, "PYTHONPATH": str(SRC)}
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        said.append(done.stdout)
    assert "broken.mp4 not a readable video" in said[0] and said[0].count("long shots.mp4") == 2
    assert "Showing first 2 of 2 rows" in said[1]
    compile(ray_data, "operators.md", "exec")
