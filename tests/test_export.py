"""`rushes export`: files hold exactly the clips, captions lie beside them, what is there is kept, a bad source costs its own clips."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import urllib.request
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import rushes
from footage import Clip, render
from pictures import Edit, film, moving, read_frame_number
from rushes.publish.clip_names import name_of
from rushes.results import Results
from rushes.serve_report import serve
from rushes.store.store import Store
from stamps import joined, stamped
from stores import Reel, go, inline, seen
from test_clip_sound import with_sound


def numbers(path: Path) -> list[int]:
    """The numbers drawn in the frames of a film."""
    with av.open(str(path)) as container:
        return [read_frame_number(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]


def drawn(source: Clip, clip: dict[str, Any]) -> list[int]:
    """The numbers of the frames of a span, by the truth of the footage."""
    assert source.pts is not None
    return [n for n, pts in zip(source.numbers, source.pts, strict=True) if clip["start_pts"] <= pts < clip["end_pts"]]


def files(folder: Path) -> dict[str, int]:
    """Name -> time of change of what lies in a folder."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_kept_clips_are_flat_files_with_exactly_their_frames_and_captions_beside_them(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    done = inline("export", reel_store, "--to", tmp_path / "clips", "--json")
    assert done.code == 0, done.err
    kept = [clip for clip in seen(reel_store).clips() if clip["verdict"] == "kept"]
    made = {row["clip_id"]: Path(row["file"]) for row in done.lines}
    assert set(made) == {clip["clip_id"] for clip in kept} and len(made) == 4
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {p.name for f in made.values() for p in (f, f.with_suffix(".txt"))}
    for clip in kept:
        path = made[clip["clip_id"]]
        assert path.name.startswith(Path(clip["uri"]).stem + "_00h00m") and path.name.endswith(clip["clip_id"][:8] + ".mp4")
        assert numbers(path) == drawn(reel.clips[clip["uri"]], clip)
        assert path.with_suffix(".txt").read_text() == clip["caption"] + "\n"
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.width, stream.height) == ("h264", clip["width"], clip["height"])
            assert len(container.streams.audio) == clip["has_audio"]
    assert "4 clip files made + 0 there already + 0 failed" in done.err


@pytest.mark.slow
def test_what_is_there_and_right_is_kept_and_the_rest_is_made_again(reel_store: Path, tmp_path: Path) -> None:
    to = tmp_path / "clips"
    inline("export", reel_store, "--to", to)
    first = files(to)
    lost, torn, *rest = sorted(name for name in first if name.endswith(".mp4"))
    whole = (to / torn).read_bytes()
    (to / lost).unlink()
    (to / torn).write_bytes(whole[: len(whole) // 2])
    again = inline("export", reel_store, "--to", to)
    assert "2 clip files made + 2 there already + 0 failed" in again.err
    now = files(to)
    assert {name for name in first if now[name] == first[name]} == {*rest, *(n for n in first if n.endswith(".txt"))}
    assert len(numbers(to / torn)) > 0 and (to / lost).is_file()
    other = inline("export", reel_store, "--to", to, "--crf", "30", "--captions", "none")
    assert "4 clip files made + 0 there already" in other.err, "a file of another quality is not what was asked for"


@pytest.mark.slow
def test_a_file_of_another_clip_is_not_taken_for_it(reel_store: Path, tmp_path: Path) -> None:
    to = tmp_path / "clips"
    inline("export", reel_store, "--to", to, "--captions", "none")
    a, b = sorted(to.iterdir())[:2]
    right = numbers(a)
    shutil.copyfile(b, a)
    inline("export", reel_store, "--to", to, "--captions", "none")
    assert numbers(a) == right != numbers(b)


def test_a_bad_source_costs_its_own_clips_and_the_exit_code_says_so(tmp_path: Path) -> None:
    folder, store = tmp_path / "footage", tmp_path / "store"
    folder.mkdir()
    for k, name in enumerate(("gone", "good", "other", "torn")):
        render(folder / f"{name}.mp4", film(192, 108, [60], seed=k))
    go(folder, store)
    torn = (folder / "torn.mp4").read_bytes()
    (folder / "gone.mp4").unlink()
    shutil.copyfile(folder / "good.mp4", folder / "other.mp4")
    (folder / "torn.mp4").write_bytes(torn[:200] + bytes(len(torn) - 200))
    done = inline("export", store, "--to", tmp_path / "clips", "--json")
    assert done.code == 1, done.err
    by = {Path(row["uri"]).stem: row for row in done.lines}
    assert {name: bool(row["file"]) for name, row in by.items()} == {"gone": False, "good": True, "other": False, "torn": False}
    assert "content is not that of the video that was scanned" in by["other"]["error"] and by["other"]["mend"]
    assert all(row["error"] and row["mend"] for name, row in by.items() if name != "good")
    assert {p.suffix for p in (tmp_path / "clips").iterdir()} == {".mp4", ".txt"} and len(list((tmp_path / "clips").iterdir())) == 2
    assert "1 clip files made + 0 there already + 3 failed" in done.err and "gone.mp4" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_clips_are_chosen_as_by_rushes_clips(reel_store: Path, tmp_path: Path) -> None:
    def ids(*args: str) -> set[str]:
        done = inline("export", reel_store, "--to", tmp_path / "-".join(args).replace("/", "_"), "--json", "--captions", "none", *args)
        assert done.code == 0, done.err
        return {row["clip_id"] for row in done.lines}

    clips = seen(reel_store).clips()
    assert ids("--verdict", "dropped") == {c["clip_id"] for c in clips if c["verdict"] == "dropped"}
    assert ids("--verdict", "all") == {c["clip_id"] for c in clips}
    assert ids("--where", "duration_s > 3") == {c["clip_id"] for c in clips if c["verdict"] == "kept" and c["duration_s"] > 3}
    assert ids("--set", "rules.too_short.min=3") == {c["clip_id"] for c in clips if c["duration_s"] >= 3}
    assert len(ids("--sample", "2")) == 2


def test_copies_hold_the_packets_of_the_source(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    done = inline("export", reel_store, "--to", tmp_path / "clips", "--mode", "copy", "--where", "uri like '%cuts.mp4'", "--json")
    by_id = {clip["clip_id"]: clip for clip in seen(reel_store).clips()}
    assert len(done.lines) == 2
    for row in done.lines:
        inside = drawn(reel.cuts, by_id[row["clip_id"]])
        found = numbers(Path(row["file"]))
        assert found and found == inside[inside.index(found[0]) : inside.index(found[-1]) + 1]


def test_metadata_is_what_hugging_face_reads(reel_store: Path, tmp_path: Path) -> None:
    inline("export", reel_store, "--to", tmp_path / "clips", "--captions", "jsonl")
    rows = [json.loads(line) for line in (tmp_path / "clips" / "metadata.jsonl").read_text().splitlines()]
    kept = {clip["clip_id"]: clip for clip in seen(reel_store).clips() if clip["verdict"] == "kept"}
    assert {row["clip_id"] for row in rows} == set(kept)
    for row in rows:
        clip = kept[row["clip_id"]]
        assert (tmp_path / "clips" / row["file_name"]).is_file()
        assert (row["text"], row["sharpness"], row["uri"]) == (clip["caption"], clip["measures"]["sharpness"], clip["uri"])
        with av.open(str(tmp_path / "clips" / row["file_name"])) as container:
            assert (container.streams.video[0].width, container.streams.video[0].height) == (row["file_width"], row["file_height"])
    assert not list((tmp_path / "clips").glob("*.txt"))


def test_a_codec_a_size_and_a_rate_may_be_asked_for(reel_store: Path, tmp_path: Path) -> None:
    how = ["--codec", "vp9", "--short-side-px", "64", "--fps", "5", "--crf", "40", "--sample", "1", "--captions", "jsonl"]
    done = inline("export", reel_store, "--to", tmp_path / "clips", *how)
    assert done.code == 0, done.err
    [row] = [json.loads(line) for line in (tmp_path / "clips" / "metadata.jsonl").read_text().splitlines()]
    with av.open(str(tmp_path / "clips" / row["file_name"])) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.codec.canonical_name, stream.average_rate) == ("vp9", 5)
        assert min(stream.width, stream.height) == min(row["file_width"], row["file_height"]) == 64 and row["file_fps"] == 5
    wrong = inline("export", reel_store, "--to", tmp_path / "clips", "--codec", "h265")
    assert wrong.code == 2 and "clips.codec = 'h265'" in wrong.err


def test_pixels_are_square_and_the_size_is_that_of_the_table(tmp_path: Path) -> None:
    render(tmp_path / "wide.mov", film(192, 112, [60], seed=3), rotation=90, options={"x264-params": "sar=4/3"})
    go(tmp_path / "wide.mov", tmp_path / "store")
    rows: list[dict[str, Any]] = []
    done = rushes.export(tmp_path / "store", to=tmp_path / "clips", watch=rows.append)
    assert (done.status, done.made, done.failed, done.captions) == ("finished", 1, 0, 1)
    [clip] = seen(tmp_path / "store").clips()
    with av.open(rows[0]["file"]) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio) == (clip["width"], clip["height"], 1)
        assert (stream.width, stream.height) == (112, 256)


@pytest.mark.slow
def test_an_export_that_was_stopped_goes_on(films_of_14_s: list[Path], tmp_path: Path) -> None:
    store, to, stop = tmp_path / "store", tmp_path / "clips", threading.Event()
    go(films_of_14_s, store)
    told: list[dict[str, Any]] = []

    def watch(row: dict[str, Any]) -> None:
        told.append(row)
        stop.set()

    done = rushes.export(store, to=to, captions="jsonl", interrupted=stop, watch=watch)
    assert done.status == "interrupted" and 0 < done.made < 16
    assert not (to / "metadata.jsonl").exists(), "a list of some of the clips would be taken for all"
    assert not [p for p in to.iterdir() if p.name.startswith(".")]
    rest = rushes.export(store, to=to, captions="jsonl")
    assert (rest.status, rest.made + rest.present, rest.failed) == ("finished", 16, 0)
    assert rest.present >= done.made
    assert len((to / "metadata.jsonl").read_text().splitlines()) == 16


@pytest.mark.parametrize(
    ("uri", "start"),
    [
        ("/footage/a b.c.mp4", "a_b_c_"),
        ("/footage/日本 1.mp4", "日本_1_"),
        ("https://example.org/x/cam%202.mp4?version=3", "cam_2_"),
        ("s3://bucket/day/..mp4", "video_"),
        (f"/footage/{'é' * 200}.mp4", "é" * 60 + "_"),
        ("/footage/$(rm -rf).mp4", "rm_-rf_"),
    ],
)
def test_names_are_readable_and_safe(uri: str, start: str) -> None:
    name = name_of({"uri": uri, "start_s": 3723.456, "end_s": 59.999, "clip_id": "0123456789abcdef"})
    assert name == f"{start}01h02m03s46_00h01m00s00_01234567"
    assert re.fullmatch(r"[\w-]+", name) and len(name.encode()) < 200


def test_a_wrong_request_is_exit_2(reel_store: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for args in (["--to", file], ["--to", tmp_path / "a", "--mode", "fast"], ["--to", tmp_path / "a", "--where", "nothing > 1"], []):
        assert inline("export", reel_store, *args).code == 2
    assert not (tmp_path / "a").exists()
    assert os.listdir(tmp_path) == ["file"]


def test_every_encoded_clip_is_an_mp4_that_people_hear(tmp_path: Path) -> None:
    """Uncompressed sound, which mp4 players do not take, becomes AAC, and the row says so."""
    footage = tmp_path / "footage"
    footage.mkdir()
    picture = render(tmp_path / "picture.mp4", film(192, 108, [60], seed=1), fps=20).path
    with_sound(picture, footage / "raw.mkv", "pcm_s16le", 48000, 2, 3.0)
    go(footage, tmp_path / "store")
    done = inline("export", tmp_path / "store", "--to", tmp_path / "clips", "--json")
    assert (done.code, len(done.lines)) == (0, 1), done.err
    [row] = done.lines
    assert row["file"].endswith(".mp4") and "AAC" in row["note"]
    with av.open(row["file"]) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        heard = sum(frame.samples for frame in container.decode(audio=0))
    assert heard / 48000 == pytest.approx(3.0, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["encode", "copy"])
def test_clips_of_a_clock_that_began_anew_are_the_right_ones(mode: str, tmp_path: Path) -> None:
    """Four parts with the same stamps: the clips of the fourth are not those of the first, in the export and in the report."""
    footage = tmp_path / "footage"
    footage.mkdir()
    parts = [tmp_path / f"part{k}.ts" for k in range(4)]
    for k, part in enumerate(parts):
        stamped(part, Edit(moving(192, 112, k), 40), [Fraction(i, 25) for i in range(40)], first_number=40 * k, gop=20)
    joined(footage / "a.ts", parts)
    settings = ("shots.detector=stride", "shots.stride_s=1.6")
    go(footage, tmp_path / "store", *settings)
    clips = sorted(seen(tmp_path / "store", *settings).clips(), key=lambda clip: clip["start_pts"])
    done = inline("export", tmp_path / "store", "--to", tmp_path / "clips", "--mode", mode, "--json")
    files_of = {row["clip_id"]: Path(row["file"]) for row in done.lines if row["file"]}
    assert done.code == 0 and len(files_of) == len(clips) == 4
    shown = [numbers(files_of[clip["clip_id"]]) for clip in clips]
    if mode == "encode":
        assert shown == [list(range(40 * k, 40 * k + 40)) for k in range(4)]
    else:
        assert all(found and set(found) <= set(range(40 * k, 40 * k + 40)) for k, found in enumerate(shown))
    with serve(Results(Store.open(str(tmp_path / "store"), {}))) as server:
        (tmp_path / "made.mp4").write_bytes(urllib.request.urlopen(f"{server.url}made/{clips[3]['clip_id']}").read())
    assert numbers(tmp_path / "made.mp4") == list(range(120, 160))


@pytest.mark.slow
def test_each_stream_of_a_file_gives_its_own_clips(data_dir: Path, tmp_path: Path) -> None:
    """Two cameras in one file, each a video of its own: the clip of each shows that camera, by the first picture of its stream."""
    source, out = data_dir / "field" / "20_preview_track_first" / "front_and_rear.mp4", tmp_path / "store"
    if not source.is_file():
        pytest.skip("the shared footage has no field/20_preview_track_first")
    go([source], out, "scan.stream=all")
    rows: list[dict[str, Any]] = []
    done = rushes.export(out, to=tmp_path / "clips", watch=rows.append)
    assert (done.made, done.failed) == (2, 0)
    for row in rows:
        index = int(row["uri"].rpartition("#stream=")[2])
        truth, shown = (first_picture(path, stream) for path, stream in ((source, index), (tmp_path / "clips" / row["file"], 0)))
        other = first_picture(source, 1 - index)
        assert np.abs(shown - truth).mean() < 4 < np.abs(shown - other).mean()


def first_picture(path: Path, stream: int) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=stream)).to_ndarray(format="gray").astype(float)
