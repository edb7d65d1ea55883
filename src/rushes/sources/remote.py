"""Files behind fsspec URLs: one file, a prefix, or a pattern."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rushes.errors import FootageError
from rushes.media.address import directory_of, protocol_of, public_uri
from rushes.media.mishap import reason
from rushes.media.storage import Options, filesystem, stat
from rushes.sources.folder import take_unreadable
from rushes.sources.found import Extra, Finds, Footage
from rushes.sources.suffixes import is_manifest, is_video, suffix_of

MAGIC = frozenset("*?[")
STATS_AT_ONCE = 16
"""Requests under way at once when a manifest's URLs are looked up; they wait, they do not compute."""


def kind_of(url: str, options: Options) -> str:
    """What a URL is: "file", "folder", "pattern" or "nothing".

    Raises:
        FootageError: the store refuses to answer.
        MissingExtra: the protocol's package is not installed.
    """
    fs, path = filesystem(url, options)
    http = protocol_of(url) in ("http", "https")
    try:
        info = fs.info(path)
    except FileNotFoundError:
        info = {}
    except OSError as error:
        what, mend, _ = reason(error)
        raise FootageError(what, uri=public_uri(url), mend=mend) from error
    if info:
        return "folder" if info.get("type") == "directory" else "file"
    return "pattern" if not http and MAGIC & set(path) else "nothing"


def find_in(url: str, options: Options, finds: Finds, *, pattern: bool) -> int:
    """Takes the videos under a prefix, or those a pattern matches; returns how many files matched."""
    fs, path = filesystem(url, options)
    listed: dict[str, Any] = fs.glob(path, detail=True) if pattern else fs.find(path, detail=True)
    named = pattern and suffix_of(url) and not MAGIC & set(suffix_of(url))
    base = "" if pattern else path.rstrip("/")
    n = 0
    for name, info in listed.items():
        if info.get("type") == "directory" or any(part.startswith(".") for part in name[len(base) :].split("/")):
            continue
        n += 1
        address = str(fs.unstrip_protocol(name)) if pattern else directory_of(url) + name[len(base) :].lstrip("/")
        if is_video(name) or (named and not is_manifest(name)):
            take_remote(address, options, finds)
        else:
            finds.pass_over(public_uri(address))
    return n


def take_remote(url: str, options: Options, finds: Finds, extra: Extra | None = None) -> None:
    """Takes one file behind a URL; one that cannot be had is taken with a message."""
    try:
        info = stat(url, options)
    except OSError as error:
        take_unreadable(url, error, finds, extra)
        return
    finds.take(Footage(info.uri, info.size, info.stamp, extra or {}, url))


def take_many(entries: Iterable[tuple[str, Extra]], options: Options, finds: Finds) -> None:
    """Looks up many URLs, several at once."""
    with ThreadPoolExecutor(STATS_AT_ONCE, thread_name_prefix="stat") as pool:
        for done in [pool.submit(take_remote, url, options, finds, extra) for url, extra in entries]:
            done.result()
