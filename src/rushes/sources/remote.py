"""Files behind fsspec URLs: one file, a prefix, or a pattern."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from rushes.errors import FootageError
from rushes.media.address import directory_of, protocol_of, public_uri
from rushes.media.error_translation import reason
from rushes.media.listing import MAGIC
from rushes.media.storage import Options, listing, matching, stat
from rushes.sources.folder import take_unreadable
from rushes.sources.found import Footage, FootageCollector
from rushes.sources.suffixes import is_video, list_kind, suffix_of

STATS_AT_ONCE = 16
"""Requests under way at once when the URLs of a list are looked up. They cost no CPU, so there may be more of them than cores."""


def kind_of(url: str, options: Options) -> str:
    """What a URL is: "file", "folder", "pattern" or "nothing".

    Raises:
        FootageError: the store refuses to answer.
        MissingExtra: the protocol's package is not installed.
    """
    try:
        stat(url, options)
    except FileNotFoundError:
        bucket = protocol_of(url) not in ("http", "https")
        return "pattern" if bucket and MAGIC & set(url) else "nothing"
    except IsADirectoryError:
        return "folder"
    except OSError as error:
        what, mend, _ = reason(error)
        raise FootageError(what, uri=public_uri(url), mend=mend) from error
    return "file"


def find_in(url: str, options: Options, collector: FootageCollector, *, pattern: bool) -> int:
    """Takes the videos under a prefix, or those that a pattern matches; returns how many files there were. Size and stamp come from the
    listing, without a request for each file.

    Raises:
        FootageError: the store cannot be listed.
    """
    named = pattern and suffix_of(url) and not MAGIC & set(suffix_of(url))
    base, shown = ("", "") if pattern else (directory_of(url), public_uri(directory_of(url)))
    n = 0
    try:
        for info in matching(url, options) if pattern else listing(url, options):
            n += 1
            if is_video(info.uri) or (named and list_kind(info.uri) is None):
                collector.take(Footage(info.uri, info.size, info.stamp, address=base + info.uri.removeprefix(shown)))
            else:
                collector.pass_over(info.uri)
    except OSError as error:
        what, mend, _ = reason(error)
        raise FootageError(what, uri=public_uri(url), mend=mend) from error
    return n


def take_remote(url: str, options: Options, collector: FootageCollector) -> None:
    """Takes one file behind a URL; one that cannot be looked at is taken with the reason."""
    try:
        info = stat(url, options)
    except OSError as error:
        take_unreadable(url, error, collector)
        return
    collector.take(Footage(info.uri, info.size, info.stamp, address=url))


def take_many(urls: Iterable[str], options: Options, collector: FootageCollector) -> None:
    """Takes many files behind URLs, `STATS_AT_ONCE` at a time."""
    with ThreadPoolExecutor(STATS_AT_ONCE, thread_name_prefix="stat") as pool:
        for done in [pool.submit(take_remote, url, options, collector) for url in urls]:
            done.result()
