from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.ranking.auto import FITTED, NONE, TOGETHER, choices, estimate, fit_leaving_out
from aoi_tl.ranking.measure import Measured


def measured(**values):
    return {name.replace("_", "-"): Measured(value, "higher") for name, value in values.items()}


def test_the_detector_is_asked_first_and_data_else():
    data = measured(overlap=1.0, box=0.5)
    gain, (low, high) = estimate(data)
    assert gain == pytest.approx(FITTED["data"].gain([1.0, 0.5]))
    assert high - gain == pytest.approx(gain - low) == pytest.approx(FITTED["data"].margin)
    seen, _ = estimate({**data, **measured(zero_shot=0.6)})
    assert seen == pytest.approx(FITTED["detector"].gain([0.6]))


def test_no_shared_class_is_nothing_found():
    gain, _ = estimate(measured(overlap=0.0, box=0.5))
    assert gain == pytest.approx(FITTED["detector"].gain([0.0]))
    assert gain < 0


def test_no_estimate_without_the_measures():
    assert estimate(measured(size=4.0)) is None


def test_nothing_that_helps_means_none():
    listed = choices({"a": (-30.0, (-40.0, -20.0)), "b": (-20.0, (-30.0, -10.0))})
    assert [choice.name for choice in listed] == [NONE, "b", TOGETHER, "a"]
    assert listed[2].estimated_gain == pytest.approx(-25)


def test_sources_that_help_are_put_together():
    listed = choices({"a": (10.0, (0, 20)), "b": (20.0, (10, 30)), "far": (-20.0, (-30, -10))})
    assert listed[0].sources == ("b", "a")
    assert listed[0].name == "b + a"
    assert {NONE, TOGETHER} <= {choice.name for choice in listed}
    all_help = choices({"a": (10.0, (0, 20)), "b": (20.0, (10, 30))})
    assert all_help[0].name == TOGETHER


def test_what_cannot_be_estimated_stands_last():
    assert [choice.name for choice in choices({"a": None})] == [NONE, "a"]


def test_rows_are_estimated_without_their_group():
    inputs = np.array([[0.0], [1.0], [0.0], [1.0], [0.0], [1.0]])
    gains = np.array([0.0, 10.0, 0.0, 10.0, 0.0, 40.0])
    estimator, left_out = fit_leaving_out(inputs, gains, ["a", "a", "b", "b", "c", "c"])
    assert left_out[4:] == pytest.approx([0, 10])
    assert left_out[:2] == pytest.approx([0, 25])
    assert estimator.gain([1.0]) == pytest.approx(20)
