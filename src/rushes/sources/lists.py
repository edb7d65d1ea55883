"""Takes what lists of videos name: one list, or a folder of parts of a list."""

from __future__ import annotations

import os
from collections.abc import Iterable
from urllib.parse import unquote

from rushes.errors import FootageError
from rushes.media.address import inside, local_path, protocol_of, public_uri, split_range
from rushes.media.error_translation import reason
from rushes.media.storage import Options, listing, ranges, stat
from rushes.sources.folder import take_local
from rushes.sources.found import FootageCollector
from rushes.sources.manifest import read_manifest
from rushes.sources.remote import take_many
from rushes.sources.rows import Row, likely_spans
from rushes.sources.suffixes import is_video, list_kind

TOLD = 3
"""Examples that a note gives."""


def take_list(address: str, options: Options, collector: FootageCollector) -> None:
    """Takes the files that a list names, with what it says of them.

    Args:
        address: path or URL of the list.
        options: storage options by protocol.
        collector: takes what is found.

    Raises:
        FootageError: the list cannot be read, or a row of it.
    """
    take_rows(address, _rows(address, options), options, collector)


def take_parts(folder: str, options: Options, collector: FootageCollector) -> None:
    """Takes the files that the parts of a list name: the lists in a folder, at any depth, but for names that begin with a dot or `_`.

    Raises:
        FootageError: there is no part, or a part cannot be read.
    """
    folder = folder.partition("?")[0].rstrip("/")
    try:
        addresses = sorted(found.uri for found in listing(folder, options) if is_part(found.uri))
    except OSError as error:
        what, mend, _ = reason(error)
        raise FootageError(what, uri=public_uri(folder), mend=mend) from error
    if not addresses:
        raise FootageError("the folder is named as a list and holds no part of one", uri=public_uri(folder), mend="name the list itself")
    shown = public_uri(folder)
    rows = [row.with_columns(_of_folders(address.removeprefix(shown))) for address in addresses for row in _rows(address, options)]
    take_rows(folder, rows, options, collector)


def _of_folders(path: str) -> dict[str, str]:
    """The columns that the names of folders give, such as day=3 (Hive's way to partition a table)."""
    named = (name.partition("=") for name in path.split("/")[:-1])
    return {unquote(name): unquote(value) for name, equals, value in named if name and equals}


def has_parts(folder: str) -> bool:
    """Whether parts of a Parquet list lie directly in a local folder that can be listed."""
    try:
        return any(list_kind(name) == "parquet" and is_part(name) for name in os.listdir(folder))
    except OSError:
        return False


def is_part(name: str) -> bool:
    """Whether a file of a folder is part of a list."""
    return list_kind(name) is not None and not name.rpartition("/")[2].startswith(("_", "."))


def _rows(address: str, options: Options) -> list[Row]:
    try:
        with ranges(address, options) as read:
            data = read(0, stat(address, options).size or 0)
    except OSError as error:
        what, mend, _ = reason(error)
        raise FootageError(what, uri=public_uri(address), mend=mend) from error
    return read_manifest(data, address if protocol_of(address) is None else address.partition("?")[0])


def take_rows(address: str, rows: Iterable[Row], options: Options, collector: FootageCollector) -> None:
    """Takes the files of rows; their relative names are relative to the folder that the list is in."""
    named = address if protocol_of(address) is None else address.partition("?")[0]
    folder = named.rpartition("/")[0]
    by_address: dict[str, list[Row]] = {}
    comments = []
    for row in rows:
        found = _address(folder, row, options)
        if found is None:
            comments.append(row)
        else:
            by_address.setdefault(found, []).append(row.in_folder(folder))
    if not by_address:
        raise FootageError("the list names no video", uri=public_uri(named), mend="give at least one uri")
    remote = []
    for found in by_address:
        if local_path(found) is not None and split_range(found)[1] is None:
            take_local(found, collector)
        else:
            remote.append(found)
    take_many(remote, options, collector)
    for found, about in by_address.items():
        collector.describe(public_uri(found), about)
    _take_notes(public_uri(named), by_address, comments, collector)


def _address(folder: str, row: Row, options: Options) -> str | None:
    """The file that a row names; None for a comment. Blanks around a name are part of it only where a file is called so."""
    name = row.name
    path = local_path(inside(folder, name))
    if path is not None and os.path.lexists(path):
        return path
    if not row.is_comment:
        found = inside(folder, name.strip() or name)
        return local_path(found) or found
    found = inside(folder, name.strip())
    path = local_path(found)
    if path is not None:
        return path if os.path.lexists(path) else None
    try:
        return found if is_video(name) and stat(found, options) else None
    except OSError:
        return None


def _take_notes(shown: str, by_address: dict[str, list[Row]], comments: list[Row], collector: FootageCollector) -> None:
    """Tells of what may be meant otherwise than it was read."""
    names = [f"{row.where}: {row.name.strip()}" for row in comments if is_video(row.name.strip())]
    if names:
        some = "; ".join(names[:TOLD]) + (" ..." if len(names) > TOLD else "")
        collector.note(f"{shown}: lines that begin with # and name no file that is there are comments ({some})")
    pairs = {pair for rows in by_address.values() for row in rows if row.span is None and (pair := likely_spans(row.extra))}
    for first, second in sorted(pairs):
        collector.note(
            f"{shown}: columns {first} and {second} are kept as they are, and videos are cut into shots;"
            f" call them start_s and end_s if they are spans of the videos in seconds"
        )
