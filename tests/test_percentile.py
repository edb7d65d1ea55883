"""Percentiles and medians beside numpy's, which are the truth here."""

from __future__ import annotations

import numpy as np
import pytest

from rushes.scan.align import medians
from rushes.scan.percentile import percentile


@pytest.mark.parametrize("n", [1, 2, 3, 9, 220, 501])
def test_percentiles_are_those_of_numpy(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n).astype(np.float32)
    before = values.copy()
    for percent in (0.0, 10.0, 50.0, 75.0, 95.0, 99.9):
        assert percentile(values, percent) == pytest.approx(float(np.percentile(values, percent)), rel=1e-6)
    assert np.array_equal(values, before)


@pytest.mark.parametrize("n", [1, 2, 7, 120])
def test_medians_are_those_of_numpy(n: int) -> None:
    rows = np.random.default_rng(n).random((5, n), dtype=np.float32)
    assert np.array_equal(medians(rows), np.median(rows, axis=1, keepdims=True))
