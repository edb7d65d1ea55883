"""Sparse mode in runs: which mode is in force, what is counted, what a list's spans cost, and what a second run does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import rushes
from footage import Clip, render
from pictures import edit, film, moving
from rushes.engine import stages
from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import Setup
from rushes.engine.plan.plan import make_plan
from rushes.engine.work.child import perform
from rushes.engine.work.context import Context
from rushes.errors import RecipeError
from rushes.operators import Scan as ScanOperator
from rushes.recipe import Recipe
from rushes.store.store import Store
from stores import rows_of
from variants import variants

SIZE = (128, 72)
SETTINGS = ("scan.mode=sparse", "shots.detector=stride", "shots.stride_s=8", "captions.engine=none", "rules.too_short.min=0")


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Clip]:
    """A film of 20 s with a key frame each second, the same in fragments of a second and in ones of a frame, and with a key frame each 5 s,
    and one without pts of its own; 25 frames a second.
    """
    folder = tmp_path_factory.mktemp("footage")
    shots = edit([moving(*SIZE, k, dx=1.5 - k) for k in range(3)], [170, 163, 167])
    return {
        "often": render(folder / "often.mp4", shots, gop=25),
        "parts": render(folder / "parts.mp4", shots, gop=25, container={"movflags": "delay_moov+default_base_moof+frag_keyframe"}),
        "frames": render(folder / "frames.mp4", shots, gop=25, container={"movflags": "delay_moov+frag_every_frame"}),
        "rare": render(folder / "rare.mp4", shots, gop=125, bframes=0),
        "old": render(folder / "old.avi", film(*SIZE, [100]), gop=25),
        "sent": render(folder / "sent.ts", shots, gop=25),
        "av1": render(folder / "av1.webm", shots, codec="av1", gop=25),
    }


def wanted(*settings: str) -> Recipe:
    return Recipe().with_overrides([*SETTINGS, *settings])


def work(footage: list[Path], out: Path, *settings: str, notes: list[str | None] | None = None) -> dict[str, float]:
    """Does the jobs on videos of a run in this process, as guarded children do them; gives what they count, and adds what they note."""
    store, of = Store.create(str(out), {}), wanted(*settings)
    (out / "lease.json").write_text(json.dumps({"owner": "test", "pid": 1, "at": ""}))
    prints = fingerprints(of)
    context = Context(Setup(run_id="run", store=str(out), owner="test", recipe=of, prints=prints))
    counts = {"decoded_s": 0.0, "footage_s": 0.0, "jobs": 0.0}
    for job in make_plan([str(path) for path in footage], store, of).video_jobs():
        outcome = perform(context, job, lambda _s: None)
        assert outcome.division is None, "a video in sparse mode has no segments"
        counts["jobs"] += 1
        if notes is not None:
            notes.append(outcome.note)
        for name in ("decoded_s", "footage_s"):
            counts[name] += outcome.counts.get(name, 0.0)
    return counts


def rows(out: Path, *, of_list: bool = False) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The videos by name, and the clips with their measures: those of the video itself, or those of a list's spans."""
    found = rows_of(out, "videos", "clips", "measures")
    measures = {row["clip_id"]: row for row in found["measures"]}
    clips = [{"measures": measures[row["clip_id"]], **row} for row in found["clips"] if (row["spans"] is not None) == of_list]
    return {Path(video["uri"]).name: video for video in found["videos"]}, sorted(clips, key=lambda row: (row["start_pts"], row["end_pts"]))


def test_each_video_says_which_mode_was_in_force_and_what_was_decoded(footage: dict[str, Clip], tmp_path: Path) -> None:
    """Of a video with a key frame each 25 pictures 3 of each 25 pass the decoder, and nothing of it is scanned in segments."""
    out, settings = tmp_path / "store", ("engine.segment_s=4",)
    files = [footage["often"].path]
    before = rushes.plan(files, out=out, recipe=wanted(*settings))
    counts = work(files, out, *settings)
    assert counts["footage_s"] == pytest.approx(20) and counts["decoded_s"] == pytest.approx(20 * 3 / 25)
    assert before["decode_s"] > 0 and rushes.plan(files, out=out, recipe=wanted(*settings))["decode_s"] == 0
    videos, clips = rows(out)
    video = videos["often.mp4"]
    assert (video["mode"], video["n_frames"], video["n_packets"]) == ("sparse", 500, 500)
    assert video["decoded_s"] / video["footage_s"] == pytest.approx(0.12)
    assert [clip["n_frames"] for clip in clips] == [200, 200, 100] and {clip["mode"] for clip in clips} == {"sparse"}
    assert all(clip["measures"]["luma_mean"] is not None and clip["measures"]["cuts"] is None for clip in clips)
    plan = make_plan([str(file) for file in files], Store.open(str(out), {}), wanted("scan.sparse_burst=4"))
    assert (plan.decode_s, plan.footage_s) == (pytest.approx(20 * 3 / 25), pytest.approx(20))  # as it was known
    assert work(files, out, *settings)["jobs"] == 0


def test_transport_streams_and_av1_are_sparse_and_of_a_list_they_are_scanned_whole(footage: dict[str, Clip], tmp_path: Path) -> None:
    """What a transport stream measures are the pictures of the mp4 with the same packets, and AV1 measures what it does in exact mode."""
    files, out, exact, of_list = [footage[name].path for name in ("sent", "av1", "often")], *(tmp_path / name for name in "abc")
    counts = work(files, out)
    assert counts["footage_s"] == pytest.approx(60) and counts["decoded_s"] == pytest.approx(60 * 3 / 25, rel=0.02)
    videos, clips = rows(out)
    assert {video["mode"] for video in videos.values()} == {"sparse"} and {video["n_frames"] for video in videos.values()} == {500}
    sent, av1, often = ([c["measures"] for c in clips if c["video_id"] == videos[path.name]["video_id"]] for path in files)
    for name in ("luma_mean", "sharpness", "motion_mean", "blockiness", "freeze_share", "shake"):
        assert [clip[name] for clip in sent] == pytest.approx([clip[name] for clip in often], rel=1e-6), name
    work([files[1]], exact, "scan.mode=exact", "shots.gradual=false")
    for name, near in (("luma_mean", 0.02), ("sharpness", 0.15)):
        assert [clip[name] for clip in av1] == pytest.approx([clip["measures"][name] for clip in rows(exact)[1]], rel=near), name
    counts = work([listed(footage["sent"], tmp_path, [(2.4, 6.0)])], of_list)
    videos, clips = rows(of_list, of_list=True)
    assert (videos["sent.ts"]["mode"], videos["sent.ts"]["covered"], len(clips)) == ("sparse", None, 1)
    assert counts["footage_s"] == pytest.approx(20) and counts["decoded_s"] == pytest.approx(20 * 3 / 25, rel=0.02)


def test_where_it_cannot_be_had_the_video_is_fast_or_exact(footage: dict[str, Clip], tmp_path: Path) -> None:
    out = tmp_path / "store"
    counts = work([footage["rare"].path, footage["old"].path], out)
    assert counts["decoded_s"] == pytest.approx(counts["footage_s"])
    videos, _ = rows(out)
    assert (videos["rare.mp4"]["mode"], videos["old.avi"]["mode"]) == ("exact", "exact")  # neither has frames that may be skipped
    assert videos["rare.mp4"]["decoded_s"] == videos["rare.mp4"]["footage_s"]


def listed(clip: Clip, folder: Path, pieces: list[tuple[float, float]]) -> Path:
    path = folder / f"list{len(list(folder.iterdir()))}.jsonl"
    path.write_text("".join(json.dumps({"uri": str(clip.path), "start_s": a, "end_s": b}) + "\n" for a, b in pieces))
    return path


@pytest.mark.parametrize("name", variants(["often", "parts", "frames"], quick=["often", "parts"]))
def test_of_spans_only_bursts_of_their_stretches_are_decoded(name: str, footage: dict[str, Clip], tmp_path: Path) -> None:
    """The spans' clips equal those that the same spans have in a scan of the whole video; a list that asks for more decodes only that."""
    clip, pieces = footage[name], [(2.4, 6.0), (3.0, 5.5)]
    whole, own = tmp_path / "whole", tmp_path / "own"
    work([clip.path], whole)
    work([listed(clip, tmp_path, pieces)], whole)
    counts = work([listed(clip, tmp_path, pieces)], own)
    assert counts["footage_s"] == pytest.approx(4.0) and counts["decoded_s"] == pytest.approx(4 * 3 / 25)
    videos, clips = rows(own, of_list=True)
    covered = json.loads(videos[clip.path.name]["covered"])
    assert videos[clip.path.name]["mode"] == "sparse" and covered == [[clip.pts[50], clip.pts[150]]]
    assert clips == rows(whole, of_list=True)[1] and len(clips) == 2
    more = work([listed(clip, tmp_path, [*pieces, (10.0, 13.0)])], own)
    assert more["decoded_s"] == pytest.approx(3 * 3 / 25)
    assert rows(own)[0][clip.path.name]["decoded_s"] == pytest.approx(7 * 3 / 25)


def test_a_span_without_a_burst_is_decoded_whole(footage: dict[str, Clip], tmp_path: Path) -> None:
    clip, notes = footage["often"], list[str | None]()
    counts = work([listed(clip, tmp_path, [(2.2, 2.9), (5.0, 8.0)])], tmp_path / "store", notes=notes)
    videos, clips = rows(tmp_path / "store", of_list=True)
    assert videos["often.mp4"]["mode"] in ("exact", "fast") and counts["decoded_s"] == pytest.approx(3.9, abs=0.1)
    assert "are decoded whole: a span of its list holds no burst" in str(notes)
    work([listed(clip, tmp_path, [(0.0, 19.9), (2.2, 2.9)])], tmp_path / "most", notes=notes)
    assert "is scanned whole: a span of its list holds no burst" in str(notes[1])
    assert all(clip["measures"]["sharpness"] is not None for clip in clips if clip["duration_s"] > 1)


def test_detectors_that_need_every_frame_are_refused_unless_a_list_gives_the_spans(footage: dict[str, Clip], tmp_path: Path) -> None:
    combined = wanted("shots.detector=combined")
    with pytest.raises(RecipeError, match="needs every frame"):
        make_plan([str(footage["often"].path)], None, combined)
    assert make_plan([str(listed(footage["often"], tmp_path, [(1, 5)]))], None, combined).has_jobs
    with pytest.raises(RecipeError, match="needs every frame"):
        ScanOperator(combined)


def test_what_changes_rows_changes_fingerprints(monkeypatch: pytest.MonkeyPatch) -> None:
    base = fingerprints(wanted())
    with monkeypatch.context() as newer:
        newer.setattr(stages, "SPARSE_VERSION", stages.SPARSE_VERSION + 1)
        assert all(fingerprints(wanted())[stage] != base[stage] for stage in ("scan", "frames", "shots", "measures"))
        of_exact = fingerprints(Recipe())
    assert fingerprints(Recipe()) == of_exact
    for setting in ("scan.sparse_burst=4", "scan.sparse_s=3", "shots.detector=content"):
        assert fingerprints(wanted(setting))["scan"] != base["scan"]
    content = fingerprints(wanted("shots.detector=content"))
    other = fingerprints(wanted("shots.detector=content", "shots.threshold=20"))
    assert other["scan"] != content["scan"]
    assert len({base["frames"], content["frames"], other["frames"]}) == 3, "of groups that are decoded whole more frames are stored"
    assert fingerprints(Recipe())["frames"] == fingerprints(Recipe().with_overrides(["shots.detector=content"]))["frames"]
    exact = [fingerprints(Recipe().with_overrides([s]))["scan"] for s in ("scan.sparse_s=4", "scan.sparse_s=3", "scan.sparse_burst=9")]
    assert len(set(exact)) == 1


def test_the_operator_scans_in_sparse_mode_too(footage: dict[str, Clip]) -> None:
    scan = ScanOperator(wanted())
    try:
        found = scan.column(pa.array([str(footage["often"].path), str(footage["rare"].path)])).to_pylist()
    finally:
        scan.close()
    lengths = [[round(clip["end_s"] - clip["start_s"], 3) for clip in one["clips"]] for one in found]
    assert lengths == [[8.0, 8.0, 4.0]] * 2 and np.isfinite([clip["luma_mean"] for one in found for clip in one["clips"]]).all()
