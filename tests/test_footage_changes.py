"""Footage that is renamed, copied, replaced, put back, or changed while it is read: plan, run and readers agree on what it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caption_server import Running, start_server
from census import BOOKS, Attempt, attempt, raw
from footage import render
from pictures import film
from rushes.engine.jobs import Video
from rushes.errors import ProbeError
from rushes.media.identity import video_id
from rushes.media.same_file import SameFile
from stores import go, inline, rows_of, seen, settings_of
from variants import variants

WISH = ("captions.engine=openai", "captions.model=tiny-vlm", "frames.per_clip=3")


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with start_server() as running:
        yield running


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Films of two shots each, of other content but one length, and one that nothing can read. Read only."""
    folder = tmp_path_factory.mktemp("films")
    for k, name in enumerate(("one", "two")):
        render(folder / f"{name}.mp4", film(192, 108, [45, 50], seed=30 + k))
    (folder / "broken.mp4").write_bytes(bytes(range(250)))
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture
def go_on(films: dict[str, Path], tmp_path: Path, server: Running) -> Callable[..., Attempt]:
    """Plans and runs the folder `here`, which begins with the first film as m.mp4."""
    (tmp_path / "here").mkdir()
    shutil.copy2(films["one"], tmp_path / "here" / "m.mp4")

    def once(*settings: str) -> Attempt:
        return attempt(tmp_path / "here", tmp_path / "store", server, *WISH, f"captions.base_url={server.base_url}", *settings)

    return once


def books(made: Attempt) -> list[int]:
    """Videos scanned, reused, failed, duplicate."""
    return [made.run[name] for name in BOOKS]


def names(made: Attempt) -> set[str]:
    """Files whose clips are seen."""
    return {Path(clip["uri"]).name for clip in made.clips}


def statuses(tmp_path: Path) -> dict[str, str]:
    return {Path(v["uri"]).name: v["status"] for v in seen(tmp_path / "store", *WISH).videos()}


def test_renamed_touched_or_copied_footage_costs_no_decode(go_on: Callable[..., Attempt], tmp_path: Path) -> None:
    """One content under a line of names: each time the plan and the run find nothing to do but to say who is who."""
    here, first = tmp_path / "here", go_on()
    first.kept_its_word(new_footage=True)
    ids = [c["clip_id"] for c in first.clips]
    steps: list[tuple[Callable[[], object], list[int], str]] = [
        (lambda: (here / "m.mp4").rename(here / "n.mp4"), [0, 1, 0, 0], "n.mp4"),
        (lambda: os.utime(here / "n.mp4", ns=(1, 1)), [0, 1, 0, 0], "n.mp4"),
        (lambda: shutil.copy2(here / "n.mp4", here / "z.mp4"), [0, 1, 0, 1], "n.mp4"),
        (lambda: shutil.copy2(here / "n.mp4", here / "a.mp4"), [0, 1, 0, 2], "a.mp4"),
        (lambda: (here / "a.mp4").rename(tmp_path / "aside"), [0, 1, 0, 1], "n.mp4"),
        (lambda: (tmp_path / "aside").rename(here / "a.mp4"), [0, 1, 0, 2], "a.mp4"),
        (lambda: [(here / name).unlink() for name in ("a.mp4", "n.mp4")], [0, 1, 0, 0], "z.mp4"),
    ]
    for step, counts, name in steps:
        step()
        made = go_on()
        assert made.missing() == {}
        assert (made.planned["decode_s"], made.run["decoded_s"], made.asked) == (0, 0, [])
        made.rewrote_nothing()
        made.balances()
        assert (books(made), names(made), [c["clip_id"] for c in made.clips]) == (counts, {name}, ids)
        assert all(c["caption"] for c in made.clips)
        go_on().did_nothing()


def test_replaced_footage_is_new_and_put_back_it_is_known(go_on: Callable[..., Attempt], films: dict[str, Path], tmp_path: Path) -> None:
    here, first = tmp_path / "here", go_on()
    shutil.copy2(here / "m.mp4", tmp_path / "aside")
    shutil.copy2(films["two"], here / "m.mp4")
    replaced = go_on()
    assert replaced.missing() == dict.fromkeys(("scan", "frames", "shots", "measures"), 1)
    replaced.kept_its_word(new_footage=True)
    assert books(replaced) == [1, 0, 0, 0]
    assert not {c["clip_id"] for c in replaced.clips} & {c["clip_id"] for c in first.clips}
    shutil.copy2(tmp_path / "aside", here / "m.mp4")
    back = go_on()
    assert (back.missing(), books(back), back.clips) == ({}, [0, 1, 0, 0], first.clips)
    go_on().did_nothing()


def test_a_broken_file_is_tried_once_under_whatever_name(go_on: Callable[..., Attempt], films: dict[str, Path], tmp_path: Path) -> None:
    here = tmp_path / "here"
    shutil.copy2(films["broken"], here / "b.mp4")
    assert books(go_on()) == [1, 0, 1, 0]
    (here / "b.mp4").rename(here / "c.mp4")
    renamed = go_on()
    assert (renamed.missing(), books(renamed)) == ({}, [0, 1, 1, 0])
    assert not renamed.new("errors")
    assert statuses(tmp_path)["c.mp4"] == "failed"
    shutil.copy2(films["two"], here / "c.mp4")
    assert books(go_on()) == [1, 1, 0, 0]
    shutil.copy2(films["broken"], here / "c.mp4")
    assert books(go_on()) == [0, 1, 1, 0]
    assert statuses(tmp_path)["c.mp4"] == "failed"
    go_on().did_nothing()


def test_new_columns_of_a_list_reach_the_clips_without_a_decode(films: dict[str, Path], tmp_path: Path) -> None:
    listed, out = tmp_path / "list.csv", tmp_path / "store"
    for camera in ("left", "right"):
        listed.write_text(f"uri,camera\n{films['one']},{camera}\n")
        counts = go([listed], out).counts
        assert {c["extra"]["camera"] for c in seen(out).clips()} == {camera}
    assert (counts["videos_reused"], counts["decoded_s"]) == (1, 0)


def test_with_frames_of_kept_clips_new_shots_find_their_frames(go_on: Callable[..., Attempt], tmp_path: Path) -> None:
    """The first cut keeps one shot of two; the second cut keeps what lies in the other. Its frames must be there."""
    keep = 'frames.keep="kept"'
    first = go_on(keep, "rules.too_short.min=1.9")
    assert [c["verdict"] for c in first.clips] == ["dropped", "kept"]
    again = go_on(keep, "rules.too_short.min=1.9", "shots.detector=stride", "shots.stride_s=1.9")
    again.kept_its_word()
    assert {c["verdict"] for c in again.clips} == {"kept"}
    assert all(c["caption"] for c in again.clips)
    go_on(keep, "rules.too_short.min=1.9").did_nothing()


def test_a_clip_whose_caption_failed_stays_failed_in_the_books_of_a_new_cut(
    go_on: Callable[..., Attempt], tmp_path: Path, server: Running
) -> None:
    """Same spans under another detector, so that the failed caption is not asked for again."""
    out, wish = tmp_path / "store", (*WISH, f"captions.base_url={server.base_url}")
    server.control(mode="context", fail_first=1, spare_tests=True)
    counts = go(tmp_path / "here", out, *wish, "captions.concurrency=1").counts
    assert (counts["clips_kept"], counts["clips_failed"]) == (1, 1)
    cut = go_on("shots.detector=content")
    assert (cut.missing()["shots"], cut.asked, cut.run["clips_failed"]) == (1, [], 1)
    cut.balances()
    quality = go_on("shots.detector=content", "scan.grid_per_s=3")
    assert (quality.missing()["scan"], quality.asked, quality.run["clips_failed"]) == (1, [], 1)
    quality.balances()


def test_a_pass_for_other_frames_that_fails_leaves_the_first_recipe_as_it_was(go_on: Callable[..., Attempt], tmp_path: Path) -> None:
    """The child may not use the memory that it needs, so that the second pass dies."""
    first = go_on()
    failed = go_on("frames.quality=50", "scan.memory_gib=0.01")
    assert books(failed) == [0, 0, 1, 0]
    back = go_on()
    back.did_nothing()
    assert (books(back), back.clips) == ([0, 1, 0, 0], first.clips)
    again = go_on("frames.quality=50")
    again.kept_its_word()
    assert books(again) == [1, 0, 0, 0]


# While it is read


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Film whose scan takes a second or two: many small frames, and a stored frame for each."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    render(path, film(320, 180, [1500], seed=50), options={"preset": "ultrafast"})
    return path


SLOW = ("frames.per_s=30", "frames.quality=100", "captions.engine=none", "rules.too_short.min=0.5")


def is_open(path: Path) -> bool:
    """Whether a process other than this one has the file open."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                if any(link.readlink() == path for link in (process / "fd").iterdir()):
                    return True
    return False


def when(happened: Callable[[], bool], change: Callable[[], object]) -> threading.Thread:
    """Makes the change as soon as something has happened."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not happened() and time.monotonic() < deadline:
            time.sleep(0.01)
        change()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize("moment", variants(["before", "during"], quick=["during"]))
def test_footage_that_changes_while_it_is_scanned_fails_for_this_run_and_is_new_for_the_next(
    moment: str, films: dict[str, Path], long_film: Path, tmp_path: Path
) -> None:
    """Written over in place, so that an open file shows the new bytes: when the store is made, which is after the footage was identified,
    or when the decoder has opened the file."""
    here, out, old = tmp_path / "m.mp4", tmp_path / "store", video_id(str(long_film), long_film.stat().st_size, {})
    shutil.copy2(long_film, here)
    marked = (out / "rushes.json").exists
    changer = when(marked if moment == "before" else lambda: marked() and is_open(here), lambda: shutil.copyfile(films["two"], here))
    done = inline("run", here, "--out", out, *settings_of(*SLOW))
    changer.join()
    assert done.code == 0, done.err
    [row] = seen(out, *SLOW).runs()
    assert (row["videos_scanned"], row["videos_failed"]) == (0, 1)
    [error] = seen(out, *SLOW).errors()
    assert ("it changed while it was read" in error["error"], error["permanent"]) == (True, False)
    for table in ("frames", "signals", "clips", "marks"):
        assert not [r for r in rows_of(out, table)[table] if r["video_id"] == old], table
    counts = go([here], out, *SLOW).counts
    assert (counts["videos_scanned"], counts["videos_failed"]) == (1, 0)
    assert {r["video_id"] for r in raw(out, "signals")} == {video_id(str(here), here.stat().st_size, {})} - {old}


def video_of(path: Path) -> Video:
    info = path.stat()
    name = video_id(str(path), info.st_size, {})
    return Video(source=str(path), uri=str(path), video_id=name, size=info.st_size, stamp=str(info.st_mtime_ns))


def test_what_is_looked_at_again(films: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "m.mp4"
    shutil.copy2(films["one"], path)
    video, info = video_of(path), path.stat()
    SameFile(video, {}).check()
    os.utime(path, ns=(1, 1))
    touched = SameFile(video, {})  # another time of change, but the bytes are those that were identified
    touched.check()
    os.utime(path, ns=(2, 2))
    with pytest.raises(ProbeError, match="changed") as changed:
        touched.check()
    assert not changed.value.permanent
    same_length = bytearray(path.read_bytes())
    same_length[len(same_length) // 2] ^= 1
    path.write_bytes(same_length)
    with pytest.raises(ProbeError, match="changed"):
        SameFile(video, {})
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    SameFile(video, {}).check()  # size and time of change are all that tells a file that was not opened
    path.unlink()
    with pytest.raises(ProbeError, match="no such file") as gone:
        SameFile(video, {})
    assert not gone.value.permanent
