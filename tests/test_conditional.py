"""Writes under conditions: one suite for every kind of store that offers them, each with a real file or server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import fsspec
import pytest

from object_server import object_server
from rushes.media.conditional import LocalFile, PlainFile, conditional
from stores import SRC

KINDS = ("local", "s3", "gs", "az")
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key that Microsoft's emulator documents for everybody."""


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    """Servers by kind."""
    with ExitStack() as stack:
        yield {kind: stack.enter_context(object_server(kind)) for kind in ("s3", "s3-deaf", "gs", "az")}


def options_of(kind: str, address: str) -> dict[str, dict[str, object]]:
    account = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURITE_KEY};"
    return {
        "s3": {"key": "testing", "secret": "testing", "endpoint_url": address, "client_kwargs": {"region_name": "us-east-1"}},
        "gs": {"token": "anon", "endpoint_url": address},
        "az": {"connection_string": f"{account}BlobEndpoint={address}/devstoreaccount1;"},
    }


def place(kind: str, addresses: dict[str, str], tmp_path: Path) -> tuple[str, dict]:
    """A new file's address, and the options to reach it."""
    if kind == "local":
        return str(tmp_path / "lease.json"), {}
    protocol = kind.partition("-")[0]
    options = options_of(protocol, addresses[kind])
    name = "".join(c for c in tmp_path.name if c.isalnum()).lower()
    if protocol == "s3":
        fs = fsspec.filesystem("s3", **options["s3"])
        if not fs.exists("bucket"):
            fs.call_s3("create_bucket", Bucket="bucket")
    return f"{protocol}://bucket/{name}/lease.json", options


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_happens_only_under_its_condition(kind: str, addresses: dict[str, str], tmp_path: Path) -> None:
    uri, options = place(kind, addresses, tmp_path)
    one, two = conditional(uri, options), conditional(uri, options)
    assert one.read() is None
    assert one.replace(b"early", "12345") is None
    first = one.create(b"first")
    assert first is not None
    assert two.create(b"second") is None
    found = two.read()
    assert found is not None
    assert (found.data, found.token) == (b"first", first)
    second = two.replace(b"second", found.token)
    assert second is not None and second != first
    assert one.replace(b"third", first) is None
    now = one.read()
    assert now is not None and (now.data, now.token) == (b"second", second)
    one.remove(first)
    assert one.read() is not None, "removed by one whose token is old"
    two.remove(second)
    two.remove(second)
    assert one.read() is None
    assert one.replace(b"late", second) is None
    assert one.create(b"again") is not None
    assert one.exact and two.exact


@pytest.mark.parametrize("kind", KINDS)
def test_of_many_writers_at_once_one_wins(kind: str, addresses: dict[str, str], tmp_path: Path) -> None:
    """Threads, each with a file of its own, let go together: 8 creations, then 8 replacements of one version."""
    uri, options = place(kind, addresses, tmp_path)
    files = [conditional(uri, options) for _ in range(8)]
    for n in range(3):
        found = files[0].read()
        start = threading.Barrier(8)

        def write(k: int, found=found, start=start, n=n) -> str | None:
            start.wait()
            data = f"{n} {k}".encode()
            return files[k].create(data) if found is None else files[k].replace(data, found.token)

        with ThreadPoolExecutor(8) as pool:
            tokens = list(pool.map(write, range(8)))
        [winner] = [k for k in range(8) if tokens[k] is not None]
        now = files[0].read()
        assert now is not None and (now.data, now.token) == (f"{n} {winner}".encode(), tokens[winner])


def test_a_server_that_ignores_conditions_is_found_out(addresses: dict[str, str], tmp_path: Path) -> None:
    uri, options = place("s3-deaf", addresses, tmp_path)
    file = conditional(uri, options)
    token = file.create(b"first")
    assert token is not None
    assert not file.exact
    now = file.read()
    assert now is not None and (now.data, now.token) == (b"first", token)
    other = conditional(uri, options)
    other.exact = False
    assert other.create(b"second") is None
    assert other.replace(b"second", "old") is None
    assert other.replace(b"second", token) is not None


def test_a_store_without_conditions_reads_before_it_writes() -> None:
    file = conditional("memory://bucket/lease.json", {})
    assert isinstance(file, PlainFile) and not file.exact
    token = file.create(b"first")
    assert token is not None
    assert (file.create(b"second"), file.replace(b"second", "old")) == (None, None)
    assert file.replace(b"second", token) is not None
    file.remove(token)
    now = file.read()
    assert now is not None and now.data == b"second"
    file.remove(now.token)
    assert file.read() is None


def test_a_missing_bucket_is_an_error_and_no_refusal(addresses: dict[str, str]) -> None:
    options = options_of("s3", addresses["s3"])
    with pytest.raises(FileNotFoundError):
        conditional("s3://there-is-no-such-bucket/lease.json", options).create(b"first")


def test_a_reader_of_a_local_file_sees_it_whole(tmp_path: Path) -> None:
    """A process replaces the file all the time; every read finds one of the contents, whole."""
    path = tmp_path / "lease.json"
    program = (
        "import sys; from rushes.media.conditional import LocalFile; file = LocalFile(sys.argv[1]);"
        "token = file.create(b'0' * 5000)\n"
        "for k in range(400): token = file.replace(str(k % 10).encode() * 5000, token); assert token"
    )
    words = [sys.executable, "-c", program, str(path)]
    seen = set()
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(SRC)}) as process:
        while process.poll() is None:
            found = LocalFile(str(path)).read()
            if found is not None:
                assert len(found.data) == 5000
                seen |= set(found.data.decode())
    assert process.returncode == 0
    assert len(seen) > 2
    assert {p.name for p in tmp_path.iterdir()} == {"lease.json", ".lease.json.lock"}


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    program = (
        "import sys, time; from rushes.media.conditional import LocalFile; file = LocalFile(sys.argv[1])\n"
        "with file._locked(): print('locked', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(SRC)}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(LocalFile(str(path)).create, b"mine")
            time.sleep(0.3)
            assert not writing.done()
            process.kill()
            assert writing.result(5) is not None
