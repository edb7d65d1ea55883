"""The benchmarks run: each on input so small that its figures mean nothing, checked for what must hold whatever the figures are."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import rushes.media.guard

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Imports a benchmark by name; footage is drawn, small, and rendered into a folder of the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        patch.setenv("RUSHES_BENCH_CACHE", str(tmp_path_factory.mktemp("bench")))
        yield lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="module")
def tiny(bench: object) -> Path:
    """Three seconds, 192 x 108, with grain."""
    return bench("render").tiny(90, 192, 108)  # type: ignore[operator,no-any-return]


def module(bench: object, name: str) -> ModuleType:
    return bench(name)  # type: ignore[operator,no-any-return]


def test_the_floor_decodes_every_frame(bench: object, tiny: Path) -> None:
    scan = module(bench, "scan")
    assert scan.floor(tiny) == 90
    assert scan.floor(tiny, {"skip_frame": "noref"}) < 90


def test_shares_add_up(bench: object, tiny: Path) -> None:
    shares = module(bench, "scan").shares(tiny, rounds=1)
    assert list(shares) == ["decode", "Python", "shrink", "per-frame signals", "grid work", "JPEG"]
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_pass_is_compared_with_the_floor(bench: object, tiny: Path) -> None:
    found = module(bench, "scan").compare(tiny, rounds=1)
    assert set(found) == {"floor", "exact", "fast"}
    assert 0 < found["floor"].cpu_s < found["exact"].cpu_s


def test_copies_differ_and_decode_alike(bench: object, tiny: Path, tmp_path: Path) -> None:
    render, scan = module(bench, "render"), module(bench, "scan")
    first, second = render.copies(tiny, tmp_path, 2)
    assert first.read_bytes() != second.read_bytes()
    assert scan.floor(first) == scan.floor(second) == 90


def test_repeated_footage_is_as_long_as_asked(bench: object, tiny: Path) -> None:
    """Ten seconds at 12 frames a second out of 90 frames: 120 frames a twelfth of a second apart, across the joint too.

    The end is cut in decoding order, where up to four frames (x264's reordering) are not yet followed by their neighbours.
    """
    import av

    path = module(bench, "render").repeated(tiny, 10, 12)
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == 120
    assert [b - a for a, b in itertools.pairwise(times[:-4])] == pytest.approx([1 / 12] * 115, abs=1e-3)


def test_the_chain_and_ours_run(bench: object, tiny: Path) -> None:
    chain = module(bench, "chain")
    found = chain.costs(tiny, rounds=1)
    assert all(one.cpu_s > 0 for one in found.values())
    assert chain.chain_s(found, "split, encoded") > chain.chain_s(found, "split, copied")


def test_the_chain_splits_at_its_scenes(bench: object, tiny: Path, tmp_path: Path) -> None:
    chain, scan = module(bench, "chain"), module(bench, "scan")
    chain.split_encoded(tiny, [(0.0, 1.0), (1.0, 3.0)], tmp_path)
    assert [scan.floor(path) for path in sorted(tmp_path.iterdir())] == [30, 60]


def test_the_peak_is_that_of_a_decoding_child(bench: object, tiny: Path) -> None:
    """A child has imported libav, OpenCV and numpy: more than 30 MiB, whatever the video; and it decoded all frames."""
    child, driver, frames = module(bench, "memory").peak_of_run(tiny)
    assert frames == 90
    assert 30 << 20 < child < 1 << 30
    assert driver > 30 << 20


def test_overlap_runs_do_their_own_work(bench: object, tiny: Path, tmp_path: Path) -> None:
    """`measure` itself checks how many videos each run scanned, how many scores and captions it made. In its own process, as in use."""
    module(bench, "render").copies(tiny, tmp_path / "footage", 2)
    code = f"""
import os
from pathlib import Path
from benchmarks.overlap import measure
os.environ.setdefault("OPENAI_API_KEY", "none")
folder = Path({str(tmp_path)!r})
more = {{"clips": {{"mode": "encode"}}}}
walls = measure(sorted((folder / "footage").iterdir()), folder, 1, more, models=["scores", "captions"])
print("captions", walls.n_clips, "ratio", walls.ratio)
"""
    paths = {"RUSHES_TEST_TIME_OF_A_CLIP": str(tmp_path / "time"), "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert int(words[words.index("captions", -4) + 1]) >= 2
    assert float(words[-1]) > 0


@pytest.mark.slow
def test_scorers_and_clips_one_by_one_cost_more(bench: object, tmp_path: Path) -> None:
    """Six seconds with a small encoder: each scorer decodes the video again, so it costs more, though there are few clips."""
    render, rowwise = module(bench, "render"), module(bench, "rowwise")
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "patch_size": 32}
    pairs, whole, counts, n_frames = rowwise.measure(render.trimmed(render.ordinary(360), 6.0), tmp_path, small, 1)
    assert whole.cpu_s > 0 and counts["decoded_s"] == counts["footage_s"]
    assert counts["frames_encoded"] == n_frames > 0
    assert pairs[0][1].cpu_s > pairs[0][0].cpu_s / 2
    assert counts["scores_made"] == len(rowwise.SCORERS) * counts["clips_kept"] > 0


def test_both_kinds_of_children_do_the_same_work_with_other_threads(bench: object, tiny: Path, tmp_path: Path) -> None:
    """`measure` itself checks that both found the same clips. A library left alone adds a thread a core, if there is more than one."""
    workers = module(bench, "workers")
    videos = module(bench, "render").copies(tiny, tmp_path / "footage", 2)
    seen = {kind: workers.one_run(videos, tmp_path / kind, kind) for kind in workers.KINDS}
    assert len({clips for _, _, clips in seen.values()}) == 1
    assert all(spent.cpu_s > 0 for spent, _, _ in seen.values())
    assert os.cpu_count() == 1 or seen["defaults"][1] > seen["one thread"][1] > 0


def test_memory_is_that_of_all_processes_of_a_run_and_clips_wait(bench: object, tiny: Path, tmp_path: Path) -> None:
    """Two children and the driver, each above 30 MiB; with one request at a time clips wait. All are captioned, or `one_run` raises."""
    backpressure = module(bench, "backpressure")
    module(bench, "render").copies(tiny, tmp_path / "footage", 2)
    with backpressure.start_server(service_s=0.3, parallel=1) as server:
        seen = backpressure.one_run(tmp_path / "footage", tmp_path / "store", [f"captions.base_url={server.base_url}"], None)
    assert set(seen.peak) == {"driver", "decoding"}
    assert min(seen.peak.values()) > 30 << 20
    assert 2 <= seen.waiting <= seen.clips == 12
    assert seen.wall_s > 0.3 * seen.clips


def test_empty_jobs_go_the_whole_way(bench: object, tmp_path: Path) -> None:
    """`measure` itself checks that each job was done once; the children tell what they counted."""
    overhead = module(bench, "overhead")
    wall_ms, cpu_ms = overhead.measure(tmp_path, 20)
    assert cpu_ms > 0 and 0 < wall_ms < 10_000
    assert overhead.STAGE not in overhead.stages.STAGES, "the stage is there for the benchmark alone"


@pytest.mark.parametrize(("value", "code"), [(1.0, 0), (1.3, 1)])
def test_a_missed_target_is_exit_code_1(bench: object, value: float, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    targets = module(bench, "targets").Targets()
    targets.at_most("ratio", value, 1.2)
    assert targets.close() == code
    assert ("MISSED" in capsys.readouterr().out) == bool(code)


def test_numeric_libraries_get_the_threads_of_a_child(bench: object) -> None:
    """The process is replaced by one with the counts; one that has them goes on."""
    code = "import os; from benchmarks.threads import as_in_a_child; as_in_a_child('benchmarks'); print('went on')"
    plain = {name: value for name, value in os.environ.items() if name not in rushes.media.guard.CHILD_ENV}
    for env, word in ((plain, "no such benchmark"), ({**plain, **rushes.media.guard.CHILD_ENV}, "went on")):
        done = subprocess.run([sys.executable, "-c", code, "nothing"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert word in done.stdout + done.stderr


def test_a_small_search_is_measured(bench: object) -> None:
    """In this process. It checks itself that a search without an index finds what numpy finds, and that the index is used."""
    search = module(bench, "search")
    found = search.measure(5000, run=lambda work, *args: search.WORKS[work](*args))
    assert found["index"]["MB"] == pytest.approx(5000 * (768 + 4 + 96) / 1e6, rel=0.05)
    assert all(found["recall"][f"recall {kind}"] > 0.9 for kind in search.queries())
    assert found["indexed"]["compared"] == found["exact"]["compared"] == 5000


def test_a_small_synthetic_store_is_measured(bench: object) -> None:
    """`plan_of`, `compact_of` and `read_of` check themselves that all rows are found; a compacted store has fewer parts."""
    scale = module(bench, "scale")
    found = scale.measure(20_000)
    assert {name.partition(":")[0] for name in found} == {"fresh", "compact", "compacted", *(name for name, _ in scale.READERS)}
    assert found["compact"]["clips parts"] == 1
    commands = {name for name, (work, *_) in scale.READERS if work == "command"}  # their memory is that of another process
    assert all(figures["seconds"] > 0 and (figures["mib"] > 50 or name in commands) for name, figures in found.items())
