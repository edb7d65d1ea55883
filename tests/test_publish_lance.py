"""The target `lance:`, read back by Lance, LanceDB, `daft.read_lance`, and blobs through PyAV."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pytest

from consumers import lance_rows as loaded
from footage import render
from pictures import film, read_frame_number
from publishing import (
    changes_a_caption_and_a_threshold,
    copied,
    drawn,
    go,
    is_completed_after_a_kill,
    numbers,
    recaption,
    takes_all_out_and_brings_it_back,
    wanted,
)
from rushes.publish import lance_care
from rushes.results.runs import published_rows
from rushes.store.store import Store
from stores import Reel
from stores import go as run

lance: Any = pytest.importorskip("lance", reason="pylance is not installed")


def data_files(place: Path) -> dict[str, int]:
    """The files that hold rows and bytes of clips, with their sizes."""
    return {str(path): path.stat().st_size for path in (place / "data").rglob("*") if path.is_file()}


def films(place: Path) -> dict[str, list[int]]:
    """clip_id -> the numbers drawn in the frames of its blob, decoded by PyAV."""
    data = lance.dataset(str(place))
    ids = data.to_table(columns=["clip_id"])["clip_id"].to_pylist()
    found = {}
    for clip, blob in zip(ids, data.take_blobs("video", indices=range(len(ids))), strict=True):
        found[clip] = numbers(blob)
    return found


def test_a_late_caption_is_written_without_the_bytes_of_clips(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    store, place = copied(reel_store, tmp_path / "store"), tmp_path / "clips.lance"
    bytes_and_frames = ("publish.bytes=true", "publish.frames=2")
    seen: list[dict[str, int]] = []

    def read() -> list[dict[str, Any]]:
        seen.append(data_files(place))
        assert films(place) == {clip["clip_id"]: drawn(reel, clip) for clip in kept()}
        return loaded(place)

    def kept() -> list[dict[str, Any]]:
        ids = {row["clip_id"] for row in loaded(place)}
        return [row for row in wanted(store) if row["clip_id"] in ids]

    done = changes_a_caption_and_a_threshold(store, f"lance:{place}", read, *bytes_and_frames)
    assert seen[0].items() < seen[1].items(), "what was there stays as it is"
    late = sum(size for path, size in seen[1].items() if path not in seen[0])
    assert late < 20_000 < done.bytes < 40_000 < sum(seen[0].values()), "the changed row was written without its blob"
    for row in loaded(place):
        assert len(row["frames"]) == len(row["frame_pts"]) == 2 and all(jpeg.startswith(b"\xff\xd8") for jpeg in row["frames"])
        assert all(row["start_pts"] <= pts < row["end_pts"] for pts in row["frame_pts"])
        assert row["video_frames"] == len(drawn(reel, next(clip for clip in kept() if clip["clip_id"] == row["clip_id"])))
    assert published_rows(Store.open(str(store), {}))[0]["frames_checked"] > 50


@pytest.mark.slow
def test_references_are_blobs_too_and_no_byte_of_video_is_copied(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    store, place = copied(reel_store, tmp_path / "store"), tmp_path / "clips.lance"
    done = changes_a_caption_and_a_threshold(store, f"lance:{place}", lambda: loaded(place))
    assert done.bytes < 40_000
    data = lance.dataset(str(place))
    rows = data.to_table(columns=["uri", "video_uri", "start_pts", "end_pts", "clip_id"]).to_pylist()
    for row, blob in zip(rows, data.take_blobs("video", indices=range(len(rows))), strict=True):
        assert row["video_uri"] == Path(row["uri"]).as_uri() and blob.size() == Path(row["uri"]).stat().st_size
        with av.open(blob) as container:
            stream = container.streams.video[0]
            container.seek(row["start_pts"], stream=stream)
            inside = [
                read_frame_number(frame.to_ndarray(format="gray"))
                for frame in container.decode(stream)
                if frame.pts is not None and row["start_pts"] <= frame.pts < row["end_pts"]
            ]
        assert inside == drawn(reel, row)


def test_lancedb_and_daft_read_it_and_words_find_captions(reel_store: Path, tmp_path: Path) -> None:
    store, place = copied(reel_store, tmp_path / "store"), tmp_path / "clips.lance"
    clip = wanted(reel_store)[0]["clip_id"]
    recaption(store, clip, "an otter swims")
    go(store, f"lance:{place}")
    truth = [(row["clip_id"], row["caption"]) for row in wanted(store)]
    table = pytest.importorskip("lancedb").connect(str(tmp_path)).open_table("clips")
    found = table.search().select(["clip_id", "caption"]).to_list()
    assert sorted((row["clip_id"], row["caption"]) for row in found) == truth
    assert [row["clip_id"] for row in table.search("otter", query_type="fts").select(["clip_id"]).to_list()] == [clip]
    recaption(store, clip, "a heron waits")
    go(store, f"lance:{place}")
    table.checkout_latest()
    assert [row["clip_id"] for row in table.search("heron", query_type="fts").select(["clip_id"]).to_list()] == [clip]
    assert not table.search("otter", query_type="fts").select(["clip_id"]).to_list()
    if importlib.util.find_spec("daft_lance") is None:
        pytest.skip("daft-lance is not installed: daft.read_lance was not tried")
    import daft

    rows = daft.read_lance(str(place)).select("clip_id", "caption").to_pylist()
    assert sorted((row["clip_id"], row["caption"]) for row in rows) == sorted((row["clip_id"], row["caption"]) for row in wanted(store))


@pytest.mark.slow
def test_late_columns_come_and_go_beside_the_blobs(reel_store: Path, tmp_path: Path) -> None:
    store, place = copied(reel_store, tmp_path / "store"), tmp_path / "clips.lance"
    go(store, f"lance:{place}", "publish.bytes=true", 'publish.columns=["caption"]')
    before = data_files(place)
    done = go(store, f"lance:{place}", "publish.bytes=true", 'publish.columns=["caption", "sharpness"]')
    assert done.right and done.counts["changed"] == 4
    assert [row["sharpness"] for row in loaded(place)] == [row["sharpness"] for row in wanted(store)]
    done = go(store, f"lance:{place}", "publish.bytes=true", 'publish.columns=["sharpness"]')
    assert done.right and "caption" not in lance.dataset(str(place)).schema.names
    after = data_files(place)
    assert before.items() < after.items() and len(films(place)) == 4
    assert sum(after.values()) - sum(before.values()) < 4_000 < 40_000 < sum(before.values())


@pytest.mark.slow
@pytest.mark.parametrize("where", ["settle", "commit", "record_published"])
def test_killed_anywhere_it_is_old_or_new_and_publishing_again_completes_it(reel_store: Path, tmp_path: Path, where: str) -> None:
    place = tmp_path / "clips.lance"
    patches = {
        "commit": "import rushes.publish.targets.lance as t; t.LanceTarget._commit = die",
        "settle": "import rushes.publish.targets.lance as t; t.settle = die",
        "record_published": "import rushes.publish.publish as p; p.record_published = die",
    }
    store, after = copied(reel_store, tmp_path / "store"), where != "commit"
    is_completed_after_a_kill(store, f"lance:{place}", lambda: loaded(place), patches[where], committed=after)


@pytest.mark.slow
def test_what_was_taken_out_is_gone_from_the_disk_where_one_version_is_kept(reel_store: Path, tmp_path: Path) -> None:
    store, place = copied(reel_store, tmp_path / "store"), tmp_path / "clips.lance"
    go(store, f"lance:{place}", "publish.bytes=true", "publish.versions=1")
    sizes = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    go(store, f"lance:{place}", "publish.bytes=true", "publish.versions=1", "publish.sample=1")
    assert len(films(place)) == 1
    assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) < sizes / 2
    assert len(lance.dataset(str(place)).versions()) == 1


@pytest.mark.slow
def test_it_may_be_emptied_and_filled_again_and_small_files_are_merged(
    reel: Reel, reel_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, place = copied(reel_store, tmp_path / "store"), tmp_path / "clips.lance"
    takes_all_out_and_brings_it_back(store, f"lance:{place}", lambda: loaded(place), "publish.bytes=true")
    monkeypatch.setattr(lance_care, "SMALL_FILES", 2)
    go(store, f"lance:{place}", "publish.bytes=true", "publish.sample=2")
    go(store, f"lance:{place}", "publish.bytes=true")
    assert len(lance.dataset(str(place)).get_fragments()) == 1
    assert films(place) == {clip["clip_id"]: drawn(reel, clip) for clip in wanted(store)}


@pytest.mark.slow
def test_a_clip_that_cannot_be_cut_is_told_and_tried_again(tmp_path: Path) -> None:
    for k, name in enumerate(("gone", "there")):
        render(tmp_path / f"{name}.mp4", film(192, 108, [60], seed=k))
    store, place = tmp_path / "store", tmp_path / "clips.lance"
    run([tmp_path / "gone.mp4", tmp_path / "there.mp4"], store)
    (tmp_path / "gone.mp4").rename(tmp_path / "away.mp4")
    done = go(store, f"lance:{place}", "publish.bytes=true")
    assert (done.counts["failed"], done.counts["rows"], len(done.failed), len(films(place))) == (1, 1, 1, 1) and not done.right
    assert done.checked is not None and done.checked.verdict == "right" and published_rows(Store.open(str(store), {}))[-1]["failed"] == 1
    (tmp_path / "away.mp4").rename(tmp_path / "gone.mp4")
    done = go(store, f"lance:{place}", "publish.bytes=true")
    assert (done.right, done.counts["added"], done.counts["unchanged"], len(films(place))) == (True, 1, 1, 2)


def test_many_vectors_get_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance_care, "VECTOR_INDEX_ROWS", 300)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([float(k * j % 97) for k in range(300) for j in range(16)], pa.float32()), 16)
    rows = pa.table({"clip_id": [str(k) for k in range(300)], "caption": [f"clip {k}" for k in range(300)], "embedding": vectors})
    data = lance.write_dataset(rows, str(tmp_path / "many.lance"))
    lance_care.make_indexes(data)
    found = {
        name: index.index_type for index in lance.dataset(str(tmp_path / "many.lance")).describe_indices() for name in index.field_names
    }
    assert set(found) == {"caption", "embedding"}
    lance_care.make_indexes(lance.dataset(str(tmp_path / "many.lance")))
