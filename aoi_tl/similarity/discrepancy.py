"""The domain discrepancy score of a source for a target."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Discrepancy:
    """A domain discrepancy, or the reason why there is none.

    Attributes
    ----------
    value : float or None
        The score, lower is closer; None where it is undefined.
    undefined : str or None
        Why there is no value; None where there is one.
    note : str or None
        What the value hides: a delta of 0 makes it 0 for any EMD.
    """

    value: float | None
    undefined: str | None = None
    note: str | None = None


def discrepancy(emd: float, delta: float, n_shared: int, epsilon: float = 0.0) -> Discrepancy:
    """Score a source against a target: ``emd * delta / (n_shared + epsilon)``.

    With a single shared class delta is 0 for any data, and the worst pair would look like
    the best: such a score is undefined, as it is where no class is shared.

    Parameters
    ----------
    emd : float
        Earth mover's distance between the two datasets' signatures, in RGB units, >= 0.
    delta : float
        Gini coefficient of the source's counts over the shared classes, 0..1.
    n_shared : int
        Number of classes with an instance in both datasets.
    epsilon : float, default 0.0
        Added to the divisor.

    Returns
    -------
    Discrepancy
        ``value``, or ``undefined`` with the reason; ``note`` where delta is 0.

    Raises
    ------
    ValueError
        When an argument is out of range or not finite.

    Examples
    --------
    >>> discrepancy(29.159085, 0.644909, 6).value
    3.134...
    >>> discrepancy(58.170956, 0.0, 1).undefined
    'only one class is shared, so delta is 0 for any data'
    """
    if not (math.isfinite(emd) and emd >= 0):
        raise ValueError(f"expected a finite EMD >= 0, got {emd}")
    if not 0 <= delta <= 1:
        raise ValueError(f"expected delta in 0..1, got {delta}")
    if n_shared < 0:
        raise ValueError(f"expected n_shared >= 0, got {n_shared}")
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise ValueError(f"expected a finite epsilon >= 0, got {epsilon}")
    if n_shared == 0:
        return Discrepancy(None, "no class is shared")
    if n_shared == 1 and delta == 0:
        return Discrepancy(None, "only one class is shared, so delta is 0 for any data")
    note = None
    if delta == 0:
        note = (
            f"balanced over its {n_shared} shared classes, so delta is 0 and the score is 0 "
            "for any EMD: the formula is blind to it; judge by the EMD"
        )
    return Discrepancy(emd * delta / (n_shared + epsilon), note=note)
