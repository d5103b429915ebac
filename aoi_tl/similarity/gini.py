"""Long-tailedness of class counts: the Lorenz curve and the Gini coefficient."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def lorenz_curve(counts: ArrayLike) -> NDArray[np.float64]:
    """Cumulate the counts from the rarest class to the commonest, as shares of their total.

    Parameters
    ----------
    counts : array_like of shape (k,)
        Instances per class, finite and not negative, at least one above zero; in any order.

    Returns
    -------
    ndarray of shape (k + 1,)
        The curve at 0, 1/k, ..., 1: it starts at 0 and ends at 1.

    Raises
    ------
    ValueError
        When there is no count, a count is negative or not finite, or all are zero.

    References
    ----------
    .. [1] Lorenz. "Methods of Measuring the Concentration of Wealth." Publications of the
       American Statistical Association 9(70), 1905.

    Examples
    --------
    >>> lorenz_curve([6, 2]).tolist()
    [0.0, 0.25, 1.0]
    """
    cumulative = np.cumsum(_checked(counts))
    return np.concatenate([[0.0], cumulative / cumulative[-1]])


def gini(counts: ArrayLike) -> float:
    """Measure how unequally instances are spread over classes.

    ``B`` is the trapezoid area under the Lorenz curve over ``k`` equal steps, ``A = 0.5 - B``,
    and the coefficient ``delta = A / (A + B)``.

    Parameters
    ----------
    counts : array_like of shape (k,)
        Instances per class, finite and not negative, at least one above zero; in any order.

    Returns
    -------
    float
        0 for equal counts (and for a single class), towards 1 the longer the tail.

    Raises
    ------
    ValueError
        When there is no count, a count is negative or not finite, or all are zero.

    References
    ----------
    .. [1] Gini. "Measurement of Inequality of Incomes." The Economic Journal 31(121), 1921.

    Examples
    --------
    >>> round(gini([349, 18, 10, 4, 2, 2]), 5)
    0.77446
    >>> gini([7, 7, 7])
    0.0
    """
    cumulative = np.cumsum(_checked(counts))
    total = cumulative[-1]
    # One division at the end: equal counts then give exactly 0, not a rounding error that
    # would let a balanced source pass for a long-tailed one.
    area_under = (cumulative[:-1].sum() + total / 2) / (len(cumulative) * total)
    return float((0.5 - area_under) / 0.5)


def _checked(counts: ArrayLike) -> NDArray[np.float64]:
    """Check counts and sort them."""
    values = np.asarray(counts, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"expected counts of shape (k,) with k >= 1, got shape {values.shape}; "
            "pass one count per class"
        )
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"expected finite counts >= 0, got {values.tolist()}")
    if not values.any():
        raise ValueError("expected at least one instance, got only zero counts")
    return np.sort(values)
