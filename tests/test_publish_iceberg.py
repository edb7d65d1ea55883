"""The target `iceberg:`, read back by pyiceberg and, through the table's metadata file, by Daft."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from consumers import iceberg_rows as loaded
from consumers import iceberg_table as table
from publishing import (
    changes_a_caption_and_a_threshold,
    copied,
    go,
    is_completed_after_a_kill,
    recaption,
    takes_all_out_and_brings_it_back,
    wanted,
)
from rushes.errors import StorageError, UsageError

pytestmark = pytest.mark.skipif(find_spec("pyiceberg") is None, reason="pyiceberg is not installed")  # importing it takes a second


def test_a_publish_is_one_commit_and_daft_reads_it(reel_store: Path, tmp_path: Path) -> None:
    store, lake = copied(reel_store, tmp_path / "store"), tmp_path / "lake"
    to = f"iceberg:{lake}#videos.clips"
    changes_a_caption_and_a_threshold(store, to, lambda: loaded(lake))
    found = table(lake)
    record = found.properties["rushes"]
    ids = {one.summary.additional_properties["rushes.publish_id"] for one in found.metadata.snapshots}
    assert len(ids) == len(found.metadata.snapshots) == 2 and max(ids) in record, "one snapshot of each of the last two publishes"
    import daft

    rows = daft.read_iceberg(found).select("clip_id", "caption").to_pylist()
    truth = [(row["clip_id"], row["caption"]) for row in loaded(lake)]
    assert sorted((row["clip_id"], row["caption"]) for row in rows) == truth
    found.catalog.engine.dispose()


@pytest.mark.slow
def test_columns_come_and_go_and_old_files_go_with_their_snapshots(reel_store: Path, tmp_path: Path) -> None:
    store, lake = copied(reel_store, tmp_path / "store"), tmp_path / "lake"
    to = f"iceberg:{lake}#videos.clips"
    go(store, to, 'publish.columns=["caption"]')
    done = go(store, to, 'publish.columns=["caption", "sharpness"]', "publish.versions=1")
    assert done.right and done.counts["changed"] == 4
    assert [row["sharpness"] for row in loaded(lake)] == [row["sharpness"] for row in wanted(store)]
    assert go(store, to, 'publish.columns=["sharpness"]', "publish.versions=1").right and "caption" not in loaded(lake)[0]
    assert len(list(lake.rglob("data/*.parquet"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("where", ["commit", "settle", "record_published"])
def test_killed_anywhere_it_is_old_or_new_and_publishing_again_completes_it(reel_store: Path, tmp_path: Path, where: str) -> None:
    lake = tmp_path / "lake"
    patches = {
        "commit": "import pyiceberg.catalog.sql as s; s.SqlCatalog.commit_table = die",
        "settle": "import rushes.publish.targets.iceberg as t; t.IcebergTarget.settle = die",
        "record_published": "import rushes.publish.publish as p; p.record_published = die",
    }
    store, after = copied(reel_store, tmp_path / "store"), where != "commit"
    is_completed_after_a_kill(store, f"iceberg:{lake}#videos.clips", lambda: loaded(lake), patches[where], committed=after)


@pytest.mark.slow
def test_a_table_may_be_emptied_and_filled_again(reel_store: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    takes_all_out_and_brings_it_back(copied(reel_store, tmp_path / "store"), f"iceberg:{lake}#videos.clips", lambda: loaded(lake))


@pytest.mark.slow
def test_a_commit_whose_answer_was_lost_is_found_by_its_id(reel_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.exceptions import CommitFailedException

    store, to = copied(reel_store, tmp_path / "store"), f"iceberg:{tmp_path / 'lake'}#videos.clips"
    commit = SqlCatalog.commit_table

    def lost(self: Any, *args: Any) -> Any:
        answer = commit(self, *args)
        if any("append" in str(one).lower() for one in args):
            raise CommitFailedException("the connection broke")
        return answer

    monkeypatch.setattr(SqlCatalog, "commit_table", lost)
    assert go(store, to, "publish.versions=9").right
    monkeypatch.setattr(SqlCatalog, "commit_table", lambda *_: (_ for _ in ()).throw(CommitFailedException("another was quicker")))
    recaption(store, wanted(store)[0]["clip_id"], "new")
    with pytest.raises(StorageError, match="publish again"):
        go(store, to)


def test_a_table_is_named_and_a_remote_warehouse_names_its_catalog(reel_store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no table"):
        go(reel_store, f"iceberg:{tmp_path}#clips")
    with pytest.raises(UsageError, match="its catalog has to be named"):
        go(reel_store, "iceberg:s3://bucket/lake#videos.clips")
