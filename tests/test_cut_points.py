"""Where a copy may end, and the decoding times it gets: on orders of pictures written out by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rushes.media import cut_copy


class Packet:
    def __init__(self, pts: int) -> None:
        self.pts, self.dts = pts, None


ORDERS = {
    "no reordering": ([0, 1, 2, 3, 4], 5, 5),
    "end inside a run of B": ([0, 4, 2, 1, 3, 8, 6, 5, 7], 5, 5),
    "reference beyond the limit": ([0, 8, 4, 2, 1, 3, 6, 5, 7], 1, 1),
    "the limit falls in a mini-GOP": ([0, 4, 2, 1, 3, 8, 6, 5, 7], 3, 1),
    "never clean": ([5, 4, 3, 2, 1, 0], 5, 0),
}


@pytest.mark.parametrize("case", ORDERS)
def test_the_end_is_closed_under_references_and_without_hole(case):
    order, limit, expected = ORDERS[case]
    n = cut_copy._certain([Packet(p) for p in order], limit)  # type: ignore[misc]
    assert n == expected
    assert not n or max(order[:n]) < min(order[n:], default=99)


CHUNKS = [([0, 4, 2, 1, 3, 8, 6, 5, 7], 5), ([0, 1, 2], 1), ([0, 1, 2], 3), ([0, 8, 4, 2, 1, 3, 6, 5, 7], 9), ([0], 1)]


@pytest.mark.parametrize(("order", "chunk"), CHUNKS)
def test_decoding_times_increase_and_never_follow_presentation(order, chunk):
    clock = cut_copy.DecodeClock(order, len(order) > 3, 1)
    dts = [t for at in range(0, len(order), chunk) for t in clock.push(order[at : at + chunk])]
    assert len(dts) == len(order)
    assert all(a < b for a, b in pairwise(dts))
    assert all(d <= p for d, p in zip(dts, order, strict=True))
