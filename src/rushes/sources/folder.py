"""Files of a local folder, without hidden entries."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection

from rushes.errors import ProbeError
from rushes.media.address import public_uri
from rushes.media.error_translation import read_error
from rushes.sources.found import Footage, FootageCollector
from rushes.sources.suffixes import is_video, suffix_of


def walk(folder: str, collector: FootageCollector, exclude: Collection[str] = ()) -> None:
    """Takes every video of a folder and of the folders in it, and counts the other files.

    Links are followed, but each real folder is entered once. A folder or a video that cannot be read is taken with the reason.

    Args:
        folder: an existing folder.
        collector: takes what is found.
        exclude: absolute paths of folders not to enter, such as the run's own store.
    """
    visited: set[tuple[int, int]] = set()
    waiting = [os.path.abspath(folder)]
    while waiting:
        here = waiting.pop()
        try:
            info = os.stat(here)
            if (info.st_dev, info.st_ino) in visited or here in exclude:
                continue
            visited.add((info.st_dev, info.st_ino))
            with os.scandir(here) as entries:
                shown = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            take_unreadable(here, error, collector)
            continue
        folders = []
        for entry in shown:
            try:
                is_folder = entry.is_dir()
            except OSError as error:  # a link in a circle, or into a folder that one may not enter
                if is_video(entry.name) or (isinstance(error, PermissionError) and not suffix_of(entry.name)):
                    take_unreadable(entry.path, error, collector)
                else:
                    collector.pass_over(entry.path)
                continue
            if is_folder:
                folders.append(entry.path)
            elif is_video(entry.name):
                take_local(entry.path, collector)
            else:
                collector.pass_over(entry.path)
        waiting.extend(sorted(folders, reverse=True))


def take_local(path: str, collector: FootageCollector) -> None:
    """Takes one local file with its size and time of change; one that is not there or is no regular file is taken with the reason."""
    try:
        info = os.stat(path)
    except OSError as error:
        take_unreadable(path, error, collector)
        return
    if not os.path.isfile(path):
        if os.path.isdir(path):
            take_unreadable(path, IsADirectoryError(), collector)
            return
        odd = ProbeError("it is no regular file", uri=public_uri(path), step="probe", mend="name a file or a folder")
        collector.take(Footage(public_uri(path), None, "", address=path), odd)
    elif not os.access(path, os.R_OK):
        take_unreadable(path, PermissionError(), collector)
    else:
        collector.take(Footage(public_uri(path), info.st_size, str(info.st_mtime_ns), address=path))


def take_unreadable(address: str, error: OSError, collector: FootageCollector) -> None:
    """Takes a file that cannot be looked at, with the reason, so that the run has a failed row for it."""
    if leads_nowhere(address, error):
        mend = "mend the link, or take it out of the footage"
        found = ProbeError("the link leads nowhere", uri=public_uri(address), step="probe", mend=mend)
    else:
        found = read_error(error, address)
    collector.take(Footage(public_uri(address), None, "", address=address), found)


def leads_nowhere(path: str, error: OSError) -> bool:
    """Whether an error means that a link leads to nothing, or in a circle."""
    return error.errno == errno.ELOOP or (isinstance(error, FileNotFoundError) and os.path.islink(path))
