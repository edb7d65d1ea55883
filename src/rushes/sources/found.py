"""The footage of a run: the files that were found where footage was named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rushes.errors import ProbeError
from rushes.records import ListedSpan
from rushes.sources.rows import Extra, Row, combined
from rushes.sources.suffixes import suffix_of


@dataclass(frozen=True, slots=True)
class Footage:
    """One file of footage.

    Attributes:
        uri: its public name: the absolute path, or the URL without user and signature.
        size: bytes; None where the file is missing or unreadable (then `Found.missing` says why) or the server does not say.
        stamp: changes when the file does (time of change, ETag).
        extra: the other columns of its list; where the list gives spans, those in which all of them agree.
        address: the address to open. It differs from `uri` for signed URLs, for names that are not UTF-8 and for streams of a file, and is
            never stored, logged or shown.
        spans: the pieces of it that its list gives, in order; empty: the whole video, which is cut into shots.
        stream: index of the stream in the file that is meant; None: its film.
    """

    uri: str
    size: int | None
    stamp: str
    extra: Extra = field(default_factory=dict)
    address: str = field(default="", repr=False)
    spans: tuple[ListedSpan, ...] = ()
    stream: int | None = None

    def __post_init__(self) -> None:
        if not self.address:
            object.__setattr__(self, "address", self.uri)


@dataclass(frozen=True, slots=True)
class Found:
    """All footage of a run.

    Attributes:
        items: sorted by uri, each uri once.
        passed_over: suffix -> number of files in folders and patterns that were not taken because of it, the most frequent first; "" is
            that of names without suffix.
        missing: an error, with its uri, for each item that does not exist or cannot be read; the item is also in `items`.
        notes: lines for people about what lists may mean otherwise than it was read.
        versions: address of each data set that was named -> the version of it that was read.
    """

    items: list[Footage]
    passed_over: dict[str, int]
    missing: list[ProbeError]
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def not_video(self) -> int:
        """Number of files that were passed over."""
        return sum(self.passed_over.values())


class FootageCollector:
    """Collects files while the arguments are gone through. A file that is found twice is kept once, with what lists say of it."""

    def __init__(self) -> None:
        self._items: dict[str, Footage] = {}
        self._errors: dict[str, ProbeError] = {}
        self._rows: dict[str, list[Row]] = {}
        self._passed_over: set[str] = set()
        self._notes: dict[str, None] = {}
        self._versions: dict[str, str] = {}

    def take(self, item: Footage, error: ProbeError | None = None) -> None:
        """Adds one file; `error` says why it cannot be read."""
        self._items[item.uri] = item
        if error is not None:
            self._errors[item.uri] = error

    def describe(self, uri: str, rows: Sequence[Row]) -> None:
        """Adds what a list says of a file."""
        self._rows.setdefault(uri, []).extend(rows)

    def pass_over(self, name: str) -> None:
        """Counts a file that is not video."""
        self._passed_over.add(name)

    def note(self, line: str) -> None:
        """Adds a line for people, once."""
        self._notes[line] = None

    def read_version(self, address: str, version: str) -> None:
        """Adds which version of a data set was read."""
        self._versions[address] = version

    def __len__(self) -> int:
        return len(self._items)

    def found(self) -> Found:
        """The collected footage, sorted by uri.

        Raises:
            FootageError: rows of lists contradict each other.
        """
        items = [self._described(self._items[uri]) for uri in sorted(self._items)]
        suffixes = Counter(suffix_of(name) for name in self._passed_over - self._items.keys())
        passed_over = dict(sorted(suffixes.items(), key=lambda pair: (-pair[1], pair[0])))
        return Found(items, passed_over, [self._errors[uri] for uri in sorted(self._errors)], tuple(self._notes), self._versions)

    def _described(self, item: Footage) -> Footage:
        rows = self._rows.get(item.uri)
        if rows is None:
            return item
        extra, spans = combined(item.uri, rows)
        return Footage(item.uri, item.size, item.stamp, extra, item.address, spans)
