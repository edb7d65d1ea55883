"""The ruler of benchmarks/cuts.py, on cases worked out by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

SOURCE = Path(__file__).resolve().parent.parent / "benchmarks" / "cuts.py"


@pytest.fixture(scope="module")
def cuts():
    spec = importlib.util.spec_from_file_location("benchmarks_cuts", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


TIMES = np.arange(250) / 25


@pytest.mark.parametrize(
    ("truth", "found", "tolerance", "counts"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0, (2, 0, 0)),
        ([1.0, 2.0], [1.04, 2.0], 0, (1, 1, 1)),
        ([1.0, 2.0], [1.04, 2.0], 1, (2, 0, 0)),
        ([1.0], [1.08], 1, (0, 1, 1)),
        ([1.0], [0.96, 1.0, 1.04], 1, (1, 0, 2)),
        ([1.0, 1.04], [1.04], 1, (1, 1, 0)),
        ([1.0, 1.04], [1.04, 1.08], 1, (1, 1, 1)),
        ([1.0], [], 0, (0, 1, 0)),
        ([], [1.0], 0, (0, 0, 1)),
        ([1.0], [1.0 + 1e-6], 0, (1, 0, 0)),
    ],
    ids=[
        "exact",
        "one_late",
        "one_late_allowed",
        "two_late",
        "one_truth_one_hit",
        "one_found_one_hit",
        "nearest_first",
        "missed",
        "false",
        "rounding",
    ],
)
def test_hard_cuts(cuts, truth, found, tolerance, counts):
    score = cuts.match_cuts(truth, found, TIMES, tolerance)
    assert (score.hits, score.misses, score.false) == counts


def test_frames_are_counted_not_seconds_on_variable_frame_rate(cuts):
    times = np.array([0.0, 0.04, 0.08, 1.0, 1.04])
    assert cuts.match_cuts([1.0], [0.08], times, 1).hits == 1
    assert cuts.match_cuts([1.0], [0.04], times, 1).hits == 0


@pytest.mark.parametrize(
    ("truth", "found", "counts"),
    [
        ([(1.0, 2.0)], [(1.5, 1.6)], (1, 0, 0)),
        ([(1.0, 2.0)], [(1.5, 1.5)], (1, 0, 0)),
        ([(1.0, 2.0)], [(2.1, 2.5)], (0, 1, 1)),
        ([(1.0, 2.0)], [(1.0, 1.2), (1.3, 2.0)], (1, 0, 1)),
        ([(1.0, 2.0), (3.0, 4.0)], [(1.5, 3.5)], (1, 1, 0)),
    ],
    ids=["inside", "a_cut_inside", "beside", "two_for_one", "one_for_two"],
)
def test_gradual(cuts, truth, found, counts):
    score, errors = cuts.match_gradual(truth, found)
    assert (score.hits, score.misses, score.false) == counts
    assert len(errors) == score.hits


def test_extent_errors_have_a_sign_and_belong_to_the_larger_overlap(cuts):
    _, errors = cuts.match_gradual([(1.0, 2.0)], [(0.9, 1.1), (1.1, 2.2)])
    assert errors == [(pytest.approx(0.1), pytest.approx(0.2))]


def test_scores(cuts):
    score = cuts.Score(8, 2, 4) + cuts.Score(0, 0, 4)
    assert (score.recall, score.precision, score.f1) == (0.8, 0.5, pytest.approx(16 / 26))
    assert cuts.Score().f1 == 1.0


def test_a_cut_inside_a_gradual_transition_is_a_detection_of_it_and_no_false_cut(cuts):
    truth = cuts.Found([5.0], [(1.0, 2.0)])
    row = cuts.compare(truth, cuts.Found([1.5, 5.0, 7.0], []), TIMES)
    assert (row["exact"].hits, row["exact"].misses, row["exact"].false) == (1, 0, 1)
    assert (row["gradual"].hits, row["gradual"].false) == (1, 0)
    assert row["errors"] == [], "a cut has no extent to judge"


def test_a_transition_found_over_a_cut_is_false_and_the_cut_is_missed(cuts):
    row = cuts.compare(cuts.Found([5.0], []), cuts.Found([], [(4.8, 5.2)]), TIMES)
    assert (row["exact"].misses, row["gradual"].false) == (1, 1)


def test_means_are_over_files_for_cuts_and_pooled_for_transitions(cuts):
    perfect = cuts.compare(cuts.Found([5.0], []), cuts.Found([5.0], []), TIMES)
    missed = cuts.compare(cuts.Found([5.0], []), cuts.Found([], []), TIMES)
    slow = cuts.compare(cuts.Found([], [(1.0, 2.0), (4.0, 5.0)]), cuts.Found([], [(1.1, 2.0)]), TIMES)
    mean = cuts.means([perfect, missed, slow])
    assert mean["hard_f1"] == 0.5
    assert mean["gradual_f1"] == pytest.approx(2 / 3)
    assert mean["extent_median_s"] == pytest.approx(0.05)
