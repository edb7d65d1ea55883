"""`rushes publish`: what a target holds is what the store's readers see, kept so by writing what changed; and the target `parquet:`."""

from __future__ import annotations

import json
import math
import os
import random
import threading
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import rushes
import rushes.api
from consumers import parquet_rows as loaded
from publishing import (
    as_rows,
    changes_a_caption_and_a_threshold,
    copied,
    go,
    is_completed_after_a_kill,
    recaption,
    results,
    same,
    takes_all_out_and_brings_it_back,
    wanted,
)
from rushes.errors import RecipeError, StoreBusy, UsageError
from rushes.publish import sorted_rows as sorting
from rushes.publish.publish import lease_file
from rushes.publish.row_hash import row_hashes
from rushes.publish.versions import link_or_copy
from rushes.results.runs import published_rows
from rushes.store.lease import Lease
from rushes.store.store import Store
from stores import inline, parts_of


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in (folder / "LATEST").glob("*.parquet")}


def test_a_publish_writes_what_changed_and_nothing_else(reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    second = changes_a_caption_and_a_threshold(store, f"parquet:{out}", lambda: loaded(out))
    assert (second.version, sorted(os.listdir(out))) == ("v002", ["LATEST", "v001", "v002"])
    record = json.loads((out / "LATEST" / "_rushes.json").read_text())
    runs = [row["run_id"] for row in results(store).runs()]
    assert record["run_ids"] == runs and record["counts"]["rows"] == second.counts["rows"] == len(loaded(out))
    rows = published_rows(Store.open(str(store), {}))
    assert [(row["version"], row["verdict"], row["publish_id"] == record["publish_id"]) for row in rows] == [
        ("v001", "right", False),
        ("v002", "right", True),
    ]
    page = rushes.open(store).report()
    shown = page[page.index('<section id="published">') :].split("</section>")[0]
    assert f"parquet:{out}" in shown and "v002" in shown and "v001" not in shown and "1 changed, 1 removed" in shown
    recaption(store, loaded(out)[0]["clip_id"], "a third caption")
    go(store, f"parquet:{out}")
    assert sorted(os.listdir(out)) == ["LATEST", "v002", "v003"], "publish.versions = 2"


def test_files_of_ranges_without_a_change_are_links_to_the_same_bytes(reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    go(store, f"parquet:{out}")
    before, clip = inodes(out), wanted(store)[0]
    recaption(store, clip["clip_id"], "another caption")
    done = go(store, f"parquet:{out}")
    after = inodes(out)
    own = f"clips-{clip['video_id'][0]}.parquet"
    assert len(before) == 2 and {name for name in before if before[name] != after[name]} == {own}
    assert 0 < done.bytes < sum(path.stat().st_size for path in (out / "LATEST").glob("*.parquet")) + 4000
    assert {row["caption"] for row in loaded(out) if row["clip_id"] == clip["clip_id"]} == {"another caption"}


def test_a_target_may_be_emptied_and_filled_again(reel_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def read() -> list[dict[str, Any]]:
        return loaded(out) if list((out / "LATEST").glob("*.parquet")) else []

    takes_all_out_and_brings_it_back(copied(reel_store, tmp_path / "store"), f"parquet:{out}", read)


def test_a_second_publish_writes_no_byte_anywhere(reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    go(store, f"parquet:{out}")
    before = parts_of(out), parts_of(store)
    done = go(store, f"parquet:{out}")
    assert (done.status, done.bytes, parts_of(out), parts_of(store)) == ("unchanged", 0, *before)


def test_partitions_are_folders_that_duckdb_reads(reel_store: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    out = tmp_path / "out"
    done = go(copied(reel_store, tmp_path / "store"), f"parquet:{out}", 'publish.partition_by=["container", "audio_codec"]')
    assert done.right
    found = duckdb.sql(f"SELECT clip_id, container, caption FROM read_parquet('{out}/LATEST/**/*.parquet', hive_partitioning = true)")
    truth = [(row["clip_id"], row["container"], row["caption"]) for row in wanted(reel_store)]
    assert sorted(found.fetchall()) == sorted(truth)
    folders = {path.parent.name for path in out.glob("v001/container=*/*/*.parquet")}
    assert len(list(out.glob("v001/container=*"))) == 2 and "audio_codec=__HIVE_DEFAULT_PARTITION__" in folders
    again = go(tmp_path / "store", f"parquet:{out}", 'publish.partition_by=["container"]')
    assert again.right and not list(out.glob("v002/container=*/*/")), "another layout is written anew"
    with pytest.raises(RecipeError, match="partition_by"):
        go(tmp_path / "store", f"parquet:{out}", 'publish.partition_by=["colour"]')


@pytest.mark.parametrize(
    "where", ["commit", *(pytest.param(name, marks=pytest.mark.slow) for name in ("link_or_copy", "put", "record_published"))]
)
def test_killed_anywhere_the_target_is_old_or_new_and_publishing_again_completes_it(reel_store: Path, tmp_path: Path, where: str) -> None:
    out = tmp_path / "out"
    patches = {
        "link_or_copy": "import rushes.publish.versions as v; v.link_or_copy = die",
        "put": "import rushes.publish.versions as v; v.Draft.put = die",
        "commit": "import rushes.publish.versions as v; v.Versions.commit = die",
        "record_published": "import rushes.publish.publish as p; p.record_published = die",
    }
    store, after = copied(reel_store, tmp_path / "store"), where == "record_published"
    is_completed_after_a_kill(store, f"parquet:{out}", lambda: loaded(out), patches[where], committed=after)


def test_the_command_shapes_rows_by_its_flags(reel_store: Path, tmp_path: Path) -> None:
    out, store = tmp_path / "out", copied(reel_store, tmp_path / "store")
    asked = ("--columns", "caption,duration_s", "--order", "-duration_s", "--where", "n_frames > 0", "--json")
    dry = inline("publish", store, "--to", f"parquet:{out}", *asked, "--dry-run")
    assert dry.code == 0 and dry.lines[0]["status"] == "dry-run" and dry.lines[0]["counts"]["added"] == 4 and not out.exists()
    done = inline("publish", store, "--to", f"parquet:{out}", *asked)
    assert done.code == 0 and "4 clips added + 0 changed + 0 removed, 0 unchanged" in done.err, done.err
    assert "check: right, by pyarrow" in done.err and done.lines[0]["checked"]["clips"] == 4
    (file,) = out.glob("v001/*.parquet")
    rows = pq.read_table(file)
    assert rows.column_names == ["clip_id", "video_id", "caption", "duration_s", "row_hash"]
    assert rows["duration_s"].to_pylist() == sorted((row["duration_s"] for row in wanted(store)), reverse=True)
    few = inline("publish", store, "--to", f"parquet:{out}", *asked, "--sample", "1")
    assert few.lines[0]["counts"]["removed"] == 3
    assert [row["clip_id"] for row in loaded(out)] == [min(row["clip_id"] for row in wanted(store))]


def test_what_cannot_be_published_is_refused_before_anything_is_written(reel_store: Path, tmp_path: Path) -> None:
    out = f"parquet:{tmp_path / 'out'}"
    with pytest.raises(UsageError, match="names no target"):
        go(reel_store, "tape:somewhere")
    with pytest.raises(RecipeError, match=r"publish\.columns names 'sharpnes'"):
        go(reel_store, out, 'publish.columns=["sharpnes"]')
    with pytest.raises(UsageError, match="holds no bytes"):
        go(reel_store, out, "publish.bytes=true")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        go(reel_store, f"parquet:{tmp_path / 'full'}")
    assert not (tmp_path / "out").exists() and os.listdir(tmp_path / "full") == ["thesis.txt"]


def test_a_target_belongs_to_one_store_and_one_publish_at_a_time(reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    go(store, f"parquet:{out}")
    notes = out / "v001" / "_rushes.json"
    notes.write_text(json.dumps({**json.loads(notes.read_text()), "run_ids": ["20200101T000000-000000"]}))
    with pytest.raises(UsageError, match="clips of another store"):
        go(store, f"parquet:{out}")
    lease = Lease(Store.open(str(store), {}), "another", file=lease_file("parquet", str(out)))
    with lease.held(wait=False, interrupted=threading.Event()), pytest.raises(StoreBusy, match="published to by another process"):
        go(store, f"parquet:{out}")


def test_on_an_object_store_latest_is_a_small_file_and_files_are_copied_by_it(reel_store: Path, tmp_path: Path) -> None:
    store, to = copied(reel_store, tmp_path / "store"), f"memory://{tmp_path.name}/out"
    files = fsspec.filesystem("memory")
    assert go(store, f"parquet:{to}").right and go(store, f"parquet:{to}").status == "unchanged"
    clip = wanted(store)[0]
    recaption(store, clip["clip_id"], "another caption")
    done = go(store, f"parquet:{to}")
    folder = f"/{tmp_path.name}/out"
    assert done.right and files.cat(f"{folder}/LATEST") == b"v002\n"
    names = {path.rpartition("/")[2] for path in files.find(f"{folder}/v002")}
    assert len(names) == 3 and done.bytes < sum(files.size(path) for path in files.find(f"{folder}/v002")), "one file is a copy"
    found = as_rows(ds.dataset(f"{folder}/v002", format="parquet", filesystem=files).to_table())
    assert same(found, wanted(store))


def test_interrupted_it_leaves_the_target_as_it_was(reel_store: Path, tmp_path: Path) -> None:
    store, out, stop = copied(reel_store, tmp_path / "store"), tmp_path / "out", threading.Event()
    done = go(store, f"parquet:{out}", interrupted=stop, watch=lambda what, _done, _of: stop.set() if what == "write" else None)
    assert done.status == "interrupted" and not (out / "LATEST").exists()
    assert go(store, f"parquet:{out}").right and len(loaded(out)) == 4 and os.listdir(out / "LATEST") != []


def test_what_was_forgotten_leaves_the_target_at_the_next_publish(reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    go(store, f"parquet:{out}", "publish.versions=1")
    video = loaded(out)[0]["video_id"]
    rushes.api.forget(store, [video])
    done = go(store, f"parquet:{out}", "publish.versions=1")
    assert (
        done.counts["removed"] > 0 and done.right and {row["video_id"] for row in loaded(out)} == {row["video_id"] for row in wanted(store)}
    )
    assert all(video.encode() not in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_the_check_sees_what_is_wrong(reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    go(store, f"parquet:{out}")
    (file, *_) = sorted((out / "v001").glob("*.parquet"))
    rows = pq.read_table(file)
    at = rows.column_names.index("caption")
    pq.write_table(rows.set_column(at, "caption", pa.array(["lies"] * rows.num_rows)), file)
    recaption(store, next(row for row in wanted(store) if row["clip_id"] not in rows["clip_id"].to_pylist())["clip_id"], "new")
    done = go(store, f"parquet:{out}")
    assert done.checked is not None and done.checked.verdict == "wrong" and not done.right
    assert "is not in the target as it was published" in done.checked.problems[0]
    assert published_rows(Store.open(str(store), {}))[-1]["verdict"] == "wrong"


# The pieces


def test_rows_that_differ_have_different_hashes() -> None:
    def of(**columns: Any) -> list[str]:
        found: list[str] = row_hashes(pa.table(columns)).to_pylist()
        return found

    assert of(a=["x"], b=["yz"]) != of(a=["xy"], b=["z"])
    assert of(a=["1:x\x1f1:y"], b=["z"]) != of(a=["x"], b=["y\x1f1:z"])
    assert len({*of(a=pa.array(["", None, "\x00", "0:"]))}) == 4
    assert of(a=[1.5]) != of(b=[1.5]) and of(a=[1.5]) == of(a=pa.array([1.5], pa.float32()))
    assert of(a=[[1, 2]]) != of(a=[[2, 1]]) and of(a=[True]) != of(a=[None])
    assert of(a=pa.array(["é"], pa.large_string())) == of(a=["é"])
    many = pa.table({"a": [str(k) for k in range(40_000)]})
    assert len(set(row_hashes(many).to_pylist())) == 40_000 and row_hashes(many)[-1].as_py() == row_hashes(many.slice(39_999))[0].as_py()


@pytest.mark.parametrize("order", ["v", "-v", "t", "-t", "clip_id"])
def test_rows_are_sorted_through_piles(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    monkeypatch.setattr(sorting, "PILE_ROWS", 64)
    numbers = random.Random(3)
    rows = [
        {"clip_id": f"{k:04d}", "v": numbers.choice([None, math.nan, 1.0, 2.0, numbers.random()]), "t": numbers.choice(["a", "bb", None])}
        for k in range(1000)
    ]
    numbers.shuffle(rows)
    tables = [pa.Table.from_pylist(rows[k : k + 90]) for k in range(0, 1000, 90)]
    found = [row for table in sorting.sorted_rows(iter(tables), order) for row in table.to_pylist()]
    assert sorted(row["clip_id"] for row in found) == sorted(row["clip_id"] for row in rows)
    column = order.removeprefix("-")
    values = [row[column] for row in found]
    known = [value for value in values if value is not None and value == value]
    assert known == sorted(known, reverse=order.startswith("-"))
    assert all(value is None for value in values[len(values) - values.count(None) :])
    ids: dict[Any, list[str]] = {}
    for row in found:
        ids.setdefault(str(row[column]), []).append(row["clip_id"])
    assert all(some == sorted(some) for some in ids.values())


def test_a_link_is_made_and_where_none_can_be_made_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("bytes")
    link_or_copy(str(tmp_path / "a"), str(tmp_path / "new" / "b"), {})
    assert os.path.samefile(tmp_path / "a", tmp_path / "new" / "b")
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("another disk")))
    link_or_copy(str(tmp_path / "a"), str(tmp_path / "new" / "c"), {})
    assert not os.path.samefile(tmp_path / "a", tmp_path / "new" / "c") and (tmp_path / "new" / "c").read_text() == "bytes"
