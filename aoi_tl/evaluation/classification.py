"""Scores of a classifier: confusion matrix, accuracy, F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class ClassificationScores:
    """Accuracy, overall and by class.

    Attributes
    ----------
    classes : tuple of str
        Class names.
    confusion : ndarray of int64, shape (classes, classes)
        Images by true class (rows) and predicted class (columns).
    """

    classes: tuple[str, ...]
    confusion: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of the images whose predicted class is right."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def majority_share(self) -> float:
        """Accuracy of always predicting the largest class; a useful classifier exceeds it."""
        return float(self.confusion.sum(axis=1).max() / self.confusion.sum())

    @property
    def per_class(self) -> np.ndarray:
        """Accuracy within each class (its recall); NaN for a class without images."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=1), np.nan)

    @property
    def balanced_accuracy(self) -> float:
        """Mean accuracy over the classes that have images."""
        return float(np.nanmean(self.per_class))

    @property
    def f1(self) -> np.ndarray:
        """F1 of each class; 0 for a class without images and predictions."""
        named, there = self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        return _ratio(2 * np.diag(self.confusion), named + there, 0.0)

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes with images or predictions."""
        seen = (self.confusion.sum(axis=0) + self.confusion.sum(axis=1)) > 0
        return float(self.f1[seen].mean())

    def f1_of(self, names: Sequence[str]) -> float:
        """Mean F1 over some classes, such as those whose domain has shifted.

        Parameters
        ----------
        names : sequence of str
            Out of ``classes``.

        Returns
        -------
        float
            Mean of their F1.

        Raises
        ------
        ValueError
            When a name is unknown or there is none.
        """
        unknown = [name for name in names if name not in self.classes]
        if unknown or not names:
            raise ValueError(
                f"expected classes out of {', '.join(self.classes)}, got "
                f"{', '.join(unknown) or 'none'}"
            )
        return float(self.f1[[self.classes.index(name) for name in names]].mean())


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: float) -> np.ndarray:
    found = np.full(len(whole), otherwise)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def score_predictions(
    labels: ArrayLike, predicted: ArrayLike, classes: Sequence[str]
) -> ClassificationScores:
    """Build the confusion matrix of predictions.

    Parameters
    ----------
    labels, predicted : array_like of int, shape (n,)
        The true and the given class of every image, as places in ``classes``.
    classes : sequence of str
        Class names.

    Returns
    -------
    ClassificationScores
        With the confusion matrix and the scores computed from it.

    Raises
    ------
    ValueError
        When there is no image, the lengths differ, or a label is out of range.

    Examples
    --------
    >>> scores = score_predictions([0, 0, 0, 1], [0, 0, 1, 1], ("fine", "torn"))
    >>> scores.accuracy, scores.per_class.round(2).tolist(), round(scores.macro_f1, 3)
    (0.75, [0.67, 1.0], 0.733)
    """
    true, given = np.asarray(labels, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if true.shape != given.shape or true.ndim != 1 or len(true) == 0:
        raise ValueError(
            f"expected as many predictions as labels, at least one, got {given.shape} and "
            f"{true.shape}"
        )
    n = len(classes)
    if min(true.min(), given.min()) < 0 or max(true.max(), given.max()) >= n:
        raise ValueError(f"expected classes in 0..{n - 1}, got others")
    confusion = np.bincount(true * n + given, minlength=n * n).reshape(n, n)
    return ClassificationScores(tuple(classes), confusion)
