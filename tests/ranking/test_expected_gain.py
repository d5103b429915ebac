from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.ranking.expected_gain import FITTED, estimate, fit_leaving_group_out


def measured(**values):
    return {name.replace("_", "-"): value for name, value in values.items()}


def test_the_detector_is_asked_first_and_data_else():
    data = measured(overlap=1.0, box=0.5)
    gain, (low, high) = estimate(data)
    assert gain == pytest.approx(FITTED["data"].gain([0.5]))
    assert high - gain == pytest.approx(gain - low) == pytest.approx(FITTED["data"].margin)
    seen, _ = estimate({**data, **measured(zero_shot=0.6)})
    assert seen == pytest.approx(FITTED["detector"].gain([0.6]))


@pytest.mark.parametrize("values", [
    measured(overlap=0.0, box=0.0), measured(overlap=1.0, box=0.0, zero_shot=0.04),
    measured(overlap=0.0, zero_shot=0.9),
])
def test_what_is_unrelated_is_never_expected_to_help(values):
    gain, (low, high) = estimate(values)
    assert gain == FITTED["unrelated"].weights[0] < 0
    assert high - gain == pytest.approx(gain - low)
    assert estimate({**values, "overlap": 1.0, "zero-shot": 0.06})[0] > 0


def test_no_estimate_without_the_measures():
    assert estimate(measured(size=4.0, overlap=1.0)) is None


def test_rows_are_estimated_without_their_group():
    inputs = np.array([[0.0], [1.0], [0.0], [1.0], [0.0], [1.0]])
    gains = np.array([0.0, 10.0, 0.0, 10.0, 0.0, 40.0])
    estimator, left_out = fit_leaving_group_out(inputs, gains, ["a", "a", "b", "b", "c", "c"])
    assert left_out[4:] == pytest.approx([0, 10])
    assert left_out[:2] == pytest.approx([0, 25])
    assert estimator.gain([1.0]) == pytest.approx(20)
