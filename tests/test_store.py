"""The store: parts whole or absent, the newest row for a key and fingerprint, and readers of other makes that agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from rushes.errors import StorageError, StoreError
from rushes.records import Column
from rushes.store.buffer import Buffer
from rushes.store.frames import FrameWriter
from rushes.store.store import MARKER, Store
from rushes.store.tables import CAPTIONS, ERRORS, FRAMES, MARKS, TABLES, VIDEOS, schema
from rushes.store.views import duckdb_views
from stores import SRC

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
VIDEO = "ab" + "0" * 62


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store"), {})


def caption(clip: str, text: str, minute: int, fingerprint: str = "f" * 32) -> dict[str, Any]:
    at = NOON + timedelta(minutes=minute)
    return {"clip_id": clip, "video_id": VIDEO, "text": text, "fingerprint": fingerprint, "run_id": "r", "written_at": at}


def video(uri: str, video_id: str | None, status: str, minute: int) -> dict[str, Any]:
    at = NOON + timedelta(minutes=minute)
    return {"uri": uri, "video_id": video_id, "status": status, "fingerprint": "f", "run_id": "r", "written_at": at}


# Which row counts


def test_the_newest_row_of_a_key_and_fingerprint_counts(store: Store) -> None:
    store.write_rows(CAPTIONS, [caption("a", "new", 9), caption("b", "only", 1)], name="one")
    store.write_rows(CAPTIONS, [caption("a", "old", 2), caption("a", "other recipe", 1, "e" * 32)], name="two")
    rows = store.read(CAPTIONS).to_pylist()
    assert sorted((r["clip_id"], r["fingerprint"][0], r["text"]) for r in rows) == [
        ("a", "e", "other recipe"),
        ("a", "f", "new"),
        ("b", "f", "only"),
    ]
    assert [r["text"] for r in store.read(CAPTIONS, fingerprints=["e" * 32]).to_pylist()] == ["other recipe"]


def test_null_keys_are_keys_like_others(store: Store) -> None:
    store.write_rows(VIDEOS, [video("a.mp4", None, "failed", 1), video("a.mp4", "v", "done", 2)], name="one")
    store.write_rows(VIDEOS, [video("a.mp4", None, "duplicate", 3), video("b.mp4", None, "failed", 1)], name="two")
    rows = store.read(VIDEOS).to_pylist()
    assert sorted((r["uri"], r["video_id"] or "", r["status"]) for r in rows) == [
        ("a.mp4", "", "duplicate"), ("a.mp4", "v", "done"), ("b.mp4", "", "failed")
    ]  # fmt: skip


def test_the_duckdb_views_see_what_rushes_sees(store: Store) -> None:
    for minute, part in enumerate(("one", "two", "three")):
        store.write_rows(CAPTIONS, [caption(c, f"{part} {c}", minute) for c in "abc"], name=part)
        store.write_rows(VIDEOS, [video("a.mp4", None, part, minute), video("it's.mp4", "v", part, -minute)], name=part)
    base = duckdb.connect()
    base.execute(duckdb_views(store))
    for table in (CAPTIONS, VIDEOS):
        columns = ", ".join(f.name for f in schema(table) if f.name != "written_at")
        theirs = base.execute(f"SELECT {columns} FROM {table.name}").fetchall()
        ours = [tuple(v for k, v in row.items() if k != "written_at") for row in store.read(table).to_pylist()]
        assert sorted(theirs, key=repr) == sorted(ours, key=repr)
    assert base.execute("SELECT count(*) FROM captions").fetchone() == (3,)
    globbed = base.execute(f"SELECT count(*) FROM read_parquet('{store.path('captions', '**', '*.parquet')}')").fetchone()
    assert globbed == (9,), "a plain glob sees every row that was written"


def test_the_same_rows_written_again_make_the_same_part(store: Store) -> None:
    for minute in (1, 2):
        store.write_rows(CAPTIONS, [caption("a", "text", minute), caption("b", "text", minute)])
    assert len(store.parts(CAPTIONS)) == 1
    store.write_rows(CAPTIONS, [caption("a", "text", 3)])
    assert len(store.parts(CAPTIONS)) == 2


def test_the_views_of_a_store_in_a_folder_with_a_quote_in_its_name_work(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "it's 日本 100%"), {})
    store.write_rows(CAPTIONS, [caption("a", "text", 1)])
    base = duckdb.connect()
    base.execute(duckdb_views(store))
    assert base.execute("SELECT text FROM captions").fetchall() == [("text",)]


def test_every_table_can_be_written_and_read_empty_handed(store: Store) -> None:
    for table in TABLES.values():
        assert store.read(table).num_rows == 0
        row = {c.name: (1 if c.kind == "int" else "x") if c.name in table.keys else None for c in table.columns}
        row |= {"fingerprint": "f", "written_at": NOON, "run_id": "r"}
        store.write_rows(table, [row])
        assert store.read(table).num_rows == 1


def test_a_column_that_older_parts_lack_reads_as_null(store: Store) -> None:
    measures, extra = TABLES["measures"], [Column("sharpness", "float", "", "")]
    row = {"clip_id": "a", "video_id": VIDEO, "fingerprint": "f", "run_id": "r", "written_at": NOON}
    store.write_rows(measures, [row])
    store.write_rows(measures, [{**row, "clip_id": "b", "sharpness": 0.5}], extra=extra)
    assert store.read(measures, extra=extra)["sharpness"].to_pylist() == [None, 0.5]


# Frames and buffers


def test_frames_leave_in_parts_of_bounded_size_and_are_found_by_pts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes.store.frames.MAX_PART_BYTES", 10_000)
    writer = FrameWriter(store, {"video_id": VIDEO, "fingerprint": "f" * 32, "run_id": "r", "written_at": NOON}, hold=False)
    sent = {k * 40: os.urandom(3000) for k in range(10)}
    for pts, jpeg in sent.items():
        writer.add(pts, jpeg, 4, 3)
        assert writer._bytes < 10_000
    writer.finish([])
    assert len(store.parts(FRAMES)) == 3
    assert store.frame_pts(VIDEO, "f" * 32) == list(sent)
    assert store.frames(VIDEO, "f" * 32, [0, 80, 81, 360]) == {k: sent[k] for k in (0, 80, 360)}
    assert store.frames(VIDEO, "e" * 32, [0]) == {}


def test_a_mark_is_never_durable_before_the_rows_it_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write fails, no mark is there without its rows; a later commit writes all of them."""
    from rushes.media import storage

    real = storage.put_atomic
    for fail_at in range(2):
        calls = []

        def broken(uri: str, data: Any, options: Any, at: int = fail_at, calls: list[str] = calls) -> int:
            calls.append(uri)
            if len(calls) == at + 1:
                raise StorageError("no space left")
            return real(uri, data, options)

        monkeypatch.setattr(storage, "put_atomic", broken)
        buffer = Buffer(store, [(CAPTIONS, ()), (MARKS, ())])
        clip, stage = f"clip{fail_at}", f"stage{fail_at}"
        mark = {"video_id": VIDEO, "stage": stage, "rows": 1, "fingerprint": "f", "run_id": "r", "written_at": NOON}
        buffer.add({"marks": [mark], "captions": [caption(clip, "text", 1)]})
        with pytest.raises(StorageError):
            buffer.commit()
        assert stage not in store.read(MARKS)["stage"].to_pylist()
        buffer.commit()
        assert stage in store.read(MARKS)["stage"].to_pylist()
        assert clip in store.read(CAPTIONS)["clip_id"].to_pylist()


def test_what_is_committed_is_durable_and_lies_in_few_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes.store.buffer.MAX_ROWS", 3)
    buffer = Buffer(store, [(CAPTIONS, ())])
    for n, clip in enumerate("abcdefg", 1):
        buffer.commit({"captions": [caption(clip, "text", 1)]})
        assert store.read(CAPTIONS)["clip_id"].to_pylist() == list("abcdefg"[:n])
        assert len(store.parts(CAPTIONS)) == -(-n // 3)
    monkeypatch.setattr("rushes.store.buffer.MAX_AGE_S", 0.0)
    buffer.commit({"captions": [caption("h", "text", 1)]})
    buffer.commit({"captions": [caption("i", "text", 1)]})
    assert len(store.parts(CAPTIONS)) == 4, "a part that is old is not written anew"


def test_rows_of_many_threads_are_written_together(store: Store) -> None:
    buffer = Buffer(store, [(CAPTIONS, ())])

    def work(n: int) -> bool:
        buffer.commit({"captions": [caption(f"clip{n}", "text", 1)]})
        return f"clip{n}" in store.read(CAPTIONS)["clip_id"].to_pylist()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(64)))
    assert len(store.read(CAPTIONS)) == 64


# Kills


WRITER = """
import sys
from datetime import UTC, datetime
from rushes.store.store import Store
from rushes.store.tables import CAPTIONS
store, k = Store.create(sys.argv[1], {}), int(sys.argv[2])
while True:
    rows = [
        {"clip_id": f"{k}-{i}", "text": "x" * 3000 + str(i * k), "fingerprint": "f" * 32, "run_id": "r", "written_at": datetime.now(UTC)}
        for i in range(1000)
    ]
    store.write_rows(CAPTIONS, rows)
    k += 1
    print("one part is written", flush=True)
"""


def test_a_part_is_complete_or_absent_when_its_writer_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "store"
    seen = set()
    for attempt in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(out), str(attempt * 1000)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SRC)},
        )
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.013 * attempt)
        process.kill()
        process.wait()
        process.stdout.close()
        for path in out.rglob("*.parquet"):
            table = pq.read_table(path)
            assert table.num_rows == 1000, path
            assert not path.name.startswith(".")
            seen.add(path)
    assert len(seen) >= 6
    count = duckdb.connect().execute(f"SELECT count(DISTINCT clip_id), count(*) FROM read_parquet('{out}/**/*.parquet')").fetchone()
    assert count is not None
    assert count[0] % 1000 == 0
    assert count[1] >= count[0] >= 6000


# What is not a store


def test_a_folder_of_other_things_is_no_store_and_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(StoreError, match=r"is not a store and is not empty \(it holds .*thesis.doc\)"):
        Store.create(str(tmp_path), {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.doc"]
    with pytest.raises(StoreError, match="is not a store"):
        Store.open(str(tmp_path), {})


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text(json.dumps({"format": 2}))
    for door in (Store.open, Store.create):
        with pytest.raises(StoreError, match="a store of format 2, this Rushes reads format 1"):
            door(str(tmp_path), {})


@pytest.mark.parametrize("text", ["", "not json", "[]", "\xff\xfe"])
def test_a_marker_that_cannot_be_read_is_no_store(tmp_path: Path, text: str) -> None:
    (tmp_path / MARKER).write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match=r"rushes\.json"):
        Store.open(str(tmp_path), {})


def test_a_file_where_the_store_should_be_is_an_error_in_words(tmp_path: Path) -> None:
    taken = tmp_path / "store"
    taken.write_text("a file")
    with pytest.raises((StoreError, StorageError), match="store"):
        Store.create(str(taken), {})


def test_a_store_lives_at_an_fsspec_address_too(tmp_path: Path) -> None:
    store = Store.create("memory://bucket/store", {})
    store.write_rows(CAPTIONS, [caption("a", "old", 1)], name="one")
    store.write_rows(CAPTIONS, [caption("a", "new", 2)], name="two")
    store.write_rows(ERRORS, [{"stage": "scan", "key": "k", "attempt": 1, "fingerprint": "f", "run_id": "r", "written_at": NOON}])
    assert Store.open("memory://bucket/store/", {}).read(CAPTIONS)["text"].to_pylist() == ["new"]
