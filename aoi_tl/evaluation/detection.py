"""Scores of a detector on a test split, from its curves, overall and per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class ClassScores:
    """One class on one split.

    Parameters
    ----------
    name : str
        The class.
    images, instances : int
        Images that hold it, and its boxes.
    precision, recall, f1 : float
        At the confidence where the F1 of all classes peaks, IoU 0.5.
    map50, map50_95 : float
        Average precision at IoU 0.5, and its mean over IoU 0.50..0.95.
    """

    name: str
    images: int
    instances: int
    precision: float
    recall: float
    f1: float
    map50: float
    map50_95: float


@dataclass(frozen=True)
class DetectionScores:
    """A detector on one split. All shares are 0..1.

    Parameters
    ----------
    f1 : float
        The peak of the class-mean F1 over 1000 confidences, smoothed.
    f1_conf : float
        The confidence of that peak.
    map50, map50_95 : float
        Mean average precision at IoU 0.5, and its mean over IoU 0.50..0.95.
    precision, recall : float
        Class means at `f1_conf`.
    per_class : tuple of ClassScores
        The classes that have instances in the split.
    """

    f1: float
    f1_conf: float
    map50: float
    map50_95: float
    precision: float
    recall: float
    per_class: tuple[ClassScores, ...]


def detection_scores(
    confidence: ArrayLike,
    precision: ArrayLike,
    recall: ArrayLike,
    average_precision: ArrayLike,
    names: Sequence[str],
    instances: Sequence[int],
    images: Sequence[int],
) -> DetectionScores:
    """Summarise the precision and recall curves of k classes.

    Parameters
    ----------
    confidence : array_like, shape (n,)
        Confidence thresholds, ascending.
    precision, recall : array_like, shape (k, n)
        Per class at each threshold, IoU 0.5.
    average_precision : array_like, shape (k, 10)
        Per class at IoU 0.50, 0.55, ..., 0.95.
    names : sequence of str
        The k classes.
    instances, images : sequence of int
        Boxes of, and images with, each class.

    Returns
    -------
    DetectionScores
        All zero where no class has an instance.

    Raises
    ------
    ValueError
        If the shapes do not belong together.

    References
    ----------
    .. [1] Everingham et al. "The PASCAL Visual Object Classes (VOC) Challenge." IJCV 88(2), 2010.
    .. [2] Lin et al. "Microsoft COCO: Common Objects in Context." ECCV 2014.

    Examples
    --------
    >>> import numpy as np
    >>> flat = np.full((1, 5), 0.5)
    >>> grid, ap = np.linspace(0, 1, 5), np.full((1, 10), 0.4)
    >>> scores = detection_scores(grid, flat, flat, ap, ["pit"], instances=[3], images=[2])
    >>> round(scores.f1, 3), round(scores.map50, 3), scores.per_class[0].name
    (0.5, 0.4, 'pit')
    """
    grid = np.asarray(confidence, dtype=np.float64)
    k = len(names)
    if k == 0:
        return DetectionScores(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ())
    curves = [np.asarray(curve, dtype=np.float64) for curve in (precision, recall)]
    ap = np.asarray(average_precision, dtype=np.float64)
    if any(curve.shape != (k, len(grid)) for curve in curves) or ap.shape != (k, 10):
        raise ValueError(
            f"expected precision and recall of shape ({k}, {len(grid)}) and average precision of "
            f"shape ({k}, 10), got {curves[0].shape}, {curves[1].shape} and {ap.shape}"
        )
    f1 = f1_curve(*curves)
    mean = smooth(f1.mean(axis=0))
    peak = int(mean.argmax())
    at_peak = [curve[:, peak] for curve in (*curves, f1)]  # each (k,)
    per_class = tuple(
        ClassScores(
            name=name,
            images=int(images[i]),
            instances=int(instances[i]),
            precision=float(at_peak[0][i]),
            recall=float(at_peak[1][i]),
            f1=float(at_peak[2][i]),
            map50=float(ap[i, 0]),
            map50_95=float(ap[i].mean()),
        )
        for i, name in enumerate(names)
    )
    return DetectionScores(
        f1=float(mean[peak]),
        f1_conf=float(grid[peak]),
        map50=float(ap[:, 0].mean()),
        map50_95=float(ap.mean()),
        precision=float(at_peak[0].mean()),
        recall=float(at_peak[1].mean()),
        per_class=per_class,
    )


def f1_curve(precision: ArrayLike, recall: ArrayLike) -> np.ndarray:
    """Harmonic mean of precision and recall, 0 where both are 0.

    Parameters
    ----------
    precision, recall : array_like
        Of one shape.

    Returns
    -------
    ndarray
        Of the same shape.

    Examples
    --------
    >>> f1_curve([0.5, 0.0], [1.0, 0.0]).round(3).tolist()
    [0.667, 0.0]
    """
    p, r = np.asarray(precision, dtype=np.float64), np.asarray(recall, dtype=np.float64)
    return 2 * p * r / (p + r + 1e-16)


def smooth(curve: ArrayLike, share: float = 0.1) -> np.ndarray:
    """Smooth a curve by a moving mean, with constant padding at both ends.

    Parameters
    ----------
    curve : array_like, shape (n,)
        The curve.
    share : float
        The window's width as a share of n, as in Ultralytics' F1 plots.

    Returns
    -------
    ndarray, shape (n,)
        The smoothed curve.

    Examples
    --------
    >>> smooth([0.0, 0.0, 3.0, 0.0, 0.0], share=0.5).round(6).tolist()
    [0.0, 1.0, 1.0, 1.0, 0.0]
    """
    y = np.asarray(curve, dtype=np.float64)
    width = round(len(y) * share * 2) // 2 + 1
    padded = np.concatenate([np.full(width // 2, y[0]), y, np.full(width // 2, y[-1])])
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")
