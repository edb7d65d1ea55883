"""Files of a local folder, without hidden entries."""

from __future__ import annotations

import os
from collections.abc import Collection

from rushes.media.address import public_uri
from rushes.media.error_translation import reason
from rushes.sources.found import Finds, Footage
from rushes.sources.suffixes import is_video


def walk(folder: str, finds: Finds, exclude: Collection[str] = ()) -> None:
    """Takes every video of a folder and its folders; counts the other files.

    Links are followed, each real folder once. A folder or a video that cannot be read is taken with a message.

    Args:
        folder: an existing folder.
        finds: where findings go.
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
            take_unreadable(here, error, finds)
            continue
        folders = []
        for entry in shown:
            if entry.is_dir():
                folders.append(entry.path)
            elif is_video(entry.name):
                take_local(entry.path, finds)
            else:
                finds.pass_over(entry.path)
        waiting.extend(sorted(folders, reverse=True))


def take_local(path: str, finds: Finds, extra: dict[str, str | int | float | None] | None = None) -> None:
    """Takes one local file as it is on disk; one that is not there or no regular file is taken with a message."""
    try:
        info = os.stat(path)
    except OSError as error:
        take_unreadable(path, error, finds, extra)
        return
    if not os.path.isfile(path):
        kind = "it is a folder, not a file" if os.path.isdir(path) else "it is no regular file"
        finds.take(Footage(public_uri(path), None, "", extra or {}, path), kind)
    elif not os.access(path, os.R_OK):
        take_unreadable(path, PermissionError(), finds, extra)
    else:
        finds.take(Footage(public_uri(path), info.st_size, str(info.st_mtime_ns), extra or {}, path))


def take_unreadable(address: str, error: OSError, finds: Finds, extra: dict[str, str | int | float | None] | None = None) -> None:
    """Takes a file that cannot be had, with the reason: it becomes a failed row, not a gap."""
    finds.take(Footage(public_uri(address), None, "", extra or {}, address), reason(error)[0])
