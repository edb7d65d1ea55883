"""What was found where footage was named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Extra = dict[str, str | int | float | None]


@dataclass(frozen=True, slots=True)
class Footage:
    """One file of footage.

    Attributes:
        uri: its public name: the absolute path, or the URL without user and signature.
        size: bytes; None where the file is missing or unreadable (then `Found.missing` says why) or the server does not say.
        stamp: changes when the file does (time of change, ETag).
        extra: the other columns of its manifest.
        address: what to open: equal to `uri` but for signed URLs and names that are no UTF-8. Never stored, logged or shown.
    """

    uri: str
    size: int | None
    stamp: str
    extra: Extra = field(default_factory=dict)
    address: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.address:
            object.__setattr__(self, "address", self.uri)


@dataclass(frozen=True, slots=True)
class Found:
    """All footage of a run.

    Attributes:
        items: sorted by uri, each uri once.
        not_video: files passed over in folders and patterns because of their suffix.
        missing: (uri, message) of items that do not exist or cannot be read; each is also in `items`.
    """

    items: list[Footage]
    not_video: int
    missing: list[tuple[str, str]]


class Finds:
    """Collects footage while arguments are gone through; a file found twice is one, with the columns of both."""

    def __init__(self) -> None:
        self._items: dict[str, Footage] = {}
        self._messages: dict[str, str] = {}
        self._passed_over: set[str] = set()

    def take(self, item: Footage, message: str | None = None) -> None:
        """Adds one file; `message` says why it cannot be read."""
        old = self._items.get(item.uri)
        if old is not None and old.extra != item.extra:
            item = Footage(item.uri, item.size, item.stamp, merged(old.extra, item.extra), item.address)
        self._items[item.uri] = item
        if message is not None:
            self._messages[item.uri] = message

    def pass_over(self, name: str) -> None:
        """Counts a file that is not video."""
        self._passed_over.add(name)

    def __len__(self) -> int:
        return len(self._items)

    def found(self) -> Found:
        """The collected footage in order."""
        items = [self._items[uri] for uri in sorted(self._items)]
        return Found(items, len(self._passed_over - self._items.keys()), sorted(self._messages.items()))


def merged(first: Mapping[str, str | int | float | None], second: Mapping[str, str | int | float | None]) -> Extra:
    """Columns of both; the first one's value wins where both have one."""
    return {**second, **{name: value for name, value in first.items() if value is not None or name not in second}}
