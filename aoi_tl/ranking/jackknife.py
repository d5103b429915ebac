"""Intervals of measures that a bootstrap would bias: a jackknife over groups of images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from aoi_tl.ranking.measure import UndefinedMeasure, Value

_GROUPS = 10


def with_interval(value_of: Callable[..., float], *numbers: int) -> Value:
    """Give a value with its 95 % interval over the images that it was computed from.

    Parameters
    ----------
    value_of : callable
        Takes, for each set of images, the positions of those to keep; gives the value on them.
    numbers : int
        How many images each set has.

    Returns
    -------
    Value
        Without an interval where a set has fewer than three images, or the value is undefined
        without some of them.

    Raises
    ------
    UndefinedMeasure
        Where there is no value.

    Examples
    --------
    >>> ages = np.array([1.0, 2.0, 4.0, 5.0])
    >>> found = with_interval(lambda kept: float(ages[kept].mean()), 4)
    >>> found.value, round(found.low, 2), round(found.high, 2)
    (3.0, 1.21, 4.79)
    """
    every = [np.arange(n) for n in numbers]
    value = value_of(*every)
    if min(numbers) < 3:
        return Value(value)

    def without(place: int, kept: NDArray[np.int64]) -> float:
        return value_of(*(kept if i == place else all_ for i, all_ in enumerate(every)))

    try:
        variance = sum(
            jackknife_variance(partial(without, place), n) for place, n in enumerate(numbers)
        )
    except UndefinedMeasure:
        return Value(value)
    return Value(value, *interval_around(value, variance))


def jackknife_variance(value_of: Callable[[NDArray[np.int64]], float], n: int) -> float:
    """Give the variance of a value over the images that it was computed from.

    A bootstrap draws images twice, and an image's nearest neighbour is then itself; leaving images
    out does no such harm.

    Parameters
    ----------
    value_of : callable
        Takes the positions of the images to keep, and gives the value on them alone.
    n : int
        Number of images, at least 2. They are left out in ten groups, or one by one if fewer.

    Returns
    -------
    float

    References
    ----------
    .. [1] Kott. "The Delete-a-Group Jackknife." Journal of Official Statistics 17(4), 2001.

    Examples
    --------
    >>> values = np.array([1.0, 2.0, 4.0, 5.0])  # of a mean: the variance of the mean
    >>> round(jackknife_variance(lambda kept: values[kept].mean(), 4), 6)
    0.833333
    >>> round(float(values.var(ddof=1)) / 4, 6)
    0.833333
    """
    groups = min(n, _GROUPS)
    places = np.arange(n)
    values = np.array([value_of(places[places % groups != group]) for group in range(groups)])
    return float((groups - 1) / groups * ((values - values.mean()) ** 2).sum())


def interval_around(value: float, variance: float) -> tuple[float, float]:
    """Give the ends of the 95 % interval of a value.

    Parameters
    ----------
    value, variance : float

    Returns
    -------
    low, high : float

    Examples
    --------
    >>> [round(end, 2) for end in interval_around(1.0, 0.25)]
    [0.02, 1.98]
    """
    half = 1.96 * float(np.sqrt(variance))
    return value - half, value + half
