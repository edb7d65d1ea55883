"""Translates errors of the operating system and of storage clients into the errors of `rushes.errors`, with how to mend them."""

from __future__ import annotations

import errno
import os
import shutil

from rushes.errors import MissingExtra, ProbeError, StorageError
from rushes.media.address import local_path, public_uri
from rushes.media.faults import NoRangedReads, kind_of, message_of

EXTRAS = {
    **{"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"},
    **{"http": "http", "https": "http", "hf": "hf"},
}
"""protocol -> the extra of this package that opens it."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_RENEW = "renew them where this store's client looks for them (environment, profile, [storage]: see docs/storage.md), then run again"


def reason(error: OSError) -> tuple[str, str, bool]:
    """(what went wrong, how to mend it, whether the next run would meet it again) where a file could not be looked at or read."""
    kind = kind_of(error)
    if kind == "credentials":
        return f"the credentials for this store are not accepted, have expired, or are missing: {message_of(error)}", _RENEW, False
    if kind == "changed":
        return "it changed while it was read", "wait until it is complete, then run again", False
    if isinstance(error, NoRangedReads):
        return "the server gives no ranged reads", "copy the file to a local disk or an object store", True
    if isinstance(error, FileNotFoundError):
        return "there is no such file", "check the name, or take it out of the footage", True
    if isinstance(error, PermissionError) or kind == "refused":
        said = "" if error.__cause__ is None else f": {message_of(error)}"
        mend = "give this user the right to read it, or check the credentials of the store"
        lasting = not said  # so for a local file; the rights in a store may change without the file
        return f"no permission to read it{said}", mend, lasting
    if isinstance(error, IsADirectoryError):
        return "it is a folder, not a file", "name the files, or give the folder itself as footage", True
    return f"it cannot be read: {message_of(error)}", "check the disk or the connection, then run again", False


def read_error(error: OSError, uri: str, step: str = "probe") -> ProbeError:
    """The error of a video whose bytes cannot be read; its `permanent` is False where a later run may succeed."""
    what, mend, permanent = reason(error)
    found = ProbeError(what, uri=public_uri(uri), step=step, mend=mend)
    found.permanent = permanent
    return found


def write_error(error: OSError, uri: str) -> StorageError:
    """The error of a store that cannot be written; it says how much space is left where the disk is full."""
    kind = kind_of(error)
    if kind == "credentials":
        what, mend = f"the credentials for this store are not accepted, have expired, or are missing: {message_of(error)}", _RENEW
    elif error.errno in _FULL:
        what, mend = f"no space left to write{_free(uri)}", "free space on this disk, then run the same command again"
    elif isinstance(error, PermissionError) or kind == "refused":
        what, mend = "no permission to write", "give this user the right to write there, or check the store's credentials"
    elif isinstance(error, NotADirectoryError | FileExistsError):
        what, mend = "a file stands where a folder is needed", "choose another --out folder"
    else:
        what, mend = f"cannot be written: {message_of(error)}", "check the disk or the connection, then run again"
    return StorageError(what, uri=public_uri(uri), step="store", mend=mend)


def store_error(error: OSError, uri: str) -> StorageError:
    """The error of a store that cannot be read or listed."""
    what, mend, _ = reason(error)
    return StorageError(what, uri=public_uri(uri), step="store", mend=mend)


def _free(uri: str) -> str:
    path = local_path(uri)
    while path and not os.path.isdir(path):
        path = os.path.dirname(path)
    if not path:
        return ""
    usage = shutil.disk_usage(path)
    return f" ({usage.free / 1e6:.1f} MB free of {usage.total / 1e9:.1f} GB)"


def missing_package(protocol: str, uri: str, error: Exception) -> MissingExtra:
    """The error of a URL whose protocol cannot be opened: no such protocol, a package that is missing, or options that do not fit."""
    from fsspec.registry import known_implementations

    known = known_implementations.get(protocol)
    if known is None:
        kinds = "s3, gs, az, oss, tos, http, https, hf"
        mend = f"use a local path or one of {kinds}"
        return MissingExtra(f'no storage is known by the protocol "{protocol}"', uri=public_uri(uri), mend=mend)
    packages = known["class"].split(".")[0]
    if protocol in EXTRAS:
        packages = f"'rushes[{EXTRAS[protocol]}]'"
    if isinstance(error, ImportError):
        return MissingExtra(f"{protocol}:// needs a package that is not installed", uri=public_uri(uri), mend=f"pip install {packages}")
    return MissingExtra(f"{protocol}:// cannot be opened: {error}", uri=public_uri(uri), mend=f"check [storage.{protocol}] in the recipe")
