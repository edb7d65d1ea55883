"""Listings of object stores, page by page: never more than one page of keys (S3) or one folder (other stores) is in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rushes.media.faults import with_retries

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MAGIC = frozenset("*?[")
"""Signs that make a name a pattern."""
Entry = dict[str, Any]
"""What fsspec says of a file: name, size, type, and whatever the store calls its version."""


def files_under(fs: AbstractFileSystem, folder: str, beginning: str = "") -> Iterator[Entry]:
    """All files under a folder, at any depth, without hidden ones; nothing where there is no such folder.

    With `beginning`, only entries directly in the folder whose name begins so, and what lies below them.
    """
    folder = folder.rstrip("/")
    if hasattr(fs, "call_s3"):
        for page in _s3_pages(fs, folder, beginning):
            yield from (entry for entry in page if not hidden(entry["name"][len(folder) :]))
        return
    folders = [folder]
    while folders:
        for entry in _one_level(fs, folders.pop()):
            inside = entry["name"][len(folder) :].lstrip("/")
            if hidden(inside) or not inside.startswith(beginning):
                continue
            if entry["type"] == "directory":
                folders.append(entry["name"])
            else:
                yield entry


def files_like(fs: AbstractFileSystem, pattern: str) -> Iterator[Entry]:
    """All files whose name matches a pattern: * and ? within one folder's names, ** across folders; hidden ones only where they are named.

    Folders whose names cannot match are not listed.
    """
    names = pattern.split("/")
    first = next(i for i, name in enumerate(names) if MAGIC & set(name))
    yield from _descend(fs, "/".join(names[:first]), names[first:])


def hidden(path: str) -> bool:
    """Whether a name on the path begins with a dot."""
    return any(name.startswith(".") for name in path.split("/"))


def _descend(fs: AbstractFileSystem, folder: str, names: list[str]) -> Iterator[Entry]:
    from fsspec.utils import glob_translate

    name, *rest = names
    if "**" in name:
        regex = re.compile(glob_translate("/".join(names)))
        yield from (entry for entry in files_under(fs, folder) if regex.fullmatch(entry["name"][len(folder) :].lstrip("/")))
        return
    regex = re.compile(glob_translate(name))
    for entry in _one_level(fs, folder):
        own = entry["name"].rstrip("/").rpartition("/")[2]
        if not regex.fullmatch(own) or (own.startswith(".") and not name.startswith(".")):
            continue
        if not rest and entry["type"] != "directory":
            yield entry
        elif rest and entry["type"] == "directory":
            yield from _descend(fs, entry["name"].rstrip("/"), rest)


def _one_level(fs: AbstractFileSystem, folder: str) -> Iterator[Entry]:
    if hasattr(fs, "call_s3"):
        for page in _s3_pages(fs, folder, delimiter="/"):
            yield from page
        return
    try:
        found = with_retries(lambda: fs.ls(folder, detail=True))
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (entry for entry in found if entry["name"].rstrip("/") != folder.rstrip("/"))


def _s3_pages(fs: AbstractFileSystem, folder: str, beginning: str = "", delimiter: str = "") -> Iterator[list[Entry]]:
    """Pages of at most 1000 keys (docs.aws.amazon.com, ListObjectsV2). Keys that end in a slash are marks of folders, not files."""
    bucket, key, _ = fs.split_path(folder)
    asked = {"Bucket": bucket, "Prefix": (f"{key.rstrip('/')}/" if key else "") + beginning, "Delimiter": delimiter}
    more: dict[str, str] = {}
    while True:
        page = _page(fs, {**asked, **more})
        if page is None:
            return
        folders = [{"name": f"{bucket}/{p['Prefix'].rstrip('/')}", "type": "directory", "size": 0} for p in page.get("CommonPrefixes", ())]
        files = [c for c in page.get("Contents", ()) if not c["Key"].endswith("/")]
        yield folders + [{**c, "name": f"{bucket}/{c['Key']}", "type": "file", "size": c["Size"]} for c in files]
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _page(fs: AbstractFileSystem, asked: dict[str, str]) -> dict[str, Any] | None:
    try:
        page: dict[str, Any] = with_retries(lambda: fs.call_s3("list_objects_v2", **asked))
    except FileNotFoundError:  # no such bucket
        return None
    return page
