"""The target `webdataset:`, read by the webdataset library, and how clips are put into shards."""

from __future__ import annotations

import io
import json
import os
from importlib.util import find_spec
from pathlib import Path

import av
import pytest

from consumers import samples
from consumers import webdataset_rows as loaded
from pictures import read_frame_number
from publishing import changes_a_caption_and_a_threshold, copied, drawn, go, is_completed_after_a_kill, numbers, recaption, same, wanted
from rushes.publish import shards as publishing_shards
from rushes.publish.film_facts import FilmFacts
from rushes.publish.shards import bucket_of
from rushes.records import Row
from stores import Reel

pytestmark = [
    pytest.mark.skipif(find_spec("webdataset") is None, reason="webdataset is not installed"),  # importing it takes torch and seconds
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the library leaves files to the garbage collector
]


def shards(out: Path) -> dict[str, int]:
    """Name of each shard -> its inode."""
    folder = (out / "LATEST").resolve()
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*.tar")}


def test_the_library_reads_what_the_store_has_and_a_change_writes_its_shard_alone(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    one_a_shard = "publish.shard_mb=1"
    looks: list[dict[str, int]] = []

    def read() -> list[Row]:
        looks.append(shards(out))
        for sample, clip in zip(samples(out), wanted(store), strict=False):
            if len(looks) == 1:
                assert sample["__key__"] == clip["clip_id"] and numbers(io.BytesIO(sample["mp4"])) == drawn(reel, clip)
                with av.open(io.BytesIO(sample["jpg"])) as picture:
                    assert read_frame_number(next(picture.decode()).to_ndarray(format="gray")) in drawn(reel, clip)
            assert sample["txt"].decode() == json.loads(sample["json"])["caption"]
        return loaded(out)

    second = changes_a_caption_and_a_threshold(store, f"webdataset:{out}", read, one_a_shard)
    assert second.checked is not None and second.checked.reader.startswith("webdataset ") and second.checked.frames > 0
    listed = json.loads((out / "LATEST" / "index.json").read_text())["shardlist"]
    assert {one["url"]: one["nsamples"] for one in listed} == {name: len(loaded(out)) for name in looks[1]}


def test_shards_without_a_change_are_links_and_films_are_not_cut_again(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    """Clips of 2.4 and 3.6 s lie in shards of their own where a shard is full after one clip."""
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    shape = ('publish.buckets=["resolution", "aspect", "length"]', "publish.shard_mb=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing_shards, "MB", 1000)
        assert go(store, f"webdataset:{out}", *shape).right
        before = shards(out)
        assert sorted(before) == [f"resolution_0/aspect_16_9/seconds_2_5/{n:06d}.tar" for n in range(4)]
        changed = loaded(out)[0]["clip_id"]
        recaption(store, changed, "another caption")
        for path in reel.clips:
            Path(path).rename(f"{path}.away")
        try:
            done = go(store, f"webdataset:{out}", *shape)
        finally:
            for path in reel.clips:
                Path(f"{path}.away").rename(path)
    assert done.right and done.counts["changed"] == 1, done
    after = shards(out)
    assert len(after) == 4 and sum(before.get(name) == inode for name, inode in after.items()) == 3
    assert {sample["__key__"] for sample in samples(out) if sample["txt"] == b"another caption"} == {changed}
    assert same(loaded(out), wanted(store))


@pytest.mark.slow
def test_killed_before_the_commit_it_is_as_it_was(reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    commit = "import rushes.publish.versions as v; v.Versions.commit = die"
    is_completed_after_a_kill(store, f"webdataset:{out}", lambda: loaded(out), commit)
    assert os.readlink(out / "LATEST") == "v002"


@pytest.mark.parametrize(
    ("facts", "folder"),
    [
        (FilmFacts(250, 1920, 1080, 25.0, 1), "resolution_1080/aspect_16_9/seconds_10_20"),
        (FilmFacts(24, 1078, 1920, 24.0, 1), "resolution_720/aspect_9_16/seconds_0_2"),
        (FilmFacts(1000, 640, 480, 25.0, 1), "resolution_480/aspect_4_3/seconds_40"),
    ],
)
def test_buckets_are_named_by_what_the_film_is(facts: FilmFacts, folder: str) -> None:
    assert bucket_of(facts, ("resolution", "aspect", "length")) == folder
    assert bucket_of(facts, ()) == ""
