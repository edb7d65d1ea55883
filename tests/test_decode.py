"""The decoder and the one pass: every pts right by content, whatever the container does; damage survived and counted."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from footage import Clip, damaged, jittered, render, resized, ticks_of, truncated
from pictures import Edit, draw_frame_number, film, read_frame_number, still, texture
from rushes.errors import DecodeError, ProbeError
from rushes.media.decode import Decoder
from rushes.recipe import Recipe
from rushes.records import Mode
from rushes.scan.one_pass import SampledFrame, Scan, scan

Footage = Callable[[str, Callable[[Path], Clip]], Clip]
SIZE = (160, 96)
NTSC = Fraction(30000, 1001)
VFR = jittered(40, Fraction(25), ticks_of(Fraction(25)))
CASES: dict[str, dict[str, Any]] = {
    "vfr.mp4": {"pts": VFR},
    "vfr.mkv": {"pts": VFR},
    "edit_list.mp4": {"start": -512 * 7},
    "late.mp4": {"start": 12_800 * 3},
    "late.ts": {"start": 12_800 * 3},
    "ntsc.mp4": {"fps": NTSC, "bframes": 3},
    "no_pts.avi": {},
    "no_pts_no_b.avi": {"bframes": 0},
    "raw.h264": {},
    "hevc.mp4": {"codec": "hevc"},
    "vp9.webm": {"codec": "vp9", "audio": True},
    "av1.mp4": {"codec": "av1"},
    "mpeg2.ts": {"codec": "mpeg2video"},
    "mjpeg.mov": {"codec": "mjpeg"},
    "deep.mp4": {"pix_fmt": "yuv420p10le"},
    "sound.mp4": {"audio": True},
    "two.mp4": {"second_video": True},
    "cover.mp4": {"cover": True},
}


@pytest.fixture
def case(footage: Footage) -> Callable[[str], Clip]:
    return lambda name: footage(f"decode_{name}", lambda path: render(path, film(*SIZE, [16, 24]), **CASES[name]))


def decoded(path: Path, mode: Mode = "exact", numbered: bool = True) -> tuple[list[int], list[int], Decoder]:
    """pts, frame numbers read from the pictures, and the spent decoder."""
    pts, numbers = [], []
    with Decoder(str(path), uri=str(path), size_bytes=path.stat().st_size, mode=mode) as decoder:
        for frame, tick in decoder:
            pts.append(tick)
            if numbered:
                numbers.append(read_frame_number(frame.reformat(format="gray").to_ndarray()))
    return pts, numbers, decoder


def swept(path: Path, *settings: str) -> tuple[Scan, list[SampledFrame]]:
    frames: list[SampledFrame] = []
    return scan(str(path), Recipe().with_overrides(settings), on_frame=frames.append), frames


def number_of(jpeg: bytes) -> int:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return read_frame_number(picture)


# Time


@pytest.mark.parametrize("name", CASES)
def test_pts_are_those_of_the_container_and_of_the_pictures(case: Callable[[str], Clip], name: str) -> None:
    clip = case(name)
    pts, numbers, decoder = decoded(clip.path)
    assert numbers == list(clip.numbers)
    assert [Fraction(p - pts[0]) * decoder.time_base for p in pts] == pytest.approx([float(t) for t in clip.times], abs=1e-9)
    if clip.pts is not None:
        assert (pts, decoder.time_base) == (list(clip.pts), clip.time_base)
        assert decoder.line.n_mended == decoder.line.n_clocks == 0
    assert decoder.n_corrupt == 0


@pytest.mark.parametrize("name", ["vfr.mp4", "edit_list.mp4", "late.ts", "no_pts.avi", "deep.mp4", "two.mp4", "cover.mp4"])
def test_every_stored_jpeg_shows_the_frame_of_its_pts(case: Callable[[str], Clip], name: str) -> None:
    clip = case(name)
    found, frames = swept(clip.path, "frames.per_s=30")
    shown = dict(zip(found.pts.tolist(), clip.numbers, strict=True))
    assert len(frames) > 25
    assert [number_of(f.jpeg) for f in frames] == [shown[f.pts] for f in frames]


def test_the_last_frame_ends_after_its_own_duration(footage: Footage, case: Callable[[str], Clip]) -> None:
    for name, step in (("late.mp4", 512), ("vfr.mkv", None), ("mpeg2.ts", 3600)):
        clip = case(name)
        found, _ = swept(clip.path)
        with av.open(str(clip.path)) as container:
            durations = {p.pts: p.duration for p in container.demux(video=0) if p.pts is not None}
        last = int(found.pts[-1])
        want = durations[last] or int(np.median(np.diff(found.pts)))
        assert found.end_pts == last + want, name
        assert step is None or want == step
        assert found.footage_s == pytest.approx(float((found.end_pts - int(found.pts[0])) * found.facts.time_base))
    one = footage("single.mp4", lambda path: render(path, film(*SIZE, [1])))
    found, frames = swept(one.path)
    assert len(found.pts) == len(frames) == 1
    assert found.end_pts > found.pts[0]


# Pictures


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_video_is_stored_upright(footage: Footage, turn: int) -> None:
    """The picture is drawn upright and turned before encoding: the stored JPEG must show the bar at its top again."""
    upright = film(96, 160, [12])
    turns = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
    lying = Edit(lambda i: cv2.rotate(draw_frame_number(upright.picture(i), i), turns[turn]), 12)
    clip = footage(f"turned_{turn}.mp4", lambda path: render(path, lying, rotation=turn, numbered=False))
    found, frames = swept(clip.path, "frames.per_s=25")
    assert [number_of(f.jpeg) for f in frames] == list(range(12))
    assert {(f.width, f.height) for f in frames} == {(96, 160)}
    assert (found.facts.width, found.facts.height, found.facts.rotation) == (96, 160, turn)


def test_a_stored_frame_has_the_short_side_asked_for_and_is_never_enlarged(footage: Footage) -> None:
    clip = footage("big.mp4", lambda path: render(path, (still(400, 200, 1), 3)))
    for want, size in ((100, (200, 100)), (480, (400, 200))):
        _, frames = swept(clip.path, f"frames.short_side_px={want}")
        assert (frames[0].width, frames[0].height) == size
        assert cv2.imdecode(np.frombuffer(frames[0].jpeg, np.uint8), 1).shape[:2] == size[::-1]


def test_colours_of_a_stored_frame_are_those_that_were_filmed(footage: Footage) -> None:
    image = cv2.GaussianBlur(texture(160, 96, 5), (0, 0), 4)
    clip = footage("colour.mp4", lambda path: render(path, (lambda _: image, 3), numbered=False, options={"crf": "5"}))
    _, frames = swept(clip.path, "frames.quality=100")
    seen = cv2.imdecode(np.frombuffer(frames[0].jpeg, np.uint8), 1).astype(float)
    assert np.abs(seen - image).mean() < 3.0


def test_interlaced_footage_gives_one_frame_a_pair_of_fields(footage: Footage) -> None:
    clip = footage("woven.mp4", lambda path: render(path, film(*SIZE, [24]), interlaced=True))
    pts, numbers, decoder = decoded(clip.path)
    assert (numbers, pts) == (list(clip.numbers), list(clip.pts or ()))
    assert decoder.n_frames == 12


def test_a_stream_that_changes_its_size_keeps_its_series(footage: Footage) -> None:
    clip = footage("resized.ts", lambda path: resized(path, film(160, 96, [20]), film(320, 180, [20], seed=4)))
    found, frames = swept(clip.path, "frames.per_s=25")
    assert found.pts.tolist() == list(clip.pts or ())
    assert {len(s) for s in found.signals.values()} == {40}
    assert [number_of(f.jpeg) for f in frames] == list(clip.numbers)


# Modes


def test_fast_mode_skips_frames_and_keeps_the_pts_of_the_rest(footage: Footage) -> None:
    clip = footage("b_frames.mp4", lambda path: render(path, film(*SIZE, [60]), bframes=3))
    exact, _, _ = decoded(clip.path)
    pts, numbers, decoder = decoded(clip.path, "fast")
    assert decoder.mode == "fast"
    assert set(pts) < set(exact)
    assert len(pts) < 0.8 * len(exact)
    assert numbers == [clip.numbers[exact.index(p)] for p in pts]


@pytest.mark.parametrize("name", ["no_pts_no_b.avi", "mjpeg.mov", "vp9.webm"])
def test_fast_mode_says_exact_where_there_is_nothing_to_skip(case: Callable[[str], Clip], name: str) -> None:
    clip = case(name)
    _, numbers, decoder = decoded(clip.path, "fast")
    assert decoder.mode == "exact"
    assert numbers == list(clip.numbers)


# Damage


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
def test_flipped_bytes_are_survived_and_counted(footage: Footage, tmp_path: Path, name: str) -> None:
    clip = footage(f"whole_{name}", lambda path: render(path, film(*SIZE, [150]), gop=25))
    assert clip.pts is not None
    hurt = damaged(clip.path, tmp_path / name, seed=3)
    pts, _, decoder = decoded(hurt, numbered=False)
    assert decoder.n_corrupt > 0
    assert len(pts) > 0.5 * clip.n_frames
    assert pts[-1] == clip.pts[-1], "what lies behind the damage is decoded too"
    assert pts == sorted(set(pts))


def test_a_corrupt_frame_is_never_sampled(footage: Footage, tmp_path: Path) -> None:
    """Pictures that libav marks as corrupt, by an independent reading of the same file, must not be stored."""
    clip = footage("whole_film.ts", lambda path: render(path, film(*SIZE, [150]), gop=25))
    hurt = damaged(clip.path, tmp_path / "hurt.ts", seed=4, spots=12)
    marked: Counter[bool] = Counter()
    corrupt_pts = set()
    with av.open(str(hurt)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            marked.update(f.is_corrupt for f in frames)
            corrupt_pts |= {f.pts for f in frames if f.is_corrupt}
    assert marked[True] > 0, "the damage is to mark some frames"
    _, sampled = swept(hurt, "frames.per_s=30")
    assert sampled
    assert not {f.pts for f in sampled} & corrupt_pts


def test_a_truncated_file_gives_what_is_there(footage: Footage, tmp_path: Path) -> None:
    clip = footage("whole_film.mkv", lambda path: render(path, film(*SIZE, [150]), gop=25))
    pts, numbers, _ = decoded(truncated(clip.path, tmp_path / "half.mkv", 0.5))
    assert 40 < len(pts) < 110
    assert numbers[:-4] == list(range(len(numbers) - 4)), "only the last pictures may lack those they were predicted from"
    assert clip.pts is not None
    assert pts == [clip.pts[n] for n in numbers]


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(50_000))
    for path in (empty, noise):
        with pytest.raises(ProbeError, match="not a readable video"):
            decoded(path)
    song = tmp_path / "song.mp4"
    with av.open(str(song), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        for k in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, k * 1024
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with pytest.raises(ProbeError, match=r"no video stream .*audio"):
        decoded(song)


def test_a_stream_without_one_picture_says_so(footage: Footage, tmp_path: Path) -> None:
    clip = footage("whole_film.mp4", lambda path: render(path, film(*SIZE, [150]), gop=25))
    data = bytearray(clip.path.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4 if data.index(b"moov") > start else len(data)
    data[start:end] = bytes(end - start)
    blank = tmp_path / "blank.mp4"
    blank.write_bytes(data)
    with pytest.raises(DecodeError, match=r"no frame could be decoded from \d+ packets of h264"):
        decoded(blank)


# The one pass


def test_signals_are_of_one_length_and_the_grid_is_anchored_at_the_first_pts(case: Callable[[str], Clip]) -> None:
    clip = case("late.mp4")
    found, frames = swept(clip.path, "scan.grid_per_s=2", "frames.per_s=5")
    assert {len(s) for s in found.signals.values()} == {clip.n_frames}
    assert {s.dtype for s in found.signals.values()} == {np.dtype(np.float32)}
    assert [f.pts for f in frames] == [clip.pts[0] + 512 * k for k in range(0, 40, 5)]  # type: ignore[index]
    on = np.flatnonzero(~np.isnan(found.signals["sharpness"]))
    assert on.tolist() == [0, 13, 25, 38]  # the first frames at or after 0, 0.5, 1.0 and 1.5 s of 25 a second


RSS = """
import sys
from rushes.recipe import Recipe
from rushes.scan.one_pass import scan
found = scan(sys.argv[1], Recipe(), on_frame=lambda f: None)
print(len(found.pts), next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_length(footage: Footage) -> None:
    """Beyond the signals themselves: 120 s against 20 s of 360p, 2,500 frames more of at most 200 bytes of numbers each."""
    picture = still(640, 360, 2)
    peak = {}
    for seconds in (20, 120):
        clip = footage(
            f"rss_{seconds}.mp4",
            lambda path, n=seconds: render(path, (picture, n * 15), fps=15, bframes=0, numbered=False, options={"preset": "ultrafast"}),
        )
        done = subprocess.run([sys.executable, "-c", RSS, str(clip.path)], capture_output=True, text=True, check=True)
        frames, kib = map(int, done.stdout.split())
        assert frames == seconds * 15
        peak[seconds] = kib / 1024
    assert peak[120] - peak[20] < 12, f"peak memory in MiB by seconds of footage: {peak}"
    assert peak[120] < 1024
