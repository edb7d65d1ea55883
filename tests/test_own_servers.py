"""Caption servers that a run starts itself: they end with it, whatever happens, are started again when they die, and load meanwhile."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from footage import render
from pictures import film
from processes import descendants, marked
from ray_runs import until
from rushes.captions.serving.fleet import Fleet
from rushes.captions.serving.launch import Launch, check_serve, gpu_shares, launch
from rushes.captions.serving.process import ServerProcess
from rushes.doctor import _captions
from rushes.engine.worker import MODULE as CHILD
from rushes.errors import RecipeError
from rushes.recipe import Recipe
from rushes.recipe_captions import CaptionSettings
from rushes.trial import tried
from stores import command, rows_of, seen, settings_of, start

HERE = Path(__file__).parent
SERVER = f"{{python}} {HERE / 'caption_server.py'} --port {{port}} --model {{model}}"
SETTINGS = (
    "captions.engine=serve", "captions.model=tiny-vlm", "captions.prompt=short", "frames.per_clip=2", "rules.too_short.min=0.5",
    "shots.detector=stride", "shots.stride_s=1.2", "captions.patience_s=1",
)  # fmt: skip
TREE = """
import os, subprocess, sys, time
if len(sys.argv) == 1:
    for own_session in (False, True):
        subprocess.Popen([sys.executable, sys.argv[0], "child"], start_new_session=own_session)
    print("started", flush=True)
time.sleep(600)
"""
"""A server that starts two processes, one of them in a session of its own."""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of 4.8 s: 8 clips of 1.2 s."""
    folder = tmp_path_factory.mktemp("films")
    for k in range(2):
        render(folder / f"{k}.mp4", film(192, 108, [120], seed=90 + k))
    return folder


def serving(serve: str, **more: Any) -> CaptionSettings:
    return CaptionSettings.model_validate({"engine": "serve", "model": "tiny-vlm", "serve": serve, **more})


@pytest.fixture
def fleet() -> Iterator[Callable[..., Fleet]]:
    """Starts servers, and ends them."""
    made: list[Fleet] = []

    def begin(serve: str, n: int = 1, **more: Any) -> Fleet:
        made.append(Fleet(serving(serve, **more), [None] * n))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def run(films: Path, out: Path, serve: str, *settings: str, **env: str) -> Any:
    return command("run", films, "--out", out, *settings_of(*SETTINGS, f"captions.serve={serve}", *settings), **env)


# The command


def test_a_command_is_filled_in_and_found_in_the_environment_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("python", "vllm"):
        (tmp_path / "bin" / name).symlink_to(sys.executable)
    python = str(tmp_path / "bin" / "python")
    settings = CaptionSettings(engine="serve", model="org/model", serve_python=python)
    made = launch(settings, host="127.0.0.1", port=21000, key="secret", devices="2,3")
    assert made.words == (str(tmp_path / "bin" / "vllm"), "serve", "org/model", "--port", "21000")
    assert (made.env["CUDA_VISIBLE_DEVICES"], made.env["VLLM_API_KEY"]) == ("2,3", "secret")
    assert "PYTHONPATH" not in made.env
    other = settings.model_copy(update={"serve": "{python} -m sglang --limit '{\"image\": 8}' --host {host} --port={port}"})
    words = (python, "-m", "sglang", "--limit", '{"image": 8}', "--host", "127.0.0.1", "--port=21000")
    assert launch(other, host="127.0.0.1", port=21000, key="", devices=None).words == words


@pytest.mark.parametrize(
    ("devices", "gpus", "servers", "shares"),
    [
        ([], 0.0, 0, [None]),
        ([], 0.0, 2, [None, None]),
        (["0", "1"], 0.0, 0, ["0", "1"]),
        (["0", "1", "2", "3"], 2.0, 0, ["0,1", "2,3"]),
        (["4", "5", "6"], 2.0, 0, ["4,5"]),
        (["0", "1"], 0.5, 0, ["0", "0", "1", "1"]),
        (["0", "1"], 1.0, 1, ["0"]),
    ],
)
def test_each_server_has_its_share_of_the_gpus(devices: list[str], gpus: float, servers: int, shares: list[str | None]) -> None:
    assert gpu_shares(devices, gpus, servers) == shares


def test_what_is_missing_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    good = serving(SERVER)
    for change, words in [
        ({"serve": "vllm serve {model}"}, "{port}"),
        ({"serve": "vllm 'serve {port}"}, "No closing quotation"),
        ({"serve": ""}, "is empty"),
        ({"serve_python": str(tmp_path)}, "is no program"),
        ({"model": str(tmp_path / "absent")}, "there is nothing"),
    ]:
        with pytest.raises(RecipeError) as caught:
            check_serve(good.model_copy(update=change))
        assert words in str(caught.value)
    with pytest.raises(RecipeError, match=r"resources\.captions\.gpus = 4, and this process may use 2 GPUs"):
        gpu_shares(["0", "1"], 4.0, 0)


def test_a_program_that_is_not_there_is_one_error_before_the_run_and_in_doctor(films: Path, tmp_path: Path) -> None:
    done = run(films, tmp_path / "store", "no-such-server --port {port}")
    assert done.code == 2, done.err
    assert "'no-such-server'" in done.err and "captions.serve_python" in done.err
    assert not (tmp_path / "store").exists()
    found = _captions(Recipe().with_overrides([*SETTINGS, "captions.serve=no-such-server --port {port}"]))
    assert found.ok is False and "no-such-server" in found.what
    assert _captions(Recipe().with_overrides([*SETTINGS, f"captions.serve={SERVER}"])).ok is True


# Processes


@pytest.fixture
def tree(tmp_path: Path) -> Launch:
    """A server with children, whose processes carry a mark of this test."""
    program = tmp_path / "tree.py"
    program.write_text(TREE)
    return Launch((sys.executable, str(program)), {**os.environ, "RUSHES_TEST_TREE": tmp_path.name})


def alive(tmp_path: Path) -> dict[int, str]:
    """The processes of the tree: neither what holds it nor what looks after it."""
    mine = marked(f"RUSHES_TEST_TREE={tmp_path.name}")
    return {pid: line for pid, line in mine.items() if line.startswith(f"{sys.executable} {tmp_path / 'tree.py'}")}


def test_a_server_ends_with_all_its_processes(tree: Launch, tmp_path: Path) -> None:
    server = ServerProcess(tree)
    until(lambda: len(alive(tmp_path)) == 3)
    server.end()
    assert alive(tmp_path) == {}
    assert "exit code 143" in server.last_words() or "signal 15" in server.last_words()


@pytest.mark.parametrize("killed", ["parent", "keeper", "both"])
def test_no_process_of_a_server_lives_on_when_what_holds_it_is_killed(tree: Launch, tmp_path: Path, killed: str) -> None:
    code = (
        "import json, os, sys, time; from rushes.captions.serving.launch import Launch;"
        "from rushes.captions.serving.process import ServerProcess;"
        "s = ServerProcess(Launch(tuple(sys.argv[1:]), dict(os.environ)))\n"
        "while s.is_alive: time.sleep(0.05)\n"
        "s.end()"
    )
    with subprocess.Popen([sys.executable, "-c", code, *tree.words], env=tree.env) as parent:
        until(lambda: len(alive(tmp_path)) == 3, within_s=20)
        [keeper] = [pid for pid, line in descendants(parent.pid).items() if "group_with_parent" in line]
        if killed == "both":
            os.kill(parent.pid, signal.SIGSTOP)  # so that it does nothing between the two
        for pid in {"parent": [parent.pid], "keeper": [keeper], "both": [keeper, parent.pid]}[killed]:
            os.kill(pid, signal.SIGKILL)
        parent.wait(20)
    orphans = {"parent": 0, "keeper": 1, "both": 2}[killed]  # nobody is left who knows of them
    until(lambda: len(alive(tmp_path)) <= orphans, within_s=10)
    assert all(line.endswith(" child") for line in alive(tmp_path).values()), "not the server itself"
    for pid in alive(tmp_path):
        os.kill(pid, signal.SIGKILL)


def test_a_server_that_dies_is_started_again_and_then_given_up_with_its_last_words(fleet: Callable[..., Fleet]) -> None:
    dying = "sh -c 'echo loading; echo \"RuntimeError: out of memory\" >&2; exit 3' {port}"
    one = fleet(dying, restarts=3)
    until(lambda: not one.state().loading)
    assert one.state().up == ()
    [words] = one.state().given_up
    assert "died (2 times): exit code 3; its last words: loading | RuntimeError: out of memory" in words


def test_one_of_two_that_is_killed_is_left_out_and_comes_back(fleet: Callable[..., Fleet]) -> None:
    both = fleet(SERVER, 2, restarts=1)
    until(lambda: len(both.state().up) == 2)
    first, second = both.state().up
    [victim] = [
        pid for pid, line in descendants(os.getpid()).items() if f"--port {first.split(':')[2][:5]}" in line and "group_with" not in line
    ]
    os.kill(victim, signal.SIGKILL)
    until(lambda: both.state().up == (second,))
    assert both.state().loading == 1
    until(lambda: len(both.state().up) == 2)
    assert first not in both.state().up, "it has a port of its own"


def test_a_server_that_does_not_load_in_time_is_ended(fleet: Callable[..., Fleet]) -> None:
    one = fleet("sleep 600 {port}", load_s=0.5, restarts=0)
    until(lambda: not one.state().loading)
    assert "was not loaded within captions.load_s = 0.5 s" in one.state().given_up[0]


# Runs


@pytest.fixture(scope="module")
def served(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Any]:
    """The store of a run with a server that is started when the marks of a scan are in the store: a run that waited for its server
    before it scans would never end. A proxy that the environment names is not asked for servers of one's own. Also the mark of its
    processes, and what it came to.
    """
    folder = tmp_path_factory.mktemp("served")
    out, mark = folder / "store", f"served-{folder.name}"
    after_scan = f"until ls {shlex.quote(str(out / 'marks'))}/*.parquet; do sleep 0.1; done; exec {SERVER}"
    done = run(films, out, f"sh -c '{after_scan}' {{port}}", "captions.load_s=60", RUSHES_TEST_RUN=mark, HTTP_PROXY="http://127.0.0.1:9")
    return out, f"RUSHES_TEST_RUN={mark}", done


def test_one_command_starts_a_server_scans_while_it_loads_and_ends_it(served: tuple[Path, str, Any]) -> None:
    out, mark, done = served
    assert done.code == 0, done.err
    captions = seen(out, *SETTINGS).captions()
    assert len(captions) == 8 and all(row["text"].startswith("A hall with ") for row in captions)
    [server] = {row["server"] for row in rows_of(out, "captions")["captions"]}
    assert server.startswith("http://127.0.0.1:") and {row["server"] for row in captions} == {server}
    assert marked(mark) == {}


def test_clips_found_before_the_server_is_up_are_captioned_as_soon_as_it_is_while_the_scan_goes_on(films: Path, tmp_path: Path) -> None:
    """The server is loaded only when the child stands still in the middle of the scan; it goes on when there are captions."""
    out, go, log = tmp_path / "store", tmp_path / "go", tmp_path / "log"
    serve = f"sh -c 'until test -e {shlex.quote(str(go))}; do sleep 0.05; done; exec {SERVER}' {{port}}"
    words = settings_of(*SETTINGS, f"captions.serve={serve}", "scan.workers=1")
    with start("run", films, "--out", out, "--log", log, *words, RUSHES_TEST_RUN=tmp_path.name) as driver:
        until(lambda: list(out.glob("marks/*.parquet")))
        [child] = [pid for pid, line in descendants(driver.pid).items() if CHILD in line]
        os.kill(child, signal.SIGSTOP)
        scanned = len({row["video_id"] for row in rows_of(out, "marks")["marks"]})
        go.touch()
        until(lambda: len(rows_of(out, "captions")["captions"]) == 4 * scanned, within_s=30)
        os.kill(child, signal.SIGCONT)
        assert driver.communicate(timeout=60)[0] is not None and driver.returncode == 0
    assert scanned == 1
    assert len(seen(out, *SETTINGS).captions()) == 8
    assert "caption server gone" not in log.read_text(), "no clip was asked about before a server was up"


def test_a_server_that_cannot_load_ends_the_run_with_its_words(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    done = run(films, out, "sh -c 'echo \"ValueError: no such architecture\" >&2; exit 1' {port}", "captions.restarts=0")
    assert done.code == 3, done.err
    assert "died (1 time): exit code 1; its last words: ValueError: no such architecture" in done.err
    assert "Fix: " in done.err and "Traceback" not in done.err


def test_no_server_lives_on_when_the_run_is_killed(films: Path, tmp_path: Path) -> None:
    mark = f"RUSHES_TEST_RUN={tmp_path.name}"
    settings = settings_of(*SETTINGS, f"captions.serve={SERVER} --service-s 60")
    with start("run", films, "--out", tmp_path / "store", *settings, RUSHES_TEST_RUN=tmp_path.name) as driver:
        until(lambda: any("caption_server.py" in line and "group_with" not in line for line in marked(mark).values()))
        driver.kill()
        driver.communicate(timeout=20)
    until(lambda: marked(mark) == {}, within_s=10)


def test_try_starts_a_server_for_the_clips_that_are_shown(served: tuple[Path, str, Any]) -> None:
    [row] = tried(str(served[0]), 1, settings=[f"captions.serve={SERVER}", "captions.prompt=dense"])
    assert row["caption"].startswith("A hall with ") and row["messages"]


@pytest.mark.slow
def test_transformers_serve_makes_real_captions_in_one_command(films: Path, tmp_path: Path) -> None:
    """A real server with a real, tiny model, in the environment of another Python."""
    made = subprocess.run([sys.executable, HERE / "tiny_vlm.py", tmp_path / "tiny-vlm"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    (tmp_path / "home" / "hub").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    serve = "{python} -c 'from transformers.cli.transformers import main; main()' serve {model} --host {host} --port {port} --device cpu"
    own = (f"captions.serve_python={python}", f"captions.model={tmp_path / 'tiny-vlm'}", "captions.max_tokens=64")
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", "RUSHES_TEST_RUN": tmp_path.name}
    done = run(films, tmp_path / "store", serve, *own, **env)
    assert done.code == 0, done.err
    captions = seen(tmp_path / "store", *SETTINGS, *own).captions()
    assert len(captions) == 8
    assert {row["text"] for row in captions} <= {"A dark hall with grey walls.", "A bright hall with grey walls."}
    assert all(row["completion_tokens"] == 7 and row["finish_reason"] == "stop" and row["server"] for row in captions)
    assert marked(f"RUSHES_TEST_RUN={tmp_path.name}") == {}
