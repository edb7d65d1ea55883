"""Footage and stores on object stores and web servers: a real S3 over HTTP in another process, behind a proxy that misbehaves."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
import tomllib
import tracemalloc
import urllib.parse
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from footage import encoding, render
from pictures import film
from publishing import as_rows, copied, recaption, same, wanted
from publishing import go as publish_to
from rushes.cli import app
from rushes.errors import Failure, FootageError, ProbeError, StorageError, StoreError, VideoError
from rushes.media import faults, remote, storage
from rushes.media.address import range_uri
from rushes.media.bursts import Bursts
from rushes.media.cut import ClipSpan, cut_clips
from rushes.media.decode import Decoder
from rushes.media.frame_index import frame_index
from rushes.media.guard import resident_bytes
from rushes.media.identity import video_id
from rushes.media.probe import facts_of
from rushes.media.streams import open_film
from rushes.quarantine import quarantined
from rushes.recipe import Recipe
from rushes.records import Span
from rushes.scan.one_pass import scan
from rushes.sources.footage import find_footage
from rushes.store.store import Store, now
from rushes.store.tables import CLIPS, FRAMES, MARKS, schema
from s3_server import REGION, Served, serve_s3

MIB = 1 << 20
DATA = np.random.default_rng(7).bytes(3 * MIB)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with serve_s3() as served:
        served.put("footage")
        served.put("stores")
        served.put("footage/data.bin", DATA)
        yield served


@pytest.fixture
def s3(server: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The server, well behaved and without latency, and a client that does not wait long before it asks again."""
    monkeypatch.setattr(faults, "WAIT_S", 0.01)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server.behave()
    yield server
    server.behave()
    server.latency_s = 0.0


@pytest.fixture
def hasty(s3: Served, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Options under which botocore and s3fs ask once: what is tried again is tried again by us."""
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    return {"s3": {**s3.options["s3"], "config_kwargs": {"retries": {"max_attempts": 0}}}}


# What is tried again

PASSING = ["503", "500", "429", "reset", "reset_middle", "truncate", "short"]


@pytest.mark.parametrize("how", PASSING)
def test_a_range_comes_whole_through_faults_that_pass(s3, hasty, how):
    s3.misbehave(how, key="data.bin", times=2)
    with storage.ranges("s3://footage/data.bin", hasty, len(DATA)) as read:
        assert read(100, 70_000) == DATA[100:70_100]
    assert s3.count("GET", "data.bin") == 3


@pytest.mark.parametrize("how", PASSING)
def test_a_file_for_libav_comes_whole_through_faults_that_pass(s3, hasty, how, monkeypatch):
    monkeypatch.setattr(remote, "BLOCK_BYTES", 256 << 10)
    s3.misbehave(how, key="data.bin", times=3, after=4)
    with storage.open_seekable("s3://footage/data.bin", hasty) as file:
        got = b"".join(iter(lambda: file.read(32768), b""))
    assert got == DATA
    assert s3.count("GET", "data.bin") >= 12 + 3


def test_a_slow_answer_is_waited_for_and_the_reader_shows_that_it_lives(s3, monkeypatch):
    monkeypatch.setattr(remote, "LOOK_EVERY_S", 0.1)
    s3.misbehave("slow", key="data.bin")
    signs: list[float] = []
    with storage.open_seekable("s3://footage/data.bin", s3.options) as file:
        file.waiting = lambda: signs.append(time.monotonic())
        assert file.read(10) == DATA[:10]
    assert len(signs) >= 5


def test_an_answer_that_does_not_come_is_given_up_and_asked_for_again(s3, monkeypatch):
    monkeypatch.setattr(remote, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(remote, "REQUEST_S", 0.5)
    s3.misbehave("slow", key="data.bin", times=1)
    with storage.open_seekable("s3://footage/data.bin", s3.options) as file:
        began = time.monotonic()
        assert file.read(10) == DATA[:10]
    assert 0.5 <= time.monotonic() - began < 1.4, "a slow answer takes 1.6 s"


@pytest.mark.parametrize("how", ["503", "500", "reset"])
def test_writing_listing_asking_and_removing_are_tried_again(s3, hasty, how, tmp_path):
    uri = f"s3://stores/tried-{how}/a.bin"

    def faulty(method: str, key: str) -> None:
        s3.behave()
        s3.misbehave(how, key=key, method=method, times=2)

    faulty("PUT", "a.bin")
    assert storage.put_atomic(uri, b"123", hasty) == 3
    assert (s3.count("PUT"), s3.get(f"stores/tried-{how}/a.bin")) == (3, (200, b"123"))
    faulty("PUT", "b.bin")
    assert storage.put_atomic(uri.replace("a.bin", "b.bin"), lambda file: file.write(b"4567") and None, hasty) == 4
    assert (s3.count("PUT"), s3.get(f"stores/tried-{how}/b.bin")) == (3, (200, b"4567"))
    faulty("HEAD", "a.bin")
    assert storage.stat(uri, hasty).size == 3 and storage.exists(uri, hasty)
    faulty("GET", "list-type")
    assert sorted(f.uri[-5:] for f in storage.listing(f"s3://stores/tried-{how}", hasty)) == ["a.bin", "b.bin"]
    faulty("DELETE", "a.bin")
    storage.remove(uri, hasty)
    assert s3.get(f"stores/tried-{how}/a.bin")[0] == 404
    storage.remove(uri, hasty)


@pytest.mark.parametrize("how", ["503", "reset"])
def test_a_store_that_stays_away_is_told_with_the_reason(s3, hasty, how):
    s3.misbehave(how, key="stores", method="*")
    words = {"503": "SlowDown: Please reduce your request rate", "reset": "Could not connect|Connection was closed|reset"}[how]
    with pytest.raises(StorageError, match=words) as caught:
        storage.put_atomic("s3://stores/away/a.bin", b"1", hasty)
    assert caught.value.exit_code == 3
    with pytest.raises(StorageError, match="503|SlowDown|Service Unavailable" if how == "503" else words):
        Store.open("s3://stores/away", hasty)
    with pytest.raises(StorageError, match=words):
        Store("s3://stores/away", hasty).parts(CLIPS)


# What is not


def test_what_is_missing_or_forbidden_is_asked_for_once(s3, hasty):
    with pytest.raises(FileNotFoundError), storage.ranges("s3://footage/none.bin", hasty) as read:
        read(0, 10)
    assert s3.count("GET", "none.bin") == 1
    s3.misbehave("denied", key="data.bin", method="*")
    with pytest.raises(ProbeError, match="no permission to read it: AccessDenied: Access Denied") as caught:
        video_id("s3://footage/data.bin", len(DATA), hasty)
    assert s3.count("GET", "data.bin") == 1
    assert caught.value.permanent is False, "rights change without the file"


@pytest.mark.parametrize(("how", "words"), [("expired", "ExpiredToken: The provided token has expired"), ("badkey", "InvalidAccessKeyId")])
def test_credentials_that_are_refused_are_told_and_may_be_mended(s3, hasty, how, words):
    s3.misbehave(how, key="/", method="*")
    uri = "s3://footage/data.bin"
    with pytest.raises(ProbeError, match=f"credentials.*{words}.*Fix: renew them") as caught:
        video_id(uri, len(DATA), hasty)
    assert caught.value.permanent is False
    assert len(s3.requests) == 1, "asking again does not help"
    with pytest.raises(FootageError, match=words):
        find_footage([uri], hasty)  # HEAD has no body: only a GET can tell
    with pytest.raises(StorageError, match=words) as refused:
        storage.put_atomic("s3://stores/x/a.bin", b"1", hasty)
    assert refused.value.exit_code == 3
    with pytest.raises(StorageError, match=words):
        Store.open("s3://stores/x", hasty)


def test_no_credentials_at_all(s3, monkeypatch, tmp_path):
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    options = {"s3": {"client_kwargs": {"endpoint_url": s3.url, "region_name": REGION}}}
    with pytest.raises(StorageError, match="Unable to locate credentials"):
        Store.open("s3://stores/x", options)


def test_a_video_replaced_while_it_is_read_is_not_mixed(s3, hasty, monkeypatch):
    monkeypatch.setattr(remote, "BLOCK_BYTES", 64 << 10)
    s3.put("footage/changes.bin", DATA[:MIB])
    file = storage.open_seekable("s3://footage/changes.bin", hasty)
    assert file.read(1000) == DATA[:1000]
    s3.put("footage/changes.bin", DATA[MIB : 2 * MIB])
    file.seek(512 << 10)
    with pytest.raises(VideoError, match="it changed while it was read") as caught:
        file.read(1000)
    assert caught.value.permanent is False


# A connection that dies for good in the middle of a scan


CONTAINERS = {"mp4": "h264", "mkv": "h264", "ts": "h264", "avi": "mpeg4", "webm": "vp9", "mov": "mjpeg"}
BREAKS = [*((suffix, "reset_middle") for suffix in ("mp4", "mkv", "ts", "avi")), ("ts", "expired"), ("mp4", "short")]
MORE_BREAKS = [("webm", "reset_middle"), ("mov", "reset_middle"), ("mp4", "truncate"), ("mkv", "503")]
"""webm is read by the demuxer of mkv, mov by that of mp4; and other faults of one request."""


@pytest.fixture(scope="module")
def films(server: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int, int]]:
    """container -> (uri, bytes, frames) of a film of many small blocks."""
    made = {}
    for suffix, codec in CONTAINERS.items():
        clip = render(tmp_path_factory.mktemp("films") / f"a.{suffix}", film(320, 180, [20, 20, 10]), codec=codec)
        server.put(f"footage/films/a.{suffix}", clip.path.read_bytes())
        made[suffix] = f"s3://footage/films/a.{suffix}", clip.path.stat().st_size, clip.n_frames
    return made


@pytest.mark.parametrize("piece", [False, True])
def test_all_that_read_packets_show_that_they_live_while_they_wait(s3, films, piece):
    """Also of a video inside a tar: a guard that sees no progress takes the child for hung."""
    uri, size, _ = films["mp4"]
    for read in (
        lambda source, tell: Decoder(source, uri=uri, size_bytes=size, mode="exact", progress=tell).container.close(),
        lambda source, tell: frame_index(source, uri=uri, size_bytes=size, mode="exact", progress=tell),
        lambda source, tell: Bursts(
            source, uri=uri, size_bytes=size, stream=None, n=3, longest_s=4.0, keep=False, progress=tell
        ).container.close(),
    ):
        signs: list[float] = []
        with storage.open_seekable(range_uri(uri, 0, size) if piece else uri, s3.options) as source:
            read(source, signs.append)
            before = len(signs)
            (source.file if piece else source).waiting()
        assert len(signs) == before + 1


@pytest.mark.parametrize(("container", "how"), [*BREAKS, *(pytest.param(*one, marks=pytest.mark.slow) for one in MORE_BREAKS)])
def test_a_scan_that_loses_its_connection_fails_with_the_reason(s3, hasty, films, container, how, monkeypatch):
    uri, size, n_frames = films[container]
    block = max(1024, size // 12)
    monkeypatch.setattr(remote, "BLOCK_BYTES", block)
    monkeypatch.setattr(faults, "TRIES", 2)

    def go():
        source = storage.open_seekable(uri, hasty)
        with source:
            return {"frames": len(scan(source, Recipe(), uri=uri, size_bytes=size).pts)}

    assert quarantined(go) == {"frames": n_frames}
    n = s3.count("GET", "films")
    words = {"expired": "ExpiredToken", "503": "SlowDown"}.get(how, "cannot be read")
    for after in range(0, n, 3):
        s3.behave()
        s3.misbehave(how, key="films", after=after)
        answer = quarantined(go)
        assert isinstance(answer, Failure), f"{answer} although nothing came after {after} of {n} requests"
        assert (answer.error_type, answer.permanent) == ("ProbeError", False)
        assert words in answer.what


@pytest.mark.parametrize("mode", ["copy", "encode"])
def test_clips_of_a_source_that_breaks_off_are_not_taken_for_whole(s3, hasty, films, mode, monkeypatch, tmp_path):
    uri, size, _ = films["mp4"]
    monkeypatch.setattr(remote, "BLOCK_BYTES", max(1024, size // 12))
    monkeypatch.setattr(faults, "TRIES", 2)
    with storage.open_seekable(uri, hasty) as source, Decoder(source, uri=uri, size_bytes=size, mode="exact") as decoder:
        pts = [p for _, p in decoder]
        facts = decoder.facts
    clips = [ClipSpan("a" * 32, Span(pts[0], pts[-1] + 1))]
    n = s3.count("GET", "films")
    s3.behave()
    s3.misbehave("reset_middle", key="films", after=n - 4)
    with storage.open_seekable(uri, hasty) as source, pytest.raises(VideoError, match="cannot be read"):
        list(cut_clips(source, facts, clips, str(tmp_path), encoding=encoding(mode), uri=uri))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


# Bytes read


def big_film(path: Path, size: int) -> Path:
    """About `size` bytes of noise with sound between, its index at the end: one encoded second, its packets written again and again."""
    noise = np.random.default_rng(1)
    part = path.with_name("part.mp4")
    with av.open(str(part), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "4", "g": "5", "bf": "0"})
        video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
        sound = out.add_stream("aac", rate=48000)
        sound.bit_rate = 320_000
        for i in range(25):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 256, (360, 640, 3), dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(video.encode(frame))
        samples = av.AudioFrame.from_ndarray(noise.standard_normal((1, 48000)).astype(np.float32) / 10, format="fltp", layout="mono")
        samples.sample_rate, samples.pts = 48000, 0
        out.mux([*video.encode(None), *sound.encode(samples), *sound.encode(None)])
    with av.open(str(part)) as source, av.open(str(path), "w") as out:
        streams = [out.add_stream_from_template(stream) for stream in source.streams]
        packets = [packet for packet in source.demux() if packet.size]
        written = turn = 0
        while written < size:
            for packet in packets:
                base = packet.stream.time_base
                copy = av.Packet(bytes(packet))
                copy.stream, copy.time_base, copy.is_keyframe = streams[packet.stream.index], base, packet.is_keyframe
                copy.pts, copy.dts = (t + int(turn * Fraction(27, 25) / base) for t in (packet.pts, packet.dts))
                out.mux(copy)
                written += packet.size
            turn += 1
    part.unlink()
    return path


@pytest.fixture(scope="module")
def big(server: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[str, int]]:
    """MiB -> (uri, bytes) of films whose index stands at the end."""
    made = {}
    for mib in (5, 64):
        path = big_film(tmp_path_factory.mktemp("big") / f"{mib}.mp4", mib * MIB)
        data = path.read_bytes()
        assert data.find(b"moov") > data.find(b"mdat") + mib * MIB - 1
        server.put(f"footage/big/{mib}.mp4", data)
        made[mib] = f"s3://footage/big/{mib}.mp4", len(data)
    return made


@pytest.mark.parametrize("mib", [5, 64])
def test_identity_probe_and_scan_read_hardly_more_than_the_file(s3, big, mib):
    uri, size = big[mib]
    (item,) = find_footage([uri], s3.options).items
    assert item.size == size
    assert video_id(uri, size, s3.options)
    with storage.open_seekable(uri, s3.options) as source:
        assert len(scan(source, Recipe(), uri=uri, size_bytes=size).pts) > 3 * mib
    assert sum(s3.sent.values()) <= 1.1 * size + 8 * MIB
    assert sum(s3.sent.values()) >= size, "the proxy does not count"


def test_a_probe_of_a_large_file_reads_a_few_mib(s3, big):
    uri, size = big[64]
    with storage.open_seekable(uri, s3.options) as source, (film := open_film(source, uri)).container as container:
        assert facts_of(container, film.stream, size).duration_s > 5
    assert sum(s3.sent.values()) <= 6 * MIB


def test_a_file_is_never_held_whole(s3, big):
    uri, size = big[64]
    with storage.open_seekable(uri, s3.options) as source:
        tracemalloc.start()
        try:
            n = sum(len(block) for block in iter(lambda: source.read(65536), b""))
            for at in range(size, 0, -5 * MIB):
                source.seek(at - 1)
                source.read(1)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert n == size
    assert peak < 48 * MIB, "32 MiB of blocks, and a request on its way with the client's own copy of it"


def test_the_next_block_comes_while_this_one_is_used(s3, monkeypatch):
    monkeypatch.setattr(remote, "BLOCK_BYTES", 256 << 10)
    s3.latency_s = 0.5
    with storage.open_seekable("s3://footage/data.bin", s3.options) as file:
        file.read(300 << 10)  # blocks 0 and 1: in order, so 2 is fetched
        time.sleep(1.5)
        asked = s3.count("GET", "data.bin")
        began = time.monotonic()
        file.seek(512 << 10)
        assert file.read(1000) == DATA[512 << 10 : (512 << 10) + 1000]
        assert (asked, time.monotonic() - began < 0.45) == (3, True)


def test_jumping_about_fetches_nothing_ahead(s3, monkeypatch):
    monkeypatch.setattr(remote, "BLOCK_BYTES", 64 << 10)
    s3.put("footage/jumps.bin", DATA)  # its own name: a block that another test fetched ahead may still be on its way
    with storage.open_seekable("s3://footage/jumps.bin", s3.options) as file:
        for at in (0, 40, 10, 30, 20):
            file.seek(at * (64 << 10))
            assert file.read(4) == DATA[at * (64 << 10) :][:4]
        time.sleep(0.2)
    assert s3.count("GET", "jumps.bin") == 5


def test_an_end_that_libav_made_of_an_error_is_seen(s3, hasty, films, monkeypatch, tmp_path):
    uri, size, _ = films["mkv"]
    with storage.open_seekable(uri, hasty) as source, Decoder(source, uri=uri, size_bytes=size, mode="exact") as decoder:
        pts, facts = [p for _, p in decoder], decoder.facts
    read = remote.RemoteFile.read

    def ends(self: remote.RemoteFile, size: int = -1) -> bytes:
        try:
            return read(self, size)
        except VideoError:
            return b""

    monkeypatch.setattr(remote.RemoteFile, "read", ends)
    monkeypatch.setattr(remote, "BLOCK_BYTES", size // 4)
    monkeypatch.setattr(faults, "TRIES", 1)
    for work in (
        lambda source: scan(source, Recipe(), uri=uri, size_bytes=size),
        lambda source: list(
            cut_clips(source, facts, [ClipSpan("b" * 32, Span(pts[0], pts[-1] + 1))], str(tmp_path), encoding=None, uri=uri)
        ),
    ):
        s3.behave()
        s3.misbehave("reset_middle", key="films", after=2)
        with storage.open_seekable(uri, hasty) as source, pytest.raises(VideoError, match="cannot be read"):
            work(source)


# Listings


class Pages(BaseHTTPRequestHandler):
    """ListObjectsV2 of a bucket with very many keys, 1000 a page, as S3 answers it; moto's own takes minutes for so many."""

    protocol_version = "HTTP/1.1"
    n_keys = 100_000
    asked = 0

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in urllib.parse.parse_qs(self.path.partition("?")[2]).items()}
        assert query["list-type"] == "2" and query["prefix"] == "day/"
        type(self).asked += 1
        start = int(query.get("continuation-token", 0))
        end = min(self.n_keys, start + 1000)
        rows = "".join(
            f"<Contents><Key>day/{k % 97:02d}/{k:06d}.mp4</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
            f"<ETag>&quot;{k:032x}&quot;</ETag><Size>{k}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for k in range(start, end)
        )
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < self.n_keys else ""
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>many</Name>'
            f"<Prefix>day/</Prefix><KeyCount>{end - start}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>{str(bool(more)).lower()}"
            f"</IsTruncated>{more}{rows}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def many() -> Iterator[dict]:
    """Options that lead to a bucket of 100,000 keys."""
    Pages.asked = 0
    pages = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    pages.daemon_threads = True
    thread = threading.Thread(target=pages.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield {"s3": {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": f"http://127.0.0.1:{pages.server_address[1]}"}}}
    pages.shutdown()
    pages.server_close()
    thread.join()


@pytest.mark.slow
def test_a_listing_of_100_000_keys_streams(many):
    files = storage.listing("s3://many/day", many, ".mp4")
    first = next(files)
    assert (first.uri, first.size, first.stamp) == ("s3://many/day/00/000000.mp4", 0, f'"{0:032x}"')
    assert Pages.asked == 1, "the first file is given when the first page is there"
    for _ in range(3000):  # what a client holds once and for all
        next(files)
    held = resident_bytes(os.getpid())
    n = grown = 0
    for n, _ in enumerate(files, 3002):
        if n % 5000 == 0:
            grown = max(grown, resident_bytes(os.getpid()) - held)
    assert (n, Pages.asked) == (100_000, 100)
    assert grown < 16 * MIB, "all keys at once take above 100 MiB"


def test_footage_of_a_prefix_costs_one_listing_and_no_question_for_each_key(s3):
    for name in ("a.mp4", "b/c.MOV", "b/.hidden/d.mp4", "e.txt", ".f.mp4"):
        s3.put(f"footage/day1/{name}", name.encode())
    s3.put("footage/day10/other.mp4", b"x")
    for k in range(1100):
        s3.put(f"footage/day1/deep/{k % 7}/{k:04d}.mp4", b"12345")
    found = find_footage(["s3://footage/day1"], s3.options)
    assert (len(found.items), found.not_video, found.missing) == (1102, 1, [])
    assert found.items[0].uri == "s3://footage/day1/a.mp4" == found.items[0].address
    assert s3.count("HEAD") <= 1 and s3.count("GET") <= 4
    named = find_footage(["s3://footage/day1/a.mp4"], s3.options).items[0]
    assert named == found.items[0], "a listing and a question must give the same stamp, or resuming would read every file anew"


PATTERNS = {
    "one level": ("s3://footage/day2/*.mp4", ["a.mp4"]),
    "folders": ("s3://footage/day2/?/*.mp4", ["b/c.mp4", "d/c.mp4"]),
    "any depth": ("s3://footage/day2/**/c.mp4", ["b/c.mp4", "b/x/c.mp4", "d/c.mp4"]),
    "a set": ("s3://footage/day2/[bd]/c.*", ["b/c.mp4", "d/c.mp4"]),
    "own suffix": ("s3://footage/day2/*.dat", ["e.dat"]),
}


@pytest.mark.parametrize("case", PATTERNS)
def test_patterns(s3, case):
    for name in ("a.mp4", "b/c.mp4", "b/x/c.mp4", "d/c.mp4", "e.dat", "b/.c.mp4"):
        s3.put(f"footage/day2/{name}", b"1")
    pattern, names = PATTERNS[case]
    assert [i.uri for i in find_footage([pattern], s3.options).items] == [f"s3://footage/day2/{name}" for name in names]


def test_listing_faults_are_tried_again_and_told(s3, hasty):
    s3.put("footage/day3/a.mp4", b"1")
    s3.misbehave("503", key="list-type", times=2)
    assert len(find_footage(["s3://footage/day3"], hasty).items) == 1
    s3.behave()
    s3.misbehave("denied", key="list-type", after=1)
    with pytest.raises(FootageError, match="AccessDenied"):
        find_footage(["s3://footage/day3"], hasty)


# The store


def marks(n: int) -> list[dict]:
    stamps = {"fingerprint": "f" * 32, "run_id": "r", "written_at": now()}
    return [{"video_id": f"{k:064x}", "stage": "scan", "rows": k, **stamps} for k in range(n)]


def test_a_part_that_another_process_wrote_is_seen_at_once(s3):
    store = Store.create("s3://stores/seen", s3.options)
    assert store.read(MARKS).num_rows == 0
    for n in (1, 2, 3):
        body = pa.BufferOutputStream()
        parquet.write_table(pa.Table.from_pylist(marks(n)[-1:], schema=schema(MARKS)), body)
        s3.put(f"stores/seen/marks/p{n}.parquet", body.getvalue().to_pybytes())
        assert store.read(MARKS).num_rows == n
    storage.remove("s3://stores/seen/marks/p1.parquet", s3.options)
    assert store.read(MARKS).num_rows == 2


def test_one_video_s_parts_are_found_without_listing_its_neighbours(s3):
    store = Store.create("s3://stores/bucket", s3.options)
    for k in range(1100):
        s3.put(f"stores/bucket/frames/ab/ab{k:04d}-ffffffff-00000.parquet", b"1")
    s3.behave()
    assert [part.uri for part in store.parts(FRAMES, "ab/ab0007-ffffffff")] == [
        "s3://stores/bucket/frames/ab/ab0007-ffffffff-00000.parquet"
    ]
    assert sum(s3.sent.values()) < 2000


def test_threads_share_one_client(s3):
    seen = set()

    def look() -> None:
        seen.add(id(storage.filesystem("s3://footage/data.bin", s3.options)[0]))
        assert storage.stat("s3://footage/data.bin", s3.options).size == len(DATA)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1
    other = {"s3": {**s3.options["s3"], "key": "other"}}
    assert id(storage.filesystem("s3://footage/data.bin", other)[0]) not in seen


def test_reading_two_columns_does_not_fetch_the_others(s3):
    store = Store.create("s3://stores/wide", s3.options)
    noise = np.random.default_rng(3)
    rows = [{**row, "jpeg": noise.bytes(200_000), "pts": k, "width": 1, "height": 1} for k, row in enumerate(marks(20))]
    store.write_rows(FRAMES, [{k: v for k, v in row.items() if k not in ("stage", "rows")} for row in rows], name="aa/part")
    s3.behave()
    assert store.read(FRAMES, columns=["width"]).num_rows == 20
    assert sum(s3.sent.values()) < 300_000, "the table holds 4 MB"
    assert s3.count("HEAD") == 0, "the listing told the sizes"


def test_a_part_is_read_whole_through_faults(s3, hasty):
    store = Store.create("s3://stores/faulty", hasty)
    store.write_rows(MARKS, marks(500))
    for how in ("truncate", "reset_middle", "short", "503"):
        s3.behave()
        s3.misbehave(how, key="marks/", times=2)
        assert store.read(MARKS).num_rows == 500
    s3.misbehave("expired", key="marks/")
    with pytest.raises(StorageError, match="ExpiredToken"):
        store.read(MARKS)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/store", "https://h/store", "hf://datasets/o/r/store"])
def test_what_cannot_be_a_store_is_said_before_anything_is_done(url):
    with pytest.raises(StoreError, match="footage only") as caught:
        Store(url, {})
    assert caught.value.exit_code == 2


# Web servers


def test_footage_of_a_web_server(s3, films, monkeypatch):
    pytest.importorskip("aiohttp")
    data = s3.get("footage/films/a.mp4")[1]
    s3.put("footage/open/a.mp4", data, public=True)
    url = f"{s3.url}/footage/open/a.mp4"
    (item,) = find_footage([url], {}).items
    assert (item.uri, item.size) == (url, len(data)) and item.stamp
    assert video_id(url, len(data), {}) == video_id("s3://footage/films/a.mp4", len(data), s3.options)
    monkeypatch.setattr(remote, "BLOCK_BYTES", max(1024, len(data) // 12))
    s3.behave()
    s3.misbehave("truncate", key="open", times=2, after=1)
    with storage.open_seekable(url, {}) as source:
        assert len(scan(source, Recipe(), uri=url, size_bytes=len(data)).pts) == films["mp4"][2]
    s3.misbehave("503", key="open", method="*")
    monkeypatch.setattr(faults, "TRIES", 2)
    with pytest.raises(FootageError, match="503"):  # fsspec itself says that there is no such file
        find_footage([url], {})


def test_a_web_server_without_ranges_is_an_error_that_says_so(s3, monkeypatch):
    """The same error whether a file is identified or scanned."""
    monkeypatch.setattr(remote, "BLOCK_BYTES", len(DATA) // 4)
    url = f"{s3.url}/footage/open/b.bin"
    s3.put("footage/open/b.bin", DATA + DATA, public=True)
    s3.misbehave("drop_range", key="b.bin")

    def scanned() -> None:
        with storage.open_seekable(url, {}) as source:
            source.seek(len(DATA))
            source.read(100)

    for read in (lambda: video_id(url, 2 * len(DATA), {}), scanned):
        with pytest.raises(ProbeError) as caught:
            read()
        error = caught.value
        assert (error.what, error.uri) == ("the server gives no ranged reads", url)
        assert error.mend == "copy the file to a local disk or an object store"
        assert error.permanent


# The whole path, as a process


@pytest.fixture(scope="module")
def day(server: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films in a folder, and in the bucket."""
    folder = tmp_path_factory.mktemp("day")
    for name, seed in (("a.mp4", 1), ("b.mkv", 2)):
        path = render(folder / name, film(320, 180, [30, 30], seed=seed), codec="h264").path
        server.put(f"footage/day4/{name}", path.read_bytes())
    return folder


RULES = ("--set", "rules.too_short.min=0.5", "--set", "rules.blurred.min=0", "--set", "rules.blocky.max=1")
SET = (*RULES, "--set", "clips.mode=copy", "--set", "scan.workers=1")


def rushes(*words: str, code: int = 0, **environment: str) -> str:
    """Standard output of a command; its messages too when it is to fail."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {"AWS_EC2_METADATA_DISABLED": "true"} | environment
    done = subprocess.run([sys.executable, "-m", "rushes.cli", *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr[-2000:]
    return done.stdout + (done.stderr if code else "")


def clips(*words: str, **environment: str) -> list[dict]:
    rows = [json.loads(line) for line in rushes("clips", *words, "--json", **environment).splitlines()]
    return [{k: v for k, v in row.items() if k not in ("uri", "clip_uri")} for row in rows]


@pytest.mark.slow
def test_a_run_on_s3_gives_the_rows_of_a_local_one_through_faults_and_a_lost_credential(server, day, tmp_path):
    store, chain = "s3://stores/run", server.environment
    rushes("run", str(day), "--out", str(tmp_path / "store"), *SET)
    local = clips(str(tmp_path / "store"))
    assert len(local) == 4

    server.behave()
    server.misbehave("expired", key="day4/b.mkv")
    server.misbehave("truncate", key="day4/a.mp4", times=2)
    server.misbehave("503", key="stores/run", method="PUT", times=3)
    rushes("run", "s3://footage/day4", "--out", store, *SET, **chain)
    (failed,) = [json.loads(line) for line in rushes("errors", store, "--json", **chain).splitlines()]
    assert (failed["uri"], failed["permanent"]) == ("s3://footage/day4/b.mkv", False)
    assert "ExpiredToken: The provided token has expired" in failed["error"] and failed["mend"].startswith("renew")

    server.behave()
    rushes("run", "s3://footage/day4", "--out", store, *SET, **chain)
    assert clips(store, **chain) == local
    assert server.sent["footage/day4/a.mp4"] == 0, "finished work was done again"
    files = sorted(f.uri for f in storage.listing(f"{store}/clip_files", server.options, ".mp4"))
    for uri in files:
        here = tmp_path / "store" / uri.removeprefix(f"{store}/")
        assert server.get(uri.removeprefix("s3://"))[1] == here.read_bytes()
    assert len(files) == 4

    server.behave()
    rushes("run", "s3://footage/day4", "--out", store, *SET, **chain)
    assert server.sent["footage/day4/b.mkv"] == 0
    assert "duplicate" in rushes("status", store, **chain)


@pytest.mark.slow
def test_every_command_that_reads_a_store_takes_storage_options(s3, day, tmp_path, monkeypatch):
    recipe = tmp_path / "s3.toml"
    lines = ["[scan]", "workers = 1", "[storage.s3]", 'key = "testing"', 'secret = "testing"']
    recipe.write_text("\n".join([*lines, f'client_kwargs = {{ endpoint_url = "{s3.url}", region_name = "{REGION}" }}']) + "\n")
    store, film = "s3://stores/options", "s3://footage/day4/a.mp4"
    rushes("run", film, "--out", store, "--recipe", str(recipe))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def read(*words: str) -> str:
        return CliRunner().invoke(app, words, catch_exceptions=False).stdout

    there = [f"storage.s3.{key}" for key in ("key=testing", "secret=testing", f"endpoint_url={s3.url}")]
    for given in (["--recipe", str(recipe)], [word for setting in there for word in ("--set", setting)]):
        assert f'"{film}"' in read("videos", store, "--json", *given)
        for command in (["status"], ["runs"], ["errors"], ["clips"], ["explain", film], ["views"]):
            assert read(command[0], store, *command[1:], *given)
        read("report", store, "--out", str(tmp_path / "r.html"), *given)
        assert film in (tmp_path / "r.html").read_text()
        assert "testing" not in read("runs", store, "--json", *given), "a secret is stored"
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    with pytest.raises(StorageError, match="Unable to locate credentials"):
        read("runs", store)


def test_a_store_that_refuses_the_credentials_is_exit_3(s3, day):
    s3.misbehave("badkey", method="PUT", key="stores/new")
    told = rushes("run", "s3://footage/day4", "--out", "s3://stores/new", "--set", "scan.workers=1", code=3, **s3.environment)
    assert "InvalidAccessKeyId" in told and "Fix: renew" in told


def test_a_store_that_cannot_be_is_exit_2(day):
    assert "for footage only" in rushes("run", str(day), "--out", "https://127.0.0.1:1/store", code=2)


# Targets of `rushes publish`


@pytest.mark.slow
def test_clip_files_are_published_to_a_bucket_and_copied_there_when_only_the_caption_changes(s3, reel_store, tmp_path):
    store, out = copied(reel_store, tmp_path / "store"), "s3://stores/files"

    def publish() -> tuple[str, bytes, list[dict]]:
        done = publish_to(store, f"files:{out}", "publish.sample=1", options=s3.options)
        assert done.right and done.counts["rows"] == 1, done
        version = s3.get("stores/files/LATEST")[1].decode().strip()
        [row] = [json.loads(line) for line in s3.get(f"stores/files/{version}/clips/metadata.jsonl")[1].splitlines()]
        assert s3.get(f"stores/files/{version}/clips/{Path(row['file_name']).stem}.txt")[1].decode() == row["caption"] + "\n"
        return version, s3.get(f"stores/files/{version}/clips/{row['file_name']}")[1], row

    version, film, row = publish()
    with av.open(io.BytesIO(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == row["n_frames"]
    recaption(store, row["clip_id"], "another caption")
    s3.behave()
    again = publish()
    assert (version, again[0], again[2]["text"]) == ("v001", "v002", "another caption") and again[1] == film
    assert s3.sent["footage"] == 0 and s3.count("PUT", ".mp4") == 1, "one copy, made by the server"


def test_options_of_lance_reach_its_object_store(s3, reel_store, tmp_path):
    lance = pytest.importorskip("lance", reason="pylance is not installed")
    place = {"aws_endpoint": s3.url, "allow_http": "true", "aws_region": REGION}
    options = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", **place}
    store = copied(reel_store, tmp_path / "store")
    done = publish_to(store, "lance:s3://stores/clips.lance", options={**s3.options, "lance": options})
    assert done.right and done.counts["added"] == 4, done
    columns = ["clip_id", "caption", "start_pts", "end_pts", "sharpness"]
    found = lance.dataset("s3://stores/clips.lance", storage_options=options).to_table(columns=columns)
    assert same(as_rows(found), wanted(store))


# The page


HOSTS = {
    "AWS": "https://bucket.s3.amazonaws.com/a.mp4",
    "TOS (Volcano Engine)": "https://bucket.tos-s3-cn-beijing.volces.com/a.mp4",
    "OSS (Alibaba Cloud)": "https://bucket.s3.oss-cn-hangzhou.aliyuncs.com/a.mp4",
    "MinIO": "http://minio.example.com:9000/bucket/a.mp4",
    "R2 (Cloudflare)": "https://ACCOUNT.r2.cloudflarestorage.com/bucket/a.mp4",
}


@pytest.mark.parametrize("provider", HOSTS)
def test_examples_of_the_page_lead_to_the_hosts_they_name(provider, monkeypatch, tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "storage.md").read_text()
    example = page.split(f"### {provider}\n")[1].split("```toml\n")[1].split("```")[0]
    (tmp_path / "config").write_text("[profile footage]\naws_access_key_id = k\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    options = {name: dict(given) for name, given in Recipe.parse(tomllib.loads(example)).storage.items()}
    if "profile" not in options["s3"]:
        options["s3"].update(key="k", secret="s")
    fs, inner = storage.filesystem("s3://bucket/a.mp4", options)
    assert fs.sign(inner).partition("?")[0] == HOSTS[provider]  # signed here; nothing is sent
