"""Measures computed from features of the COCO checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.jackknife import with_interval
from aoi_tl.ranking.measure import Measure, UndefinedMeasure, Value
from aoi_tl.transfer.viewing import View

_POINTS = 300  # boxes of one dataset that are transported, at most


def _frechet(target: Domain, source: Domain) -> Value:
    """Frechet distance between the features of whole images."""
    one, other = _views(target, source)
    first, second = _scaled(one.whole, other.whole)
    return with_interval(
        lambda mine, theirs: frechet_distance(first[mine], second[theirs]), len(first), len(second)
    )


def _mmd(target: Domain, source: Domain) -> Value:
    """Squared maximum mean discrepancy between the features of labelled boxes."""
    one, other = _views(target, source)
    first, second = _scaled(one.regions, other.regions)
    return with_interval(
        lambda mine, theirs: squared_mmd(
            first[np.isin(target.box_images, mine)], second[np.isin(source.box_images, theirs)]
        ), len(target.labelled), len(source.labelled),
    )


def _otdd(target: Domain, source: Domain) -> Value:
    """Optimal transport distance between labelled boxes, their classes counted."""
    one, other = _views(target, source)
    first, second = _scaled(one.regions, other.regions)

    def taken(
        side: Domain, rows: NDArray[np.float64], kept: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], list[str]]:
        here = np.flatnonzero(np.isin(side.box_images, kept))
        here = here[_spread(len(here), _POINTS)]
        return rows[here], np.array(side.box_classes)[here].tolist()

    return with_interval(
        lambda mine, theirs: transport_distance(
            *taken(target, first, mine), *taken(source, second, theirs)
        ), len(target.labelled), len(source.labelled),
    )


def _views(target: Domain, source: Domain) -> tuple[View, View]:
    for side in (target, source):
        if side.weights is None:
            raise UndefinedMeasure("no COCO checkpoint was named to compare features by")
        if len(side.labelled) < 2:
            raise UndefinedMeasure(f"{side.name} has fewer than two labelled images")
    return target.coco_view, source.coco_view


def _scaled(
    target: NDArray[np.float64], source: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both in units of the target's root mean square length."""
    length = float(np.sqrt((target**2).sum(axis=1).mean())) or 1.0
    return target / length, source / length


def _spread(n: int, most: int) -> NDArray[np.int64]:
    number = min(n, most)
    return np.arange(number) * n // number


def frechet_distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Give the squared 2-Wasserstein distance of two Gaussians fitted to samples.

    Parameters
    ----------
    one, other : array of shape (n, c) and (m, c)
        At least two samples each. Covariances are shrunk (Ledoit and Wolf).

    Returns
    -------
    float

    References
    ----------
    .. [1] Heusel et al. "GANs Trained by a Two Time-Scale Update Rule." NeurIPS 2017 (FID).
    """
    from scipy.linalg import eigh
    from sklearn.covariance import ledoit_wolf

    means = one.mean(axis=0) - other.mean(axis=0)
    first, second = ledoit_wolf(one)[0], ledoit_wolf(other)[0]
    values, vectors = eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    crossed = np.sqrt(np.clip(eigh(root @ second @ root, eigvals_only=True), 0, None)).sum()
    return float(means @ means + np.trace(first) + np.trace(second) - 2 * crossed)


def squared_mmd(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Give the unbiased squared maximum mean discrepancy with a Gaussian kernel.

    Parameters
    ----------
    one, other : array of shape (n, c) and (m, c)
        At least two samples each. The kernel's width is the median distance of all pairs.

    Returns
    -------
    float
        May be a little below 0.

    References
    ----------
    .. [1] Gretton et al. "A Kernel Two-Sample Test." JMLR 13, 2012, equation 3.
    """
    from scipy.spatial.distance import cdist

    both = np.concatenate([one, other])
    squares = cdist(both, both, "sqeuclidean")
    width = float(np.median(squares[np.triu_indices(len(both), 1)])) or 1.0
    kernel = np.exp(-squares / width)
    n, m = len(one), len(other)
    np.fill_diagonal(kernel, 0)
    return float(
        kernel[:n, :n].sum() / (n * (n - 1)) + kernel[n:, n:].sum() / (m * (m - 1))
        - 2 * kernel[:n, n:].mean()
    )


def transport_distance(
    one: NDArray[np.float64], one_classes: Sequence[str],
    other: NDArray[np.float64], other_classes: Sequence[str],
) -> float:
    """Give the optimal transport distance of two labelled sets.

    The ground cost of two boxes is the squared distance of their features plus the squared
    2-Wasserstein distance of their classes, each class a Gaussian with a diagonal covariance.
    Names of classes do not count.

    Parameters
    ----------
    one, other : array of shape (n, c) and (m, c)
    one_classes, other_classes : sequence of str
        The class of each row.

    Returns
    -------
    float
        The root of the least mean cost; 0 for equal sets.

    References
    ----------
    .. [1] Alvarez-Melis, Fusi. "Geometric Dataset Distances via Optimal Transport." NeurIPS 2020.
    """
    import ot
    from scipy.spatial.distance import cdist

    def of_classes(
        rows: NDArray[np.float64], classes: Sequence[str]
    ) -> tuple[NDArray[np.float64], list[int]]:
        names = sorted(set(classes))
        mine = [rows[np.array(classes) == name] for name in names]
        gaussians = np.array([np.concatenate([r.mean(axis=0), r.std(axis=0)]) for r in mine])
        return gaussians, [names.index(name) for name in classes]

    first, first_ids = of_classes(one, one_classes)
    second, second_ids = of_classes(other, other_classes)
    cost = cdist(one, other, "sqeuclidean")
    cost += cdist(first, second, "sqeuclidean")[np.ix_(first_ids, second_ids)]
    mass = np.full(len(one), 1 / len(one)), np.full(len(other), 1 / len(other))
    return float(np.sqrt(max(ot.emd2(*mass, cost), 0.0)))


FRECHET = Measure("frechet", "lower", "features", _frechet)
MMD = Measure("mmd", "lower", "features", _mmd)
OTDD = Measure("otdd", "lower", "features", _otdd)
