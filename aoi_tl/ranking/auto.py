"""How many points of mAP50 a source is expected to bring over plain fine-tuning, and which set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aoi_tl.ranking.measure import Measured

NONE = "none: fine-tune COCO"
TOGETHER = "all together"
#: What an estimate is made of: with a kept detector, and from data alone.
INPUTS = {"detector": ("zero-shot",), "data": ("overlap", "box")}


@dataclass(frozen=True)
class Estimator:
    """A linear estimate of the gain.

    Attributes
    ----------
    weights : tuple of float
        Points of mAP50: a constant, then one for each unit of the inputs.
    margin : float
        Half the width of the estimate's interval: the 90 % quantile of the absolute errors on
        targets that the weights were not fitted on.
    """

    weights: tuple[float, ...]
    margin: float

    def gain(self, inputs: Sequence[float]) -> float:
        """Points of mAP50 over plain fine-tuning."""
        return float(self.weights[0] + np.dot(self.weights[1:], inputs))


@dataclass(frozen=True)
class Choice:
    """Something that can be done for a target: learn from some sources, or from none.

    Attributes
    ----------
    name : str
        A source, several joined by " + ", `NONE` or `TOGETHER`.
    sources : tuple of str
    estimated_gain : float or None
        Points of mAP50 over plain fine-tuning; None where it cannot be estimated.
    interval : tuple of float or None
        Its ends.
    """

    name: str
    sources: tuple[str, ...]
    estimated_gain: float | None
    interval: tuple[float, float] | None


def fit(inputs: NDArray[np.float64], gains: NDArray[np.float64]) -> tuple[float, ...]:
    """Fit the weights of an estimate by least squares.

    Parameters
    ----------
    inputs : array of shape (n, k)
    gains : array of shape (n,)
        Points of mAP50.

    Returns
    -------
    tuple of float
        A constant and k weights.

    Examples
    --------
    >>> [round(w, 6) for w in fit(np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0]))]
    [1.0, 2.0]
    """
    table = np.column_stack([np.ones(len(inputs)), inputs])
    return tuple(np.linalg.lstsq(table, gains, rcond=None)[0].tolist())


def fit_leaving_out(
    inputs: NDArray[np.float64], gains: NDArray[np.float64], groups: Sequence[str]
) -> tuple[Estimator, NDArray[np.float64]]:
    """Fit an estimator, and estimate each row by one that was fitted without the row's group.

    Parameters
    ----------
    inputs : array of shape (n, k)
    gains : array of shape (n,)
    groups : sequence of str
        The target, or the family, of each row; at least two.

    Returns
    -------
    estimator : Estimator
        Fitted on all rows; its margin is that of the rows left out.
    left_out : array of shape (n,)
        The estimate of each row.
    """
    labels = np.array(groups)
    left_out = np.zeros(len(gains))
    for group in np.unique(labels):
        mine = labels == group
        weights = fit(inputs[~mine], gains[~mine])
        left_out[mine] = [Estimator(weights, 0).gain(row) for row in inputs[mine]]
    margin = float(np.quantile(np.abs(gains - left_out), 0.9))
    return Estimator(fit(inputs, gains), margin), left_out


def estimate(measured: Mapping[str, Measured]) -> tuple[float, tuple[float, float]] | None:
    """Estimate the gain of one source.

    Parameters
    ----------
    measured : mapping of str to Measured
        Its measures; see `inputs_of`.

    Returns
    -------
    gain : float
        Points of mAP50 over plain fine-tuning.
    interval : tuple of float
        None in place of both where the measures are not there.
    """
    for kind in INPUTS:
        if (values := inputs_of(kind, measured)) is not None:
            estimator = FITTED[kind]
            gain = estimator.gain(values)
            return gain, (gain - estimator.margin, gain + estimator.margin)
    return None


def inputs_of(kind: str, measured: Mapping[str, Measured]) -> list[float] | None:
    """Give what an estimate is made of.

    Parameters
    ----------
    kind : {"detector", "data"}
    measured : mapping of str to Measured
        Of one source.

    Returns
    -------
    list of float or None
        None where a measure is missing. A detector that knows none of the target's classes finds
        none of them: its ``zero-shot`` counts as 0.
    """
    values = [measured[name].value if name in measured else None for name in INPUTS[kind]]
    overlap = measured["overlap"].value if "overlap" in measured else None
    if kind == "detector" and overlap == 0:
        values = [0.0]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def choices(
    estimates: Mapping[str, tuple[float, tuple[float, float]] | None]
) -> tuple[Choice, ...]:
    """List all that can be done, the best first: each source, a set, all together, none.

    The set holds every source that is expected to help. Its estimate is that of its best member
    with what a union was seen to add; the estimate of all together is the mean of all where some
    are not expected to help.

    Parameters
    ----------
    estimates : mapping of str to (float, tuple of float) or None
        For each source what `estimate` gave.

    Returns
    -------
    tuple of Choice
        Those that cannot be estimated stand last.

    Examples
    --------
    >>> [choice.name for choice in choices({"a": (-5.0, (-9.0, -1.0))})]
    ['none: fine-tune COCO', 'a']
    """
    known = {name: found for name, found in estimates.items() if found is not None}
    found = [Choice(NONE, (), 0.0, (0.0, 0.0))]
    found += [Choice(name, (name,), *(value or (None, None))) for name, value in estimates.items()]
    helping = tuple(sorted(
        (name for name, (gain, _) in known.items() if gain > 0), key=lambda name: -known[name][0]
    ))
    if len(helping) > 1:
        gain, (low, high) = known[helping[0]]
        union = gain + UNION_BONUS, (low + UNION_BONUS, high + UNION_BONUS)
        name = TOGETHER if len(helping) == len(estimates) else " + ".join(helping)
        found.append(Choice(name, helping, *union))
    if len(estimates) > 1 and len(helping) < len(estimates) == len(known):
        mean = float(np.mean([gain for gain, _ in known.values()]))
        half = max((high - low) / 2 for _, (low, high) in known.values())
        found.append(Choice(TOGETHER, tuple(estimates), mean, (mean - half, mean + half)))
    return tuple(sorted(found, key=lambda choice: (
        choice.estimated_gain is None, -(choice.estimated_gain or 0.0), len(choice.sources)
    )))


#: Fitted on benchmarks/results/ranking_measures.csv; see benchmarks/results/ranking.md.
FITTED = {
    "detector": Estimator((-30.31, 90.58), 25.6),
    "data": Estimator((-23.84, 41.62, -2.0), 22.9),
}
#: Points of mAP50 that a union brings over its best single source, the mean over six targets.
UNION_BONUS = 2.5
