"""Who new files are: what was read of them is kept, is not read again, and is the same from the nodes of a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from footage import render
from pictures import film
from ray_cluster import cluster
from rushes import api
from rushes.engine import local
from rushes.engine.plan import identify
from rushes.engine.plan.identify import Identifier, Keeper, _jobs
from rushes.engine.plan.plan import Plan, make_plan
from rushes.engine.work import identify as work
from rushes.errors import CannotGoOn, MissingExtra, StoreError, UsageError
from rushes.media.guard import Stopped
from rushes.media.identity import video_id
from rushes.media.storage import Options
from rushes.sources.footage import find_footage
from rushes.sources.found import Footage
from rushes.store.compact import compact
from rushes.store.store import Store
from rushes.store.tables import IDENTITIES
from stores import SRC, go, inline, recipe, rows_of, settings_of
from variants import variants

QUICK = ("frames.keep=none", "captions.engine=none", "rules.too_short.min=0.1")
LAST = "late"
"""Files whose names begin so are never read to their end by the runs that are killed."""
SCRIPT = """
import sys, threading, time
from pathlib import Path
from rushes.engine.plan import identify, plan
from rushes.engine.work import identify as work
from rushes.cli import main
real, found = work.video_id, plan.find_footage
identify.KEEP_EVERY_S = 0.0
def slow(uri, size, options):
    if Path(uri).name.startswith("late"):
        time.sleep(60)
    return real(uri, size, options)
def driver(uri, size, options):
    raise AssertionError("the driver reads it")
def shortened(*args, **options):
    files = found(*args, **options)
    for item in files.items:
        if Path(item.uri).name == "short.mp4":
            Path(item.uri).write_bytes(b"less")
    return files
if sys.argv[1] == "slow":
    work.video_id = slow
else:
    plan.find_footage = shortened
if sys.argv[1] == "spread":
    identify.SPREAD_ABOVE, work.video_id = 2, driver
del sys.argv[1]
main()
"""


def scripted(how: str, *args: str | Path) -> subprocess.Popen[str]:
    """Starts `rushes run` with identities kept at once: "slow" over late files, or with one that gets "short" after it was listed, or the
    same with all read on the nodes of a cluster, "spread".
    """
    environ = {**os.environ, "PYTHONPATH": str(SRC), "PYTHONWARNINGS": "ignore"}
    words = [sys.executable, "-c", SCRIPT, how, "run", *map(str, args), *settings_of(*QUICK)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read to know them, in this process."""
    names: list[str] = []

    def noted(uri: str, size: int, options: Options) -> str:
        names.append(Path(uri).name)
        return video_id(uri, size, options)

    monkeypatch.setattr(work, "video_id", noted)
    return names


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learnt is written at once."""
    monkeypatch.setattr(identify, "KEEP_EVERY_S", 0.0)


@pytest.fixture
def bytes_of(tmp_path: Path) -> Path:
    """A folder of six files whose names say that they are videos; a plan believes it."""
    folder = tmp_path / "footage"
    folder.mkdir()
    for k in range(6):
        (folder / f"{k}.mp4").write_bytes(np.random.default_rng(k).bytes(1000 + k))
    return folder


def planned(folder: Path, out: Path) -> Plan:
    """The plan of a run, which keeps what it learns."""
    store, wanted = Store(str(out), {}), recipe(*QUICK)
    keeper = Keeper(store, f"run {time.monotonic_ns()}", lambda: None)
    return make_plan([str(folder)], store if store.marked() else None, wanted, identifier=Identifier(wanted, keeper))


def who(plan: Plan) -> dict[str, str | None]:
    return {Path(source.footage.uri).name: source.video_id for source in plan.sources}


def truth(folder: Path) -> dict[str, str | None]:
    return {path.name: video_id(str(path), path.stat().st_size, {}) for path in folder.iterdir()}


def kept(out: Path) -> dict[str, str]:
    """What `identities` says: name -> video_id."""
    if not (out / "identities").is_dir():
        return {}
    return {Path(row["uri"]).name: row["video_id"] for row in Store.open(str(out), {}).read(IDENTITIES).to_pylist()}


# Kept


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short films to know soon, two late ones, and one that no decoder reads."""
    folder = tmp_path_factory.mktemp("films")
    for k, name in enumerate(("early 0", "early 1", f"{LAST} 0", f"{LAST} 1")):
        render(folder / f"{name}.mp4", film(96, 64, [12, 13], seed=k), options={"preset": "ultrafast"})
    (folder / "early broken.mp4").write_bytes(bytes(range(256)) * 40)
    return folder


@pytest.fixture(scope="module")
def undisturbed(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "store"
    go(films, out, *QUICK)
    return out


@pytest.mark.parametrize("end", variants([signal.SIGKILL, signal.SIGINT], quick=[signal.SIGKILL]))
def test_a_run_that_ends_while_it_reads_keeps_what_it_read(
    end: signal.Signals, films: Path, undisturbed: Path, tmp_path: Path, read: list[str]
) -> None:
    out, deadline = tmp_path / "store", time.monotonic() + 30
    process = scripted("slow", films, "--out", out)
    try:
        while len(kept(out)) < 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(end)
        since = time.monotonic()
        _, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == (130 if end is signal.SIGINT else -end), err
    assert time.monotonic() - since < 5, "it ends within seconds, though the late files would take a minute"
    early = {name: video for name, video in truth(films).items() if not name.startswith(LAST)}
    assert kept(out) == early
    assert {path.name for path in out.iterdir()} == {"rushes.json", "identities"}
    go(films, out, *QUICK)
    assert sorted(read) == [f"{LAST} 0.mp4", f"{LAST} 1.mp4"]
    assert kept(out) == early, "the second run took no 10 s"
    mine, theirs = rows_of(out), rows_of(undisturbed)
    assert len(mine.pop("identities")) == 3 and not theirs.pop("identities")
    assert mine == theirs


@pytest.mark.usefixtures("at_once")
def test_a_file_that_changed_is_read_again(bytes_of: Path, tmp_path: Path, read: list[str]) -> None:
    out = tmp_path / "store"
    assert who(planned(bytes_of, out)) == truth(bytes_of)
    assert sorted(read) == sorted(truth(bytes_of))
    read.clear()
    assert who(planned(bytes_of, out)) == truth(bytes_of)
    assert read == []
    os.utime(bytes_of / "0.mp4", ns=(1, 1))
    (bytes_of / "1.mp4").write_bytes(b"other and shorter")
    (bytes_of / "7.mp4").write_bytes(b"new")
    aside = (bytes_of / "2.mp4").stat()
    (bytes_of / "2.mp4").write_bytes(b"its time of change is as before, its size is not")
    os.utime(bytes_of / "2.mp4", ns=(aside.st_atime_ns, aside.st_mtime_ns))
    for reads in (["0.mp4", "1.mp4", "2.mp4", "7.mp4"], []):
        read.clear()
        assert who(planned(bytes_of, out)) == truth(bytes_of)
        assert sorted(read) == reads


@pytest.mark.usefixtures("at_once")
def test_a_file_that_got_another_content_and_its_old_one_back_is_known(bytes_of: Path, tmp_path: Path, read: list[str]) -> None:
    """The first content comes back touched, the other one as it was: each has a row, before and after compaction."""
    out, path = tmp_path / "store", bytes_of / "0.mp4"
    states = [(path.read_bytes(), 1), (b"another", 2), (path.read_bytes(), 3)]
    for at, (content, changed_ns) in enumerate([*states, *states[1:], *states[1:]]):
        if at == len(states):
            read.clear()
        if at > len(states):
            compact(Store.open(str(out), {}))
        path.write_bytes(content)
        os.utime(path, ns=(1, changed_ns))
        assert who(planned(bytes_of, out)) == truth(bytes_of)
    assert read == []
    [done] = [done for done in compact(Store.open(str(out), {})) if done.table == "identities"]
    assert (done.parts_before, done.parts_after) == (1, 1)


@pytest.mark.usefixtures("at_once")
def test_a_raised_code_version_makes_it_anew(bytes_of: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (1, 2, 1):
        monkeypatch.setattr("rushes.engine.fingerprints.IDENTITY_VERSION", version)
        planned(bytes_of, tmp_path / "store")
    assert sorted(read) == sorted([*truth(bytes_of)] * 2)


@pytest.mark.usefixtures("at_once")
def test_compaction_keeps_them_under_any_recipe(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    go(films, out, *QUICK)
    before = kept(out)
    assert before == truth(films)
    assert inline("compact", out, "--drop-other-fingerprints").code == 0
    assert kept(out) == before


def test_a_run_that_knows_its_footage_soon_keeps_nothing_apart(reel_store: Path) -> None:
    assert not (reel_store / "identities").exists()


@pytest.mark.usefixtures("at_once")
def test_a_plan_writes_nothing(bytes_of: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    assert api.plan([bytes_of], out=out)["scan"]["missing"] == 6
    assert not out.exists()
    Store.create(str(out), {})
    assert api.plan([bytes_of], out=out)["scan"]["missing"] == 6
    assert [path.name for path in out.iterdir()] == ["rushes.json"]


@pytest.mark.usefixtures("at_once")
def test_a_wrong_request_writes_nothing(bytes_of: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("not a store")
    with pytest.raises(StoreError, match="is not a store"):
        go(bytes_of, tmp_path / "full", *QUICK)
    with pytest.raises(UsageError, match="Ray Client"):
        go(bytes_of, tmp_path / "out", *QUICK, "engine.runner=ray", "engine.ray_address=ray://head:10001")
    monkeypatch.setattr("rushes.ray_cluster.find_spec", lambda _name: None)
    with pytest.raises(MissingExtra):
        go(bytes_of, tmp_path / "out", *QUICK, "engine.runner=ray")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["note.txt"]
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("at_once")
def test_what_could_not_be_read_is_not_kept(bytes_of: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of which nobody had thought are errors of their file, too; one that is the run's own ends it, and the rest stays."""
    out, error = tmp_path / "store", ZeroDivisionError("odd")

    def odd(uri: str, size: int, options: Options) -> str:
        if uri.endswith("3.mp4"):
            while not kept(out):
                time.sleep(0.01)
            raise error
        return video_id(uri, size, options)

    monkeypatch.setattr(work, "video_id", odd)
    plan = planned(bytes_of, out)
    [failed] = [source for source in plan.sources if source.status == "failed"]
    assert (failed.video_id, failed.failure and failed.failure.error_type) == (None, "UnforeseenError")
    assert kept(out) == {name: video for name, video in truth(bytes_of).items() if name != "3.mp4"}
    error = CannotGoOn("no door", mend="open it")  # type: ignore[assignment]
    with pytest.raises(CannotGoOn, match="no door"):
        planned(bytes_of, out)


def test_a_person_is_told_how_far_a_long_reading_has_come(bytes_of: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    items = find_footage([str(bytes_of)], {}).items
    Identifier(recipe(), announce=lines.append).read(items, lambda k, found: None)
    assert lines == [], "not of a short one"
    monkeypatch.setattr(identify, "TELL_EVERY_S", 0.0)
    Identifier(recipe(), announce=lines.append).read(items, lambda k, found: None)
    assert lines[-1] == f"new files: who they are was read of {len(items)} of {len(items)}"


def test_an_interrupted_reading_stops_and_gives_up_the_rest(bytes_of: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free, stop, begun = threading.Event(), threading.Event(), []

    def hangs(uri: str, size: int, options: Options) -> str:
        begun.append(uri)
        stop.set()
        free.wait(30)
        return "0"

    monkeypatch.setattr(work, "video_id", hangs)
    monkeypatch.setattr(local, "cores", lambda: 1)
    items = find_footage([str(bytes_of)], {}).items * 10
    since = time.monotonic()
    with pytest.raises(Stopped):
        Identifier(recipe(), interrupted=stop).read(items, lambda k, found: None)
    assert time.monotonic() - since < 5
    free.set()
    time.sleep(0.2)
    assert len(begun) == work.THREADS_PER_CORE, "files whose turn had not come are not opened any more"


# Spread


@pytest.mark.parametrize(("n", "slots", "most"), [(1, 2, 1), (5, 2, 2), (4000, 4, 256), (1025, 1, 256)])
def test_jobs_hold_a_bounded_number_of_files_and_there_are_enough_for_all_nodes(n: int, slots: int, most: int) -> None:
    items = [Footage(f"/{k}", k, "") for k in range(n)]
    jobs = list(_jobs(items, 256, slots))
    assert [(file.place, file.address, file.size) for job in jobs for file in job.files] == [(k, f"/{k}", k) for k in range(n)]
    assert max(len(job.files) for job in jobs) == most
    assert len(jobs) >= min(n, slots)


@pytest.mark.slow
def test_a_cluster_reads_what_one_machine_reads(films: Path, tmp_path: Path) -> None:
    """In the second run the driver itself cannot read, so that all was read on the nodes."""
    short, stores = tmp_path / "short.mp4", [tmp_path / "native", tmp_path / "ray"]
    for out in stores:
        short.write_bytes(bytes(9000))
        os.utime(short, ns=(1, 1))
        if out.name == "native":
            process = scripted("short", films, short, "--out", out)
            _, err = process.communicate(timeout=120)
        else:
            with cluster() as running:
                process = scripted("spread", films, short, "--out", out, "--ray", running.address)
                _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    native, ray = (rows_of(out) for out in stores)
    assert kept(stores[1]) == truth(films)
    [error] = [row for row in ray["errors"] if row["stage"] == "identify"]
    assert (error["uri"], error["permanent"]) == (str(short), False)
    assert "it changed while it was read" in error["mend"]
    assert ray == native
