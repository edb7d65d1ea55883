"""The one door to bytes: local paths and fsspec URLs, opened with ranged reads, written whole or not at all.

Storage options are the recipe's `[storage]` table: protocol -> keyword arguments of that fsspec filesystem.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from rushes.errors import ProbeError
from rushes.media.address import directory_of, local_path, protocol_of, public_uri
from rushes.media.mishap import missing_package, write_error

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Options = Mapping[str, Mapping[str, Any]]
"""protocol ("s3", "http") -> options handed to fsspec."""

BLOCK_BYTES = 2 << 20
BLOCKS_HELD = 16
"""Remote reads: 2 MiB requests, 16 of them kept (32 MiB a worker). A whole scan reads each block once even where audio and video lie
apart, and a probe of a file with its index at the end costs a few blocks. fsspec's default cache reads such files about twice."""
STAMP_KEYS = (
    *("ETag", "etag", "md5Hash", "content_md5", "Content-MD5"),
    *("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "created"),
)
"""What the filesystems call a file's version, best first."""


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file as a listing shows it.

    Attributes:
        uri: the address as it may be shown and stored (see `public_uri`).
        size: bytes; None where the server does not say.
        stamp: changes when the file does: ETag or time of change as text; "" where the server gives neither.
    """

    uri: str
    size: int | None
    stamp: str


def filesystem(url: str, options: Options) -> tuple[AbstractFileSystem, str]:
    """The filesystem of a URL and the path inside it.

    Raises:
        MissingExtra: the protocol's package is not installed, or no such protocol is known.
    """
    from fsspec.core import url_to_fs

    protocol = protocol_of(url) or "file"
    try:
        fs, path = url_to_fs(url, **options.get(protocol, {}))
    except (ImportError, ValueError) as error:
        raise missing_package(protocol, url, error) from error
    return fs, str(path)


def stat(uri: str, options: Options) -> FileStat:
    """Size and version of one file, without opening it.

    Raises:
        OSError: not there, no permission, no connection; `mishap.read_error` gives it words.
        MissingExtra: the protocol's package is not installed.
    """
    path = local_path(uri)
    if path is not None:
        return _local_stat(path, os.stat(path))
    fs, inner = filesystem(uri, options)
    info = fs.info(inner)
    if info.get("type") == "directory":
        raise IsADirectoryError(f"{public_uri(uri)} is a folder")
    return _remote_stat(uri, info)


def _local_stat(path: str, info: os.stat_result) -> FileStat:
    return FileStat(public_uri(path), info.st_size, str(info.st_mtime_ns))


def _remote_stat(url: str, info: Mapping[str, Any]) -> FileStat:
    stamp = next((str(info[key]) for key in STAMP_KEYS if info.get(key)), "")
    size = info.get("size")
    return FileStat(public_uri(url), None if size is None else int(size), stamp)


def open_seekable(uri: str, options: Options) -> str | BinaryIO:
    """What `av.open` can read: a plain path for local files (libav reads those itself), else a seekable file object with ranged reads.

    Close the file object after use. A local name that is no valid UTF-8 comes as a file object too, since libav's door takes text.

    Raises:
        OSError: the file cannot be opened.
        ProbeError: the server offers no ranged reads.
    """
    path = local_path(uri)
    if path is not None:
        return path if _is_utf8(path) else open(os.fsencode(path), "rb")
    fs, inner = filesystem(uri, options)
    file = fs.open(inner, "rb", block_size=BLOCK_BYTES, cache_type="blockcache", cache_options={"maxblocks": BLOCKS_HELD})
    if not file.seekable():
        file.close()
        mend = "copy the file to a local disk or an object store"
        raise ProbeError("the server gives no ranged reads", uri=public_uri(uri), step="probe", mend=mend)
    return cast(BinaryIO, file)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def ranges(uri: str, options: Options) -> Iterator[Callable[[int, int], bytes]]:
    """A reader of byte ranges: `read(start, length)`; nothing but what is asked for is read. Short at the end of the file."""
    path = local_path(uri)
    if path is None:
        fs, inner = filesystem(uri, options)
        yield lambda start, length: cast(bytes, fs.cat_file(inner, start=start, end=start + length))
        return
    with open(path, "rb", buffering=0) as file:

        def read(start: int, length: int) -> bytes:
            return os.pread(file.fileno(), length, start)

        yield read


def exists(uri: str, options: Options) -> bool:
    """Whether a file is there."""
    path = local_path(uri)
    if path is not None:
        return os.path.isfile(path)
    fs, inner = filesystem(uri, options)
    return bool(fs.isfile(inner))


def put_atomic(uri: str, data: bytes | Callable[[BinaryIO], None], options: Options) -> int:
    """Writes a file so that it appears complete or not at all; an older one is replaced.

    Local: a hidden temporary name that does not end in the file's suffix, in the same folder (made if missing), fsync, rename.
    Object stores: one PUT (one completed multipart upload when large).

    Args:
        uri: path or URL of the file.
        data: its bytes, or a function that writes them into a binary file.
        options: storage options.

    Returns:
        The file's size in bytes.

    Raises:
        StorageError: disk full, no permission, or no connection.
    """
    path = local_path(uri)
    try:
        if path is not None:
            return _put_local(path, data)
        if isinstance(data, bytes):
            fs, inner = filesystem(uri, options)
            fs.pipe_file(inner, data)
            return len(data)
        with tempfile.NamedTemporaryFile(prefix="rushes-") as scratch:
            data(cast(BinaryIO, scratch))
            scratch.flush()
            return _put_remote(scratch.name, uri, options)
    except OSError as error:
        raise write_error(error, uri) from error


def _put_local(path: str, data: bytes | Callable[[BinaryIO], None]) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with open(temporary, "wb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                data(file)
            file.flush()
            os.fsync(file.fileno())
            size = file.seek(0, io.SEEK_END)
        _rename(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return size


def _rename(temporary: str, path: str) -> None:
    os.replace(temporary, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _put_remote(scratch: str, url: str, options: Options) -> int:
    fs, inner = filesystem(url, options)
    fs.put_file(scratch, inner)
    return os.path.getsize(scratch)


def temporary_beside(path: str) -> str:
    """A hidden name in the folder of `path`, of this process alone, that ends in .tmp."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{os.getpid()}.tmp")


@contextmanager
def scratch_for(uri: str) -> Iterator[str]:
    """A local path to write a large file at before `publish`: beside a local target, in the temporary folder for a remote one.

    Whatever lies there at the end is removed.
    """
    path = local_path(uri)
    if path is not None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = temporary_beside(path)
        try:
            yield temporary
        finally:
            Path(temporary).unlink(missing_ok=True)
        return
    folder = tempfile.mkdtemp(prefix="rushes-")
    try:
        yield os.path.join(folder, os.path.basename(uri))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(scratch: str, uri: str, options: Options) -> int:
    """Moves a file written at `scratch_for(uri)` to its place: fsync and rename, or one PUT. Returns its size in bytes.

    Raises:
        StorageError: disk full, no permission, or no connection.
    """
    path = local_path(uri)
    try:
        if path is None:
            return _put_remote(scratch, uri, options)
        with open(scratch, "rb") as file:
            os.fsync(file.fileno())
        size = os.path.getsize(scratch)
        _rename(scratch, path)
    except OSError as error:
        raise write_error(error, uri) from error
    return size


def remove(uri: str, options: Options) -> None:
    """Removes a file; one that is not there is no error.

    Raises:
        StorageError: no permission, or no connection.
    """
    path = local_path(uri)
    try:
        if path is not None:
            Path(path).unlink(missing_ok=True)
            return
        fs, inner = filesystem(uri, options)
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(inner)
    except OSError as error:
        raise write_error(error, uri) from error


def listing(prefix: str, options: Options, suffix: str = "") -> Iterator[FileStat]:
    """All files under a folder or prefix whose name ends in `suffix`, without hidden ones, in no order; none where there is no folder."""
    path = local_path(prefix)
    if path is not None:
        yield from _local_listing(path, suffix)
        return
    fs, inner = filesystem(prefix, options)
    found = fs.find(inner, detail=True)
    for name, info in found.items():
        if name.endswith(suffix) and not any(part.startswith(".") for part in name[len(inner.rstrip("/")) :].split("/")):
            yield _remote_stat(directory_of(prefix) + name[len(inner.rstrip("/")) :].lstrip("/"), info)


def _local_listing(folder: str, suffix: str) -> Iterator[FileStat]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _local_listing(entry.path, suffix)
            elif entry.name.endswith(suffix):
                try:
                    yield _local_stat(entry.path, entry.stat())
                except FileNotFoundError:  # gone between the listing and the look
                    continue
