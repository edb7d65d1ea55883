"""The jobs on long videos, as the guarded child does them: the store afterwards is that of a whole scan."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from footage import Clip, render
from pictures import film
from rushes.engine.child import Jobs
from rushes.engine.segmenting import forget, present
from rushes.engine.workers import Workers
from rushes.media.identity import video_id
from rushes.recipe import Recipe
from rushes.scan.one_pass import signal_columns
from rushes.store.store import Store
from rushes.store.tables import FRAMES, SEGMENTS, SIGNALS

Footage = Callable[[str, Callable[[Path], Clip]], Clip]
Ask = Callable[..., dict[str, Any]]
SETTINGS = ("engine.segment_s=4", "frames.per_s=3", "rules.too_short.min=1")
UNLIKE = {"run_id", "written_at", "cpu_s"}


@pytest.fixture
def clip(footage: Footage) -> Clip:
    return footage("segment_jobs.mp4", lambda path: render(path, film(160, 90, [60, 75, 165]), gop=25))


def job_of(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    who = {"uri": str(path), "source": str(path), "video_id": video_id(str(path), size, {}), "size": size}
    return {**who, "stamp": "then", "extra": None, "present": [], "filed": []}


@pytest.fixture
def job(clip: Clip) -> dict[str, Any]:
    return job_of(clip.path)


def asked(out: Path, *settings: str) -> Ask:
    """Jobs on a store, in this process."""
    recipe, jobs = Recipe().with_overrides([*SETTINGS, *settings]), Jobs()
    setup = {"kind": "setup", "store": str(out), "recipe": recipe.model_dump(mode="json"), "run_id": "run", "uri": ""}
    assert jobs.do(setup, lambda _s: None) == {"done": {}}

    def ask(kind: str, job: dict[str, Any], **more: Any) -> dict[str, Any]:
        answer = jobs.do({**job, "kind": kind, **more}, lambda _s: None)
        assert "done" in answer, answer
        return dict(answer["done"])

    return ask


def store_of(out: Path) -> Store:
    return Store.create(str(out), {})


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """The rows of an answer, without what differs from run to run."""
    return {name: [{k: v for k, v in row.items() if k not in UNLIKE} for row in rows] for name, rows in answer["rows"].items()}


def tables(store: Store) -> list[Any]:
    """Signals and frames that readers see; as text, since a null signal is no number."""
    found = []
    for table, extra in ((SIGNALS, signal_columns(Recipe())), (FRAMES, ())):
        rows = store.read(table, extra=extra).to_pylist()
        found.append([repr({k: v for k, v in row.items() if k not in UNLIKE}) for row in rows])
    return found


@pytest.fixture
def whole(tmp_path: Path, job: dict[str, Any]) -> tuple[dict[str, Any], Store]:
    out = tmp_path / "whole"
    store = store_of(out)
    return asked(out, "engine.segment_s=0")("scan", job), store


def test_the_store_is_that_of_a_whole_scan(tmp_path: Path, job: dict[str, Any], whole: tuple[dict[str, Any], Store]) -> None:
    store, ask = store_of(tmp_path / "cut"), asked(tmp_path / "cut")
    split = ask("scan", job)
    cuts = split["cuts"]
    assert split["note"] is None and len(cuts["segments"]) == 3
    answers = [ask("segment", job, cuts=cuts, index=index) for index in (2, 0, 1)]
    joined = ask("stitch", job, cuts=cuts)
    assert joined["note"] is None
    assert plain(joined) == plain(whole[0])
    assert tables(store) == tables(whole[1])
    assert len(store.read(FRAMES)) == sum(row["rows"] for row in joined["rows"]["marks"] if row["stage"] == "frames")
    assert (joined["footage_s"], joined["decoded_s"]) == (pytest.approx(whole[0]["footage_s"]), 0) and joined["kept"] == whole[0]["kept"]
    assert sum(a["decoded_s"] for a in answers) == pytest.approx(whole[0]["decoded_s"])
    assert sum(a["footage_s"] for a in answers) == 0
    (row,) = joined["rows"]["videos"]
    assert row["decoded_s"] == row["footage_s"] == pytest.approx(whole[0]["footage_s"])
    assert row["cpu_s"] > sum(a["busy"]["scan"] for a in answers) * 0.8


def test_segments_that_are_there_are_known_and_can_be_done_again(tmp_path: Path, job: dict[str, Any]) -> None:
    store, ask = store_of(tmp_path / "cut"), asked(tmp_path / "cut")
    cuts = ask("scan", job)["cuts"]
    who, fingerprint = job["video_id"], cuts["fingerprint"]
    assert present(store, who, fingerprint) == set()
    for index in (0, 2, 2):
        ask("segment", job, cuts=cuts, index=index)
    assert present(store, who, fingerprint) == {0, 2} and len(store.parts(SEGMENTS)) == 2
    parts = store.parts(FRAMES)
    ask("segment", job, cuts=cuts, index=2)
    assert store.parts(FRAMES) == parts
    assert forget(store, {"another"}) == 0
    assert forget(store, {who}) == 2 and present(store, who, fingerprint) == set()


def test_frames_that_are_there_are_left_alone(tmp_path: Path, job: dict[str, Any]) -> None:
    """They may come from another cut, under another scan."""
    store = store_of(tmp_path / "cut")
    answers = []
    for settings, there in (((), []), (("scan.grid_per_s=2", "engine.segment_s=5"), ["frames"])):
        ask, some = asked(tmp_path / "cut", *settings), {**job, "present": there}
        cuts = ask("scan", some)["cuts"]
        for index in range(len(cuts["segments"])):
            ask("segment", some, cuts=cuts, index=index)
        answers.append((ask("stitch", some, cuts=cuts), store.parts(FRAMES)))
    assert answers[0][1] == answers[1][1]
    stages = [{row["stage"] for row in a["rows"]["marks"]} for a, _ in answers]
    assert stages == [{"scan", "frames", "shots", "measures"}, {"scan", "shots", "measures"}]


def test_what_changes_segments_changes_their_fingerprint(tmp_path: Path, job: dict[str, Any]) -> None:
    store_of(tmp_path / "cut")
    prints = [
        asked(tmp_path / "cut", *settings)("scan", job)["cuts"]["fingerprint"]
        for settings in ((), ("scan.workers=2",), ("engine.segment_s=5",), ("scan.grid_per_s=2",), ("frames.per_s=1",))
    ]
    assert prints[0] == prints[1] and len(set(prints)) == 4


def test_a_video_whose_segments_do_not_fit_is_scanned_whole(
    tmp_path: Path, job: dict[str, Any], whole: tuple[dict[str, Any], Store]
) -> None:
    store, ask = store_of(tmp_path / "cut"), asked(tmp_path / "cut")
    cuts = ask("scan", job)["cuts"]
    for index in range(3):
        wrong = {**cuts, "segments": [{**s, "first_pts": 7} for s in cuts["segments"]]}  # so that frames lie at other times
        ask("segment", job, cuts=wrong, index=index)
    joined = ask("stitch", job, cuts=wrong)
    assert "is scanned whole: the first frame has pts 0, not 7" in joined["note"]
    assert plain(joined) == plain(whole[0]) and tables(store) == tables(whole[1])
    assert joined["footage_s"] == joined["decoded_s"] == pytest.approx(whole[0]["footage_s"])


def test_damage_and_missing_segments_have_it_scanned_whole(tmp_path: Path, clip: Clip) -> None:
    data = bytearray(clip.path.read_bytes())
    data[len(data) * 3 // 5 : len(data) * 3 // 5 + 400] = bytes(range(200)) * 2
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    job = job_of(broken)
    store_of(tmp_path / "cut")
    ask = asked(tmp_path / "cut")
    cuts = ask("scan", job)["cuts"]
    notes = [ask("segment", job, cuts=cuts, index=index)["note"] for index in range(3)]
    assert notes[0] is None and any(note and "damaged" in note for note in notes)
    joined = ask("stitch", job, cuts=cuts)
    assert "damaged" in joined["note"] and joined["rows"]["videos"][0]["n_corrupt"] > 0
    assert "segment 0 is missing" in ask("stitch", job, cuts={**cuts, "fingerprint": "f" * 32})["note"]


@pytest.mark.parametrize(
    "settings, word", [(("frames.keep=kept",), "frames.keep"), (("engine.segment_s=60",), None), (("engine.segment_s=0",), None)]
)
def test_what_is_not_split_says_why(settings: tuple[str, ...], word: str | None, tmp_path: Path, job: dict[str, Any]) -> None:
    store_of(tmp_path / "cut")
    answer = asked(tmp_path / "cut", *settings)("scan", job)
    assert answer["rows"]["videos"][0]["status"] == "done", "it is scanned at once"
    assert "note" not in answer if word is None else word in answer["note"]


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Workers]:
    recipe = Recipe().with_overrides(SETTINGS)
    setup = {"store": str(tmp_path / "guarded"), "recipe": recipe.model_dump(mode="json"), "run_id": "run"}
    made = Workers(recipe.scan, 1, setup, threading.Event())
    yield made
    made.close()


def test_a_guarded_child_does_them(tmp_path: Path, job: dict[str, Any], children: Workers, whole: tuple[dict[str, Any], Store]) -> None:
    store = store_of(tmp_path / "guarded")
    with children.lent() as child:
        cuts = children.do(child, {**job, "kind": "scan"}, print)["done"]["cuts"]
        told: list[float] = []
        for index in range(3):
            assert "done" in children.do(child, {**job, "kind": "segment", "cuts": cuts, "index": index}, told.append)
        joined = children.do(child, {**job, "kind": "stitch", "cuts": cuts}, told.append)["done"]
    assert plain(joined) == plain(whole[0]) and tables(store) == tables(whole[1])
