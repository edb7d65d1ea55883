"""Writes that happen only if nobody else wrote meanwhile: create if absent, replace if unchanged. For small files such as a lease.

How it is done depends on the storage. A local file is compared and renamed under a lock. Object stores that offer conditional requests are
sent such requests (`cloud_conditional.py`). Everywhere else the file is read, compared and written, and another writer may come in between:
`exact` is then False, and the caller must read the file again after a pause to see whether what it wrote is still there.

    file = conditional("s3://bucket/store/lease.json", options)
    token = file.create(b"mine")                 None: there is one already
    token = file.replace(b"mine, later", token)  None: another wrote since, or the file is gone
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rushes.media import storage
from rushes.media.address import local_path, protocol_of

LOCK_WAIT_S = 5.0
"""How long the lock of a local file is waited for. It is held for a read and a rename."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


@dataclass(frozen=True, slots=True)
class Version:
    """A file as it was read: its bytes, and a token that changes whenever the file does."""

    data: bytes
    token: str


class Conditional(Protocol):
    """One file that is written only under a condition. Each content written must differ from all before it (by a nonce or a counter), since
    tokens may be hashes of the content.

    Every method raises OSError, or the error of the storage's own library, when the store cannot be reached or refuses this user.
    """

    exact: bool
    """True where the storage itself checks the condition, so that of two writers only one succeeds. Certain after the first write."""

    def read(self) -> Version | None:
        """The file now; None where there is none."""

    def create(self, data: bytes) -> str | None:
        """Writes the file if there is none; gives its token, None where there is one."""

    def replace(self, data: bytes, token: str) -> str | None:
        """Writes the file if it is still the one of this token; gives the new token, None where it changed or is gone."""

    def remove(self, token: str) -> None:
        """Removes the file if it still has this token. Only the one who may write the file calls this, since not every
        storage keeps another from writing between the comparison and the removal.
        """


def conditional(uri: str, options: storage.Options) -> Conditional:
    """The file at `uri`, written by the means that its storage offers.

    Raises:
        MissingExtra: the protocol's package is not installed.
    """
    path = local_path(uri)
    if path is not None:
        return LocalFile(path)
    kind = protocol_of(uri)
    if kind in ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"):
        from rushes.media.cloud_conditional import S3, Azure, Google

        fs, inner = storage.filesystem(uri, options)
        if kind in ("s3", "s3a"):
            return S3(fs, inner)
        return Google(fs, inner) if kind in ("gs", "gcs") else Azure(fs, inner)
    return PlainFile(uri, options)


def token_of(data: bytes) -> str:
    """The token of a content where the storage gives none."""
    return hashlib.sha256(data).hexdigest()


class LocalFile:
    """A file on a mounted disk. It is written under another name and then linked or renamed, so that a reader never sees a part of it.

    Comparing and renaming happen under flock(2) of a hidden file beside it, which the kernel frees when a process dies. On NFS, Linux turns
    flock into a lock on the server (since 2.6.12; see flock(2), "NFS details"); creation is by link(2) besides, which is exclusive on any
    NFS. Where locks are refused, `exact` becomes False.
    """

    def __init__(self, path: str) -> None:
        self.exact = True
        self._path = path

    def read(self) -> Version | None:
        """See `Conditional`."""
        try:
            data = Path(self._path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Version(data, token_of(data))

    def create(self, data: bytes) -> str | None:
        """See `Conditional`."""
        with self._locked(), self._written(data) as temporary:
            try:
                os.link(temporary, self._path)
            except FileExistsError:
                return None
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if os.path.lexists(self._path):
                    return None
                os.rename(temporary, self._path)
        return token_of(data)

    def replace(self, data: bytes, token: str) -> str | None:
        """See `Conditional`."""
        with self._locked():
            found = self.read()
            if found is None or found.token != token:
                return None
            with self._written(data) as temporary:
                os.rename(temporary, self._path)
        return token_of(data)

    def remove(self, token: str) -> None:
        """See `Conditional`."""
        with self._locked():
            found = self.read()
            if found is not None and found.token == token:
                os.unlink(self._path)

    @contextmanager
    def _written(self, data: bytes) -> Iterator[str]:
        folder, name = os.path.split(self._path)
        temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp")
        try:
            Path(temporary).write_bytes(data)
            yield temporary
        finally:
            Path(temporary).unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder, name = os.path.split(self._path)
        handle = os.open(os.path.join(folder, f".{name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._lock(handle)
            yield
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self._path} has been locked by another process for {LOCK_WAIT_S:.0f} s") from error
                time.sleep(0.005)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                self.exact = False
                return None


class PlainFile:
    """A file of a storage without conditional writes: read, compare, write. Of two that write at the same moment, both may
    take themselves for the first.
    """

    def __init__(self, uri: str, options: storage.Options) -> None:
        self.exact = False
        self._uri = uri
        self._options = options

    def read(self) -> Version | None:
        """See `Conditional`."""
        fs, inner = storage.filesystem(self._uri, self._options)
        try:
            data = bytes(fs.cat_file(inner))
        except FileNotFoundError:
            return None
        return Version(data, token_of(data))

    def create(self, data: bytes) -> str | None:
        """See `Conditional`."""
        return self._write(data) if self.read() is None else None

    def replace(self, data: bytes, token: str) -> str | None:
        """See `Conditional`."""
        found = self.read()
        return self._write(data) if found is not None and found.token == token else None

    def remove(self, token: str) -> None:
        """See `Conditional`."""
        found = self.read()
        if found is not None and found.token == token:
            fs, inner = storage.filesystem(self._uri, self._options)
            with contextlib.suppress(FileNotFoundError):
                fs.rm_file(inner)

    def _write(self, data: bytes) -> str:
        fs, inner = storage.filesystem(self._uri, self._options)
        fs.pipe_file(inner, data)
        return token_of(data)
