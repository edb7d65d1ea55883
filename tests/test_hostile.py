"""Hostile files among good ones: each is done or failed with a reason, in time, and no neighbour is hurt."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from footage import damaged, truncated
from stores import Reel, command, go, inline, seen, settings_of
from variants import variants

HANG_S = 10.0
QUIET = ("captions.engine=none", "scan.workers=2", f"scan.hang_s={HANG_S:g}", "scan.memory_gib=1")


def test_every_hostile_file_ends_in_time_and_hurts_no_neighbour(data_dir: Path, reel: Reel, tmp_path: Path) -> None:
    folder, out = tmp_path / "footage", tmp_path / "store"
    shutil.copytree(data_dir / "hostile", folder)
    shutil.copyfile(reel.cuts.path, folder / "000 first.mp4")
    shutil.copyfile(reel.uneven.path, folder / "zzz last.mkv")
    named = sorted(str(p) for p in folder.iterdir())
    began = time.monotonic()
    counts = go(named, out, *QUIET).counts
    assert time.monotonic() - began < 3 * HANG_S + 60
    rows = {Path(v["uri"]).name: v for v in seen(out, *QUIET).videos()}
    assert set(rows) == {Path(n).name for n in named}
    assert {v["status"] for v in rows.values()} <= {"done", "failed", "duplicate"}
    assert counts["videos_found"] == len(named) == sum(counts[f"videos_{s}"] for s in ("scanned", "reused", "failed", "duplicate"))
    assert rows["000 first.mp4"]["status"] == rows["zzz last.mkv"]["status"] == "done"
    for name, v in rows.items():
        if v["status"] == "failed":
            assert v["error_type"], name
            assert len(v["error"]) > 20, name
        elif v["status"] == "done":
            assert v["n_frames"] > 0, name
            assert v["footage_s"] > 0, name
    assert counts["videos_failed"] >= 5
    foreseen = {"ProbeError", "DecodeError", "HangError", "MemoryError", "CrashError"}
    assert {v["error_type"] for v in rows.values() if v["status"] == "failed"} <= foreseen, {
        n: v["error"] for n, v in rows.items() if v["error"]
    }
    clips = seen(out, *QUIET).clips()
    assert sum(Path(c["uri"]).name in ("000 first.mp4", "zzz last.mkv") for c in clips) == 6
    again = go(named, out, *QUIET).counts
    assert (again["videos_scanned"], again["videos_failed"], again["clips_kept"]) == (0, counts["videos_failed"], counts["clips_kept"])


@pytest.mark.parametrize("suffix", variants([".mp4", ".mkv"], quick=[".mp4"]))
def test_damage_and_truncation_leave_what_can_be_read(reel: Reel, tmp_path: Path, suffix: str) -> None:
    source = next(c.path for c in reel.clips.values() if c.path.suffix == suffix)
    folder, out = tmp_path / "footage", tmp_path / "store"
    folder.mkdir()
    for seed in range(3):
        damaged(source, folder / f"hurt{seed}{suffix}", seed=seed)
    truncated(source, folder / f"half{suffix}", 0.5)
    counts = go(folder, out, *QUIET).counts
    assert counts["videos_scanned"] + counts["videos_failed"] == 4
    rows = {Path(v["uri"]).stem: v for v in seen(out, *QUIET).videos()}
    for seed in range(3):
        v = rows[f"hurt{seed}"]
        assert (v["status"], v["n_corrupt"] > 0, v["n_frames"] > 50) == ("done", True, True), v
    half = rows["half"]
    if suffix == ".mkv":
        assert (half["status"], 60 < half["n_frames"] < 120) == ("done", True)
    else:
        assert (half["status"], half["error_type"]) == ("failed", "ProbeError"), "the index of an mp4 lies at its end"


def test_names_of_every_kind_travel_to_the_clips(reel: Reel, tmp_path: Path) -> None:
    folder, out = tmp_path / "footage", tmp_path / "store"
    folder.mkdir()
    names = ["a b'c\"d.mp4", "日本 [x] 。.mkv", "100%20 #1?.mp4", "line\nbreak.mkv", "*.mp4"]
    for k, name in enumerate(names):
        source = reel.cuts.path if k % 2 == 0 else reel.uneven.path
        (folder / name).write_bytes(source.read_bytes() + bytes(k))  # each its own content
    raw = os.fsencode(folder) + b"/caf\xe9.mp4"
    with open(raw, "wb") as file:
        file.write(reel.cuts.path.read_bytes() + bytes(99))
    counts = go(folder, out, *QUIET).counts
    assert counts["videos_scanned"] == 6
    uris = {c["uri"] for c in seen(out, *QUIET).clips()}
    assert uris >= {str(folder / name) for name in names}
    assert len(uris) == 6
    shown = inline("clips", out, "--json", "--set", "captions.engine=none")
    assert shown.code == 0, shown.err
    assert {c["uri"] for c in shown.lines} == uris
    explained = inline("explain", out, str(folder / names[0]), "--json")
    assert (explained.code, len(explained.lines)) == (0, 3)
    table = inline("videos", out)
    assert len(table.out.splitlines()) == 7, "a line break in a name breaks no table"


def test_files_that_cannot_be_had_are_failed_rows(reel: Reel, tmp_path: Path) -> None:
    folder, out = tmp_path / "footage", tmp_path / "store"
    folder.mkdir()
    shutil.copyfile(reel.cuts.path, folder / "good.mp4")
    (folder / "dangling.mp4").symlink_to(folder / "nowhere.mp4")
    (folder / "empty.mp4").touch()
    manifest = tmp_path / "list.txt"
    manifest.write_text(f"{folder}/good.mp4\n{folder}/absent.mp4\n")
    counts = go([folder, manifest], out, *QUIET).counts
    rows = {Path(v["uri"]).name: v for v in seen(out, *QUIET).videos()}
    assert {n: v["status"] for n, v in rows.items()} == {
        "absent.mp4": "failed",
        "dangling.mp4": "failed",
        "empty.mp4": "failed",
        "good.mp4": "done",
    }
    assert (counts["videos_scanned"], counts["videos_failed"]) == (1, 3)
    assert all(len(rows[n]["error"]) > 10 for n in ("absent.mp4", "dangling.mp4", "empty.mp4"))
    assert len(seen(out, *QUIET).errors()) == 3


def test_a_file_that_hangs_is_given_up_in_time(reel: Reel, tmp_path: Path) -> None:
    """A named pipe behind a video's name would hang any reader: it is refused before it is opened."""
    folder, out = tmp_path / "footage", tmp_path / "store"
    folder.mkdir()
    shutil.copyfile(reel.cuts.path, folder / "good.mp4")
    os.mkfifo(folder / "pipe.mp4")
    began = time.monotonic()
    done = command("run", folder, "--out", out, *settings_of("captions.engine=none"), timeout_s=40)
    assert done.code == 0, done.err
    assert time.monotonic() - began < 30
    rows = {Path(v["uri"]).name: v for v in seen(out, "captions.engine=none").videos()}
    assert (rows["pipe.mp4"]["status"], rows["good.mp4"]["status"]) == ("failed", "done")
    assert "no regular file" in rows["pipe.mp4"]["error"]
