"""Data sets as footage: tables and folders of other systems, written by their own libraries, and videos inside tar files."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import tarfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from publishing import go as publish
from rushes.errors import FootageError
from rushes.media.storage import open_seekable, ranges, stat
from rushes.sources.footage import find_footage
from rushes.sources.found import Footage
from stores import Reel, go, rows_of, seen


def found(name: str) -> list[Footage]:
    return find_footage([name], {}).items


def tarred(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_videos_in_shards_give_the_rows_of_the_files_that_they_are(reel: Reel, tmp_path: Path) -> None:
    """Without a copy: identity, signals, frames, clips and clip files come from the bytes inside the tar."""
    films = {name: (reel.folder / name).read_bytes() for name in ("cuts.mp4", "uneven.mkv")}
    tarred(
        tmp_path / "000.tar", {"a/one.json": b'{"camera": "left", "start_s": 7}', "a/one.mp4": films["cuts.mp4"], "a/one.txt": b"a note\n"}
    )
    tarred(tmp_path / "001.tar", {"two.mkv": films["uneven.mkv"], "two.wav": b"no video"})
    items = found(f"webdataset:{tmp_path}/{{000..001}}.tar")
    assert [item.extra for item in items] == [
        {"key": "a/one", "camera": "left", "source_start_s": 7, "text": "a note"}, {"key": "two"},
    ]  # fmt: skip
    for item, data in zip(items, films.values(), strict=True):
        assert stat(item.uri, {}).size == item.size == len(data) and not item.spans
        with ranges(item.uri, {}) as read:
            assert read(0, item.size + 99) == data and read(item.size - 3, 99) == data[-3:] and read(item.size + 5, 9) == b""
        file: Any = open_seekable(item.uri, {})
        with file:
            assert file.read() == data and file.seek(-4, io.SEEK_END) == len(data) - 4 and file.read(9) == data[-4:]
    settings = ("clips.mode=copy",)
    done = go([f"webdataset:{tmp_path}"], tmp_path / "store", *settings)
    whole = go([reel.folder / "cuts.mp4", reel.folder / "uneven.mkv"], tmp_path / "plain", *settings)
    names = ("videos_scanned", "clips_kept", "clips_dropped", "frames_encoded", "files_made", "footage_s", "decoded_s")
    assert [done.counts[name] for name in names] == [whole.counts[name] for name in names] and done.counts["files_made"] == 4
    tables = ("signals", "frames", "clips", "measures", "captions")
    assert rows_of(tmp_path / "store", *tables[:2]) == rows_of(tmp_path / "plain", *tables[:2])
    assert {c["clip_id"] for c in seen(tmp_path / "store").clips()} == {c["clip_id"] for c in seen(tmp_path / "plain").clips()}
    assert {c["extra"]["key"] for c in seen(tmp_path / "store").clips()} == {"a/one", "two"}
    [version] = done.counts["data_sets"].values()
    assert len(version) == 16 and go([f"webdataset:{tmp_path}"], tmp_path / "store", *settings).counts["videos_reused"] == 2


def test_a_folder_of_hugging_face_is_read_with_its_columns(reel: Reel, tmp_path: Path) -> None:
    for split, name in (("train", "cuts.mp4"), ("test", "uneven.mkv")):
        (tmp_path / split).mkdir()
        (tmp_path / split / name).symlink_to(reel.folder / name)
        row = {"file_name": name, "split": split, "start_s": 1.5, "tags": ["a", "b"]}
        (tmp_path / split / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    items = {Path(item.uri).name: item for item in found(f"hf:{tmp_path}")}
    assert items["cuts.mp4"].extra == {"split": "train", "source_start_s": 1.5, "tags": '["a", "b"]'}
    assert items["uneven.mkv"].size == (reel.folder / "uneven.mkv").stat().st_size
    for list_ in tmp_path.rglob("metadata.jsonl"):
        list_.unlink()
    assert {Path(item.uri).name: item.extra for item in found(f"hf:{tmp_path}")} == {
        "cuts.mp4": {"label": "train"}, "uneven.mkv": {"label": "test"},
    }  # fmt: skip
    with pytest.raises(FootageError, match="no such folder"):
        found(f"hf:{tmp_path}/nothing")
    wrong = [("metadata.jsonl", b'{"file_name": '), ("metadata.jsonl", b"[1]"), ("metadata.parquet", b"x"), ("metadata.csv", b"\xff")]
    for name, data in wrong:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FootageError, match=f"{name}: the file cannot be read"):
            found(f"hf:{tmp_path}")
        (tmp_path / name).unlink()


def test_episodes_of_lerobot_are_spans_of_its_files(reel: Reel, tmp_path: Path) -> None:
    """The layout is that of LeRobotDataset v3.0, as its own documentation and code have it."""
    camera = "observation.images.front"
    video = tmp_path / "videos" / camera / "chunk-000" / "file-000.mp4"
    video.parent.mkdir(parents=True)
    video.symlink_to(reel.folder / "cuts.mp4")
    (tmp_path / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    features = {camera: {"dtype": "video"}, "action": {"dtype": "float32", "shape": [6]}}
    info = {"codebase_version": "v3.0", "fps": 25, "robot_type": "so101", "features": features, "video_path": path}
    (tmp_path / "meta" / "info.json").write_text(json.dumps(info))
    times = [(0.0, 3.6), (3.6, 7.0)]
    rows = [
        {"episode_index": k, "tasks": ["pick up", "place"], "length": round(25 * (end - start)), "dataset_from_index": round(25 * start),
         "dataset_to_index": round(25 * end), f"videos/{camera}/chunk_index": 0, f"videos/{camera}/file_index": 0,
         f"videos/{camera}/from_timestamp": start, f"videos/{camera}/to_timestamp": end}
        for k, (start, end) in enumerate(times)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    [item] = found(f"lerobot:{tmp_path}")
    assert [(float(Fraction(span.start)), float(Fraction(span.end))) for span in item.spans] == times and item.extra["camera"] == camera
    done = go([f"lerobot:{tmp_path}"], tmp_path / "store", "rules.too_short.min=0")
    clips = sorted(seen(tmp_path / "store", "rules.too_short.min=0").clips(), key=lambda clip: float(clip["start_s"]))
    assert [clip["n_frames"] for clip in clips] == [90, 85] and done.counts["clips_kept"] == 2
    assert [(clip["extra"]["episode_index"], clip["extra"]["tasks"]) for clip in clips] == [(0, "pick up; place"), (1, "pick up; place")]
    pq.write_table(pa.table({"episode_index": [2]}), tmp_path / "meta" / "episodes" / "chunk-000" / "file-001.parquet")
    with pytest.raises(FootageError, match=rf"file-001\.parquet: an episode has no videos/{camera}/chunk_index"):
        found(f"lerobot:{tmp_path}")
    info["codebase_version"] = "v2.1"
    (tmp_path / "meta" / "info.json").write_text(json.dumps(info))
    with pytest.raises(FootageError, match=r"v2\.1"):
        found(f"lerobot:{tmp_path}")


def test_tables_are_lists_and_a_new_version_brings_what_is_new(reel: Reel, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance", reason="pylance is not installed")
    place, films = tmp_path / "films.lance", [str(path) for path in reel.clips]
    columns = {"uri": [films[0]], "day": [3], "thumb": [b"bytes that do not travel"]}
    lance.write_dataset(pa.table(columns), str(place))
    first = go([f"lance:{place}"], tmp_path / "store")
    lance.write_dataset(pa.table(columns | {"uri": [films[1]], "day": [4]}), str(place), mode="append")
    second = go([f"lance:{place}"], tmp_path / "store")
    name = f"lance:{place}"
    assert (first.counts["data_sets"], second.counts["data_sets"]) == ({name: "1"}, {name: "2"})
    assert [(one.counts["videos_scanned"], one.counts["videos_reused"]) for one in (first, second)] == [(1, 0), (1, 1)]
    assert {v["uri"]: v["extra"] for v in seen(tmp_path / "store").videos()} == {films[0]: {"day": 3}, films[1]: {"day": 4}}
    lance.write_dataset(pa.table({"path": films}), str(tmp_path / "other.lance"))
    with pytest.raises(FootageError, match="no column uri; its columns are path"):
        found(f"lance:{tmp_path / 'other.lance'}")


def test_blobs_of_lance_are_read_where_they_lie(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    """Inside a data file, in a file of several, in one of their own and elsewhere; and those of file version 2.0."""
    lance: Any = pytest.importorskip("lance", reason="pylance is not installed")
    films = [path.read_bytes() for path in (reel.cuts.path, reel.uneven.path)]
    elsewhere = (tmp_path / "elsewhere.bin", len(films[0]))
    elsewhere[0].write_bytes(films[0] + films[1])
    outside = [lance.Blob.from_uri(elsewhere[0].as_uri(), 0, elsewhere[1]), lance.Blob.from_uri(reel.uneven.path.as_uri())]
    shapes: dict[str, tuple[Any, Any]] = {
        "inline": (lance.blob_field("film", inline_size_threshold=1 << 30), lance.blob_array([None, *films])),
        "packed": (lance.blob_field("film", inline_size_threshold=9), lance.blob_array([None, *films])),
        "own": (lance.blob_field("film", inline_size_threshold=9, dedicated_size_threshold=10), lance.blob_array([None, *films])),
        "outside": (lance.blob_field("film"), lance.blob_array([None, *outside])),
        "old": (pa.field("film", pa.large_binary(), metadata={"lance-encoding:blob": "true"}), pa.array([None, *films], pa.large_binary())),
    }
    for name, (field, blobs) in shapes.items():
        schema, days = pa.schema([pa.field("day", pa.int64()), field]), pa.array([0, 1, 2])
        how = {"data_storage_version": "2.1" if name == "old" else "2.2", "allow_external_blob_outside_bases": name == "outside"}
        lance.write_dataset(pa.Table.from_arrays([days, blobs], schema=schema), str(tmp_path / name), **how)
        items = sorted(found(f"lance:{tmp_path / name}"), key=lambda item: int(item.extra["day"] or 0))
        assert [item.extra for item in items] == [{"day": 1}, {"day": 2}], name
        for item, film in zip(items, films, strict=True):
            with ranges(item.uri, {}) as read:
                assert item.size == len(film) and read(0, item.size) == film, name
        suffixes = {
            "inline": [".lance#"] * 2,
            "packed": [".blob#"] * 2,
            "own": [".blob#"] * 2,
            "outside": [".bin#", ".mkv"],
            "old": [".lance#"] * 2,
        }
        assert all(suffix in item.uri for item, suffix in zip(items, suffixes[name], strict=True)), [item.uri for item in items]
        assert len({item.uri.partition("#")[0] for item in items}) == (2 if name in ("own", "outside") else 1), name
    done = go([f"lance:{tmp_path / 'packed'}"], tmp_path / "store")
    assert done.counts["videos_scanned"] == 2 and done.counts["data_sets"] == {f"lance:{tmp_path / 'packed'}": "1"}
    clips = [{c["clip_id"]: c["extra"] for c in seen(store).clips()} for store in (tmp_path / "store", reel_store)]
    assert clips[0].keys() == clips[1].keys() and {extra["day"] for extra in clips[0].values()} == {1, 2}
    (tmp_path / "packed" / "data").rename(tmp_path / "away")
    with pytest.raises(FootageError):
        found(f"lance:{tmp_path / 'packed'}")


def test_a_published_iceberg_table_is_footage_again(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    """Its rows are spans: the clips of the new store are the published ones."""
    pytest.importorskip("pyiceberg", reason="pyiceberg is not installed")
    table = f"iceberg:{tmp_path}#videos.clips"
    shutil.copytree(reel_store, tmp_path / "store")
    assert publish(tmp_path / "store", table, 'publish.columns=["uri", "start_pts", "end_pts", "caption"]').right
    items = found(table)
    kept = [clip for clip in seen(reel_store).clips() if clip["verdict"] == "kept"]
    assert {item.uri for item in items} == set(reel.clips)
    starts = sorted((span.unit, int(span.start)) for item in items for span in item.spans)
    assert starts == sorted(("pts", clip["start_pts"]) for clip in kept)
    with pytest.raises(FootageError, match=r"no table videos\.nothing"):
        found(f"iceberg:{tmp_path}#videos.nothing")
    for place, words in ((tmp_path / "store", r"no Iceberg catalog"), ("s3://lake", r"Iceberg says: URI missing")):
        with pytest.raises(FootageError, match=words):
            found(f"iceberg:{place}#videos.clips")
    assert not (tmp_path / "store" / "catalog.db").exists(), "looking for footage makes no catalog"


def test_a_table_of_panda_70m_gives_each_clip_the_text_of_its_span(reel: Reel, tmp_path: Path) -> None:
    """One row a video, with lists of spans, captions and scores; written as the project's own .csv files are, and as Parquet."""
    spans = [["0:00:00.000", "0:00:01.800"], ["0:00:03.600", "0:00:04.600"], ["0:00:05", "0:00:07"]]
    texts = ['It\'s a red door, "open".', "A dog [runs], and stops.", "门"]
    scores = [0.5, 0.25, 0.125]
    same = {"videoID": "--C", "url": "https://example.org/watch?v=--C"}
    row = {**same, "timestamp": spans, "caption": texts, "matching_score": scores}
    with (tmp_path / "panda.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["uri", *row])
        writer.writeheader()
        writer.writerow({"uri": str(reel.cuts.path), **row})
    go([tmp_path / "panda.csv"], tmp_path / "store")
    clips = sorted(seen(tmp_path / "store").clips(), key=lambda clip: float(clip["start_s"]))
    assert [(round(c["start_s"], 3), round(c["end_s"], 3)) for c in clips] == [(0.0, 1.8), (3.6, 4.6), (5.0, 7.0)]
    assert [clip["extra"] for clip in clips] == [
        {**same, "caption": text, "matching_score": score} for text, score in zip(texts, scores, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist([{"uri": str(reel.cuts.path), **row}]), tmp_path / "panda.parquet")
    [item], [other] = find_footage([str(tmp_path / "panda.parquet")], {}).items, find_footage([str(tmp_path / "panda.csv")], {}).items
    assert item.spans == other.spans
    (tmp_path / "wrong.json").write_text(json.dumps({"uri": str(reel.cuts.path), **row, "caption": texts[:2]}))
    with pytest.raises(FootageError, match="timestamp holds 3 spans, and caption 2 values"):
        find_footage([str(tmp_path / "wrong.json")], {})
    (tmp_path / "times.jsonl").write_text(json.dumps({"uri": str(reel.cuts.path), "timestamp": "2026-11-28", "tags": [1, 2]}))
    [plain] = find_footage([str(tmp_path / "times.jsonl")], {}).items
    assert plain.extra == {"timestamp": "2026-11-28", "tags": "[1, 2]"} and not plain.spans


PYTHON = os.environ.get("RUSHES_PAIMON_PYTHON")
BLOBS = """
import sys
import pyarrow as pa
from pypaimon import CatalogFactory, Schema
catalog = CatalogFactory.create({"warehouse": sys.argv[1]})
catalog.create_database("raw", True)
form = pa.schema([("day", pa.int64()), ("video", pa.large_binary())])
options = {"row-tracking.enabled": "true", "data-evolution.enabled": "true"}
catalog.create_table("raw.films", Schema.from_pyarrow_schema(form, options=options), True)
for day, path in enumerate(sys.argv[2:]):
    builder = catalog.get_table("raw.films").new_batch_write_builder()
    write, commit = builder.new_write(), builder.new_commit()
    write.write_arrow(pa.Table.from_pydict({"day": [day], "video": [open(path, "rb").read()]}, schema=form))
    commit.commit(write.prepare_commit())
    write.close()
    commit.close()
"""
TO_BYTES = """
import sys
from pypaimon import CatalogFactory
table = CatalogFactory.create({"warehouse": sys.argv[1]}).get_table("out.clips")
builder = table.new_read_builder().with_projection(["video"])
open(INTO, "wb").write(builder.new_read().to_arrow(builder.new_scan().plan().splits())["video"][0].as_py())
"""


@pytest.mark.skipif(PYTHON is None, reason="RUSHES_PAIMON_PYTHON names no Python with pypaimon: make test-targets does")
def test_a_table_of_paimon_comes_in_and_goes_out_twice(reel: Reel, tmp_path: Path) -> None:
    """Blobs of whole videos are read where they lie; what is published of them is footage again, and gives the same clips."""
    warehouse, setting = tmp_path / "lake", f"publish.paimon_python={PYTHON}"
    subprocess.run([str(PYTHON), "-c", BLOBS, warehouse.as_uri(), *reel.clips], check=True, timeout=120)
    first = go([f"paimon:{warehouse}#raw.films"], tmp_path / "one", setting)
    assert (first.counts["videos_scanned"], first.counts["data_sets"]) == (2, {f"paimon:{warehouse}#raw.films": "2"})
    assert sorted(v["extra"]["day"] for v in seen(tmp_path / "one").videos()) == [0, 1]
    kept = {c["clip_id"] for c in seen(tmp_path / "one").clips() if c["verdict"] == "kept"}
    assert len(kept) == 4 and all("#bytes=" in c["uri"] for c in seen(tmp_path / "one").clips())
    assert publish(tmp_path / "one", f"paimon:{warehouse}#out.clips", setting).right
    program = TO_BYTES.replace("INTO", repr(str(tmp_path / "blob")))
    subprocess.run([str(PYTHON), "-c", program, warehouse.as_uri()], check=True, timeout=120)
    assert (tmp_path / "blob").read_bytes() in [path.read_bytes() for path in map(Path, reel.clips)], "a descriptor of the piece alone"
    go([f"paimon:{warehouse}#out.clips"], tmp_path / "two", setting)
    assert {c["clip_id"] for c in seen(tmp_path / "two").clips()} == kept
    assert publish(tmp_path / "two", f"paimon:{warehouse}#out.again", setting).right
    with pytest.raises(FootageError, match=r"no table raw\.nothing"):
        find_footage([f"paimon:{warehouse}#raw.nothing"], {}, paimon_python=PYTHON)
