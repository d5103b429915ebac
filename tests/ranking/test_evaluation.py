from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aoi_tl.ranking.evaluation import agreement, calibration, choices_made


def table():
    return pd.DataFrame([
        ("t", "a", 10.0, 3.0, 5.0), ("t", "b", 4.0, 2.0, 7.0), ("t", "c", -6.0, 1.0, -1.0),
        ("t", "a+b", 12.0, np.nan, 9.0),
        ("u", "a", -2.0, 1.0, -3.0), ("u", "b", -9.0, 3.0, -4.0), ("u", "c", -5.0, np.nan, -5.0),
    ], columns=["target", "sources", "gain", "far", "auto"])


def row(found, name):
    return found.set_index("measure").loc[name]


def test_taus_and_regrets_by_hand():
    found = agreement(table(), {"far": "higher", "auto": "higher"}, np.random.default_rng(0))
    far = row(found, "far")
    # t is ordered as it was; u: b, a, c by the measure, a, c, b by the gain.
    assert far["tau"] == pytest.approx((1 - 1 / 3) / 2)
    # The best of t is the set (12), which only auto may choose; of u "none" (0).
    assert far["top1_regret"] == pytest.approx(((12 - 10) + (0 + 9)) / 2)
    assert far["top3_regret"] == pytest.approx((2 + 2) / 2)
    assert far["wins"] == 0.5
    assert far["tau_low"] <= far["tau"] <= far["tau_high"]
    auto = row(found, "auto")
    assert (auto["top1_regret"], auto["wins"]) == (0, 0.5)


def test_the_direction_turns_the_order():
    pairs = table()
    pairs["near"] = -pairs["far"]
    found = agreement(pairs, {"far": "higher", "near": "lower"}, np.random.default_rng(0))
    for quantity in ("tau", "weighted_tau", "top1_regret", "top3_regret", "wins"):
        assert row(found, "far")[quantity] == row(found, "near")[quantity]


def test_a_measure_that_says_nothing_has_no_tau():
    pairs = table().assign(same=1.0)
    found = agreement(pairs, {"same": "higher"}, np.random.default_rng(0))
    assert row(found, "same")["tau"] == row(found, "same")["weighted_tau"] == 0


def test_none_is_chosen_where_nothing_is_expected_to_help():
    assert choices_made(table(), "auto") == {"t": ("a+b", 12.0), "u": ("none", 0.0)}


def test_an_estimate_is_held_against_the_gain():
    found = calibration(table(), "auto", 3.0, np.random.default_rng(0))
    # t: -5, 3, 5, -3; u: -1, 5, 0
    assert found["bias"] == pytest.approx((0 + 4 / 3) / 2)
    assert found["error"] == pytest.approx((4 + 2) / 2)
    assert found["inside"] == pytest.approx((2 / 4 + 2 / 3) / 2)
    assert found["pairs"] == 7
