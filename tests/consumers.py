"""What the consumers of published targets read with their own loaders: rows in order of clip_id. Each takes the target's folder."""

from __future__ import annotations

import csv
import gc
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
PAIMON = os.environ.get("RUSHES_PAIMON_PYTHON")
"""A Python that has pypaimon; None: there is none, and paimon tables are not tested."""
PAIMON_NAMES = ["clip_id", "caption", "start_pts", "end_pts", "sharpness", "row_hash", "uri"]
PAIMON_ROWS = """
builder = table.new_read_builder().with_projection(NAMES)
show(builder.new_read().to_arrow(builder.new_scan().plan().splits()).to_pylist())
"""


def sorted_rows(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: str(row.get("clip_id") or row.get("id")))


def parquet_rows(folder: Path) -> list[Row]:
    """As pandas, Spark and others read it: one data set of Parquet files, partitions by folders."""
    import pyarrow.dataset as ds

    return sorted_rows(ds.dataset(folder / "LATEST", format="parquet", partitioning="hive").to_table().to_pylist())


def lance_rows(place: Path) -> list[Row]:
    import lance

    data = lance.dataset(str(place))
    return sorted_rows(data.to_table(columns=[name for name in data.schema.names if name != "video"]).to_pylist())


def lance_films(place: Path) -> dict[str, bytes]:
    """clip_id -> the bytes of its blob."""
    import lance

    data = lance.dataset(str(place))
    ids = data.to_table(columns=["clip_id"])["clip_id"].to_pylist()
    return {clip: blob.readall() for clip, blob in zip(ids, data.take_blobs("video", indices=range(len(ids))), strict=True)}


def iceberg_table(lake: Path) -> Any:
    from pyiceberg.catalog import load_catalog

    options = {"type": "sql", "uri": f"sqlite:///{lake}/catalog.db", "warehouse": lake.as_uri()}
    return load_catalog("default", **options).load_table("videos.clips")


def iceberg_rows(lake: Path) -> list[Row]:
    found = iceberg_table(lake)
    rows = sorted_rows(found.scan().to_arrow().to_pylist())
    found.catalog.engine.dispose()
    return rows


def samples(folder: Path) -> list[Row]:
    """The samples of tar shards, by the webdataset library."""
    import webdataset

    urls = sorted(str(path) for path in (folder / "LATEST").resolve().rglob("*.tar"))
    found = list(webdataset.WebDataset(urls, shardshuffle=False)) if urls else []
    gc.collect()  # the library leaves files to the garbage collector
    return sorted(found, key=lambda sample: str(sample["__key__"]))


def webdataset_rows(folder: Path) -> list[Row]:
    return [json.loads(sample["json"]) for sample in samples(folder)]


def lines(path: Path) -> list[Row]:
    return sorted_rows([json.loads(line) for line in path.read_text().splitlines()])


def files_rows(folder: Path) -> list[Row]:
    return lines(folder / "LATEST" / "clips" / "metadata.jsonl")


def hf_rows(folder: Path, cache: Path) -> list[Row]:
    """As `datasets.load_dataset` gives them, with the path of each film in `video`."""
    import datasets

    datasets.disable_progress_bars()
    found = datasets.load_dataset(str(folder / "LATEST"), split="train", cache_dir=str(cache / os.readlink(folder / "LATEST")))
    return sorted_rows(found.cast_column("video", datasets.Video(decode=False)).data.table.to_pylist())


def list_rows(folder: Path) -> list[Row]:
    """The one list of a version, as a trainer reads it."""
    [file] = (folder / "LATEST").glob("train.*")
    text = file.read_text()
    if file.suffix == ".csv":
        return sorted_rows(list(csv.DictReader(text.splitlines())))
    return sorted_rows(json.loads(text) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines()])


def in_paimon(warehouse: Path, text: str, into: Path | None = None) -> Any:
    """What a program prints as JSON in the Python of pypaimon."""
    head = f"""
import json, os, sys
from pypaimon import CatalogFactory
WAREHOUSE, NAMES, INTO = {warehouse.as_uri()!r}, {PAIMON_NAMES!r}, {str(into)!r}
table = CatalogFactory.create({{"warehouse": WAREHOUSE}}).get_table("videos.clips")
def show(found):
    print("FOUND" + json.dumps(found))
"""
    assert PAIMON is not None
    done = subprocess.run([PAIMON, "-W", "ignore", "-c", head + text], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("FOUND")[2])


def paimon_rows(warehouse: Path) -> list[Row]:
    return sorted_rows(in_paimon(warehouse, PAIMON_ROWS))


TARGETS: dict[str, tuple[str, Callable[[Path], list[Row]], tuple[str, ...]]] = {
    "parquet": ("parquet:{}", parquet_rows, ()),
    "lance": ("lance:{}", lance_rows, ("publish.bytes=true",)),
    "iceberg": ("iceberg:{}#videos.clips", iceberg_rows, ()),
    "paimon": ("paimon:{}#videos.clips", paimon_rows, (f"publish.paimon_python={PAIMON}",)),
    "files": ("files:{}", files_rows, ()),
    "webdataset": ("webdataset:{}", webdataset_rows, ()),
    "hf": ("hf:{}", lambda folder: hf_rows(folder, folder.with_name(f"{folder.name}-cache")), ()),
    "jsonl": ("jsonl:{}", list_rows, ()),
}
"""Kind of target -> its address with {} for a folder, what reads that folder, and settings."""
