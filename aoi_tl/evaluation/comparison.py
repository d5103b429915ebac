"""Comparing arms: means, standard deviations, intervals and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas
    from numpy.typing import ArrayLike

    from aoi_tl.evaluation.bootstrap import Interval

#: Seeds below which their spread gives no interval: Student's t would give a range that says
#: nothing, often wider than the metric itself.
FEWEST_SEEDS = 4


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
        The interval; NaN for one seed, because one seed says nothing about the spread.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float


def estimate(
    values: ArrayLike, confidence: float = 0.95, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Estimate a mean from a few seeds by Student's t.

    Parameters
    ----------
    values : array_like of shape (n,)
        One value a seed.
    confidence : float
        The interval's coverage.
    bounds : tuple of float
        The range of possible values; the interval is clipped to it, which keeps its coverage.

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
    return Estimate(n, mean, sd, max(mean - half, bounds[0]), min(mean + half, bounds[1]))


def summarise(
    rows: pandas.DataFrame,
    metrics: Sequence[str],
    baselines: Sequence[str],
    resampled: Mapping[tuple[str, str, str | None], Interval] | None = None,
) -> pandas.DataFrame:
    """Summarise the arms over their seeds.

    Parameters
    ----------
    rows : DataFrame
        A row per arm and seed: columns ``arm``, ``seed`` and the metrics, which lie in 0..1.
    metrics : sequence of str
        The columns to summarise.
    baselines : sequence of str
        Arms that every other arm is compared with, seed by seed; those without rows are left out.
    resampled : mapping, optional
        Intervals over test images and seeds, as `aoi_tl.evaluation.bootstrap.bootstrap_arms` gives
        them.

    Returns
    -------
    DataFrame
        A row per metric and arm, in the order of ``rows``: ``n, mean, sd, low, high`` and for
        each baseline ``b`` the paired difference ``arm - b`` over the seeds both have:
        ``minus_b, minus_b_low, minus_b_high, minus_b_n``. Below `FEWEST_SEEDS` seeds there is no
        interval of their spread. With `resampled` also ``boot_low, boot_high`` and
        ``minus_b_boot_low, minus_b_boot_high``.

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
    known = [baseline for baseline in baselines if baseline in arms]
    for metric in metrics:
        by_arm = {arm: rows[rows["arm"] == arm].set_index("seed")[metric] for arm in arms}
        for arm in arms:
            found = _over_seeds(by_arm[arm], (0.0, 1.0))
            row: dict[str, object] = {
                "metric": metric, "arm": arm, "n": found.n, "mean": found.mean, "sd": found.sd,
                "low": found.low, "high": found.high,
            }
            if resampled is not None:
                row |= _ends("boot", resampled.get((metric, arm, None)))
            for baseline in known:
                pairs = (by_arm[arm] - by_arm[baseline]).dropna() if arm != baseline else []
                difference = _over_seeds(pairs, (-1.0, 1.0))
                row |= {
                    f"minus_{baseline}": round(difference.mean, 12),
                    f"minus_{baseline}_low": difference.low,
                    f"minus_{baseline}_high": difference.high,
                    f"minus_{baseline}_n": difference.n,
                }
                if resampled is not None:
                    row |= _ends(f"minus_{baseline}_boot", resampled.get((metric, arm, baseline)))
            table.append(row)
    return pd.DataFrame(table)


def _over_seeds(values: ArrayLike, bounds: tuple[float, float]) -> Estimate:
    if len(np.atleast_1d(values)) == 0:
        return Estimate(0, math.nan, math.nan, math.nan, math.nan)
    found = estimate(values, bounds=bounds)
    if found.n < FEWEST_SEEDS:
        return Estimate(found.n, found.mean, found.sd, math.nan, math.nan)
    return found


def _ends(name: str, interval: Interval | None) -> dict[str, float]:
    low, high = (interval.low, interval.high) if interval else (math.nan, math.nan)
    return {f"{name}_low": low, f"{name}_high": high}


def wider_interval(
    row: Mapping[str, float] | pandas.Series, difference: str = ""
) -> tuple[float, float]:
    """Give the wider of the two intervals of a row: over the seeds, or over images and seeds.

    Parameters
    ----------
    row : mapping or Series
        Of the table that `summarise` gives.
    difference : str
        ``minus_stock`` and the like; the mean itself unless given.

    Returns
    -------
    low, high : float
        NaN where there is neither.

    Examples
    --------
    >>> wider_interval({"low": 0.2, "high": 0.4, "boot_low": 0.28, "boot_high": 0.33})
    (0.2, 0.4)
    """
    start = f"{difference}_" if difference else ""
    found = [
        (float(row[f"{start}{kind}low"]), float(row[f"{start}{kind}high"]))
        for kind in ("", "boot_") if f"{start}{kind}low" in row
    ]
    return max((ends for ends in found if not math.isnan(ends[0])),
               key=lambda ends: ends[1] - ends[0], default=(math.nan, math.nan))
