"""`rushes report --open`: over real HTTP it gives the page and the films of its clips to who has the token, and nothing else."""

from __future__ import annotations

import html
import http.client
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
import pytest

from pictures import read_frame_number
from report_rows import Page, drawn, report
from rushes.recipe import Recipe
from rushes.report.page import render
from rushes.results import Results
from rushes.serve_report import Films, ReportServer, asked_range, serve
from rushes.store.store import Store
from stores import Reel, go, recipe, seen, start


class Asked:
    """What a server answered to one request, sent as it is: no library cleans the path."""

    def __init__(self, server: ReportServer, path: str, *, method: str = "GET", **headers: str) -> None:
        host = urlsplit(server.url).netloc
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": host, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        self.status, self.headers, self.body = answer.status, dict(answer.headers), answer.read()
        connection.close()


@pytest.fixture(scope="module")
def server(reel_store: Path) -> Iterator[ReportServer]:
    with serve(Results(Store.open(str(reel_store), {}), recipe())) as one:
        yield one


def base(server: ReportServer) -> str:
    """The beginning of all addresses."""
    return urlsplit(server.url).path


def films_on(server: ReportServer) -> dict[str, str]:
    """clip_id -> address of its film, as the page has it."""
    found = re.findall(r'<video [^>]*src="([^"#]*/clip/(\w+))(?:#[^"]*)?"', Asked(server, base(server)).body.decode())
    return {clip: html.unescape(address) for address, clip in found}


def test_the_page_names_the_films_of_its_clips_and_each_is_the_source(server: ReportServer, reel_store: Path) -> None:
    page = Asked(server, base(server))
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"media-src 'self'" in page.body and b"default-src 'none'" in page.body
    clips = {clip["clip_id"]: clip for clip in seen(reel_store).clips()}
    assert films_on(server).keys() == clips.keys()
    for clip_id, address in films_on(server).items():
        clip = clips[clip_id]
        film = Asked(server, address)
        assert (film.status, film.body) == (200, Path(clip["uri"]).read_bytes())
        assert film.headers["Accept-Ranges"] == "bytes" and film.headers["Content-Type"].startswith("video/")
        assert f'{clip_id}#t={clip["start_s"]:.3f},{clip["end_s"]:.3f}"'.encode() in page.body
    assert page.headers["Referrer-Policy"] == "no-referrer" and page.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-0", 206, (0, 1)), ("bytes=10-19", 206, (10, 20)), ("bytes=5-", 206, (5, None)), ("bytes=-7", 206, (-7, None)),
        ("bytes=0-", 200, (0, None)), ("bytes=10-999999999", 206, (10, None)), ("bytes=-999999999", 200, (0, None)),
        ("bytes=999999999-", 416, (0, 0)), ("bytes=-0", 416, (0, 0)), ("bytes=9-3", 200, (0, None)), ("bytes=-", 200, (0, None)),
        ("items=0-3", 200, (0, None)), ("bytes=0-3,8-9", 200, (0, None)), ("bytes=x-3", 200, (0, None)),
    ],
)  # fmt: skip
def test_ranges_of_bytes(server: ReportServer, reel: Reel, reel_store: Path, asked: str, status: int, part: tuple[int, int | None]) -> None:
    clip = next(clip for clip in seen(reel_store).clips() if clip["uri"] == str(reel.cuts.path))
    data = reel.cuts.path.read_bytes()
    film = Asked(server, f"{base(server)}clip/{clip['clip_id']}", Range=asked)
    assert (film.status, film.body) == (status, data[slice(*part)])
    assert film.headers["Content-Length"] == str(len(film.body))
    if status == 206:
        first = part[0] % len(data)
        assert film.headers["Content-Range"] == f"bytes {first}-{first + len(film.body) - 1}/{len(data)}"
    if status == 416:
        assert film.headers["Content-Range"] == f"bytes */{len(data)}"
    head = Asked(server, f"{base(server)}clip/{clip['clip_id']}", method="HEAD", Range=asked)
    assert (head.status, head.body, head.headers["Content-Length"]) == (status, b"", film.headers["Content-Length"])


def test_nothing_is_given_without_the_token(server: ReportServer, reel_store: Path) -> None:
    token, clip = base(server).strip("/"), next(iter(films_on(server)))
    assert len(token) >= 32
    wrong = ["", "/", "/clip", token[:-1], token + "x", token.swapcase(), "x" * len(token), "%C3%A9"]
    for other in wrong:
        for rest in ("", "/", f"/clip/{clip}", f"/made/{clip}"):
            answer = Asked(server, f"/{other}{rest}")
            assert (answer.status, answer.body) == (404, b""), (other, rest)
    with serve(Results(Store.open(str(reel_store), {}), recipe())) as another:
        assert base(another) != base(server)


def test_a_request_cannot_name_a_path(server: ReportServer, reel: Reel, reel_store: Path) -> None:
    clip = next(iter(films_on(server)))
    paths = [
        "clip/../../../../../../etc/passwd", "clip/%2e%2e/%2e%2e/etc/passwd",
        "clip/..%2f..%2fetc%2fpasswd", "clip//etc/passwd", "/etc/passwd",
        f"clip/{reel.cuts.path}", f"clip/{str(reel.cuts.path).replace('/', '%2F')}", f"clip/{clip}/", f"clip/{clip}/..", f"clip/{clip}?a=1",
        f"clip/{clip[:8]}", "clip/", "clip", "made/", "made/../page", f"other/{clip}", f"clip/{clip}%00", f"clip/file:///{reel.cuts.path}",
        f"clip/{reel_store}/runs", "page.js", "favicon.ico", "..", f"clip/{clip.upper()}x",
    ]  # fmt: skip
    for path in paths:
        for method in ("GET", "HEAD"):
            answer = Asked(server, base(server) + path, method=method)
            assert (answer.status, answer.body) == (404, b""), path


def test_only_this_machine_is_answered(server: ReportServer) -> None:
    assert urlsplit(server.url).hostname == "127.0.0.1"
    port = urlsplit(server.url).port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example:80", ""):
        assert Asked(server, base(server), Host=host).status == 404, "a name that was bound anew to this address"
    assert Asked(server, base(server), Host=f"localhost:{port}").status == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert Asked(server, base(server), method=method).status == 501
    inode = next(line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[1].endswith(f":{port:04X}"))
    assert inode[1].split(":")[0] == "0100007F", "the kernel says that it listens on 127.0.0.1"


def test_what_a_browser_cannot_play_is_encoded(reel: Reel, reel_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    clip = next(clip for clip in seen(reel_store).clips() if clip["uri"] == str(reel.uneven.path) and clip["verdict"] == "kept")
    assert reel.uneven.pts is not None
    with serve(Results(Store.open(str(reel_store), {}), recipe())) as server:
        film = Asked(server, f"{base(server)}made/{clip['clip_id']}", Range="bytes=0-")
        assert (film.status, film.headers["Content-Type"]) == (200, "video/mp4")
        path = tmp_path / "film.mp4"
        path.write_bytes(film.body)
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            numbers = [read_frame_number(np.ascontiguousarray(f.to_ndarray(format="gray"))) for f in container.decode(video=0)]
        inside = [n for n, p in zip(reel.uneven.numbers, reel.uneven.pts, strict=True) if clip["start_pts"] <= p < clip["end_pts"]]
        assert numbers == inside
        assert Asked(server, f"{base(server)}made/{clip['clip_id']}").body == film.body
    assert os.listdir(tmp_path) == ["film.mp4"], "what was encoded goes with the server"


def test_a_clip_file_is_given_before_the_source_and_what_has_gone_is_404(reel: Reel, tmp_path: Path) -> None:
    folder, store = tmp_path / "footage", tmp_path / "store"
    folder.mkdir()
    shutil.copyfile(reel.cuts.path, folder / "cuts.mp4")
    go(folder, store, "clips.mode=copy")
    clips = seen(store, "clips.mode=copy").clips()
    with serve(Results(Store.open(str(store), {}))) as server:
        for clip in clips:
            own = clip["clip_uri"] or clip["uri"]
            assert Asked(server, f"{base(server)}clip/{clip['clip_id']}").body == Path(own).read_bytes()
        assert {bool(clip["clip_uri"]) for clip in clips} == {True, False}
        (folder / "cuts.mp4").unlink()
        gone = next(clip for clip in clips if not clip["clip_uri"])
        for kind in ("clip", "made"):
            assert Asked(server, f"{base(server)}{kind}/{gone['clip_id']}").status == 404


def test_the_command_says_where_the_page_is_and_ends_with_a_signal(reel_store: Path, tmp_path: Path) -> None:
    with start("report", str(reel_store), "--open", DISPLAY="", WAYLAND_DISPLAY="") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(r"report: (http://127\.0\.0\.1:\d+/[\w-]{32,}/)\n", line)
        assert found, line
        parts = urlsplit(found[1])
        connection = http.client.HTTPConnection(parts.netloc, timeout=60)
        connection.request("GET", parts.path)
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()
    assert not (tmp_path / "report.html").exists()


def test_a_page_that_stands_alone_has_no_films_and_one_with_films_the_same_words() -> None:
    alone, with_films = render(report(drawn(60))), render(report(drawn(60)), films="/token/")
    assert "<video" not in alone and "media-src" not in alone
    page = Page(with_films)
    sources = [value for tag, name, value in page.attributes if tag == "video" and name == "src"]
    assert sources and all(value.startswith("/token/clip/") for value in sources)
    assert page.inside == []


def test_a_range_is_as_the_standard_has_it() -> None:
    assert asked_range(None, 10) == (0, 10)
    assert asked_range("bytes=0-0", 0) is None
    assert asked_range("bytes=-3", 0) is None
    assert asked_range("bytes=2-4", 10) == (2, 3)


def test_a_taken_port_is_a_wrong_request(server: ReportServer) -> None:
    from rushes.errors import UsageError

    films: Any = Films({}, Recipe(), {})
    with pytest.raises(UsageError, match="--port"):
        ReportServer(lambda _prefix: "", films, urlsplit(server.url).port or 0)
