"""Runs: the books, the clips, and what is not done again."""

from __future__ import annotations

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from pictures import read_frame_number
from rushes.api import plan
from stores import Reel, go, parts_of, recipe, rows_of, seen

BOOKS = ("videos_scanned", "videos_reused", "videos_failed", "videos_duplicate")


@pytest.fixture
def again(reel_store: Path, tmp_path: Path) -> Path:
    """A copy of the reel's store, to run on."""
    return Path(shutil.copytree(reel_store, tmp_path / "store"))


def balanced(counts: dict[str, Any]) -> bool:
    return bool(counts["videos_found"] == sum(counts[name] for name in BOOKS))


# The books


def test_the_books_balance_and_each_second_is_decoded_once(reel: Reel, reel_store: Path) -> None:
    [row] = seen(reel_store).runs()
    assert (row["status"], row["videos_found"]) == ("finished", 4)
    assert [row[name] for name in BOOKS] == [2, 0, 1, 1]
    clips = seen(reel_store).clips()
    verdicts = [c["verdict"] for c in clips]
    assert (
        (row["clips_kept"], row["clips_dropped"], row["clips_failed"])
        == (verdicts.count("kept"), verdicts.count("dropped"), 0)
        == (4, 2, 0)
    )
    lengths = [float(c.times[-1]) + 1 / 25 for c in reel.clips.values()]
    assert row["footage_s"] == pytest.approx(sum(lengths), abs=0.05)
    assert row["decoded_s"] == row["footage_s"]
    assert row["captions_made"] == 4
    assert set(row["busy_s"]) >= {"scan", "shots", "captions"}


def test_videos_tell_what_became_of_each_uri(reel: Reel, reel_store: Path) -> None:
    rows = {Path(v["uri"]).name: v for v in seen(reel_store).videos()}
    assert {name: v["status"] for name, v in rows.items()} == {
        "broken.mp4": "failed", "cuts.mp4": "done", "second name.mp4": "duplicate", "uneven.mkv": "done"
    }  # fmt: skip
    assert (rows["broken.mp4"]["error_type"], "not a readable video" in rows["broken.mp4"]["error"]) == ("ProbeError", True)
    assert rows["cuts.mp4"]["video_id"] == rows["second name.mp4"]["video_id"]
    done = rows["uneven.mkv"]
    assert (done["n_frames"], done["width"], done["height"], done["codec"], done["n_clips"]) == (175, 192, 108, "h264", 3)
    assert (rows["cuts.mp4"]["has_audio"], done["has_audio"]) == (True, False)


def test_clips_tile_each_video_at_its_cuts(reel: Reel, reel_store: Path) -> None:
    for uri, truth in reel.clips.items():
        clips = [c for c in seen(reel_store).clips() if c["uri"] == uri]
        assert truth.pts is not None
        edges = [truth.pts[0], *truth.cut_pts]
        assert [c["start_pts"] for c in clips] == edges
        assert [c["end_pts"] for c in clips[:-1]] == edges[1:]
        assert [c["n_frames"] for c in clips] == [90, 25, 60]
        assert clips[-1]["end_pts"] > truth.pts[-1]
        for c in clips:
            tick = Fraction(c["time_base"])
            assert c["start_s"] == float((c["start_pts"] - truth.pts[0]) * tick)
            assert c["duration_s"] == float((c["end_pts"] - c["start_pts"]) * tick)


def test_the_short_clips_are_dropped_and_say_why(reel_store: Path) -> None:
    short = [c for c in seen(reel_store).clips() if c["n_frames"] == 25]
    for c in short:
        assert c["verdict"] == "dropped"
        assert c["reasons"] == [{"rule": "too_short", "column": "duration_s", "value": c["duration_s"], "bound": 1.5}]
        assert c["caption"] is None
    assert all(c["caption"] and c["caption_model"] for c in seen(reel_store).clips() if c["verdict"] == "kept")


def test_signals_are_lists_of_one_length_with_nulls_off_the_grid(reel: Reel, reel_store: Path) -> None:
    """Read by pyarrow alone: what others see."""
    import pyarrow.dataset as ds

    table = ds.dataset(str(reel_store / "signals"), format="parquet").to_table()
    assert table.num_rows == 2
    lists = [f.name for f in table.schema if str(f.type).startswith("list")]
    assert {"pts", "sharpness", "content"} <= set(lists)
    for row in table.to_pylist():
        assert {len(row[name]) for name in lists} == {175}
        assert row["sharpness"].count(None) > 100
        assert sum(v is not None for v in row["sharpness"]) >= 10
        assert None not in row["pts"]
    assert sorted(tuple(row["pts"]) for row in table.to_pylist()) == sorted(c.pts or () for c in reel.clips.values())


def on_the_grid(times: list[float], per_s: int) -> list[int]:
    """The frames that are stored of frames shown from these times on: the one shown at a point of the grid, if it is shown for more than
    0.1 s; else the first one from that point on, before the next.
    """
    found: set[int] = set()
    for k in range(int(times[-1] * per_s + 1e-6) + 1):
        point = k / per_s - 1e-6
        shown = max(i for i, t in enumerate(times) if t <= point + 2e-6)
        held = shown + 1 < len(times) and times[shown + 1] - times[shown] > 0.1 + 1e-6
        next_ones = [i for i, t in enumerate(times) if point <= t < point + 1 / per_s]
        found |= {shown} if held else set(next_ones[:1])
    return sorted(found)


def test_stored_frames_lie_on_the_grid_and_show_the_frame_of_their_pts(reel: Reel, reel_store: Path) -> None:
    videos = {v["video_id"]: v["uri"] for v in seen(reel_store).videos() if v["status"] == "done"}
    rows = rows_of(reel_store, "frames")["frames"]
    for video_id, uri in videos.items():
        truth = reel.clips[uri]
        assert truth.pts is not None
        first = [truth.pts[i] for i in on_the_grid([float(t) for t in truth.times], 4)]
        mine = sorted((r["pts"], r["jpeg"]) for r in rows if r["video_id"] == video_id)
        assert [p for p, _ in mine] == first
        numbers = [read_frame_number(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 0)) for _, jpeg in mine]  # type: ignore[arg-type]
        assert numbers == [truth.numbers[truth.pts.index(p)] for p in first]


# What is not done again


def test_a_second_run_does_nothing(reel: Reel, again: Path) -> None:
    before, rows = parts_of(again), rows_of(again)
    counts = go(reel.folder, again).counts
    assert [counts[name] for name in BOOKS] == [0, 2, 1, 1]
    assert (counts["decoded_s"], counts["footage_s"], counts["captions_made"], counts["bytes_read"]) == (0, 0, 0, 0)
    assert (counts["clips_kept"], counts["clips_dropped"]) == (4, 2)
    after = parts_of(again)
    changed = {path for path in after if before.get(path) != after[path]}
    assert {path.partition("/")[0] for path in changed} <= {"videos"}, "at most the rows of duplicates are said again"
    assert rows_of(again) == rows


def test_a_threshold_decodes_nothing_and_captions_only_what_is_newly_kept(reel: Reel, again: Path) -> None:
    old = {row["clip_id"]: row for row in rows_of(again, "captions")["captions"]}
    planned = plan([reel.folder], out=again, recipe=recipe("rules.too_short.min=1.1"))
    assert {stage: planned[stage]["missing"] for stage in ("scan", "frames", "shots", "measures", "captions")} == {
        "scan": 0, "frames": 0, "shots": 0, "measures": 0, "captions": 1
    }  # fmt: skip
    assert planned["decode_s"] == 0
    counts = go(reel.folder, again, "rules.too_short.min=1.1").counts
    assert (counts["decoded_s"], counts["videos_scanned"], counts["captions_made"], counts["clips_kept"]) == (0, 0, 1, 5)
    new = {row["clip_id"]: row for row in rows_of(again, "captions")["captions"]}
    assert {k: new[k] for k in old} == old
    assert len(new) == 5
    kept = [c for c in seen(again, "rules.too_short.min=1.1").clips() if c["verdict"] == "kept"]
    assert len(kept) == 5
    assert all(c["caption"] for c in kept)


def test_a_shot_parameter_cuts_anew_from_signals_as_a_fresh_store_would(reel: Reel, again: Path, tmp_path: Path) -> None:
    change = ("shots.min_s=1.2", "shots.max_s=1.5")
    planned = plan([reel.folder], out=again, recipe=recipe(*change))
    assert (planned["scan"]["missing"], planned["shots"]["missing"], planned["measures"]["missing"], planned["decode_s"]) == (0, 2, 2, 0)
    counts = go(reel.folder, again, *change).counts
    assert (counts["decoded_s"], counts["videos_scanned"], counts["videos_reused"]) == (0, 0, 2)
    fresh = tmp_path / "fresh"
    assert go(reel.folder, fresh, *change).counts["videos_scanned"] == 2
    assert seen(again, *change).clips() == seen(fresh, *change).clips()
    assert len(seen(again, *change).clips()) > 6
    print_of = seen(fresh, *change).prints
    mine = [r for r in rows_of(again, "measures")["measures"] if r["fingerprint"] == print_of["measures"]]
    assert mine == rows_of(fresh, "measures")["measures"]
    assert seen(again).clips(), "the rows of the first recipe are still there"


def test_a_frame_setting_costs_a_pass_and_the_plan_says_so(reel: Reel, again: Path) -> None:
    change = "frames.short_side_px=64"
    planned = plan([reel.folder], out=again, recipe=recipe(change))
    assert (planned["scan"]["missing"], planned["frames"]["missing"]) == (0, 2)
    counts = go(reel.folder, again, change).counts
    assert planned["decode_s"] == pytest.approx(counts["decoded_s"])
    assert counts["decoded_s"] == counts["footage_s"] > 9
    assert plan([reel.folder], out=again, recipe=recipe(change))["frames"]["missing"] == 0


def test_a_plan_of_new_footage_counts_it_and_writes_nothing(reel: Reel, tmp_path: Path) -> None:
    out = tmp_path / "none"
    planned = plan([reel.folder], out=out, recipe=recipe())
    assert {planned[s]["wanted"] for s in ("scan", "frames", "shots", "measures")} == {3}  # the broken file looks like any other
    assert planned["decode_s"] > 0
    assert planned["expected_bytes"] > 0
    assert not out.exists()


# Identity


def test_a_known_file_is_not_opened_again(reel: Reel, again: Path, tmp_path: Path) -> None:
    """Its bytes are exchanged but size and time of change are kept: only a reader who opened it would notice."""
    folder = tmp_path / "footage"
    folder.mkdir()
    film_at = Path(shutil.copy2(reel.cuts.path, folder / "cuts.mp4"))
    out = tmp_path / "own"
    go(folder, out)
    info = film_at.stat()
    film_at.write_bytes(bytes(info.st_size))
    os.utime(film_at, ns=(info.st_atime_ns, info.st_mtime_ns))
    counts = go(folder, out).counts
    assert [counts[name] for name in BOOKS] == [0, 1, 0, 0]
    os.utime(film_at, ns=(info.st_atime_ns, info.st_mtime_ns + 1_000_000))
    counts = go(folder, out).counts
    assert [counts[name] for name in BOOKS] == [0, 0, 1, 0], "a new time of change is a reason to look"


def test_a_replaced_file_is_new_and_its_old_clips_are_gone_from_view(reel: Reel, tmp_path: Path) -> None:
    folder, out = tmp_path / "footage", tmp_path / "own"
    folder.mkdir()
    shutil.copyfile(reel.cuts.path, folder / "a.mkv")
    go(folder, out)
    old = {c["clip_id"] for c in seen(out).clips()}
    shutil.copyfile(reel.uneven.path, folder / "a.mkv")
    assert go(folder, out).counts["videos_scanned"] == 1
    new = {c["clip_id"] for c in seen(out).clips()}
    assert len(new) == 3
    assert not new & old


def test_the_same_content_under_a_new_name_is_reused_and_shows_the_new_name(reel: Reel, tmp_path: Path) -> None:
    folder, out = tmp_path / "footage", tmp_path / "own"
    folder.mkdir()
    first = Path(shutil.copyfile(reel.cuts.path, folder / "first.mp4"))
    go(folder, out)
    ids = [c["clip_id"] for c in seen(out).clips()]
    second = first.rename(folder / "second.mp4")
    counts = go(folder, out).counts
    assert [counts[name] for name in BOOKS] == [0, 1, 0, 0]
    assert [(c["clip_id"], c["uri"]) for c in seen(out).clips()] == [(i, str(second)) for i in ids]
    shutil.copyfile(second, folder / "earlier.mp4")
    counts = go(folder, out).counts
    assert [counts[name] for name in BOOKS] == [0, 1, 0, 1]
    assert {c["uri"] for c in seen(out).clips()} == {str(folder / "earlier.mp4")}
    assert {Path(v["uri"]).name: v["status"] for v in seen(out).videos()}["second.mp4"] == "duplicate"


def test_of_two_names_of_a_broken_file_the_first_fails_and_the_other_is_a_duplicate(reel: Reel, tmp_path: Path) -> None:
    folder, out = tmp_path / "footage", tmp_path / "own"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copyfile(reel.folder / "broken.mp4", folder / name)
    for _ in range(2):
        counts = go(folder, out).counts
        assert [counts[name] for name in BOOKS] == [0, 0, 1, 1]
        assert [v["status"] for v in seen(out).videos()] == ["failed", "duplicate"]


# Wishes


def test_frames_can_be_those_of_kept_clips_or_none(reel: Reel, tmp_path: Path) -> None:
    for keep in ("kept", "none"):
        out = tmp_path / keep
        go([reel.cuts.path], out, f"frames.keep={keep}")
        rows = rows_of(out, "frames")["frames"]
        spans = [(c["start_pts"], c["end_pts"], c["verdict"]) for c in seen(out, f"frames.keep={keep}").clips()]
        kept = [(a, b) for a, b, verdict in spans if verdict == "kept"]
        assert len(kept) == 2
        if keep == "none":
            assert not rows
        else:
            assert all(any(a <= r["pts"] < b for a, b in kept) for r in rows)
            assert len(rows) == 15 + 9  # four a second of [0 s, 3.6 s) and of [4.6 s, 7 s)


@pytest.mark.parametrize("mode", ["copy", "encode"])
def test_clip_files_are_cut_for_kept_clips(reel: Reel, tmp_path: Path, mode: str) -> None:
    out = tmp_path / "own"
    counts = go([reel.cuts.path], out, f"clips.mode={mode}").counts
    kept = [c for c in seen(out, f"clips.mode={mode}").clips() if c["verdict"] == "kept"]
    want_s = sum(c["duration_s"] for c in kept) if mode == "encode" else 0
    assert counts["decoded_s"] - counts["footage_s"] == pytest.approx(want_s)
    assert len(kept) == 2
    for c in kept:
        assert c["clip_uri"]
        with av.open(c["clip_uri"]) as container:
            numbers = [read_frame_number(f.reformat(format="gray").to_ndarray()) for f in container.decode(video=0)]
            assert len(container.streams.audio) == 1
        first, last = round(c["start_s"] * 25), round(c["end_s"] * 25)
        assert set(range(first, last)) >= set(numbers) if mode == "copy" else numbers == list(range(first, last))
        assert numbers
    dropped = [c for c in seen(out, f"clips.mode={mode}").clips() if c["verdict"] == "dropped"]
    assert all(c["clip_uri"] is None for c in dropped)
    again = go([reel.cuts.path], out, f"clips.mode={mode}").counts
    assert (again["decoded_s"], again["videos_reused"]) == (0, 1)


def test_clip_files_come_later_without_a_new_scan(reel: Reel, again: Path) -> None:
    counts = go(reel.folder, again, "clips.mode=copy").counts
    assert (counts["videos_scanned"], counts["footage_s"], counts["captions_made"]) == (0, 0, 0)
    kept = [c for c in seen(again, "clips.mode=copy").clips() if c["verdict"] == "kept"]
    assert len(kept) == 4
    assert all(Path(c["clip_uri"]).is_file() for c in kept)


def test_a_video_whose_cutting_fails_keeps_its_scan(reel: Reel, again: Path) -> None:
    """Its signals are taken away, so that it cannot be cut anew: that is reported, and what was there stays."""
    before = seen(again).clips()
    shutil.rmtree(again / "signals")
    counts = go(reel.folder, again, "shots.min_s=2").counts
    assert [counts[name] for name in BOOKS] == [0, 0, 3, 1]
    assert [e["stage"] for e in seen(again, "shots.min_s=2").errors() if e["stage"] != "scan"] == ["recut", "recut"]
    assert seen(again).clips() == before


def test_columns_of_a_manifest_travel_to_videos_and_clips(reel: Reel, tmp_path: Path) -> None:
    manifest, out = tmp_path / "list.jsonl", tmp_path / "own"
    rows = [{"uri": str(reel.cuts.path), "camera": "前", "day": 3}, {"uri": "not there.mp4", "camera": "left"}]
    manifest.write_text("\n".join(json.dumps(row) for row in rows))
    counts = go([manifest], out).counts
    assert [counts[name] for name in BOOKS] == [1, 0, 1, 0]
    assert [c["extra"] for c in seen(out).clips()] == [{"camera": "前", "day": 3}] * 3
    missing = next(v for v in seen(out).videos() if v["status"] == "failed")
    assert (missing["extra"], missing["video_id"]) == ({"camera": "left"}, None)
    assert "not there.mp4" in missing["uri"]
    shutil.copyfile(reel.uneven.path, tmp_path / "not there.mp4")
    counts = go([manifest], out).counts
    assert [counts[name] for name in BOOKS] == [1, 1, 0, 0], "what was missing is looked for again"


def test_limit_takes_the_first_uris(reel: Reel, tmp_path: Path) -> None:
    counts = go(reel.folder, tmp_path / "own", limit=2).counts
    assert [counts[name] for name in BOOKS] == [1, 0, 1, 0]
    assert counts["videos_found"] == 2


def test_a_store_inside_the_footage_is_no_footage(reel: Reel, tmp_path: Path) -> None:
    shutil.copyfile(reel.cuts.path, tmp_path / "a.mp4")
    for _ in range(2):
        counts = go(tmp_path, tmp_path / "store", "clips.mode=copy").counts
        assert counts["videos_found"] == 1


def huge_pictures(path: Path) -> None:
    """One picture of 8192 x 8192 pixels, encoded once and shown 30 times."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 8192, 8192, "yuvj420p"
        flat = av.VideoFrame.from_ndarray(np.full((8192 * 3 // 2, 8192), 90, np.uint8), "yuvj420p")
        [packet] = [*stream.encode(flat), *stream.encode()]
        for k in range(30):
            copy = av.Packet(bytes(packet))
            copy.stream, copy.pts, copy.dts, copy.time_base = stream, k, k, Fraction(1, 25)
            out.mux(copy)


def test_a_file_that_kills_its_worker_takes_no_neighbour_with_it(reel: Reel, tmp_path: Path) -> None:
    """One child, a good file, then one whose pictures of 96 MiB go over the limit; then another good one."""
    shutil.copyfile(reel.cuts.path, tmp_path / "a.mp4")
    shutil.copyfile(reel.uneven.path, tmp_path / "c.mkv")
    huge_pictures(tmp_path / "b.mov")
    out = tmp_path / "own"
    counts = go(tmp_path, out, "scan.memory_gib=0.25", "captions.engine=none").counts
    assert [counts[name] for name in BOOKS] == [2, 0, 1, 0]
    assert balanced(counts)
    rows = {Path(v["uri"]).name: v for v in seen(out, "captions.engine=none").videos()}
    assert {name: v["status"] for name, v in rows.items()} == {"a.mp4": "done", "b.mov": "failed", "c.mkv": "done"}
    assert rows["b.mov"]["error_type"] == "MemoryError"
    assert len(seen(out, "captions.engine=none").clips()) == 6
    counts = go(tmp_path, out, "scan.memory_gib=0.25", "captions.engine=none").counts
    assert [counts[name] for name in BOOKS] == [0, 2, 1, 0]
