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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from footage import render
from pictures import Edit, film
from processes import descendants, open_files
from ray_cluster import QUIET, RunningCluster
from rushes.measures.clip import COLUMNS as MEASURES
from rushes.operators import Caption, CutClips, Scan
from rushes.recipe_text import as_toml
from stores import SRC, go, inline, recipe, settings_of
from test_docs import blocks, section
from test_docs import rows as page_rows

EXAMPLES = SRC.parent / "examples"
PAGE = SRC.parent / "docs" / "operators.md"
CHILD = "rushes.operators.child"
POISON, STUCK, LATE = "poison.mp4", "stuck.mp4", "2.mp4"
STRUCK = {POISON: signal.SIGSEGV, STUCK: signal.SIGSTOP}
"""Which signal a child gets that opens a file of this name: as if the decoder crashed on it, and as if the disk stood still."""
NOT_LATE = "[!2]*.mp4"


@pytest.fixture(scope="module")
def films(films_of_14_s: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films of shots of 3.6, 1 and 2.4 s, one that is none, and two on which a child is to be struck. Read only."""
    folder = tmp_path_factory.mktemp("films")
    for k in range(3):
        render(folder / f"{k}.mp4", film(192, 108, [90, 25, 60], seed=70 + k))
    (folder / "broken.mp4").write_bytes(bytes(range(256)) * 40)
    for path, name in zip(films_of_14_s, (POISON, STUCK), strict=False):
        os.link(path, folder / name)
    return folder


@pytest.fixture(scope="module")
def of_run(films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The clips that `rushes run` keeps of the films, but for the poison: clip_id -> caption."""
    out = tmp_path_factory.mktemp("run") / "store"
    go([p for p in films.iterdir() if p.name != POISON], out)
    found = {c["clip_id"]: c["caption"] for c in inline("clips", out, "--json", "--verdict", "kept", *settings_of()).lines}
    assert len(found) == 8
    return found


@pytest.fixture(scope="module")
def begun(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `daft_pipeline.py` has written on one machine of all films but the late one: a file stands still, which is not permanent."""
    out = tmp_path_factory.mktemp("begun") / "out"
    assert {POISON, STUCK} <= example("daft_pipeline.py", *pipeline(films, out, footage=NOT_LATE))
    videos = {Path(row["uri"]).name: row["error"] for row in rows(out / "videos")}
    assert set(videos) == {path.name for path in films.iterdir()} - {LATE}
    assert (videos[STUCK]["error_type"], videos[STUCK]["permanent"]) == ("HangError", False)
    assert len(rows(out / "clips")) == 4
    return out


def example(name: str, *words: str | Path, roots: Sequence[int] = (), struck: Mapping[str, int] = STRUCK) -> set[str]:
    """Runs an example, and gives the names of the files that were seen open in guarded children.

    Args:
        name: the script.
        words: its arguments.
        roots: processes below which its children are, besides its own.
        struck: the signal that a child gets when it opens a file of this name.
    """
    env = {**os.environ, **QUIET, "PYTHONPATH": str(SRC), "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / name, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    opened: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
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


def check(out: Path, films: Path, of_run: dict[str, Any]) -> None:
    """The rows of a pipeline, against what was rendered and what `rushes run` makes of it."""
    found = rows(out / "videos")
    passed = [row for row in found if row["error"] and not row["error"]["permanent"]]
    videos = {Path(row["uri"]).name: row for row in found if row not in passed}
    assert {Path(row["uri"]).name for row in passed} <= {STUCK} and len(found) == len(videos) + len(passed)
    assert {name: (row["error"] or {}).get("error_type") for name, row in videos.items()} == {
        **{path.name: None for path in films.iterdir()}, "broken.mp4": "ProbeError", POISON: "CrashError",
    }  # fmt: skip
    assert [[c["n_frames"] for c in videos[f"{k}.mp4"]["clips"]] for k in range(3)] == [[90, 25, 60]] * 3
    assert all(clip["frames"][0]["jpeg"].startswith(b"\xff\xd8") for clip in videos["0.mp4"]["clips"])
    clips = rows(out / "clips")
    assert {row["clip_id"]: row["text"] for row in clips} == of_run
    assert len(clips) == len(of_run)
    assert {row["verdict"] for row in clips} == {"kept"} and all(row["sharpness"] > 0 for row in clips)


def pipeline(films: Path, out: Path, *words: str | Path, footage: str = "*.mp4") -> tuple[str | Path, ...]:
    """The arguments of a pipeline on films, under the tests' recipe."""
    file = out.parent / "recipe.toml"
    file.write_text(as_toml(recipe("scan.hang_s=8")), encoding="utf-8")
    return (str(films / footage), out, "--recipe", file, *words)


def children_below(root: int) -> list[int]:
    """The living guarded children below a process."""
    return [pid for pid, line in descendants(root).items() if CHILD in line]


def until_no_child_is_left(root: int) -> None:
    deadline = time.monotonic() + 10
    while children_below(root):
        assert time.monotonic() < deadline, "children end with the driver"
        time.sleep(0.05)


@pytest.mark.slow
def test_daft_on_one_machine(films: Path, of_run: dict[str, Any], begun: Path, tmp_path: Path) -> None:
    """It does what is missing and what may pass by now, and then nothing."""
    out = Path(shutil.copytree(begun, tmp_path / "out"))
    assert example("daft_pipeline.py", *pipeline(films, out), struck={}) == {LATE, STUCK}
    check(out, films, of_run)
    assert example("daft_pipeline.py", *pipeline(films, out), struck={}) == set()
    check(out, films, of_run)


@pytest.mark.slow
def test_daft_on_a_cluster(nodes: RunningCluster, films: Path, of_run: dict[str, Any], begun: Path, tmp_path: Path) -> None:
    """What one machine began a cluster goes on with; the file on which a child is killed is one that one machine did not meet."""
    out, pid = Path(shutil.copytree(begun, tmp_path / "out")), nodes.process.pid
    call = pipeline(films, out, "--ray", nodes.address)
    assert example("daft_pipeline.py", *call, roots=[pid], struck={STUCK: signal.SIGSEGV}) == {LATE, STUCK}
    until_no_child_is_left(pid)
    assert [row["error"]["error_type"] for row in rows(out / "videos") if row["uri"].endswith(STUCK)].count("CrashError") == 1
    assert {row["clip_id"]: row["text"] for row in rows(out / "clips")}.items() <= of_run.items()
    assert len(rows(out / "clips")) == 6


@pytest.mark.slow
def test_ray_data_on_a_cluster(nodes: RunningCluster, films: Path, of_run: dict[str, Any], tmp_path: Path) -> None:
    """The first run has all films but one; the second opens and writes only that."""
    out, pid = tmp_path / "out", nodes.process.pid
    words = ("--ray", nodes.address)
    poison = {POISON: signal.SIGSEGV}
    assert POISON in example("ray_data_pipeline.py", *pipeline(films, out, *words, footage=NOT_LATE), roots=[pid], struck=poison)
    assert len(rows(out / "videos")) == len(list(films.iterdir())) - 1
    assert example("ray_data_pipeline.py", *pipeline(films, out, *words), roots=[pid], struck=poison) <= {LATE}
    until_no_child_is_left(pid)
    check(out, films, of_run)


def test_what_ray_data_finds_written(tmp_path: Path) -> None:
    ray_data_pipeline = runpy.run_path(str(EXAMPLES / "ray_data_pipeline.py"))
    error = pa.array([None, {"permanent": True}, {"permanent": False}])
    pq.write_table(pa.table({"uri": ["done", "broken", "stuck"], "error": error}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-100])
    assert ray_data_pipeline["written"](str(tmp_path), "uri") == {"done", "broken"}
    assert ray_data_pipeline["written"](str(tmp_path / "absent"), "uri") == set()


# The page


def tables_of(heading: str) -> dict[str, str]:
    """Field -> type, as the tables of a section of the page have it."""
    found = [row for row in page_rows(section(PAGE.read_text(encoding="utf-8"), heading)) if len(row) == 3]
    return {row[0]: row[1] for row in found}


def named(kind: pa.DataType) -> str:
    """How the page calls an Arrow type."""
    names = {"string": "text", "double": "float64", "int64": "int64", "bool": "bool"}
    return "list of structs" if pa.types.is_list(kind) else "struct" if pa.types.is_struct(kind) else names[str(kind)]


def test_the_page_has_every_field() -> None:
    clip = Scan.returns.field("clips").type.value_type
    own = [*Scan.returns, *(field for field in clip if field.name in ("verdict", "reasons", "frames", "time_pieces"))]
    assert tables_of("## What they return") == {field.name: named(field.type) for field in own}
    assert tables_of("## Errors") == {field.name: named(field.type) for field in Scan.returns.field("error").type}
    prose = section(PAGE.read_text(encoding="utf-8"), "## What they return")
    words = set(re.findall(r"`(\w+)`", prose))
    for kind in (clip, Caption.returns, CutClips.returns):
        assert {field.name for field in kind} - {column.name for column in MEASURES} <= words
    operators = {row[0]: row[1:3] for row in page_rows(section(PAGE.read_text(encoding="utf-8"), "## The operators"))}
    for operator in (Scan, Caption, CutClips):
        [(_, (reads, adds))] = [(name, row) for name, row in operators.items() if name.startswith(operator.__name__)]
        assert (reads, adds) == (", ".join(f"`{name}`" for name in operator.reads), f"`{operator.adds}`")


def test_the_code_of_the_page_runs(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "footage").mkdir()
    soft = film(320, 180, [150, 200], seed=40)
    render(tmp_path / "footage" / "long shots.mp4", Edit(lambda i: soft.picture(i) // 64 * 64 + 32, soft.n_frames))  # sharp, so it is kept
    shutil.copyfile(films / "broken.mp4", tmp_path / "footage" / "broken.mp4")
    plain, daft, ray_data = blocks(PAGE.read_text(encoding="utf-8"), "python")
    with monkeypatch.context() as here:
        here.chdir(tmp_path)
        exec(compile(plain, "operators.md", "exec"), {})
    said = capsys.readouterr().out
    assert "broken.mp4 not a readable video" in said and said.count("long shots.mp4") == 2
    env = {**os.environ, **QUIET, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-c", daft], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Showing first 2 of 2 rows" in done.stdout
    compile(ray_data, "operators.md", "exec")
