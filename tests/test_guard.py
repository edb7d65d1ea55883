"""The guard, against a real child that hangs, grows, crashes and leaves: each is its own error, and the next job works."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rushes.errors import CannotGoOn, CrashError, HangError, MemoryError_, VideoError
from rushes.media.guard import Child, Stopped, resident_bytes

HERE = Path(__file__).resolve().parent
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _child_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent / "src")]))


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child("guard_child", hang_s=2.0, memory_bytes=200 * MIB, stop=threading.Event())
    yield made
    made.kill()


def asked(child: Child, kind: str, **job: Any) -> dict[str, Any]:
    return child.do({"kind": kind, **job}, uri="a.mp4")


def gone(pid: int, within_s: float) -> bool:
    """Whether a process that is not our child has ended; a zombie has."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_child_lives_for_many_jobs_and_takes_any_text(child: Child) -> None:
    first = asked(child, "echo", text='Quesadillas "。" \n\udcff end')["done"]
    second = asked(child, "echo", text="x" * 500_000)["done"]
    assert first == {"pid": child.pid, "text": 'Quesadillas "。" \n\udcff end'}
    assert second == {"pid": child.pid, "text": "x" * 500_000}


@pytest.mark.parametrize(
    ("job", "error", "words", "within_s"),
    [
        ({"kind": "hang"}, HangError, r"no packet progress for 2 s", 4.0),
        ({"kind": "deaf"}, HangError, r"no packet progress for 2 s", 4.0),
        ({"kind": "grow", "mib": 400, "hold_s": 60}, MemoryError_, r"0\.\d GiB, the limit is 0\.2 GiB", 4.0),
        ({"kind": "crash"}, CrashError, r"SIGSEGV: the decoder is sorry", 2.0),
        ({"kind": "leave"}, CrashError, r"exit code 7", 2.0),
    ],
)
def test_each_mishap_is_its_own_error_in_time_and_the_next_job_works(
    child: Child, job: dict[str, Any], error: type[VideoError], words: str, within_s: float
) -> None:
    before = asked(child, "echo")["done"]["pid"]
    began = time.monotonic()
    with pytest.raises(error, match=words) as caught:
        child.do(job, uri="a.mp4")
    assert time.monotonic() - began < within_s
    assert (caught.value.uri, bool(caught.value.mend)) == ("a.mp4", True)
    assert gone(before, 0.5)
    after = asked(child, "echo")["done"]["pid"]
    assert after not in (before, None)


def test_a_long_job_that_makes_progress_is_no_hang(child: Child) -> None:
    seen: list[float] = []
    answer = child.do({"kind": "work", "steps": 30}, uri="a.mp4", progress=seen.append)
    assert answer["done"]["pid"] == child.pid
    assert len(seen) >= 5
    assert seen == sorted(seen)


def test_numeric_libraries_take_one_thread_of_a_child(child: Child) -> None:
    """Whatever the machine has and whatever the user's shell says: OpenBLAS, OpenCV and Arrow take a thread a core if nobody tells them."""
    told = asked(child, "threads")["done"]
    assert told["more"] == 0
    assert (told["arrow"], told["opencv"]) == (1, 1)


def test_a_child_does_not_import_pandas_for_pyarrow(child: Child) -> None:
    assert find_spec("pandas") is not None, "without it this test says nothing"
    assert asked(child, "pandas") == {"done": [[1], False]}


def test_memory_below_the_limit_is_left_alone(child: Child) -> None:
    assert asked(child, "grow", mib=96, hold_s=0.6) == {"done": 6}
    stated = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text())
    assert stated
    assert resident_bytes(child.pid) == pytest.approx(int(stated[1]) * 1024, rel=0.1)


def test_stop_gives_a_job_up_within_a_second() -> None:
    stop = threading.Event()
    child = Child("guard_child", hang_s=60, memory_bytes=1 << 30, stop=stop)
    pid = asked(child, "echo")["done"]["pid"]
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        asked(child, "hang")
    assert time.monotonic() - began < 1.5
    assert gone(pid, 0.5)


def test_a_child_that_was_killed_between_jobs_is_replaced(child: Child) -> None:
    pid = asked(child, "echo")["done"]["pid"]
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    assert asked(child, "echo")["done"]["pid"] != pid


def test_ctrl_c_and_sigterm_do_not_end_a_child(child: Child) -> None:
    pid = asked(child, "echo")["done"]["pid"]
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
        time.sleep(0.1)
        assert asked(child, "echo")["done"]["pid"] == pid


PARENT = """
import sys, threading
from rushes.media.guard import Child
child = Child("guard_child", hang_s=60, memory_bytes=1 << 30, stop=threading.Event())
print(child.do({"kind": "echo"}, uri="")["done"]["pid"], flush=True)
child.do({"kind": sys.argv[1]}, uri="")
"""


@pytest.mark.parametrize("kind", ["hang", "deaf"])
def test_no_child_outlives_its_parent(kind: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, kind], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    time.sleep(0.5)  # the job is under way
    assert not gone(pid, 0.05)
    parent.kill()
    parent.wait(5)
    parent.stdout.close()
    assert gone(pid, 2.0), "the child lives on without its parent"


SLOW = """
import os, time
print(os.getpid(), file=open(os.environ["SAY"], "w"), flush=True)
until = time.monotonic() + 30
while time.monotonic() < until:
    pass
"""


def test_nor_does_one_that_still_imports_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_child.py").write_text(SLOW)
    said = tmp_path / "pid"
    monkeypatch.setenv("SAY", str(said))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    parent = subprocess.Popen([sys.executable, "-c", PARENT.replace("guard_child", "slow_child"), "echo"])
    deadline = time.monotonic() + 20
    while not (said.exists() and said.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    pid = int(said.read_text())
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert not gone(pid, 0.3), "signals are the parent's"
    assert os.getpgid(pid) != os.getpgid(parent.pid), "Ctrl-C at a terminal goes to the parent's group"
    parent.kill()
    parent.wait(5)
    assert gone(pid, 2.0), "the child lives on without its parent"


@pytest.mark.parametrize("first", [None, {"setup": {}}])
@pytest.mark.parametrize("program", ["import a_module_that_is_missing", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_child_that_cannot_start_is_no_fault_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, first: dict[str, Any] | None
) -> None:
    """It is started three times; then the run ends. Each start leaves a line, to be counted."""
    (tmp_path / "broken_child.py").write_text("print('start', file=open(__file__ + '.starts', 'a'))\n" + program)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    child = Child("broken_child", hang_s=0.01, memory_bytes=1 << 30, stop=threading.Event(), first=first)
    with pytest.raises(CannotGoOn, match="no decoding process can be started: the decoding process died with"):
        asked(child, "echo")
    assert (tmp_path / "broken_child.py.starts").read_text() == "start\n" * 3


def test_the_time_in_which_a_child_imports_its_modules_is_no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the imports of a child take longer than a job may stand still."""
    (tmp_path / "late_child.py").write_text("import time\ntime.sleep(1.0)\nfrom guard_child import do, serve\nserve(do)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    child = Child("late_child", hang_s=0.4, memory_bytes=1 << 30, stop=threading.Event())
    try:
        assert asked(child, "echo", text="here")["done"]["text"] == "here"
    finally:
        child.kill()
