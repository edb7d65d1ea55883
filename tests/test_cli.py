"""The commands: exit codes, words, and the shapes that others rely on (docs/contract.md)."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import resource
import shlex
import shutil
import struct
import subprocess
import sys
import termios
import tomllib
from pathlib import Path

import duckdb
import pytest

from footage import render
from pictures import still
from rushes.progress import command_name, reading_options, shared_beginning
from stores import SRC, Reel, command, go, inline, parts_of, rows_of, seen, settings_of, start

CLIP_KEYS = [
    "clip_id",
    "video_id",
    "uri",
    "start_pts",
    "end_pts",
    "time_base",
    "start_s",
    "end_s",
    "duration_s",
    "n_frames",
    "width",
    "height",
    "mode",
    "verdict",
    "reasons",
    "measures",
    "scores",
    "caption",
    "caption_fields",
    "caption_model",
    "clip_uri",
]
VIDEO_KEYS = [
    "video_id",
    "uri",
    "status",
    "error_type",
    "error",
    "container",
    "codec",
    "width",
    "height",
    "footage_s",
    "decoded_s",
    "n_frames",
    "n_shots",
    "n_clips",
]
RUN_KEYS = [
    "run_id",
    "status",
    "started_at",
    "ended_at",
    "wall_s",
    "runner",
    "videos_found",
    "videos_scanned",
    "videos_reused",
    "videos_failed",
    "videos_duplicate",
    "videos_forgotten",
    "clips_kept",
    "clips_dropped",
    "clips_failed",
    "footage_s",
    "decoded_s",
    "frames_encoded",
    "captions_made",
    "caption_requests",
    "busy_s",
    "fingerprints",
]

BAD_SQL = (
    "", " ", "sharpness > 1 and", "sum(sharpness) > 1", "row_number() over () > 1", "(select 1) = 1", "verdict in (select 1)", "sharpness",
    "uri = 'a'; drop table clips", "uri = 'a' 'b'", "reasons = 'too_short'", "list_contains(reasons, 1)", "nothing(uri)", "uri = 3", "*",
    "?", "exists (select 1)", "interval '1 day'", "case when true then 1 end", "uri between 1 and 2", "x.y = 1", "{", "\x00", "1 = '1' = 1",
)  # fmt: skip
"""What is no SQL, no condition on one clip, or names what is not there."""


def test_a_run_speaks_on_stderr_alone_and_ends_with_0(reel: Reel, tmp_path: Path) -> None:
    done = command("run", reel.folder, "--out", tmp_path / "store", *settings_of())
    assert (done.code, done.out) == (0, "")
    assert "4 videos = 2 scanned + 0 reused + 1 failed + 1 duplicate" in done.err
    assert "6 clips = 4 kept + 2 dropped + 0 failed" in done.err
    assert "\ndropped by too_short 2\n" in done.err
    store = shlex.quote(str(tmp_path / "store"))
    proposed = re.findall(r"^next: (.*)$", done.err, re.MULTILINE)
    assert proposed == [f"rushes report {store} --open", f"rushes clips {store}", f"rushes export {store} --to clips"]
    assert not [line for line in done.err.splitlines() if line.startswith("{") or "video failed" in line], "no log without --log"
    strict = inline("run", reel.folder, "--out", tmp_path / "store", "--strict", *settings_of())
    assert strict.code == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["runn"], "runn"),
        (["run", "FOOTAGE", "--out", "OUT", "--fast"], "--fast"),
        (["run", "FOOTAGE"], "--out"),
        (["run", "FOOTAGE", "--out", "OUT", "--set", "shots.treshold=3"], "did you mean shots.threshold?"),
        (["run", "FOOTAGE", "--out", "OUT", "--set", "rules.x.column=sharpnes", "--set", "rules.x.min=1"], "did you mean 'sharpness'?"),
        (["run", "FOOTAGE", "--out", "OUT", "--profile", "webb"], "'web'"),
        (["run", "FOOTAGE", "--out", "OUT", "--recipe", "absent.toml"], "absent.toml"),
        (["run", "FOOTAGE", "--out", "OUT", "--set", "captions.engine=openai"], "captions.model is not set"),
        (["run", "EMPTY", "--out", "OUT"], "no video found"),
        (["run", "EMPTY/nothing.mp4", "--out", "OUT"], "no such file"),
        (["run", "FOOTAGE", "--out", "FOOTAGE"], "is not a store and is not empty"),
        (["plan", "EMPTY", "--out", "OUT"], "no video found"),
        (["clips", "OUT"], "is not a store"),
        (["clips", "STORE", "--verdict", "good"], "use kept, dropped or failed"),
        (["clips", "STORE", "--where", "sharpnes > 1"], "sharpnes"),
        (["clips", "STORE", "--where", "this is (no SQL"], "cannot be used"),
        *((["clips", "STORE", "--where", expression], "cannot be used") for expression in BAD_SQL),
        (["clips", "STORE", "--set", "shots.min_s=2.5"], "run first"),
        (["explain", "STORE", "nothing.mp4"], "nothing.mp4"),
        (["status", "FOOTAGE"], "is not a store"),
        (["recipe", "--check", "absent.toml"], "absent.toml"),
    ],
)
def test_a_wrong_request_is_exit_2_in_words_and_writes_nothing(
    reel: Reel, reel_store: Path, tmp_path: Path, args: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no video")
    places = {"FOOTAGE": str(reel.folder), "OUT": str(tmp_path / "out"), "EMPTY": str(tmp_path / "empty"), "STORE": str(reel_store)}
    footage = parts_of(reel.folder)
    done = inline(*[re.sub("|".join(places), lambda m: places[m[0]], a) for a in args])
    assert done.code == 2, done.err
    assert words in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "out").exists()
    assert parts_of(reel.folder) == footage


@pytest.mark.parametrize(("args", "words"), [(["runn"], "there is no command 'runn'"), (["clips", "OUT"], "is not a store")])
def test_a_process_with_a_wrong_request_ends_with_2_and_no_traceback(tmp_path: Path, args: list[str], words: str) -> None:
    done = command(*[str(tmp_path / "out") if a == "OUT" else a for a in args])
    assert (done.code, done.out, words in done.err, "Traceback" in done.err) == (2, "", True, False), done.err


def test_a_process_says_what_its_command_says_here(reel_store: Path) -> None:
    """Most tests below run a command in this process (`inline`), which must come to the same."""
    for args in (["clips", reel_store, "--json"], ["status", reel_store]):
        done = command(*args)
        assert (done.code, done.out, done.err) == (0, inline(*args).out, "")


def test_json_has_the_keys_of_the_contract(reel: Reel, reel_store: Path) -> None:
    for verb, keys, n in (("clips", CLIP_KEYS, 6), ("videos", VIDEO_KEYS, 4), ("runs", RUN_KEYS, 1)):
        done = inline(verb, reel_store, "--json")
        assert done.code == 0, done.err
        assert len(done.lines) == n
        for row in done.lines:
            assert set(keys) <= set(row), (verb, set(keys) - set(row))
    planned = inline("plan", reel.folder, "--out", reel_store, "--json", *settings_of()).lines[0]
    assert {"decode_s", "expected_bytes", "scan", "frames", "shots", "measures", "captions"} <= set(planned)
    assert all(set(planned[s]) == {"wanted", "present", "missing", "fingerprint"} for s in ("scan", "captions"))
    [run] = inline("runs", reel_store, "--json").lines
    assert {s: planned[s]["fingerprint"] for s in ("scan", "frames", "shots", "measures", "captions")} == run["fingerprints"]
    [status] = inline("status", reel_store, "--json").lines
    assert status == run
    [error] = inline("errors", reel_store, "--json").lines
    assert (error["stage"], error["error_type"], Path(error["uri"]).name) == ("scan", "ProbeError", "broken.mp4")


def test_clips_can_be_chosen(reel_store: Path) -> None:
    clips = inline("clips", reel_store, "--json").lines
    kept = inline("clips", reel_store, "--json", "--verdict", "kept").lines
    assert [c["clip_id"] for c in kept] == [c["clip_id"] for c in clips if c["verdict"] == "kept"]
    wide = inline("clips", reel_store, "--json", "--where", "duration_s > 2 and codec = 'h264' and sharpness is not null").lines
    assert [c["clip_id"] for c in wide] == [c["clip_id"] for c in clips if c["duration_s"] > 2]
    short = inline("clips", reel_store, "--json", "--where", "list_contains(reasons, 'too_short')").lines
    assert short and short == [c for c in clips if "too_short" in [r["rule"] for r in c["reasons"]]], "the lines are as ever"
    assert inline("clips", reel_store, "--json", "--where", "list_contains(reasons, 'blurred') -- none is").lines == []
    some = [inline("clips", reel_store, "--json", "--sample", "2").lines for _ in range(2)]
    assert len(some[0]) == 2
    assert some[0] == some[1]
    none = inline("clips", reel_store, "--json", "--set", "rules.too_short.min=99", "--verdict", "kept")
    assert (none.code, none.lines) == (0, [])
    shown = inline("clips", reel_store).out.splitlines()
    assert (len(shown), shown[0].split()[:3]) == (7, ["clip", "video", "from"])


def test_a_rerun_under_another_recipe_names_what_changed_and_where_its_files_are(reel: Reel, tmp_path: Path) -> None:
    out = tmp_path / "store"
    first = inline("run", reel.folder, "--out", out, *settings_of())
    same = inline("run", reel.folder, "--out", out, *settings_of("engine.metrics_port=0", "resources.scan.concurrency=2"))
    other = inline(
        "run", reel.folder, "--out", out, *settings_of("rules.too_short.min=3", "rules.dim.column=luma_mean", "clips.mode=encode")
    )
    assert ["the recipe differs" in done.err for done in (first, same, other)] == [False, False, True]
    [told] = [line for line in other.err.splitlines() if line.startswith("the recipe differs")]
    assert told.endswith(': rules.too_short.min 1.5 -> 3.0, rules.dim.column unset -> "luma_mean", clips.mode "reference" -> "encode"')
    kept = [c for c in seen(out, "rules.too_short.min=3").clips() if c["verdict"] == "kept"]
    made = sorted((out / "clip_files" / "encode-crf18").rglob("*.mp4"))
    assert len(made) == len(kept) == 3
    assert f"3 clip files made, in {out}/clip_files/encode-crf18" in other.err
    assert [run["reasons"] for run in seen(out, "rules.too_short.min=3").runs()] == [{"too_short": 2}, {"too_short": 2}, {"too_short": 3}]


def test_other_settings_say_what_they_change(reel_store: Path) -> None:
    clips = inline("clips", reel_store, "--json").lines
    for settings, longest in ((["rules.too_short.min=3"], 3.0), (["rules.too_short.min=0"], 0.0)):
        words = [word for setting in settings for word in ("--set", setting)]
        for more in ([], ["--json"], ["--verdict", "failed"]):
            done = inline("clips", reel_store, *words, *more)
            assert done.err == f"kept {sum(c['duration_s'] >= longest for c in clips)} (was 4)\n"
    for same in ([], ["--set", "rules.too_short.min=1.5"], ["--set", "storage.s3.endpoint_url=http://127.0.0.1:1"]):
        assert inline("clips", reel_store, *same).err == ""


@pytest.mark.parametrize(
    ("argv", "on_path", "name"),
    [
        ("BIN/rushes", True, "rushes"),
        ("BIN/rushes", False, "BIN/rushes"),
        ("a b/.venv/bin/rushes", False, "'a b/.venv/bin/rushes'"),
        ("somewhere/rushes/cli.py", False, f"{shlex.quote(sys.executable)} -m rushes.cli"),
        ("-c", False, "rushes"),
    ],
)
def test_proposed_commands_begin_as_the_program_was_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, argv: str, on_path: bool, name: str
) -> None:
    program = tmp_path / "rushes"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) if on_path else "")
    monkeypatch.setattr(sys, "argv", [argv.replace("BIN", str(tmp_path))])
    assert command_name() == name.replace("BIN", str(tmp_path))


def test_proposed_commands_have_the_options_that_open_the_store() -> None:
    """Secrets are not written to a terminal."""
    settings = ["rules.dark.max=1", "storage.s3.endpoint_url=http://127.0.0.1:9", "storage.s3.secret=hush", "storage.s3.key=AK"]
    assert reading_options(None, [], False) == reading_options("my.toml", ["shots.max_s=1"], False) == []
    assert reading_options("my.toml", settings[:1], True) == ["--recipe", "my.toml"]
    shown = reading_options(None, settings, True)
    assert shown == ["--set", settings[1], "--set", "storage.s3.secret=...", "--set", "storage.s3.key=..."]


def test_explain_names_every_rule_with_value_and_bounds(reel: Reel, reel_store: Path) -> None:
    short = next(c for c in seen(reel_store).clips() if c["verdict"] == "dropped")
    [row] = inline("explain", reel_store, short["clip_id"][:8], "--json").lines
    assert row["verdict"] == "dropped"
    [rule] = [r for r in row["rules"] if r["rule"] == "too_short"]
    assert {r["outcome"] for r in row["rules"] if r != rule} <= {"passes", "not measured"}
    assert rule == {"rule": "too_short", "column": "duration_s", "value": short["duration_s"], "min": 1.5, "max": None, "outcome": "fails"}
    [failed] = inline("explain", reel_store, reel.folder / "broken.mp4", "--json").lines
    assert failed["verdict"] == "failed"
    assert "not a readable video" in failed["error"]
    assert "too_short" in inline("explain", reel_store, reel.cuts.path).out


def test_explain_takes_the_last_part_of_a_uri_that_is_the_only_one(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    whole = inline("explain", reel_store, reel.cuts.path, "--json").lines
    assert inline("explain", reel_store, "cuts.mp4", "--json").lines == whole and len(whole) == 3
    [failed] = inline("explain", reel_store, "broken.mp4", "--json").lines
    assert failed["verdict"] == "failed"
    for name in ("uts.mp4", "cuts", "reel0/cuts.mp4", "", "/"):
        assert inline("explain", reel_store, name).code == 2, name
    footage = tmp_path / "footage"
    for day in ("day1", "day2"):
        (footage / day).mkdir(parents=True)
    shutil.copyfile(reel.cuts.path, footage / "day1" / "cam.mp4")
    shutil.copyfile(reel.uneven.path, footage / "day2" / "cam.mp4")
    go(footage, tmp_path / "store")
    two = inline("explain", tmp_path / "store", "cam.mp4")
    assert two.code == 2 and f"2 videos are called cam.mp4: {footage}/day1/cam.mp4, {footage}/day2/cam.mp4" in two.err


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((SRC.parent / "pyproject.toml").read_text())["project"]
    done = inline("--version")
    assert (done.code, done.out) == (0, f"rushes {project['version']}\n")


def test_tables_show_what_follows_the_words_that_all_captions_begin_with(reel_store: Path) -> None:
    captions = [c["caption"] for c in seen(reel_store).clips() if c["caption"]]
    shown = inline("clips", reel_store, "--verdict", "kept").out.splitlines()[1:]
    assert all(caption.startswith("Measured: ") for caption in captions) and len(shown) == len(captions)
    for line, caption in zip(shown, captions, strict=True):
        assert line.endswith("  ... " + caption.removeprefix("Measured: ")[:76].rstrip())
    lengths = [line.rindex("... ") for line in shown]
    assert len(set(lengths)) == 1
    alone = inline("clips", reel_store, "--where", f"caption = '{captions[0]}'").out.splitlines()[1]
    assert "Measured: " in alone, "one caption shares its beginning with none"
    texts = inline("captions", reel_store).out
    assert all(caption.removeprefix("Measured: ") in texts for caption in captions)


@pytest.mark.parametrize(
    ("texts", "alike"),
    [
        ([], ""), (["a b c"], ""), (["a b c", "a b d"], "a b "), (["a bc", "a bd"], "a "), (["one", "two"], ""), (["a b", "a b"], "a "),
        (["a b ", "a b c", "a"], ""), (["The camera is", "The camera moves"], "The camera "), (["", "a b"], ""),
    ],
)  # fmt: skip
def test_the_shared_beginning_ends_with_a_word(texts: list[str], alike: str) -> None:
    assert shared_beginning(texts) == alike


def test_bars_fit_80_columns_and_are_full_only_at_the_end(films_of_14_s: list[Path], tmp_path: Path) -> None:
    """A run at a real terminal of 80 columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    words = ["-m", "rushes.cli", "run", *map(str, films_of_14_s[:3]), "--out", str(tmp_path / "store"), *settings_of("clips.mode=copy")]
    env = {**os.environ, "PYTHONPATH": str(SRC), "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "80"}
    with subprocess.Popen([sys.executable, *words], stdout=follower, stderr=follower, stdin=follower, env=env) as process:
        os.close(follower)
        data = b""
        while True:
            try:
                data += os.read(leader, 1 << 16)
            except OSError:  # the other end is closed
                break
        assert process.wait(60) == 0
    os.close(leader)
    full = "\x1b[38;2;114;156;31m"  # rich's colour of a bar that is full, `bar.finished`
    lines = [(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip(), full in line) for line in re.split(r"[\r\n]+", data.decode())]
    bars = [(line, is_full) for line, is_full in lines if re.match(r" *(videos|footage|clips|captions|files) ", line)]
    assert {line.split()[0] for line, _ in bars} == {"videos", "footage", "clips", "captions", "files"}
    assert max(len(line) for line, _ in bars) <= 80 and not [line for line, _ in bars if "…" in line]
    last = {line.split()[0]: (line, is_full) for line, is_full in bars}
    assert "3/3 videos" in last["videos"][0] and "captions" in last["captions"][0]
    made = len(list((tmp_path / "store" / "clip_files").rglob("*.mp4")))
    assert f" {made} clip files" in last["files"][0] and made > 0
    assert all(is_full for _, is_full in last.values()), "at the end all are full"
    early = [(line, is_full) for line, is_full in bars if re.search(r" [012]/3 videos", line)]
    assert early and not [line for line, is_full in early if is_full]
    until = next(k for k, (line, _) in enumerate(bars) if "3/3 videos" in line)
    assert not [line for line, is_full in bars[:until] if is_full], "the length of footage is an estimate until all is decoded"


def test_readers_do_not_tell_of_daft_queries(reel_store: Path) -> None:
    leader, follower = pty.openpty()
    words = ["-m", "rushes.cli", "clips", str(reel_store), "--where", "duration_s > 0"]
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=follower, env=env, check=False)
    os.close(follower)
    os.set_blocking(leader, False)
    try:
        said = os.read(leader, 1 << 16)
    except OSError:
        said = b""
    os.close(leader)
    assert (done.returncode, said) == (0, b"")


def test_the_printed_views_work_in_duckdb(reel_store: Path) -> None:
    base = duckdb.connect()
    base.execute(inline("views", reel_store).out)
    for table in ("videos", "clips", "measures", "frames", "captions", "marks", "signals", "errors"):
        assert base.execute(f"SELECT count(*) FROM {table}").fetchone() == (len(rows_of(reel_store, table)[table]),)
    joined = base.execute("SELECT count(*) FROM clips JOIN measures USING (clip_id) JOIN captions USING (clip_id)").fetchone()
    assert joined == (4,)


def test_a_plain_duckdb_user_sees_the_clips_that_rushes_shows(reel_store: Path) -> None:
    """The view `curated` carries the rules and fingerprints of the recipe asked for; no Rushes is needed to query it."""
    for settings in ((), ("rules.too_short.min=2.4", "rules.small.column=width", "rules.small.max=191", "rules.dark.min=0.5")):
        options = [word for setting in settings for word in ("--set", setting)]
        base = duckdb.connect()
        base.execute(inline("views", reel_store, *options).out)
        names = ["clip_id", "uri", "start_s", "aspect", "fps", "verdict", "reasons", "caption", "caption_model", "clip_uri", "error"]
        rows = base.execute(f"SELECT {', '.join(names)}, sharpness FROM curated ORDER BY uri, start_pts").fetchall()
        clips = inline("clips", reel_store, "--json", *options).lines
        assert [dict(zip(names, row, strict=False)) for row in rows] == [{name: clip[name] for name in names} for clip in clips]
        assert [row[-1] for row in rows] == [clip["measures"]["sharpness"] for clip in clips]
        assert {clip["verdict"] for clip in clips} == ({"dropped"} if settings else {"kept", "dropped"})


def test_sql_sees_judged_clips_and_all_tables(reel_store: Path) -> None:
    clips = inline("clips", reel_store, "--json").lines
    query = "SELECT clip_id, verdict, reasons, caption FROM clips ORDER BY uri, start_pts"
    rows = inline("sql", reel_store, query, "--json").lines
    assert rows == [{name: clip[name] for name in ("clip_id", "verdict", "reasons", "caption")} for clip in clips]
    [counted] = inline("sql", reel_store, "SELECT verdict, count(*) AS n FROM clips GROUP BY 1 HAVING n = 4", "--json").lines
    assert counted == {"verdict": "kept", "n": 4}
    loose = inline("sql", reel_store, "SELECT count(*) AS n FROM clips WHERE verdict = 'kept'", "--json", "--set", "rules.too_short.min=0")
    assert loose.lines == [{"n": 6}]
    other = (
        "SELECT (SELECT count(*) FROM clip_rows) AS clips, (SELECT count(*) FROM videos) AS videos, (SELECT count(*) FROM files) AS files"
    )
    assert inline("sql", reel_store, other, "--json").lines == [{"clips": 6, "videos": 4, "files": 0}]
    shown = inline("sql", reel_store, "SELECT status, written_at FROM videos ORDER BY uri").out.splitlines()
    assert (len(shown), shown[0].split()) == (5, ["status", "written_at"])
    wrong = inline("sql", reel_store, "SELECT sharpnes FROM clips")
    assert (wrong.code, "sharpnes" in wrong.err, "Traceback" in wrong.err) == (2, True, False)


def test_who_has_read_enough_may_close_the_pipe(reel_store: Path) -> None:
    """The rows are far more than a pipe holds, so that the command is still writing when its reader goes."""
    many = "SELECT c.* FROM clips c, range(20000)"
    for args in (["sql", str(reel_store), many, "--json"], ["sql", str(reel_store), many]):
        with start(*args) as process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait(60) == 0


def test_clips_in_order_of_uri_and_time(reel_store: Path) -> None:
    clips = inline("clips", reel_store, "--json", "--sort").lines
    assert [(c["uri"], c["start_pts"]) for c in clips] == sorted((c["uri"], c["start_pts"]) for c in clips)
    assert len(clips) == 6


def test_recipe_prints_itself_and_checks_another(tmp_path: Path) -> None:
    printed = inline("recipe", "--profile", "inspection")
    assert printed.code == 0
    file = tmp_path / "mine.toml"
    file.write_text(printed.out)
    assert inline("recipe", "--check", file).code == 0
    file.write_text(printed.out.replace("quality", "qualty"))
    wrong = inline("recipe", "--check", file)
    assert (wrong.code, "did you mean frames.quality?" in wrong.err) == (2, True)


def test_reading_commands_change_nothing(reel: Reel, reel_store: Path, tmp_path: Path) -> None:
    before = parts_of(reel_store)
    for args in (["status"], ["videos"], ["runs"], ["errors"], ["report", "--out", str(tmp_path / "r.html")]):
        done = inline(args[0], reel_store, *args[1:])
        assert done.code == 0, done.err
    assert (tmp_path / "r.html").stat().st_size > 5000
    assert parts_of(reel_store) == before


def test_doctor_looks_and_says(tmp_path: Path) -> None:
    done = command("doctor")
    assert done.code in (0, 3)
    assert "libav" in done.out


def test_starting_a_run_costs_little(tmp_path: Path) -> None:
    """CPU seconds of the driver and its child on one film of a tenth of a second."""
    film = render(tmp_path / "tiny.mp4", (still(128, 72, 1), 3))
    program = "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL).returncode; " + (
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(code, u.ru_utime + u.ru_stime)"
    )
    words = [sys.executable, "-m", "rushes.cli", "run", str(film.path), "--out", str(tmp_path / "store")]
    environ = {**os.environ, "PYTHONPATH": str(SRC)}
    costs = []
    for out in ("a", "b"):
        words[-1] = str(tmp_path / out)
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, env=environ, check=True)
        code, cost = done.stdout.split()
        assert code == "0"
        costs.append(float(cost))
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > 0
    assert min(costs) < 2.5, f"CPU seconds of two runs of one tiny film: {costs}"
    (tmp_path / "costs.json").write_text(json.dumps(costs))


def test_the_python_functions_are_the_same_verbs(reel: Reel, reel_store: Path) -> None:
    import rushes

    opened = rushes.open(reel_store)
    table = opened.clips().to_arrow()
    assert table.num_rows == 6
    assert {"sharpness", "verdict", "uri"} <= set(table.column_names)
    assert opened.videos().count_rows() == 4
    assert opened.captions().count_rows() == 4
    assert rushes.plan([reel.folder], out=reel_store)["decode_s"] >= 0
    with pytest.raises(rushes.RushesError):
        rushes.run([reel.folder / "absent"], out=reel_store)
