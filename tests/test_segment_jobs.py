"""The jobs on long videos, as the guarded child does them: the store afterwards is that of a whole scan."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from footage import Clip, render
from pictures import film
from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import FAILURE, SETUP, Attempt, Division, Outcome, Scan, Segment, Setup, Stitch, VideoJob
from rushes.engine.pipe import Jobs
from rushes.engine.work.child import begin, perform
from rushes.engine.work.context import Context
from rushes.engine.work.segments import forget, present
from rushes.engine.worker import Failures, Worker
from rushes.measures.clip import COLUMNS
from rushes.media.identity import video_id
from rushes.recipe import Recipe
from rushes.records import Video
from rushes.scan.one_pass import signal_columns
from rushes.store.lease import Lease, holder
from rushes.store.store import Store
from rushes.store.tables import CLIPS, FRAMES, MARKS, MEASURES, SEGMENTS, SIGNALS, VIDEOS

Footage = Callable[[str, Callable[[Path], Clip]], Clip]
Ask = Callable[[VideoJob], Outcome]
SETTINGS = ("engine.segment_s=4", "frames.per_s=3", "rules.too_short.min=1", "rules.blocky.max=1")
UNLIKE = {"run_id", "written_at", "cpu_s"}


@pytest.fixture
def clip(footage: Footage) -> Clip:
    return footage("segment_jobs.mp4", lambda path: render(path, film(160, 90, [60, 75, 165]), gop=25))


def job_of(path: Path) -> Scan:
    size = path.stat().st_size
    video = Video(uri=str(path), source=str(path), video_id=video_id(str(path), size, {}), size=size, stamp=str(path.stat().st_mtime_ns))
    return Scan(video=video)


@pytest.fixture
def job(clip: Clip) -> Scan:
    return job_of(clip.path)


def asked(out: Path, *settings: str) -> Ask:
    """Does jobs on a store, in this process."""
    (out / "lease.json").write_text(json.dumps({"owner": "test", "pid": 1, "at": ""}))
    context = context_of(out, *settings)
    return lambda job: perform(context, job, lambda _s: None)


def context_of(out: Path, *settings: str) -> Context:
    wanted = Recipe().with_overrides([*SETTINGS, *settings])
    return Context(Setup(run_id="run", store=str(out), owner="test", recipe=wanted, prints=fingerprints(wanted)))


def divided(ask: Ask, job: Scan) -> Division:
    division = ask(job).division
    assert division is not None
    return division


def store_of(out: Path) -> Store:
    return Store.create(str(out), {})


def tables(store: Store) -> list[Any]:
    """What readers see of each table that a scan makes; as text, since a null signal is no number."""
    found = []
    extras = {SIGNALS: signal_columns(Recipe()), MEASURES: COLUMNS}
    for table in (SIGNALS, FRAMES, CLIPS, MEASURES, VIDEOS, MARKS):
        rows = store.read(table, extra=extras.get(table, ())).to_pylist()
        found.append([repr({k: v for k, v in row.items() if k not in UNLIKE}) for row in rows])
    return found


def marks(store: Store) -> dict[str, int]:
    return {row["stage"]: row["rows"] for row in store.read(MARKS).to_pylist()}


@pytest.fixture
def whole(tmp_path: Path, job: Scan) -> tuple[Outcome, Store]:
    out = tmp_path / "whole"
    store = store_of(out)
    return asked(out, "engine.segment_s=0")(job), store


def test_the_store_is_that_of_a_whole_scan(tmp_path: Path, job: Scan, whole: tuple[Outcome, Store]) -> None:
    store = store_of(tmp_path / "cut")
    ask = asked(tmp_path / "cut")
    split = ask(job)
    division = split.division
    assert split.note is None and division is not None and len(division.cuts.segments) == 3 and division.missing == (0, 1, 2)
    answers = [ask(Segment(scan=job, division=division, index=index)) for index in (2, 0, 1)]
    joined = ask(Stitch(scan=job, division=division))
    assert joined.note is None
    assert tables(store) == tables(whole[1])
    assert joined.kept == whole[0].kept != ()
    assert len(store.read(FRAMES)) == marks(store)["frames"]
    counts, once = joined.counts, whole[0].counts
    assert (counts["footage_s"], counts["decoded_s"]) == (pytest.approx(once["footage_s"]), 0)
    assert counts["clips_kept"] == once["clips_kept"]
    assert sum(a.counts["decoded_s"] for a in answers) == pytest.approx(once["decoded_s"])
    assert sum(a.counts["footage_s"] for a in answers) == 0
    [row] = store.read(VIDEOS).to_pylist()
    assert row["decoded_s"] == row["footage_s"] == pytest.approx(once["footage_s"])
    assert row["cpu_s"] > sum(a.busy["scan"] for a in answers) * 0.8
    assert present(store, job.video.video_id, division.fingerprint) == set(), "when the video is complete its segments go"


def test_segments_that_are_there_are_known_and_can_be_done_again(tmp_path: Path, job: Scan) -> None:
    store = store_of(tmp_path / "cut")
    ask = asked(tmp_path / "cut")
    division = divided(ask, job)
    who, fingerprint = job.video.video_id, division.fingerprint
    assert present(store, who, fingerprint) == set()
    for index in (0, 2, 2):
        ask(Segment(scan=job, division=division, index=index))
    assert present(store, who, fingerprint) == {0, 2} and len(store.parts(SEGMENTS)) == 2
    assert divided(ask, job).missing == (1,)
    parts = store.parts(FRAMES)
    ask(Segment(scan=job, division=division, index=2))
    assert store.parts(FRAMES) == parts
    assert forget(store, {"another"}) == 0
    assert forget(store, {who}) == 2 and present(store, who, fingerprint) == set()


def test_frames_that_are_there_are_left_alone(tmp_path: Path, job: Scan) -> None:
    """They may come from another division, under another scan."""
    store, parts, stages = store_of(tmp_path / "cut"), [], []
    for settings, there in (((), ()), (("scan.grid_per_s=2", "engine.segment_s=5"), ("frames",))):
        ask, some = asked(tmp_path / "cut", *settings), replace(job, present=there)
        division = divided(ask, some)
        for index in range(len(division.cuts.segments)):
            ask(Segment(scan=some, division=division, index=index))
        before = len(store.read(MARKS))
        ask(Stitch(scan=some, division=division))
        parts.append(store.parts(FRAMES))
        stages.append(len(store.read(MARKS)) - before)
    assert parts[0] == parts[1]
    assert stages == [4, 3], "scan, frames, shots and measures; then all but frames"


def test_what_changes_segments_changes_their_fingerprint(tmp_path: Path, job: Scan) -> None:
    store_of(tmp_path / "cut")
    prints = [
        divided(asked(tmp_path / "cut", *settings), job).fingerprint
        for settings in ((), ("scan.workers=2",), ("engine.segment_s=5",), ("scan.grid_per_s=2",), ("frames.per_s=1",))
    ]
    assert prints[0] == prints[1] and len(set(prints)) == 4


def test_a_video_whose_segments_do_not_fit_is_scanned_whole(tmp_path: Path, job: Scan, whole: tuple[Outcome, Store]) -> None:
    store = store_of(tmp_path / "cut")
    ask = asked(tmp_path / "cut")
    division = divided(ask, job)
    segments = tuple(replace(segment, first_pts=7) for segment in division.cuts.segments)  # so that frames lie at other times
    wrong = replace(division, cuts=replace(division.cuts, segments=segments))
    for index in range(3):
        ask(Segment(scan=job, division=wrong, index=index))
    joined = ask(Stitch(scan=job, division=wrong))
    assert joined.note is not None and "is scanned whole: the first frame has pts 0, not 7" in joined.note
    assert tables(store) == tables(whole[1]) and joined.kept == whole[0].kept
    assert joined.counts["footage_s"] == joined.counts["decoded_s"] == pytest.approx(whole[0].counts["footage_s"])


def test_damage_and_missing_segments_have_it_scanned_whole(tmp_path: Path, clip: Clip) -> None:
    data = bytearray(clip.path.read_bytes())
    data[len(data) * 3 // 5 : len(data) * 3 // 5 + 400] = bytes(range(200)) * 2
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    job = job_of(broken)
    store = store_of(tmp_path / "cut")
    ask = asked(tmp_path / "cut")
    division = divided(ask, job)
    outcomes = [ask(Segment(scan=job, division=division, index=index)) for index in range(3)]
    assert not outcomes[0].refused and any(o.refused and o.note and "damaged" in o.note for o in outcomes)
    joined = ask(Stitch(scan=job, division=division))
    assert joined.note is not None and "damaged" in joined.note and store.read(VIDEOS).to_pylist()[0]["n_corrupt"] > 0
    note = ask(Stitch(scan=job, division=replace(division, fingerprint="f" * 32))).note
    assert note is not None and "segment 0 is missing" in note


@pytest.mark.parametrize(
    "settings, word", [(("frames.keep=kept",), "frames.keep"), (("engine.segment_s=60",), None), (("engine.segment_s=0",), None)]
)
def test_what_is_not_split_says_why(settings: tuple[str, ...], word: str | None, tmp_path: Path, job: Scan) -> None:
    store = store_of(tmp_path / "cut")
    outcome = asked(tmp_path / "cut", *settings)(job)
    assert store.read(VIDEOS).to_pylist()[0]["status"] == "done", "it is scanned at once"
    assert outcome.note is None if word is None else outcome.note is not None and word in outcome.note


def test_a_guarded_child_does_them(tmp_path: Path, job: Scan, whole: tuple[Outcome, Store]) -> None:
    out = tmp_path / "guarded"
    store, wanted = store_of(out), Recipe().with_overrides(SETTINGS)
    with Lease(store, "run").held(wait=False, interrupted=threading.Event()):
        found = holder(store)
        assert found is not None
        setup = Setup(run_id="run", store=str(out), owner=found["owner"], recipe=wanted, prints=fingerprints(wanted))
        worker = Worker(setup, Failures(setup, store), threading.Event())
        try:
            division = worker.do(job, Attempt()).division
            assert division is not None
            reached: list[float] = []
            for index in range(3):
                assert worker.do(Segment(scan=job, division=division, index=index), Attempt(), reached.append).failure is None
            joined = worker.do(Stitch(scan=job, division=division), Attempt(), reached.append)
        finally:
            worker.kill()
    assert tables(store) == tables(whole[1])
    assert joined.kept == whole[0].kept and reached


def test_a_slow_storage_is_no_hang_of_the_decoder(tmp_path: Path) -> None:
    """While the store is written the guard hears that the job is alive."""
    store_of(out := tmp_path / "store")
    (out / "lease.json").write_text(json.dumps({"owner": "test", "pid": 1, "at": ""}))
    context, heard = context_of(out), []
    context.tick = lambda: heard.append(time.monotonic())

    def slowly(file: BinaryIO) -> None:
        time.sleep(2.5)
        file.write(b"rows")

    context.store.put(context.store.path("slow.bin"), slowly)
    assert len(heard) == 2
    time.sleep(1.2)
    assert len(heard) == 2, "nothing is said after the write"


def test_a_child_that_cannot_be_set_up_ends_the_run_in_words(tmp_path: Path) -> None:
    """Not one video after the other, since it is no fault of theirs."""
    setup = SETUP.dump_python(Setup(run_id="run", store=str(tmp_path), owner="test", recipe=Recipe(), prints={}), mode="json")
    setup["recipe"]["scan"]["mode"] = "no such mode"
    failure = FAILURE.validate_python(Jobs(begin).do({"setup": setup}, lambda _s: None)["error"])
    assert failure.fatal and failure.error_type == "CannotGoOn"
    assert failure.what.startswith("a decoding process cannot begin: ")
