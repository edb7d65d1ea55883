"""What captions say, counted over all of a store: how their labels agree with measures, how they begin, and how long they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rushes.captions.answer_checks import has_stock_opening
from rushes.report import numbers

if TYPE_CHECKING:
    import pyarrow as pa

OPENING_WORDS, OPENING_SIGNS = 3, 6
"""Words of a text, or Chinese characters, that are its opening."""
SHOWN = 5
"""Openings that are shown, the most frequent."""
LEAST = 2
"""Captions that an opening has at least to be shown."""
MOST = 50_000
"""Different openings that are counted at once: the rarer half is forgotten beyond, so that memory is bounded."""
_PIECE = re.compile(r"[\u3400-\u9fff]|[^\W_]+(?:['\u2019-][^\W_]+)*")


@dataclass(frozen=True)
class Said:
    """What captions say.

    Attributes:
        agreements: column -> clips of which label and evidence agree, and do not.
        openings: first words -> captions that begin so, of the most frequent. `stock`: captions that open with words about the video
            ("The video shows").
        lengths: words of a text, Chinese characters counted as words -> captions of that length.
    """

    agreements: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    openings: Mapping[str, int] = field(default_factory=dict)
    stock: int = 0
    lengths: Mapping[int, int] = field(default_factory=dict)

    @property
    def rates(self) -> list[tuple[str, str, int, int]]:
        """Of each comparison its column, the share of agreements in percent, and how many clips agree and do not."""
        return [(name, numbers.share(yes, yes + no), yes, no) for name, (yes, no) in self.agreements.items()]

    @property
    def frequent(self) -> list[tuple[str, int]]:
        """The most frequent openings, of those that several captions have."""
        return [(words, n) for words, n in Counter(self.openings).most_common(SHOWN) if n >= LEAST]

    @property
    def words(self) -> str:
        """The lengths in words: the shortest, the one in the middle, the longest."""
        total, seen, middle = sum(self.lengths.values()), 0, None
        for length in sorted(self.lengths):
            seen += self.lengths[length]
            middle = length if middle is None and 2 * seen >= total else middle
        return numbers.NONE if middle is None else f"{min(self.lengths)}, {middle}, {max(self.lengths)}"


class Counting:
    """Counts table by table. `columns`: the names of the agreements."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._agreements = {name: [0, 0] for name in columns}
        self._openings: Counter[str] = Counter()
        self._lengths: Counter[int] = Counter()
        self._stock = 0

    def add(self, clips: pa.Table) -> None:
        """Takes clips that have captions."""
        import pyarrow.compute as pc

        for name, counts in self._agreements.items():
            yes = pc.sum(clips[name]).as_py() or 0
            counts[0] += yes
            counts[1] += clips.num_rows - clips[name].null_count - yes
        texts: Any = clips["caption"].to_pylist()
        for text in texts:
            pieces = _PIECE.findall(text)
            self._lengths[len(pieces)] += 1
            self._stock += has_stock_opening(text)
            chinese = bool(pieces) and "\u3400" <= pieces[0] <= "\u9fff"
            self._openings["".join(pieces[:OPENING_SIGNS]) if chinese else " ".join(pieces[:OPENING_WORDS])] += 1
        if len(self._openings) > MOST:
            self._openings = Counter(dict(self._openings.most_common(MOST // 2)))

    def said(self) -> Said:
        """What was counted."""
        agreements = {name: (yes, no) for name, (yes, no) in self._agreements.items()}
        return Said(agreements, dict(self._openings.most_common(SHOWN)), self._stock, dict(self._lengths))
