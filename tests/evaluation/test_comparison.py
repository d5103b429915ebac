from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aoi_tl.evaluation.bootstrap import Interval
from aoi_tl.evaluation.comparison import estimate, summarise, wider_interval


def test_three_seeds_by_hand() -> None:
    found = estimate([1.0, 2.0, 3.0])
    # t(2, 0.975) = 4.30265; sd = 1; half = 4.30265 / sqrt(3)
    assert found.mean == 2.0
    assert found.sd == 1.0
    assert found.high - found.mean == pytest.approx(2.484138, abs=1e-5)


def test_one_seed_has_no_interval() -> None:
    found = estimate([0.4])
    assert found.mean == 0.4
    assert math.isnan(found.sd)
    assert math.isnan(found.low)


def test_no_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate([])


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12).filter(lambda v: np.std(v) > 1e-6))
def test_second_opinion(values: list[float]) -> None:
    found = estimate(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.low == pytest.approx(low, abs=1e-9)
    assert found.high == pytest.approx(high, abs=1e-9)


def test_differences_are_paired_by_seed_and_not_by_order() -> None:
    rows = pd.DataFrame(
        [("coco", 0, 0.1), ("coco", 1, 0.5), ("coco", 2, 0.9), ("coco", 3, 0.3),
         ("method", 2, 1.0), ("method", 0, 0.2), ("method", 3, 0.4), ("method", 1, 0.6)],
        columns=["arm", "seed", "map50"],
    )
    table = summarise(rows, ["map50"], ["coco", "stock"]).set_index("arm")
    method = table.loc["method"]
    assert method["minus_coco"] == pytest.approx(0.1)
    # Each pair differs by the same amount, so the interval closes although the seeds scatter.
    assert method["minus_coco_high"] == pytest.approx(0.1)
    assert math.isnan(table.loc["coco", "minus_coco"])
    assert "minus_stock" not in table


def test_a_seed_only_one_arm_has_is_no_pair() -> None:
    rows = pd.DataFrame(
        [("coco", 0, 0.1), ("method", 0, 0.3), ("method", 1, 0.9)],
        columns=["arm", "seed", "map50"],
    )
    method = summarise(rows, ["map50"], ["coco"]).set_index("arm").loc["method"]
    assert method["n"] == 2
    assert method["minus_coco_n"] == 1
    assert method["minus_coco"] == pytest.approx(0.2)


def test_an_interval_of_a_share_ends_at_its_bounds() -> None:
    values = [0.7, 0.95, 0.99, 0.99]
    assert estimate(values).high > 1
    rows = pd.DataFrame({"arm": "probe", "seed": range(4), "accuracy": values})
    [row] = summarise(rows, ["accuracy"], []).to_dict("records")
    assert row["high"] == 1.0
    assert row["low"] == estimate(values).low


@pytest.mark.parametrize("n", [2, 3])
def test_two_or_three_seeds_are_too_few_for_an_interval(n: int) -> None:
    rows = pd.DataFrame({"arm": ["stock", "chain"] * n, "seed": np.repeat(range(n), 2),
                         "map50": np.linspace(0.1, 0.9, 2 * n)})
    table = summarise(rows, ["map50"], ["stock"]).set_index("arm")
    assert table.loc["chain", ["mean", "sd", "minus_stock"]].notna().all()
    assert table[["low", "high"]].isna().all(axis=None)
    assert table.loc["chain", ["minus_stock_low", "minus_stock_high"]].isna().all()


def test_the_wider_interval_counts() -> None:
    rows = pd.DataFrame({"arm": ["stock", "chain"] * 4, "seed": np.repeat(range(4), 2),
                         "map50": [0.1, 0.3, 0.1, 0.3, 0.1, 0.3, 0.2, 0.41]})
    resampled = {("map50", "chain", None): Interval(0.33, 0.1, 0.9),
                 ("map50", "chain", "stock"): Interval(0.2, -0.1, 0.5)}
    table = summarise(rows, ["map50"], ["stock"], resampled).set_index("arm")
    chain = table.loc["chain"].to_dict()
    assert 0 < chain["minus_stock_low"] < chain["minus_stock_high"] < 0.3
    assert wider_interval(chain, "minus_stock") == (-0.1, 0.5)
    assert wider_interval(chain) == (0.1, 0.9)
    assert math.isnan(wider_interval(table.loc["stock"].to_dict(), "minus_stock")[0])
