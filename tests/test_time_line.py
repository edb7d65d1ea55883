"""The time line, from stamps that were made wrong on purpose: what was filmed is known, so what must come out is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from rushes.media.file_clock import FileClock, file_spans, pieces_of, pieces_text
from rushes.media.holes import holes_of
from rushes.media.time_line import LOOK, WRAP_33_BITS, Piece, TimeLine

TICK = Fraction(1, 1000)
STEP = 40
HOUR = 3_600_000
REGULAR = [1000 + STEP * i for i in range(200)]


def placed(stamps: Sequence[int | None], *, packets: Sequence[int] | None = None, **how: int) -> tuple[list[int], TimeLine[int]]:
    """The pts of frames with these stamps. `packets`: the stamps of all packets, if some give no frame."""
    line: TimeLine[int] = TimeLine(TICK, how.pop("step", STEP), **how)
    out = []
    fed = 0
    rest = list(packets if packets is not None else [s for s in stamps if s is not None])
    for i, stamp in enumerate(stamps):
        while stamp in rest[fed:] and (not fed or rest[fed - 1] != stamp):  # packets come before their frames
            line.saw(rest[fed])
            fed += 1
        out += line.push(i, stamp)
    out += line.flush()
    assert [item for item, _ in out] == list(range(len(stamps)))
    return [pts for _, pts in out], line


def changed(at: dict[int, int | None]) -> list[int | None]:
    return [at.get(i, s) for i, s in enumerate(REGULAR)]


@pytest.mark.parametrize(
    "wrong",
    [
        {125: 10 * HOUR},
        {125: 0},
        {125: -10 * HOUR},
        {50: 10 * HOUR, 100: 3 * HOUR, 150: 0},
        {50: 10 * HOUR, 51: 10 * HOUR + STEP},
        {50: 10 * HOUR, 51: 3 * HOUR, 52: 0},
        {50: 7, 51: 7, 52: 7, 53: 7, 54: 7},
        {k: 3 * HOUR for k in range(25, 200, 50)},
        {199: 10 * HOUR},
        {199: 0},
        {0: -10 * HOUR},
        {0: 10 * HOUR},
        {1: 10 * HOUR},
        {198: 10 * HOUR},
        {100: None},
        {100: None, 101: None},
        {0: None},
        {199: None},
        {100: REGULAR[100] + 3 * STEP},
        {100: REGULAR[99]},
        {100: REGULAR[98]},
    ],
    ids=str,
)
def test_an_outlier_is_mended_alone(wrong: dict[int, int | None]) -> None:
    pts, line = placed(changed(wrong))
    assert pts == REGULAR
    assert (line.n_mended, line.n_clocks) == (len(wrong), 0)


def test_two_frames_that_changed_places_cost_no_others_their_stamps() -> None:
    pts, line = placed(changed({100: REGULAR[101], 101: REGULAR[100]}))
    assert pts[:100] == REGULAR[:100] and pts[102:] == REGULAR[102:]
    assert sorted(set(pts)) == pts and line.n_mended == 1


@pytest.mark.parametrize("back", [0, 500, 1000, -10 * HOUR, REGULAR[99] - 2 * STEP])
def test_a_new_clock_goes_on_evenly(back: int) -> None:
    """Also where the second one has other steps: those of the first stay 40, those of the second 80."""
    for step in (40, 80, 20):
        pts, line = placed([*REGULAR[:100], *(back + step * i for i in range(100))])
        want = [*REGULAR[:100], *(REGULAR[99] + STEP + step * i for i in range(100))]
        assert pts == want, step
        assert (line.n_mended, line.n_clocks) == (0, 1)
        assert line.pieces == [Piece(1000, 0), Piece(want[100], want[100] - back)]


@pytest.mark.parametrize("length", [3, 7, 20])
def test_many_short_parts_with_one_clock(length: int) -> None:
    pts, line = placed([10_000 + STEP * i for _ in range(10) for i in range(length)])
    assert np.diff(pts).tolist() == [STEP] * (10 * length - 1)
    assert line.n_clocks == 9


def test_frames_that_fast_mode_skips_make_no_difference_to_a_new_clock() -> None:
    first, second = REGULAR[:101], [500 + 80 * i for i in range(100)]
    packets = [*first, *second]
    whole, _ = placed(packets)
    some, _ = placed([*first[::3][:-1], *second[::3]], packets=packets)  # the last frames of the first clock are not decoded
    assert set(some) <= set(whole)


def test_an_outlier_beside_a_new_clock() -> None:
    stamps = [*REGULAR[:100], *(STEP * i for i in range(100))]
    want = [1000 + STEP * i for i in range(200)]
    for at in (*range(95, 100), *range(101, 108)):
        pts, line = placed([10 * HOUR if i == at else s for i, s in enumerate(stamps)])
        assert pts == want, at
        assert (line.n_mended, line.n_clocks) == (1, 1)


def test_clocks_of_33_bits_wrap() -> None:
    """libav adds 2 ** 33 to stamps below those of the start, so a clock that was reset looks like one that is hours ahead."""
    start = WRAP_33_BITS - 4000
    pts, line = placed([(start + STEP * i) % WRAP_33_BITS for i in range(200)], wrap=WRAP_33_BITS)
    assert pts == [start + STEP * i for i in range(200)] and line.n_clocks == line.n_mended == 0
    assert line.pieces == [Piece(start, 0), Piece(start + 4000, WRAP_33_BITS)]
    pts, line = placed([*REGULAR[:100], *(WRAP_33_BITS + STEP * i for i in range(100))], wrap=WRAP_33_BITS)
    assert np.diff(pts).tolist() == [STEP] * 199 and line.n_clocks == 1


def test_stamps_that_increase_are_left_as_they_are() -> None:
    """Also uneven ones, from 1 ms to 25 s, and time-lapses: nothing is known of them that they do not say."""
    rng = random.Random(3)
    for _ in range(300):
        steps = [rng.choice([1, 20, 40, 40, 40, 3960, 25_000, rng.randint(1, 30_000)]) for _ in range(rng.randint(1, 60))]
        stamps = [rng.randint(-HOUR, HOUR)]
        for step in steps:
            stamps.append(stamps[-1] + step)
        pts, line = placed(stamps, step=rng.choice([1, 40, 1000]))
        assert pts == stamps and line.n_mended == line.n_clocks == 0
    lapse = [HOUR * i for i in range(100)]
    assert placed(lapse)[0] == lapse


def test_pts_increase_whatever_the_stamps_are() -> None:
    rng = random.Random(4)
    for _ in range(300):
        stamps: list[int | None] = [rng.choice([None, rng.randint(-200, 200), rng.randint(-HOUR, HOUR), 40 * i]) for i in range(60)]
        pts, line = placed(stamps, packets=[])
        assert all(b > a for a, b in pairwise(pts))
        for start, stop in ((0, 1), (7, 31)):  # pieces say how each pts came of its stamp
            for k in range(start, stop):
                piece = max((p for p in line.pieces if p.start_pts <= pts[k]), key=lambda p: p.start_pts, default=None)
                assert stamps[k] is None or (piece is not None and pts[k] - piece.offset == stamps[k])


def test_few_frames_are_held_and_only_where_a_stamp_is_in_doubt() -> None:
    line: TimeLine[int] = TimeLine(TICK, STEP)
    waiting = most = 0
    for i, stamp in enumerate(changed({100: 10 * HOUR, 101: 10 * HOUR + STEP})):
        waiting += 1 - len(line.push(i, stamp))
        most = max(most, waiting)
        assert i in range(3) or 100 <= i <= 100 + LOOK or waiting == 0
    assert most == LOOK


# Holes


def test_a_hole_is_long_for_the_clock_and_for_its_neighbours() -> None:
    ordinary = np.array([*REGULAR, *(REGULAR[-1] + HOUR + STEP * i for i in range(200))])
    (hole,) = holes_of(ordinary, TICK, 30.0)
    assert (hole.at, hole.start_pts, hole.end_pts) == (200, REGULAR[-1] + STEP, REGULAR[-1] + HOUR)
    assert holes_of(ordinary, TICK, 4000.0) == holes_of(ordinary, TICK, 0.0) == []
    assert holes_of(np.arange(100) * 60_000, TICK, 30.0) == []  # a time-lapse
    lapse = np.concatenate((ordinary, ordinary[-1] + 60_000 * np.arange(1, 100)))  # and one after ordinary film
    assert holes_of(lapse, TICK, 30.0) == [hole]
    assert [h.at for h in holes_of(-lapse[::-1], TICK, 30.0)] == [len(lapse) - 200]
    assert holes_of(np.array([0, HOUR]), TICK, 30.0) == []  # nothing says that this is long
    assert holes_of(np.array([5]), TICK, 30.0) == []


# Back to the file


def test_a_span_maps_back_to_the_stamps_of_the_file() -> None:
    stamps = [*REGULAR[:100], *(STEP * i for i in range(50)), 10 * HOUR, *(STEP * i for i in range(51, 100))]
    pts, line = placed(stamps)
    text = pieces_text(line.pieces)
    assert pieces_of(text) == line.pieces
    for first, stop in ((0, 10), (95, 105), (0, 200), (120, 130), (145, 155), (150, 151), (160, 190)):
        end = pts[stop] if stop < len(pts) else pts[-1] + STEP
        parts = file_spans(pts[first], end, text)
        held = [k for k, s in enumerate(stamps) if any(p.start_pts <= s < p.end_pts for p in parts)]
        assert set(range(first, stop)) <= set(held)
        assert sum(p.end_pts - p.start_pts for p in parts) == end - pts[first]
    assert [(p.start_pts, p.end_pts) for p in file_spans(5, 9, None)] == [(5, 9)]
    assert pieces_text([Piece(7, 0)]) is None


def test_packets_find_their_place_in_the_order_of_the_file() -> None:
    """Ten parts whose clocks all begin at 10 s, and an outlier; packets in decoding order, three frames apart from that of presentation."""
    stamps = [10_000 + STEP * i for _ in range(10) for i in range(20)]
    stamps[107] = 3 * HOUR
    pts, line = placed(stamps)
    order = [k + j for k in range(0, 200, 4) for j in (0, 3, 1, 2)]
    clock = FileClock(line.pieces)
    assert [clock.pts(stamps[k]) for k in order] == [pts[k] for k in order]
    fine = FileClock(line.pieces, Fraction(48))  # sound of the same file, in ticks of 1/48000 s
    assert [fine.pts(48 * s) for k, s in enumerate(stamps) if k != 107] == [48 * p for k, p in enumerate(pts) if k != 107]
    assert FileClock(()).pts(77) == 77
