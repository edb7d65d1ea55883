"""`rushes report --open`: the report with clips that play, from a small server that only this machine can reach.

It listens on the loopback address alone, and every address begins with a random token, so that other users' programs, and web pages that
a browser shows meanwhile, cannot ask it for anything. A request names a clip, never a path: what may be given out is a table of the clips
on the page, made before the first request. Of each it gives the clip's file where the store has one, else its source, in ranges of bytes.
What a browser cannot play is encoded as H.264 in a guarded child, into a folder that is removed at the end.
"""

from __future__ import annotations

import mimetypes
import re
import secrets
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from rushes.errors import RushesError, UsageError, VideoError
from rushes.media import storage
from rushes.media.address import split_stream
from rushes.recipe import ClipSettings, Recipe
from rushes.records import Row

if TYPE_CHECKING:
    from rushes.operators.children import Children
    from rushes.results import Results

LOOPBACK = "127.0.0.1"
CHUNK = 1 << 18
"""Bytes that are read and sent at once."""
CRF = 23
"""Quality of clips that are encoded to be looked at once: x264's default."""
RANGE = re.compile(r"bytes=(\d*)-(\d*)$")
OTHER_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Films:
    """The films of the clips on a page, by clip_id. Safe for several threads.

    Args:
        clips: rows of the clips that may be given out: `clip_id`, `uri`, `clip_uri`, `video_id`, `start_pts`, `end_pts`, `time_pieces`.
        recipe: limits of children, and options of the filesystems.
    """

    def __init__(self, clips: dict[str, Row], recipe: Recipe, options: storage.Options) -> None:
        self._clips, self._scan, self._options = clips, recipe.scan, options
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._children: Children | None = None
        self._folder = ""
        self._made: dict[str, str] = {}

    def stored(self, clip_id: str) -> str | None:
        """Address of the clip's file, else of its source; None where the page has no such clip, or where a player would show another stream
        of the source.
        """
        clip = self._clips.get(clip_id)
        if clip is None or (clip["clip_uri"] is None and split_stream(clip["uri"])[1] is not None):
            return None
        return str(clip["clip_uri"] or clip["uri"])

    def made(self, clip_id: str) -> str | None:
        """Path of the clip as H.264, encoded when it is first asked for; None where there is no such clip, or it cannot be made."""
        from rushes.operators.children import Failed

        clip = self._clips.get(clip_id)
        if clip is None:
            return None
        with self._lock:
            if clip_id not in self._made:
                try:
                    self._made[clip_id] = self._encoded(clip)
                except (Failed, RushesError):
                    self._made[clip_id] = ""
            return self._made[clip_id] or None

    def _encoded(self, clip: Row) -> str:
        from rushes.operators.children import Children

        if self._children is None:
            self._folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rushes-"))
            self._children = Children(self._scan)
            self._stack.callback(self._children.close)
        recipe = Recipe(scan=self._scan, clips=ClipSettings(mode="encode", crf=CRF), storage=self._options)
        job = {
            "kind": "cut", "uri": clip["uri"], "recipe": recipe.model_dump(mode="json"), "folder": self._folder,
            "video_id": clip["video_id"], "time_pieces": clip["time_pieces"], "names": {clip["clip_id"]: clip["clip_id"]},
            "spans": [(clip["clip_id"], clip["start_pts"], clip["end_pts"])],
        }  # fmt: skip
        [done] = self._children.do(job, uri=clip["uri"], step="report")["files"]
        return str(done["uri"] or "")

    def read(self, uri: str, start: int, length: int, write: Callable[[bytes], object]) -> int:
        """Gives bytes of a file to `write`, piece by piece; returns how many: fewer where the file has become shorter meanwhile."""
        given = 0
        with storage.ranges(uri, self._options) as read:
            while given < length and (data := read(start + given, min(CHUNK, length - given))):
                write(data)
                given += len(data)
        return given

    def size(self, uri: str) -> int | None:
        """Bytes of a file; None where it is not there, or cannot be read."""
        try:
            return storage.stat(uri, self._options).size
        except OSError:
            return None

    def close(self) -> None:
        """Ends children and removes what they made."""
        with self._lock:
            self._stack.close()


class ReportServer:
    """Serves a page and the films of its clips. Use as a context manager.

    Args:
        page: makes the HTML, given the beginning of the addresses of clips, which end in a clip_id.
        films: what may be given out.
        port: to listen on; 0: any that is free.

    Raises:
        UsageError: the port is taken.
    """

    def __init__(self, page: Callable[[str], str], films: Films, port: int = 0) -> None:
        self._token = secrets.token_urlsafe(24)
        self._films = films
        html = page(f"/{self._token}/").encode()
        try:
            self._server = _Server(port, self._token, html, films)
        except OSError as error:
            raise UsageError(f"port {port} cannot be used: {error.strerror}", step="report", mend="name another with --port") from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="report", daemon=True)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{LOOPBACK}:{self._server.server_port}/{self._token}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._films.close()


def serve(results: Results, port: int = 0) -> ReportServer:
    """A server of the report of a store under a recipe, not started yet.

    Raises:
        UsageError: the port is taken.
    """
    from rushes.report.gather import report_data
    from rushes.report.page import render

    data = report_data(results)
    clips = {str(clip["clip_id"]): dict(clip) for some in data.sheets.values() for clip in some}
    return ReportServer(lambda prefix: render(data, films=prefix), Films(clips, results.recipe, results.store.options), port)


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(first byte, length) of what a request asks for: the whole where it names no range, or one that is not understood (RFC 9110, 14.2).

    None: the range lies outside the file.
    """
    found = RANGE.match((header or "").strip())
    if not found or found[0] == "bytes=-":
        return 0, size
    if not found[1]:
        length = min(int(found[2]), size)
        return (size - length, length) if length else None
    first, last = int(found[1]), int(found[2]) if found[2] else size - 1
    if found[2] and last < first:
        return 0, size
    return (first, min(last, size - 1) - first + 1) if first < size else None


class _Server(ThreadingHTTPServer):
    """What the handlers of requests know: the token, the page, and the films."""

    daemon_threads = True

    def __init__(self, port: int, token: str, html: bytes, films: Films) -> None:
        self.token, self.html, self.films = token, html, films
        super().__init__((LOOPBACK, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing where a browser closes a connection: it does so whenever it has seen enough."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; whatever is not exactly one of the three kinds of address is 404."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "rushes", ""
    timeout = 60

    def do_GET(self) -> None:
        """Answers one request."""
        try:
            self._answer()
        except (OSError, VideoError):  # the browser has seen enough, or the file has gone
            self.close_connection = True

    do_HEAD = do_GET

    def _answer(self) -> None:
        host = self.headers.get("Host", "").rpartition(":")[0]
        parts = self.path.split("/")
        known = len(parts) >= 3 and secrets.compare_digest(parts[1].encode(), self.server.token.encode())
        if host not in (LOOPBACK, "localhost") or not known:
            self._nothing()
        elif parts[2:] == [""]:
            self._head(HTTPStatus.OK, len(self.server.html), "text/html; charset=utf-8")
            if self.command != "HEAD":
                self.wfile.write(self.server.html)
        elif len(parts) == 4 and parts[2] == "clip":
            self._film(self.server.films.stored(parts[3]))
        elif len(parts) == 4 and parts[2] == "made":
            self._film(self.server.films.made(parts[3]))
        else:
            self._nothing()

    def _film(self, uri: str | None) -> None:
        size = None if uri is None else self.server.films.size(uri)
        if uri is None or size is None:
            self._nothing()
            return
        wanted = asked_range(self.headers.get("Range"), size)
        if wanted is None:
            self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, "text/plain", {"Content-Range": f"bytes */{size}"})
            return
        first, length = wanted
        kind = mimetypes.guess_type(uri.rpartition("/")[2])[0] or ""
        kind = kind if kind.startswith("video/") else "application/octet-stream"
        whole = (first, length) == (0, size)
        part = {} if whole else {"Content-Range": f"bytes {first}-{first + length - 1}/{size}"}
        self._head(HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT, length, kind, {"Accept-Ranges": "bytes", **part})
        if self.command != "HEAD" and self.server.films.read(uri, first, length, self.wfile.write) < length:
            self.close_connection = True  # the file has become shorter: the browser must not wait for the rest

    def _nothing(self) -> None:
        self._head(HTTPStatus.NOT_FOUND, 0, "text/plain")

    def _head(self, status: HTTPStatus, length: int, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(length)} | OTHER_HEADERS | (more or {})).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the addresses hold the token."""
