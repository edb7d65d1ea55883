"""Scores in a run: which clips are scored, what the verdict makes of it, what a failure costs, and what is done again. The scorers are
those of `frame_scorers`, which need no model.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rushes
from frame_scorers import DEATHS, VERSION, gray
from processes import descendants
from ray_cluster import RunningCluster
from ray_runs import until
from rushes.engine.fingerprints import fingerprints
from rushes.engine.jobs import Score, ScoreClips
from rushes.engine.preflight import check_prompt
from rushes.engine.run import run as run_engine
from rushes.engine.score_worker import devices
from rushes.engine.stages import wanted_scores
from rushes.engine.tries import FIRST_CLIPS, ScorePace, Try
from rushes.errors import CannotGoOn, ModelError, RecipeError, StoreError, UsageError
from rushes.operators import Score as ScoreOperator
from rushes.records import Video
from rushes.results.choose import chosen_clips
from rushes.results.query import query
from stores import SRC, Seen, command, go, inline, parts_of, recipe, rows_of, seen, settings_of, start
from variants import variants

TESTS = Path(__file__).resolve().parent
PATH = f"{TESTS}:{SRC}"
QUICK = ("rules.too_short.min=0.5", "frames.per_s=5")
BRIGHT = 'scores.use=["frame_scorers:Brightness"]'
BOTH = 'scores.use=["frame_scorers:Brightness", "frame_scorers:Picky"]'


@pytest.fixture(autouse=True)
def _scorers_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children find modules by PYTHONPATH."""
    monkeypatch.setenv("PYTHONPATH", PATH)


@pytest.fixture(scope="module")
def store(short_films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run with `Brightness` and a bound that some clips break. Read only: copy it to run on."""
    out = tmp_path_factory.mktemp("scored") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATH)
        go(short_films, out, *QUICK, BRIGHT, "rules.brightness.min=105")
    return out


def brightness_of(out: Path) -> dict[str, float]:
    """clip_id -> brightness of the clip's stored frames, as a reader of the Parquet files computes it: 2 of them, evenly spread."""
    frames = pq.read_table(out / "frames").to_pylist()
    found = {}
    for clip in pq.read_table(out / "clips").to_pylist():
        inside = sorted(f["pts"] for f in frames if f["video_id"] == clip["video_id"] and clip["start_pts"] <= f["pts"] < clip["end_pts"])
        chosen = {inside[len(inside) // 4], inside[3 * len(inside) // 4]}
        mine = [f["jpeg"] for f in frames if f["video_id"] == clip["video_id"] and f["pts"] in chosen]
        found[clip["clip_id"]] = float(np.mean([gray(jpeg).mean() for jpeg in mine]))
    return found


def counts(of: Seen) -> dict[str, Any]:
    """The counts of the newest run."""
    return dict(of.runs()[-1])


def verdicts(of: Seen) -> dict[str, str]:
    return {clip["clip_id"]: clip["verdict"] for clip in of.clips()}


def test_the_rules_see_scores_and_what_they_drop_is_not_captioned(store: Path) -> None:
    now, truth = seen(store, *QUICK, BRIGHT, "rules.brightness.min=105"), brightness_of(store)
    clips = now.clips()
    assert {clip["clip_id"]: pytest.approx(clip["scores"]["brightness"], abs=1e-3) for clip in clips} == truth
    dark = {clip for clip, value in truth.items() if value < 105}
    assert 0 < len(dark) < len(truth) == 6
    assert {clip for clip, verdict in verdicts(now).items() if verdict == "dropped"} == dark
    assert {clip["clip_id"] for clip in clips if clip["caption"] is None} == dark
    assert {r["rule"] for clip in clips for r in clip["reasons"]} == {"brightness"}
    run = counts(now)
    assert (run["scores_made"], run["scores_pending"], run["frames_encoded"]) == (6, 0, 0)
    assert (run["clips_kept"], run["clips_dropped"], run["clips_failed"]) == (6 - len(dark), len(dark), 0)
    assert (run["captions_made"], run["reasons"]) == (6 - len(dark), {"brightness": len(dark)})
    assert run["decoded_s"] == pytest.approx(run["footage_s"]) and run["capacity"]["scores"] == 1
    rows = rows_of(store, "scores")["scores"]
    assert {row["clip_id"] for row in rows} == set(truth) and len(rows) == 6
    assert {(row["scorer"], row["model"], row["fingerprint"]) for row in rows} == {("brightness", "none", run["scorers"]["brightness"])}


def test_every_reader_shows_the_same_scores(store: Path) -> None:
    results = seen(store, *QUICK, BRIGHT, "rules.brightness.min=105").results
    lines = {clip["clip_id"]: clip for clip in results.clips()}
    named = [clip for clip, line in lines.items() if line["scores"]["brightness"] > 110]
    assert 0 < len(named) < 6
    tables = list(chosen_clips(results, where="brightness > 110"))
    assert {clip for table in tables for clip in table["clip_id"].to_pylist()} == set(named)
    frame = rushes.open(store, recipe=results.recipe).clips().to_arrow().to_pylist()
    asked = list(query(results, "SELECT clip_id, brightness, verdict, score_device FROM clips"))
    for rows in (frame, asked):
        assert {row["clip_id"]: (row["brightness"], row["verdict"]) for row in rows} == {
            clip: (line["scores"]["brightness"], line["verdict"]) for clip, line in lines.items()
        }
    [told] = results.explain(named[0])
    assert told["scores"] == lines[named[0]]["scores"]
    [rule] = [rule for rule in told["rules"] if rule["rule"] == "brightness"]
    assert (rule["value"], rule["outcome"]) == (told["scores"]["brightness"], "passes")
    page = rushes.open(store, recipe=results.recipe).report()
    assert "mean of the frames" in page


def test_a_threshold_costs_nothing_and_a_changed_scorer_its_own_rows(
    short_films: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(store, tmp_path / "store"))
    before = parts_of(out)
    settings = (*QUICK, BRIGHT, "rules.brightness.min=105")
    assert go(short_films, out, *settings).status == "finished"
    assert parts_of(out) == before, "a run again writes nothing"
    wider = (*QUICK, BRIGHT, "rules.brightness.min=0")
    planned = rushes.plan([short_films], out=out, recipe=recipe(*wider))
    n_dark = list(verdicts(seen(out, *settings)).values()).count("dropped")
    assert {stage: planned[stage]["missing"] for stage in ("scores", "captions")} == {"scores": 0, "captions": n_dark}
    go(short_films, out, *wider)
    run = counts(seen(out, *wider))
    assert (run["scores_made"], run["captions_made"], run["clips_kept"], run["decoded_s"]) == (0, n_dark, 6, 0)
    monkeypatch.setenv(VERSION, "2")
    planned = rushes.plan([short_films], out=out, recipe=recipe(*wider))
    missing = {stage: told["missing"] for stage, told in planned.items() if isinstance(told, dict) and stage != "scan"}
    assert {stage: n for stage, n in missing.items() if n} == {"scores": 6}
    go(short_films, out, *wider)
    run = counts(seen(out, *wider))
    assert (run["scores_made"], run["captions_made"], run["clips_kept"], run["decoded_s"]) == (6, 0, 6, 0)
    assert len(rows_of(out, "scores")["scores"]) == 12


def test_a_scorer_that_fails_on_one_clip_fails_that_clip_alone(
    short_films: Path, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And a second scorer beside a known one leaves the rows of the known one alone."""
    out = Path(shutil.copytree(store, tmp_path / "store"))
    settings = (*QUICK, BOTH, "rules.brightness.min=0")
    go(short_films, out, *settings)
    now = seen(out, *settings)
    run, clips = counts(now), now.clips()
    failed = [clip for clip in clips if clip["verdict"] == "failed"]
    assert 0 < len(failed) < 6
    assert (run["scores_made"], run["clips_failed"], run["clips_kept"]) == (6 - len(failed), len(failed), 6 - len(failed))
    assert run["errors"]["ScoreError"] == len(failed) == [record.getMessage() for record in caplog.records].count("score failed")
    for clip in clips:
        assert (clip["scores"]["n_seen"], clip["scores"]["brightness"] is None) == (None if clip in failed else 3.0, False)
    assert {clip["error"] for clip in failed} == {e["error"] for e in now.errors() if e["stage"] == "scores"}
    assert all("picky" in clip["error"] and "too dark for me" in clip["error"] and clip["caption"] is None for clip in failed)
    asked = list(query(now.results, "SELECT clip_id, error FROM clips WHERE verdict = 'failed'"))
    assert {(row["clip_id"], row["error"]) for row in asked} == {(clip["clip_id"], clip["error"]) for clip in failed}
    before = parts_of(out)
    go(short_films, out, *settings)
    again = counts(seen(out, *settings))
    assert parts_of(out) == before, "what failed for good is not tried again"
    assert (again["clips_failed"], again["clips_kept"]) == (len(failed), 6 - len(failed))
    assert verdicts(seen(out, *QUICK, BRIGHT)) == dict.fromkeys(verdicts(now), "kept"), "no failure where that scorer is not wanted"
    run_engine([str(short_films)], str(out), recipe(*settings), retry_failed=True)
    again = counts(seen(out, *settings))
    assert (again["errors"]["ScoreError"], again["scores_made"], again["clips_failed"]) == (len(failed), 0, len(failed))


def test_a_model_that_cannot_be_had_ends_the_run_before_it_begins(short_films: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    with pytest.raises(ModelError, match=r"nobody/has-it cannot be had\. Fix: set scores\.encoder to a folder"):
        go(short_films, out, *QUICK, 'scores.use=["frame_scorers:Absent"]')
    assert not out.exists()


@pytest.mark.parametrize("deaths", variants([1, 3], quick=[3]))
def test_models_whose_process_dies_are_loaded_again_and_at_most_three_times(
    short_films: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    """Before a run begins a dead process costs it nothing: its machine may have been lost. The third one in a row ends it."""
    left, out = tmp_path / "deaths", Path(shutil.copytree(store, tmp_path / "store"))
    left.write_text("dies\n" * deaths)
    monkeypatch.setenv(DEATHS, str(left))
    monkeypatch.setattr("rushes.engine.preflight.AGAIN_AFTER_S", 0.1)
    shutil.rmtree(out / "scores")
    settings = (*QUICK, 'scores.use=["frame_scorers:Mortal"]')
    if deaths == 3:
        with pytest.raises(CannotGoOn, match=r"3 processes died one after the other.*Fix: look at the memory"):
            go(short_films, out, *settings)
    else:
        assert go(short_films, out, *settings).counts["scores_made"] == 6
    assert left.read_text() == ""


def test_wrong_requests_are_said_in_words(short_films: Path, tmp_path: Path) -> None:
    for setting, words in (
        ('scores.use=["frame_scorers:Nothing"]', "cannot be imported"),
        ("rules.brightness.min=1", "brightness"),
        ('scores.use=["frame_scorers:Noise"]', "clips have another column of that name"),
        ('captions.prompt="short"', ""),
    ):
        done = inline("plan", short_films, "--out", tmp_path / "store", *settings_of(setting))
        assert (done.code, words in done.err) == ((2, True) if words else (0, True)), done.err
    with pytest.raises(RecipeError, match=r"frames\.keep"):
        recipe("frames.keep=none", BRIGHT)
    (tmp_path / "prompt.txt").write_text("Its brightness is {brightness}.")
    asks = ("captions.engine=openai", "captions.model=one", f'captions.prompt="{tmp_path / "prompt.txt"}"')
    check_prompt(recipe(BRIGHT, *asks), [])
    with pytest.raises(RecipeError, match="brightness"):
        check_prompt(recipe(*asks), [])


def test_scores_that_no_run_has_made_are_asked_for_in_words(store: Path) -> None:
    with pytest.raises(StoreError, match="holds no rows of the scorer picky"):
        seen(store, *QUICK, BOTH)


def test_without_scorers_nothing_is_another() -> None:
    plain, scored = recipe(), recipe(BOTH)
    assert wanted_scores(plain) == () and "scores" not in fingerprints(plain)
    names = {one.name: one.fingerprint for one in wanted_scores(scored)}
    assert list(names) == ["brightness", "picky"] and len(set(names.values())) == 2
    assert {k: v for k, v in fingerprints(scored).items() if k != "scores"} == fingerprints(plain)
    kept = ("frames.keep=kept", BOTH)
    assert fingerprints(recipe(*kept))["frames"] == fingerprints(recipe(*kept, "rules.brightness.min=9"))["frames"]
    more = {one.name: one.fingerprint for one in wanted_scores(recipe(BOTH, "scores.images=5"))}
    assert (more["picky"], more["brightness"] == names["brightness"]) == (names["picky"], False)


def test_jobs_of_scores_that_wait_become_one_which_is_a_small_share_of_the_run() -> None:
    def waiting(*sizes: int) -> Any:
        video = Video(uri="v", source="v", video_id="0" * 64, size=1, stamp=None)
        parts = [ScoreClips(video=video, facts={}, clips=tuple({"clip_id": str(k)} for k in range(n))) for n in sizes]
        return deque(Try(Score(parts=(part,))) for part in parts)

    def sizes(tried: Try) -> list[int]:
        assert isinstance(tried.job, Score)
        return [len(part.clips) for part in tried.job.parts]

    now = 100.0
    pace, jobs = ScorePace(lambda: now), waiting(FIRST_CLIPS - 2, 2, 1, 500)
    assert [sizes(pace.joined(jobs)) for _ in range(3)] == [[FIRST_CLIPS - 2, 2], [1], [500]]
    pace.learn(20, 2.0)
    assert pace.clips == 5, "half a second at least"
    for after_s, clips in ((50.0, 15), (100.0, 30), (1000.0, 100)):
        now = 100.0 + after_s
        assert pace.clips == clips, "three hundredths of the time that has gone by, and ten seconds at most"
    pace.learn(1, 30.0)
    assert pace.clips == 1
    jobs = waiting(30, 30, 30)
    jobs[1].losses = 1
    pace.learn(100, 1.0)
    assert [sizes(pace.joined(jobs)) for _ in range(3)] == [[30], [30], [30]], "a job whose process died stays alone"


SLOW = 'scores.use=["frame_scorers:Slow"]'
CHILD = "rushes.engine.work.score_child"


def scoring(process: subprocess.Popen[str]) -> list[int]:
    """The processes below a run that hold models."""
    return [pid for pid, command in descendants(process.pid).items() if CHILD in command]


@pytest.mark.slow
def test_a_process_that_dies_while_it_scores_and_a_run_that_is_killed_cost_no_row(short_films: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "store", (*QUICK, SLOW, "rules.bright.column=slow_brightness", "rules.bright.min=105")
    words: list[str | Path] = ["run", short_films, "--out", out, *settings_of(*settings)]
    process = start(*words, PYTHONPATH=PATH)
    until(lambda: list(out.glob("marks/*.parquet")) and scoring(process))
    os.kill(scoring(process)[0], signal.SIGKILL)
    until(lambda: list(out.glob("scores/*.parquet")))
    process.kill()
    process.communicate()
    done = command(*words, PYTHONPATH=PATH)
    assert done.code == 0, done.err
    now = seen(out, *settings)
    assert (now.runs()[0]["status"], counts(now)["status"], counts(now)["scores_pending"]) == ("crashed", "finished", 0)
    truth = brightness_of(out)
    assert {clip["clip_id"]: pytest.approx(clip["scores"]["slow_brightness"], abs=1e-3) for clip in now.clips()} == truth
    assert {clip for clip, verdict in verdicts(now).items() if verdict == "dropped"} == {c for c, value in truth.items() if value < 105}
    assert [n for n in Counter(row["clip_id"] for row in pq.read_table(out / "scores").to_pylist()).values() if n > 1] == []
    before = parts_of(out)
    assert command(*words, PYTHONPATH=PATH).code == 0 and parts_of(out) == before


def test_on_a_cluster_models_are_held_where_there_is_a_gpu(short_films: Path, store: Path, nodes: RunningCluster, tmp_path: Path) -> None:
    out, settings = tmp_path / "store", (*QUICK, BRIGHT, "rules.brightness.min=105", "scan.workers=0")
    placed = ("resources.scores.gpus=1", "resources.scores.cpus=0")
    words = ["run", short_films, "--out", out, "--ray", nodes.address, *settings_of(*settings, *placed)]
    done = command(*words, PYTHONPATH=PATH)
    assert done.code == 0, done.err
    run = counts(seen(out, *settings))
    assert (run["runner"], run["scores_made"], run["scores_pending"], run["capacity"]["scores"]) == ("ray", 6, 0, 1)
    mine, theirs = ({row["clip_id"]: row for row in pq.read_table(place / "scores").to_pylist()} for place in (out, store))
    assert {row["score_device"] for row in mine.values()} == {"0"}, "the one GPU of the node that has one"
    assert {clip: row["brightness"] for clip, row in mine.items()} == {clip: row["brightness"] for clip, row in theirs.items()}
    assert verdicts(seen(out, *settings)) == verdicts(seen(store, *settings))
    tasks = [task for task in nodes.tasks() if task["name"] in ("scan", "score")]
    assert {task["name"] for task in tasks} == {"scan", "score"} and {task["retries"] for task in tasks} == {0}


def test_the_operator_gives_what_a_run_gives(store: Path) -> None:
    """And an error in the row of a clip on which one scorer fails, beside the columns of the other."""
    frames, clips = pq.read_table(store / "frames").to_pylist(), pq.read_table(store / "clips").to_pylist()
    for clip in clips:
        mine = [f for f in frames if f["video_id"] == clip["video_id"] and clip["start_pts"] <= f["pts"] < clip["end_pts"]]
        clip["frames"] = [{"pts": f["pts"], "jpeg": f["jpeg"]} for f in sorted(mine, key=lambda f: f["pts"])]
    batch = pa.table({"uri": ["/footage/a.mp4"] * (len(clips) + 1), "clip": pa.array([*clips, None])})
    with ScoreOperator(recipe(BOTH)) as score, pickle.loads(pickle.dumps(score)) as again:
        *rows, none = score(batch)["score"].to_pylist()
        assert again(batch)["score"].to_pylist() == [*rows, none]
    truth = brightness_of(store)
    assert none is None and [row["brightness"] for row in rows] == [pytest.approx(truth[clip["clip_id"]], abs=1e-3) for clip in clips]
    failed = [row for row in rows if row["error"] is not None]
    assert 0 < len(failed) < 6
    for row in rows:
        assert row["n_seen"] == (None if row in failed else 3.0)
    assert all(row["error"]["error_type"] == "ScoreError" and "too dark" in row["error"]["what"] for row in failed)
    assert all(row["error"]["uri"] == "/footage/a.mp4" and row["error"]["end_s"] > 0 for row in failed)
    with pytest.raises(UsageError, match="closed"):
        score(batch)
    with pytest.raises(RecipeError, match="names no scorer"):
        ScoreOperator(recipe())


def test_one_machine_has_a_process_for_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert devices(recipe(BRIGHT)) == ["0", "1"]
    assert devices(recipe(BRIGHT, "resources.scores.concurrency=3")) == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices(recipe(BRIGHT)) == [None]
    assert devices(recipe(BRIGHT, "resources.scores.concurrency=2")) == [None, None]
