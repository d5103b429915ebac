"""The expected gain of a source over plain fine-tuning, in points of mAP50."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: The inputs of the estimate for a related source: with a kept detector, and from data alone.
INPUTS = {"detector": ("zero-shot",), "data": ("box",)}
#: A detector that finds less (mAP50) of the target's labelled defects finds nothing of them.
FINDS_SOMETHING = 0.05


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


def fit_leaving_group_out(
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


def estimate(values: Mapping[str, float | None]) -> tuple[float, tuple[float, float]] | None:
    """Estimate the gain of a source, or of several together.

    Parameters
    ----------
    values : mapping of str to float or None
        Its measures; see `inputs_of`.

    Returns
    -------
    gain : float
        Points of mAP50 over plain fine-tuning; for what `is_unrelated` what unrelated sources did
        to the targets that the weights were fitted on, whatever else is measured.
    interval : tuple of float
        None in place of both if measures are missing.
    """
    if is_unrelated(values):
        return _with_ends(FITTED["unrelated"], [])
    for kind in INPUTS:
        if (inputs := inputs_of(kind, values)) is not None:
            return _with_ends(FITTED[kind], inputs)
    return None


def _with_ends(
    estimator: Estimator, inputs: Sequence[float]
) -> tuple[float, tuple[float, float]]:
    gain = estimator.gain(inputs)
    return gain, (gain - estimator.margin, gain + estimator.margin)


def is_unrelated(values: Mapping[str, float | None]) -> bool:
    """Whether a source shares no class with the target, or its detector finds nothing there."""
    if values.get("overlap") == 0:
        return True
    found = values.get("zero-shot")
    return found is not None and found < FINDS_SOMETHING


def inputs_of(kind: str, values: Mapping[str, float | None]) -> list[float] | None:
    """Give the inputs of an estimate.

    Parameters
    ----------
    kind : {"detector", "data"}
    values : mapping of str to float or None
        The measures of one source.

    Returns
    -------
    list of float or None
        None where a measure is missing.
    """
    found = [values.get(name) for name in INPUTS[kind]]
    known = [value for value in found if value is not None]
    return known if len(known) == len(found) else None


#: Fitted on benchmarks/results/ranking_measures.csv; see benchmarks/results/ranking.md.
FITTED = {
    "detector": Estimator((6.11, 24.95), 24.9),
    "data": Estimator((37.77, -31.21), 17.3),
    "unrelated": Estimator((-28.1,), 24.5),
}
