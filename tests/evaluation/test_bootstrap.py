from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.evaluation.bootstrap import bootstrap_arms
from aoi_tl.evaluation.predictions import Predictions

from .test_predictions import made


def images_found(found: list[bool]) -> Predictions:
    """One true box in each image; found, or not predicted at all."""
    n = len(found)
    return made([(i, 0) for i in range(n)],
                [(i, 0, 0.9 - i / 1000, True) for i in range(n) if found[i]], n)


def test_two_images_by_hand() -> None:
    # Of two images one is found: a sample holds it twice (1/4), once (1/2) or never (1/4).
    result = bootstrap_arms({"arm": {0: images_found([True, False])}}, samples=4000)
    interval = result["map50", "arm", None]
    assert interval.value == pytest.approx(0.5, abs=0.02)
    assert interval.low == pytest.approx(0.0, abs=0.02)
    assert interval.high == pytest.approx(1.0, abs=0.02)


def test_equal_arms_differ_by_nothing_and_bounds_hold() -> None:
    one = {0: images_found([True, True, False]), 1: images_found([True, False, False])}
    result = bootstrap_arms({"stock": one, "chain": one}, ["stock"], samples=200)
    difference = result["map50", "chain", "stock"]
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
    for (_, _, baseline), interval in result.items():
        assert interval.low <= interval.value + 1e-9
        assert (-1e-9 if baseline is None else -1) <= interval.low <= interval.high <= 1 + 1e-9


def test_a_difference_is_paired_over_images() -> None:
    # Each image is found by both arms or by none, but for one: the difference hardly varies,
    # though each arm's own score does.
    stock = [i % 2 == 0 for i in range(40)]
    chain = [*stock[:-1], True]
    result = bootstrap_arms({"stock": {0: images_found(stock)}, "chain": {0: images_found(chain)}},
                            ["stock"], samples=400)
    own, difference = result["map50", "chain", None], result["map50", "chain", "stock"]
    assert difference.high - difference.low < (own.high - own.low) / 2
    assert difference.value == pytest.approx(1 / 40, abs=0.01)


def test_arms_on_other_images_are_refused() -> None:
    other = made([(0, 0)], [], 1)
    with pytest.raises(ValueError, match="same images"):
        bootstrap_arms({"a": {0: images_found([True, True])}, "b": {0: other}})
    assert bootstrap_arms({}) == {}


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # Images are found with a chance of 0.6; the interval of 60 of them should hold 0.6 in about
    # 95 of 100 tries (percentile intervals of small samples hold it a little less often).
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(100):
        found = (rng.uniform(size=60) < 0.6).tolist()
        interval = bootstrap_arms(
            {"arm": {0: images_found(found)}}, samples=150, seed=trial
        )["map50", "arm", None]
        held += interval.low <= 0.6 <= interval.high
    assert 87 <= held <= 99


def test_both_ends_leave_out_a_fortieth() -> None:
    # Of 20 images 10 are found. Fewer than 6 in a sample have a chance of 0.021, fewer than 7 one
    # of 0.058; more than 14 and more than 13 the same.
    result = bootstrap_arms({"arm": {0: images_found([True, False] * 10)}}, samples=6000)
    interval = result["map50", "arm", None]
    assert interval.low == pytest.approx(6 / 20, abs=0.01)
    assert interval.high == pytest.approx(14 / 20, abs=0.01)
