"""Compaction: readers see the same rows before, during and after it, also when it is killed; and then open only what can hold them."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from rushes.errors import StorageError, StoreBusy
from rushes.media import storage
from rushes.records import Column
from rushes.store import compact as compaction
from rushes.store import compact_videos
from rushes.store.buckets import Buckets
from rushes.store.compact import compact, digits_for, sweep
from rushes.store.frames import FrameWriter
from rushes.store.lease import Lease
from rushes.store.opened import Opened
from rushes.store.parts import Asked, Part, merged_folder, merged_part, video_part
from rushes.store.store import LOOKS, Store, steadily
from rushes.store.tables import CAPTIONS, CLIPS, ERRORS, FRAMES, MARKS, MEASURES, RUNS, SEGMENTS, SIGNALS, TABLES, VIDEOS, Table
from rushes.store.views import duckdb_views
from stores import SRC, inline, rows_of, seen
from variants import variants

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PRINTS = ["a" * 32, "b" * 32]
Truth = dict[tuple[Any, ...], dict[str, Any]]


def name(k: int) -> str:
    """The k-th video's id: a hash, as real ones are."""
    return hashlib.sha256(str(k).encode()).hexdigest()


def drawn(table: Table, rng: random.Random, n_videos: int) -> dict[str, Any]:
    """A random row of a table with few keys, so that many rows supersede others."""
    k, c = rng.randrange(n_videos), rng.randrange(3)
    row: dict[str, Any] = {"video_id": name(k), "clip_id": hashlib.sha256(f"{k}:{c}".encode()).hexdigest()[:32], "uri": f"/{k}.mp4"}
    row |= {"stage": rng.choice(["scan", "shots"]), "text": rng.randbytes(150).hex(), "status": "done", "pts": c, "jpeg": rng.randbytes(50)}
    if table in (VIDEOS, ERRORS) and rng.random() < 0.3:
        row["video_id"] = None
    row |= {"key": row["video_id"] or row["uri"], "attempt": rng.randrange(1, 3)}
    row |= {
        "fingerprint": rng.choice(PRINTS),
        "run_id": f"run {rng.randrange(4)}",
        "written_at": NOON + timedelta(seconds=rng.randrange(5)),
    }
    return {name: row[name] for name in row if name in {c.name for c in table.columns}}


def newest(truth: Truth, table: Table, row: dict[str, Any]) -> bool:
    """Notes a row as the truth if it is newer than what is noted; False where another is exactly as new, which no two runs can be."""
    key = tuple(row[k] for k in (*table.keys, "fingerprint"))
    old, age = truth.get(key), (row["written_at"], row["run_id"])
    if old is not None and (old["written_at"], old["run_id"]) == age:
        return False
    if old is None or (old["written_at"], old["run_id"]) < age:
        truth[key] = row
    return True


MIXED = (VIDEOS, CLIPS, CAPTIONS, MARKS, ERRORS)


def fill(store: Store, seed: int, n_parts: int = 12, n_videos: int = 24) -> dict[str, Truth]:
    """Random rows in many parts, with superseded ones, two fingerprints, equal times and null keys. Gives what counts, by construction."""
    rng, truths = random.Random(seed), {t.name: Truth() for t in (*MIXED, FRAMES, SIGNALS)}
    for table in MIXED:
        for _ in range(n_parts):
            rows = [row for row in (drawn(table, rng, n_videos) for _ in range(30)) if newest(truths[table.name], table, row)]
            store.write_rows(table, rows, name=f"{seed}-{rng.random()}")
    for k in range(n_videos):
        for fingerprint in PRINTS:
            stamps = {"video_id": name(k), "fingerprint": fingerprint, "run_id": "r", "written_at": NOON + timedelta(seconds=seed)}
            frames = [{**stamps, "pts": pts, "jpeg": rng.randbytes(60), "width": 2, "height": 2} for pts in range(rng.randrange(1, 5))]
            store.write_rows(FRAMES, frames, name=video_part(name(k), fingerprint, 0))
            signal = {**stamps, "pts": [1, 2], "time_base": "1/2", "end_pts": k, "mode": "exact", "rotation": 0}
            store.write_rows(SIGNALS, [signal], name=video_part(name(k), fingerprint))
            for row in frames:
                newest(truths["frames"], FRAMES, row)
            newest(truths["signals"], SIGNALS, signal)
    store.write_rows(RUNS, [{"run_id": "r", "status": "finished", "fingerprint": "", "written_at": NOON}], name="r")
    return truths


def as_seen(table: Table, row: dict[str, Any]) -> tuple[Any, ...]:
    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return round((value - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
        return tuple(value) if isinstance(value, list) else value

    return tuple(plain(row.get(c.name)) for c in table.columns)


def expected(truths: dict[str, Truth]) -> dict[str, list[tuple[Any, ...]]]:
    return {t: sorted((as_seen(TABLES[t], row) for row in truth.values()), key=repr) for t, truth in truths.items()}


def read(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """What the store's own reader gives, of all tables but `runs`."""
    tables = [t for t in TABLES.values() if t is not RUNS and store.parts(t)]
    return {t.name: sorted((as_seen(t, row) for row in store.read(t).to_pylist()), key=repr) for t in tables}


def viewed(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """What the DuckDB views give."""
    with duckdb.connect() as base:
        base.execute(duckdb_views(store))
        found = {}
        for table in TABLES.values():
            if table is not RUNS and store.parts(table):
                there = {row[0] for row in base.execute(f"DESCRIBE {table.name}").fetchall()}
                columns = ", ".join(in_sql(c) if c.name in there else "NULL" for c in table.columns)
                rows = base.execute(f"SELECT {columns} FROM {table.name}").fetchall()
                found[table.name] = sorted((tuple(tuple(v) if isinstance(v, list) else v for v in row) for row in rows), key=repr)
    return found


def in_sql(column: Column) -> str:
    """A column for DuckDB, of which a time comes as microseconds: with zones it wants a package that is not there."""
    return f'epoch_us("{column.name}")' if column.kind == "time" else f'"{column.name}"'


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few kilobytes, so that a small store has many buckets, and few rows in memory, so that rows go through the disk."""
    monkeypatch.setattr(compaction, "PART_BYTES", 16_000)
    monkeypatch.setattr(compaction, "VIDEO_PART_BYTES", 24_000)
    monkeypatch.setattr("rushes.store.partition.MEMORY_BYTES", 20_000)
    monkeypatch.setattr(compact_videos, "GROUP_BYTES", 500)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store"), {})


def files(store: Store) -> dict[str, int]:
    return {str(p.relative_to(store.root)): p.stat().st_mtime_ns for p in Path(store.root).rglob("*.parquet")}


# The same rows


@pytest.mark.parametrize("seed", variants(range(2), quick=[1]))
def test_readers_see_the_same_rows_after_it(store: Store, small: None, seed: int) -> None:
    truths = fill(store, seed)
    assert read(store) == viewed(store) == expected(truths)
    before = len(files(store))
    done = {d.table: d for d in compact(store)}
    assert read(store) == viewed(store) == expected(truths)
    assert len(files(store)) < before
    assert {name.split("/")[1] for name in files(store) if not name.startswith("runs/")} == {"merged"}
    for table, truth in truths.items():
        globbed = sum(pq.read_metadata(p).num_rows for p in Path(store.root, table).rglob("*.parquet"))
        assert globbed == len(truth), "a plain glob sees each row once, too"
    assert done["captions"].rows_dropped > 50


@pytest.mark.slow
def test_rows_that_come_later_are_merged_into_what_was_merged(store: Store, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rounds; the third makes the tables so large that they are split into more buckets."""
    truths = fill(store, 1, n_parts=3, n_videos=4)
    monkeypatch.setattr(compaction, "PART_BYTES", 80_000)
    compact(store)
    assert {p.prefix for t in (CAPTIONS, FRAMES) for p in store.parts(t)} == {""}
    monkeypatch.setattr(compaction, "PART_BYTES", 16_000)
    for seed, n_videos in ((2, 10), (3, 60)):
        more = fill(store, seed, n_parts=6, n_videos=n_videos)
        for table, truth in more.items():
            for row in truth.values():
                newest(truths[table], TABLES[table], row)
        compact(store)
        assert read(store) == viewed(store) == expected(truths)
    assert {len(p.prefix or "") for t in (CAPTIONS, FRAMES) for p in store.parts(t)} == {1}
    for table in (*MIXED, FRAMES, SIGNALS):
        assert {p.merged for p in store.parts(table)} == {True}
        for fingerprint in PRINTS:
            prefixes = [p.prefix or "" for p in store.parts(table, fingerprints=[fingerprint])]
            assert len(prefixes) == len(set(prefixes))
            assert len({len(p) for p in prefixes}) == 1, "all buckets of a table and fingerprint have as many digits"


def test_done_again_it_changes_nothing(store: Store, small: None) -> None:
    fill(store, 1)
    compact(store)
    before = files(store)
    assert [d.rows_dropped for d in compact(store)] == [0] * (len(TABLES) - 3)
    assert files(store) == before


def test_the_same_rows_make_the_same_files_whatever_parts_they_came_in(tmp_path: Path, small: None) -> None:
    truth: Truth = {}
    rows = [row for k in range(300) if newest(truth, CAPTIONS, row := drawn(CAPTIONS, random.Random(k), 40))]
    found = []
    for seed in range(2):
        store = Store.create(str(tmp_path / str(seed)), {})
        random.Random(seed).shuffle(rows)
        for k in range(0, len(rows), 20 + 17 * seed):
            store.write_rows(CAPTIONS, rows[k : k + 20 + 17 * seed])
        compact(store)
        found.append(set(files(store)))
    assert found[0] == found[1]
    assert len(found[0]) > 2


def test_columns_that_only_some_parts_have_stay(store: Store) -> None:
    extra = [Column("sharpness", "float", "", ""), Column("motion", "float", "", "")]
    row = {"video_id": name(1), "fingerprint": "f" * 32, "run_id": "r", "written_at": NOON}
    for k, columns in enumerate(([], extra[:1], extra)):
        store.write_rows(MEASURES, [{**row, "clip_id": str(k), **{c.name: 0.5 for c in columns}}], extra=columns)
    before = store.read(MEASURES, extra=extra).to_pylist()
    compact(store)
    assert store.read(MEASURES, extra=extra).to_pylist() == before
    assert [r["sharpness"] for r in before] == [None, 0.5, 0.5]


def test_a_real_store_looks_the_same(reel_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    shutil.copytree(reel_store, out)
    rows, results = rows_of(out), seen(out)
    before = (results.clips(), results.videos(), results.captions(), results.errors())
    done = inline("compact", out, "--json")
    assert done.code == 0, done.err
    told = {line["table"]: line for line in done.lines}
    assert told["signals"]["parts_before"] == 2
    assert told["signals"]["parts_after"] == 1
    after = seen(out)
    assert (after.clips(), after.videos(), after.captions(), after.errors()) == before
    assert rows_of(out) == rows


# What goes and what stays


def test_rows_of_other_fingerprints_go_only_when_told(store: Store, small: None) -> None:
    truths = fill(store, 1)
    compact(store)
    assert {row[-3] for row in read(store)["captions"]} == set(PRINTS)
    dropped = sum(d.rows_dropped for d in compact(store, keep=PRINTS[:1]))
    wanted = {t: {key: row for key, row in truth.items() if row["fingerprint"] == PRINTS[0]} for t, truth in truths.items()}
    assert read(store) == viewed(store) == expected(wanted)
    assert dropped == sum(len(truths[t]) - len(wanted[t]) for t in truths)
    assert store.read(RUNS).num_rows == 1


def test_of_loose_parts_too(store: Store, small: None) -> None:
    truths = fill(store, 2)
    compact(store, keep=PRINTS[1:])
    assert read(store) == expected({t: {k: r for k, r in truth.items() if r["fingerprint"] == PRINTS[1]} for t, truth in truths.items()})


def test_the_command_keeps_what_the_recipe_wants(reel_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    shutil.copytree(reel_store, out)
    store, before = Store.open(str(out), {}), rows_of(out)
    other = {"clip_id": "c", "video_id": name(1), "text": "of another prompt", "fingerprint": "0" * 32, "run_id": "r", "written_at": NOON}
    store.write_rows(CAPTIONS, [other])
    assert inline("compact", out).code == 0
    assert "of another prompt" in store.read(CAPTIONS)["text"].to_pylist()
    assert inline("compact", out, "--drop-other-fingerprints").code == 0
    assert rows_of(out) == before


def test_it_refuses_while_a_run_writes(reel_store: Path, tmp_path: Path) -> None:
    from rushes import api

    out = tmp_path / "store"
    shutil.copytree(reel_store, out)
    store = Store.open(str(out), {})
    before = files(store)
    with Lease(store, "z").held(wait=False, interrupted=threading.Event()):
        with pytest.raises(StoreBusy, match="is held by run z"):
            api.compact(out)
        assert inline("compact", out).code == 3
        assert files(store) == before
    assert api.compact(out)
    assert files(store) != before


def test_without_its_lease_it_changes_nothing(store: Store, small: None) -> None:
    fill(store, 1)
    before = files(store)

    def lost() -> None:
        raise StoreBusy("the lease is lost")

    store.gate = lost
    for keep in (None, PRINTS[:1]):
        with pytest.raises(StoreBusy):
            compact(store, keep=keep)
        assert files(store) == before


def test_what_killed_writers_left_is_swept_when_it_is_old(store: Store) -> None:
    old, young = Path(store.path("captions", ".x.parquet.1.tmp")), Path(store.path("captions", ".y.parquet.2.tmp"))
    old.parent.mkdir()
    for path in (old, young):
        path.write_bytes(b"half a part")
    os.utime(old, (time.time() - 3700, time.time() - 3700))
    assert sweep(store) == 1
    assert [old.exists(), young.exists()] == [False, True]


# Kills and readers meanwhile


class Killed(BaseException):
    """The end of the process, as no code of the program may hold it up."""


@pytest.mark.slow
def test_stopped_between_changes_it_loses_no_row(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops before the n-th write or removal, for every seventh n; a second compaction ends at the same files as an undisturbed one."""
    origin = Store.create(str(tmp_path / "origin"), {})
    truth, left = expected(fill(origin, 9, n_parts=3, n_videos=3)), 0
    monkeypatch.setattr(compaction, "PART_BYTES", 4000)
    real = {verb: getattr(storage, verb) for verb in ("put_atomic", "remove")}

    def step(verb: str, *args: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return real[verb](*args)

    for verb in real:
        monkeypatch.setattr(storage, verb, partial(step, verb))
    calm: set[str] = set()
    for n in (10_000, *range(0, 500, 7)):
        store = Store(str(tmp_path / f"after {n}"), {})
        shutil.copytree(origin.root, store.root)
        left = n
        try:
            compact(store)
        except Killed:
            assert read(store) == truth, f"stopped before change {n}"
        else:
            if calm:
                break
        left = 10_000
        compact(store)
        calm = calm or set(files(store))
        assert set(files(store)) == calm
        assert read(store) == truth
    assert n > 60


PROGRAM = """
import os, signal, sys, threading
from rushes.media import storage
from rushes.store import compact, compact_videos, partition
from rushes.store.store import Store
compact.PART_BYTES, compact.VIDEO_PART_BYTES, partition.MEMORY_BYTES, compact_videos.GROUP_BYTES = 16_000, 24_000, 20_000, 500
left, after_s = int(sys.argv[2]), float(sys.argv[3])
def counted(change):
    def step(*args):
        global left
        left -= 1
        if left == 0:
            threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return change(*args)
    return step
storage.put_atomic, storage.remove = counted(storage.put_atomic), counted(storage.remove)
compact.compact(Store.open(sys.argv[1], {}))
"""
"""Compacts a store, and is killed so many seconds after it began its n-th write or removal."""


def test_killed_anywhere_it_loses_no_row_and_the_next_ends_at_the_same_files(tmp_path: Path, small: None) -> None:
    calm, rough = (Store.create(str(tmp_path / kind), {}) for kind in ("calm", "rough"))
    truth = expected(fill(calm, 5))
    fill(rough, 5)
    compact(calm)
    rng, killed_midway = random.Random(1), 0
    for attempt in range(5):
        words = [rough.root, str(rng.randint(1, 20)), str(rng.random() / 100)]
        done = subprocess.run([sys.executable, "-c", PROGRAM, *words], env={**os.environ, "PYTHONPATH": str(SRC)}, check=False)
        parts = [p for t in MIXED for p in rough.parts(t)] + rough.parts(FRAMES)
        killed_midway += done.returncode == -signal.SIGKILL and len({p.merged for p in parts}) == 2
        assert read(rough) == truth, f"after kill {attempt}"
        assert viewed(rough) == truth, f"after kill {attempt}"
    assert killed_midway >= 2, "the kills must hit the middle for this test to mean anything"
    compact(rough)
    assert set(files(rough)) == set(files(calm))


def test_a_reader_meanwhile_sees_every_row_every_time(store: Store, small: None) -> None:
    truths, ended, wrong, looks = fill(store, 7), threading.Event(), [], []
    truth = expected(truths)
    frames = {key[1]: row["jpeg"] for key, row in truths["frames"].items() if (key[0], key[2]) == (name(3), PRINTS[0])}

    def look() -> None:
        while not ended.is_set():
            seen_now = {
                t: sorted((as_seen(TABLES[t], r) for r in store.read(TABLES[t]).to_pylist()), key=repr) for t in ("captions", "signals")
            }
            if seen_now != {t: truth[t] for t in seen_now} or store.frames(name(3), PRINTS[0], list(range(9))) != frames:
                wrong.append(len(looks))
            looks.append(1)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for part_bytes in (90_000, 16_000):  # the second splits what the first merged
            compaction.PART_BYTES = compaction.VIDEO_PART_BYTES = part_bytes
            compact(store)
    finally:
        ended.set()
        reader.join()
    assert len(looks) > 3
    assert wrong == []
    assert read(store) == truth


def test_parts_that_go_away_each_time_are_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes.store.store.LOOK_AGAIN_S", 0.0)
    looks = []

    def look() -> None:
        looks.append(1)
        raise FileNotFoundError("part")

    with pytest.raises(StorageError, match=f"went away {LOOKS} times.*Fix"):
        steadily(look, "s3://bucket/store/clips")
    assert len(looks) == LOOKS


# Pruning


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The parts that are opened."""
    found: list[str] = []

    def watched(self: Opened, part: Part, options: Any) -> None:
        found.append(part.uri)
        real(self, part, options)

    real = Opened.__init__
    monkeypatch.setattr(Opened, "__init__", watched)
    yield found


@pytest.mark.parametrize("table", variants([CAPTIONS, FRAMES, SIGNALS], quick=[CAPTIONS, FRAMES]), ids=lambda t: t.name)
def test_one_video_opens_the_parts_of_its_bucket_alone(store: Store, small: None, opened: list[str], table: Table) -> None:
    truth = fill(store, 1)[table.name]
    compact(store)
    assert len(store.parts(table)) > 4
    for k in (0, 17):
        opened.clear()
        rows = store.read(table, fingerprints=PRINTS[:1], only={"video_id": [name(k)]}).to_pylist()
        assert sorted(as_seen(table, r) for r in rows) == sorted(
            as_seen(table, r) for r in truth.values() if (r["video_id"], r["fingerprint"]) == (name(k), PRINTS[0])
        )
        assert len(opened) == len(set(opened)) == 1
        folder, _, file = opened[0].rpartition("/")
        assert f"/{table.name}/merged/{PRINTS[0][:8]}/" in folder + "/"
        assert name(k).startswith(file.partition("-")[0])


def test_a_reader_of_one_video_does_not_mind_garbage_elsewhere(store: Store, small: None) -> None:
    fill(store, 1)
    compact(store)
    before = store.read(CAPTIONS, fingerprints=PRINTS[:1], only={"video_id": [name(5)]})
    for part in store.parts(CAPTIONS):
        if not part.may_hold([PRINTS[0][:8]], Asked([name(5)])):
            Path(part.uri).write_bytes(b"garbage")
    assert store.read(CAPTIONS, fingerprints=PRINTS[:1], only={"video_id": [name(5)]}).equals(before)
    with pytest.raises((OSError, ValueError)):
        store.read(CAPTIONS)


def test_only_row_groups_that_can_hold_a_video_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FEW_ROWS", 10)
    rows = [
        {"clip_id": f"{k}-{c}", "video_id": name(k), "text": "t", "fingerprint": PRINTS[0], "run_id": "r", "written_at": NOON}
        for k in range(30) for c in range(5)
    ]  # fmt: skip
    store.write_rows(CAPTIONS, rows)
    compact(store)
    [part] = store.parts(CAPTIONS)
    assert pq.ParquetFile(part.uri).num_row_groups == 15
    groups: list[int] = []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda self, i, **more: groups.append(i) or real(self, i, **more))
    assert store.read(CAPTIONS, only={"video_id": [name(3)]}).num_rows == 5
    assert 1 <= len(set(groups)) <= 2


@pytest.mark.parametrize("merged", [False, True])
def test_buckets_give_what_reading_gives(store: Store, small: None, merged: bool) -> None:
    fill(store, 3)
    if merged:
        compact(store)
    order = sorted(name(k) for k in range(24))
    for table in (CAPTIONS, VIDEOS, MARKS):
        buckets = Buckets(store, table, Asked(order), 1, fingerprints=PRINTS[:1])
        for start_at in range(0, 24, 7):
            some = order[start_at : start_at + 7]
            assert buckets.rows(some).equals(store.read(table, fingerprints=PRINTS[:1], only={"video_id": some}).combine_chunks())
        buckets.close()


def test_frames_of_a_long_video_keep_their_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes.store.frames.MAX_PART_BYTES", 10_000)
    for k in (1, 2):
        writer = FrameWriter(store, {"video_id": name(k), "fingerprint": PRINTS[0], "run_id": "r", "written_at": NOON}, hold=False)
        for pts in range(10 if k == 1 else 2):
            writer.add(pts, os.urandom(3000), 4, 3)
        writer.finish([])
    sent = store.frames(name(1), PRINTS[0], list(range(10)))
    compact(store)
    assert [(p.video, p.merged) for p in store.parts(FRAMES)] == [(name(1), False)] * 3 + [(None, True)]
    assert store.frames(name(1), PRINTS[0], list(range(10))) == sent
    assert len(sent) == 10
    assert store.frame_pts(name(2), PRINTS[0]) == [0, 1]


def test_segments_and_their_frames_keep_their_parts(store: Store) -> None:
    """A run that was killed left them; the next one finds and deletes them by name."""
    stamps = {"video_id": name(1), "fingerprint": PRINTS[0], "run_id": "r", "written_at": NOON}
    writer = FrameWriter(store, stamps, hold=False, label="cutffffffff-00000")
    writer.add(5, b"jpeg", 4, 3)
    writer.finish([])
    store.write_rows(SEGMENTS, [{**stamps, "segment": 0}], name=video_part(name(1), PRINTS[0], 0))
    before = files(store)
    compact(store)
    assert files(store) == before
    assert [(p.video, p.fingerprint, p.label) for p in store.parts(FRAMES)] == [(name(1), PRINTS[0][:8], "cutffffffff")]
    assert store.frames(name(1), PRINTS[0], [5]) == {5: b"jpeg"}


# Names


@pytest.mark.parametrize(
    ("prefix", "path"),
    [("", "0/all"), ("a", "1/a"), ("ab", "2/ab"), ("abc", "3/ab/abc"), ("abcd", "4/ab/abcd"), ("abcde", "5/ab/cd/abcde")],
)
def test_the_name_of_a_merged_part_says_what_it_holds(prefix: str, path: str) -> None:
    told = merged_part("f" * 32, prefix, "9" * 64)
    assert told == f"merged/ffffffff/{path}-{'9' * 20}"
    part = Part.of("/s/clips", f"/s/clips/{told}.parquet", 5)
    assert (part.fingerprint, part.prefix, part.merged, part.video) == ("f" * 8, prefix, True, None)
    video = "abcdef" + "0" * 58
    assert part.may_hold(["f" * 8], Asked([video]))
    assert not part.may_hold(["e" * 8], Asked([video]))
    assert part.may_hold(None, Asked(["b" * 64])) == (prefix == "")
    assert told.startswith(merged_folder("f" * 32, len(prefix), video) + "/")


@pytest.mark.parametrize(("n_bytes", "digits"), [(0, 0), (100, 0), (101, 1), (1600, 1), (1601, 2), (1e30, 6)])
def test_buckets_grow_sixteenfold(n_bytes: float, digits: int) -> None:
    assert digits_for(n_bytes, 100) == digits
