"""The footage of a run: the files that were found where footage was named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rushes.errors import ProbeError

Extra = dict[str, str | int | float | None]


@dataclass(frozen=True, slots=True)
class Footage:
    """One file of footage.

    Attributes:
        uri: its public name: the absolute path, or the URL without user and signature.
        size: bytes; None where the file is missing or unreadable (then `Found.missing` says why) or the server does not say.
        stamp: changes when the file does (time of change, ETag).
        extra: the other columns of its manifest.
        address: the address to open. It differs from `uri` for signed URLs, for names that are not UTF-8 and for streams of a file, and is
            never stored, logged or shown.
        stream: index of the stream in the file that is meant; None: its film.
    """

    uri: str
    size: int | None
    stamp: str
    extra: Extra = field(default_factory=dict)
    address: str = field(default="", repr=False)
    stream: int | None = None

    def __post_init__(self) -> None:
        if not self.address:
            object.__setattr__(self, "address", self.uri)


@dataclass(frozen=True, slots=True)
class Found:
    """All footage of a run.

    Attributes:
        items: sorted by uri, each uri once.
        not_video: number of files in folders and patterns that were passed over because of their suffix.
        missing: an error, with its uri, for each item that does not exist or cannot be read; the item is also in `items`.
    """

    items: list[Footage]
    not_video: int
    missing: list[ProbeError]


class FootageCollector:
    """Collects files while the arguments are gone through. A file that is found twice is kept once, with the extra columns of both."""

    def __init__(self) -> None:
        self._items: dict[str, Footage] = {}
        self._errors: dict[str, ProbeError] = {}
        self._passed_over: set[str] = set()

    def take(self, item: Footage, error: ProbeError | None = None) -> None:
        """Adds one file; `error` says why it cannot be read."""
        old = self._items.get(item.uri)
        if old is not None and old.extra != item.extra:
            item = Footage(item.uri, item.size, item.stamp, merged(old.extra, item.extra), item.address)
        self._items[item.uri] = item
        if error is not None:
            self._errors[item.uri] = error

    def pass_over(self, name: str) -> None:
        """Counts a file that is not video."""
        self._passed_over.add(name)

    def __len__(self) -> int:
        return len(self._items)

    def found(self) -> Found:
        """The collected footage, sorted by uri."""
        items = [self._items[uri] for uri in sorted(self._items)]
        return Found(items, len(self._passed_over - self._items.keys()), [self._errors[uri] for uri in sorted(self._errors)])


def merged(first: Mapping[str, str | int | float | None], second: Mapping[str, str | int | float | None]) -> Extra:
    """The columns of both; where both have a value, that of the first."""
    return {**second, **{name: value for name, value in first.items() if value is not None or name not in second}}
