"""Object stores for the tests of conditional writes, each a server in a process of its own.

    python tests/object_server.py s3|s3-deaf|gs|az

prints its port once it listens, and ends when its standard input closes. s3 is moto's server with one request at a time, as its own check
and write are not one step; s3-deaf is the same and ignores If-Match and If-None-Match, as some servers do. gs and az are one bucket in
memory behind the few calls that a conditional write takes, with the preconditions as the providers' pages state them
(cloud.google.com/storage/docs/request-preconditions, learn.microsoft.com/rest/api/storageservices/put-blob).
In tests: `with object_server("s3") as address:`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

LOCK = threading.Lock()


def moto_app(deaf: bool):
    from moto.server import DomainDispatcherApplication, create_backend_app

    inner = DomainDispatcherApplication(create_backend_app)

    def app(environ, start_response):
        if deaf:
            for name in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"):
                environ.pop(name, None)
        with LOCK:
            return list(inner(environ, start_response))

    return app


class Bucket(BaseHTTPRequestHandler):
    """Objects by name: (bytes, generation). The lock makes check and write one step."""

    objects: ClassVar[dict[str, tuple[bytes, int]]] = {}
    count: ClassVar[list[int]] = [0]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def store(self, name: str, data: bytes) -> int:
        self.count[0] += 1
        self.objects[name] = (data, self.count[0])
        return self.count[0]


class GoogleBucket(Bucket):
    def named(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        return query.get("name") or unquote(parts.path.rpartition("/o/")[2]), query

    def precondition(self, name: str, query: dict[str, str]) -> bool:
        """ifGenerationMatch: 0 means that there must be none."""
        wanted = query.get("ifGenerationMatch")
        return wanted is None or int(wanted) == self.objects.get(name, (b"", 0))[1]

    def do_GET(self):
        name, _ = self.named()
        with LOCK:
            found = self.objects.get(name)
        if found is None:
            return self.answer(404, b'{"error": {"code": 404, "message": "No such object"}}')
        return self.answer(200, found[0], x_goog_generation=str(found[1]))

    def do_POST(self):
        (name, query), data = self.named(), self.body()
        with LOCK:
            if not self.precondition(name, query):
                return self.answer(412, b'{"error": {"code": 412, "message": "conditionNotMet"}}')
            generation = self.store(name, data)
        return self.answer(200, json.dumps({"name": name, "generation": str(generation)}).encode(), Content_Type="application/json")

    def do_DELETE(self):
        name, query = self.named()
        with LOCK:
            if name not in self.objects:
                return self.answer(404)
            if not self.precondition(name, query):
                return self.answer(412, b'{"error": {"code": 412, "message": "conditionNotMet"}}')
            del self.objects[name]
        return self.answer(204)


class AzureBucket(Bucket):
    DATE = "Mon, 01 Jan 2024 00:00:00 GMT"

    def refused(self, status: int, code: str) -> None:
        self.answer(status, x_ms_error_code=code)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        name = unquote(urlsplit(self.path).path)
        with LOCK:
            found = self.objects.get(name)
        if found is None:
            return self.refused(404, "BlobNotFound")
        data, n = found
        head = {"ETag": f'"0x{n:X}"', "Last_Modified": self.DATE, "x_ms_blob_type": "BlockBlob"}
        if "x-ms-range" in self.headers and data:
            return self.answer(206, data, **head, Content_Range=f"bytes 0-{len(data) - 1}/{len(data)}")
        return self.answer(200, data, **head)

    def do_PUT(self):
        name, data = unquote(urlsplit(self.path).path), self.body()
        with LOCK:
            found = self.objects.get(name)
            if self.headers.get("If-None-Match") == "*" and found is not None:
                return self.refused(409, "BlobAlreadyExists")
            if (wanted := self.headers.get("If-Match")) and (found is None or wanted != f'"0x{found[1]:X}"'):
                return self.refused(412, "ConditionNotMet")
            n = self.store(name, data)
        return self.answer(201, ETag=f'"0x{n:X}"', Last_Modified=self.DATE)

    def do_DELETE(self):
        with LOCK:
            found = self.objects.pop(unquote(urlsplit(self.path).path), None)
        return self.answer(202) if found else self.refused(404, "BlobNotFound")


def serve(kind: str) -> None:
    if kind.startswith("s3"):
        from werkzeug.serving import make_server

        server = make_server("127.0.0.1", 0, moto_app(kind == "s3-deaf"), threaded=True)
        port = server.server_port
    else:
        server = ThreadingHTTPServer(("127.0.0.1", 0), {"gs": GoogleBucket, "az": AzureBucket}[kind])
        port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()


@contextmanager
def object_server(kind: str) -> Iterator[str]:
    """The address of a server that lives as long as the block."""
    words = [sys.executable, "-W", "ignore", __file__, kind]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.wait(10)


if __name__ == "__main__":
    serve(sys.argv[1])
