"""Versions of a folder: each publish makes a new DIR/vNNN, and then replaces DIR/LATEST, so readers see the old state or the new one.

    DIR/v001/...                 files of a version, and _rushes.json, which is written last
    DIR/LATEST -> v001           on a local disk a symbolic link, so DIR/LATEST/... can be opened; elsewhere a small file with the name

Files that a version has in common with the one before are hard links to the same bytes; copies where the disk makes no such link;
and on an object store copies that it makes itself.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rushes.errors import UsageError
from rushes.media import storage
from rushes.media.address import local_path
from rushes.media.error_translation import store_error, write_error
from rushes.media.faults import with_retries
from rushes.media.remote import filesystem
from rushes.publish.target import Record

LATEST = "LATEST"
NOTES = "_rushes.json"
"""The record of the publish, inside a version. Readers of folders of Parquet pass over names that begin so."""
NAME = re.compile(r"v(\d{3,})")


@dataclass(frozen=True, slots=True)
class Version:
    """A version that is complete.

    Attributes:
        name: such as `v001`.
        uri: its folder.
        record: of the publish that made it.
    """

    name: str
    uri: str
    record: Record


class Versions:
    """The versions of one folder.

    Args:
        folder: path or URL; made if absent.
        options: of its filesystem.
    """

    def __init__(self, folder: str, options: storage.Options) -> None:
        self.folder = (local_path(folder) or folder).rstrip("/")
        self.options = options
        self._path = local_path(self.folder)

    def latest(self) -> Version | None:
        """The version that readers see; None where there is none yet.

        Raises:
            UsageError: the folder holds other things. StorageError: it cannot be read.
        """
        name = self._latest_name()
        if name is None:
            if any(not NAME.fullmatch(entry) and not entry.startswith((".", LATEST)) for entry in self._entries()):
                mend = "name a new or empty folder, or one that rushes publish has made"
                raise UsageError(f"{self.folder} is not empty, and has no {LATEST}", step="publish", mend=mend)
            return None
        uri = f"{self.folder}/{name}"
        try:
            with storage.ranges(f"{uri}/{NOTES}", self.options) as read:
                size = storage.stat(f"{uri}/{NOTES}", self.options).size or 0
                return Version(name, uri, Record.of_json(read(0, size).decode()))
        except OSError as error:
            raise store_error(error, f"{uri}/{NOTES}") from error

    def begin(self) -> Draft:
        """A new version, numbered after the newest one; removes what publishes that were killed have left."""
        latest = self.latest()
        number = int(latest.name[1:]) if latest else 0
        for name in self._names():
            if int(name[1:]) > number:
                self._remove(name)
        return Draft(self, latest, f"v{number + 1:03d}")

    def commit(self, name: str, keep: int) -> None:
        """Makes a version the one that readers see, and removes all but the newest `keep`."""
        if self._path is None:
            storage.put_atomic(f"{self.folder}/{LATEST}", name.encode() + b"\n", self.options)
        else:
            link = os.path.join(self._path, f".{LATEST}.{os.getpid()}.tmp")
            try:
                Path(link).unlink(missing_ok=True)
                os.symlink(name, link)
                os.replace(link, os.path.join(self._path, LATEST))
                _sync(self._path)
            except OSError as error:
                raise write_error(error, f"{self.folder}/{LATEST}") from error
        for old in self._names()[:-keep]:
            self._remove(old)

    def _latest_name(self) -> str | None:
        uri = f"{self.folder}/{LATEST}"
        if self._path is not None:
            try:
                return os.readlink(os.path.join(self._path, LATEST))
            except OSError:
                return None
        if not storage.exists(uri, self.options):
            return None
        with storage.ranges(uri, self.options) as read:
            return read(0, 64).decode().strip()

    def _entries(self) -> list[str]:
        """The first parts of the names of all that lies in the folder."""
        if self._path is not None:
            return sorted(os.listdir(self._path)) if os.path.isdir(self._path) else []
        found = storage.listing(self.folder, self.options)
        return sorted({file.uri[len(self.folder) + 1 :].split("/", 1)[0] for file in found})

    def _names(self) -> list[str]:
        return sorted((name for name in self._entries() if NAME.fullmatch(name)), key=lambda name: int(name[1:]))

    def _remove(self, name: str) -> None:
        """Removes a version; its record first, so that what a kill leaves of it is no version."""
        uri = f"{self.folder}/{name}"
        storage.remove(f"{uri}/{NOTES}", self.options)
        if self._path is not None:
            shutil.rmtree(os.path.join(self._path, name), ignore_errors=True)
            return
        for file in list(storage.listing(uri, self.options)):
            storage.remove(file.uri, self.options)


class Folder:
    """A folder that files are written into, at `uri`; `bytes` counts what was written, not what was linked or there already."""

    def __init__(self, uri: str, options: storage.Options) -> None:
        self.uri, self.options, self.bytes = uri, options, 0

    def put(self, name: str, data: bytes | Callable[[BinaryIO], None], *, same: bool = False) -> None:
        """Writes a file; a local one that has these bytes is left alone. `name` may have folders; `same`: nothing of what it tells has
        changed.
        """
        path = local_path(f"{self.uri}/{name}")
        if path is None or not isinstance(data, bytes) or not Path(path).is_file() or Path(path).read_bytes() != data:
            self.bytes += storage.put_atomic(f"{self.uri}/{name}", data, self.options)


class Draft(Folder):
    """A version that is being written.

    Attributes:
        name: such as `v002`.
        before: the version that readers see meanwhile; None: there is none.
    """

    def __init__(self, versions: Versions, before: Version | None, name: str) -> None:
        super().__init__(f"{versions.folder}/{name}", versions.options)
        self._versions = versions
        self.before, self.name = before, name

    def put(self, name: str, data: bytes | Callable[[BinaryIO], None], *, same: bool = False) -> None:
        """Writes a file of the version; where nothing has changed, it is that of the version before."""
        if same:
            self.keep(name)
        else:
            super().put(name, data)

    def keep(self, name: str) -> None:
        """Takes a file of the version before as it is.

        Raises:
            StorageError: it cannot be linked or copied.
        """
        assert self.before is not None
        link_or_copy(f"{self.before.uri}/{name}", f"{self.uri}/{name}", self.options)

    def commit(self, record: Record, keep: int) -> None:
        """Makes this version the one that readers see; all but the newest `keep` versions go."""
        self.put(NOTES, record.as_json().encode() + b"\n")
        self._versions.commit(self.name, keep)


@contextmanager
def opened_file(uri: str, options: storage.Options) -> Iterator[BinaryIO]:
    """A file open for reading, by path or URL."""
    path = local_path(uri)
    if path is not None:
        with open(path, "rb") as local:
            yield local
        return
    fs, inner = filesystem(uri, options)
    with fs.open(inner, "rb") as remote:
        yield remote


def link_or_copy(source: str, target: str, options: storage.Options) -> None:
    """Gives the bytes of a file a second name: a hard link; a copy where the disk makes none; on an object store one that it
    makes itself.

    Raises:
        StorageError: there is no such file, or no right to do it.
    """
    old, new = local_path(source), local_path(target)
    try:
        if old is None or new is None:
            fs, inner = filesystem(source, options)
            with_retries(lambda: fs.cp_file(inner, filesystem(target, options)[1]))
            return
        os.makedirs(os.path.dirname(new), exist_ok=True)
        try:
            os.link(old, new)
        except OSError:
            shutil.copyfile(old, new)
    except OSError as error:
        raise write_error(error, target) from error


def _sync(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
