"""FOOTAGE, as given on a command line or to `rushes.run`, becomes a list of files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from rushes.errors import FootageError
from rushes.media.address import inside, local_path, protocol_of, public_uri
from rushes.media.error_translation import read_error, reason
from rushes.media.listing import MAGIC
from rushes.media.storage import Options, ranges, stat
from rushes.sources.folder import take_local, walk
from rushes.sources.found import Extra, Finds, Found
from rushes.sources.manifest import read_manifest
from rushes.sources.remote import find_in, kind_of, take_many, take_remote
from rushes.sources.suffixes import is_manifest, is_video, suffix_of


def find_footage(args: Sequence[str], options: Options, *, exclude: Sequence[str] = ()) -> Found:
    """Files, folders, patterns, fsspec URLs and manifests to a sorted list of files, each once.

    A path that exists is never a pattern. A folder is walked without hidden entries and gives its videos by suffix; so does a pattern,
    unless it ends in a suffix of its own ("*.dat"). A file named explicitly is always taken; .txt, .csv, .jsonl and .parquet are lists,
    their relative entries are relative to the list's folder. An entry of a list that is not there is taken without size, with a message.

    Args:
        args: what the user named.
        options: storage options by protocol.
        exclude: local folders not to enter, such as the run's own store.

    Raises:
        FootageError: something named is not there, a list cannot be read, or nothing found is video.
        MissingExtra: the package of a protocol is not installed.
    """
    finds = Finds()
    barred = frozenset(os.path.abspath(folder) for folder in exclude if protocol_of(folder) is None)
    for arg in args:
        local = arg if os.path.lexists(arg) else local_path(os.path.expanduser(arg))
        if local is not None:
            _take_path(local, options, finds, barred)
        else:
            _take_url(arg, options, finds)
    found = finds.found()
    if not found.items:
        _raise_empty(args, found.not_video)
    return found


def _take_path(path: str, options: Options, finds: Finds, barred: frozenset[str]) -> None:
    path = os.path.abspath(path)
    if os.path.isdir(path):
        walk(path, finds, barred)
    elif os.path.isfile(path):
        if is_manifest(path):
            _take_manifest(path, options, finds)
        else:
            take_local(path, finds)
    elif os.path.lexists(path):
        what = "the link leads nowhere" if os.path.islink(path) else "it is no regular file"
        raise FootageError(what, uri=public_uri(path), mend="name a file or a folder")
    elif MAGIC & set(path):
        _take_pattern(path, options, finds, barred)
    else:
        raise FootageError("there is no such file or folder", uri=public_uri(path), mend=_nearest(path))


def _take_pattern(pattern: str, options: Options, finds: Finds, barred: frozenset[str]) -> None:
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        mend = "check the folder and the pattern; ** matches folders at any depth"
        raise FootageError("no file matches this pattern", uri=public_uri(pattern), mend=mend)
    suffix = suffix_of(pattern)
    named = bool(suffix) and not MAGIC & set(suffix)
    for path in matches:
        if os.path.isdir(path):
            walk(path, finds, barred)
        elif named or is_video(path):
            _take_path(path, options, finds, barred)
        else:
            finds.pass_over(path)


def _take_url(url: str, options: Options, finds: Finds) -> None:
    kind = kind_of(url, options)
    if kind == "file":
        if is_manifest(url.partition("?")[0]):
            _take_manifest(url, options, finds)
        else:
            take_remote(url, options, finds)
    elif kind == "nothing":
        raise FootageError("there is nothing at this URL", uri=public_uri(url), mend="check the name and the credentials")
    elif find_in(url, options, finds, pattern=kind == "pattern") == 0 and kind == "pattern":
        raise FootageError("nothing matches this pattern", uri=public_uri(url), mend="check the prefix and the pattern")


def _take_manifest(address: str, options: Options, finds: Finds) -> None:
    try:
        with ranges(address, options) as read:
            data = read(0, stat(address, options).size or 0)
    except OSError as error:
        what, mend, _ = reason(error)
        raise FootageError(what, uri=public_uri(address), mend=mend) from read_error(error, address)
    named = address if protocol_of(address) is None else address.partition("?")[0]
    folder = named.rpartition("/")[0]
    remote: list[tuple[str, Extra]] = []
    for name, extra in read_manifest(data, named):
        entry = inside(folder, name)
        path = local_path(entry)
        if path is not None:
            take_local(path, finds, extra)
        else:
            remote.append((entry, extra))
    take_many(remote, options, finds)


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
