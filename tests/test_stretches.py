"""The stretches that hold a list's spans are decoded alone, and their frames have what a pass over the whole video gives them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edit_lists import with_edits
from footage import Clip, jittered, render, ticks_of
from pictures import Edit, Gradual, edit, film, moving, still
from rushes.engine.fingerprints import fingerprints
from rushes.errors import DecodeError
from rushes.media.frame_index import FrameIndex, frame_index
from rushes.media.segments import Uncut
from rushes.recipe import Recipe
from rushes.records import ListedSpan, Video
from rushes.rows.scanned import Stamp, clip_rows
from rushes.rows.signals import Series
from rushes.scan.blend import read_for
from rushes.scan.one_pass import SampledFrame, Scan, scan
from rushes.scan.stretches import Stretch, kept_of, scan_stretches, stretches_of
from rushes.store.store import now
from stamps import regular, set_back, stamped
from variants import variants

SIZE = (128, 72)
RECIPE = Recipe().with_overrides(["frames.per_s=3", "scan.grid_per_s=2", "frames.short_side_px=64"])
CASES: dict[str, dict[str, Any]] = {
    "plain.mp4": {"gop": 30, "bframes": 2},
    "deep.mkv": {"gop": 17, "bframes": 4},
    "hevc.mp4": {"codec": "hevc", "gop": 24, "options": {"x265-params": "log-level=none:pools=none:scenecut=0:open-gop=0"}},
    "vp9.webm": {"codec": "vp9", "gop": 21},
    "uneven.mkv": {"gop": 12, "pts": "jittered", "bframes": 0},
    "late.mp4": {"gop": 40, "start": 12_800 * 3, "fps": 60},
    "slow.mkv": {"gop": 9, "fps": 4},
}


def picture() -> Edit:
    shots = [moving(*SIZE, k, dx=1.5 - k, dy=0.5 * k) for k in range(4)]
    return edit([*shots[:3], still(*SIZE, 9), shots[3]], [50, 48, 40, 42, 40], [Gradual("cut", 0), Gradual("dissolve", 24)] * 2)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Clip, Scan, list[SampledFrame]]]:
    """A film, the pass over the whole of it, and its sampled frames."""
    folder, made = tmp_path_factory.mktemp("stretches"), {}

    def make(name: str) -> tuple[Clip, Scan, list[SampledFrame]]:
        if name not in made:
            how = dict(CASES[name])
            if how.get("pts") == "jittered":
                tick = ticks_of(Fraction(25))
                how["pts"] = tuple(
                    p + (int(4 / tick) if i > 70 else 0) for i, p in enumerate(jittered(picture().n_frames, Fraction(25), tick))
                )
            clip, frames = render(folder / name, picture(), **how), list[SampledFrame]()
            made[name] = clip, scan(str(clip.path), RECIPE, on_frame=frames.append), frames
        return made[name]

    return make


def index_of(path: Path, mode: Any = "exact") -> FrameIndex:
    found = frame_index(str(path), uri=str(path), size_bytes=0, mode=mode)
    assert isinstance(found, FrameIndex), found
    return found


def clips(found: Scan, spans: list[ListedSpan], *settings: str) -> list[dict[str, Any]]:
    """Clips and measures of spans, with the frames that they name."""
    recipe, video = RECIPE.with_overrides(settings), Video(uri="v", source="v", video_id="v" * 64, size=0, stamp=None, spans=tuple(spans))
    made = clip_rows(Series.of(video.video_id, found), recipe, fingerprints(recipe), Stamp("run", now()), video)
    rows = [{**clip, **measures} for clip, measures in zip(made["clips"], made["measures"], strict=True)]
    return [{k: v for k, v in row.items() if k != "written_at"} for row in rows]


def random_spans(rng: random.Random, n: int) -> list[Stretch]:
    lengths = [1, 2, 7, 12, 30, 61]
    starts = [(rng.randrange(n - 1), rng.choice(lengths)) for _ in range(rng.randint(1, 4))]
    return [(first, min(n, first + length)) for first, length in starts]


def noise_over(path: Path, pts: set[int], to: Path) -> Path:
    """The file with noise in the packets of these frames."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.pts in pts and packet.pos is not None:
                data[packet.pos + 8 : packet.pos + packet.size] = np.random.default_rng(1).bytes(packet.size - 8)
    to.write_bytes(data)
    return to


def check(path: Path, whole: Scan, frames: list[SampledFrame], wanted: list[Stretch], *settings: str, mode: Any = "exact") -> Scan:
    """Decodes the stretches of some spans, and compares everything that lies in the spans with the pass over the whole."""
    index, recipe = index_of(path, mode), RECIPE.with_overrides([f"scan.mode={mode}", *settings])
    assert np.array_equal(index.pts, whole.pts)
    t = (whole.pts - whole.pts[0]).astype(np.float64) * float(whole.facts.time_base)
    around = [read_for(t, *piece) for piece in wanted] if recipe.shots.within_spans else wanted
    stretches = stretches_of(around, index)
    own: list[SampledFrame] = []
    found = scan_stretches(str(path), recipe, index, stretches, uri=str(path), on_frame=own.append)
    assert isinstance(found, Scan), found
    inside = {k for first, stop in stretches for k in range(first, stop)}
    assert own == [f for f in frames if int(np.searchsorted(whole.pts, f.pts)) in inside]
    assert np.flatnonzero(~np.isnan(found.signals["luma_mean"])).tolist() == sorted(inside)
    for name in ("facts", "mode", "end_pts", "n_packets", "n_corrupt", "n_repaired_pts", "n_new_clocks", "pieces", "holes"):
        assert getattr(found, name) == getattr(whole, name), name
    spans = [ListedSpan("frame", str(first), str(stop), "{}") for first, stop in wanted]
    assert repr(clips(found, spans, *settings)) == repr(clips(whole, spans, *settings))
    if recipe.shots.within_spans:
        frames_of = np.array(sorted({k for first, stop in wanted for k in range(first, stop)}))
        pairs = {name: (found.signals[name][frames_of], row[frames_of]) for name, row in whole.signals.items()}
        unlike = [name for name, pair in pairs.items() if not np.array_equal(*pair, equal_nan=True)]
        assert unlike == []
    steps = np.diff(np.append(whole.pts, whole.end_pts))
    assert found.footage_s == pytest.approx(float(steps[sorted(inside)].sum() * whole.facts.time_base))
    return found


@pytest.mark.parametrize("name", variants(CASES, quick=["deep.mkv", "vp9.webm", "late.mp4"]))
def test_clips_of_spans_are_those_of_the_whole(name: str, case: Callable[..., Any]) -> None:
    clip, whole, frames = case(name)
    rng = random.Random(name)
    for _ in range(4):
        check(clip.path, whole, frames, random_spans(rng, len(whole.pts)))
    check(clip.path, whole, frames, random_spans(rng, len(whole.pts)), "shots.within_spans=true", "shots.min_s=0.3")


def test_fast_mode_too(case: Callable[..., Any]) -> None:
    clip, frames = case("plain.mp4")[0], list[SampledFrame]()
    whole = scan(str(clip.path), RECIPE.with_overrides(["scan.mode=fast"]), on_frame=frames.append)
    assert whole.mode == "fast"
    check(clip.path, whole, frames, [(20, 50), (100, 101)], mode="fast")


@pytest.mark.parametrize("name", ["footage/moviepy__smpte-2997.mp4", "footage/datajuicer__video4.mp4"])
def test_real_footage(name: str, data_dir: Path) -> None:
    frames: list[SampledFrame] = []
    whole = scan(str(data_dir / name), RECIPE, on_frame=frames.append)
    n, rng = len(whole.pts), random.Random(name)
    for _ in range(2):
        check(data_dir / name, whole, frames, random_spans(rng, n))


@pytest.mark.slow
def test_an_open_file_too(case: Callable[..., Any]) -> None:
    """As a remote one is handed over: it is opened anew for each stretch."""
    clip, stretches = case("deep.mkv")[0], [(0, 10), (51, 60), (153, 155)]
    by_path = scan_stretches(str(clip.path), RECIPE, index_of(clip.path), stretches, uri="v")
    with clip.path.open("rb") as file:
        index = frame_index(file, uri="v", size_bytes=0, mode="exact")
        assert isinstance(index, FrameIndex)
        file.seek(1000)
        found = scan_stretches(file, RECIPE, index, stretches, uri="v")
    assert isinstance(found, Scan) and isinstance(by_path, Scan) and found.facts == by_path.facts
    assert all(np.array_equal(found.signals[name], row, equal_nan=True) for name, row in by_path.signals.items())


def test_what_no_span_needs_is_not_decoded(case: Callable[..., Any], tmp_path: Path) -> None:
    """Noise in all other groups of pictures changes nothing, and a pass over the whole file finds it."""
    clip, whole, frames = case("plain.mp4")
    needed = {k for first, stop in ((0, 25), (60, 85), (150, 170)) for k in range(first, stop + 3)}  # 3: B-frames refer to later ones
    noisy = noise_over(clip.path, {p for k, p in enumerate(clip.pts) if k not in needed}, tmp_path / "noisy.mp4")
    check(noisy, whole, frames, [(3, 25), (70, 80), (75, 85), (150, 170)])
    assert scan(str(noisy), RECIPE).n_corrupt


def test_damage_in_a_stretch_is_told(case: Callable[..., Any], tmp_path: Path) -> None:
    clip = case("plain.mp4")[0]
    for stretch in ((0, 20), (30, 50)):
        noisy = noise_over(clip.path, {clip.pts[stretch[0] + 11]}, tmp_path / "noisy.mp4")
        try:
            found: Any = scan_stretches(str(noisy), RECIPE, index_of(noisy), [stretch], uri="v")
        except DecodeError as error:
            found = error.what
        assert "damaged" in found


def test_interlaced_h264_is_told(tmp_path: Path) -> None:
    clip = render(tmp_path / "fields.mp4", film(128, 72, [100], seed=1), interlaced=True, gop=10)
    found = scan_stretches(str(clip.path), RECIPE, index_of(clip.path), [(10, 15)], uri="v")
    assert found == "it is interlaced"


def test_a_picture_that_changes_size_is_told(tmp_path: Path) -> None:
    parts = [render(tmp_path / f"{k}.webm", (moving(*size, 1), 30), codec="vp9", gop=10) for k, size in enumerate((SIZE, (160, 90)))]
    path = tmp_path / "both.webm"
    with av.open(str(path), "w") as out, av.open(str(parts[0].path)) as one, av.open(str(parts[1].path)) as two:
        stream = out.add_stream_from_template(one.streams.video[0])
        for k, source in enumerate((one, two)):
            for packet in (p for p in source.demux(video=0) if p.size):
                packet.pts, packet.dts = (packet.pts or 0) + 1200 * k, (packet.dts or 0) + 1200 * k
                packet.stream = stream
                out.mux(packet)
    assert isinstance(scan_stretches(str(path), RECIPE, index_of(path), [(10, 15)], uri="v"), Scan)
    assert "change" in str(scan_stretches(str(path), RECIPE, index_of(path), [(40, 45)], uri="v"))


@pytest.mark.slow
def test_where_packets_do_not_tell_the_frames_there_is_no_index(case: Callable[..., Any], tmp_path: Path) -> None:
    plain = (moving(*SIZE, 1), 60)
    edited = with_edits(render(tmp_path / "a.mp4", plain, gop=10).path, [(0, 512 * 20), (512 * 40, 512 * 60)], first_pts=0)
    paused = [t + (100 if i >= 30 else 0) for i, t in enumerate(regular(60))]
    anew = stamped(tmp_path / "anew.mkv", Edit(*plain), paused, gop=10, bframes=0)
    set_back(anew, 100_000, 101_500)
    for path, words in (
        (render(tmp_path / "a.ts", plain).path, "no index that can be trusted"),
        (render(tmp_path / "old.mp4", plain, codec="mpeg4").path, "where mpeg4 may be cut"),
        (edited, "edit list"),
        (anew, "go back"),
        (stamped(tmp_path / "alone.mkv", Edit(*plain), regular(60), {59: Fraction(300)}, gop=10, bframes=0), "mended"),
    ):
        found = frame_index(str(path), uri=str(path), size_bytes=0, mode="exact")
        assert isinstance(found, Uncut) and words in str(found.note), (path, found)
    opened = render(tmp_path / "open.mp4", plain, gop=10, options={"x264-params": "open-gop=1:scenecut=0"}).path
    assert index_of(opened).entries.tolist() == [0], "no other key frame stands alone"
    frames: list[SampledFrame] = []
    whole = scan(str(opened), RECIPE, on_frame=frames.append)
    with av.open(str(opened)) as container:
        keys = np.searchsorted(whole.pts, [p.pts or 0 for p in container.demux(video=0) if p.is_keyframe])
    assert len(keys) > 3
    for key in keys[1:].tolist():
        check(opened, whole, frames, [(1, key)])  # packets of frames before the key frame follow it


def test_stretches_hold_what_is_wanted_and_are_apart() -> None:
    rng = random.Random(3)
    for _ in range(500):
        n = rng.randint(5, 60)
        entries = np.array([0, *sorted(rng.sample(range(1, n), rng.randint(0, 4)))])
        index = FrameIndex("exact", Fraction(1, 25), np.arange(n), entries, 1, n, entries, np.ones(n, np.int32))
        old: list[Stretch] = []
        for _ in range(3):
            wanted = [(a, rng.randint(a + 1, n)) for a in rng.sample(range(n), rng.randint(1, 3))]
            new = stretches_of(wanted, index, [old])
            kept = kept_of(old, new)
            now_there = sorted([*kept, *new])
            assert all(a in entries for a, _ in new)
            assert all(one[1] <= other[0] for one, other in itertools.pairwise(now_there)), "apart"
            assert all(any(a <= first and stop <= b for a, b in now_there) for first, stop in [*wanted, *old])
            needed = {k for first, stop in wanted for k in range(index.entry_before(first), stop)} | {k for one in old for k in range(*one)}
            assert {k for one in now_there for k in range(*one)} == needed
            assert stretches_of(wanted, index, [now_there]) == []
            assert len(stretches_of(wanted, index, [now_there, []])) > 0, "another stage lacks them"
            old = now_there
