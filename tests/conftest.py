"""Shared fixtures, and a guard: a test that leaves a process behind fails."""

from __future__ import annotations

import fcntl
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import pytest

import ray_cluster
from caption_server import Running, start_server
from footage import Clip, render
from pictures import film
from processes import environment_of, living, marked, parent_of
from ray_cluster import QUIET, RunningCluster
from ray_runs import N_FILMS, QUICK
from stores import Reel, go, make_reel

ROOT = Path(__file__).resolve().parent.parent
os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the hub of models; its client reads this when it is imported
TOKEN = f"RUSHES_TEST_SESSION={uuid.uuid4().hex}"
HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Python's own children, which live until the interpreter ends."""
CLUSTER = f"{ray_cluster.MARK}="
"""Ray's own processes of a test's cluster live as long as the cluster; decoding children below them do not."""
LONGEST = ("ray", "ray_clusters", "object_stores", "operators", "caption_run", "survival", "lease", "segments", "benchmarks")
"""The files of tests that take longest, longest first: they begin first, so that no process is left alone with one of them at the end."""
TOGETHER = {
    "on_ray": ("ray", "examples", "added_stage", "readers", "score_runs", "serve_on_ray", "late_on_ray", "publish_ray"),
    "with_torch": ("models", "scores", "transnet", "publish_webdataset"),
}
"""Files that one process runs, since their tests share what takes long to begin with: the cluster `nodes`; torch and transformers, whose
import takes 4 CPU-seconds."""
GRACE_S = 10.0
"""A child must die within 2 s of its parent; the rest is for a busy machine."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, and says which tests one process runs, in order: those of a file, or of `TOGETHER`."""
    place = {f"test_{name}": k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
    group_of = {name: group for group, names in TOGETHER.items() for name in names}
    for item in items:
        name = item.path.stem.removeprefix("test_")
        item.add_marker(pytest.mark.xdist_group(group_of.get(name, name)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Makes sure that xdist has taken the groups: without them each process starts a cluster, and makes each file's footage anew."""
    if getattr(session.config.option, "loadgroup", False) and (alone := [item for item in session.items if "@" not in item.nodeid]):
        raise RuntimeError(f"pytest-xdist runs {alone[0].nodeid} in no group. Fix: install the pytest that pyproject.toml names")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The shared footage and truth sets: RUSHES_DATA, else ../shared/data beside the repository."""
    folder = Path(os.environ.get("RUSHES_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "manifest.tsv").is_file():
        pytest.skip(f"no shared footage at {folder}: set RUSHES_DATA to the folder that holds manifest.tsv")
    return folder


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """A caption server, for the tests of a file."""
    with start_server() as server:
        yield server


@pytest.fixture
def server(running: Running) -> Running:
    """The caption server, with the options it began with and nothing seen."""
    running.control()
    return running


@pytest.fixture(scope="session")
def footage_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the session's rendered footage."""
    return tmp_path_factory.mktemp("footage")


@pytest.fixture(scope="session")
def footage(footage_dir: Path) -> Callable[[str, Callable[[Path], Clip]], Clip]:
    """Renders a clip once a session: `footage("vfr.mp4", lambda path: render(path, film(...), ...))`."""
    made: dict[str, Clip] = {}

    def once(name: str, make: Callable[[Path], Clip]) -> Clip:
        if name not in made:
            made[name] = make(footage_dir / name)
        return made[name]

    return once


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder of footage that is made once for all processes of the test session. Read only."""
    base = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder, done = base / name, base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def demo_footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the demo's footage (10 CPU-seconds). Read only: other tests use it too."""
    from rushes.demo import render_footage

    return made_once(tmp_path_factory, "demo_footage", render_footage)


@pytest.fixture(scope="session")
def films_of_14_s(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight films of two shots. Read only."""

    def make(folder: Path) -> None:
        for k in range(8):
            render(folder / f"{k}.mp4", film(320, 180, [150, 200], seed=40 + k), options={"preset": "ultrafast"})

    return sorted(made_once(tmp_path_factory, "films_of_14_s", make).iterdir())


@pytest.fixture(scope="session")
def short_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three films of two shots each, and one that is none. Read only."""

    def make(folder: Path) -> None:
        for k in range(3):
            render(folder / f"{k}.mp4", film(192, 108, [40, 50], seed=60 + k), options={"preset": "ultrafast"})
        (folder / "broken.mp4").write_bytes(bytes(range(256)) * 40)

    return made_once(tmp_path_factory, "short_films", make)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread for PyTorch: tiny models are far slower with two, which wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def ray_films(films_of_14_s: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `ray_runs.N_FILMS` films of 14 s, and one that is none. Read only."""
    folder = tmp_path_factory.mktemp("ray_films")
    for path in films_of_14_s[:N_FILMS]:
        os.link(path, folder / path.name)
    (folder / "broken.mp4").write_bytes(bytes(range(256)) * 40)
    return folder


@pytest.fixture(scope="session")
def ray_native(ray_films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the native runner makes of these films under `ray_runs.QUICK`. Read only."""
    out = tmp_path_factory.mktemp("natively") / "store"
    go(ray_films, out, *QUICK)
    return out


@pytest.fixture(scope="session")
def nodes() -> Iterator[RunningCluster]:
    """Two nodes of Ray with one CPU each; the first has a GPU, as the cluster counts it. A test that ends a node starts another."""
    with ray_cluster.cluster(gpus=(1, 0), path=[str(ROOT / "tests")], **QUIET) as running:
        yield running


@pytest.fixture(scope="session")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Reel:
    """The reel of `stores.make_reel`, rendered once a session. Read only."""
    return make_reel(tmp_path_factory.mktemp("reel"))


@pytest.fixture(scope="session")
def reel_store(reel: Reel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The store of one run of the reel under `stores.BASE`. Read only: copy it to run on, or to publish."""
    out = tmp_path_factory.mktemp("stores") / "reel"
    go(reel.folder, out)
    yield out
    assert not (out / "published").exists(), "a test has published the store that all share, and not a copy"


def _of_cluster(pid: int) -> bool:
    """Whether a process, or one above it, was started for a test's cluster: what renames itself, such as ray::DashboardAgent, hides its own
    environment."""
    while pid > 1:
        if CLUSTER in environment_of(pid):
            return True
        pid = parent_of(pid)
    return False


def ours(but: Set[int] = frozenset()) -> dict[int, str]:
    """Living processes of this test session but those of `but`, by id: descendants, and orphans that carry the session's mark."""
    found = {}
    for pid, command in marked(TOKEN, os.getpid(), but).items():
        of_cluster = "rushes.engine.work.child" not in command and _of_cluster(pid)
        if not of_cluster and not any(h in command for h in HELPERS):
            found[pid] = command[:200]
    return found


def left_behind(before: Set[int], grace_s: float = GRACE_S) -> dict[int, str]:
    """Processes that came after `before` and are still there when the grace is over."""
    deadline = time.monotonic() + grace_s
    while (left := ours(but=before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _end(pids: dict[int, str]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.fixture(scope="session", autouse=True)
def _session_mark() -> Iterator[None]:
    name, _, value = TOKEN.partition("=")
    os.environ[name] = value
    yield
    if left := left_behind(set()):
        _end(left)
        pytest.fail(f"the session leaves processes behind: {left}")


@pytest.fixture(autouse=True)
def _no_process_left(_session_mark: None) -> Iterator[None]:
    before = living()
    yield
    if left := left_behind(before):
        _end(left)
        pytest.fail(f"the test leaves processes behind: {left}")
