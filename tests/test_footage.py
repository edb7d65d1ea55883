"""The builders against libav: what a file's facts say must be what an independent reader finds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from conftest import left_behind, ours
from footage import Clip, damaged, jittered, render, resized, ticks_of, truncated
from pictures import Gradual, draw_frame_number, edit, film, read_frame_number, still, texture

NTSC = Fraction(30000, 1001)
SIZE = (160, 96)
CASES = {
    "h264.mp4": {},
    "hevc.mp4": {"codec": "hevc"},
    "vp9.webm": {"codec": "vp9"},
    "av1.mp4": {"codec": "av1"},
    "mpeg4.avi": {"codec": "mpeg4", "bframes": 0},
    "mpeg4.mp4": {"codec": "mpeg4", "bframes": 0},
    "mpeg2.ts": {"codec": "mpeg2video"},
    "mjpeg.mov": {"codec": "mjpeg"},
    "h264.avi": {},
    "raw.h264": {},
    "h264.ts": {},
    "h264.mkv": {"bframes": 0},
    "ntsc.mp4": {"fps": NTSC, "bframes": 3},
    "ntsc.mkv": {"fps": NTSC},
    "late.mp4": {"start": 12_800 * 3},
    "late.mkv": {"start": 12_800 * 3},
    "trimmed.mp4": {"start": -512 * 7},
    "vfr.mp4": {"pts": jittered(40, Fraction(25), ticks_of(Fraction(25)))},
    "vfr.mkv": {"pts": jittered(40, Fraction(25), ticks_of(Fraction(25)), seed=1)},
    "deep.mp4": {"pix_fmt": "yuv420p10le"},
    "full.mp4": {"full_range": True},
    "pq.mp4": {"transfer": "pq"},
    "hlg.mp4": {"transfer": "hlg"},
    "sound.mp4": {"audio": True},
    "sound.webm": {"codec": "vp9", "audio": True},
    "two.mp4": {"second_video": True},
    "cover.mp4": {"cover": True},
    "turned.mp4": {"rotation": 90},
}


def read(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as source:
        return list(source.decode(video=0))


def luma(frame: av.VideoFrame) -> np.ndarray:
    return frame.reformat(format="gray").to_ndarray()


def made(name: str, folder: Path) -> Clip:
    return render(folder / name, film(*SIZE, [16, 24]), **CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_pts_numbers_and_sizes_are_as_stated(name: str, tmp_path: Path) -> None:
    clip = made(name, tmp_path)
    frames = read(clip.path)
    assert tuple(read_frame_number(luma(f)) for f in frames) == clip.numbers
    if clip.pts is not None:
        assert tuple(f.pts for f in frames) == clip.pts
        assert frames[0].time_base == clip.time_base
    assert (frames[0].width, frames[0].height) == (clip.width, clip.height) == SIZE
    assert clip.n_frames == len(frames) == (33 if name.startswith("trimmed") else 40)


def test_rendering_leaves_the_scheduling_of_this_process_as_it_was(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    render(tmp_path / "a.mp4", film(*SIZE, [5], seed=1), codec="av1")
    assert {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")} == {before} == {os.SCHED_OTHER}


def test_the_cut_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    clip = render(tmp_path / "a.mp4", film(*SIZE, [16, 24, 12], seed=3), numbered=False)
    images = [luma(f).astype(float) for f in read(clip.path)]
    jumps = [float(np.abs(b - a).mean()) for a, b in pairwise(images)]
    assert clip.cuts == (16, 40)
    assert {int(i) + 1 for i in np.argsort(jumps)[-2:]} == set(clip.cuts)
    assert clip.cut_pts == (16 * 512, 40 * 512)


@pytest.mark.parametrize("kind", ["dissolve", "fadeblack", "fadewhite"])
def test_a_gradual_transition_lies_between_whole_shots(kind: str, tmp_path: Path) -> None:
    shots = [still(*SIZE, 1), still(*SIZE, 2)]
    story = edit(shots, [10, 12], [Gradual(kind, 9)])
    clip = render(tmp_path / "a.mp4", story, numbered=False, options={"crf": "5"})
    images = [luma(f).astype(float) for f in read(clip.path)]
    (only,) = clip.gradual
    assert (only.kind, only.start, only.end, clip.n_frames) == (kind, 10, 19, 31)
    old, new = images[0], images[-1]
    for i, image in enumerate(images):
        assert (np.abs(image - old).mean() < 2) == (i < only.start)
        assert (np.abs(image - new).mean() < 2) == (i >= only.end)
    middle = images[(only.start + only.end - 1) // 2]
    want = {"dissolve": (old + new) / 2, "fadeblack": 0 * old, "fadewhite": 0 * old + 255}[kind]
    assert np.abs(middle - want).mean() < 3


def test_interlaced_frames_weave_two_moments(tmp_path: Path) -> None:
    clip = render(tmp_path / "a.mp4", film(*SIZE, [20, 20]), interlaced=True)
    frames = read(clip.path)
    assert all(f.interlaced_frame for f in frames)
    assert clip.n_frames == len(frames) == 20
    assert clip.cuts == (10,)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_is_degrees_clockwise_to_upright(turn: int, tmp_path: Path) -> None:
    clip = render(tmp_path / "a.mp4", (still(*SIZE, 1), 4), rotation=turn)
    assert clip.rotation == turn
    assert {-f.rotation % 360 for f in read(clip.path)} == {turn}


def test_tags_say_what_was_asked(tmp_path: Path) -> None:
    first = {name: read(made(name, tmp_path).path)[0] for name in ("deep.mp4", "full.mp4", "pq.mp4", "hlg.mp4")}
    assert first["deep.mp4"].format.components[0].bits == 10
    assert first["full.mp4"].color_range == 2
    assert first["pq.mp4"].color_trc == 16
    assert first["hlg.mp4"].color_trc == 18


def test_other_streams_are_there(tmp_path: Path) -> None:
    for name, kinds in {"sound.mp4": "va", "two.mp4": "vv", "cover.mp4": "vv"}.items():
        with av.open(str(made(name, tmp_path).path)) as source:
            assert "".join(s.type[0] for s in source.streams) == kinds
            assert bool(source.streams[-1].disposition & av.stream.Disposition.attached_pic) == (name == "cover.mp4")


def test_avi_and_raw_streams_store_no_pts(tmp_path: Path) -> None:
    assert all(f.pts is None for f in read(made("raw.h264", tmp_path).path))
    assert made("h264.avi", tmp_path).pts is None


def test_the_picture_size_changes_in_mid_stream(tmp_path: Path) -> None:
    clip = resized(tmp_path / "a.ts", film(160, 96, [20]), film(96, 64, [15]))
    frames = read(clip.path)
    assert [f.width for f in frames] == [160] * 20 + [96] * 15
    assert tuple(f.pts for f in frames) == clip.pts
    assert tuple(read_frame_number(luma(f)) for f in frames) == clip.numbers == tuple(range(35))


def test_truncated_and_damaged_files_differ_from_the_whole(tmp_path: Path) -> None:
    whole = render(tmp_path / "a.ts", film(*SIZE, [40]))
    assert 0 < len(read(truncated(whole.path, tmp_path / "b.ts", 0.5))) < 40
    assert damaged(whole.path, tmp_path / "c.ts").read_bytes() != whole.path.read_bytes()


@pytest.mark.parametrize("number", [0, 1, 2, 1000, 65535])
@pytest.mark.parametrize("scale", [0.5, 0.8, 1.7])
def test_the_number_survives_resizing_and_noise(number: int, scale: float) -> None:
    gray = draw_frame_number(texture(160, 96, 5)[:, :, 1], number)
    small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    noisy = np.clip(small + np.random.default_rng(number).normal(0, 12, small.shape), 16, 235).astype(np.uint8)
    assert read_frame_number(noisy) == number


def test_a_picture_without_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"frame number"):
        read_frame_number(texture(160, 96, 5)[:, :, 1])


def test_the_guard_sees_children_and_orphans() -> None:
    before = set(ours())
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    child = subprocess.Popen(sleeper)
    orphan = int(subprocess.check_output([sys.executable, "-c", f"import subprocess; print(subprocess.Popen({sleeper!r}, stdout=-3).pid)"]))
    try:
        assert set(left_behind(before, grace_s=0.2)) == {child.pid, orphan}
    finally:
        child.kill()
        child.wait()
        os.kill(orphan, signal.SIGKILL)
    assert not left_behind(before)
