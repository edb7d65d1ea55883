"""What the operating system or a storage client says, in our tree of errors and with a mend."""

from __future__ import annotations

import errno
import os
import shutil

from rushes.errors import MissingExtra, ProbeError, StorageError
from rushes.media.address import local_path, public_uri

_FULL = {errno.ENOSPC, errno.EDQUOT}


def reason(error: OSError) -> tuple[str, str, bool]:
    """(what went wrong, the mend, whether it stays so) of a failed look at a file."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file", "check the name, or take it out of the footage", True
    if isinstance(error, PermissionError):
        return "no permission to read it", "give this user the right to read it, or check the credentials of the store", True
    if isinstance(error, IsADirectoryError):
        return "it is a folder, not a file", "name the files, or give the folder itself as footage", True
    return f"it cannot be read: {error.strerror or error}", "check the disk or the connection, then run again", False


def read_error(error: OSError, uri: str, step: str = "probe") -> ProbeError:
    """The failed row of a video whose bytes cannot be had; `permanent` is False where a later run may succeed."""
    what, mend, permanent = reason(error)
    mishap = ProbeError(what, uri=public_uri(uri), step=step, mend=mend)
    mishap.permanent = permanent
    return mishap


def write_error(error: OSError, uri: str) -> StorageError:
    """Why a store cannot be written; for a full disk with the space that is left."""
    if error.errno in _FULL:
        what, mend = f"no space left to write{_free(uri)}", "free space on this disk, then run the same command again"
    elif isinstance(error, PermissionError):
        what, mend = "no permission to write", "give this user the right to write there, or check the store's credentials"
    elif isinstance(error, NotADirectoryError | FileExistsError):
        what, mend = "a file stands where a folder is needed", "choose another --out folder"
    else:
        what, mend = f"cannot be written: {error.strerror or error}", "check the disk or the connection, then run again"
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
    """Which package opens this protocol."""
    from fsspec.registry import known_implementations

    known = known_implementations.get(protocol)
    if known is None:
        kinds = "s3, gs, az, oss, tos, http, https, hf"
        mend = f"use a local path or one of {kinds}"
        return MissingExtra(f'no storage is known by the protocol "{protocol}"', uri=public_uri(uri), mend=mend)
    package = known["class"].split(".")[0]
    packages = "aiohttp requests" if package == "fsspec" and protocol.startswith("http") else package
    if isinstance(error, ImportError):
        return MissingExtra(f"{protocol}:// needs a package that is not installed", uri=public_uri(uri), mend=f"pip install {packages}")
    return MissingExtra(f"{protocol}:// cannot be opened: {error}", uri=public_uri(uri), mend=f"check [storage.{protocol}] in the recipe")
