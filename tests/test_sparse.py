"""Sparse mode: bursts of pictures at key frames, what is measured on them, cuts by content, and the videos that do not allow it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from footage import Clip, render
from pictures import edit, moving, still, texture
from rushes.engine.fingerprints import fingerprints
from rushes.errors import RecipeError
from rushes.measures import motion
from rushes.measures.clip import measure_clip
from rushes.measures.clip_time import ClipTime
from rushes.measures.mean import over_samples, over_time
from rushes.media.bursts import Bursts
from rushes.media.decode import Decoder
from rushes.media.frame_index import FrameIndex, frame_index
from rushes.media.random_access import burst_begins, entry_of, shown, stands_alone
from rushes.recipe import Recipe
from rushes.records import Orientation
from rushes.rows.scanned import Stamp, clip_rows
from rushes.rows.signals import Series
from rushes.scan import sparse
from rushes.scan.one_pass import SampledFrame, Scan, scan
from rushes.scan.sparse import Dense, scan_sparse
from rushes.shots import find_shots
from rushes.shots.content import THRESHOLD
from rushes.store.store import now
from stamps import stamped
from variants import variants

SIZE = (192, 108)
DIAGONAL = float(np.hypot(*SIZE))
RECIPE = Recipe.parse({"scan": {"mode": "sparse"}, "shots": {"detector": "stride"}})
TS_PACKET = 188
FRAGMENTS = "empty_moov+default_base_moof+frag_keyframe"
OPEN = "log-level=none:pools=none:scenecut=0:open-gop=1:bframes=3"
X264_OPEN = {"x264-params": "open-gop=1:scenecut=0:b-adapt=0:b-pyramid=normal:ref=4"}
SINGLE = {"x264-params": "open-gop=1:scenecut=0:b-adapt=0:b-pyramid=none"}
HIDDEN = {"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16"}
CASES: dict[str, dict[str, Any]] = {
    "plain.mp4": {"gop": 25, "bframes": 2},
    "deep.mkv": {"gop": 30, "bframes": 4},
    "quick.mp4": {"gop": 60, "bframes": 0, "fps": 60},
    "intra.mp4": {"gop": 1, "bframes": 0},
    "hevc.mp4": {"codec": "hevc", "gop": 24, "options": {"x265-params": "log-level=none:pools=none:scenecut=0:open-gop=0"}},
    "open.mp4": {"codec": "hevc", "gop": 24, "options": {"x265-params": OPEN}},
    "vp9.webm": {"codec": "vp9", "gop": 21},
    "hidden.webm": {"codec": "vp9", "gop": 30, "options": HIDDEN},
    "vp8.webm": {"codec": "libvpx", "gop": 30, "options": HIDDEN},
    "av1.mp4": {"codec": "av1", "gop": 25},
    "av1.webm": {"codec": "av1", "gop": 30},
    "plain.ts": {"gop": 25, "bframes": 2},
    "open.ts": {"codec": "hevc", "gop": 24, "options": {"x265-params": OPEN}},
    "begun.mp4": {"gop": 24, "bframes": 7, "options": X264_OPEN | {"preset": "medium"}},
    "begun.ts": {"gop": 24, "bframes": 3, "options": X264_OPEN},
    "single.mkv": {"gop": 24, "bframes": 3, "options": SINGLE},
    "wrap.ts": {"gop": 25, "start": int((2**33 / 90_000 - 2) * 12_800)},
    "mpeg2.ts": {"codec": "mpeg2video", "gop": 25},
    "mpeg2.mpg": {"codec": "mpeg2video", "gop": 25},
    "mpeg1.mpg": {"codec": "mpeg1video", "gop": 25},
    "parts.mp4": {"gop": 25, "container": {"movflags": FRAGMENTS}},
    "frames.mp4": {"codec": "hevc", "gop": 24, "options": {"x265-params": OPEN}, "container": {"movflags": "empty_moov+frag_every_frame"}},
}
"""wrap.ts: the 33 bits of MPEG's clock begin anew after 2 s. MPEG-1 and MPEG-2 have open groups of pictures after the first
one. parts.mp4 has a fragment for each key frame, frames.mp4 one for each frame, and neither has a table of all frames."""
PYRAMID = ("begun.mp4", "begun.ts")
"""Of the frames that are shown before each key frame but the first, and come after it, one is a reference."""


def sparse_scan(path: Path, recipe: Recipe = RECIPE, **how: Any) -> Scan:
    found = scan_sparse(str(path), recipe, uri=path.name, **how)
    assert isinstance(found, Scan), found
    return found


def reason(path: Path, recipe: Recipe = RECIPE) -> str:
    found = scan_sparse(str(path), recipe, uri=path.name)
    assert isinstance(found, Dense), "it was scanned in sparse mode"
    return found.why


def index_of(path: Path) -> FrameIndex:
    found = frame_index(str(path), uri=str(path), size_bytes=0, mode="exact")
    assert isinstance(found, FrameIndex), found
    return found


def truth_of_bursts(path: Path, n: int = 3) -> list[list[int]]:
    """The pts of each burst, from the packets alone: of a key packet and those that follow it, but for pictures shown before it. Key frames
    in the same half second as one before begin none; in these films every packet without a picture is small.
    """
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        base = packets[0].time_base
        cells, found = set[int](), list[list[int]]()
        for at, key in enumerate(packets):
            cell = int((key.pts - packets[0].pts) * base * 2 + Fraction(1, 10**6))
            if not key.is_keyframe or cell in cells:
                continue
            cells.add(cell)
            burst: list[int] = []
            for packet in packets[at:]:
                if packet.pts < key.pts or not shown(container.streams.video[0].codec_context.name, bytes(packet)):
                    continue
                if len(burst) >= n and (max(burst) - key.pts) * base >= 0.061:
                    break
                burst.append(packet.pts)
            found.append(sorted(burst))
    return found


QUICK = ["plain.mp4", "open.mp4", "begun.mp4", "parts.mp4", "vp9.webm", "quick.mp4", "av1.mp4", "plain.ts", "mpeg2.ts", "mpeg1.mpg"]


@pytest.mark.parametrize("name", variants(CASES, quick=QUICK))
def test_bursts_are_what_the_packets_promise_and_equal_the_exact_decode(name: str, tmp_path: Path) -> None:
    clip = render(tmp_path / name, (moving(*SIZE, 3, dx=1.5), 96), **{"bframes": 2, **CASES[name]})
    truth = truth_of_bursts(clip.path)
    with Decoder(str(clip.path), uri=name, size_bytes=0, mode="exact") as decoder:
        exact = {pts: frame.to_ndarray().tobytes() for frame, pts in decoder}
    with Bursts(str(clip.path), uri=name, size_bytes=0, stream=None, n=3, longest_s=4.0, keep=True, progress=None) as bursts:
        groups = list(bursts.groups())
        found = [bursts.decode_burst(group) for group in groups]
        assert [[pts for _, pts in burst] for burst in found] == truth
        assert all(frame.to_ndarray().tobytes() == exact[pts] for burst in found for frame, pts in burst)
        all_of_it = [
            (pts, frame.to_ndarray().tobytes() == exact[pts])
            for group, following in zip(groups, [*groups[1:], None], strict=True)
            for frame, pts in bursts.decode_group(group, following)
        ]
        assert all_of_it == [(pts, True) for pts in sorted(exact)]
        assert bursts.index().pts.tolist() == sorted(exact)
    whole, found_scan = scan(str(clip.path), Recipe()), sparse_scan(clip.path)
    at = [pts in {p for burst in truth for p in burst} for pts in sorted(exact)]
    assert np.array_equal(~np.isnan(found_scan.signals["luma_mean"]), at)
    for signal in ("luma_mean", "luma_std", "luma_dark", "luma_clipped"):
        assert np.array_equal(found_scan.signals[signal][at], whole.signals[signal][at])
    assert (found_scan.end_pts, len(found_scan.pts)) == (whole.end_pts, len(whole.pts)) and found_scan.mode == "sparse"
    step, n_open = found_scan.footage_s / len(at), len(truth) - 1
    n_decoded = sum(at) + (n_open if name in PYRAMID else 0)
    assert found_scan.decoded_s == pytest.approx(n_decoded * step, rel=0.05) and found_scan.footage_s == whole.footage_s


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_transport_stream_ends_where_the_exact_mode_says(codec: str, tmp_path: Path) -> None:
    """It stores no durations. Frames come each 40 ms, and from the second second on each 80 ms."""
    pts = [3600 * (i + max(0, i - 50)) for i in range(100)]
    film = (moving(*SIZE, 3), 100)
    clip = render(tmp_path / "uneven.ts", film, codec=codec, gop=25, pts=pts, time_base=Fraction(1, 90_000))
    found = sparse_scan(clip.path)
    assert clip.pts is not None and found.pts.tolist() == list(clip.pts)
    assert found.end_pts == clip.pts[-1] + 7200 == scan(str(clip.path), Recipe()).end_pts


def test_no_number_is_computed_across_the_gap(tmp_path: Path) -> None:
    """The content moves 1.5 pixels a frame: each pair within a burst moves by so much for each frame between its pictures, and the first
    picture of a burst has no pair.
    """
    clip = render(tmp_path / "pan.mp4", (moving(*SIZE, 3, dx=1.5), 100), gop=25, bframes=2)
    found, truth = sparse_scan(clip.path), truth_of_bursts(clip.path)
    rows = [[int(np.searchsorted(found.pts, pts)) for pts in burst] for burst in truth]
    for burst in rows:
        for name in ("dx", "dy", "zoom", "motion_fit", "frame_diff", "block_diff", "content", "flow_mean", "flow_dt"):
            assert np.isnan(found.signals[name][burst[0]]), name
        for before, after in itertools.pairwise(burst):
            assert found.signals["dx"][after] * DIAGONAL == pytest.approx(-1.5 * (after - before), rel=0.03)
        flow = [k for k in burst if not np.isnan(found.signals["flow_dt"][k])]
        assert len(flow) == 1
        frames = float(found.signals["flow_dt"][flow[0]]) * 25
        assert frames == pytest.approx(round(frames), abs=1e-4) and burst[0] <= flow[0] - round(frames) in burst
        assert found.signals["flow_mean"][flow[0]] == pytest.approx(1.5 * 25 / DIAGONAL, rel=0.1)
    measures = measured(found)
    assert measures["motion_mean"] == pytest.approx(1.5 * 25 / DIAGONAL, rel=0.1)
    assert measures["camera_motion"] == "pan_right" and measures["cuts"] is None


def test_what_is_compared_with_a_picture_before_the_clip_is_not_of_the_clip(tmp_path: Path) -> None:
    """Two pictures that stand still, and a cut in the burst that begins at frame 100: its flow compares frame 102 with 100."""
    film = edit([still(*SIZE, 1), still(*SIZE, 2)], [101, 99])
    found = sparse_scan(render(tmp_path / "cut.mp4", film, gop=25, bframes=0, numbered=False).path)
    assert found.signals["flow_mean"][102] > 0.1
    second = measured(found, 101)
    assert second["motion_mean"] < 0.001 and second["static_share"] == 1.0
    assert measured(found, 100)["static_share"] < 1.0, "the whole burst is in it"


def test_a_clip_of_which_all_is_decoded_has_its_motion_and_one_of_which_nothing_is_has_nulls(tmp_path: Path) -> None:
    """Key frames each second, a cut at one, and then a picture that moves so much that all is decoded."""
    film = edit([still(*SIZE, 1), moving(*SIZE, 2, dx=2.0)], [100, 50])
    recipe = Recipe.parse({"scan": {"mode": "sparse"}, "shots": {"detector": "content", "guard_s": 0, "max_s": 0}})
    found = sparse_scan(render(tmp_path / "last.mp4", film, gop=25, numbered=False).path, recipe, threshold=THRESHOLD)
    made = clip_rows(Series.of("v" * 64, found), recipe, fingerprints(recipe), Stamp("run", now()))["measures"]
    assert not np.isnan(found.signals["luma_mean"][100:]).any() and len(made) == 2
    assert made[1]["motion_mean"] == pytest.approx(2.0 * 25 / DIAGONAL, rel=0.1) and made[1]["static_share"] == 0.0
    assert not np.isnan(found.signals["pan_rest"]).all() and made[1]["slideshow"] is None
    assert set(measured(found, 10, 20).values()) == {None}


def test_pictures_of_bursts_of_one_do_not_tell_of_freezes(tmp_path: Path) -> None:
    """A still picture, a key frame each second and nothing in between: no two pictures are compared."""
    found = sparse_scan(render(tmp_path / "slow.mp4", (still(*SIZE, 4), 10), gop=1, bframes=0, fps=1, numbered=False).path)
    assert measured(found)["freeze_share"] is None and measured(found)["luma_mean"] is not None


@pytest.mark.parametrize("gop", [1, 25])
def test_a_hole_is_not_decoded(gop: int, tmp_path: Path) -> None:
    """The camera was off for an hour before frame 50, at which a burst begins; 25 frames a second, or two, of which each is a burst."""
    fps = 25 if gop > 1 else 2
    pts = [i * (12_800 // fps) + (3600 * 12_800 if i >= 50 else 0) for i in range(100)]
    film = (moving(*SIZE, 3), 100)
    clip = render(tmp_path / "off.mp4", film, gop=gop, bframes=0, fps=fps, pts=pts, time_base=Fraction(1, 12_800))
    found = sparse_scan(clip.path)
    assert len(found.holes) == 1 and found.footage_s == pytest.approx(100 / fps)
    assert found.decoded_s == pytest.approx(found.footage_s if gop == 1 else 0.12 * 4)


def test_a_key_frame_stamped_hours_ahead_ends_the_mode_before_it_is_decoded(tmp_path: Path) -> None:
    times = [Fraction(i, 25) for i in range(100)]
    path = stamped(tmp_path / "ahead.mp4", edit([moving(*SIZE, 1)], [100]), times, {50: Fraction(3 * 3600)}, gop=25)
    found = scan_sparse(str(path), RECIPE, uri=path.name)
    assert isinstance(found, Dense) and "time stamps go back" in found.why and found.decoded_s == pytest.approx(0.12 * 2, abs=0.13)


def test_a_key_frame_soon_after_another_one_counts_for_how_far_they_are_apart(tmp_path: Path) -> None:
    """A cut 0.44 s after a key frame brings another one, and the next comes 4 s after that, 4.44 s after the burst."""
    film = edit([moving(*SIZE, 1, dx=1.0), moving(*SIZE, 2, dx=1.0)], [111, 149])
    clip = render(tmp_path / "cut.mp4", film, gop=100, options={"sc_threshold": "40"})
    index = index_of(clip.path)
    assert index.entries.tolist() == [0, 100, 111, 211] and index.bursts.tolist() == [0, 100, 211]
    for how in ({}, {"index": index.at_bursts(), "stretches": [(100, 260)]}):
        found = sparse_scan(clip.path, **how)
        assert [k for k in index.bursts.tolist() if not np.isnan(found.signals["luma_mean"][k])] == [0, 100, 211][len(how) // 2 :]


def measured(found: Scan, first: int = 0, stop: int | None = None) -> dict[str, Any]:
    t = (found.pts - found.pts[0]) * float(found.facts.time_base)
    stop = len(t) if stop is None else stop
    seen = ~np.isnan(found.signals["luma_mean"][first:stop])
    end_s = float(t[stop]) if stop < len(t) else (found.end_pts - int(found.pts[0])) * float(found.facts.time_base)
    return measure_clip(found.signals, ClipTime(slice(first, stop), t[first:stop], end_s, 1.0, seen), Orientation())


def test_measures_weigh_by_time_and_not_by_pictures() -> None:
    """Bursts at 0, 0.5 and 4 s of a clip of 8 s: the pictures of the last one stand for most of the time."""
    n = 80
    t, seen = np.arange(n) / 10, np.zeros(n, np.bool_)
    signals = {name: np.full(n, np.nan, np.float32) for name in ("luma_mean", "texture", "sharpness")}
    for first, value in ((0, 100.0), (5, 100.0), (40, 20.0)):
        seen[first : first + 2] = True
        signals["luma_mean"][first : first + 2] = value
        signals["texture"][first], signals["sharpness"][first] = 0.5, value / 200
    clip = ClipTime(slice(0, n), t, 8.0, 1.0, seen)
    border = (0.6 + 4.0) / 2
    assert over_time(signals, "luma_mean", clip) == pytest.approx((100 * border + 20 * (8 - border)) / 8)
    border = (0.5 + 4.0) / 2
    assert over_samples(signals, "sharpness", clip) == pytest.approx((0.5 * border + 0.1 * (8 - border)) / 8)


def test_brightness_that_changes_is_read_as_by_the_exact_mode(tmp_path: Path) -> None:
    picture = texture(*SIZE, 5)
    film = (lambda i: cv2.convertScaleAbs(picture, alpha=0.2 + 0.8 * i / 200), 200)
    clip = render(tmp_path / "brighter.mp4", film, gop=25)
    found, exact = measured(sparse_scan(clip.path)), measured(scan(str(clip.path), Recipe()))
    for name in ("luma_mean", "contrast", "dark_share"):
        assert found[name] == pytest.approx(exact[name], rel=0.03, abs=0.01), name


def test_shake_is_estimated_from_how_speed_changes(tmp_path: Path) -> None:
    """A camera that swings 3 times a second, 6 pixels to each side. What the exact mode reads is near; a slow pan reads no shake."""
    image = texture(SIZE[0] + 64, SIZE[1] + 64, 7)

    def swinging(i: int) -> Any:
        x, y = 32 + 6 * np.sin(2 * np.pi * 3 * i / 25 + 0.4), 32 + 6 * np.cos(2 * np.pi * 3 * i / 25)
        return cv2.warpAffine(image, np.array([[1, 0, -x], [0, 1, -y]], np.float32), SIZE)

    clip = render(tmp_path / "shaky.mp4", (swinging, 200), gop=20, bframes=0)
    found, exact = measured(sparse_scan(clip.path)), measured(scan(str(clip.path), Recipe()))
    assert exact["shake"] > 0.02 and found["shake"] == pytest.approx(exact["shake"], rel=0.3)
    assert found["camera_motion"] == exact["camera_motion"] == "shaky"
    calm = render(tmp_path / "calm.mp4", (moving(*SIZE, 3, dx=1.0), 150), gop=25)
    assert measured(sparse_scan(calm.path))["shake"] < 0.003


def test_a_freeze_is_seen_from_pictures_and_packets(tmp_path: Path) -> None:
    """Motion for 4 s, then one picture for 4 s, then motion for 2 s: to within a group of pictures."""
    film = edit([moving(*SIZE, 1, dx=2.0), still(*SIZE, 2), moving(*SIZE, 3, dx=-2.0)], [100, 100, 50])
    clip = render(tmp_path / "freeze.mp4", film, gop=25, numbered=False, options={"crf": "8"})
    found = sparse_scan(clip.path)
    assert measured(found)["freeze_share"] == pytest.approx(0.4, abs=0.03)
    assert measured(found, 100, 200)["freeze_share"] > 0.95 and measured(found, 0, 100)["freeze_share"] == 0
    assert sparse.REPEATED == motion.SAME


def test_a_frame_that_copies_one_that_was_not_shown_is_no_repeat(tmp_path: Path) -> None:
    """VP9 with alt-ref frames: the picture stands still around each key frame and changes in between, at times by tiny packets."""
    pictures = [texture(*SIZE, seed) for seed in (1, 2)]

    def film(i: int) -> Any:
        mixed = min(max((i % 30 - 8) / 8, 0.0), 1.0)
        return cv2.addWeighted(pictures[0], 1 - mixed, pictures[1], mixed, 0)

    clip = render(tmp_path / "fades.webm", (film, 120), codec="vp9", gop=30, numbered=False, options=HIDDEN)
    assert measured(sparse_scan(clip.path))["freeze_share"] <= measured(scan(str(clip.path), Recipe()))["freeze_share"] + 0.05


def shots_by_content(path: Path) -> tuple[list[int], Scan]:
    recipe = Recipe.parse({"scan": {"mode": "sparse"}, "shots": {"detector": "content", "guard_s": 0, "max_s": 0}})
    found = sparse_scan(path, recipe, threshold=THRESHOLD)
    shots = find_shots(found.signals, found.pts, found.facts.time_base, found.end_pts, recipe.shots)
    return [int(np.searchsorted(found.pts, shot.span.start_pts)) for shot in shots[1:]], found


@pytest.mark.parametrize("codec", variants(["h264", "hevc"], quick=["h264"]))
def test_cuts_by_content_are_exact_and_what_lies_in_one_group_is_missed(codec: str, tmp_path: Path) -> None:
    """Cuts at a key frame (100), in a group (163), in a burst (201) and in the last group (290). At 230 another scene comes for 10 frames,
    which begins and ends between two bursts.
    """
    shots = [moving(*SIZE, k, dx=0.5) for k in range(7)]
    shots[3] = still(*SIZE, 3)
    lengths = [100, 63, 38, 29, 10, 50, 30]
    pictures = [shots[0], shots[1], shots[2], shots[3], shots[4], shots[3], shots[5]]
    film = edit(pictures, lengths)
    assert film.cuts == (100, 163, 201, 230, 240, 290)
    how: dict[str, Any] = {"options": {"x265-params": OPEN}} if codec == "hevc" else {}
    clip = render(tmp_path / "cuts.mp4", film, gop=25, codec=codec, **how)
    cuts, found = shots_by_content(clip.path)
    assert cuts == [100, 163, 201, 290]
    assert 0.3 < found.decoded_s / found.footage_s < 1.0
    at = ~np.isnan(found.signals["content"])
    exact = scan(str(clip.path), Recipe())
    cut_rows = [163, 201, 290]
    assert at[cut_rows].all() and np.array_equal(found.signals["content"][cut_rows], exact.signals["content"][cut_rows])


def test_a_video_of_one_picture_that_nobody_says_is_shown_has_its_frame(tmp_path: Path) -> None:
    """A transport stream states no durations."""
    frames: list[SampledFrame] = []
    found = sparse_scan(render(tmp_path / "one.ts", (moving(*SIZE, 1), 1)).path, on_frame=frames.append)
    assert [frame.pts for frame in frames] == found.pts.tolist() and found.decoded_s == found.footage_s > 0
    assert measured(found)["sharpness"] == measured(scan(str(tmp_path / "one.ts"), Recipe()))["sharpness"]


@pytest.mark.parametrize("start_s", [0, 0.5, 2])
def test_frames_for_models_are_key_frames_nearest_the_grid(start_s: float, tmp_path: Path) -> None:
    """Key frames each 0.8 s, a grid of one second over 8 s: of 0, 0.8, 1.6 ... 7.2 those that are the nearest to 0, 1, 2 ... 7, by the time
    since the first frame, whatever its own is.
    """
    clip = render(tmp_path / "grid.mp4", (moving(*SIZE, 1), 200), gop=20, start=int(start_s * 12_800))
    frames: list[SampledFrame] = []
    found = sparse_scan(clip.path, on_frame=frames.append)
    base = float(found.facts.time_base)
    t = [round((f.pts - int(found.pts[0])) * base, 3) for f in frames]
    nearest = sorted({min((0.8 * k for k in range(10)), key=lambda at: (round(abs(at - point), 6), -at)) for point in range(8)})
    assert t == pytest.approx(nearest)
    assert np.flatnonzero(~np.isnan(found.signals["sharpness"])).tolist() == [round(at * 25) for at in nearest]


def intra_refresh(path: Path) -> Clip:
    options = {"x264-params": "keyint=25:intra-refresh=1:scenecut=0", "preset": "superfast"}
    return render(path, (moving(*SIZE, 1), 150), gop=25, bframes=0, options=options)


def odd(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that do not allow sparse mode, and a word of why."""
    film: tuple[Any, int] = (moving(*SIZE, 1), 150)
    plain = render(folder / "plain.mp4", film, gop=25).path
    edited = render(folder / "edits.mp4", film, gop=25, start=-19_200)
    single = render(folder / "single.mp4", film, gop=24, bframes=3, options=SINGLE).path
    sent = render(folder / "sent.ts", film, gop=25).path.read_bytes()
    return {
        "begun late": (part_of(sent, folder / "late.ts", 20 * TS_PACKET, len(sent)), "does not begin with a key frame"),
        "lost": (part_of(sent, folder / "lost.ts", 0, len(sent), without=len(sent) // 2), "corrupt"),
        "about": (inexact(render(folder / "open.mp4", film, gop=25, options=X264_OPEN).path), "more than 4 s"),
        "late": (delayed(single, folder / "delayed.mp4"), "come after some"),
        "far": (render(folder / "far.mp4", film, gop=125).path, "more than 4 s apart"),
        "refresh": (intra_refresh(folder / "refresh.mp4").path, "more than 4 s apart"),
        "avi": (render(folder / "old.avi", film, gop=25).path, "do not have the time of each frame"),
        "mpeg4": (render(folder / "mpeg4.mp4", film, codec="mpeg4", gop=25).path, "not known"),
        "interlaced": (render(folder / "fields.mp4", film, gop=25, interlaced=True).path, "interlaced"),
        "edits": (edited.path, "edit list"),
        "damaged": (noisy_key(plain, folder / "damaged.mp4"), "damaged"),
    }


def part_of(sent: bytes, path: Path, first: int, stop: int, *, without: int | None = None) -> Path:
    """Bytes of a transport stream, less the packet in which the byte `without` lies."""
    at = stop if without is None else without // TS_PACKET * TS_PACKET
    path.write_bytes(sent[first:at] + sent[at + TS_PACKET : stop])
    return path


def inexact(path: Path) -> Path:
    """The file, in whose recovery points exact_match_flag is 0."""
    data = path.read_bytes()
    assert data.count(bytes.fromhex("060601c480")) == 5
    path.write_bytes(data.replace(bytes.fromhex("060601c480"), bytes.fromhex("0606018480")))
    return path


def delayed(source: Path, path: Path) -> Path:
    """The packets of a film, of which the last that is shown before the third key frame comes one packet later."""
    with av.open(str(source)) as film, av.open(str(path), "w") as out:
        packets = [p for p in film.demux(video=0) if p.size]
        stream = out.add_stream_from_template(film.streams.video[0])
        key = [i for i, p in enumerate(packets) if p.is_keyframe][2]
        last = max(i for i, p in enumerate(packets[: key + 8]) if p.pts < packets[key].pts)
        assert last > key
        packets[last], packets[last + 1] = packets[last + 1], packets[last]
        for i, packet in enumerate(packets):
            packet.stream, packet.dts = stream, 512 * (i - 8)  # so early that none is after its pts
            out.mux(packet)
    return path


def noisy_key(source: Path, path: Path) -> Path:
    """The file with noise over most of one key frame's packet."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        key = [p for p in container.demux(video=0) if p.is_keyframe][3]
        assert key.pos is not None
        data[key.pos + 40 : key.pos + key.size] = np.random.default_rng(1).bytes(key.size - 40)
    path.write_bytes(data)
    return path


def test_videos_that_do_not_allow_it_are_told(tmp_path: Path) -> None:
    for name, (path, why) in odd(tmp_path).items():
        assert why in reason(path), name
    far = tmp_path / "far.mp4"
    assert sparse_scan(far, RECIPE.with_overrides(["scan.sparse_s=5"])).mode == "sparse"


def test_pictures_without_packets_of_their_own_are_counted_by_what_is_shown() -> None:
    """VP9 (bitstream specification, 6.2): profile 0, an inter frame; show_existing_frame is bit 3 of the first byte, show_frame bit 1."""
    assert shown("vp9", bytes([0b10000110, 0])) and not shown("vp9", bytes([0b10000100, 0]))
    assert shown("vp9", bytes([0b10001000])) and shown("vp9", bytes([0b10000100, 0xC1]))
    assert shown("vp9", bytes([0b10110001, 0])) and not shown("vp9", bytes([0b10110010, 0]))


def test_key_frames_that_are_not_shown_or_look_back_are_told_by_their_bytes() -> None:
    """AV1 (bitstream specification, 5.3 and 5.9.2): a temporal delimiter, a header of the sequence, and a frame whose first byte has
    show_existing_frame, frame_type and show_frame in its four highest bits. MPEG-2 (ISO/IEC 13818-2, 6.2.2.6): closed_gop after 25 bits.
    H.264 (7.3.2.3.1 and D.1.8): an SEI unit with a recovery point, and what comes after it.
    """

    def unit(kind: int, data: list[int]) -> bytes:
        return bytes([kind << 3 | 2, len(data), *data])

    delimiter, sequence = unit(2, []), unit(1, [0] * 10)
    for first, alone in ((0b0001_0000, True), (0b0000_0000, False), (0b0011_0000, False), (0b1001_0000, False)):
        for kind in (3, 6):
            assert stands_alone("av1", None, delimiter + sequence + unit(kind, [first, 0, 0])) is alone
    assert stands_alone("av1", None, delimiter + unit(1, [0b0001_1000]) + unit(6, [0b1111_0000])), "a still: each frame is a key frame"
    assert stands_alone("av1", None, bytes([0x12, 0, 0x34, 0, 0b0001_0000])), "with an extension and no length"
    assert not any(stands_alone("av1", None, part) for part in (b"", delimiter, delimiter + sequence, bytes([0x0A, 0xFF])))
    point, idr, other = bytes([6, 6, 1, 0xC4, 0x80]), bytes([0x65, 0x88]), bytes([0x41, 0x88])
    for units, entry in (([point, idr], "closed"), ([point, other], "open"), ([other, point], None), ([idr], "closed")):
        assert entry_of("h264", None, b"".join(b"\0\0\1" + unit for unit in units)) == entry, "IDR pictures stand alone; table 7-1"
    for flags, alone in ((0x40, True), (0x20, False), (0x00, False)):
        assert stands_alone("mpeg2video", None, bytes([0, 0, 1, 0xB3, 9, 0, 0, 1, 0xB8, 0, 0, 0, flags, 0])) is alone
    assert not stands_alone("mpeg2video", None, bytes([0, 0, 1, 0, 0x40, 0x40])) and burst_begins("mpeg2video", None, bytes([0, 0, 1, 0]))


def recipes() -> Sequence[tuple[list[str], str]]:
    return (
        (["scan.mode=sparse", "shots.detector=stride", "shots.stride_s=5"], "lower scan.sparse_s to 2.5"),
        (["scan.mode=sparse", 'scan.detectors=["hash"]'], "need every frame"),
    )


def test_recipes_that_contradict_themselves_are_refused() -> None:
    for settings, words in recipes():
        with pytest.raises(RecipeError, match=words):
            Recipe().with_overrides(settings)
    with pytest.raises(RecipeError, match="needs every frame"):
        Recipe().with_overrides(["scan.mode=sparse"]).check_sparse()
    RECIPE.check_sparse()
