"""Bytes in and out: addresses, ranged reads, atomic writes, identity."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import av
import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from footage import render
from pictures import still
from rushes.errors import MissingExtra, ProbeError, StorageError
from rushes.media import storage
from rushes.media.address import local_path, public_uri
from rushes.media.error_translation import read_error, write_error
from rushes.media.identity import video_id
from rushes.media.storage import listing, open_seekable, put_atomic, stat

MIB = 1 << 20


class CountedMemory(MemoryFileSystem):
    """fsspec's own memory filesystem, which writes down the ranges it was asked for."""

    protocol = "counted"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    asked: ClassVar[list[tuple[int, int]]] = []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("counted://", "memory://"))

    def cat_file(self, path, start=None, end=None, **kwargs):
        self.asked.append((start, end))
        return super().cat_file(path, start=start, end=end, **kwargs)


fsspec.register_implementation("counted", CountedMemory, clobber=True)


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()


PUBLIC = {
    "user and password": ("https://u:p@host/a.mp4", "https://host/a.mp4"),
    "aws signature": ("https://b.aws.com/a b.mp4?versionId=3&X-Amz-Signature=00&X-Amz-Expires=9", "https://b.aws.com/a b.mp4?versionId=3"),
    "cloudfront": ("https://c/a.mp4?Expires=1&Signature=x&Key-Pair-Id=K", "https://c/a.mp4"),
    "azure sas": ("https://x.blob.core.windows.net/c/a.mp4?sv=2021&st=1&se=2&sr=b&sp=r&sig=abc", "https://x.blob.core.windows.net/c/a.mp4"),
    "oss": ("https://o/a.mp4?OSSAccessKeyId=x&Expires=1&Signature=s", "https://o/a.mp4"),
    "plain query stays": ("https://h/get?id=5&author=me&keyword=dog", "https://h/get?id=5&author=me&keyword=dog"),
    "token": ("http://h/a.mp4?id=5&access_token=zzz#t", "http://h/a.mp4?id=5"),
    "bucket key with special signs": ("s3://b/a?b#c [1]@2.mp4", "s3://b/a?b#c [1]@2.mp4"),
    "s3 with user": ("s3://key:secret@b/a.mp4", "s3://b/a.mp4"),
    "azure container is no user": ("abfs://cont@acc.dfs.core.windows.net/a.mp4", "abfs://cont@acc.dfs.core.windows.net/a.mp4"),
    "hf revision": ("hf://datasets/o/r@main/a.mp4", "hf://datasets/o/r@main/a.mp4"),
    "local": ("/a/./b/../c d%20.mp4", "/a/c d%20.mp4"),
    "file url": ("file:///no/a%20b.mp4", "/no/a b.mp4"),
}


@pytest.mark.parametrize("case", PUBLIC)
def test_public_uri(case):
    given, shown = PUBLIC[case]
    assert public_uri(given) == shown


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert public_uri("a.mp4") == local_path("a.mp4") == str(tmp_path / "a.mp4")
    assert local_path("s3://b/a.mp4") is None


def test_stat_tells_size_and_changes_its_stamp(tmp_path, memory):
    local = tmp_path / "a.mp4"
    for uri, write in ((str(local), local.write_bytes), ("memory://b/a.mp4", lambda data: memory.pipe_file("/b/a.mp4", data))):
        write(b"123")
        first = stat(uri, {})
        assert (first.uri, first.size) == (uri, 3)
        write(b"456")
        if "://" not in uri:
            os.utime(uri, ns=(1, 1))
        assert stat(uri, {}).stamp != first.stamp != ""
    with pytest.raises(FileNotFoundError):
        stat("memory://b/none.mp4", {})
    with pytest.raises(IsADirectoryError):
        stat("memory://b", {})


def test_options_reach_the_filesystem_of_their_protocol(tmp_path):
    fs, _ = storage.filesystem("local:///x", {"local": {"auto_mkdir": True}, "s3": {"anon": True}})
    assert fs.auto_mkdir is True


def test_libav_reads_a_remote_file_as_it_reads_the_local_one(tmp_path, memory):
    clip = render(tmp_path / "a.mp4", (still(160, 96, 1), 30))
    memory.pipe_file("/v/a.mp4", clip.path.read_bytes())
    assert open_seekable(str(clip.path), {}) == str(clip.path)
    remote = open_seekable("memory://v/a.mp4", {})
    with av.open(remote) as there, av.open(str(clip.path)) as here:
        assert [f.pts for f in there.decode(video=0)] == [f.pts for f in here.decode(video=0)] == list(clip.pts)
    remote.close()


def test_a_local_name_that_is_no_text_can_be_opened(tmp_path):
    clip = render(tmp_path / "a.mp4", (still(160, 96, 1), 5))
    odd = os.fsencode(tmp_path) + b"/\xff.mp4"
    os.rename(clip.path, odd)
    file = open_seekable(os.fsdecode(odd), {})
    with av.open(file) as container:
        assert len(list(container.decode(video=0))) == 5
    file.close()


@pytest.mark.parametrize("folder", ["local", "memory://store"])
@pytest.mark.parametrize("kind", ["bytes", "writer"])
def test_put_atomic_writes_and_replaces(tmp_path, memory, folder, kind):
    uri = f"{tmp_path / 'store' if folder == 'local' else folder}/t/x/p.parquet"
    for data in (b"one", b"three"):
        size = put_atomic(uri, data if kind == "bytes" else lambda file, data=data: file.write(data) and None, {})
        assert size == len(data)
        assert fsspec.open(uri, "rb").open().read() == data
    assert [(f.uri, f.size) for f in listing(uri.rpartition("/t/")[0], {}, ".parquet")] == [(uri, 5)]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "t/p.parquet"
    put_atomic(str(path), b"old", {})

    def breaks(file):
        file.write(b"half")
        assert not any(p.suffix == ".parquet" and p != path for p in path.parent.iterdir()), "a part shows before it is complete"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match=r"no space left to write \([\d.]+ MB free of [\d.]+ GB\)") as caught:
        put_atomic(str(path), breaks, {})
    assert caught.value.exit_code == 3
    assert [p.name for p in path.parent.iterdir()] == ["p.parquet"]
    assert path.read_bytes() == b"old"


def test_a_file_is_removed_and_one_that_is_not_there_is_as_wanted(tmp_path, memory):
    for folder in (str(tmp_path / "s"), "memory://s"):
        for name in ("a.parquet", "b.parquet"):
            put_atomic(f"{folder}/{name}", b"1", {})
        for _ in range(2):
            storage.remove(f"{folder}/a.parquet", {})
        assert [f.uri for f in listing(folder, {})] == [f"{folder}/b.parquet"]
    with pytest.raises(StorageError):
        storage.remove(str(tmp_path / "s"), {})


def test_readers_never_see_a_part_of_a_file(tmp_path):
    path = tmp_path / "p.parquet"
    contents = [bytes([k]) * 300_000 for k in range(20)]
    seen: set[bytes] = set()
    done = threading.Event()

    def read():
        while not done.is_set():
            if path.exists():
                seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for data in contents:
        put_atomic(str(path), data, {})
    done.set()
    reader.join()
    assert seen and seen <= set(contents)


def test_a_real_full_disk_is_told(tmp_path):
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError) as caught:
        full.write(b"x")
    assert "no space left" in str(write_error(caught.value, str(tmp_path / "x")))


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        put_atomic(str(tmp_path / "store/t/p.parquet"), b"x", {})


def test_listing_leaves_hidden_files_out_and_is_empty_for_nothing(tmp_path, memory):
    for name in ("a.parquet", "b/c.parquet", "b/.c.parquet.1.tmp", ".hidden.parquet", "d.txt"):
        put_atomic(str(tmp_path / name), b"1", {})
        memory.pipe_file(f"/s/{name}", b"1")
    for folder in (str(tmp_path), "memory://s"):
        assert sorted(f.uri for f in listing(folder, {}, ".parquet")) == [f"{folder}/a.parquet", f"{folder}/b/c.parquet"]
        assert list(listing(f"{folder}/none", {})) == []
        assert [f.uri for f in listing(folder, {}, ".parquet", "b")] == [f"{folder}/b/c.parquet"]


def test_read_errors_say_whether_trying_again_helps():
    gone = read_error(FileNotFoundError(errno.ENOENT, "x"), "/a.mp4")
    away = read_error(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "s3://u:p@b/a.mp4")
    assert (gone.permanent, away.permanent) == (True, False)
    assert "p@" not in str(away) and "Connection reset" in str(away)


def test_missing_extra_names_the_package():
    with pytest.raises(MissingExtra, match=r"pip install ossfs"):
        stat("oss://b/a.mp4", {})


EXTRAS = {"s3": "s3", "gs": "gs", "az": "az", "https": "http", "hf": "hf"}


def test_missing_extra_names_our_extra_where_there_is_one():
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("s3fs", "gcsfs", "adlfs", "aiohttp", "huggingface_hub")))  # as if they were not installed
from rushes.errors import MissingExtra
from rushes.media.storage import stat
for protocol in {list(EXTRAS)}:
    try:
        stat(protocol + "://b/a.mp4", {{}})
    except MissingExtra as error:
        print(error.mend)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == [f"pip install 'rushes[{extra}]'" for extra in EXTRAS.values()]
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])


def independent(data: bytes) -> str:
    """The identity as the design states it, computed from the whole file: the size, then head, eight centred pieces, tail."""
    n = len(data)
    sha = hashlib.sha256()
    sha.update(str(n).encode("ascii") + b"\n")
    if n <= 4 * MIB:
        sha.update(data)
        return sha.hexdigest()
    sha.update(data[:MIB])
    for k in range(8):
        centre = MIB + (n - 2 * MIB) * (2 * k + 1) // 16
        sha.update(data[centre - MIB // 8 : centre + MIB // 8])
    sha.update(data[-MIB:])
    return sha.hexdigest()


@pytest.mark.parametrize("size", [0, 1, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 5 * MIB + 777, 40 * MIB])
def test_video_id_equals_an_independent_computation(tmp_path, memory, size):
    data = np.random.default_rng(size).bytes(size)
    path = tmp_path / "v.mp4"
    path.write_bytes(data)
    memory.pipe_file("/v.mp4", data)
    assert video_id(str(path), size, {}) == independent(data) == video_id("memory://v.mp4", size, {})


def bytes_read() -> int:
    """What this process has read through the kernel so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_video_id_reads_at_most_4_mib_of_a_large_file(tmp_path):
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    before = bytes_read()
    video_id(str(path), 3 << 30, {})
    assert 4 * MIB <= bytes_read() - before < 4 * MIB + 20_000


def test_video_id_reads_ranges_of_a_remote_file():
    data = bytes(9 * MIB)
    fsspec.filesystem("counted").pipe_file("/v.mp4", data)
    CountedMemory.asked.clear()
    assert video_id("counted://v.mp4", len(data), {}) == independent(data)
    spans = CountedMemory.asked
    assert len(spans) == 10 and sum(end - start for start, end in spans) == 4 * MIB
    assert all(a[1] <= b[0] for a, b in pairwise(spans)), "pieces overlap"


def test_every_part_of_a_file_counts_that_the_design_names(tmp_path):
    size = 20 * MIB
    path = tmp_path / "v.mp4"
    path.write_bytes(bytes(size))
    plain = video_id(str(path), size, {})
    for at in (0, MIB - 1, MIB + (size - 2 * MIB) // 16, size - MIB, size - 1):
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"\1")
        changed = video_id(str(path), size, {})
        assert changed != plain, f"byte {at}"
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"\0")


def test_a_file_that_shrank_meanwhile_is_a_passing_error(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"abc")
    with pytest.raises(ProbeError, match="3 bytes at 0 where 5 were expected") as caught:
        video_id(str(path), 5, {})
    assert caught.value.permanent is False
    with pytest.raises(ProbeError, match="there is no such file"):
        video_id(str(tmp_path / "no.mp4"), 5, {})


@pytest.mark.parametrize("root", ["", "memory://bucket"], ids=["local", "memory"])
def test_a_removed_file_is_gone_and_one_that_is_not_there_is_no_error(tmp_path: Path, root: str) -> None:
    uri = f"{root or tmp_path}/removed.txt"
    storage.put_atomic(uri, b"x", {})
    storage.remove(uri, {})
    assert not storage.exists(uri, {})
    storage.remove(uri, {})
