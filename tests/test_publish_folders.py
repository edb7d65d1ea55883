"""The targets that are folders of clip files: `files:`, `hf:` and `jsonl:`, each read by the consumer's own loader."""

from __future__ import annotations

import json
import os
from pathlib import Path

import av
import pyarrow as pa
import pytest

from consumers import files_rows, hf_rows
from consumers import list_rows as read_list
from publishing import (
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
from rushes.media.identity import video_id
from rushes.publish import clip_files, cutters
from rushes.publish.targets import files
from rushes.records import Row
from stores import Reel, command, recipe, settings_of

COLUMNS = ("clip_id", "caption", "start_pts", "end_pts", "sharpness", "row_hash")


def inodes(folder: Path, pattern: str) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in (folder / "LATEST").glob(pattern)}


def test_files_hold_the_frames_and_change_with_their_clips_alone(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"
    looks: list[dict[str, int]] = []

    def read() -> list[Row]:
        rows = files_rows(out)
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
    [row] = files_rows(out)
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
    is_completed_after_a_kill(store, f"files:{out}", lambda: files_rows(out), patches[where], clips="publish.sample=2")
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
    assert same(files_rows(out), wanted(store))


@pytest.mark.parametrize(
    ("videos", "clips", "mode", "pieces"),
    [(1, 40, "encode", [10] * 4), (2, 40, "encode", [20] * 4), (3, 40, "encode", [40] * 3), (1, 25, "encode", [8, 8, 9]),
     (1, 15, "encode", [15]), (1, 40, "copy", [40])],
)  # fmt: skip
def test_clips_of_few_videos_are_shared_out_among_four_processes(videos: int, clips: int, mode: str, pieces: list[int]) -> None:
    of = [f"{video}" for video in range(videos) for _ in range(clips)]
    table = pa.table({"video_id": of, "uri": of, "clip_uri": pa.nulls(len(of), pa.string()), "at": range(len(of))})
    with clip_files.ClipFiles(recipe("scan.workers=4", f"clips.mode={mode}"), "", {}, lambda: False) as files_of:
        found = list(files_of._pieces([table]))
    assert [len(piece) for piece in found] == pieces
    assert [row["at"] for piece in found for row in piece] == list(range(len(of))), "neighbours stay together, and none is lost"


@pytest.mark.slow
def test_the_clips_of_one_video_are_cut_in_parallel(reel: Reel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where fewer videos than processes are to be encoded: each takes neighbours, and opens the source once."""
    monkeypatch.setattr(clip_files, "LEAST_CLIPS", 2)
    jobs, submit = [], cutters.Here.submit
    monkeypatch.setattr(cutters.Here, "submit", lambda self, job: (jobs.append(job["spans"]), submit(self, job))[1])
    path, pts = reel.cuts.path, reel.cuts.pts
    assert pts is not None
    ids, starts = [f"{k}" * 8 for k in range(5)], range(0, 100, 20)
    columns: Row = {"clip_id": ids, "start_pts": [pts[n] for n in starts], "end_pts": [pts[n + 20] for n in starts], "clip_uri": [None] * 5}
    columns |= {"uri": [str(path)] * 5, "video_id": [video_id(str(path), path.stat().st_size, {})] * 5, "time_pieces": [None] * 5}
    with clip_files.ClipFiles(recipe("scan.workers=2"), str(tmp_path), {}, lambda: False) as cut:
        made = [one for some in cut.of([pa.table(columns)]) for one in some]
    assert [[clip for clip, _, _ in spans] for spans in jobs] == [ids[:2], ids[2:]]
    assert [numbers(Path(one.uri)) for one in made] == [list(reel.cuts.numbers[n : n + 20]) for n in starts]


def test_the_check_sees_a_list_that_does_not_name_the_clips(reel_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "json_line", lambda row: json.dumps({**row, "clip_id": "another"}))
    done = go(copied(reel_store, tmp_path / "store"), f"files:{tmp_path / 'out'}", "publish.sample=1")
    assert done.checked is not None and (done.checked.rows, done.checked.verdict) == (1, "wrong")
    assert "is not in the target" in done.checked.problems[0]


def test_hugging_face_loads_the_folder(reel_store: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="datasets is not installed")
    store, out = copied(reel_store, tmp_path / "store"), tmp_path / "out"

    def read() -> list[Row]:
        rows = hf_rows(out, tmp_path / "cache")
        for row in rows:
            assert len(numbers(Path(row["video"]["path"]))) == row["file_n_frames"]
        return rows

    second = changes_a_caption_and_a_threshold(store, f"hf:{out}", read)
    assert second.checked is not None and second.checked.reader.startswith("datasets ")
    card = (out / "LATEST" / "README.md").read_text()
    dropped = len([1 for row in card.splitlines() if row.startswith("| too_short | duration_s | ")])
    assert dropped == 1 and f"{second.counts['rows']} clips, " in card and "| clips kept | 4 |" in card and "| videos found | 4 |" in card


@pytest.mark.slow
def test_the_command_checks_by_their_library_which_needs_pandas(reel_store: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="datasets is not installed")
    store = copied(reel_store, tmp_path / "store")
    done = command("publish", store, "--to", f"hf:{tmp_path / 'out'}", "--json", *settings_of("publish.sample=1"))
    assert (done.code, done.lines[0]["checked"]["reader"].split()[0]) == (0, "datasets"), done.err


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
