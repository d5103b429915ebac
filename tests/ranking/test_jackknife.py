from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.ranking.jackknife import jackknife_variance, with_interval
from aoi_tl.ranking.measure import UndefinedMeasure


def test_of_a_mean_it_is_the_variance_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(size=9)
    found = jackknife_variance(lambda kept: float(values[kept].mean()), 9)
    assert found == pytest.approx(values.var(ddof=1) / 9)


def test_many_images_are_left_out_in_ten_groups() -> None:
    values, asked = np.random.default_rng(0).normal(size=400), []

    def mean(kept):
        asked.append(len(kept))
        return float(values[kept].mean())

    found = jackknife_variance(mean, 400)
    assert asked == [360] * 10
    assert found == pytest.approx(values.var(ddof=1) / 400, rel=1.0)  # itself a random number


def test_intervals_cover_what_is_true_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        one, other = rng.normal(1.0, 1.0, 30), rng.normal(0.0, 1.0, 20)
        found = with_interval(
            lambda mine, theirs, a=one, b=other: float(a[mine].mean() - b[theirs].mean()), 30, 20
        )
        inside += found.low <= 1.0 <= found.high
    assert 0.87 <= inside / 200 <= 1.0


def test_without_enough_images_there_is_a_value_and_no_interval() -> None:
    assert with_interval(lambda kept: 3.0, 1) == with_interval(lambda kept: 3.0, 1)
    assert with_interval(lambda kept: 3.0, 1).low is None

    def fragile(kept):
        if len(kept) < 4:
            raise UndefinedMeasure("a class rests on one image")
        return 2.0

    found = with_interval(fragile, 4)
    assert (found.value, found.low) == (2.0, None)
    with pytest.raises(UndefinedMeasure):
        with_interval(fragile, 3)
