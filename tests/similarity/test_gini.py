from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoi_tl.similarity.gini import gini, lorenz_curve

COUNTS = st.lists(st.integers(0, 10_000), min_size=1, max_size=20).filter(any)


def test_by_hand():
    # Lorenz curve 0, 1/4, 1: B = (0 + 1/4)/4 + (1/4 + 1)/4 = 3/8, A = 1/8, delta = 1/4
    assert lorenz_curve([2, 6]).tolist() == [0, 0.25, 1]
    assert gini([2, 6]) == pytest.approx(0.25)


def test_published_value():
    assert gini([349, 18, 10, 4, 2, 2]) == pytest.approx(0.77446, abs=5e-6)


@pytest.mark.parametrize("counts", [[5], [3] * 7, [1] * 3, [10, 10]])
def test_equal_counts_give_exactly_zero(counts):
    assert gini(counts) == 0.0


@given(COUNTS)
def test_equals_the_area_under_the_lorenz_curve(counts):
    area = np.trapezoid(lorenz_curve(counts), dx=1 / len(counts))
    assert gini(counts) == pytest.approx(1 - 2 * area, abs=1e-12)


@given(COUNTS, st.integers(1, 1000), st.randoms())
def test_ignores_scale_and_order_and_stays_in_range(counts, scale, random):
    shuffled = [scale * c for c in counts]
    random.shuffle(shuffled)
    assert gini(shuffled) == pytest.approx(gini(counts), abs=1e-12)
    assert 0 <= gini(counts) < 1


def test_edits_nothing():
    counts = np.array([3.0, 1.0, 2.0])
    gini(counts)
    lorenz_curve(counts)
    assert counts.tolist() == [3, 1, 2]


@pytest.mark.parametrize("counts", [[], [[1, 2]], [-1, 3], [np.nan, 1], [np.inf, 1], [0, 0]])
@pytest.mark.parametrize("measure", [gini, lorenz_curve])
def test_refuses(measure, counts):
    with pytest.raises(ValueError, match="expected"):
        measure(counts)
