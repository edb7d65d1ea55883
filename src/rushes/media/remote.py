"""Reads files behind fsspec URLs: filesystems that keep no listings, reads of byte ranges that are complete or fail, and a seekable file
for libav.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from rushes.errors import VideoError
from rushes.media.address import protocol_of
from rushes.media.error_translation import missing_package, read_error
from rushes.media.faults import NoRangedReads, ShortRead, client_errors, with_retries
from rushes.media.part_file import PartFile, RangedFile

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Options = Mapping[str, Mapping[str, Any]]
"""protocol ("s3", "http") -> options handed to fsspec."""
Read = Callable[[int, int], bytes]
"""(start, length) in bytes -> those bytes; short only at the end of the file."""

BLOCK_BYTES = 2 << 20
"""Size of one request for video, bytes. A probe of a file whose index lies at the end takes a few requests."""
BLOCKS_HELD = 16
"""Blocks in memory at most, the one being fetched included: 32 MiB for each worker. They are enough for a scan to fetch each block once,
even where audio and video lie apart in the file."""
REQUEST_S = 60.0
"""A request for one block that takes longer than this, seconds (it is then slower than 35 kB/s), is given up and made again."""
_SHARED: dict[tuple[int, str, str], list[AbstractFileSystem]] = {}
"""(process id, protocol, options) -> a list with the one filesystem that all threads of the process share, empty until it is made."""
LOOK_EVERY_S = 1.0
"""How often a reader that waits for the network calls `RemoteFile.waiting`, seconds."""


def filesystem(url: str, options: Options) -> tuple[AbstractFileSystem, str]:
    """The filesystem of a URL and the path inside it.

    It caches no listings, so that files that another process wrote are seen at once. An asynchronous filesystem, which does its work in
    fsspec's own thread, is shared by all threads of this process, since each one keeps its connections open as long as the process lives.

    Raises:
        MissingExtra: the protocol's package is not installed, or no such protocol is known.
    """
    from fsspec import get_filesystem_class
    from fsspec.core import url_to_fs

    protocol = protocol_of(url) or "file"
    given = {"use_listings_cache": False, **options.get(protocol, {})}
    try:
        kind = get_filesystem_class(protocol)
        if not kind.async_impl or "::" in url or kind._get_kwargs_from_urls(url):
            fs, path = url_to_fs(url, **given)
            return fs, str(path)
        shared = _SHARED.setdefault((os.getpid(), protocol, repr(sorted(given.items()))), [])
        if not shared:
            shared.append(kind(**given))
    except (ImportError, ValueError) as error:
        raise missing_package(protocol, url, error) from error
    return shared[0], str(shared[0]._strip_protocol(url))


def range_reader(url: str, options: Options, size: int | None = None) -> Read:
    """Gives a function that reads ranges of a file, each in one request, which is retried after a transient error. Nothing is cached.

    With the file's `size` in bytes, an answer that is too short counts as a transient error.

    Raises:
        OSError: the file cannot be read; NoRangedReads where its server does not answer requests for ranges.
    """
    if protocol_of(url) in ("http", "https"):  # a server without ranged reads answers with the whole file
        fetch, held = _open(url, options)
        return lambda start, length: with_retries(lambda: fetch(start, min(start + length, held))) if start < held else b""
    fs, inner = filesystem(url, options)

    def fetched(start: int, end: int) -> bytes:
        data = cast(bytes, fs.cat_file(inner, start=start, end=end))
        return data if size is None else _complete(data, start, min(end, size))

    return lambda start, length: with_retries(lambda: fetched(start, start + length))


def _complete(data: bytes, start: int, end: int) -> bytes:
    if len(data) != max(0, end - start):
        raise ShortRead(f"{len(data)} bytes came where {end - start} were asked for at {start}")
    return data


def _open(url: str, options: Options) -> tuple[Callable[[int, int], bytes], int]:
    """(fetch(start, end), size in bytes) of a file. Where the client can, it makes sure that all ranges come from one version of the
    file.
    """
    from fsspec.spec import AbstractBufferedFile

    fs, inner = filesystem(url, options)
    file = with_retries(lambda: fs.open(inner, "rb", block_size=BLOCK_BYTES, cache_type="none"))
    seekable = file.seekable()
    fetch: Callable[[int, int], bytes]
    if seekable and isinstance(file, AbstractBufferedFile):
        fetch, size = file.cache.fetcher, int(file.size)
    else:
        file.close()
        fetch, size = (lambda start, end: cast(bytes, fs.cat_file(inner, start=start, end=end))), int(fs.size(inner) or 0)
    if not seekable:
        raise NoRangedReads

    def checked(start: int, end: int) -> bytes:
        try:
            return _complete(fetch(start, end), start, end)
        except ValueError:  # fsspec raises it where a server answers with more than was asked for
            raise NoRangedReads from None

    return checked, size


class RemoteFile(RangedFile):
    """A seekable remote file that is read in blocks. While one block is decoded, the next one is fetched.

    A read gives fewer bytes than asked for only at the end of the file. When a block cannot be read, this read and all later ones raise a
    VideoError with the reason. libav may take that for the end of the file, so `failure` keeps the error (see `raise_read_failure`).

    Attributes:
        size: bytes.
        failure: the error after which nothing can be read; None where there was none.
        waiting: called about once a second while a read waits for the network.
    """

    def __init__(self, url: str, options: Options) -> None:
        self._fetch, size = _open(url, options)
        super().__init__(size)
        self._url = url
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._ahead: tuple[int, _Request] | None = None
        self.failure: VideoError | None = None
        self.waiting: Callable[[], object] = lambda: None

    def read(self, size: int = -1) -> bytes:
        """The next bytes; fewer than asked for at the end of the file only.

        Raises:
            VideoError: they cannot be read; all later reads raise it too.
        """
        if self.failure is not None:
            raise self.failure
        end = self.size if size is None or size < 0 else min(self.size, self._at + size)
        pieces = []
        while self._at < end:
            number, inside = divmod(self._at, BLOCK_BYTES)
            pieces.append(self._block(number)[inside : inside + end - self._at])
            self._at += len(pieces[-1])
        return b"".join(pieces)

    def close(self) -> None:
        """Frees the blocks in memory."""
        self._held.clear()
        self._ahead = None
        super().close()

    def _block(self, number: int) -> bytes:
        if number not in self._held:
            try:
                data = with_retries(lambda: self._request(number))
            except OSError as error:
                self.failure = read_error(error, self._url, "scan")
                raise self.failure from error
            self._hold(number, data)
        self._held.move_to_end(number)
        if self._ahead is not None and self._ahead[1].arrived:
            self._hold(self._ahead[0], self._ahead[1].data)
            self._ahead = None
        following = number + 1
        in_order = number - 1 in self._held
        if in_order and self._ahead is None and following not in self._held and following * BLOCK_BYTES < self.size:
            self._ahead = following, self._begin(following)
        return self._held[number]

    def _hold(self, number: int, data: bytes) -> None:
        self._held[number] = data
        while len(self._held) > BLOCKS_HELD - 1:
            self._held.popitem(last=False)

    def _begin(self, number: int) -> _Request:
        start = number * BLOCK_BYTES
        return _Request(self._fetch, start, min(start + BLOCK_BYTES, self.size))

    def _request(self, number: int) -> bytes:
        request = None
        if self._ahead is not None and self._ahead[0] == number:
            request, self._ahead = self._ahead[1], None
        return (request or self._begin(number)).result(self.waiting)


class _Request:
    """A request for one range, made in a thread of its own. The thread is a daemon, so it does not keep the process alive."""

    def __init__(self, fetch: Callable[[int, int], bytes], start: int, end: int) -> None:
        self.data = b""
        self._error: BaseException | None = OSError("the request was not answered")
        self._done = threading.Event()
        self._what = f"{end - start} bytes at {start}"
        self._began = time.monotonic()
        threading.Thread(target=self._run, args=(fetch, start, end), name="read", daemon=True).start()

    def _run(self, fetch: Callable[[int, int], bytes], start: int, end: int) -> None:
        try:
            self.data = fetch(start, end)
            self._error = None
        except client_errors() as error:
            self._error = error
        finally:
            self._done.set()

    @property
    def arrived(self) -> bool:
        """Whether the bytes have come."""
        return self._done.is_set() and self._error is None

    def result(self, waiting: Callable[[], object]) -> bytes:
        """Waits for the bytes and returns them; calls `waiting` every `LOOK_EVERY_S` meanwhile."""
        while not self._done.wait(LOOK_EVERY_S):
            waiting()
            if time.monotonic() - self._began > REQUEST_S:
                raise TimeoutError(f"{self._what} did not come within {REQUEST_S:g} s")
        if self._error is not None:
            raise self._error
        return self.data


def raise_read_failure(source: object) -> None:
    """Raises the error after which a `RemoteFile` could not be read any more, since libav may have taken it for the end of the video. Does
    nothing where there was none, or where `source` is no RemoteFile, and no piece of one.

    Raises:
        VideoError: the file could not be read to its end.
    """
    file = _remote(source)
    if file is not None and file.failure is not None:
        raise file.failure


def tell_while_waiting(source: object, tell: Callable[[], object]) -> None:
    """Has `tell` called about once a second while a read waits for the network, so that the guard does not take that for a hang. Does
    nothing where `source` is no RemoteFile, and no piece of one.
    """
    file = _remote(source)
    if file is not None:
        file.waiting = tell


def _remote(source: object) -> RemoteFile | None:
    """The remote file that a source is, or is a piece of."""
    file = source.file if isinstance(source, PartFile) else source
    return file if isinstance(file, RemoteFile) else None
