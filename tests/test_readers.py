"""Readers: lazy data frames with declared columns, filters that leave files unopened, and the same rows however they are asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import daft
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from daft import col

import rushes
from ray_cluster import RunningCluster
from rushes.engine.fingerprints import fingerprints
from rushes.measures.clip import COLUMNS as MEASURE_COLUMNS
from rushes.recipe import Recipe
from rushes.results import Results
from rushes.results.asked import values_asked
from rushes.results.choose import chosen_clips
from rushes.results.columns import clips_seen
from rushes.results.reader import Reader
from rushes.store.compact import compact
from rushes.store.opened import Opened
from rushes.store.parts import part_name
from rushes.store.store import Store
from rushes.store.tables import CAPTIONS, CLIPS, ERRORS, MEASURES, RUNS, TABLES, VIDEOS
from stores import SRC, Reel, inline, recipe
from variants import variants

CAPTURED: Any = {"capture_output": True, "text": True, "timeout": 100, "check": False}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PRINTS = fingerprints(Recipe())
N_VIDEOS, CLIPS_A_VIDEO = 40, 7


def empty_store(folder: Path, prints: dict[str, str] = PRINTS) -> Store:
    """A store in which a run has ended that found no clip."""
    store = Store.create(str(folder), {})
    counts = json.dumps({"fingerprints": prints})
    row = {
        "run_id": "r", "status": "finished", "started_at": NOON, "ended_at": NOON, "host": "h", "pid": 1, "profile": "web",
        "recipe": Recipe().model_dump_json(), "counts": counts, "versions": "{}", "fingerprint": "f" * 32, "written_at": NOON,
    }  # fmt: skip
    store.write_rows(RUNS, [row])
    return store


def hexes(*words: Any, n: int) -> str:
    import hashlib

    return hashlib.sha256(repr(words).encode()).hexdigest()[:n]


def filled(store: Store) -> Store:
    """Forty videos of seven clips; some captions failed, some clips are superseded, one uri was replaced and one is seen twice."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("videos", "clips", "measures", "captions", "files", "errors")}

    def put(table: str, stage: str, row: dict[str, Any], minute: int = 0) -> None:
        rows[table].append(row | {"fingerprint": PRINTS[stage], "run_id": "r", "written_at": NOON.replace(minute=minute)})

    for v in range(N_VIDEOS):
        video, uri = hexes("video", v, n=64), f"/footage/{v % 5}/{v:03d}.mp4"
        facts = {"status": "done", "width": 1920 if v % 2 else 0, "height": 1080, "fps": 25.0, "footage_s": 70.0 + v, "codec": "h264"}
        extra = {"camera": f"cam{v % 3}"} if v < 20 else {"camera": f"cam{v % 3}", "route": v}
        put("videos", "scan", {"uri": uri, "video_id": video, "extra": json.dumps(extra), **facts})
        for c in range(CLIPS_A_VIDEO):
            clip = hexes("clip", v, c, n=32)
            names = {"clip_id": clip, "video_id": video}
            span = {"start_pts": c * 1000, "end_pts": c * 1000 + 900, "time_base": "1/100", "start_s": c * 10.0, "end_s": c * 10.0 + 9}
            put("clips", "shots", {**names, **span, "duration_s": 3.0 + c % 3, "n_frames": 75, "start_kind": "split" if c % 2 else "cut"})
            put("measures", "measures", {**names, "sharpness": (v * 7 + c) % 10 / 10, "camera_motion": "static", "texture": 0.5})
            if c % 4 == 1:
                failed = {"stage": "captions", "key": clip, "video_id": video, "uri": uri, "attempt": 1, "permanent": True}
                put("errors", "captions", {**failed, "error_type": "Refused", "error": "no words", "mend": "ask again"})
            elif c % 4 != 2:
                put("captions", "captions", {**names, "text": f"clip {v} {c}", "model": "m", "prompt_id": "p"}, minute=2)
                put("captions", "captions", {**names, "text": "an older text", "model": "m", "prompt_id": "p"}, minute=1)
    first = hexes("video", 0, n=64)
    put("videos", "scan", {"uri": "/footage/0/005.mp4", "video_id": None, "status": "failed", "error_type": "ProbeError", "error": "e"}, 5)
    put("videos", "scan", {"uri": "/footage/again.mp4", "video_id": first, "status": "duplicate"}, 5)
    for name, some in rows.items():
        extra = MEASURE_COLUMNS if name == "measures" else ()
        for start in range(0, len(some), 97):
            part = some[start : start + 97]
            store.write_rows(TABLES[name], part, extra=extra, name=part_name(TABLES[name], part))
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(empty_store(tmp_path / "store"))


def ranged(store: Store, digits: int) -> Results:
    """A store's clips in so many ranges as `digits` digits of a video_id make."""
    results = Results(store)
    results.reader = Reader(store, results.prints, results.scorers, digits=digits)
    return results


def by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["clip_id"]: row for row in rows}


# Declared columns


def test_an_empty_store_has_the_columns_of_a_full_one(tmp_path: Path, store: Store) -> None:
    empty = rushes.open(empty_store(tmp_path / "empty").root)
    full = rushes.open(store.root)
    for name in ("clips", "videos", "captions", "errors"):
        none, some = getattr(empty, name)(), getattr(full, name)()
        assert none.schema() == some.schema(), name
        table = none.to_arrow()
        assert table.num_rows == 0
        assert table.schema == some.to_arrow().schema, name
        assert not [f.name for f in table.schema if pa.types.is_null(f.type)], name
    assert full.clips().column_names == list(clips_seen())


def test_every_table_of_an_empty_store_is_a_typed_view(tmp_path: Path, store: Store) -> None:
    described = {}
    for name, one in (("empty", empty_store(tmp_path / "empty")), ("full", store)):
        base = duckdb.connect()
        base.execute(inline("views", one.root).out)
        described[name] = {
            table: {row[0]: row[1] for row in base.execute(f"DESCRIBE {table}").fetchall()} for table in (*TABLES, "curated")
        }
        if name == "empty":
            assert all(base.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,) for table in TABLES if table != "runs")
            assert base.execute("SELECT stage, error_type, count(*), any_value(error) FROM errors GROUP BY ALL").fetchall() == []
    assert described["empty"] == described["full"]
    assert described["empty"]["errors"]["mend"] == "VARCHAR"
    reasons = described["empty"]["curated"]["reasons"].replace('"', "")
    assert reasons == "STRUCT(rule VARCHAR, column VARCHAR, value DOUBLE, bound DOUBLE)[]"


def test_a_store_whose_tables_lack_a_column_opens_and_shows_null(store: Store) -> None:
    """Version 0.1 wrote no `mend`."""
    for table in (VIDEOS, ERRORS):
        for part in store.parts(table):
            rows = pq.read_table(part.uri)
            pq.write_table(rows.drop_columns(["mend"]), part.uri)
    results = Results(store)
    assert {row["mend"] for row in results.errors()} == {None}
    assert {row["mend"] for row in results.videos()} == {None}
    assert {row["error"] for row in results.errors()} == {"no words"}
    base = duckdb.connect()
    base.execute(inline("views", store.root).out)
    assert base.execute("SELECT DISTINCT error, mend FROM errors").fetchall() == [("no words", None)]


# The same rows however they are asked for


@pytest.mark.parametrize("digits", variants([0, 1, 2], quick=[1]))
@pytest.mark.parametrize("merged", ["loose", "merged", "both"])
def test_clips_are_the_same_by_range_by_daft_and_by_duckdb(store: Store, merged: str, digits: int) -> None:
    """Truth is a join in plain Python over the rows that `filled` wrote."""
    expected = joined_by_hand(store)
    if merged != "loose":
        compact(store)
    if merged == "both":
        filled(store)
    results = ranged(store, digits)
    clips = list(results.clips())
    assert len(clips) == len(expected) == (N_VIDEOS - 1) * CLIPS_A_VIDEO
    assert {c["clip_id"]: (c["uri"], c["verdict"], c["caption"], c["error"], c["aspect"]) for c in clips} == expected
    frame = by_id(rushes.open(store.root).clips().to_arrow().to_pylist())
    base = duckdb.connect()
    base.execute(inline("views", store.root).out)
    curated = by_id(base.sql("SELECT * FROM curated").to_arrow_table().to_pylist())
    assert frame == curated
    for clip in clips:
        other = frame[clip["clip_id"]]
        assert {name: other[name] for name in clip if name in other and name not in ("extra", "caption_fields")} == {
            name: value for name, value in clip.items() if name in other and name not in ("extra", "caption_fields")
        }
        assert {name: other[name] for name in clip["measures"]} == clip["measures"]
        assert json.loads(other["extra"]) == clip["extra"]
    results.reader.close()


def joined_by_hand(store: Store) -> dict[str, tuple[Any, ...]]:
    """clip_id -> uri, verdict, caption, error and aspect."""
    rows = {
        t.name: store.read(t, extra=MEASURE_COLUMNS if t is MEASURES else ()).to_pylist()
        for t in (VIDEOS, CLIPS, MEASURES, CAPTIONS, ERRORS)
    }
    uris = {row["video_id"]: row for row in rows["videos"] if row["status"] == "done" and row["uri"] != "/footage/0/005.mp4"}
    texts = {row["clip_id"]: row["text"] for row in rows["captions"]}
    failed = {row["key"]: row["error"] for row in rows["errors"]}
    measures = by_id(rows["measures"])
    found = {}
    for clip in rows["clips"]:
        if (video := uris.get(clip["video_id"])) is None:
            continue
        name = clip["clip_id"]
        sharpness = measures[name]["sharpness"]
        short = clip["duration_s"] + 1.001 * clip["duration_s"] / 75 < 4
        kind = "dropped" if short or sharpness < 0.43 else "failed" if name in failed and name not in texts else "kept"
        aspect = 1920 / 1080 if video["width"] else None
        caption = texts.get(name) if kind != "dropped" else None
        found[name] = (video["uri"], kind, caption, failed[name] if kind == "failed" else None, aspect)
    return found


def test_videos_count_their_clips(store: Store) -> None:
    for digits in (0, 1, 2):
        results = ranged(store, digits)
        videos = {row["uri"]: row for row in results.videos()}
        assert len(videos) == N_VIDEOS + 1
        assert {(v["n_clips"], v["n_shots"]) for v in videos.values() if v["status"] == "done"} == {(7, 4)}
        assert {uri: v["status"] for uri, v in videos.items() if v["status"] != "done"} == {
            "/footage/0/005.mp4": "failed", "/footage/again.mp4": "duplicate"
        }  # fmt: skip
        assert videos["/footage/0/005.mp4"]["n_clips"] == videos["/footage/again.mp4"]["n_clips"] == 0


def test_captions_are_those_of_clips_that_are_not_dropped(store: Store) -> None:
    clips = [clip for clip in Results(store).clips() if clip["verdict"] != "dropped" and (clip["caption"] or clip["error"])]
    rows = by_id(list(Results(store).captions()))
    assert {n: (r["text"], r["error"], r["mend"]) for n, r in rows.items()} == {
        c["clip_id"]: (c["caption"], c["error"], c["mend"]) for c in clips
    }
    assert {(r["error_type"], r["model"]) for r in rows.values()} == {(None, "m"), ("Refused", None)}
    assert by_id(rushes.open(store.root).captions().to_arrow().to_pylist()) == rows


def test_a_data_frame_reads_nothing_before_it_is_asked(store: Store) -> None:
    frame = rushes.open(store.root).clips()
    late = hexes("clip", 0, 0, n=32)
    store.write_rows(CAPTIONS, [{"clip_id": late, "video_id": hexes("video", 0, n=64), "text": "late", "fingerprint": PRINTS["captions"],
                                 "run_id": "r", "written_at": NOON.replace(hour=13)}])  # fmt: skip
    loose = frame.where(col("clip_id") == late).select("caption", "verdict").to_pydict()
    assert loose == {"caption": [None], "verdict": ["dropped"]}
    assert Results(store, Recipe().with_overrides(["rules.too_short.min=0", "rules.blurred.min=0"])).explain(late)[0]["verdict"] == "kept"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that are opened, as they are."""
    seen: list[str] = []
    real = Opened.__init__

    def spied(self: Opened, part: Any, options: Any) -> None:
        seen.append(part.uri)
        real(self, part, options)

    monkeypatch.setattr(Opened, "__init__", spied)
    return seen


def test_a_filter_on_a_uri_leaves_other_parts_unopened(store: Store, opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from rushes.store import compact as merging

    monkeypatch.setattr(merging, "PART_BYTES", 4000)
    compact(store)
    for table in (CLIPS, MEASURES, CAPTIONS):
        assert len(store.parts(table)) > 8
    uri = "/footage/2/007.mp4"
    frame = rushes.open(store.root).clips()
    opened.clear()
    found = frame.where((col("uri") == uri) & (col("duration_s") > 0)).select("uri", "clip_id", "caption").to_pydict()
    assert (set(found["uri"]), len(found["uri"])) == ({uri}, CLIPS_A_VIDEO)
    assert [sum(f"/{name}/" in part for part in opened) for name in ("clips", "captions", "measures")] == [1, 1, 1]
    opened.clear()
    tables = list(chosen_clips(Results(store), where=f"uri = '{uri}' and duration_s > 0"))
    assert sum(t.num_rows for t in tables) == CLIPS_A_VIDEO
    assert sum("/measures/" in part for part in opened) <= 2


def test_columns_that_are_not_asked_for_are_not_read(store: Store, opened: list[str]) -> None:
    frame = rushes.open(store.root).clips()
    opened.clear()
    assert len(frame.select("clip_id", "uri").to_pydict()["uri"]) == (N_VIDEOS - 1) * CLIPS_A_VIDEO
    assert not [part for part in opened if "/captions/" in part or "/errors/" in part]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("uri = 'a'", {"uri": {"a"}}),
        ("'a' = uri and x > 1", {"uri": {"a"}}),
        ("uri in ('a', 'b') and uri in ('b', 'c')", {"uri": {"b"}}),
        ("uri = 'a' or uri = 'b'", {"uri": {"a", "b"}}),
        ("uri = 'a' or x > 1", {}),
        ("not (uri = 'a')", {}),
        ("uri <> 'a'", {}),
        ("uri = 'a' and video_id = 'b'", {"uri": {"a"}, "video_id": {"b"}}),
        ("upper(uri) = 'A'", {}),
        ("uri = other", {}),
        ("uri is null", {}),
    ],
)
def test_what_a_filter_leaves_of_a_column(text: str, values: dict[str, set[str]]) -> None:
    assert values_asked(daft.sql_expr(text)) == values


# Commands


def test_where_may_name_the_manifests_columns_also_those_that_only_some_rows_have(store: Store) -> None:
    for digits in (0, 2):
        rows = [c for t in chosen_clips(ranged(store, digits), where="camera = 'cam1' and route > 30") for c in t.to_pylist()]
        wanted = {v for v in range(31, N_VIDEOS) if v % 3 == 1}
        assert {json.loads(row["extra"])["route"] for row in rows} == wanted
        assert len(rows) == CLIPS_A_VIDEO * len(wanted)


@pytest.mark.parametrize("digits", [0, 2])
def test_sorted_clips_are_in_order_of_uri_and_time(store: Store, digits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes.results.choose.PILE_VIDEOS", 6)
    results = ranged(store, digits)
    rows = [row for table in chosen_clips(results, sort=True) for row in table.select(["uri", "start_pts", "clip_id"]).to_pylist()]
    places = [tuple(row.values()) for row in rows]
    assert places == sorted(places)
    assert {row["clip_id"] for row in rows} == {clip["clip_id"] for clip in Results(store).clips()}


def test_a_sample_is_the_clips_of_the_smallest_ids(store: Store) -> None:
    smallest = sorted(clip["clip_id"] for clip in Results(store).clips())[:10]
    for digits in (0, 2):
        results = ranged(store, digits)
        [table] = chosen_clips(results, sample=10)
        assert sorted(table["clip_id"].to_pylist()) == smallest


def test_a_clip_is_explained_by_the_beginning_of_its_id(store: Store) -> None:
    clip = hexes("clip", 3, 2, n=32)
    compact(store)
    [row] = Results(store).explain(clip[:9])
    assert (row["clip_id"], row["uri"]) == (clip, "/footage/3/003.mp4")
    assert {rule["rule"] for rule in row["rules"]} == set(Recipe().rules)
    assert len(Results(store).explain("/footage/3/003.mp4")) == CLIPS_A_VIDEO
    [again] = Results(store).explain("/footage/again.mp4")
    assert (again["clip_id"], again["status"]) == (None, "duplicate")


def test_readers_see_each_row_once_while_compact_is_at_work(store: Store) -> None:
    """A reader that has listed and read a part of the store goes on when its parts are merged away."""
    expected = {clip["clip_id"] for clip in Results(store).clips()}
    results = ranged(store, 1)
    seen: list[str] = []
    for number, clips in enumerate(results.clip_tables()):
        seen += clips["clip_id"].to_pylist()
        if number == 2:
            compact(store)
        if number == 5:
            filled(store)
            compact(store)
    assert len(seen) == len(set(seen))
    assert set(seen) == expected


RAY = """
import sys, os
import ray, daft
ray.init(address=sys.argv[2], logging_level="error", log_to_driver=False)
daft.set_runner_ray()
import rushes
rows = rushes.open(sys.argv[1]).clips().select("clip_id", "uri", "verdict", "caption").to_arrow().to_pylist()
print("ROWS", sorted(tuple(map(str, row.values())) for row in rows), flush=True)
ray.shutdown()
"""


@pytest.mark.slow
def test_a_data_frame_on_ray_has_the_same_rows(store: Store, nodes: RunningCluster) -> None:
    environ = {"PYTHONPATH": str(SRC), "PATH": "", "RAY_TMPDIR": "/tmp"}
    done = subprocess.run(
        [sys.executable, "-c", RAY, store.root, nodes.address], capture_output=True, text=True, timeout=200, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr[-2000:]
    [line] = [line for line in done.stdout.splitlines() if line.startswith("ROWS")]
    rows = rushes.open(store.root).clips().select("clip_id", "uri", "verdict", "caption").to_arrow().to_pylist()
    assert line == f"ROWS {sorted(tuple(map(str, row.values())) for row in rows)}"


UNDER_WAY = """
import asyncio, atexit, sys, threading
import pyarrow as pa
from daft import event_loop
from daft.io.source import DataSource, DataSourceTask
from daft.recordbatch import RecordBatch
from daft.schema import Schema
from rushes.results.daft_runner import start_daft

class Read(DataSourceTask):
    schema = Schema.from_pyarrow_schema(pa.schema({"a": pa.int64()}))

    def __init__(self, number):
        self.number = number

    async def read(self):
        await asyncio.sleep(1 if self.number else 0)
        batch = pa.record_batch({"a": [self.number]})
        yield RecordBatch.from_arrow_record_batches([batch], batch.schema)

class Numbers(DataSource):
    name, schema = "numbers", Read.schema

    async def get_tasks(self, pushdowns):
        for number in range(9):
            yield Read(number)

def tell():
    own = {thread.ident for thread in threading.enumerate()}
    called = sum(ident not in own for ident in sys._current_frames())
    print("CALLED" if called else "NONE", event_loop.LOOP.loop.is_closed(), flush=True)

atexit.register(tell)  # before `start_daft` registers its own, so it is called after that
start_daft()
Numbers().read().limit(1).show()
tell()
"""


def test_a_program_ends_where_daft_still_reads() -> None:
    """After `show` reads are under way: threads of Daft are in Python, called from Rust. None is when the interpreter ends."""
    done = subprocess.run([sys.executable, "-c", UNDER_WAY], env={**os.environ, "PYTHONPATH": str(SRC)}, **CAPTURED)
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = done.stdout.splitlines()[-2:]
    assert before == "CALLED False", "no read was under way: the test shows nothing"
    assert after == "NONE True"


def test_a_program_ends_that_left_a_query_unread(store: Store) -> None:
    """What closes the query when the interpreter ends waits for Daft's event loop, of which the thread is gone by then."""
    code = "import sys, rushes; rows = rushes.open(sys.argv[1]).clips().iter_rows(); print(next(rows)['n_frames'])"
    done = subprocess.run([sys.executable, "-c", code, store.root], env={**os.environ, "PYTHONPATH": str(SRC)}, **CAPTURED)
    assert done.returncode == 0 and done.stdout.strip().isdigit(), done.stderr[-2000:]


def test_reports_count_all_clips(store: Store) -> None:
    from rushes.report.gather import report_data

    clips = list(Results(store).clips())
    data = report_data(Results(store))
    assert {k: n for k, n in data.totals.clips.items() if n} == {
        kind: sum(c["verdict"] == kind for c in clips) for kind in ("kept", "dropped", "failed") if any(c["verdict"] == kind for c in clips)
    }
    broken = [{reason["rule"] for reason in clip["reasons"]} for clip in clips]
    assert dict(data.totals.broke) == {rule: sum(rule in some for some in broken) for rule in set().union(*broken)}
    assert dict(data.totals.only) == {rule: n for rule in set().union(*broken) if (n := sum(some == {rule} for some in broken))}
    assert data.totals.made == sum(clip["caption"] is not None for clip in clips)
    assert data.totals.n_videos == N_VIDEOS + 1
    assert len(data.clips) == len(clips)


def test_a_report_of_many_clips_keeps_a_sample(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from rushes.report import gather

    monkeypatch.setattr(gather, "CHARTED", 20)
    monkeypatch.setattr(gather, "SHOWN", 9)
    results = ranged(store, 1)
    data = gather.report_data(results)
    clips = list(Results(store).clips())
    assert sorted(c["clip_id"] for c in data.clips) == sorted(c["clip_id"] for c in clips)[:20]
    for rule in ("blurred", "too_short"):
        own = sorted(c["clip_id"] for c in clips if rule in {r["rule"] for r in c["reasons"]})
        assert sorted(c["clip_id"] for c in data.sheets[f"rule {rule}"]) == own[:9]
        assert data.totals.broke[rule] == len(own) > 9


def test_the_manifests_columns_travel_in_extra(reel: Reel, tmp_path: Path) -> None:
    """A column that only the last row of a manifest has is there, for the clips of that row."""
    from stores import go

    shutil.copyfile(reel.cuts.path, tmp_path / "a.mp4")
    shutil.copyfile(reel.uneven.path, tmp_path / "b.mkv")
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(
        json.dumps({"uri": str(tmp_path / "a.mp4")}) + "\n" + json.dumps({"uri": str(tmp_path / "b.mkv"), "route": 7}) + "\n"
    )
    go([manifest], tmp_path / "store")
    frame = rushes.open(tmp_path / "store", recipe=recipe()).clips()
    found = {(row["uri"][-5:], row["extra"]) for row in frame.select("uri", "extra").to_arrow().to_pylist()}
    assert found == {("a.mp4", None), ("b.mkv", '{"route": 7}')}
    [clips] = chosen_clips(Results(Store.open(str(tmp_path / "store"), {}), recipe()), where="route = 7")
    assert clips.num_rows == 3
