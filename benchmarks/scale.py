"""What a store of millions of clips costs: the comparison of a run with it, its compaction, and reading it.

    python -m benchmarks.scale [--clips 1 3 10]      (millions)

The rows are synthetic: hashes as ids, random measures, 25 clips a video, a caption each; parts of 5,000 clips as a run on many workers
writes them, then the same rows compacted. Each figure comes from a process of its own: CPU-seconds, and the peak of its resident memory
(VmHWM) with, in brackets, what of it was there before the store was touched: Python, the libraries and the list of footage.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.memory import peak_bytes
from benchmarks.targets import Targets
from rushes.api import results
from rushes.engine.fingerprints import fingerprints
from rushes.engine.plan.plan import compared
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.recipe import Recipe
from rushes.sources.found import Footage, Found
from rushes.store.compact import compact
from rushes.store.store import Store
from rushes.store.tables import CAPTIONS, CLIPS, MARKS, MEASURES, RUNS, VIDEOS, schema

ROOT = Path(__file__).resolve().parent.parent
CLIPS_A_VIDEO = 25
VIDEOS_A_PART = 200
CLIP_TICKS = 12 * 15360
"""12 s, as 10 million hours in 3 billion clips."""
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WORDS = (
    "a narrow street",
    "a forest path",
    "two people",
    "a red car",
    "the camera pans",
    "slowly",
    "at night",
    "in the rain",
    "a dog",
    "steps",
)


def hexes(rng: np.random.Generator, n: int, digits: int) -> np.ndarray:
    """Random hex numbers as bytes of a fixed length."""
    return np.frombuffer(rng.bytes(n * digits // 2).hex().encode(), f"S{digits}")


def text(values: np.ndarray) -> pa.Array:
    """Bytes as an Arrow column of text."""
    return pa.array(values).cast(pa.binary()).cast(pa.string())


def filled(table: Any, known: dict[str, Any], n: int, extra: Any = ()) -> pa.Table:
    """A table with the columns that are known; of the others numbers are 1 and texts null."""
    columns = []
    for field in schema(table, extra):
        value = known.get(field.name)
        if value is None:
            value = pa.nulls(n, field.type) if pa.types.is_string(field.type) else pa.repeat(pa.scalar(1).cast(field.type), n)
        elif not isinstance(value, pa.Array | pa.ChunkedArray):
            value = pa.repeat(pa.scalar(value, field.type), n)
        columns.append(value.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema(table, extra))


def part(rng: np.random.Generator, number: int, prints: dict[str, str]) -> Iterator[tuple[Any, pa.Table]]:
    """The rows that 200 videos make."""
    n, n_clips = VIDEOS_A_PART, VIDEOS_A_PART * CLIPS_A_VIDEO
    ids = hexes(rng, n, 64)
    of_clip = text(np.repeat(ids, CLIPS_A_VIDEO))
    stamps = {"run_id": f"run-{number // 100:06d}", "written_at": NOON + timedelta(seconds=2 * number)}
    uris = pa.array([f"s3://bucket/day{number // 50:05d}/camera{k % 10}/{number:06d}-{k:04d}.mp4" for k in range(n)])
    facts = {
        "uri": uris,
        "video_id": text(ids),
        "status": "done",
        "stamp": text(hexes(rng, n, 32)),
        "codec": "h264",
        "container": "mov,mp4",
    }
    facts |= {"width": 1280, "height": 720, "size_bytes": pa.array(rng.integers(1 << 20, 1 << 30, n)), "footage_s": 300.0, "fps": 25.0}
    yield VIDEOS, filled(VIDEOS, {**facts, **stamps, "fingerprint": prints["scan"], "time_base": "1/15360"}, n)
    start = np.tile(np.arange(CLIPS_A_VIDEO) * CLIP_TICKS, n)
    shared = {"clip_id": text(hexes(rng, n_clips, 32)), "video_id": of_clip, **stamps}
    spans = {
        "start_pts": pa.array(start),
        "end_pts": pa.array(start + CLIP_TICKS),
        "time_base": "1/15360",
        "duration_s": 12.0,
        "n_frames": 300,
    }
    spans |= {
        "start_s": pa.array(start / 15360),
        "end_s": pa.array(start / 15360 + 12),
        "start_kind": "cut",
        "end_kind": "cut",
        "mode": "exact",
    }
    yield CLIPS, filled(CLIPS, {**shared, **spans, "fingerprint": prints["shots"]}, n_clips)
    values = {c.name: pa.array(rng.random(n_clips, np.float32)) for c in MEASURE_COLUMNS if c.kind == "float"}
    yield MEASURES, filled(MEASURES, {**shared, **values, "fingerprint": prints["measures"]}, n_clips, MEASURE_COLUMNS)
    phrases = [pa.array(WORDS).take(pa.array(rng.integers(0, len(WORDS), n_clips))) for _ in range(12)]
    words = {"text": pc.binary_join_element_wise(*phrases, ", "), "model": "rushes-facts", "prompt_id": "facts", "finish_reason": "stop"}
    yield CAPTIONS, filled(CAPTIONS, {**shared, **words, "fingerprint": prints["captions"]}, n_clips)
    stages = ("scan", "frames", "shots", "measures")
    marks = {"video_id": text(np.tile(ids, len(stages))), "stage": pa.array(np.repeat(stages, n)), **stamps}
    yield MARKS, filled(MARKS, {**marks, "fingerprint": pa.array(np.repeat([prints[s] for s in stages], n))}, n * len(stages))


def make(root: str, n_clips: int) -> Store:
    """A store of fresh parts."""
    store, prints = Store.create(root, {}), fingerprints(Recipe())
    rng = np.random.default_rng(1)
    for number in range(max(1, n_clips // (VIDEOS_A_PART * CLIPS_A_VIDEO))):
        for table, rows in part(rng, number, prints):
            store.write_table(table, rows, f"{rows['fingerprint'][0].as_py()[:8]}-{number:020d}")
    ended = {"run_id": "run-000000", "status": "finished", "started_at": NOON, "ended_at": NOON, "recipe": Recipe().model_dump_json()}
    counts = json.dumps({"fingerprints": prints})
    store.write_rows(RUNS, [{**ended, "counts": counts, "versions": "{}", "fingerprint": "0" * 32, "written_at": NOON}])
    return store


def cpu_s() -> float:
    """CPU-seconds of this process, all its threads."""
    return time.process_time()


def children_s() -> float:
    """CPU-seconds of the processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_mib() -> float:
    """High-water mark of this process's resident memory. (`ru_maxrss` would begin with that of the process that started it.)"""
    return peak_bytes(os.getpid()) / 2**20


def footage(store: Store, share: str) -> list[Footage]:
    """The store's own footage, as a listing would show it: all of it, every hundredth video, or one."""
    rows = store.read(VIDEOS, columns=["size_bytes", "stamp"]).select(["uri", "size_bytes", "stamp"])
    step = {"all": 1, "1 %": 100, "one": rows.num_rows}[share]
    rows = rows.take(pa.array(range(0, rows.num_rows, step)))
    items = [Footage(uri, size, stamp) for uri, size, stamp in zip(*(rows[c].to_pylist() for c in rows.column_names), strict=True)]
    return sorted(items, key=lambda item: item.uri)


def plan_of(root: str, share: str) -> dict[str, float]:
    """Compares footage with the store, all of whose rows are there: nothing is to be done."""
    store = Store.open(root, {})
    listed = Path(root).with_name(f"{share.replace(' %', '')}.json")
    if not listed.exists():  # made by a process of its own, whose peak does not count
        listed.write_text(json.dumps([[f.uri, f.size, f.stamp] for f in footage(store, share)]))
        return plan_in_own_process(root, share)
    items = [Footage(*row) for row in json.loads(listed.read_text())]
    before, began = peak_mib(), cpu_s()
    plan = compared(Found(items, 0, []), items, store, Recipe())
    seconds = cpu_s() - began
    n_clips = plan.kept + plan.dropped
    if plan.has_jobs or n_clips != CLIPS_A_VIDEO * len(items) or plan.count("reused") != len(items):
        raise RuntimeError(f"the plan is wrong: jobs of {len(plan.of_videos)} videos, {n_clips} clips of {len(items)} videos")
    return {"seconds": seconds, "mib": peak_mib(), "before_mib": before, "videos": len(items)}


def compact_of(root: str) -> dict[str, float]:
    """Compacts the store."""
    store, before, began = Store.open(root, {}), peak_mib(), cpu_s()
    done = compact(store)
    if any(d.rows_dropped for d in done):
        raise RuntimeError(f"rows were dropped that nothing supersedes: {done}")
    figures = {f"{d.table} parts": d.parts_after for d in done} | {f"{d.table} MB": d.bytes_after / 1e6 for d in done}
    return {"seconds": cpu_s() - began, "mib": peak_mib(), "before_mib": before, **figures}


def read_of(root: str) -> dict[str, float]:
    """Reads the clips, measures and captions of one video."""
    store = Store.open(root, {})
    video = json.loads(Path(root).with_name("video.json").read_text())
    before, began, n = peak_mib(), cpu_s(), 0
    for table, extra in ((CLIPS, ()), (MEASURES, MEASURE_COLUMNS), (CAPTIONS, ())):
        n += store.read(table, only={"video_id": [video]}, extra=extra).num_rows
    if n != 3 * CLIPS_A_VIDEO:
        raise RuntimeError(f"{n} rows of one video")
    return {"seconds": cpu_s() - began, "mib": peak_mib(), "before_mib": before}


def make_of(root: str, n_clips: str) -> dict[str, float]:
    """Makes the store."""
    began = cpu_s()
    store = make(root, int(n_clips))
    first = store.read(VIDEOS, columns=["size_bytes"])["video_id"][0].as_py()
    Path(root).with_name("video.json").write_text(json.dumps(first))
    return {"seconds": cpu_s() - began, "mib": peak_mib(), "before_mib": 0.0}


def first_of(root: str) -> dict[str, float]:
    """`rushes clips --json | head -1`: seconds of the command until it has ended, which its reader makes it do after one line."""
    began, used = time.perf_counter(), children_s()
    with subprocess.Popen([sys.executable, "-m", "rushes.cli", "clips", root, "--json"], stdout=subprocess.PIPE, cwd=ROOT) as command:
        assert command.stdout is not None
        line = command.stdout.readline()
        wall, mib = time.perf_counter() - began, peak_bytes(command.pid) / 2**20
        command.stdout.close()
        if command.wait() or not line:
            raise RuntimeError(f"clips --json ended with {command.returncode} when its reader had read enough")
    clip = json.loads(line)
    Path(root).with_name("clip.json").write_text(json.dumps({"clip_id": clip["clip_id"], "uri": clip["uri"]}))
    return {"seconds": children_s() - used, "mib": mib, "before_mib": 0.0, "wall s": wall}


def lines_of(root: str) -> dict[str, float]:
    """All of `rushes clips --json`, written to nowhere."""
    found, before, began, n = results(root), peak_mib(), cpu_s(), 0
    with open(os.devnull, "w", encoding="utf-8") as sink:
        for row in found.clips():
            sink.write(json.dumps(row, ensure_ascii=False) + "\n")
            n += 1
    return {"seconds": cpu_s() - began, "mib": peak_mib(), "before_mib": before, "clips": n}


def command_of(root: str, what: str) -> dict[str, float]:
    """A command about one clip or one video."""
    clip = json.loads(Path(root).with_name("clip.json").read_text())
    where = ["clips", root, "--json", "--where", f"uri = '{clip['uri']}'"]
    args = {"clip": ["explain", root, clip["clip_id"], "--json"], "video": ["explain", root, clip["uri"], "--json"], "where": where}[what]
    began, used = time.perf_counter(), children_s()
    done = subprocess.run([sys.executable, "-m", "rushes.cli", *args], capture_output=True, text=True, check=True, cwd=ROOT)
    wall, lines = time.perf_counter() - began, len(done.stdout.splitlines())
    if lines != (1 if what == "clip" else CLIPS_A_VIDEO):
        raise RuntimeError(f"{args} gave {lines} lines")
    return {"seconds": children_s() - used, "mib": 0.0, "before_mib": 0.0, "wall s": wall}


def frame_of(root: str) -> dict[str, float]:
    """`rushes.open(...).clips()` in Daft: clips and seconds by verdict, over all clips."""
    import rushes

    before, began = peak_mib(), cpu_s()
    frame = rushes.open(root).clips()
    rows = frame.groupby("verdict").agg(frame["duration_s"].sum()).to_pydict()
    if not rows["verdict"]:
        raise RuntimeError("no clip was counted")
    return {"seconds": cpu_s() - began, "mib": peak_mib(), "before_mib": before}


def report_of(root: str) -> dict[str, float]:
    """The report."""
    from rushes.report.gather import report_data
    from rushes.report.page import render

    before, began, used = peak_mib(), time.perf_counter(), cpu_s()
    page = render(report_data(results(root)))
    figures = {"wall s": time.perf_counter() - began, "page MB": len(page) / 1e6}
    return {"seconds": cpu_s() - used, "mib": peak_mib(), "before_mib": before, **figures}


WORKS: dict[str, Callable[..., dict[str, float]]] = {
    "make": make_of, "plan": plan_of, "compact": compact_of, "read": read_of, "first": first_of, "lines": lines_of,
    "command": command_of, "frame": frame_of, "report": report_of,
}  # fmt: skip
READERS: list[tuple[str, tuple[str, ...]]] = [
    ("first line of clips --json", ("first",)), ("explain CLIP_ID", ("command", "clip")), ("explain URI", ("command", "video")),
    ("clips --where uri", ("command", "where")), ("report", ("report",)), ("Daft, by verdict", ("frame",)), ("clips --json", ("lines",)),
]  # fmt: skip
"""What is read of a compacted store, and how; `first` notes the clip that the commands ask for."""


def in_own_process(work: str, *args: str) -> dict[str, float]:
    """One of `WORKS` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--work", work, *args], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def plan_in_own_process(root: str, share: str) -> dict[str, float]:
    """`plan_of` again, now that the footage is listed."""
    return in_own_process("plan", root, share)


def measure(n_clips: int) -> dict[str, dict[str, float]]:
    """All figures of one size of store."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        root = str(Path(folder) / "store")
        in_own_process("make", root, str(n_clips))
        steps: list[tuple[str, tuple[str, ...]]] = [(f"plan, {share}", ("plan", root, share)) for share in ("all", "1 %", "one")]
        steps.append(("read one", ("read", root)))
        for name, args in steps:
            found[f"fresh: {name}"] = in_own_process(*args)
        found["compact"] = in_own_process("compact", root)
        for name, args in steps:
            found[f"compacted: {name}"] = in_own_process(*args)
        found |= {name: in_own_process(args[0], root, *args[1:]) for name, args in READERS}
    for name, figures in found.items():
        more = "  ".join(f"{k} {v:.0f}" for k, v in figures.items() if k.endswith((" MB", " parts", "wall s")) and v)
        print(
            f"{n_clips:>10} clips  {name:26} {figures['seconds']:8.2f} s {figures['mib']:6.0f} MiB ({figures['before_mib']:.0f})  {more}",
            flush=True,
        )
    return found


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=float, nargs="+", default=[1, 3, 10], help="sizes of stores, in millions of clips")
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        print(json.dumps(WORKS[args.work[0]](*args.work[1:])), flush=True)
        os._exit(0)  # Daft's threads may crash at the interpreter's own exit
    targets = Targets()
    sizes = [round(millions * 1e6) for millions in args.clips]
    found = {size: measure(size) for size in sizes}
    least, most = min(sizes), max(sizes)
    for name in found[most]:
        small, large = found[least][name], found[most][name]
        more = large["seconds"] / small["seconds"]
        memory = f", {large['mib'] / small['mib']:4.1f} x the memory" if small["mib"] else ""  # that of commands is not measured
        print(f"{name:26} {most / least:.0f} x the clips: {more:5.1f} x the time{memory}")
    for name in ("compact", "compacted: plan, all", "fresh: plan, all"):
        own = [found[size][name]["mib"] - found[size][name]["before_mib"] for size in (least, most)]
        targets.at_most(f"growth of time, {name}", found[most][name]["seconds"] / found[least][name]["seconds"], 1.3 * most / least)
        targets.at_most(f"memory beyond the footage list, {name}", own[1] / 1024, 2.0, "GiB")
    targets.at_most("one video read from the largest", found[most]["compacted: read one"]["seconds"], 1.0, "s")
    for name, seconds in (
        ("first line of clips --json", 3),
        ("explain CLIP_ID", 2),
        ("explain URI", 2),
        ("clips --where uri", 2),
        ("report", 120),
    ):
        targets.at_most(f"{name}, of the largest", found[most][name]["seconds"], seconds, "s")
    for name in ("clips --json", "report", "Daft, by verdict"):
        targets.at_most(f"memory, {name}", found[most][name]["mib"] / 1024, 1.5, "GiB")
    return targets.close()


if __name__ == "__main__":
    sys.exit(main())
