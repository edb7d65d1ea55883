"""The comparison of a run with its store: the same whatever the size of the batches, and told by hand-made rows."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import Settled
from rushes.engine.plan.known import Known
from rushes.engine.plan.plan import Plan, make_plan
from rushes.recipe import Recipe
from rushes.store.compact import compact
from rushes.store.store import Store
from rushes.store.tables import CAPTIONS, ERRORS
from stores import Reel, recipe
from variants import variants

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ASKS_MODEL = Recipe.parse({"captions": {"engine": "openai", "model": "one"}})


def shown(plan: Plan) -> tuple[object, ...]:
    sources = [(s.footage.uri, s.status, s.video_id, s.known, s.video) for s in plan.sources]
    jobs = [sorted(jobs, key=repr) for jobs in (plan.video_jobs(), plan.clip_jobs())]
    return plan.as_dict(), jobs, sources, plan.kept, plan.dropped, plan.failed_clips


@pytest.mark.parametrize(
    "settings",
    variants(
        [(), ("rules.too_short.min=0.5",), ("shots.min_s=0.9",), ("frames.per_s=1",), ("clips.mode=copy",), ("rules.aspect.max=1.7",)],
        quick=[("shots.min_s=0.9",), ("clips.mode=copy",)],
    ),
    ids=["nothing", "a rule", "shots", "frames", "files", "a fact"],
)
def test_batches_and_compaction_change_no_plan(
    reel: Reel, reel_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    out = tmp_path / "store"
    shutil.copytree(reel_store, out)
    store, wanted = Store.open(str(out), {}), recipe(*settings)
    whole = shown(make_plan([str(reel.folder)], store, wanted))
    monkeypatch.setattr("rushes.engine.plan.known.VIDEOS_A_BATCH", 1)
    assert shown(make_plan([str(reel.folder)], store, wanted)) == whole
    compact(store)
    assert shown(make_plan([str(reel.folder)], store, wanted)) == whole


def test_clips_that_want_no_caption_any_more_are_known_by_video(tmp_path: Path) -> None:
    store, prints = Store.create(str(tmp_path / "store"), {}), fingerprints(ASKS_MODEL)
    stamps = {"fingerprint": prints.get("captions"), "run_id": "r", "written_at": NOON}
    videos = {k: k * 64 for k in "abc"}
    rows = [{"clip_id": f"{k}{n}", "video_id": v, "text": "t", **stamps} for k, v in videos.items() for n in range(2)]
    store.write_rows(CAPTIONS, [*rows, {**rows[0], "clip_id": "of another prompt", "fingerprint": "0" * 32}])
    failed = {"stage": "captions", "video_id": videos["a"], "attempt": 1, **stamps}
    store.write_rows(ERRORS, [{**failed, "key": "a7", "permanent": True}, {**failed, "key": "a8", "permanent": False}])
    [batch] = Known(store, ASKS_MODEL).batches(dict.fromkeys(videos.values(), ()))
    made = {videos["a"]: ["a0", "a1"], videos["c"]: ["c0", "c1"]}
    assert batch.settled("captions", [videos["a"], videos["c"]]) == made | {videos["a"]: ["a0", "a1", "a7"]}
    assert batch.failed_for_good("captions", [videos["a"], videos["c"]]) == {videos["a"]: ["a7"]}
    [again] = Known(store, ASKS_MODEL, retry_failed=True).batches(dict.fromkeys(videos.values(), ()))
    assert again.failed_for_good("captions", batch.videos) == {}
    assert batch.failed_for_good("captions", batch.videos) == {videos["a"]: ["a7"]}


def test_a_job_that_cuts_anew_says_which_clips_are_captioned(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    """Captions of a model do not hang on shots: where a span stays, so does its caption."""
    out = tmp_path / "store"
    shutil.copytree(reel_store, out)
    store = Store.open(str(out), {})
    wanted = recipe("captions.engine=openai", "captions.model=one", "shots.min_s=0.9")
    [first, second] = make_plan([str(reel.folder)], store, wanted).video_jobs()
    assert (first.kind, second.kind) == ("recut", "recut")
    assert first.settled == Settled()
    row = {
        "clip_id": "c",
        "video_id": first.video.video_id,
        "fingerprint": fingerprints(wanted).get("captions"),
        "run_id": "r",
        "written_at": NOON,
    }
    store.write_rows(CAPTIONS, [row])
    again = make_plan([str(reel.folder)], store, wanted).video_jobs()
    assert [job.settled for job in again] == [Settled(done={"captions": ("c",)}), Settled()]
