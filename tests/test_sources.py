"""FOOTAGE to a list of files, to the contract."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from rushes.errors import FootageError, MissingExtra
from rushes.sources.folder import walk
from rushes.sources.footage import find_footage
from rushes.sources.found import FootageCollector


def put(folder: Path, *names: str, data: bytes = b"x") -> list[str]:
    made = []
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        made.append(str(path))
    return made


def uris(args: list[str], **how: object) -> list[str]:
    return [item.uri for item in find_footage(args, {}, **how).items]  # type: ignore[arg-type]


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()


def test_folder_is_walked_by_suffix_without_hidden_entries(tmp_path):
    wanted = put(tmp_path, "b.MP4", "a/deep/c.m2ts", "a/d.WebM", "a/e.insv")
    put(tmp_path, "notes.txt", "a/f.jpg", "a/noext", ".hidden.mp4", ".git/g.mp4", "a/.h/i.mp4")
    found = find_footage([str(tmp_path)], {})
    assert [item.uri for item in found.items] == sorted(wanted)
    assert found.not_video == 3
    assert found.missing == []
    info = os.stat(wanted[0])
    item = next(i for i in found.items if i.uri == wanted[0])
    assert (item.size, item.stamp, item.extra, item.address) == (info.st_size, str(info.st_mtime_ns), {}, item.uri)


CONTRACT = ["mp4", "m4v", "mov", "mkv", "webm", "avi", "flv", "wmv", "asf", "mpg", "mpeg", "m2v", "ts", "mts", "m2ts", "vob"]


CAMERAS = ["lrf", "LRF", "lrv", "360", "insv", "MOD", "TOD", "tp", "trp", "dav", "264", "265", "gif"]


@pytest.mark.parametrize("suffix", [*CONTRACT, "3gp", "3g2", "mxf", "ogv", "rm", "ivf", "swf", *CAMERAS])
def test_every_suffix_of_the_contract_is_taken(tmp_path, suffix):
    wanted = put(tmp_path, f"x.{suffix}")
    assert uris([str(tmp_path)]) == wanted


NAMES = ["a [1].mp4", "b*.mp4", "c?.mp4", 'd\'s "q".mp4', "e ü 视频.mp4", "f%20g.mp4", "h#i.mp4", " lead.mp4", "j\nk.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_that_exists_is_never_a_pattern(tmp_path, name):
    wanted = put(tmp_path, name)
    put(tmp_path, "a 1.mp4", "bb.mp4", "cc.mp4")
    assert uris([wanted[0]]) == wanted
    assert wanted[0] in uris([str(tmp_path)])


def test_a_folder_named_like_a_pattern_is_walked(tmp_path):
    wanted = put(tmp_path, "[set]/a.mp4")
    put(tmp_path, "s/b.mp4")
    assert uris([str(tmp_path / "[set]")]) == wanted


def test_patterns(tmp_path):
    put(tmp_path, "a1.mp4", "a2.mp4", "b.mp4", "a3.txt", "x/y/a4.mp4", "raw.dat")
    at = str(tmp_path)
    assert uris([f"{at}/a*"]) == [f"{at}/a1.mp4", f"{at}/a2.mp4"]
    assert find_footage([f"{at}/a*"], {}).not_video == 1
    assert uris([f"{at}/**/a*.mp4"]) == [f"{at}/a1.mp4", f"{at}/a2.mp4", f"{at}/x/y/a4.mp4"]
    assert uris([f"{at}/*.dat"]) == [f"{at}/raw.dat"]


def test_named_files_are_always_taken_and_each_uri_once(tmp_path, monkeypatch):
    a, b = put(tmp_path, "clip.bin", "v.mp4")
    monkeypatch.chdir(tmp_path)
    assert uris(["clip.bin", a, f"file://{b}", "./v.mp4", str(tmp_path)]) == [a, b]


def test_file_url_with_percent_encoding_becomes_a_path(tmp_path):
    (path,) = put(tmp_path, "a b.mp4")
    assert uris([f"file://{tmp_path}/a%20b.mp4"]) == [path]


def test_a_name_that_is_no_text_can_be_stored_and_opened(tmp_path):
    raw = os.fsencode(tmp_path) + b"/bad\xff.mp4"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    (item,) = find_footage([str(tmp_path)], {}).items
    assert item.uri.encode() == os.fsencode(tmp_path) + rb"/bad\xff.mp4"
    assert os.fsencode(item.address) == raw


def test_links_are_followed_once_and_broken_ones_are_failed_rows(tmp_path):
    (video,) = put(tmp_path, "a/v.mp4")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    found = find_footage([str(tmp_path)], {})
    assert [(i.uri, i.size) for i in found.items] == [(video, 1), (str(tmp_path / "gone.mp4"), None)]
    (error,) = found.missing
    assert (error.uri, error.what, error.step) == (str(tmp_path / "gone.mp4"), "the link leads nowhere", "probe")
    assert error.mend == "mend the link, or take it out of the footage"


def test_a_link_in_a_circle_costs_nothing_but_itself(tmp_path):
    """Case 05 of the field."""
    (video,) = put(tmp_path, "good.mp4")
    for name in ("loop.mp4", "latest", "notes.txt"):
        (tmp_path / name).symlink_to(name)
    (tmp_path / "one.mov").symlink_to("two.mov")
    (tmp_path / "two.mov").symlink_to("one.mov")
    found = find_footage([str(tmp_path)], {})
    assert [(Path(i.uri).name, i.size) for i in found.items] == [("good.mp4", 1), ("loop.mp4", None), ("one.mov", None), ("two.mov", None)]
    assert {error.what for error in found.missing} == {"the link leads nowhere"}
    assert found.passed_over == {"": 1, "txt": 1}
    for name in ("loop.mp4", "latest"):
        with pytest.raises(FootageError, match="the link leads nowhere"):
            find_footage([str(tmp_path / name)], {})
    assert uris([f"{tmp_path}/*.mp4"]) == [video, str(tmp_path / "loop.mp4")]


def as_ordinary_user(work: Callable[[], object]) -> object:
    """What a process of a user without rights of its own finds."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    return json.loads(answer)


@pytest.fixture
def shared_folder():
    """A folder that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="rushes-test-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


def test_what_a_user_may_not_read_is_a_failed_row_and_the_rest_goes_on(shared_folder):
    """The second form of case 05: links into folders of mode 000, and such folders themselves."""
    put(shared_folder, "day/good.mp4", "day/closed/inside.mp4", "vault/far.mp4", "vault/deep/v.mp4", "day/mine.mp4")
    day = shared_folder / "day"
    (day / "link.mp4").symlink_to(shared_folder / "vault" / "far.mp4")
    (day / "footage").symlink_to(shared_folder / "vault" / "deep")
    (day / "notes.txt").symlink_to(shared_folder / "vault" / "far.mp4")
    (day / "mine.mp4").chmod(0)
    for name in ("day/closed", "vault"):
        (shared_folder / name).chmod(0)

    def look() -> object:
        found = find_footage([str(day)], {})
        return [{Path(i.uri).name: i.size for i in found.items}, [e.what for e in found.missing], found.passed_over]

    sizes, words, passed_over = as_ordinary_user(look)  # type: ignore[misc]
    assert sizes == {"good.mp4": 1, "closed": None, "link.mp4": None, "footage": None, "mine.mp4": None}
    assert set(words) == {"no permission to read it"} and passed_over == {"txt": 1}

    def pattern() -> object:
        found = find_footage([f"{day}/*/*.mp4"], {})
        return [{Path(i.uri).name: i.size for i in found.items}, [e.what for e in found.missing]]

    sizes, words = as_ordinary_user(pattern)  # type: ignore[misc]
    assert sizes == {"closed": None} and words == ["no permission to read it"]

    def named() -> object:
        with pytest.raises(FootageError) as caught:
            find_footage([str(shared_folder / "vault" / "far.mp4")], {})
        return str(caught.value)

    assert "no permission to read it" in str(as_ordinary_user(named))


def test_files_and_folders_that_vanish_while_they_are_listed_are_failed_rows(tmp_path):
    put(tmp_path, *(f"{k}.mp4" for k in range(5)), "folder/x.mp4")

    class Removing(FootageCollector):
        """When the first file is taken, all others are gone."""

        def take(self, item, error=None):
            if not len(self):
                for path in (*tmp_path.glob("*.mp4"), *tmp_path.glob("folder/*")):
                    path.unlink()
                (tmp_path / "folder").rmdir()
            super().take(item, error)

    collector = Removing()
    walk(str(tmp_path), collector)
    found = collector.found()
    assert sorted(i.size is None for i in found.items) == [False, *[True] * 5]
    assert len(found.missing) == 5 and {e.what for e in found.missing} == {"there is no such file"}


def test_what_is_passed_over_is_told_by_suffix(tmp_path):
    put(tmp_path, "v.mp4", "a.JPG", "b.jpg", "c.xmp", "d", "x/e.jpg", ".hidden.jpg")
    assert find_footage([str(tmp_path)], {}).passed_over == {"jpg": 3, "": 1, "xmp": 1}
    assert find_footage([f"{tmp_path}/*"], {}).passed_over == {"jpg": 3, "": 1, "xmp": 1}


def test_the_store_is_not_footage(tmp_path):
    (video,) = put(tmp_path, "v.mp4")
    put(tmp_path, "store/clips/aa/aa1.mp4")
    assert uris([str(tmp_path)], exclude=[str(tmp_path / "store")]) == [video]


def manifest(folder: Path, kind: str, rows: list[dict[str, object]]) -> str:
    path = folder / f"list.{kind}"
    if kind == "txt":
        path.write_text("﻿# day 1\n\n" + "".join(f"{row['uri']}\n" for row in rows), encoding="utf-8")
    elif kind == "csv":
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + "\n", encoding="utf-8")
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl", "parquet"])
def test_manifest_entries_and_columns(tmp_path, kind):
    a, b = put(tmp_path, "sub/a, 1.mp4", "b.bin")
    rows = [
        {"uri": "sub/a, 1.mp4", "camera": "007", "prompt": "狗 runs"},
        {"uri": b, "camera": None, "prompt": "x"},
        {"uri": "no.mp4", "camera": "9", "prompt": ""},
    ]
    found = find_footage([manifest(tmp_path, kind, rows)], {})
    gone = str(tmp_path / "no.mp4")
    assert [(i.uri, i.size) for i in found.items] == [(b, 1), (gone, None), (a, 1)]
    assert [(e.uri, e.what) for e in found.missing] == [(gone, "there is no such file")]
    extra = {i.uri: i.extra for i in found.items}
    assert extra[a] == ({} if kind == "txt" else {"camera": "007", "prompt": "狗 runs"})
    assert extra[b] == ({} if kind == "txt" else {"camera": None, "prompt": "x"})


def test_manifest_numbers_stay_numbers_and_columns_survive_a_folder(tmp_path):
    put(tmp_path, "a.mp4")
    listed = manifest(tmp_path, "jsonl", [{"uri": "a.mp4", "day": 3, "gain": 0.5, "tags": ["x", "y"]}])
    for args in ([listed, str(tmp_path)], [str(tmp_path), listed]):
        (item,) = find_footage(args, {}).items
        assert item.extra == {"day": 3, "gain": 0.5, "tags": '["x", "y"]'}
        assert item.size == 1


def test_a_folder_in_a_manifest_is_a_failed_row(tmp_path):
    put(tmp_path, "d/a.mp4")
    found = find_footage([manifest(tmp_path, "txt", [{"uri": "d"}])], {})
    assert [(e.uri, e.what) for e in found.missing] == [(str(tmp_path / "d"), "it is a folder, not a file")]


ERRORS = {
    "nothing there": (lambda p: [str(p / "no" / "x.mp4")], "no such file or folder"),
    "pattern without match": (lambda p: [str(p / "*.mkv")], "no file matches this pattern"),
    "folder without video": (lambda p: [str(p / "docs")], "no video found among 2 other files"),
    "empty folder": (lambda p: [str(p / "empty")], "the folder is empty"),
    "no footage": (lambda p: [], "no footage was named"),
    "dangling link": (lambda p: [str(p / "dangling.mp4")], "the link leads nowhere"),
    "csv without uri": (lambda p: [str(p / "bad.csv")], 'no column uri; there are: path, day. Fix: rename the column "path" to uri'),
    "broken jsonl": (lambda p: [str(p / "bad.jsonl")], "line 2 is no JSON"),
    "jsonl row without uri": (lambda p: [str(p / "bad2.jsonl")], "line 1: no column uri"),
    "no parquet": (lambda p: [str(p / "bad.parquet")], "no Parquet file"),
    "empty list": (lambda p: [str(p / "none.txt")], "names no video"),
    "binary list": (lambda p: [str(p / "bin.txt")], "not text in UTF-8 or UTF-16"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_is_wrong_and_exit_2(tmp_path, case):
    put(tmp_path, "docs/a.txt", "docs/b/c.jpg", "here.mp4")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "x")
    (tmp_path / "bad.csv").write_text("path,day\na.mp4,1\n")
    (tmp_path / "bad.jsonl").write_text('{"uri": "here.mp4"}\n{"uri": \n')
    (tmp_path / "bad2.jsonl").write_text('{"url": "here.mp4"}\n')
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "none.txt").write_text("# nothing\n")
    (tmp_path / "bin.txt").write_bytes(b"\xff\xfe\x00")
    args, words = ERRORS[case]
    with pytest.raises(FootageError) as caught:
        find_footage(args(tmp_path), {})
    assert words in str(caught.value)
    assert caught.value.exit_code == 2
    assert caught.value.mend


def test_remote_prefix_pattern_file_and_manifest(memory):
    for name in ("d/a.mp4", "d/x/b.MOV", "d/n.json", "d/.h/c.mp4", "e.dat"):
        memory.pipe_file(f"/raw/{name}", b"abc")
    memory.pipe_file("/raw/d/l.csv", b"uri,cam\na.mp4,7\nmemory://raw/e.dat,8\nno.mp4,9\n")
    found = find_footage(["memory://raw/d"], {})
    assert [i.uri for i in found.items] == ["memory://raw/d/a.mp4", "memory://raw/d/x/b.MOV"]
    assert found.not_video == 2
    assert all(i.size == 3 and i.stamp for i in found.items)
    assert [i.uri.removeprefix("memory://").lstrip("/") for i in find_footage(["memory://raw/d/*.mp4"], {}).items] == ["raw/d/a.mp4"]
    assert uris(["memory://raw/e.dat"]) == ["memory://raw/e.dat"]
    listed = find_footage(["memory://raw/d/l.csv"], {})
    assert {i.uri: (i.size, i.extra) for i in listed.items} == {
        "memory://raw/d/a.mp4": (3, {"cam": "7"}),
        "memory://raw/e.dat": (3, {"cam": "8"}),
        "memory://raw/d/no.mp4": (None, {"cam": "9"}),
    }
    assert [(e.uri, e.what) for e in listed.missing] == [("memory://raw/d/no.mp4", "there is no such file")]
    for url in ("memory://raw/none.mp4", "memory://raw/*.mkv"):
        with pytest.raises(FootageError, match="nothing"):
            find_footage([url], {})


def test_a_protocol_without_its_package_names_it():
    with pytest.raises(MissingExtra, match="pip install tosfs"):
        find_footage(["tos://bucket/a.mp4"], {})
    with pytest.raises(MissingExtra, match="nosuch"):
        find_footage(["nosuch://bucket/a.mp4"], {})


def test_finding_files_costs_at_most_a_tenth_of_a_millisecond_each(tmp_path):
    n = 20_000
    for k in range(20):
        (tmp_path / f"{k}").mkdir()
    for k in range(n):
        os.close(os.open(tmp_path / f"{k % 20}" / f"{k:06d}.mp4", os.O_CREAT | os.O_WRONLY))
    start = time.process_time()
    assert len(find_footage([str(tmp_path)], {}).items) == n
    assert time.process_time() - start < 2.0, "10 s for 100,000 files"
