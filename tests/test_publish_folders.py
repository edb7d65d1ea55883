"""The targets that are folders of clip files: `files:`, `hf:` and `jsonl:`, each read by the consumer's own loader."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import av
import pytest

from publishing import (
    as_rows,
    changes_a_caption_and_a_threshold,
    copied,
    drawn,
    go,
    is_completed_after_a_kill,
    numbers,
    recaption,
    same,
    wanted,
)
from rushes.errors import RecipeError
from rushes.publish.targets import files
from rushes.records import Row
from stores import Reel

COLUMNS = ("clip_id", "caption", "start_pts", "end_pts", "sharpness", "row_hash")


def lines(path: Path) -> list[Row]:
    return sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda row: str(row["clip_id"]))


def inodes(folder: Path, pattern: str) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in (folder / "LATEST").glob(pattern)}


def test_files_hold_the_frames_and_change_with_their_clips_alone(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    looks: list[dict[str, int]] = []

    def read() -> list[Row]:
        rows = lines(out / "LATEST" / "clips" / "metadata.jsonl")
        looks.append(inodes(out, "clips/*.mp4") | inodes(out, "clips/*.txt"))
        for row, clip in zip(rows, wanted(store), strict=False):
            file = out / "LATEST" / "clips" / row["file_name"]
            assert row["text"] == row["caption"] == file.with_suffix(".txt").read_text().strip()
            if len(looks) == 1:
                assert numbers(file) == drawn(reel, clip) and row["file_n_frames"] == len(drawn(reel, clip))
        return rows

    second = changes_a_caption_and_a_threshold(store, f"files:{out}", read)
    before, after = looks
    gone = {name for name in before if name not in after}
    assert {Path(name).suffix for name in gone} == {".mp4", ".txt"} and len(gone) == 2 * second.counts["removed"]
    written = [name for name in after if before[name] != after[name]]
    assert len(written) == 1 and written[0].endswith(".txt"), "the one caption; clip files are links"
    assert second.bytes < 60_000


@pytest.mark.slow
def test_another_codec_makes_all_files_anew(reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    one = "publish.sample=1"
    go(store, f"files:{out}", one)
    done = go(store, f"files:{out}", one, "clips.crf=40", "clips.short_side_px=64")
    assert (done.right, done.counts["changed"], done.counts["added"]) == (True, 1, 0)
    [row] = lines(out / "LATEST" / "clips" / "metadata.jsonl")
    with av.open(str(out / "LATEST" / "clips" / row["file_name"])) as container:
        assert container.streams.video[0].height == 64 == row["file_height"]
    with pytest.raises(RecipeError, match="leaves out caption"):
        go(store, f"files:{out}", 'publish.columns=["sharpness"]')


@pytest.mark.slow
@pytest.mark.parametrize("where", ["commit", "put", "cut"])
def test_killed_anywhere_the_folder_is_old_or_new_and_the_next_completes_it(reel_store: Path, tmp_path: Path, where: str) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    patches = {
        "put": "import rushes.publish.versions as v; v.Draft.put = die",
        "commit": "import rushes.publish.versions as v; v.Versions.commit = die",
        "cut": "import rushes.publish.clip_folder as c; c.film_facts = die",
    }
    is_completed_after_a_kill(
        store, f"files:{out}", lambda: lines(out / "LATEST" / "clips" / "metadata.jsonl"), patches[where], clips="publish.sample=2"
    )
    assert sorted(os.listdir(out)) == ["LATEST", "v001", "v002"] and os.readlink(out / "LATEST") == "v002"


@pytest.mark.slow
def test_a_clip_that_cannot_be_cut_is_told_and_tried_again(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    hidden = reel.folder / "uneven.mkv"
    hidden.rename(reel.folder / "away")
    try:
        first = go(store, f"files:{out}")
    finally:
        (reel.folder / "away").rename(hidden)
    assert (first.right, first.counts["failed"], first.counts["rows"]) == (False, 2, 2) and "uneven" not in str(
        os.listdir(out / "v001" / "clips")
    )
    second = go(store, f"files:{out}")
    assert (second.right, second.counts["added"], second.counts["unchanged"]) == (True, 2, 2)
    assert same(lines(out / "LATEST" / "clips" / "metadata.jsonl"), wanted(store))


def test_the_check_sees_a_list_that_does_not_name_the_clips(reel_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "json_line", lambda row: json.dumps({**row, "clip_id": "another"}))
    done = go(copied(reel_store, tmp_path / "store"), f"files:{tmp_path / 'out'}", "publish.sample=1")
    assert done.checked is not None and (done.checked.rows, done.checked.verdict) == (1, "wrong")
    assert "is not in the target" in done.checked.problems[0]


def test_hugging_face_loads_the_folder(reel_store: Path, tmp_path: Path) -> None:
    datasets: Any = pytest.importorskip("datasets", reason="datasets is not installed")
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"

    def read() -> list[Row]:
        found = datasets.load_dataset(str(out / "LATEST"), split="train", cache_dir=str(tmp_path / "cache" / os.readlink(out / "LATEST")))
        rows = as_rows(found.cast_column("video", datasets.Video(decode=False)).data.table)
        for row in rows:
            assert len(numbers(Path(row["video"]["path"]))) == row["file_n_frames"]
        return rows

    second = changes_a_caption_and_a_threshold(store, f"hf:{out}", read)
    assert second.checked is not None and second.checked.reader.startswith("datasets ")
    card = (out / "LATEST" / "README.md").read_text()
    dropped = len([1 for row in card.splitlines() if row.startswith("| too_short | duration_s | ")])
    assert dropped == 1 and f"{second.counts['rows']} clips, " in card and "| clips kept | 4 |" in card and "| videos found | 4 |" in card


def read_list(folder: Path) -> list[Row]:
    """The one list of a version, as a trainer reads it."""
    [file] = (folder / "LATEST").glob("train.*")
    text = file.read_text()
    if file.suffix == ".csv":
        rows: list[Any] = list(csv.DictReader(text.splitlines()))
    else:
        rows = json.loads(text) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    return sorted(rows, key=lambda row: str(row.get("clip_id") or row["id"]))


def test_lists_have_the_form_that_trainers_read(reel_store: Path, tmp_path: Path) -> None:
    """Another flavour of the same folder links the clip files."""
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    clips, asked, paths = wanted(store)[:2], "<video>\nWhat happens?", set()
    for flavour in ("llava", "messages", "videox-fun", "open-sora"):
        done = go(store, f"jsonl:{out}", f"publish.flavour={flavour}", 'publish.question="What happens?"', "publish.sample=2")
        assert done.right and done.checked is not None and done.checked.clips == 0 < done.checked.frames, "lists lack most columns"
        for row, clip in zip(read_list(out), clips, strict=True):
            text = clip["caption"]
            match flavour:
                case "llava":
                    assert row["conversations"] == [{"from": "human", "value": asked}, {"from": "gpt", "value": text}]
                    paths.add(row["video"])
                case "messages":
                    assert [(m["role"], m["content"]) for m in row["messages"]] == [("user", asked), ("assistant", text)]
                    paths.add(row["videos"][0])
                case "videox-fun":
                    assert (row["text"], row["type"], row["width"], row["height"]) == (text, "video", 192, 108)
                    paths.add(row["file_path"])
                case _:
                    assert list(row)[:8] == ["path", "text", "num_frames", "height", "width", "aspect_ratio", "resolution", "fps"]
                    n = len(numbers(out / "LATEST" / row["path"]))
                    assert (row["text"], int(row["num_frames"]), row["aspect_ratio"], row["resolution"]) == (text, n, "0.5625", "20736")
                    assert float(row["fps"]) == pytest.approx(n / clip["duration_s"], rel=0.01)
                    paths.add(row["path"])
    assert len(paths) == 2
    assert len({path.stat().st_ino for path in out.glob("v00[34]/clips/*.mp4")}) == 2


def test_a_changed_caption_changes_one_line_of_a_list(reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    go(store, f"jsonl:{out}", "publish.sample=2")
    before, clips = json.loads((out / "LATEST" / "train.json").read_text()), inodes(out, "clips/*")
    recaption(store, before[1]["id"], 'a "quoted" caption,\nof two lines')
    go(store, f"jsonl:{out}", "publish.sample=2")
    after = json.loads((out / "LATEST" / "train.json").read_text())
    assert [new for new, old in zip(after, before, strict=True) if new != old] == [after[1]] and inodes(out, "clips/*") == clips
    assert after[1]["conversations"][1]["value"] == 'a "quoted" caption,\nof two lines'
