"""A real S3 over HTTP in a process of its own (moto's server), behind a small proxy that counts and misbehaves as told.

    with serve_s3() as s3:
        s3.put("bucket/a.mp4", data)                       # past the proxy
        s3.misbehave("503", key="a.mp4", times=3)
        storage.stat("s3://bucket/a.mp4", s3.options)
        s3.sent["bucket/a.mp4"], s3.requests

The proxy runs in threads of the test's process. Run as a script, this file is the server: it prints its port, and ends with its input.
"""

from __future__ import annotations

import http.client
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REGION = "us-east-1"
KEYS = {"key": "testing", "secret": "testing"}
ANSWERS = {
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "429": (429, "TooManyRequests", "Too many requests."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "badkey": (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
    "denied": (403, "AccessDenied", "Access Denied"),
}
"""Statuses and codes as AWS sends them (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""
BROKEN = ("reset", "reset_middle", "truncate", "short", "slow", "drop_range")


@dataclass
class Fault:
    """A way to misbehave: for requests of a method whose key holds a text, so many times, after so many sound ones."""

    how: str
    key: str
    method: str
    times: float
    after: int
    done: int = 0


@dataclass
class Served:
    """The server as a test sees it."""

    url: str
    backend: tuple[str, int]
    latency_s: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of bodies sent, by bucket/key."""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(method, path with query, range), in order."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        """Storage options that lead to the proxy."""
        return {"s3": {**KEYS, "client_kwargs": {"endpoint_url": self.url, "region_name": REGION}}}

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the ordinary chain that lead to the proxy."""
        chain = {"AWS_ACCESS_KEY_ID": KEYS["key"], "AWS_SECRET_ACCESS_KEY": KEYS["secret"], "AWS_DEFAULT_REGION": REGION}
        return {**chain, "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}

    def misbehave(self, how: str, *, key: str = "", method: str = "GET", times: float = float("inf"), after: int = 0) -> None:
        """From now on; `times` requests after the next `after` sound ones. The method "*" is any."""
        assert how in ANSWERS or how in BROKEN
        with self.lock:
            self.faults.append(Fault(how, key, method, times, after))

    def behave(self) -> None:
        """Forgets all faults and counts."""
        with self.lock:
            self.faults.clear()
            self.sent.clear()
            self.requests.clear()

    def fault_of(self, method: str, path: str) -> str | None:
        """The way to answer this request."""
        with self.lock:
            for fault in self.faults:
                if fault.key in path and fault.method in ("*", method):
                    fault.done += 1
                    if fault.after < fault.done <= fault.after + fault.times:
                        return fault.how
        return None

    def count(self, method: str, text: str = "") -> int:
        """How many requests of a method had this text in their path."""
        return sum(m == method and text in path for m, path, _ in self.requests)

    def put(self, path: str, data: bytes = b"", *, public: bool = False) -> None:
        """Puts an object, or makes a bucket when there is no key; past the proxy."""
        connection = http.client.HTTPConnection(*self.backend, timeout=30)
        day = time.strftime("%Y%m%d")
        headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential=testing/{day}/{REGION}/s3/aws4_request, SignedHeaders=host, Signature=0"}
        connection.request("PUT", "/" + urllib.parse.quote(path), data, headers | ({"x-amz-acl": "public-read"} if public else {}))
        answer = connection.getresponse()
        assert answer.status == 200, (answer.status, answer.read())
        connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and bytes of an object; past the proxy."""
        connection = http.client.HTTPConnection(*self.backend, timeout=30)
        credential = f"Credential=testing/20260101/{REGION}/s3/aws4_request"
        connection.request("GET", "/" + path, headers={"Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"})
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            connection.close()


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    served: Served

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client went away, or was sent away
            self.close_connection = True

    def _any(self) -> None:
        served = self.served
        body = self._body()
        path = urllib.parse.unquote(self.path)
        fault = served.fault_of(self.command, path)
        with served.lock:
            served.requests.append((self.command, path, self.headers.get("Range")))
        time.sleep(served.latency_s)
        if fault in ANSWERS:
            self._refuse(*ANSWERS[fault])
        elif fault == "reset":
            self._reset()
        else:
            self._pass_on(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _pass_on(self, body: bytes, fault: str | None) -> None:
        connection = http.client.HTTPConnection(*self.served.backend, timeout=60)
        headers = {
            k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "content-length", "connection", "expect")
        }
        if fault == "drop_range":
            headers.pop("Range", None)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in ("transfer-encoding", "connection", "content-length")]
        connection.close()
        length = answer.getheader("Content-Length") or "0" if self.command == "HEAD" else str(len(data))
        if fault == "short":
            data = data[: len(data) // 2]
            length = str(len(data))
        self.send_response_only(answer.status)
        for name, value in kept:
            self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self._send(data, fault)

    def _send(self, data: bytes, fault: str | None) -> None:
        broken = fault in ("reset_middle", "truncate")
        whole, data = data, data[: len(data) // 2] if broken else data
        step = max(1, len(data) // 8) if fault == "slow" else max(1, len(data))
        for at in range(0, len(data), step):
            self.wfile.write(data[at : at + step])
            self.wfile.flush()
            if fault == "slow":
                time.sleep(0.2)
        with self.served.lock:
            self.served.sent[urllib.parse.unquote(self.path).partition("?")[0].lstrip("/")] += len(data)
        if fault == "reset_middle" and whole:
            time.sleep(0.1)  # let what was sent arrive
            self._reset()
        elif broken:
            self.close_connection = True

    def _refuse(self, status: int, code: str, words: str) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{words}</Message></Error>'.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(0 if self.command == "HEAD" else len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        raise ConnectionAbortedError


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def shutdown_request(self, request: Any) -> None:
        try:
            super().shutdown_request(request)
        except OSError:  # it was reset
            self.close_request(request)


@contextmanager
def serve_s3() -> Iterator[Served]:
    """A fresh S3 without buckets, behind a proxy; both end with the block."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None and process.stdout is not None
    try:
        port = int(process.stdout.readline())
        proxy = _Server(("127.0.0.1", 0), type("Handler", (Proxy,), {}))
        served = Served(f"http://127.0.0.1:{proxy.server_address[1]}", ("127.0.0.1", port))
        proxy.RequestHandlerClass.served = served  # type: ignore[attr-defined]
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            proxy.shutdown()
            proxy.server_close()
            thread.join()
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def main() -> None:
    """The server's own process."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    sys.stdout.write(f"{server.get_host_and_port()[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
