"""The operators: the rows that a run makes, without a store; each file's fault in its own row; children that end with the operator."""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pytest

from caption_server import start_server
from footage import Clip, render
from pictures import film, moving, read_frame_number
from processes import descendants, open_files
from rushes.errors import MissingExtra, RecipeError, ServerError, StorageError, UsageError
from rushes.operators import Caption, CutClips, Operator, Scan
from rushes.recipe import Recipe
from stores import SRC, Reel, inline, recipe, settings_of
from variants import variants

CHILD = "rushes.operators.child"


def children(root: int | None = None) -> list[int]:
    """The living guarded children below a process; default: this one."""
    return [pid for pid, line in descendants(root or os.getpid()).items() if CHILD in line]


def until(condition: Any, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def struck(path: Path, with_signal: int = signal.SIGSEGV) -> Iterator[None]:
    """Whatever child opens this file gets the signal, as if the decoder crashed on it."""
    stop = threading.Event()

    def strike() -> None:
        while not stop.wait(0.02):
            for pid in children():
                if str(path) in open_files(pid):
                    os.kill(pid, with_signal)

    striker = threading.Thread(target=strike)
    striker.start()
    try:
        yield
    finally:
        stop.set()
        striker.join()


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that takes seconds to scan."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    render(path, film(640, 360, [500, 400], seed=9), options={"preset": "ultrafast"})
    return path


@pytest.fixture(scope="module")
def scanned(reel: Reel) -> dict[str, dict[str, Any]]:
    """What `Scan` says of each file of the reel, by uri."""
    uris = sorted(str(p) for p in reel.folder.iterdir() if p.suffix != ".txt")
    with Scan(recipe()) as scan:
        return dict(zip(uris, scan.column(pa.array(uris)).to_pylist(), strict=True))


def clips_of(scanned: dict[str, dict[str, Any]]) -> pa.Table:
    """The clips of scanned videos, as columns `uri` and `clip`."""
    pairs = [(uri, clip) for uri, found in scanned.items() for clip in found["clips"] or []]
    kind = Scan.returns.field("clips").type.value_type
    return pa.table({"uri": pa.array([uri for uri, _ in pairs]), "clip": pa.array([clip for _, clip in pairs], kind)})


# Scan


def test_clips_tile_the_film_between_its_cuts(reel: Reel, scanned: dict[str, dict[str, Any]]) -> None:
    for uri, film_ in reel.clips.items():
        found = scanned[uri]
        assert film_.pts is not None
        assert [c["start_pts"] for c in found["clips"]] == [film_.pts[0], *film_.cut_pts]
        assert [c["n_frames"] for c in found["clips"]] == [90, 25, 60]
        assert {Fraction(c["time_base"]) for c in found["clips"]} == {film_.time_base}
        assert [c["verdict"] for c in found["clips"]] == ["kept", "dropped", "kept"]
        [reason] = found["clips"][1]["reasons"]
        assert (reason["rule"], reason["column"], reason["bound"]) == ("too_short", "duration_s", 1.5)
        assert found["error"] is None
        assert found["footage_s"] == pytest.approx(found["clips"][-1]["end_s"])
    assert scanned[str(reel.folder / "second name.mp4")]["video_id"] == scanned[str(reel.cuts.path)]["video_id"]


def test_a_clip_is_the_clip_of_a_run(reel: Reel, reel_store: Path, scanned: dict[str, dict[str, Any]]) -> None:
    shown = inline("clips", reel_store, "--json", *settings_of())
    of_run = {clip["clip_id"]: clip for clip in shown.lines}
    for uri in reel.clips:
        for clip in scanned[uri]["clips"]:
            other = of_run.pop(clip["clip_id"])
            assert {name: clip[name] for name in other["measures"]} == pytest.approx(other["measures"], abs=1e-6, nan_ok=True)
            same = set(clip) & set(other) - {"aspect", "extra"}  # extra is text here, and an object in JSON lines
            assert len(same) >= 20
            assert {name: clip[name] for name in same} == {name: other[name] for name in same}
            assert clip["aspect"] == pytest.approx(other["aspect"], rel=1e-6)
    assert of_run == {}


def test_frames_are_the_stored_ones_at_most_so_many_and_evenly_spread(
    reel_store: Path, reel: Reel, scanned: dict[str, dict[str, Any]]
) -> None:
    stored = pyarrow.dataset.dataset(reel_store / "frames").to_table(columns=["video_id", "pts", "jpeg"]).to_pylist()
    by_video: dict[str, dict[int, bytes]] = {}
    for row in stored:
        by_video.setdefault(row["video_id"], {})[row["pts"]] = row["jpeg"]
    counts = set()
    for uri in reel.clips:
        for clip in scanned[uri]["clips"]:
            there = sorted(p for p in by_video[clip["video_id"]] if clip["start_pts"] <= p < clip["end_pts"])
            given = [frame["pts"] for frame in clip["frames"]]
            assert all(by_video[clip["video_id"]][frame["pts"]] == frame["jpeg"] for frame in clip["frames"])
            assert len(given) == min(8, len(there))
            places = [there.index(p) for p in given]
            steps = {b - a for a, b in pairwise(places)}
            assert places == sorted(places) and max(steps) - min(steps) <= 1
            assert abs(places[0] - (len(there) - 1 - places[-1])) <= 1, "as far from the start as from the end"
            counts.add(len(given) < len(there))
    assert counts == {True, False}


@pytest.mark.parametrize(("keep", "n_frames"), [("kept", [8, 0, 8]), ("none", [0, 0, 0])])
def test_frames_that_are_not_wanted_do_not_travel(reel: Reel, keep: str, n_frames: list[int]) -> None:
    with Scan(recipe(f"frames.keep={keep}")) as scan:
        [found] = scan.column(pa.array([str(reel.cuts.path)])).to_pylist()
    assert [len(clip["frames"]) for clip in found["clips"]] == n_frames


def test_a_batch_keeps_its_columns_and_its_order(reel: Reel, tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    uris = [str(reel.folder / "broken.mp4"), f"file://{reel.cuts.path}", None, str(tmp_path / "absent.mp4"), str(empty)]
    with Scan(recipe()) as scan:
        out = scan(pa.table({"camera": [1, 2, 3, 4, 5], "uri": uris}))
        assert scan(pa.table({"uri": pa.array([], pa.string())})).num_rows == 0
    assert out.column_names == ["camera", "uri", "scan"]
    assert out.schema.field("scan").type == Scan.returns
    assert out["uri"].to_pylist() == uris
    found = out["scan"].to_pylist()
    assert found[2] is None
    assert [f and len(f["clips"] or []) for f in found] == [0, 3, None, 0, 0]
    for number in (0, 3, 4):
        error = found[number]["error"]
        assert (error["error_type"], error["uri"], error["permanent"]) == ("ProbeError", uris[number], True)
        assert "Fix:" not in error["what"] and error["mend"]
        assert found[number]["clips"] is None and found[number]["video_id"] is None
    assert found[3]["error"]["what"] == "there is no such file"


def test_a_file_that_crashes_hangs_or_bombs_the_decoder_is_its_own_row(reel: Reel, long_film: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    uris = [str(reel.cuts.path), str(long_film), str(pipe), str(reel.uneven.path)]
    with Scan(recipe("scan.hang_s=4")) as scan, struck(long_film):
        found = scan.column(pa.array(uris)).to_pylist()
    assert [f["error"] and f["error"]["error_type"] for f in found] == [None, "CrashError", "HangError", None]
    assert [len(f["clips"] or []) for f in found] == [3, 0, 0, 3]
    assert "SIGSEGV" in found[1]["error"]["what"] and found[1]["error"]["uri"] == uris[1]
    assert [f["error"] and f["error"]["permanent"] for f in found] == [None, True, False, None], "a disk that stood still may be back"
    with Scan(recipe("scan.memory_gib=0.01")) as scan:
        [bomb] = scan.column(pa.array(uris[:1])).to_pylist()
    assert bomb["error"]["error_type"] == "MemoryError" and "0.0 GiB" in bomb["error"]["what"]


@pytest.mark.slow
def test_sampled_frames_wait_on_disk_not_in_memory(long_film: Path) -> None:
    """Every frame of the film is sampled, at a quality that makes them large; the child holds those of one clip."""
    peak_mib = {}
    for keep in ("none", "all"):
        settings = (f"frames.keep={keep}", "frames.per_s=30", "frames.quality=100", "frames.per_clip=16")
        with Scan(recipe(*settings)) as scan:
            [found] = scan.column(pa.array([str(long_film)])).to_pylist()
            [child] = children()
            [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child}/status").read_text())
            peak_mib[keep] = int(peak) / 1024
    frames = [len(frame["jpeg"]) for clip in found["clips"] for frame in clip["frames"]]
    sampled_mib = sum(frames) / len(frames) * 900 / 2**20
    assert len(frames) == 32 and sampled_mib > 75
    assert peak_mib["all"] - peak_mib["none"] < sampled_mib / 3


def test_several_threads_call_one_operator(reel: Reel) -> None:
    uris = [str(reel.cuts.path), str(reel.uneven.path), str(reel.folder / "broken.mp4")] * 3
    with Scan(recipe()) as scan, ThreadPoolExecutor(3) as threads:
        found = [row for rows in threads.map(lambda uri: scan.column(pa.array([uri])).to_pylist(), uris) for row in rows]
        assert 1 <= len(children()) <= 3
    for uri, row in zip(uris, found, strict=True):
        if uri in reel.clips:
            film_ = reel.clips[uri]
            assert [c["start_pts"] for c in row["clips"]] == [film_.pts[0], *film_.cut_pts]  # type: ignore[index]
        else:
            assert row["error"]["error_type"] == "ProbeError"


def test_a_daft_series_is_a_column(reel: Reel) -> None:
    import daft

    uris = daft.Series.from_pylist([str(reel.cuts.path), None])
    with Scan(recipe()) as scan:
        found = scan.column(uris).to_pylist()
    assert [f and len(f["clips"]) for f in found] == [3, None]
    assert daft.DataType.from_arrow_type(Scan.returns).is_struct()


def test_wrong_requests_are_refused_at_once(reel: Reel) -> None:
    with pytest.raises(RecipeError, match="sharpnes"):
        Scan(Recipe.parse({"rules": {"sharpnes": {"min": 0.4}}}))
    with pytest.raises(RecipeError, match="writes no files"):
        CutClips("clips", Recipe())
    with pytest.raises(RecipeError, match="makes no captions"):
        Caption(Recipe.parse({"captions": {"engine": "none"}}))
    with pytest.raises(RecipeError, match=r"captions\.model"):
        Caption(Recipe.parse({"captions": {"engine": "openai"}}))
    with Scan(recipe()) as scan, pytest.raises(UsageError, match="no column 'uri'; its columns are path"):
        scan(pa.table({"path": ["a.mp4"]}))
    with Caption() as caption, pytest.raises(UsageError, match="a clip has no start_pts"):
        caption(pa.table({"uri": ["a.mp4"], "clip": [{"clip_id": "x"}]}))
    with Scan(recipe()) as scan, pytest.raises(MissingExtra, match="no storage is known"):
        scan.column(pa.array(["nosuch://bucket/a.mp4"]))


# Life and death


def used(folder: Path, reel: Reel) -> list[Operator]:
    """One of each operator, after its first batch."""
    made: list[Operator] = [Scan(recipe()), Caption(recipe()), CutClips(str(folder), recipe("clips.mode=copy"))]
    scan = made[0](pa.table({"uri": [str(reel.cuts.path)]}))
    clips = clips_of({str(reel.cuts.path): scan["scan"].to_pylist()[0]})
    assert made[1](clips)["caption"].null_count == made[2](clips)["file"].null_count == 0
    return made


def test_an_operator_pickles_as_plain_data_used_or_not(reel: Reel, tmp_path: Path) -> None:
    operators = used(tmp_path, reel)
    before = len(children())
    assert before == 2
    sent = [pickle.dumps(operator) for operator in operators]
    assert all(len(data) < 10_000 for data in sent)
    again = [pickle.loads(data) for data in sent]
    assert len(children()) == before, "a copy starts nothing until it is used"
    uris = pa.array([str(reel.cuts.path)])
    assert again[0].column(uris).to_pylist() == operators[0].column(uris).to_pylist()
    for operator in (*operators, *again):
        operator.close()
    assert children() == []


def test_closing_ends_what_was_started(reel: Reel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    operators = used(tmp_path, reel)
    assert len(children()) == 2
    for operator in operators:
        operator.close()
        operator.close()
    assert children() == []
    assert not any(thread.name == "rushes-captions" for thread in threading.enumerate())
    clip = pa.array([None], Scan.returns.field("clips").type.value_type)
    for operator, columns in zip(operators, ([reel_uri(reel)], [reel_uri(reel), clip], [reel_uri(reel), kept(reel)]), strict=True):
        with pytest.raises(UsageError, match="was closed"):
            operator.column(*columns)
    assert list((tmp_path / "scratch").iterdir()) == []


def reel_uri(reel: Reel) -> pa.Array[Any]:
    return pa.array([str(reel.cuts.path)])


def kept(reel: Reel) -> pa.Array[Any]:
    return pa.array([{"clip_id": "a" * 32, "start_pts": 0, "end_pts": 10_000}])


def test_what_is_forgotten_ends(reel: Reel, tmp_path: Path) -> None:
    operators = used(tmp_path, reel)
    assert len(children()) == 2
    del operators
    gc.collect()
    until(lambda: children() == [] and not any(t.name == "rushes-captions" for t in threading.enumerate()), within_s=5)


def test_closing_gives_up_what_another_thread_waits_for(long_film: Path) -> None:
    scan = Scan(recipe())
    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(scan.column, pa.array([str(long_film)]))
        until(lambda: any(str(long_film) in open_files(pid) for pid in children()))
        scan.close()
        with pytest.raises(UsageError, match="was closed"):
            under_way.result(5)
    assert children() == []


def test_a_process_that_is_killed_leaves_no_child_and_no_file(long_film: Path, tmp_path: Path) -> None:
    code = f"import pyarrow as pa; from rushes.operators import Scan; Scan().column(pa.array([{str(long_film)!r}]))"
    env = {**os.environ, "PYTHONPATH": str(SRC), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.DEVNULL) as process:
        until(lambda: any(str(long_film) in open_files(pid) for pid in children(process.pid)))
        [child] = children(process.pid)
        process.kill()
    until(lambda: not Path(f"/proc/{child}").exists(), within_s=2)
    assert list(tmp_path.iterdir()) == []


# Caption


def test_captions_are_those_of_a_run(reel: Reel, reel_store: Path, scanned: dict[str, dict[str, Any]]) -> None:
    of_run = {c["clip_id"]: c["caption"] for c in inline("clips", reel_store, "--json", *settings_of()).lines if c["caption"]}
    clips = clips_of({uri: scanned[uri] for uri in reel.clips})
    kept = clips.filter(pc.equal(pc.struct_field(clips["clip"], "verdict"), "kept"))
    with Caption(recipe()) as caption:
        out = caption(kept)
    assert out.schema.field("caption").type == Caption.returns
    rows = out.to_pylist()
    assert {row["clip"]["clip_id"]: row["caption"]["text"] for row in rows} == of_run
    assert {(row["caption"]["model"], row["caption"]["error"]) for row in rows} == {("rushes-facts", None)}


def asking(base_url: str, **more: Any) -> Recipe:
    settings = {"engine": "openai", "base_url": base_url, "model": "tiny-vlm", "prompt": "short", "patience_s": 0, **more}
    return Recipe.parse({"captions": settings, "resources": {"captions": {"concurrency": 2}}})


def test_a_server_is_asked_with_the_frames_and_within_the_limit_of_all_threads(scanned: dict[str, dict[str, Any]]) -> None:
    clips = clips_of(scanned)
    assert clips.num_rows == 9
    with start_server(service_s=0.1) as server:
        with Caption(asking(server.base_url)) as caption, ThreadPoolExecutor(3) as threads:
            tables = list(threads.map(lambda k: caption(clips.slice(3 * k, 3)), range(3)))
        stats = server.stats()
    assert stats["violations"] == [] and stats["max_in_flight"] == 2
    rows = pa.concat_tables(tables).to_pylist()
    assert all(row["caption"]["text"] and row["caption"]["error"] is None for row in rows)
    sent = sorted(request["images"] for request in stats["requests"])
    assert sent == sorted([hashlib.sha256(f["jpeg"]).hexdigest() for f in row["clip"]["frames"]] for row in rows)


def test_a_clip_that_cannot_be_captioned_is_its_own_row(scanned: dict[str, dict[str, Any]], reel: Reel) -> None:
    first, second, third = scanned[str(reel.cuts.path)]["clips"]
    kind = Scan.returns.field("clips").type.value_type
    clips = pa.array([first, {**second, "frames": []}, None, third], kind)
    with start_server() as server, Caption(asking(server.base_url)) as caption:
        rows = caption.column(pa.array([str(reel.cuts.path)] * 4), clips).to_pylist()
    assert rows[2] is None
    assert [row and row["error"] and row["error"]["error_type"] for row in rows] == [None, "no_frames", None, None]
    error = rows[1]["error"]
    assert (error["uri"], error["start_s"], error["end_s"]) == (str(reel.cuts.path), second["start_s"], second["end_s"])
    assert rows[0]["text"] and rows[3]["text"] and rows[1]["text"] is None


@pytest.mark.parametrize("mode", variants(["401", "gone"], quick=["401"]))
def test_a_server_that_makes_no_captions_is_no_fault_of_a_clip(scanned: dict[str, dict[str, Any]], mode: str) -> None:
    with start_server(mode="ok" if mode == "gone" else mode) as server, Caption(asking(server.base_url, timeout_s=5)) as caption:
        clips = clips_of(scanned).slice(0, 2)
        if mode == "gone":
            assert caption(clips).num_rows == 2
            server.stop()
        with pytest.raises(ServerError, match=str(server.port)):
            caption(clips)


def test_a_server_that_comes_back_is_asked_again(scanned: dict[str, dict[str, Any]]) -> None:
    clips = clips_of(scanned).slice(0, 2)
    longer = "1000"  # seconds that the server asks to be left alone: more than the engine waits, so it gives up at once
    with start_server(mode="429", retry_after=longer) as server, ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(Caption(asking(server.base_url, patience_s=60)), clips)
        until(lambda: len(server.stats()["requests"]) >= 2)
        assert not under_way.done()
        server.control(mode="ok")
        rows = under_way.result(60)["caption"].to_pylist()
    assert all(row["text"] and row["error"] is None for row in rows)


# CutClips


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A film that a player turns, whose pixels are wider than high, and whose every frame bears its number."""
    how: Any = {"gop": 15, "rotation": 90, "options": {"x264-params": "sar=4/3"}}
    return render(tmp_path_factory.mktemp("turned") / "turned.mov", (moving(192, 112, 13), 90), **how)


@pytest.mark.parametrize("mode", ["copy", "encode"])
def test_a_file_holds_the_frames_it_says(turned: Clip, tmp_path: Path, mode: str) -> None:
    assert turned.pts is not None
    spans = [(0, 30), (30, 61), (61, 90)]
    end = turned.pts[-1] + turned.pts[1]
    ticks = [*turned.pts, end]
    clips = [{"clip_id": f"{k:032x}", "start_pts": ticks[a], "end_pts": ticks[b]} for k, (a, b) in enumerate(spans)]
    with CutClips(str(tmp_path / "clips"), recipe(f"clips.mode={mode}")) as cut:
        out = cut(pa.table({"uri": [str(turned.path)] * 3, "clip": clips}))
    assert out.schema.field("file").type == CutClips.returns
    for (first, last), row in zip(spans, out["file"].to_pylist(), strict=True):
        assert row["error"] is None and row["mode"] == mode
        assert row["bytes"] == Path(row["clip_uri"]).stat().st_size
        with av.open(row["clip_uri"]) as file:
            assert file.streams.video[0].sample_aspect_ratio == (Fraction(4, 3) if mode == "copy" else 1)
            assert (row["width"], row["height"]) == (112, 256)
            numbers = [read_frame_number(frame.to_ndarray(format="gray")) for frame in upright_as_coded(file, mode)]
        assert numbers == list(range(ticks.index(row["start_pts"]), ticks.index(row["end_pts"]))) and len(numbers) == row["n_frames"]
        if mode == "encode":
            assert (numbers[0], numbers[-1]) == (first, last - 1)


def upright_as_coded(file: Any, mode: str) -> Iterator[Any]:
    """Frames with the picture as it was drawn: an encoded clip is upright, which turned the number by a quarter."""
    for frame in file.decode(video=0):
        if mode == "copy":
            yield frame
        else:
            yield av.VideoFrame.from_ndarray(frame.to_ndarray(format="gray").T[::-1].copy(), format="gray")


def test_a_clip_that_cannot_be_cut_is_its_own_row(turned: Clip, reel: Reel, long_film: Path, tmp_path: Path) -> None:
    assert turned.pts is not None

    def clip(name: str, start: int, end: int) -> dict[str, Any]:
        return {"clip_id": name * 32, "start_pts": start, "end_pts": end}

    rows = [
        (str(turned.path), clip("a", 0, turned.pts[30])),
        (str(turned.path), clip("b", 500, 500)),
        (str(turned.path), clip("c", turned.pts[-1] * 10, turned.pts[-1] * 11)),
        (str(reel.folder / "broken.mp4"), clip("d", 0, 1000)),
        (str(long_film), clip("e", 0, 100_000)),
        (str(turned.path), None),
        (str(turned.path), clip("a", 0, turned.pts[30])),
    ]
    batch = pa.table({"uri": [uri for uri, _ in rows], "clip": pa.array([c for _, c in rows])})
    with CutClips(str(tmp_path), recipe("clips.mode=encode")) as cut, struck(long_film):
        found = cut(batch)["file"].to_pylist()
    kinds = [row and row["error"] and row["error"]["error_type"] for row in found]
    assert kinds == [None, "CutError", "CutError", "ProbeError", "CrashError", None, None]
    assert found[0]["n_frames"] == 30 and found[0] == found[6] and found[5] is None
    assert "is empty" in found[1]["error"]["what"] and found[2]["error"]["uri"] == str(turned.path)
    assert sorted(p.name for p in tmp_path.rglob("*.mp4")) == ["a" * 32 + ".mp4"]


def test_a_folder_that_cannot_be_written_is_no_fault_of_a_clip(turned: Clip, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    clip = {"clip_id": "a" * 32, "start_pts": 0, "end_pts": 10_000}
    with CutClips(str(tmp_path / "file"), recipe("clips.mode=copy")) as cut, pytest.raises(StorageError, match="a file stands where"):
        cut(pa.table({"uri": [str(turned.path)], "clip": [clip]}))


def test_a_relative_folder_is_that_of_whoever_made_the_operator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    cut = CutClips("clips", recipe("clips.mode=copy"))
    assert pickle.loads(pickle.dumps(cut)).folder == str(tmp_path / "clips")
    assert CutClips("s3://bucket/clips", recipe("clips.mode=copy")).folder == "s3://bucket/clips"
