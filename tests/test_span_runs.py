"""Runs whose list gives spans: what is decoded, what is counted, what a changed list costs, and that the rows are those of a whole pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushes
from footage import Clip, render
from pictures import Gradual, edit, moving
from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import Outcome, Scan, Segment, Setup, Stitch, VideoJob
from rushes.engine.plan.plan import make_plan
from rushes.engine.work.child import perform
from rushes.engine.work.context import Context
from rushes.recipe import Recipe
from rushes.records import ListedSpan, spans_id
from rushes.shots.covered import Covered, asked_s
from rushes.shots.listed import frames_of
from rushes.sources.footage import find_footage
from rushes.store.store import Store
from stores import go, inline, recipe, rows_of, seen, settings_of

SIZE, GOP, N = (128, 72), 25, 300
KEEP = ("rules.too_short.min=0",)
Pieces = Sequence[tuple[int, int]]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """12 s at 25 frames a second, a key frame every second, with sound."""
    folder = tmp_path_factory.mktemp("span_runs")
    shots = edit(
        [moving(*SIZE, k, dx=2 - k) for k in range(4)], [70, 65, 75, 60], [Gradual("cut", 0), Gradual("dissolve", 30), Gradual("cut", 0)]
    )
    assert shots.n_frames == N
    return render(folder / "film.mp4", shots, gop=GOP, audio=True)


@pytest.fixture(scope="module")
def whole(film: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the pass over the whole film; lists are cut from it."""
    out = tmp_path_factory.mktemp("whole") / "store"
    work(film.path, out)
    return out


def wanted(*settings: str) -> Recipe:
    return recipe("rules.too_short.min=0", "captions.engine=none", *settings)


def work(footage: Path, out: Path, *settings: str) -> tuple[float, float]:
    """Does in this process the jobs on videos of a run, as guarded children do them; gives what `decoded_s` and `footage_s` count."""
    store, of, prints = Store.create(str(out), {}), wanted(*settings), fingerprints(wanted(*settings))
    (out / "lease.json").write_text(json.dumps({"owner": "test", "pid": 1, "at": ""}))
    context = Context(Setup(run_id="run", store=str(out), owner="test", recipe=of, prints=prints))
    decoded_s = footage_s = 0.0

    def do(job: VideoJob) -> Outcome:
        nonlocal decoded_s, footage_s
        outcome = perform(context, job, lambda _s: None)
        decoded_s += outcome.counts.get("decoded_s", 0.0)
        footage_s += outcome.counts.get("footage_s", 0.0)
        return outcome

    for job in make_plan([str(footage)], store, of).video_jobs():
        division = do(job).division
        if division is not None:
            assert isinstance(job, Scan)
            for index in division.missing:
                do(Segment(scan=job, division=division, index=index))
            do(Stitch(scan=job, division=division))
    assert decoded_s >= footage_s - 1e-6
    return decoded_s, footage_s


def listed(film: Clip, folder: Path, pieces: Pieces) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps({"uri": str(film.path), "start_frame": a, "end_frame": b, "k": a}) + "\n" for a, b in pieces))
    return path


def decoded(pieces: Pieces) -> float:
    """Seconds of the film from the key frames before some pieces to their ends, each counted once."""
    return len({k for a, b in pieces for k in range(a - a % GOP, b)}) / 25


def run(film: Clip, out: Path, pieces: Pieces, *settings: str) -> float:
    """The jobs of a list, which cost what the plan says; after them the plan is empty."""
    plan = listed(film, out.parent, pieces)
    before = rushes.plan([plan], out=out, recipe=wanted(*settings))
    decoded_s, footage_s = work(plan, out, *settings)
    assert decoded_s == pytest.approx(footage_s)
    assert (before["scan"]["missing"] + before.get("frames", {"missing": 0})["missing"] > 0) == (decoded_s > 0) == (before["decode_s"] > 0)
    after = rushes.plan([plan], out=out, recipe=wanted(*settings))
    assert all(after[stage]["missing"] == 0 for stage in ("scan", "frames", "shots", "measures")) and after["decode_s"] == 0
    return decoded_s


def rows(film: Clip, out: Path, pieces: Pieces, *settings: str) -> list[Any]:
    """The clips of a list with their measures, and the frames that a model would be sent."""
    (item,) = find_footage([str(listed(film, out.parent, pieces))], {}).items if pieces else find_footage([str(film.path)], {}).items
    found, prints = rows_of(out, "clips", "measures", "frames"), fingerprints(wanted(*settings))
    measures = {row["clip_id"]: row for row in found["measures"] if row["fingerprint"] == prints["measures"]}
    frames = sorted((f for f in found["frames"] if f["fingerprint"] == prints["frames"]), key=lambda f: f["pts"])
    clips = [c for c in found["clips"] if (c["spans"], c["fingerprint"]) == (spans_id(item.spans), prints["shots"])]
    return [
        (c, measures[c["clip_id"]], [f for f in frames if c["start_pts"] <= f["pts"] < c["end_pts"]])
        for c in sorted(clips, key=lambda c: (c["start_pts"], c["end_pts"]))
    ]


def as_whole(film: Clip, whole: Path, folder: Path, pieces: Pieces, *settings: str) -> list[Any]:
    """The same of a store in which the whole film was decoded before the list came."""
    out = folder / f"whole{len(list(folder.iterdir()))}" / "store"
    shutil.copytree(whole, out)
    assert work(listed(film, out.parent, pieces), out, *settings) == (0, 0)
    found = rows(film, out, pieces, *settings)
    assert found
    return found


def test_only_what_leads_to_the_spans_is_decoded_and_counted(film: Clip, whole: Path, tmp_path: Path) -> None:
    """By a run, and by the commands that read its store."""
    pieces = [(60, 80), (70, 90), (210, 230)]
    assert film.pts is not None
    out, plan = tmp_path / "store", listed(film, tmp_path, pieces)
    done = go(plan, out, *KEEP)
    expected = as_whole(film, whole, tmp_path, pieces)
    assert rows(film, out, pieces) == expected and len(expected) == 3 and all(frames for *_, frames in expected)
    assert done.counts["footage_s"] == done.counts["decoded_s"] == pytest.approx(decoded(pieces)) == pytest.approx(2.8)
    (video,), (as_before,) = rows_of(out, "videos")["videos"], rows_of(whole, "videos")["videos"]
    assert json.loads(video["covered"]) == [[film.pts[50], film.pts[90]], [film.pts[200], film.pts[230]]]
    assert video["footage_s"] == video["decoded_s"] == pytest.approx(2.8)
    assert {name for name in video if video[name] != as_before[name]} == {"covered", "footage_s", "decoded_s", "spans"}
    (signals,) = rows_of(out, "signals")["signals"]
    assert signals["pts"] == list(film.pts)
    assert {k for k, v in enumerate(signals["luma_mean"]) if v not in (None, "NaN")} == {*range(50, 90), *range(200, 230)}
    (line,) = inline("videos", out, "--json", *settings_of(*KEEP)).lines
    assert (line["covered"], line["n_clips"], line["n_frames"]) == (video["covered"], 3, N)
    again = go(plan, out, *KEEP)
    assert (again.counts["videos_reused"], again.counts["decoded_s"], again.counts["captions_made"]) == (1, 0, 0)


def test_a_list_costs_what_is_new_in_it(film: Clip, whole: Path, tmp_path: Path) -> None:
    """Lists one after the other: inside, beside, overlapping and across what is there; then no list; then a list again."""
    out = tmp_path / "store"
    for pieces, cost in (
        ([(60, 80)], 30),
        ([(52, 61), (70, 80)], 0),
        ([(80, 95), (0, 10)], 55),  # 50 to 95 in one pass, since they overlap
        ([(60, 80), (5, 9)], 0),
        ([(100, 120)], 20),  # beside it: both stay
        ([(90, 110)], 70),  # across both
        ([(60, 120), (2, 3)], 0),
    ):
        assert run(film, out, pieces) == pytest.approx(cost / 25), pieces
        assert rows(film, out, pieces) == as_whole(film, whole, tmp_path, pieces), pieces
    assert work(film.path, out) == pytest.approx((N / 25, N / 25))
    assert rows(film, out, []) == rows(film, whole, [])
    assert rows_of(out, "signals", "videos") == rows_of(whole, "signals", "videos")
    assert run(film, out, [(130, 160)]) == 0


def test_spans_cut_within_read_what_lies_around_them(film: Clip, whole: Path, tmp_path: Path) -> None:
    """The dissolve runs from 135 to 165: the frames at the edges of these spans are judged by frames outside them."""
    out, within = tmp_path / "store", ("shots.within_spans=true", "shots.gradual=true", "shots.guard_s=0.1")
    assert run(film, out, [(80, 150)]) == pytest.approx(75 / 25)
    for pieces, decodes in (([(80, 150)], True), ([(120, 148), (150, 220)], True), ([(130, 140)], False)):
        assert (work(listed(film, tmp_path, pieces), out, *within)[0] > 0) == decodes
        assert rushes.plan([listed(film, tmp_path, pieces)], out=out, recipe=wanted(*within))["scan"]["missing"] == 0
        assert rows(film, out, pieces, *within) == as_whole(film, whole, tmp_path, pieces, *within), pieces


@pytest.mark.slow
def test_other_frames_are_made_of_the_stretches_alone(film: Clip, tmp_path: Path) -> None:
    out, pieces, more = tmp_path / "store", [(60, 80), (210, 230)], "frames.per_s=2"
    run(film, out, pieces)
    signals = rows_of(out, "signals")["signals"]
    assert run(film, out, pieces[:1], more) == pytest.approx(30 / 25)
    assert run(film, out, pieces, more) == pytest.approx(30 / 25)
    assert rows_of(out, "signals")["signals"] == signals
    print_of = fingerprints(wanted(more))["frames"]
    grid = {f["pts"] for f in rows_of(out, "frames")["frames"] if f["fingerprint"] == print_of}
    assert film.pts is not None
    first_of_cell = {-(-c * 25 // 2) for c in range(24)}
    assert grid == {film.pts[k] for k in first_of_cell if 50 <= k < 80 or 200 <= k < 230}


def test_spans_beyond_the_end_decode_nothing(film: Clip, tmp_path: Path) -> None:
    plan = listed(film, tmp_path, [(400, 420)])
    assert work(plan, tmp_path / "store") == (0, 0)
    (error,), (video,) = rows_of(tmp_path / "store", "errors")["errors"], rows_of(tmp_path / "store", "videos")["videos"]
    assert error["error_type"] == "SpanError" and (video["status"], video["covered"], video["footage_s"]) == ("done", "[]", 0)
    assert rushes.plan([plan], out=tmp_path / "store", recipe=wanted())["scan"]["missing"] == 0


def test_other_frames_of_a_scanned_video_are_made_of_the_stretches_alone(film: Clip, whole: Path, tmp_path: Path) -> None:
    out, pieces, more = tmp_path / "store", [(60, 80)], "frames.per_s=2"
    shutil.copytree(whole, out)
    assert run(film, out, pieces, more) == pytest.approx(30 / 25)
    assert rows(film, out, pieces, more)[0][:2] == as_whole(film, whole, tmp_path, pieces)[0][:2]
    assert rows_of(out, "signals") == rows_of(whole, "signals")
    assert work(film.path, out, more) == pytest.approx((N / 25, N / 25)), "without a list all frames are wanted"


def test_a_run_that_was_killed_before_its_marks_leaves_nothing_wrong(film: Clip, whole: Path, tmp_path: Path) -> None:
    """Signals and frames of the second list are in the store, and its marks are not."""
    out, later = tmp_path / "one" / "store", tmp_path / "two" / "store"
    first, second = [(60, 80)], [(70, 95), (200, 220)]
    run(film, out, first)
    shutil.copytree(out, later)
    run(film, later, second)
    for table in ("signals", "frames"):
        shutil.rmtree(out / table)
        shutil.copytree(later / table, out / table)
    assert run(film, out, first) == 0
    assert rows(film, out, first) == as_whole(film, whole, tmp_path, first)
    assert run(film, out, second) > 0
    assert rows(film, out, second) == as_whole(film, whole, tmp_path, second)
    assert rows_of(out, "signals", "frames") == rows_of(later, "signals", "frames")


@pytest.mark.slow
def test_where_a_video_is_decoded_whole_the_log_says_why(film: Clip, tmp_path: Path) -> None:
    stream = render(tmp_path / "a.ts", (moving(*SIZE, 1), 100))
    fields = render(tmp_path / "fields.mp4", (moving(*SIZE, 1), 100), interlaced=True, gop=10)
    uris = [film.path, stream.path, fields.path]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps({"uri": str(u), "start_frame": 20, "end_frame": 30}) + "\n" for u in uris))
    log = tmp_path / "log"
    done = inline("run", tmp_path / "l.jsonl", "--out", tmp_path / "store", "--log", log, *settings_of(*KEEP))
    assert done.code == 0, done.err
    notes = {Path(e["uri"]).name: e["note"] for e in map(json.loads, log.read_text().splitlines()) if e["event"] == "scanned whole"}
    assert notes.keys() == {"a.ts", "fields.mp4"}
    assert "no index" in notes["a.ts"] and "interlaced" in notes["fields.mp4"]
    videos = {Path(v["uri"]).name: v for v in seen(tmp_path / "store", *KEEP).videos()}
    assert {name: v["covered"] is None for name, v in videos.items()} == {"film.mp4": False, "a.ts": True, "fields.mp4": True}
    row = inline("runs", tmp_path / "store", "--json").lines[-1]
    assert row["footage_s"] == pytest.approx(sum(v["footage_s"] for v in videos.values()))
    assert row["decoded_s"] > row["footage_s"], "the stretch of the interlaced film was decoded in vain"
    labels = {p.name for p in (tmp_path / "store" / "frames").rglob("*.parquet") if "span" in p.name}
    assert all(videos["film.mp4"]["video_id"] in name for name in labels) and labels


def test_frames_of_a_stretch_that_turned_out_unfit_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they were written before that was known."""
    monkeypatch.setattr("rushes.store.frames.MAX_PART_BYTES", 1)
    fields = render(tmp_path / "fields.mp4", (moving(*SIZE, 1), 100), interlaced=True, gop=10)
    decoded_s, footage_s = work(listed(fields, tmp_path, [(13, 30)]), tmp_path / "store")
    assert decoded_s > footage_s == pytest.approx(50 / 25), "the stretch was decoded in vain"
    names = [p.name for p in (tmp_path / "store" / "frames").rglob("*.parquet")]
    assert names and not any("-span" in name for name in names)


@pytest.mark.slow
def test_long_videos_are_divided_where_spans_hold_most_of_them(film: Clip, whole: Path, tmp_path: Path) -> None:
    """Segments of 2 s: stretches are one job whatever their length, and a video that is decoded whole is divided."""
    for k, (pieces, cost, divided) in enumerate((([(30, 200)], 175, False), ([(10, 290)], N, True), ([(0, 250)], N, True))):
        out = tmp_path / str(k) / "store"
        assert run(film, out, pieces, "engine.segment_s=2") == pytest.approx(cost / 25)
        assert any("-cut" in p.name for p in (out / "frames").rglob("*.parquet")) == divided
        assert rows(film, out, pieces) == as_whole(film, whole, tmp_path, pieces)


@pytest.mark.slow
def test_frames_that_are_kept_are_those_of_the_spans(film: Clip, whole: Path, tmp_path: Path) -> None:
    out, kept = tmp_path / "store", "frames.keep=kept"
    for pieces in ([(60, 80)], [(60, 80), (110, 130)]):
        run(film, out, pieces, kept)
        expected = as_whole(film, whole, tmp_path, pieces)
        for (clip, measures, frames), (*other, of_all) in zip(rows(film, out, pieces, kept), expected, strict=True):
            assert [clip, measures] == other and [f["pts"] for f in frames] == [f["pts"] for f in of_all]


def test_what_is_covered_holds_the_spans_whose_frames_it_has() -> None:
    """Against a plain look at the frames of each span."""
    rng = np.random.default_rng(5)
    for _ in range(300):
        base = Fraction(1, int(rng.choice([90_000, 12_800, 1000])))
        pts = np.cumsum(rng.choice([7, 40, 41, 90], rng.integers(20, 40))).astype(np.int64) + int(rng.integers(-500, 500))
        edges = sorted(rng.choice(len(pts) + 1, 4, replace=False).tolist())
        parts = [(edges[0], edges[1]), (edges[2], edges[3])]
        covered = Covered.of_text(Covered.of(parts, pts, around=False).text())
        for unit in ("frame", "pts", "s"):
            a, b = sorted(rng.choice(len(pts), 2, replace=False).tolist())
            ticks = (int(pts[a]) + int(rng.integers(-3, 4)), int(pts[b]) + int(rng.integers(-3, 4)))
            ends = {"frame": (a, b), "pts": ticks, "s": tuple((t - int(pts[0])) * base for t in ticks)}[unit]
            span = ListedSpan(unit, str(ends[0]), str(ends[1]), "{}")  # type: ignore[arg-type]
            frames = frames_of(span, pts, base)
            if frames is not None:
                inside = any(first <= frames[0] and frames[1] <= stop for first, stop in parts)
                assert covered.holds([span], int(pts[0]), base) == inside, (unit, ends, parts)


def test_how_long_spans_are_before_a_video_is_read() -> None:
    spans = [ListedSpan("s", "1", "3", "{}"), ListedSpan("s", "2", "5/2", "{}"), ListedSpan("s", "10", "11", "{}")]
    assert asked_s(spans, None) == 3
    frames = [ListedSpan("frame", "10", "20", "{}"), ListedSpan("pts", "1500", "2500", "{}")]
    assert asked_s(frames, None) == float("inf")
    assert asked_s(frames, {"time_base": "1/1000", "fps": 10.0, "first_pts": 500}) == 1
