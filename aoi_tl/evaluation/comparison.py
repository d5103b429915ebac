"""Arms held against each other: means, spreads, intervals and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval.

    Attributes
    ----------
    n : int
        How many seeds.
    mean, sd : float
        Mean and standard deviation (n - 1) over the seeds; ``sd`` is NaN for one seed.
    low, high : float
        The interval; NaN for one seed, because one seed tells nothing of the spread.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float


def estimate(values: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Estimate a mean from a few seeds by Student's t.

    Parameters
    ----------
    values : array_like of shape (n,)
        One value a seed.
    confidence : float
        The interval's coverage.

    Returns
    -------
    Estimate
        The interval is ``mean +- t(n - 1) * sd / sqrt(n)``.

    Raises
    ------
    ValueError
        When there is no value.

    References
    ----------
    .. [1] Student. "The Probable Error of a Mean." Biometrika 6(1), 1908.

    Examples
    --------
    >>> found = estimate([0.2, 0.3, 0.4])
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
    (0.3, 0.052, 0.548)
    """
    array = np.asarray(values, dtype=float)
    n = array.size
    if n == 0:
        raise ValueError("expected at least one value, got none")
    mean = float(array.mean())
    if n == 1:
        return Estimate(1, mean, math.nan, math.nan, math.nan)
    from scipy.stats import t

    sd = float(array.std(ddof=1))
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * sd / math.sqrt(n)
    return Estimate(n, mean, sd, mean - half, mean + half)


def summarise(
    rows: pandas.DataFrame, metrics: Sequence[str], baselines: Sequence[str]
) -> pandas.DataFrame:
    """Summarise the arms over their seeds.

    Parameters
    ----------
    rows : DataFrame
        A row per arm and seed: columns ``arm``, ``seed`` and the metrics.
    metrics : sequence of str
        The columns to summarise.
    baselines : sequence of str
        Arms that every other arm is compared with, seed by seed; those without rows are left out.

    Returns
    -------
    DataFrame
        A row per metric and arm, in the order of ``rows``: ``n, mean, sd, low, high`` and for
        each baseline ``b`` the paired difference ``arm - b`` over the seeds both have:
        ``minus_b, minus_b_low, minus_b_high, minus_b_n``.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"arm": ["coco", "coco", "method", "method"], "seed": [0, 1, 0, 1],
    ...                      "map50": [0.2, 0.4, 0.3, 0.6]})
    >>> table = summarise(rows, ["map50"], ["coco"])
    >>> table[["arm", "mean", "minus_coco"]].round(3).values.tolist()
    [['coco', 0.3, nan], ['method', 0.45, 0.15]]
    """
    import pandas as pd

    table = []
    arms = list(dict.fromkeys(rows["arm"]))
    for metric in metrics:
        by_arm = {arm: rows[rows["arm"] == arm].set_index("seed")[metric] for arm in arms}
        for arm in arms:
            found = estimate(by_arm[arm])
            row: dict[str, object] = {
                "metric": metric, "arm": arm, "n": found.n, "mean": found.mean, "sd": found.sd,
                "low": found.low, "high": found.high,
            }
            for baseline in baselines:
                if baseline not in by_arm:
                    continue
                pairs = (by_arm[arm] - by_arm[baseline]).dropna() if arm != baseline else []
                if len(pairs) == 0:
                    difference = Estimate(0, math.nan, math.nan, math.nan, math.nan)
                else:
                    difference = estimate(pairs)
                row |= {
                    f"minus_{baseline}": round(difference.mean, 12),
                    f"minus_{baseline}_low": difference.low,
                    f"minus_{baseline}_high": difference.high,
                    f"minus_{baseline}_n": difference.n,
                }
            table.append(row)
    return pd.DataFrame(table)
