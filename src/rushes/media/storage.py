"""Reads and writes of files by path or fsspec URL: ranged reads, and writes that appear complete or not at all.

A piece of a file, such as a video inside a tar, is read by a uri of its own (`address.range_uri`), as if it were a file.

Storage options are the recipe's `[storage]` table: protocol -> keyword arguments of that fsspec filesystem. Requests that fail for a
transient reason are retried (see `faults.py`).
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from rushes.media.address import directory_of, local_path, public_uri, split_range
from rushes.media.atomic import put_local, rename, temporary_beside
from rushes.media.error_translation import read_error, store_error, write_error
from rushes.media.faults import kind_of, with_retries
from rushes.media.listing import files_like, files_under
from rushes.media.part_file import PartFile
from rushes.media.remote import Options, RemoteFile, filesystem, range_reader

__all__ = [
    "FileStat",
    "Options",
    "exists",
    "filesystem",
    "folders",
    "listing",
    "matching",
    "open_seekable",
    "publish",
    "put_atomic",
    "ranges",
    "remove",
    "scratch_for",
    "stat",
]

STAMP_KEYS = (
    *("ETag", "etag", "md5Hash", "content_md5", "Content-MD5"),
    *("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "created"),
)
"""Keys under which fsspec filesystems give a file's version: content hashes first, then times of change."""


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


def stat(uri: str, options: Options) -> FileStat:
    """Size and version of one file, without opening it.

    Raises:
        OSError: not there, no permission, no connection; `error_translation.read_error` makes an error of ours from it.
        MissingExtra: the protocol's package is not installed.
    """
    file, piece = split_range(uri)
    if piece is not None:
        whole = stat(file, options)
        if whole.size is not None and sum(piece) > whole.size:
            raise OSError(errno.EINVAL, f"{public_uri(file)} has {whole.size} bytes, and no piece up to {sum(piece)}")
        return FileStat(public_uri(uri), piece[1], whole.stamp)
    path = local_path(uri)
    if path is not None:
        return _local_stat(path, os.stat(path))
    fs, inner = filesystem(uri, options)
    try:
        info = with_retries(lambda: fs.info(inner))
    except OSError as error:
        if kind_of(error) in ("refused", "other"):  # the answer to HEAD has no body: only a GET says what is wrong
            with_retries(lambda: fs.cat_file(inner, start=0, end=1))
        raise
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

    Close the file object after use. A local name that is not valid UTF-8 is opened as a file object too, since `av.open` takes text only.

    Raises:
        VideoError: a remote file is not there or cannot be reached, or its server offers no ranged reads. Reading it raises VideoError too;
            `remote.raise_read_failure` tells afterwards whether it did.
    """
    file, piece = split_range(uri)
    if piece is not None:
        whole = open_seekable(file, options)
        try:
            opened = open(os.fsencode(whole), "rb") if isinstance(whole, str) else whole  # noqa: SIM115 - PartFile closes it
        except OSError as error:
            raise read_error(error, uri, "scan") from error
        return cast(BinaryIO, PartFile(opened, *piece))
    path = local_path(uri)
    if path is not None:
        return path if _is_utf8(path) else open(os.fsencode(path), "rb")
    try:
        return cast(BinaryIO, RemoteFile(uri, options))
    except OSError as error:
        raise read_error(error, uri, "scan") from error


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def ranges(uri: str, options: Options, size: int | None = None) -> Iterator[Callable[[int, int], bytes]]:
    """Gives a function `read(start, length)` that reads exactly these bytes of the file, fewer only at its end.

    With the file's `size` in bytes, an answer of a server that is too short is asked for again.
    """
    name, piece = split_range(uri)
    if piece is not None:
        first, n = piece
        with ranges(name, options) as of_file:
            yield lambda start, length: of_file(first + start, max(0, min(length, n - start)))
        return
    path = local_path(uri)
    if path is None:
        yield range_reader(uri, options, size)
        return
    with open(path, "rb", buffering=0) as file:

        def read(start: int, length: int) -> bytes:
            return os.pread(file.fileno(), length, start)

        yield read


def exists(uri: str, options: Options) -> bool:
    """Whether a file is there.

    Raises:
        StorageError: the store does not say.
    """
    path = local_path(uri)
    if path is not None:
        return os.path.isfile(path)
    try:
        stat(uri, options)
    except (FileNotFoundError, IsADirectoryError):
        return False
    except OSError as error:
        raise store_error(error, uri) from error
    return True


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
            return put_local(path, data)
        if isinstance(data, bytes):
            fs, inner = filesystem(uri, options)
            with_retries(lambda: fs.pipe_file(inner, data))
            return len(data)
        with tempfile.NamedTemporaryFile(prefix="rushes-") as scratch:
            data(cast(BinaryIO, scratch))
            scratch.flush()
            return _put_remote(scratch.name, uri, options)
    except OSError as error:
        raise write_error(error, uri) from error


def _put_remote(scratch: str, url: str, options: Options) -> int:
    fs, inner = filesystem(url, options)
    with_retries(lambda: fs.put_file(scratch, inner))
    return os.path.getsize(scratch)


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
        rename(scratch, path)
    except OSError as error:
        raise write_error(error, uri) from error
    return size


def remove(uri: str, options: Options) -> None:
    """Removes one file; does nothing where there is none.

    Raises:
        StorageError: no permission, or no connection.
    """
    path = local_path(uri)
    try:
        if path is not None:
            Path(path).unlink(missing_ok=True)
            return
        fs, inner = filesystem(uri, options)
        with suppress(FileNotFoundError):
            with_retries(lambda: fs.rm_file(inner))
    except OSError as error:
        raise write_error(error, uri) from error


def listing(prefix: str, options: Options, suffix: str = "", beginning: str = "") -> Iterator[FileStat]:
    """All files under a folder or prefix whose name ends in `suffix`, without hidden ones, in no order; none where there is no folder.

    With `beginning`, only entries directly in the folder whose name begins so are listed, and what lies below them; S3 then sends no
    others.

    Raises:
        OSError: the store cannot be listed.
    """
    path = local_path(prefix)
    if path is not None:
        yield from _local_listing(path, suffix, beginning)
        return
    fs, inner = filesystem(prefix, options)
    base = inner.rstrip("/")
    for entry in files_under(fs, base, beginning):
        if entry["name"].endswith(suffix):
            yield _remote_stat(directory_of(prefix) + entry["name"][len(base) :].lstrip("/"), entry)


def folders(prefix: str, options: Options) -> list[str]:
    """The folders directly in a folder, by address, without hidden ones; none where there is no such folder.

    Raises:
        StorageError: it cannot be listed.
    """
    path = local_path(prefix)
    try:
        if path is not None:
            return sorted(entry.path for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
        fs, inner = filesystem(prefix, options)
        found = with_retries(lambda: fs.ls(inner, detail=True))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise store_error(error, prefix) from error
    names = (entry["name"].rstrip("/").rpartition("/")[2] for entry in found if entry["type"] == "directory")
    return sorted(directory_of(prefix) + name for name in names)


def matching(pattern: str, options: Options) -> Iterator[FileStat]:
    """The files behind a URL with * ? [ or **, in no order.

    Raises:
        OSError: the store cannot be listed.
    """
    fs, inner = filesystem(pattern, options)
    for entry in files_like(fs, inner):
        yield _remote_stat(str(fs.unstrip_protocol(entry["name"])), entry)


def _local_listing(folder: str, suffix: str, beginning: str = "") -> Iterator[FileStat]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.name.startswith(beginning):
                continue
            try:
                is_folder = entry.is_dir()
                found = None if is_folder or not entry.name.endswith(suffix) else _local_stat(entry.path, entry.stat())
            except OSError as error:
                if isinstance(error, FileNotFoundError) or error.errno == errno.ELOOP:  # removed meanwhile, or a link that leads nowhere
                    continue
                raise
            if is_folder:
                yield from _local_listing(entry.path, suffix)
            elif found is not None:
                yield found
