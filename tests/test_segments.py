"""Scans in segments equal the scan of the whole video to the last bit; what cannot be cut safely is left whole, and says why."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from footage import Clip, jittered, render, ticks_of
from pictures import Edit, Gradual, edit, moving, still
from rushes.engine.fingerprints import fingerprints
from rushes.errors import DecodeError
from rushes.media.segments import Cuts, Segment, Uncut, where_to_cut
from rushes.recipe import Recipe
from rushes.rows.scanned import Stamp, clip_rows
from rushes.rows.signals import Series
from rushes.scan.one_pass import SampledFrame, Scan, scan
from rushes.scan.segment import SegmentScan, scan_segment
from rushes.scan.stitch import Refusal, Stitched, stitch
from rushes.store.store import now
from variants import variants

Footage = Callable[[str, Callable[[Path], Clip]], Clip]
SIZE = (192, 108)
GOP = 30
"""Cuts lie at multiples of 30 frames, 1.2 s."""
LENGTHS = [60, 48, 67, 90, 23, 80]
JOINTS = [Gradual("cut", 0), Gradual("dissolve", 24), Gradual("fadeblack", 20), Gradual("cut", 0), Gradual("dissolve", 40)]
"""Shots that begin at 60 (a cut on a seam), dissolve from 108 to 132 and fade from 199 to 219 (both over a seam), stand still from 219
(over three seams), cut at 309, and dissolve for 40 frames from 332 on."""
TICK = ticks_of(Fraction(25))
CASES: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "hevc.mp4": {"codec": "hevc", "options": {"x265-params": "log-level=none:pools=none:frame-threads=1:scenecut=0:open-gop=0"}},
    "vp9.webm": {"codec": "vp9"},
    "uneven.mkv": {"pts": "jittered"},
    "pauses.mkv": {"pts": "paused"},
    "late.mp4": {"start": 12_800 * 3},
    "edit_list.mp4": {"start": -512 * 7},
    "slow.mp4": {"fps": 4},
    "quick.mp4": {"fps": 60},
    "sound.mp4": {"audio": True, "bframes": 3},
}
RECIPE = Recipe().with_overrides(["frames.per_s=3", "scan.grid_per_s=2", "frames.short_side_px=64"])


def footage_film() -> Edit:
    shots = [moving(*SIZE, k, dx=1.5 - k, dy=0.5 * k) for k in range(len(LENGTHS))]
    shots[3] = still(*SIZE, 9)
    return edit(shots, LENGTHS, JOINTS)


@pytest.fixture
def case(footage: Footage) -> Callable[[str], Clip]:
    def make(name: str) -> Clip:
        how = dict(CASES[name])
        n, second = footage_film().n_frames, int(1 / TICK)
        if how.get("pts") == "jittered":
            steps = jittered(n, Fraction(25), TICK)
            how["pts"] = tuple(p + (4 * second if i > 70 else 0) for i, p in enumerate(steps))  # and a pause of 4 s
        elif (
            how.get("pts") == "paused"
        ):  # for 2.5 s after the first frame of each group of pictures, so that almost nothing lies beside a seam
            how["pts"] = tuple(i * second // 25 + (i + GOP - 1) // GOP * 5 * second // 2 for i in range(n))
        return footage(f"segments_{name}", lambda path: render(path, footage_film(), gop=GOP, **how))

    return make


def cut(path: Path, segment_s: float, mode: Any = "exact") -> Cuts:
    found = where_to_cut(str(path), uri=str(path), size_bytes=0, segment_s=segment_s, mode=mode)
    assert isinstance(found, Cuts), found
    return found


def in_segments(path: Path, cuts: Cuts, recipe: Recipe = RECIPE) -> tuple[Stitched | Refusal, list[SampledFrame], list[SegmentScan]]:
    """What the segments give when joined, and the frames in order of pts."""
    frames: list[SampledFrame] = []
    parts = [scan_segment(str(path), recipe, s, cuts.mode, uri=str(path), on_frame=frames.append) for s in cuts.segments]
    found = stitch(parts, recipe)
    held = found.frames if isinstance(found, Stitched) else ()
    return found, sorted([*frames, *held], key=lambda f: f.pts), parts


def rows(found: Scan, recipe: Recipe) -> Any:
    """Shots and measures of a scan."""
    made = clip_rows(Series.of("v" * 64, found), recipe, fingerprints(recipe), Stamp("run", now()))
    return [[{k: v for k, v in row.items() if k != "written_at"} for row in made[name]] for name in ("clips", "measures")]


def assert_same(path: Path, found: Stitched | Refusal, frames: list[SampledFrame], whole: Scan, all_frames: list[SampledFrame]) -> None:
    assert isinstance(found, Stitched), found
    assert np.array_equal(found.scan.pts, whole.pts)
    assert found.scan.signals.keys() == whole.signals.keys()
    unlike = {name for name, row in whole.signals.items() if not np.array_equal(found.scan.signals[name], row, equal_nan=True)}
    assert unlike == set()
    assert frames == all_frames and found.n_frames == len(all_frames)
    for name in ("facts", "mode", "end_pts", "n_packets", "n_corrupt", "n_repaired_pts", "n_new_clocks", "pieces", "holes", "footage_s"):
        assert getattr(found.scan, name) == getattr(whole, name), name
    assert repr(rows(found.scan, RECIPE)) == repr(rows(whole, RECIPE))


def check(path: Path, lengths: tuple[float, ...], mode: Any = "exact", recipe: Recipe = RECIPE) -> list[int]:
    """Compares segments of several lengths with the whole; gives how many segments there were."""
    recipe = recipe.with_overrides([f"scan.mode={mode}"])
    frames: list[SampledFrame] = []
    whole = scan(str(path), recipe, on_frame=frames.append)
    counts = []
    for length in lengths:
        cuts = cut(path, length, mode)
        found, own, parts = in_segments(path, cuts, recipe)
        assert_same(path, found, own, whole, frames)
        assert sum(p.n_packets for p in parts) == whole.n_packets
        counts.append(len(parts))
    return counts


@pytest.mark.parametrize("name", variants(CASES, quick=["plain.mp4", "edit_list.mp4"]))
def test_segments_equal_the_whole_to_the_last_bit(name: str, case: Callable[[str], Clip]) -> None:
    clip = case(name)
    long = float(clip.times[-1]) * 1.02
    counts = check(clip.path, (long / 14, long / 3))
    assert counts[0] >= 10 and counts[1] == 3, counts


@pytest.mark.parametrize("name", variants(["plain.mp4", "uneven.mkv", "vp9.webm"], quick=["uneven.mkv"]))
def test_fast_mode_too(name: str, case: Callable[[str], Clip]) -> None:
    clip = case(name)
    check(clip.path, (float(clip.times[-1]) / 6,), "fast")


def test_steps_that_are_just_long_are_judged_as_in_the_whole(tmp_path: Path) -> None:
    """Steps of 0.16 and of 0.3 s, above which a picture is shown for long; each key frame comes after a long one."""
    pts = [i // 2 * 5888 + i % 2 * 2048 for i in range(60)]
    film = (moving(*SIZE, 3, dx=1.0), len(pts))
    clip = render(tmp_path / "steps.mp4", film, gop=2, bframes=0, pts=pts, time_base=Fraction(1, 12_800))
    assert check(clip.path, (0.5,))[0] > 20


@pytest.mark.parametrize("alone", [0, 59], ids=["first", "last"])
def test_a_frame_that_is_alone_in_its_segment_is_left_to_the_whole(alone: int, tmp_path: Path) -> None:
    """A minute lies between it and the others: in the whole its stamp is an outlier, and a segment of one frame cannot tell."""
    pts = [i * 512 + (60 * 12_800 if i > alone or i == 59 == alone else 0) for i in range(60)]
    clip = render(tmp_path / "alone.mp4", (moving(*SIZE, 3), 60), gop=1, bframes=0, pts=pts, time_base=TICK)
    assert scan(str(clip.path), RECIPE).n_repaired_pts == 1
    found, _, parts = in_segments(clip.path, cut(clip.path, 20.0))
    assert 1 in [len(part.pts) for part in parts] and isinstance(found, Refusal) and "alone" in found.reason


def test_frames_at_key_frames_too(case: Callable[[str], Clip]) -> None:
    check(case("plain.mp4").path, (2.0,), recipe=RECIPE.with_overrides(["frames.at=key", "frames.per_s=0.3"]))


@pytest.mark.parametrize(
    "name, lengths",
    [
        pytest.param("cuts/hard_vfr_360p.mp4", (7.0,), marks=pytest.mark.slow),
        pytest.param("footage/moviepy__big_buck_bunny_0_30.webm", (3.0,), marks=pytest.mark.slow),
        ("footage/datajuicer__video4.mp4", (2.0,)),
    ],
)
def test_real_footage(name: str, lengths: tuple[float, ...], data_dir: Path) -> None:
    assert min(check(data_dir / name, lengths)) >= 4


def test_no_packet_is_decoded_twice_and_none_is_left_out(case: Callable[[str], Clip]) -> None:
    clip = case("plain.mp4")
    assert clip.pts is not None
    parts = in_segments(clip.path, cut(clip.path, 2.0))[2]
    shown = [set(p.pts.tolist()) for p in parts]
    assert set().union(*shown) == set(clip.pts) and sum(map(len, shown)) == len(clip.pts)
    with av.open(str(clip.path)) as container:
        assert sum(p.n_packets for p in parts) == sum(packet.size > 0 for packet in container.demux(video=0))
    assert all((int(p.pts[0]) - clip.pts[0]) % (GOP * 512) == 0 for p in parts)


def test_what_is_handed_over_is_seconds_not_the_video(case: Callable[[str], Clip]) -> None:
    clip = case("quick.mp4")
    parts = in_segments(clip.path, cut(clip.path, float(clip.times[-1]) / 2.05))[2]
    assert [p.head is not None for p in parts] == [False, True] and [p.tail is not None for p in parts] == [True, False]
    for strip in (parts[0].tail, parts[1].head):
        assert strip is not None and 1.7 < strip.t[-1] - strip.t[0] < 4.2


def uncut(path: Path, segment_s: float = 2.0) -> str | None:
    found = where_to_cut(str(path), uri=str(path), size_bytes=0, segment_s=segment_s, mode="exact")
    assert isinstance(found, Uncut), found
    return found.note


def test_what_cannot_be_cut_is_left_whole_and_says_why(footage: Footage, case: Callable[[str], Clip]) -> None:
    def made(name: str, **how: Any) -> Path:
        return footage(f"segments_{name}", lambda path: render(path, footage_film(), gop=GOP, **how)).path

    quiet = "log-level=none:pools=none:frame-threads=1:scenecut=0:open-gop=1"
    for path, word in (
        (made("plain.ts"), "mpegts has no index"),
        (made("open.mp4", options={"x264-params": "open-gop=1:scenecut=0"}), "open groups of pictures"),
        (made("open_hevc.mp4", codec="hevc", options={"x265-params": quiet}), "open groups of pictures"),
        (made("old.mp4", codec="mpeg4"), "where mpeg4 may be cut"),
    ):
        assert word in str(uncut(path))
    one_group = footage("segments_one.mp4", lambda path: render(path, footage_film(), gop=1000)).path
    assert "no key frame" in str(uncut(one_group))
    assert uncut(case("plain.mp4").path, 60.0) is None and uncut(case("plain.mp4").path, 0.0) is None


def test_looking_for_cuts_reads_little(case: Callable[[str], Clip], tmp_path: Path) -> None:
    class Counting:
        def __init__(self, path: Path) -> None:
            self.file, self.bytes = open(path, "rb"), 0  # noqa: SIM115 - closed by the test
            self.seek, self.tell = self.file.seek, self.file.tell

        def read(self, n: int = -1) -> bytes:
            data = self.file.read(n)
            self.bytes += len(data)
            return data

    path = tmp_path / "big.mp4"
    render(path, Edit(moving(*SIZE, 3, dx=5), 300), gop=25, options={"crf": "1", "preset": "ultrafast", "sc_threshold": "0"}, bframes=0)
    source = Counting(path)
    found = where_to_cut(source, uri="big", size_bytes=0, segment_s=3.0, mode="exact")
    source.file.close()
    assert isinstance(found, Cuts) and len(found.segments) == 4
    assert found == cut(path, 3.0)
    assert source.bytes < path.stat().st_size / 2


def damaged_at(clip: Clip, number: int, path: Path) -> Path:
    """The file with noise in the packet of that number, in decode order."""
    with av.open(str(clip.path)) as container:
        packet = next(itertools.islice(container.demux(video=0), number, None))
        at, size = packet.pos, packet.size
    assert at is not None
    data = bytearray(clip.path.read_bytes())
    data[at + 8 : at + size] = np.random.default_rng(1).bytes(size - 8)
    path.write_bytes(data)
    return path


def test_damage_in_the_first_segment_is_as_in_the_whole(case: Callable[[str], Clip], tmp_path: Path) -> None:
    path = damaged_at(case("plain.mp4"), 2 * GOP + 5, tmp_path / "damaged.mp4")
    frames: list[SampledFrame] = []
    whole = scan(str(path), RECIPE, on_frame=frames.append)
    assert whole.n_corrupt
    found, own, _ = in_segments(path, cut(path, 4.0))
    assert_same(path, found, own, whole, frames)


def test_damage_beside_a_seam_and_in_later_segments_is_refused(case: Callable[[str], Clip], tmp_path: Path) -> None:
    clip = case("plain.mp4")
    cuts = cut(clip.path, 4.0)
    assert clip.pts is not None
    assert [s.start_pts for s in cuts.segments[1:3]] == [clip.pts[4 * GOP], clip.pts[7 * GOP]]
    beside = in_segments(damaged_at(clip, 4 * GOP - 3, tmp_path / "beside.mp4"), cuts)[0]
    assert isinstance(beside, Refusal) and "damaged next to a seam" in beside.reason
    for number in (4 * GOP, 5 * GOP + 3, 7 * GOP - 1):
        with pytest.raises(DecodeError, match="damaged"):
            in_segments(damaged_at(clip, number, tmp_path / f"{number}.mp4"), cuts)


def test_segments_that_do_not_fit_are_refused(case: Callable[[str], Clip]) -> None:
    clip = case("plain.mp4")
    cuts = cut(clip.path, 4.0)
    parts = in_segments(clip.path, cuts)[2]
    change = dataclasses.replace
    one, two, last = parts[0], parts[1], parts[-1]

    def refused(*wrong: SegmentScan) -> str:
        found = stitch(wrong, RECIPE)
        assert isinstance(found, Refusal), found
        return found.reason

    assert isinstance(stitch(parts, RECIPE), Stitched)
    assert "segment 1 is missing" in refused(one) and "segment 0 is missing" in refused()
    assert "first frame has pts" in refused(change(one, segment=change(one.segment, first_pts=1)))
    assert "new clock" in refused(one, change(two, n_new_clocks=1))
    assert "had to be mended" in refused(one, change(two, mended=(0, 0)))
    assert "begins with pts" in refused(one, two, change(last, pts=last.pts - 20 * 512 * GOP))
    assert "size, format or orientation" in refused(one, change(two, facts=change(two.facts, width=2)))
    assert "held back" in refused(one, change(two, reordering=7))
    assert "interlaced" in refused(one, change(two, n_interlaced=1))


def test_a_segment_that_is_not_there_is_refused(case: Callable[[str], Clip]) -> None:
    clip = case("plain.mp4")
    first, second = cut(clip.path, float(clip.times[-1]) / 2.05).segments
    astray = Segment(0, first.first_pts, None, (first.end_pts or 0) + 1, None)
    found = stitch([scan_segment(str(clip.path), RECIPE, s, "exact", uri="x") for s in (astray, second)], RECIPE)
    assert isinstance(found, Refusal) and "not found between its key frames" in found.reason


def test_a_picture_that_changes_size_between_segments_is_refused(tmp_path: Path) -> None:
    parts = [tmp_path / "a.webm", tmp_path / "b.webm"]
    for path, size in zip(parts, (SIZE, (160, 90)), strict=True):
        render(path, Edit(moving(*size, 1), 75), codec="vp9", gop=25)
    path = tmp_path / "both.webm"
    with av.open(str(path), "w") as out:
        opened = [av.open(str(p)) for p in parts]
        stream = out.add_stream_from_template(opened[0].streams.video[0])
        for k, source in enumerate(opened):
            for packet in itertools.takewhile(lambda p: p.size, source.demux(video=0)):
                packet.pts, packet.dts = (packet.pts or 0) + 3000 * k, (packet.dts or 0) + 3000 * k
                packet.stream = stream
                out.mux(packet)
            source.close()
    found = in_segments(path, cut(path, 2.9))[0]
    assert isinstance(found, Refusal) and "size, format or orientation" in found.reason
