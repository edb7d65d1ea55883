"""Finds the files that the FOOTAGE arguments of a command, or of `rushes.run`, name."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from rushes.errors import FootageError
from rushes.media.address import inside, local_path, protocol_of, public_uri
from rushes.media.error_translation import reason
from rushes.media.listing import MAGIC
from rushes.media.storage import Options, ranges, stat
from rushes.sources.folder import take_local, walk
from rushes.sources.found import Extra, FootageCollector, Found
from rushes.sources.manifest import read_manifest
from rushes.sources.remote import find_in, kind_of, take_many, take_remote
from rushes.sources.suffixes import is_manifest, is_video, suffix_of


def find_footage(args: Sequence[str], options: Options, *, exclude: Sequence[str] = ()) -> Found:
    """The files behind paths, folders, patterns, fsspec URLs and lists of files, sorted, each once.

    A path that exists is never read as a pattern. Of a folder the videos are taken, which are known by their suffix, without hidden
    entries. Of a pattern too, unless it ends in a suffix of its own ("*.dat"). A file that is named explicitly is always taken. Files that
    end in .txt, .csv, .jsonl or .parquet are lists; their relative entries are relative to the list's folder. An entry of a list that is
    not there is taken without a size, with the reason in `Found.missing`.

    Args:
        args: paths, patterns and URLs, as the user wrote them.
        options: storage options by protocol.
        exclude: local folders not to enter, such as the run's own store.

    Raises:
        FootageError: something named is not there, a list cannot be read, or nothing found is video.
        MissingExtra: the package of a protocol is not installed.
    """
    collector = FootageCollector()
    excluded = frozenset(os.path.abspath(folder) for folder in exclude if protocol_of(folder) is None)
    for arg in args:
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
    if os.path.isdir(path):
        walk(path, collector, excluded)
    elif os.path.isfile(path):
        if is_manifest(path):
            _take_manifest(path, options, collector)
        else:
            take_local(path, collector)
    elif os.path.lexists(path):
        what = "the link leads nowhere" if os.path.islink(path) else "it is no regular file"
        raise FootageError(what, uri=public_uri(path), mend="name a file or a folder")
    elif MAGIC & set(path):
        _take_pattern(path, options, collector, excluded)
    else:
        raise FootageError("there is no such file or folder", uri=public_uri(path), mend=_nearest(path))


def _take_pattern(pattern: str, options: Options, collector: FootageCollector, excluded: frozenset[str]) -> None:
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        mend = "check the folder and the pattern; ** matches folders at any depth"
        raise FootageError("no file matches this pattern", uri=public_uri(pattern), mend=mend)
    suffix = suffix_of(pattern)
    named = bool(suffix) and not MAGIC & set(suffix)
    for path in matches:
        if os.path.isdir(path):
            walk(path, collector, excluded)
        elif named or is_video(path):
            _take_path(path, options, collector, excluded)
        else:
            collector.pass_over(path)


def _take_url(url: str, options: Options, collector: FootageCollector) -> None:
    kind = kind_of(url, options)
    if kind == "file":
        if is_manifest(url.partition("?")[0]):
            _take_manifest(url, options, collector)
        else:
            take_remote(url, options, collector)
    elif kind == "nothing":
        raise FootageError("there is nothing at this URL", uri=public_uri(url), mend="check the name and the credentials")
    elif find_in(url, options, collector, pattern=kind == "pattern") == 0 and kind == "pattern":
        raise FootageError("nothing matches this pattern", uri=public_uri(url), mend="check the prefix and the pattern")


def _take_manifest(address: str, options: Options, collector: FootageCollector) -> None:
    try:
        with ranges(address, options) as read:
            data = read(0, stat(address, options).size or 0)
    except OSError as error:
        what, mend, _ = reason(error)
        raise FootageError(what, uri=public_uri(address), mend=mend) from error
    named = address if protocol_of(address) is None else address.partition("?")[0]
    folder = named.rpartition("/")[0]
    remote: list[tuple[str, Extra]] = []
    for name, extra in read_manifest(data, named):
        entry = inside(folder, name)
        path = local_path(entry)
        if path is not None:
            take_local(path, collector, extra)
        else:
            remote.append((entry, extra))
    take_many(remote, options, collector)


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
