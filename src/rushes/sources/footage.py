"""Finds the files that the FOOTAGE arguments of a command, or of `rushes.run`, name."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from rushes.errors import FootageError
from rushes.media.address import local_path, protocol_of, public_uri
from rushes.media.error_translation import reason
from rushes.media.listing import MAGIC
from rushes.media.storage import Options
from rushes.sources.data_sets import data_set, take_data_set
from rushes.sources.folder import leads_nowhere, take_local, take_unreadable, walk
from rushes.sources.found import FootageCollector, Found
from rushes.sources.lists import has_parts, take_list, take_parts
from rushes.sources.remote import find_in, kind_of, take_remote
from rushes.sources.suffixes import READ_LISTS, is_unread_list, is_video, list_kind, suffix_of


def find_footage(args: Sequence[str], options: Options, *, exclude: Sequence[str] = (), paimon_python: str | None = None) -> Found:
    """The files behind paths, folders, patterns, fsspec URLs and lists of files, sorted, each once.

    A path that exists is never read as a pattern. Of a folder the videos are taken, which are known by their suffix, without hidden
    entries. Of a pattern too, unless it ends in a suffix of its own ("*.dat"). A file that is named explicitly is always taken. Files that
    end in the suffix of a list are lists (`suffixes.list_kind`), and so is a folder whose name does, or that holds parts of a Parquet list
    and no video; their relative entries are relative to the folder that the list is in. An entry of a list that is not there is taken
    without a size, with the reason in `Found.missing`. Names such as `lance:URI` are data sets (`data_sets.KINDS`).

    Args:
        args: paths, patterns and URLs, as the user wrote them.
        options: storage options by protocol.
        exclude: local folders not to enter, such as the run's own store.
        paimon_python: the Python that has pypaimon, for tables of Paimon; None: the usual one.

    Raises:
        FootageError: something named is not there, a list cannot be read or contradicts itself, or nothing found is video.
        MissingExtra: the package of a protocol is not installed.
    """
    collector = FootageCollector()
    excluded = frozenset(os.path.abspath(folder) for folder in exclude if protocol_of(folder) is None)
    for arg in args:
        if (named := data_set(arg)) is not None:
            take_data_set(*named, options, collector, paimon_python)
            continue
        local = arg if os.path.lexists(arg) else local_path(os.path.expanduser(arg))
        if local is not None:
            _take_path(local, options, collector, excluded)
        else:
            _take_url(arg, options, collector)
    found = collector.found()
    if not found.items:
        _raise_empty(args, found.not_video)
    return found


def _take_path(path: str, options: Options, collector: FootageCollector, excluded: frozenset[str]) -> None:
    path = os.path.abspath(path)
    try:
        os.stat(path)
    except (OSError, ValueError) as error:
        if MAGIC & set(path) and not os.path.lexists(path):
            _take_pattern(path, options, collector, excluded)
            return
        _raise_absent(path, error)
    if os.path.isdir(path):
        if list_kind(path):
            take_parts(path, options, collector)
            return
        before = len(collector)
        walk(path, collector, excluded)
        if len(collector) == before and has_parts(path):
            take_parts(path, options, collector)
    elif not os.path.isfile(path):
        raise FootageError("it is no regular file", uri=public_uri(path), mend="name a file or a folder")
    else:
        _refuse_unread(path)
        if list_kind(path):
            take_list(path, options, collector)
        else:
            take_local(path, collector)


def _raise_absent(path: str, error: OSError | ValueError) -> None:
    if isinstance(error, OSError) and leads_nowhere(path, error):
        raise FootageError("the link leads nowhere", uri=public_uri(path), mend="name a file or a folder") from error
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        raise FootageError("there is no such file or folder", uri=public_uri(path), mend=_nearest(path)) from error
    what, mend, _ = reason(error)
    raise FootageError(what, uri=public_uri(path), mend=mend) from error


def _refuse_unread(address: str) -> None:
    if is_unread_list(address):
        raise FootageError("lists of this kind are not read", uri=public_uri(address), mend=f"save it as one of the {READ_LISTS}")


def _take_pattern(pattern: str, options: Options, collector: FootageCollector, excluded: frozenset[str]) -> None:
    matches = sorted(glob.glob(pattern, recursive=True))
    closed = [
        folder
        for folder in glob.glob(os.path.dirname(pattern), recursive=True)
        if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK)
    ]
    for folder in closed:  # glob passes over what it may not enter
        take_unreadable(folder, PermissionError(), collector)
    if not matches and not closed:
        mend = "check the folder and the pattern; ** matches folders at any depth"
        raise FootageError("no file matches this pattern", uri=public_uri(pattern), mend=mend)
    suffix = suffix_of(pattern)
    named = bool(suffix) and not MAGIC & set(suffix)
    for path in matches:
        if os.path.isdir(path) and not list_kind(path):
            walk(path, collector, excluded)
        elif named and os.path.exists(path):
            _take_path(path, options, collector, excluded)
        elif named or is_video(path):
            take_local(path, collector)
        else:
            collector.pass_over(path)


def _take_url(url: str, options: Options, collector: FootageCollector) -> None:
    kind, name = kind_of(url, options), url.partition("?")[0]
    if kind == "file":
        _refuse_unread(name)
        if list_kind(name):
            take_list(url, options, collector)
        else:
            take_remote(url, options, collector)
    elif kind == "nothing":
        raise FootageError("there is nothing at this URL", uri=public_uri(url), mend="check the name and the credentials")
    elif kind == "folder" and list_kind(name.rstrip("/")):
        take_parts(url, options, collector)
    elif find_in(url, options, collector, pattern=kind == "pattern") == 0 and kind == "pattern":
        raise FootageError("nothing matches this pattern", uri=public_uri(url), mend="check the prefix and the pattern")


def _nearest(path: str) -> str:
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return f"check the name; the part that exists is {public_uri(folder)}"


def _raise_empty(args: Sequence[str], not_video: int) -> None:
    if not args:
        raise FootageError("no footage was named", mend="name a file, a folder, a pattern, a URL or a list")
    names = ", ".join(public_uri(arg) for arg in args)
    seen = f" among {not_video} other file{'s' * (not_video != 1)}" if not_video else ": the folder is empty"
    mend = "name the files themselves if their suffix is unusual; hidden entries are not looked at"
    raise FootageError(f"no video found{seen}", uri=names, mend=mend)
