"""Spans that a list gives: the clips are exactly there, each with its own columns, in every reader, and after every change of the list."""

from __future__ import annotations

import json
import random
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import rushes
from footage import Clip, jittered, render, ticks_of
from pictures import film, read_frame_number
from rushes.errors import FootageError
from rushes.media.holes import holes_of
from rushes.recipe import Recipe, ShotSettings
from rushes.records import ListedSpan, clip_id
from rushes.scan.one_pass import scan
from rushes.shots.listed import frames_of, listed_shots
from rushes.sources.footage import find_footage
from stores import go, inline, recipe, rows_of, seen, settings_of

KEEP = ("rules.too_short.min=0",)


@pytest.fixture(scope="module")
def reel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, Clip]:
    """A film of three shots with cuts at frames 90 and 115, 25 a second; and one of uneven steps."""
    folder = tmp_path_factory.mktemp("spans_reel")
    even = render(folder / "even.mp4", film(192, 108, [90, 25, 60], seed=1), gop=30)
    steps = jittered(100, even.fps, ticks_of(even.fps))
    return even, render(folder / "uneven.mkv", film(192, 108, [60, 40], seed=2), pts=steps)


def listed(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
    return path


def shown(out: Path, *settings: str) -> list[tuple[int, int, int, dict[str, Any]]]:
    """start_pts, end_pts, frames and columns of the clips that readers see."""
    return [(c["start_pts"], c["end_pts"], c["n_frames"], c["extra"]) for c in seen(out, *KEEP, *settings).clips()]


# -- what a span means -----------------------------------------------------------------------------------------------------------------


def test_the_frames_of_a_span_are_those_at_start_or_later_and_before_the_end() -> None:
    """Against a plain look at each frame's exact time, for random films, time bases and spans."""
    rng = random.Random(4)
    for _ in range(300):
        base = rng.choice([Fraction(1, 1000), Fraction(1, 90_000), Fraction(1001, 30_000), Fraction(1, 12_800)])
        step = max(1, round(Fraction(1, rng.choice([5, 24, 25, 30, 60])) / base))
        steps = [max(1, step + rng.choice([0, 0, step, -(step // 3)])) for _ in range(rng.randint(1, 60))]
        pts = np.cumsum([rng.choice([0, 7, -500, 10**9]), *steps]).astype(np.int64)
        times = [Fraction(int(p - pts[0])) * base for p in pts]
        a, b = sorted(rng.sample(range(len(pts) + 3), 2))
        spans = {
            "frame": (Fraction(a), Fraction(b), [k for k in range(len(pts)) if a <= k < b]),
            "pts": (Fraction(int(pts[0]) + 3 * a), Fraction(int(pts[0]) + 3 * b), []),
            "s": (Fraction(a, 7) + Fraction(1, 97), Fraction(b, 7) + Fraction(1, 89), []),
        }
        for unit, (start, end, frames) in spans.items():
            if unit == "pts":
                frames = [k for k, p in enumerate(pts) if start <= int(p) < end]
            if unit == "s":
                usual = int(np.median(np.diff(pts))) * base
                slack = min(Fraction(1, 1000), usual / 4)
                frames = [k for k, t in enumerate(times) if start - slack <= t < end - slack]
            found = frames_of(ListedSpan(unit, str(start), str(end), "{}"), pts, base)  # type: ignore[arg-type]
            assert found == ((frames[0], frames[-1] + 1) if frames else None), (unit, start, end)


@pytest.mark.parametrize("fps", [24, 25, 30, Fraction(30_000, 1001), 50, 60])
@pytest.mark.parametrize("digits", [3, 4, 6])
def test_times_that_were_rounded_mean_the_frame_they_were_made_from(fps: Fraction | int, digits: int) -> None:
    step = round(1 / Fraction(fps) * 90_000)
    pts = np.arange(500, dtype=np.int64) * step + 1234
    for first in range(0, 480, 7):
        stop = first + 11
        start, end = (Fraction(str(round(float(k * step / 90_000), digits))) for k in (first, stop))
        assert frames_of(ListedSpan("s", str(start), str(end), "{}"), pts, Fraction(1, 90_000)) == (first, stop)


def test_spans_that_hold_the_same_frames_or_none_are_told(reel: tuple[Clip, Clip]) -> None:
    pts = np.arange(50, dtype=np.int64) * 40
    spans = [ListedSpan("frame", "0", "10", '{"a": 1}'), ListedSpan("s", "0", "0.4", '{"a": 2}'), ListedSpan("s", "2", "3", "{}")]
    found, unplaced = listed_shots(spans, {}, pts, Fraction(1, 1000), 2000, ShotSettings())
    assert [(one.shot.span.start_pts, one.shot.span.end_pts, one.shot.n_frames, one.span) for one in found] == [(0, 400, 10, spans[0])]
    assert [one.span for one in unplaced] == spans[1:]
    assert "same frames as start_frame 0 to end_frame 10" in unplaced[0].why and "no frame lies in it" in unplaced[1].why


def test_a_span_holds_no_hole() -> None:
    """A camera that was off for an hour: the clip ends where the hole starts, and goes on after it."""
    pts = np.array([*range(0, 1000, 40), *range(3_600_000, 3_601_000, 40)], np.int64)
    (hole,) = holes_of(pts, Fraction(1, 1000), 30.0)
    spans = [ListedSpan("frame", *ends, "{}") for ends in (("0", "50"), ("0", "25"), ("25", "50"), ("10", "30"))]
    found, unplaced = listed_shots(spans, {}, pts, Fraction(1, 1000), 3_601_000, ShotSettings(), [hole])
    seen = [(one.shot.span.start_pts, one.shot.span.end_pts, one.shot.n_frames, one.shot.start, one.shot.end) for one in found]
    assert seen == [
        (0, 1000, 25, "list", "hole"), (3_600_000, 3_601_000, 25, "hole", "list"),
        (400, 1000, 15, "list", "hole"), (3_600_000, 3_600_200, 5, "hole", "list"),
    ]  # fmt: skip
    assert [one.span for one in unplaced] == spans[1:3], "the second and third hold the same frames as clips of the first"


# -- lists with spans ------------------------------------------------------------------------------------------------------------------


def spans(path: Path) -> list[tuple[str, str, str, dict[str, Any]]]:
    (item,) = find_footage([str(path)], {}).items
    return [(s.unit, s.start, s.end, json.loads(s.extra)) for s in item.spans]


def test_rows_of_one_video_are_its_spans(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    rows = (
        "uri,start_s,end_s,prompt,camera\n"
        "a.mp4,2.5,0:00:05.25,second,left\n"
        "a.mp4,0,2.5,first,left\n"
        "a.mp4,1:02:03,3724,late,left\n"
        "a.mp4,0,2.5,first,left\n"
    )
    (tmp_path / "l.csv").write_text(rows)
    (item,) = find_footage([str(tmp_path / "l.csv")], {}).items
    assert item.extra == {"camera": "left"}, "what all rows agree in is the video's"
    assert spans(tmp_path / "l.csv") == [
        ("s", "0", "5/2", {"prompt": "first", "camera": "left"}),
        ("s", "5/2", "21/4", {"prompt": "second", "camera": "left"}),
        ("s", "3723", "3724", {"prompt": "late", "camera": "left"}),
    ]
    both = [{"uri": "a.mp4", "start_frame": 3.0, "end_frame": 9, "start_s": 1, "end_s": 2}, {"uri": "a.mp4", "start_pts": -5, "end_pts": 8}]
    assert spans(listed(tmp_path / "l.jsonl", both)) == [
        ("frame", "3", "9", {"start_s": 1, "end_s": 2}),
        ("pts", "-5", "8", {}),
    ]
    whole = [{"uri": "a.mp4", "start_s": None, "end_s": None, "k": 1}]
    (item,) = find_footage([str(listed(tmp_path / "w.jsonl", whole))], {}).items
    assert (item.spans, item.extra) == ((), {"k": 1})
    found = find_footage([str(tmp_path / "l.jsonl"), str(tmp_path)], {}).items
    assert len(found[0].spans) == 2, "a folder beside the list takes nothing of it away"


CONTRADICTIONS = {
    "equal spans": ("a.mp4,0,2,x\na.mp4,0.0,2.00,y\n", ["one span has two rows that differ", "line 2", "line 3", "'x'", "'y'"]),
    "span and none": ("a.mp4,0,2,x\na.mp4,,,y\n", ["line 2", "gives a span", "line 3", "gives none"]),
    "no end": ("a.mp4,0,,x\n", ["line 2: the span has no end_s"]),
    "no time": ("a.mp4,0,soon,x\n", ["line 2: end_s is 'soon'"]),
    "backwards": ("a.mp4,3,2,x\n", ["line 2", "holds nothing"]),
    "empty": ("a.mp4,3,3,x\n", ["line 2", "holds nothing"]),
    "before the start": ("a.mp4,-1,3,x\n", ["line 2", "holds nothing"]),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_spans_that_contradict_each_other_are_refused(tmp_path: Path, case: str) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    rows, words = CONTRADICTIONS[case]
    (tmp_path / "l.csv").write_text(f"uri,start_s,end_s,prompt\n{rows}")
    with pytest.raises(FootageError) as caught:
        find_footage([str(tmp_path / "l.csv")], {})
    assert all(word in str(caught.value) for word in words) and caught.value.mend


def test_half_frames_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    for value in (1.5, True, "1/2", "x"):
        with pytest.raises(FootageError, match="a whole number"):
            find_footage([str(listed(tmp_path / "l.jsonl", [{"uri": "a.mp4", "start_frame": 0, "end_frame": value}]))], {})


# -- runs ------------------------------------------------------------------------------------------------------------------------------


def test_clips_are_exactly_the_spans_with_their_columns_in_every_reader(reel: tuple[Clip, Clip], tmp_path: Path) -> None:
    """Spans across cuts, beside each other, overlapping, longer than max_s; in frames, seconds and ticks."""
    even, uneven = reel
    assert even.pts is not None and uneven.pts is not None
    end = uneven.pts[-1] + 1
    rows = [
        {"uri": even.path, "start_frame": 0, "end_frame": 100, "say": "across the cut", "n": 1},
        {"uri": even.path, "start_frame": 100, "end_frame": 175, "say": "beside it", "n": 2},
        {"uri": even.path, "start_s": 2.4, "end_s": 3.6, "say": "over both", "n": 3, "only": True},
        {"uri": uneven.path, "start_pts": uneven.pts[10], "end_pts": uneven.pts[50], "say": "ticks", "n": 4},
        {"uri": uneven.path, "start_pts": uneven.pts[50] + 1, "end_pts": end + 10**6, "say": "to the end", "n": 5},
    ]
    plan = listed(tmp_path / "l.jsonl", rows)
    out = tmp_path / "store"
    done = go(plan, out, *KEEP, "shots.guard_s=0.1", "shots.max_s=1", "shots.gradual=true", "clips.mode=encode")
    step = even.pts[1] - even.pts[0]
    found = shown(out, "shots.guard_s=0.1", "shots.max_s=1", "shots.gradual=true", "clips.mode=encode")
    last = found[-1][1]
    assert found == [
        (0, 100 * step, 100, {"say": "across the cut", "n": 1}),
        (60 * step, 90 * step, 30, {"say": "over both", "n": 3, "only": True}),
        (100 * step, 175 * step, 75, {"say": "beside it", "n": 2}),
        (uneven.pts[10], uneven.pts[50], 40, {"say": "ticks", "n": 4}),
        (uneven.pts[51], last, 49, {"say": "to the end", "n": 5}),
    ]
    assert (done.counts["clips_kept"], done.counts["files_made"], done.counts["spans_failed"]) == (5, 5, 0)
    for row in rows_of(out, "files")["files"]:
        with av.open(row["clip_uri"]) as file:
            numbers = [read_frame_number(f.reformat(format="gray").to_ndarray()) for f in file.decode(video=0)]
        (clip,) = [c for c in rows_of(out, "clips")["clips"] if c["clip_id"] == row["clip_id"]]
        source = even if "say" in clip["extra"] and json.loads(clip["extra"])["n"] < 4 else uneven
        assert source.pts is not None
        wanted = [n for n, p in enumerate(source.pts) if clip["start_pts"] <= p < clip["end_pts"]]
        assert numbers == wanted
        assert (clip["start_kind"], clip["end_kind"]) == ("list", "list")
        assert clip["clip_id"] == clip_id(clip["video_id"], clip["start_pts"], clip["end_pts"])
    frame = rushes.open(out).clips().select("clip_id", "extra").to_arrow().to_pylist()
    lines = {c["clip_id"]: c["extra"] for c in inline("clips", out, "--json").lines}
    assert {c["clip_id"]: json.loads(c["extra"]) for c in frame} == lines and len(lines) == 5
    sql = inline("sql", out, "SELECT clip_id, extra FROM clips", "--json").lines
    assert {c["clip_id"]: json.loads(c["extra"]) for c in sql} == lines
    assert [c["extra"]["n"] for c in inline("clips", out, "--json", "--where", "say = 'ticks' or n < 2").lines] == [1, 4]
    assert {Path(v["uri"]).name: (v["n_clips"], v["n_shots"]) for v in inline("videos", out, "--json").lines} == {
        "even.mp4": (3, 3),
        "uneven.mkv": (2, 2),
    }


def test_a_changed_list_costs_no_decode_and_readers_see_the_present_one(reel: tuple[Clip, Clip], tmp_path: Path) -> None:
    even, _ = reel
    assert even.pts is not None
    step, out, plan = even.pts[1] - even.pts[0], tmp_path / "store", tmp_path / "l.jsonl"

    def run(rows: list[dict[str, Any]] | None) -> tuple[dict[str, Any], list[tuple[int, int, Any]]]:
        footage = even.path if rows is None else listed(plan, [{"uri": even.path, **row} for row in rows])
        done = go(footage, out, *KEEP)
        planned = rushes.plan([footage], out=out, recipe=recipe(*KEEP))
        assert all(planned[stage]["missing"] == 0 for stage in ("scan", "frames", "shots", "measures", "captions"))
        clips = shown(out)
        assert done.counts["clips_kept"] == len(clips) == planned["captions"]["wanted"]
        assert len(seen(out, *KEEP).captions()) == len(clips)
        return done.counts, [(start // step, end // step, extra) for start, end, _, extra in clips]

    first, found = run([{"start_frame": 0, "end_frame": 80, "k": "x"}, {"start_frame": 80, "end_frame": 175, "k": "y"}])
    assert first["decoded_s"] > 0 and found == [(0, 80, {"k": "x"}), (80, 175, {"k": "y"})]
    again, found = run([{"start_frame": 80, "end_frame": 175, "k": "y"}, {"start_frame": 0, "end_frame": 80, "k": "x"}])
    assert (again["decoded_s"], again["captions_made"]) == (0, 0), "the order of rows is nothing"
    words, found = run([{"start_frame": 0, "end_frame": 80, "k": "x"}, {"start_frame": 80, "end_frame": 175, "k": "z"}])
    assert words["decoded_s"] == 0 and found == [(0, 80, {"k": "x"}), (80, 175, {"k": "z"})]
    moved, found = run([{"start_frame": 0, "end_frame": 90, "k": "x"}])
    assert (moved["decoded_s"], moved["captions_made"], found) == (0, 1, [(0, 90, {"k": "x"})])
    whole, found = run(None)
    assert (whole["decoded_s"], found) == (0, [(0, 90, {}), (90, 115, {}), (115, 175, {})]), "without a list its shots are found"
    back, found = run([{"start_frame": 0, "end_frame": 80, "k": "x"}, {"start_frame": 80, "end_frame": 175, "k": "y"}])
    assert (back["decoded_s"], back["captions_made"]) == (0, 0) and found == [(0, 80, {"k": "x"}), (80, 175, {"k": "y"})]


@pytest.mark.slow
def test_a_run_that_began_with_shots_and_one_that_began_with_spans_end_alike(reel: tuple[Clip, Clip], tmp_path: Path) -> None:
    even, uneven = reel
    rows = [{"uri": c.path, "start_s": a, "end_s": a + 1, "k": a} for c in (even, uneven) for a in (0, 1, 2)]
    plan = listed(tmp_path / "l.jsonl", rows)
    go(plan, tmp_path / "one", *KEEP)
    go([even.path, uneven.path], tmp_path / "two", *KEEP)
    go(plan, tmp_path / "two", *KEEP)
    go(plan, tmp_path / "three", *KEEP, "engine.segment_s=1")
    one = list(seen(tmp_path / "one", *KEEP).clips())
    assert one == list(seen(tmp_path / "two", *KEEP).clips()) == list(seen(tmp_path / "three", *KEEP, "engine.segment_s=1").clips())
    assert len(one) == 6


def test_within_spans_each_is_cut_as_a_video_of_its_own(reel: tuple[Clip, Clip], tmp_path: Path) -> None:
    even, _ = reel
    assert even.pts is not None
    step = even.pts[1] - even.pts[0]
    rows = [
        {"uri": even.path, "start_frame": 10, "end_frame": 100, "k": 1},
        {"uri": even.path, "start_frame": 115, "end_frame": 175, "k": 2},  # begins at a cut, which is none inside it
    ]
    plan, within = listed(tmp_path / "l.jsonl", rows), ("shots.within_spans=true", "shots.guard_s=0.08")
    go(plan, tmp_path / "store", *KEEP, *within)
    found = [(start // step, end // step, extra["k"]) for start, end, _, extra in shown(tmp_path / "store", *within)]
    assert found == [(10, 88, 1), (92, 100, 1), (115, 175, 2)], "the guard trims at the cut, and not at the edges of spans"
    kinds = {c["start_pts"] // step: (c["start_kind"], c["end_kind"]) for c in rows_of(tmp_path / "store", "clips")["clips"]}
    assert kinds == {10: ("list", "cut"), 92: ("cut", "list"), 115: ("list", "list")}
    go(plan, tmp_path / "store", *KEEP, *within, "shots.max_s=1")
    longest = max((end - start) * even.time_base for start, end, *_ in shown(tmp_path / "store", *within, "shots.max_s=1"))
    assert longest <= 1


def test_a_span_that_begins_with_a_cut_has_the_cut_soon_after_it(tmp_path: Path) -> None:
    """Cuts at frames 40 and 48, 0.32 s apart: to the span from the first on, that one is not a change beside which the other is small."""
    found = scan(str(render(tmp_path / "a.mp4", film(128, 72, [40, 8, 60])).path), Recipe())
    within = ShotSettings(within_spans=True, guard_s=0, max_s=0)
    span = ListedSpan("pts", str(40 * 512), str(108 * 512), "{}")
    for detector in ("combined", "content"):
        own = within.model_copy(update={"detector": detector})
        clips, _ = listed_shots([span], found.signals, found.pts, found.facts.time_base, found.end_pts, own)
        assert [one.shot.span.start_pts // 512 for one in clips] == [40, 48], detector


def test_spans_without_a_clip_are_told_counted_and_strict(reel: tuple[Clip, Clip], tmp_path: Path) -> None:
    even, _ = reel
    rows = [{"uri": even.path, "start_s": a, "end_s": a + 2, "k": a} for a in (0, 20, 30)]
    done = inline("run", listed(tmp_path / "l.jsonl", rows), "--out", tmp_path / "store", "--strict", *settings_of(*KEEP))
    assert done.code == 1, done.err
    assert [c["extra"] for c in inline("clips", tmp_path / "store", "--json").lines] == [{"k": 0}]
    errors = inline("errors", tmp_path / "store", "--json").lines
    assert sorted(e["start_s"] for e in errors) == [20, 30]
    assert {(e["stage"], e["error_type"], e["uri"]) for e in errors} == {("shots", "SpanError", str(even.path))}
    assert all("no frame lies in it" in e["error"] for e in errors)
    row = inline("runs", tmp_path / "store", "--json").lines[-1]
    assert (row["spans_failed"], row["videos_failed"], row["clips_kept"]) == (2, 0, 1)


def test_spans_of_a_copy_are_spans_of_the_video(reel: tuple[Clip, Clip], tmp_path: Path) -> None:
    even, _ = reel
    for name in ("a.mp4", "b.mp4"):
        shutil.copyfile(even.path, tmp_path / name)
    rows = [{"uri": "a.mp4", "start_frame": 0, "end_frame": 50, "k": 1}, {"uri": "b.mp4", "start_frame": 50, "end_frame": 90, "k": 2}]
    done = go(listed(tmp_path / "l.jsonl", rows), tmp_path / "store", *KEEP)
    assert [(n, extra) for _, _, n, extra in shown(tmp_path / "store")] == [(50, {"k": 1}), (40, {"k": 2})]
    assert (done.counts["videos_scanned"], done.counts["videos_duplicate"]) == (1, 1)
    assert go(tmp_path / "l.jsonl", tmp_path / "store", *KEEP).counts["videos_reused"] == 1


def test_frames_that_are_kept_follow_the_spans(reel: tuple[Clip, Clip], tmp_path: Path) -> None:
    even, _ = reel
    kept = (*KEEP, "frames.keep=kept")
    for first, stop in ((0, 50), (100, 150)):
        rows = [{"uri": even.path, "start_frame": first, "end_frame": stop}]
        go(listed(tmp_path / "l.jsonl", rows), tmp_path / "store", *kept)
        (clip,) = seen(tmp_path / "store", *kept).clips()
        pts = [f["pts"] for f in rows_of(tmp_path / "store", "frames")["frames"]]
        assert any(clip["start_pts"] <= p < clip["end_pts"] for p in pts)


def test_frame_numbers_need_every_frame(reel: tuple[Clip, Clip], tmp_path: Path) -> None:
    plan = listed(tmp_path / "l.jsonl", [{"uri": reel[0].path, "start_frame": 0, "end_frame": 50}])
    with pytest.raises(FootageError, match="may not decode every frame"):
        go(plan, tmp_path / "store", "scan.mode=fast")
    assert not (tmp_path / "store").exists()


def test_cases_11_and_28_of_the_field(data_dir: Path, tmp_path: Path) -> None:
    field = data_dir / "field"
    rows = (field / "11_one_row_per_clip" / "list.csv").read_text().replace("start,end", "start_s,end_s").splitlines()
    folder = str(field / "11_one_row_per_clip")
    (tmp_path / "l.csv").write_text("\n".join([rows[0], *(f"{folder}/{row}" for row in rows[1:])]))
    go(tmp_path / "l.csv", tmp_path / "eleven", *KEEP)
    clips = [(Path(c["uri"]).name, c["start_s"], c["end_s"], c["extra"]["prompt"]) for c in seen(tmp_path / "eleven", *KEEP).clips()]
    assert clips == [("a.mp4", 0, 2, "first words"), ("a.mp4", 2, 5, "second words"), ("b.mp4", 0, 5, "third words")]
    episodes = {"hand_camera.mp4": (4, 90), "top_camera.mp4": (3, 200)}
    joints = [
        {"uri": str(field / "28_episodes_in_one_file" / name), "start_frame": k * n, "end_frame": (k + 1) * n, "episode_index": k}
        for name, (parts, n) in episodes.items()
        for k in range(parts)
    ]
    go(listed(tmp_path / "e.jsonl", joints), tmp_path / "episodes", *KEEP)
    found = [(Path(c["uri"]).name, c["n_frames"], c["extra"]["episode_index"]) for c in seen(tmp_path / "episodes", *KEEP).clips()]
    assert found == [(name, n, k) for name, (parts, n) in episodes.items() for k in range(parts)]
