"""Files whose clocks break: what is scanned, cut to files and told of them. What was filmed is known, and every frame shows its number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest

import rushes
from footage import encoding, render
from pictures import Edit, edit, film, moving, read_frame_number
from rushes import operators
from rushes.engine.fingerprints import fingerprints
from rushes.media.cut import ClipSpan, cut_clips
from rushes.media.decode import Decoder
from rushes.media.segments import Cuts, where_to_cut
from rushes.recipe import Recipe
from rushes.records import Mode, Span, clip_id
from rushes.rows.scanned import Stamp, clip_rows
from rushes.rows.signals import Series
from rushes.scan.one_pass import SampledFrame, Scan, scan
from rushes.scan.segment import scan_segment
from rushes.scan.stitch import Stitched, stitch
from rushes.store.store import now
from rushes.store.tables import VIDEOS
from stamps import STEP, joined, regular, set_back, stamped
from variants import variants

SIZE = (192, 112)
N = 100
CONTAINERS = (".ts", ".mkv", ".mp4")
RECIPE = Recipe().with_overrides(["shots.guard_s=0"])


def clips_of(found: Scan, recipe: Recipe = RECIPE) -> list[dict[str, Any]]:
    return clip_rows(Series.of("v" * 64, found), recipe, fingerprints(recipe), Stamp("run", now()))["clips"]


def seconds(found: Scan) -> list[float]:
    return [round(float((p - int(found.pts[0])) * found.facts.time_base), 4) for p in found.pts.tolist()]


def numbers(path: Path, mode: Mode = "exact") -> list[int]:
    with Decoder(str(path), uri=str(path), size_bytes=0, mode=mode) as decoder:
        return [read_frame_number(frame.reformat(format="gray").to_ndarray()) for frame, _ in decoder]


def files_of(path: Path, found: Scan, spans: Sequence[Span], mode: str, folder: Path) -> list[tuple[list[int], list[float], bool]]:
    """What the clip files hold: numbers of frames, seconds since the first one, and whether there is sound."""
    wanted = [ClipSpan(clip_id("v" * 64, s.start_pts, s.end_pts), s) for s in spans]
    made = {
        r.clip_id: r
        for r in cut_clips(str(path), found.facts, wanted, str(folder), encoding=encoding(mode), uri=str(path), pieces=found.pieces)
    }  # type: ignore[arg-type]
    out = []
    for clip in wanted:
        result = made[clip.clip_id]
        assert result.uri is not None, result.error
        with av.open(result.uri) as container:
            frames = list(container.decode(video=0))
            stamps = [float((f.pts - frames[0].pts) * f.time_base) for f in frames]
            assert [f.pts for f in frames] == sorted({f.pts for f in frames})
            shown = [read_frame_number(f.reformat(format="gray").to_ndarray()) for f in frames]
        with av.open(result.uri) as container:
            sound = [p for p in container.demux(audio=0) if p.size] if container.streams.audio else []
            heard_s = float(sum(p.duration * p.time_base for p in sound))
        out.append((shown, stamps, heard_s > 0.6 * (stamps[-1] + 0.04)))
    return out


# Outliers


@pytest.mark.parametrize("suffix", variants(CONTAINERS, quick=[".ts"]))
@pytest.mark.parametrize("bframes", variants([0, 2], quick=[2]))
@pytest.mark.parametrize(
    "wrong",
    [
        {53: Fraction(36_000)},
        {40: Fraction(10_800)},
        {0: Fraction(-1)},
        {N - 1: Fraction(36_000)},
        {30: Fraction(36_000), 31: Fraction(36_000) + STEP, 70: Fraction(40_000)},
    ],
    ids=["middle", "key frame", "first", "last", "several"],
)
def test_an_outlier_is_mended_alone(suffix: str, bframes: int, wrong: dict[int, Fraction], tmp_path: Path) -> None:
    times = regular(N)
    if 0 in wrong:  # a recorder that stamps the first frame 0, and the others with the time of day
        times = [t + 36_000 for t in times]
    path = stamped(tmp_path / f"a{suffix}", film(*SIZE, [N]), times, wrong, gop=20, bframes=bframes)
    found = scan(str(path), RECIPE)
    assert seconds(found) == [float(t) for t in regular(N)]
    assert numbers(path) == list(range(N))
    assert found.footage_s == pytest.approx(4.0)
    assert (found.n_repaired_pts, found.n_new_clocks, found.holes) == (len(wrong), 0, ())
    (clip,) = clips_of(found)
    assert (clip["start_s"], clip["end_s"], clip["n_frames"]) == (0.0, pytest.approx(4.0), N)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_fast_mode_too(suffix: str, tmp_path: Path) -> None:
    path = stamped(tmp_path / f"a{suffix}", film(*SIZE, [N]), regular(N), {40: Fraction(36_000)}, gop=20, bframes=2)
    found = scan(str(path), RECIPE.with_overrides(["scan.mode=fast"]))
    assert found.mode == "fast" and len(found.pts) < N
    assert found.n_repaired_pts == 1 and found.footage_s == pytest.approx(4.0)
    assert max(np.diff(seconds(found))) <= 0.16


@pytest.mark.parametrize("suffix", variants(CONTAINERS, quick=[".ts", ".mp4"]))
@pytest.mark.parametrize("mode", ["copy", "encode"])
def test_a_clip_file_holds_the_mended_times(suffix: str, mode: str, tmp_path: Path) -> None:
    path = stamped(tmp_path / f"a{suffix}", film(*SIZE, [N]), regular(N), {50: Fraction(36_000)}, gop=20, bframes=2, audio=True)
    found = scan(str(path), RECIPE)
    (held,) = files_of(path, found, [Span(int(found.pts[0]), found.end_pts)], mode, tmp_path / "clips")
    assert held[0] == list(range(N))
    assert held[1] == pytest.approx([float(t) for t in regular(N)], abs=0.002)
    assert held[2]


# Holes


@pytest.mark.parametrize("suffix", variants([*CONTAINERS, ".avi"], quick=[".mkv", ".ts"]))
def test_a_hole_belongs_to_no_clip_and_no_file(suffix: str, tmp_path: Path) -> None:
    times = [t + (3600 if i >= 60 and suffix != ".avi" else 40 if i >= 60 else 0) for i, t in enumerate(regular(N))]
    how: dict[str, Any] = {"codec": "mpeg4", "bframes": 0} if suffix == ".avi" else {"bframes": 2}
    path = stamped(tmp_path / f"a{suffix}", film(*SIZE, [N]), times, gop=20, audio=suffix != ".avi", **how)
    for mode in ("exact", "fast"):
        found = scan(str(path), RECIPE.with_overrides([f"scan.mode={mode}"]))
        assert found.footage_s == pytest.approx(4.0, abs=0.1 if mode == "fast" else 1e-6), mode
        (hole,) = found.holes
        first, second = clips_of(found)
        assert (first["start_s"], second["end_s"]) == (0.0, pytest.approx(float(times[-1] + STEP)))
        assert first["end_s"] == pytest.approx(2.4, abs=0.1 if mode == "fast" else 1e-6)
        assert second["start_s"] == pytest.approx(float(times[60]), abs=1e-3)
        assert (first["start_kind"], first["end_kind"], second["start_kind"], second["end_kind"]) == ("video", "hole", "hole", "video")
        assert (first["end_pts"], second["start_pts"]) == (hole.start_pts, hole.end_pts)
    found = scan(str(path), RECIPE)
    spans = [Span(clip["start_pts"], clip["end_pts"]) for clip in clips_of(found)]
    for how_cut in ("copy", "encode"):
        held = files_of(path, found, spans, how_cut, tmp_path / how_cut)
        assert [h[0] for h in held] == [list(range(60)), list(range(60, N))]
        assert all(h[1][-1] < 2.4 for h in held)
        assert suffix == ".avi" or all(h[2] for h in held[:1])


def test_what_is_no_hole(tmp_path: Path) -> None:
    lapse = stamped(tmp_path / "lapse.mkv", film(*SIZE, [40]), [Fraction(60 * i) for i in range(40)], bframes=0)
    found = scan(str(lapse), RECIPE)
    assert found.holes == () and len(clips_of(found, RECIPE.with_overrides(["shots.max_s=0"]))) == 1
    pause = stamped(tmp_path / "pause.mp4", film(*SIZE, [60]), [t + (20 if i >= 30 else 0) for i, t in enumerate(regular(60))])
    assert scan(str(pause), RECIPE).holes == ()  # the picture was shown for 20 s
    (hole,) = scan(str(pause), RECIPE.with_overrides(["scan.hole_s=10"])).holes
    assert hole.at == 30
    assert scan(str(pause), RECIPE.with_overrides(["scan.hole_s=0"])).holes == ()


def test_shots_are_found_on_both_sides_of_a_hole_and_not_at_it(tmp_path: Path) -> None:
    """The picture changes at the hole: that is no cut, from which 0.1 s would be trimmed."""
    times = [t + (100 if i >= 100 else 0) for i, t in enumerate(regular(200))]
    path = stamped(tmp_path / "a.mkv", film(*SIZE, [50, 50, 50, 50]), times, gop=50)
    for detector in ("combined", "content", "adaptive"):
        recipe = Recipe().with_overrides([f"shots.detector={detector}", "shots.gradual=false"])
        clips = clips_of(scan(str(path), recipe), recipe)
        assert [c["n_frames"] for c in clips] == [47, 47, 47, 47], detector
        assert [round(c["start_s"], 2) for c in clips] == [0.0, 2.12, 104.0, 106.12], detector


# New clocks


def parts_of(folder: Path, lengths: Sequence[int], rates: Sequence[int], **how: Any) -> list[Path]:
    """Transport streams that all begin at 1 s, numbered on."""
    out, first = [], 0
    for k, (n, rate) in enumerate(zip(lengths, rates, strict=True)):
        out.append(folder / f"part{k}.ts")
        picture = moving(*SIZE, k)
        render(out[-1], Edit(picture, n), fps=Fraction(rate), first_number=first, gop=20, **how)
        first += n
    return out


@pytest.mark.parametrize("bframes", variants([0, 2], quick=[2]))
@pytest.mark.parametrize(
    "lengths, rates",
    [((100, 60), (25, 25)), ((100, 50), (25, 12)), ((50, 100), (10, 25)), ((20,) * 10, (25,) * 10), ((10,) * 5, (25,) * 5)],
    ids=["same", "slower", "faster", "ten parts", "very short parts"],
)
def test_a_clock_that_begins_anew_goes_on_evenly(bframes: int, lengths: Sequence[int], rates: Sequence[int], tmp_path: Path) -> None:
    path = joined(tmp_path / "a.ts", parts_of(tmp_path, lengths, rates, bframes=bframes))
    want = [Fraction(0)]
    for n, rate in zip(lengths, rates, strict=True):
        want += [want[-1] + Fraction(i + 1, rate) for i in range(n)]
    found = scan(str(path), RECIPE)
    assert numbers(path) == list(range(sum(lengths)))
    assert seconds(found) == pytest.approx([float(t) for t in want[:-1]], abs=1e-3)
    assert found.footage_s == pytest.approx(float(want[-1]), abs=1e-3)
    assert (found.n_new_clocks, found.n_repaired_pts) == (len(lengths) - 1, 0)
    fast = scan(str(path), RECIPE.with_overrides(["scan.mode=fast"]))
    assert set(fast.pts.tolist()) <= set(found.pts.tolist())


def test_a_reset_clock_below_the_start_is_no_wrap(tmp_path: Path) -> None:
    """libav takes stamps more than a minute below the first one for wrapped, and adds 26 hours to them."""
    parts = [tmp_path / "1.ts", tmp_path / "2.ts"]
    render(parts[0], film(*SIZE, [60]), start=500 * 12_800, gop=20)
    render(parts[1], film(*SIZE, [60], seed=1), first_number=60, gop=20)
    path = joined(tmp_path / "a.ts", parts)
    found = scan(str(path), RECIPE)
    assert seconds(found) == pytest.approx([float(t) for t in regular(120)], abs=1e-3)
    assert (found.n_new_clocks, found.holes, found.n_repaired_pts) == (1, (), 0)


def test_a_new_clock_in_matroska(tmp_path: Path) -> None:
    times = [t + (100 if i >= 60 else 0) for i, t in enumerate(regular(N))]
    path = stamped(tmp_path / "a.mkv", film(*SIZE, [N]), times, gop=20, bframes=0)
    set_back(path, 100_000, 102_000)
    found = scan(str(path), RECIPE)
    assert seconds(found) == [float(t) for t in regular(N)]
    assert (found.n_new_clocks, found.n_repaired_pts, found.holes) == (1, 0, ())


@pytest.mark.parametrize("mode", variants(["copy", "encode"], quick=["encode"]))
def test_clip_files_across_new_clocks(mode: str, tmp_path: Path) -> None:
    """Five parts whose stamps are the same: a clip of the fourth is no clip of the first, and its sound is its own."""
    parts = [tmp_path / f"part{k}.ts" for k in range(5)]
    for k, part in enumerate(parts):
        stamped(part, Edit(moving(*SIZE, k), 40), regular(40), audio=True, first_number=40 * k, gop=20)
    path = joined(tmp_path / "a.ts", parts)
    found = scan(str(path), RECIPE)
    pts = [*found.pts.tolist(), found.end_pts]
    spans = [Span(pts[a], pts[b]) for a, b in ((0, 200), (60, 100), (120, 160), (180, 200))]
    for (shown, stamps, sound), (a, b) in zip(
        files_of(path, found, spans, mode, tmp_path / "clips"), ((0, 200), (60, 100), (120, 160), (180, 200)), strict=True
    ):
        assert shown == list(range(a, b))
        assert stamps == pytest.approx([float(i * STEP) for i in range(b - a)], abs=2e-3)
        assert sound


# Segments


@pytest.mark.slow
def test_segments_equal_the_whole_where_time_is_broken(tmp_path: Path) -> None:
    times = [t + (60 if i >= 330 else 0) for i, t in enumerate(regular(600))]
    shots = edit([moving(*SIZE, k) for k in range(3)], [200, 200, 200])
    for suffix in (".mp4", ".mkv"):
        ahead = (36_000, 7_000, 9_000) if suffix == ".mp4" else (70, 80, 75)  # Matroska would state a length of ten hours
        wrong = {i: Fraction(s) for i, s in zip((90, 268, 269), ahead, strict=True)}
        path = stamped(tmp_path / f"a{suffix}", shots, times, wrong, gop=25, bframes=2)
        frames: list[SampledFrame] = []
        whole = scan(str(path), RECIPE, on_frame=frames.append)
        assert whole.n_repaired_pts == 3 and len(whole.holes) == 1 and whole.footage_s == pytest.approx(24.0)
        cuts = where_to_cut(str(path), uri=str(path), size_bytes=0, segment_s=5.0, mode="exact")
        assert isinstance(cuts, Cuts) and len(cuts.segments) > 3, cuts
        own: list[SampledFrame] = []
        parts = [scan_segment(str(path), RECIPE, s, cuts.mode, uri=str(path), on_frame=own.append) for s in cuts.segments]
        found = stitch(parts, RECIPE)
        assert isinstance(found, Stitched), found
        assert found.scan.pts.tolist() == whole.pts.tolist()
        for name in ("pieces", "holes", "n_repaired_pts", "n_new_clocks", "end_pts", "footage_s"):
            assert getattr(found.scan, name) == getattr(whole, name), name
        assert all(np.array_equal(found.scan.signals[k], row, equal_nan=True) for k, row in whole.signals.items())
        assert sorted([*own, *found.frames], key=lambda f: f.pts) == frames
        assert sum(p.decoded_s for p in parts) == pytest.approx(whole.footage_s)


# What a run tells


def test_a_run_counts_and_explains(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    stamped(tmp_path / "in" / "hole.mkv", film(*SIZE, [N]), [t + (100 if i >= 50 else 0) for i, t in enumerate(regular(N))])
    stamped(tmp_path / "in" / "ahead.ts", film(*SIZE, [N], seed=1), regular(N), {53: Fraction(36_000)})
    joined(tmp_path / "in" / "anew.ts", parts_of(tmp_path, (50, 50), (25, 25)))
    render(tmp_path / "in" / "sound.mp4", film(*SIZE, [N], seed=3))
    run = rushes.run([str(tmp_path / "in")], out=str(tmp_path / "store"), recipe=RECIPE)
    assert run.counts["footage_s"] == run.counts["decoded_s"] == pytest.approx(16.0, abs=0.01)
    results = rushes.open(str(tmp_path / "store"))
    rows = {Path(row["uri"]).name: row for row in results.videos().to_arrow().to_pylist()}
    counted = {name: tuple(row[k] for k in ("n_repaired_pts", "n_new_clocks", "n_holes")) for name, row in rows.items()}
    assert counted == {"hole.mkv": (0, 0, 1), "ahead.ts": (1, 0, 0), "anew.ts": (0, 1, 0), "sound.mp4": (0, 0, 0)}
    assert rows["hole.mkv"]["holes_s"] == pytest.approx(100.0) and rows["hole.mkv"]["time_pieces"] is None
    assert len(json.loads(rows["ahead.ts"]["time_pieces"])) == 3
    for name, word in (("hole.mkv", "off"), ("ahead.ts", "mended"), ("anew.ts", "anew"), ("sound.mp4", None)):
        notes = {row["time"] for row in rushes.api.results(str(tmp_path / "store")).explain(rows[name]["uri"])}
        assert notes == {None} if word is None else word in " ".join(map(str, notes)), name
    assert {"n_repaired_pts", "n_new_clocks", "n_holes", "holes_s", "time_pieces"} <= {c.name for c in VIDEOS.columns}
    clips = [row for row in results.clips().to_arrow().to_pylist() if row["uri"] == rows["anew.ts"]["uri"]]
    parts = rushes.file_spans(clips[0]["start_pts"], clips[-1]["end_pts"], rows["anew.ts"]["time_pieces"])
    assert [(p.start_pts, p.end_pts) for p in parts] == [(90_000, 270_000)] * 2


def test_the_operators_cut_across_new_clocks(tmp_path: Path) -> None:
    path = joined(tmp_path / "a.ts", parts_of(tmp_path, (40, 40, 40), (25, 25, 25)))
    recipe = Recipe().with_overrides(["shots.detector=stride", "shots.stride_s=1.6", "clips.mode=copy"])
    with operators.Scan(recipe) as scan_it, operators.CutClips(str(tmp_path / "clips"), recipe) as cut_it:
        clips = scan_it(pa.table({"uri": [str(path)]}))["scan"].to_pylist()[0]["clips"]
        files = cut_it(pa.table({"uri": [str(path)] * 3, "clip": clips}))["file"].to_pylist()
    assert [numbers(Path(f["clip_uri"])) for f in files] == [list(range(k, k + 40)) for k in (0, 40, 80)]


# Files of the kinds that people reported


def field(data_dir: Path, name: str) -> Path:
    path = data_dir / "field" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


@pytest.mark.parametrize(
    "name, n_frames, footage_s, lengths, counts",
    [
        ("01_future_stamp/one_frame_10h_ahead.ts", 250, 10.0, [10.0], (1, 0, 0)),
        ("01_future_stamp/one_frame_3h_ahead.mp4", 250, 10.0, [10.0], (1, 0, 0)),
        ("01_future_stamp/long_one_frame_3h_ahead.mp4", 1500, 150.0, [50.0] * 3, (1, 0, 0)),
        ("02_camera_off_gap/off_for_an_hour.ts", 250, 10.0, [5.0, 5.0], (0, 0, 1)),
        ("02_camera_off_gap/off_for_an_hour.mkv", 250, 10.0, [5.0, 5.0], (0, 0, 1)),
        ("02_camera_off_gap/first_frame_at_zero.mkv", 250, 10.0, [10.0], (1, 0, 0)),
        ("03_avi_dropped_frames/mjpeg_two_drops.avi", 300, 12.08, [6.04, 6.04], (0, 0, 0)),
        ("03_avi_dropped_frames/mpeg4_two_drops.avi", 300, 12.08, [6.04, 6.04], (0, 0, 0)),
        ("14_packed_b_frames/packed.avi", 241, 9.64, [4.8, 4.84], None),
        ("19_clock_reset_slower/day_then_night.ts", 450, 28.0, [28.0], (0, 1, 0)),
        ("19_clock_reset_slower/night_then_day.ts", 400, 20.0, [20.0], (0, 1, 0)),
        ("19_clock_reset_slower/ten_parts_of_0.8_s.ts", 200, 8.0, [8.0], (0, 9, 0)),
        ("18_begins_in_mid_gop/no_key_for_1.2_s.ts", 200, 8.0, [8.0], (0, 0, 0)),
        ("18_begins_in_mid_gop/intra_refresh_no_idr.ts", 207, 8.28, [8.28], (0, 0, 0)),
        ("26_animated_gif/uneven.gif", 10, 3.3, [3.3], (0, 0, 0)),
    ],
)
def test_reported_files(
    name: str, n_frames: int, footage_s: float, lengths: list[float], counts: tuple[int, int, int] | None, data_dir: Path
) -> None:
    found = scan(str(field(data_dir, name)), RECIPE)
    assert (len(found.pts), found.footage_s) == (n_frames, pytest.approx(footage_s, abs=1e-3))
    assert [c["duration_s"] for c in clips_of(found)] == pytest.approx(lengths, abs=1e-3)
    if counts is not None:
        assert (found.n_repaired_pts, found.n_new_clocks, len(found.holes)) == counts
    if name.startswith("26"):
        assert seconds(found) == [0.0, 0.1, 0.2, 0.7, 0.8, 0.9, 2.9, 3.0, 3.1, 3.2]
    if name.startswith("19"):
        assert set(np.round(np.diff(seconds(found)), 3)) <= {0.04, 0.08}
