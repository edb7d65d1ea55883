"""A real OpenAI-compatible chat server for the tests and benchmarks: strict about requests, and misbehaving as told.

    python tests/caption_server.py --port 0 --mode ok --service-s 0.5 --parallel 8

prints `PORT n` once it listens. GET /stats says what it saw; POST /control changes its options while it runs. It ends when its standard
input (a pipe) closes or its parent dies. Standard library only. In tests: `with start_server(mode="503", fail_first=3) as server:`.

Every request is held to the protocol: model, messages, parts, base64, JPEG bytes. Each breach is a 400 and stands in /stats under
"violations". The SHA-256 of each image is in /stats under "requests", so that a test can compare it with the stored bytes. Requests about
test pictures of Rushes' own stand under "tests" instead.
"""

from __future__ import annotations

import argparse
import contextlib
import email.utils
import hashlib
import json
import os
import signal
import socket
import ssl
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from caption_protocol import FAULT_MODES, OPTIONAL, PLAIN_MODES, Breach, answer_of, check_body, read_messages, value_for
from caption_refusals import NO_ROUTE, REFUSALS

CERTIFICATE = Path(tempfile.gettempdir()) / f"rushes-tests-{os.getuid()}-self-signed.pem"
"""Certificate and key of "localhost" and 127.0.0.1, made when a server with TLS is first started on this machine."""


def make_certificate() -> None:
    """Makes `CERTIFICATE`, if it is not there; it is valid for a hundred years."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if CERTIFICATE.is_file():
        return
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=36500))
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    part = CERTIFICATE.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(text + signed.public_bytes(serialization.Encoding.PEM))
    part.rename(CERTIFICATE)


@dataclass
class State:
    """Options, and what was seen; one lock for both."""

    options: dict[str, Any]
    lock: threading.Lock = field(default_factory=threading.Lock)
    requests: list[dict[str, Any]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    held: tuple[str, str] | None = None
    listed: int = 0
    in_flight: int = 0
    max_in_flight: int = 0

    def __post_init__(self) -> None:
        self.initial = dict(self.options)
        self.slots = threading.Semaphore(self.options["parallel"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    state: State

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send(self, status: int, body: bytes, kind: str = "application/json", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def send_json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self.send(status, json.dumps(value).encode(), headers=headers)

    def refuse(self, status: int, words: str, code: str | None = None, headers: dict[str, str] | None = None) -> None:
        self.send_json(status, {"error": {"message": words, "type": "invalid_request_error", "param": None, "code": code}}, headers)

    def keyed(self) -> bool:
        key = self.state.options["key"]
        if not key or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self.refuse(401, f"Incorrect API key provided: {self.headers.get('Authorization', '')[7:]}", "invalid_api_key")
        return False

    def do_GET(self) -> None:
        state = self.state
        if self.path == "/stats":
            with state.lock:
                self.send_json(
                    200,
                    {name: getattr(state, name) for name in ("requests", "tests", "violations", "listed", "in_flight", "max_in_flight")},
                )
        elif self.path == "/v1/models":
            with state.lock:
                state.listed += 1
            mode = state.options["models"]
            if mode.isdigit():
                self.refuse(int(mode), "no list here")
            elif self.keyed():
                names = {"list": [state.options["model"]], "empty": [], "other": ["another-model"]}[mode]
                self.send_json(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
        else:
            self.send_as_real(NO_ROUTE[state.options["no_route"]])

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/control":
            with self.state.lock:
                self.state.options = self.state.initial | json.loads(raw)
                self.state.requests.clear()
                self.state.tests.clear()
                self.state.violations.clear()
                self.state.held = None
                self.state.listed = self.state.max_in_flight = 0
                self.state.slots = threading.Semaphore(self.state.options["parallel"])
            self.send_json(200, {})
        elif self.path == "/v1/chat/completions":
            with self.state.lock:
                self.state.in_flight += 1
                self.state.max_in_flight = max(self.state.max_in_flight, self.state.in_flight)
            try:
                self.complete(raw)
            finally:
                with self.state.lock:
                    self.state.in_flight -= 1
                    if len(self.state.requests) == self.state.options["die_after"]:
                        os._exit(1)
        else:
            self.send_as_real(NO_ROUTE[self.state.options["no_route"]])

    def send_as_real(self, answer: tuple[int, str, bytes]) -> None:
        status, kind, body = answer
        self.send(status, body.replace(b"POST PATH", f"POST {self.path}".encode()), kind)

    def complete(self, raw: bytes) -> None:
        options = dict(self.state.options)
        seen: dict[str, Any] = {
            "at": time.time(),
            "answered": None,
            "images": [],
            "texts": [],
            "system": None,
            "sampling": {},
            "response_format": False,
            "mode": None,
            "authorization": self.headers.get("Authorization"),
        }
        try:
            body = json.loads(raw)
            check_body(body)
            content = read_messages(body["messages"])
            seen["images"], seen["texts"], seen["system"] = content.images, content.texts, content.system
            seen["test"], seen["videos"] = content.test, content.videos
            seen["sampling"] = {key: body[key] for key in sorted(OPTIONAL & set(body))}
            seen["schema"] = body.get("response_format", {}).get("json_schema", {}).get("schema")
            seen["response_format"] = "response_format" in body
            seen["temperature"] = body["temperature"]
            seen["max_tokens"] = body.get("max_completion_tokens", body.get("max_tokens"))
        except (Breach, ValueError) as breach:
            with self.state.lock:
                self.state.violations.append(str(breach))
            return self.refuse(400, str(breach))
        with self.state.lock:
            (self.state.tests if content.test else self.state.requests).append(seen)
            self.record(seen)
            everything = [*self.state.requests, *self.state.tests] if options["probe_too"] else self.state.requests
            counted = [request for request in everything if request["images"] or options["probe_too"]]
            over = options["fail_first"] is not None and len(counted) > options["fail_first"]
            small = (options["mode"] in FAULT_MODES or options["mode"] in REFUSALS) and not seen["images"] and not options["probe_too"]
            early = len(self.state.requests) - (not content.test) < options["good_first"]
            spared = small or early or options["spare_tests" if content.test else "spare_clips"]
            mode = "ok" if over or spared else options["mode"]
            if set(seen["images"]) & set(options["poison"]):
                mode = options["poison_mode"]
            seen["mode"] = mode
            too_many = options["admit"] is not None and self.state.in_flight > options["admit"]
        if not self.keyed():
            return None
        if too_many:
            seen["mode"] = "429"
            return self.refuse(429, f"at most {options['admit']} requests at once")
        if body.get("model") != options["model"]:
            return self.refuse(404, f"The model `{body.get('model')}` does not exist.", "model_not_found")
        if mode in FAULT_MODES:
            return self.fail(mode, options)
        if mode in REFUSALS:
            return self.send_as_real(REFUSALS[mode])
        return self.answer(mode, body, seen, options)

    def answer(self, mode: str, body: dict[str, Any], seen: dict[str, Any], options: dict[str, Any]) -> None:
        if not (seen["test"] and options["spare_tests"]):
            with self.state.slots:
                time.sleep(options["service_s"])
        if mode == "schema_refused" and seen["response_format"]:
            return self.refuse(400, "This server does not support response_format of type json_schema")
        if mode == "video_refused" and seen["videos"]:
            return self.refuse(400, "Unknown part type: video_url")
        if mode == "opaque_refusal" and seen["response_format"]:
            return self.send_json(400, {"detail": "Bad Request"})
        if mode == "unknown_field" and "top_k" in body:
            return self.send_json(422, {"detail": "Unexpected fields in the request: {'top_k'}"})
        if mode == "max_completion_tokens" and "max_tokens" in body:
            return self.refuse(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                "unsupported_parameter",
            )
        if mode == "non_json":
            return self.send(200, b"<html><body>It works!</body></html>", "text/html")
        if mode == "no_choices":
            return self.send_json(200, {"object": "chat.completion", "choices": []})
        if mode == "error_200":
            return self.send_json(200, {"error": {"message": "Provider returned error", "code": 502}})
        words = f"A hall with {len(seen['images'])} frames, first {seen['images'][0][:12] if seen['images'] else 'none'}."
        if mode == "digest":
            words = f"A hall that was shown as {digest(seen)}."
        if mode == "by_schema" and seen["schema"]:
            words = json.dumps(value_for(seen["schema"], words))
        name = self.headers.get("X-Request-Id") or uuid.uuid4().hex
        if mode == "shuffled" and not seen["test"]:  # each request gets the answer to the one before
            with self.state.lock:
                held, self.state.held = self.state.held, (words, name)
            words, name = held or (words, name)
        made = answer_of(mode, words, options.get("fields", {}))
        own = uuid.uuid4().hex
        made["id"] = f"chatcmpl-{name if options['names'] == 'id' else own}"
        made["model"] = f"{options['model']}@main" if mode == "echo" else options["model"]
        self.send_json(200, made, {"X-Request-Id": name if options["names"] == "header" else own})
        seen["answered"] = time.time()
        self.record(seen)

    def record(self, seen: dict[str, Any]) -> None:
        """Writes down a request about a clip, where the server is to: when it comes, and again when it is answered."""
        if self.state.options["account"] and seen["images"] and not seen["test"]:
            told = {name: seen[name] for name in ("at", "answered", "images", "texts")} | {"key": f"{os.getpid()}.{id(seen)}"}
            with open(self.state.options["account"], "ab", buffering=0) as account:
                account.write(json.dumps(told).encode() + b"\n")

    def fail(self, mode: str, options: dict[str, Any]) -> None:
        if mode == "slow":
            time.sleep(options["slow_s"])
            return self.send_json(200, answer_of("ok", "late", {}) | {"model": options["model"]})
        if mode in ("drop", "reset", "half"):
            return self.hang_up(mode)
        if mode == "500_plain":
            return self.send(500, b"Internal Server Error", "text/plain")
        if mode == "500_close":
            self.send(500, b"Internal Server Error", "text/plain")
            return self.hang_up("drop")
        if mode == "context":
            return self.refuse(
                400, "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.", "context_length_exceeded"
            )
        if mode == "quota":
            return self.refuse(429, "You exceeded your current quota, please check your plan and billing details.", "insufficient_quota")
        wait = options["retry_after"]
        if wait.startswith("date:"):
            wait = email.utils.formatdate(time.time() + float(wait[5:]), usegmt=True)
        return self.refuse(int(mode), f"told to answer {mode}", headers={"Retry-After": wait} if wait else None)

    def hang_up(self, mode: str) -> None:
        """Ends the connection: after nothing, after half a body, or with a TCP reset. After a 500 the client is not told beforehand."""
        self.close_connection = True
        if mode == "half":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"choices": [')
            self.wfile.flush()
        if mode == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)


def digest(seen: dict[str, Any]) -> str:
    """What tells a request from all others: a hash of its pictures and words."""
    return hashlib.sha256(json.dumps([seen["images"], seen["texts"]]).encode()).hexdigest()[:24]


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error of ours."""


def die_with_parent() -> None:
    """Ends this process when its parent dies, or when its standard input is a pipe and closes."""
    parent = os.getppid()

    def by_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    def by_pipe() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=by_parent, daemon=True).start()
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=by_pipe, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--mode", choices=[*PLAIN_MODES, *FAULT_MODES, *REFUSALS], default="ok")
    parser.add_argument("--model", default="tiny-vlm")
    parser.add_argument("--key", default="", help="the bearer token asked for; empty: none")
    parser.add_argument("--models", default="list", help="the model list: list, empty, other, or an HTTP status")
    parser.add_argument(
        "--names", choices=["id", "header", "own"], default="id", help="where the request's X-Request-Id comes back: own: nowhere"
    )
    parser.add_argument("--account", default="", help="a file to which each request about a clip is added as a line of JSON")
    parser.add_argument("--service-s", type=float, default=0.0, help="seconds each answer takes")
    parser.add_argument("--parallel", type=int, default=64, help="answers made at once; the rest queue")
    parser.add_argument("--admit", type=int, default=None, help="more requests than these at once are refused with 429")
    parser.add_argument("--fail-first", type=int, default=None, help="the mode holds for so many requests with images, then all is well")
    parser.add_argument(
        "--probe-too", action="store_true", help="faults concern requests without images as well: the whole server is unwell"
    )
    parser.add_argument("--good-first", type=int, default=0, help="the mode holds only after so many requests about clips")
    parser.add_argument("--spare-tests", action="store_true", help="requests about test pictures of Rushes' own are answered well")
    parser.add_argument("--spare-clips", action="store_true", help="requests about clips are answered well")
    parser.add_argument("--no-route", choices=NO_ROUTE, default="openai", help="whose answer an unknown path gets")
    parser.add_argument("--tls", action="store_true", help="speak https, with a certificate that nobody signed but itself")
    parser.add_argument("--retry-after", default="", help="seconds, or date:SECONDS for an HTTP date")
    parser.add_argument("--die-after", type=int, default=None, help="the process ends after so many requests")
    parser.add_argument("--slow-s", type=float, default=5.0)
    parser.add_argument("--poison", nargs="*", default=[], help="SHA-256 of images on which the server breaks")
    parser.add_argument("--poison-mode", default="500_plain")
    options = vars(parser.parse_args())
    server = Server((options.pop("host"), options.pop("port")), Handler)
    if options["tls"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        make_certificate()
        context.load_cert_chain(CERTIFICATE)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    Handler.state = State(options)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sys.stdout.write(f"PORT {server.server_address[1]}\n")
    sys.stdout.flush()
    die_with_parent()
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


@dataclass
class Running:
    """A server in another process."""

    process: subprocess.Popen[str]
    port: int
    scheme: str = "http"

    @property
    def root(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.root}/v1"

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.root}/stats", timeout=10, context=self.trust()) as answer:
            return json.load(answer)

    def trust(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=str(CERTIFICATE)) if self.scheme == "https" else None

    def control(self, **options: Any) -> None:
        """Goes back to the options of the start but for these, named as on the command line, and forgets what was seen."""
        request = urllib.request.Request(f"{self.root}/control", json.dumps(options).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10, context=self.trust()) as answer:
            answer.read()

    def stop(self) -> None:
        """Kills the process, as a crash would; harmless when it is dead."""
        self.process.kill()
        self.process.wait(10)


@contextlib.contextmanager
def start_server(**options: Any) -> Iterator[Running]:
    """Runs the server in another process until the block ends: `start_server(mode="503", fail_first=3, service_s=0.05)`."""
    command = [sys.executable, str(Path(__file__).resolve())]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            command.append(flag)
        elif value is not False:
            command += [flag, *(value if isinstance(value, (list, tuple)) else [str(value)])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    try:
        word, _, port = process.stdout.readline().partition(" ")
        if word != "PORT":
            raise RuntimeError(f"the caption server did not start: {word!r}, exit code {process.wait(10)}")
        running = Running(process, int(port), "https" if options.get("tls") else "http")
        yield running
    finally:
        process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


if __name__ == "__main__":
    main()
