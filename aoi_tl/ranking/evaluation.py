"""Evaluating a ranking: how well its order predicted the gains measured by training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aoi_tl.ranking.measure import Direction

if TYPE_CHECKING:
    import pandas

#: The quantities reported for a measure, each a mean over targets.
QUANTITIES = ("tau", "weighted_tau", "top1_regret", "top3_regret", "wins")
_SAMPLES = 2000  # of the bootstrap


def agreement(
    pairs: pandas.DataFrame, measures: Mapping[str, Direction], generator: np.random.Generator
) -> pandas.DataFrame:
    """Compare the order by each measure with the gains that training showed.

    Parameters
    ----------
    pairs : DataFrame
        A row for each target and each thing that was learned from, with the columns ``target``,
        ``sources`` (one name, or several joined by "+"), ``gain`` (points of mAP50 over plain
        fine-tuning) and one for each measure; blank where it is undefined.
    measures : mapping of str to {"higher", "lower"}
        The columns to compare with the gains, and which values favour a source. One whose name
        begins with "auto" is an estimate of the gain: it may choose a set, and "none" where nothing
        is above 0; any other chooses among single sources.
    generator : Generator
        Draws the targets of the bootstrap.

    Returns
    -------
    DataFrame
        A row for each measure: ``measure``, ``targets``, and for each of `QUANTITIES` its mean over
        targets with the ends of its 95 % interval, ``_low`` and ``_high``. Taus are Kendall's and
        Vigna's weighted one over single sources. Regrets are in points of mAP50 below the best of
        all rows and of "none"; with the best of the first three in the place of the first. Wins are
        the share of targets whose first choice was better than plain fine-tuning.

    References
    ----------
    .. [1] Vigna. "A Weighted Correlation Index for Rankings with Ties." WWW 2015.
    .. [2] Agostinelli et al. "How Stable Are Transferability Metrics Evaluations?" ECCV 2022.
    """
    import pandas as pd

    rows = []
    for name, direction in measures.items():
        each = np.array([
            _of_target(mine, name, direction) for _, mine in pairs.groupby("target", sort=False)
        ])
        row: dict[str, Any] = {"measure": name, "targets": len(each)}
        for quantity, values in zip(QUANTITIES, each.T, strict=True):
            mean, low, high = _mean_with_ends(values, generator)
            row |= {quantity: mean, f"{quantity}_low": low, f"{quantity}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def choices_made(pairs: pandas.DataFrame, estimate: str) -> dict[str, tuple[str, float]]:
    """Give the choice of an estimate for each target, and the gain that it brought.

    Parameters
    ----------
    pairs : DataFrame
        As for `agreement`.
    estimate : str
        The column of the estimate.

    Returns
    -------
    dict of str to (str, float)
        For each target the sources and their gain; ``"none"`` and 0 where nothing is above 0.
    """
    found = {}
    for target, mine in pairs.groupby("target", sort=False):
        known = mine.dropna(subset=[estimate])
        if known.empty or known[estimate].max() <= 0:
            found[str(target)] = ("none", 0.0)
            continue
        best = known.sort_values(estimate, kind="stable").iloc[-1]
        found[str(target)] = (str(best["sources"]), float(best["gain"]))
    return found


def calibration(
    pairs: pandas.DataFrame, estimate: str, margin: float, generator: np.random.Generator
) -> dict[str, float]:
    """Compare an estimate of the gain with the measured gain.

    Parameters
    ----------
    pairs : DataFrame
        As for `agreement`.
    estimate : str
        The column of the estimate.
    margin : float
        Half the width of its interval, in points of mAP50.
    generator : Generator
        Draws the targets of the bootstrap.

    Returns
    -------
    dict of str to float
        ``bias`` (estimate minus gain), ``error`` (mean absolute) and ``inside`` (share of the gains
        within the margin), each with ``_low`` and ``_high``, the mean over targets' means; and
        ``pairs``, their number.
    """
    known = pairs.dropna(subset=[estimate])
    off = (known[estimate] - known["gain"]).to_numpy(float)
    parts = {"bias": off, "error": np.abs(off), "inside": (np.abs(off) <= margin).astype(float)}
    result: dict[str, float] = {"pairs": float(len(known))}
    targets = known["target"].to_numpy()
    for name, values in parts.items():
        each = np.array([values[targets == target].mean() for target in dict.fromkeys(targets)])
        mean, low, high = _mean_with_ends(each, generator)
        result |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return result


def _of_target(mine: pandas.DataFrame, name: str, direction: Direction) -> list[float]:
    """The quantities of one measure on one target."""
    from scipy.stats import kendalltau, weightedtau

    singles = mine[~mine["sources"].str.contains("+", regex=False)]
    sign = -1.0 if direction == "lower" else 1.0
    # Undefined values come last, all with the same rank.
    value = np.asarray((sign * singles[name]).fillna(-np.inf).rank(), dtype=np.float64)
    gain = np.asarray(singles["gain"], dtype=np.float64)
    estimates = name.startswith("auto")
    offered = mine if estimates else singles
    order = offered[name].mul(sign).fillna(-np.inf).to_numpy().argsort(kind="stable")[::-1]
    outcomes = offered["gain"].to_numpy(float)[order]
    if estimates:  # estimates below 0 come after "none"
        above = (offered[name].to_numpy(float)[order] > 0).sum()
        outcomes = np.insert(outcomes, above, 0.0)
    best = max(mine["gain"].max(), 0.0)
    return [
        _tau(kendalltau, value, gain), _tau(weightedtau, value, gain), best - outcomes[0],
        best - outcomes[:3].max(), float(outcomes[0] > 0),
    ]


def _tau(coefficient: Any, value: NDArray[np.float64], gain: NDArray[np.float64]) -> float:
    """A rank correlation; 0 where all values are one, which says nothing of the order."""
    if len(value) < 2 or np.ptp(value) == 0 or np.ptp(gain) == 0:
        return 0.0
    return float(coefficient(value, gain).statistic)


def _mean_with_ends(
    values: NDArray[np.float64], generator: np.random.Generator
) -> tuple[float, float, float]:
    """The mean over targets and its 95 % percentile interval under a bootstrap over them."""
    drawn = values[generator.integers(len(values), size=(_SAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
