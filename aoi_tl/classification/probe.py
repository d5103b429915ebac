"""Classifiers on the features of a frozen encoder: a linear probe and the nearest class mean.

Try a probe first if labels are few. It trains in seconds. Its one setting, the strength of the
regularisation, is chosen on the training images alone.

References
----------
.. [1] Kornblith, Shlens, Le. "Do Better ImageNet Models Transfer Better?" CVPR 2019: logistic
   regression on frozen features.
.. [2] Guo, Pleiss, Sun, Weinberger. "On Calibration of Modern Neural Networks." ICML 2017:
   temperature scaling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aoi_tl.classification.imbalance import class_weights
from aoi_tl.evaluation.calibration import fit_temperature, softmax

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

ARMS = ("nearest-mean", "probe")
#: Inverse strengths of the penalty that are tried, from strong to weak.
STRENGTHS = (0.0001, 0.001, 0.01, 0.1, 1.0)
FOLDS = 5
NEVER = -1e6  # intercept of a class without images


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear classifier on features.

    Attributes
    ----------
    mean, sd : ndarray of float64, shape (features,)
        Of the training images' features; taken off first.
    coefficients : ndarray of float64, shape (classes, features)
        One row a class.
    intercepts : ndarray of float64, shape (classes,)
        One a class.
    strength : float or None
        Inverse strength of the penalty; None for the nearest class mean, which has none.
    temperature : float
        Divides the logits, so that probabilities are calibrated on held-out training images; 1
        where no class has two images to hold one out.
    held_out : int
        Training images that strength and temperature were chosen on.
    """

    mean: np.ndarray
    sd: np.ndarray
    coefficients: np.ndarray
    intercepts: np.ndarray
    strength: float | None
    temperature: float = 1.0
    held_out: int = 0

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits of shape (n, classes) from features of shape (n, features)."""
        seen = (np.asarray(features, np.float64) - self.mean) / self.sd
        found: np.ndarray = seen @ self.coefficients.T + self.intercepts
        return found

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of shape (n, classes)."""
        return softmax(self.logits(features) / self.temperature)


def fit_probe(features: np.ndarray, labels: ArrayLike, n_classes: int, seed: int = 0) -> Probe:
    """Fit logistic regression, its strength chosen by cross-validation on these images.

    Parameters
    ----------
    features : ndarray of shape (n, views, features)
        Of the training images, the image as it is first. Views of one image share its fold.
    labels : array_like of int, shape (n,)
        The class of every image.
    n_classes : int
        Classes; one without images is never given.
    seed : int
        Of the folds.

    Returns
    -------
    Probe
        Classes count alike, however many images they have. The strength is the one with the least
        cross entropy over held-out images, classes counted alike; a class with a single image is
        trained on in every fold and never held out. With no class of two images the strength is
        the middle one of `STRENGTHS`.

    Raises
    ------
    ValueError
        When fewer than two classes have images.
    """
    truth, present = check_labels(features, labels, n_classes)
    if len(present) < n_classes:
        among = fit_probe(features, np.searchsorted(present, truth), len(present), seed)
        return spread_classes(among, present, n_classes)
    folds = hold_out_folds(truth, FOLDS, np.random.default_rng(seed))
    held = np.flatnonzero(folds >= 0)
    strength, temperature = STRENGTHS[len(STRENGTHS) // 2], 1.0
    if len(held):
        outs = [folds == fold for fold in range(folds.max() + 1)]
        paths = [fit_strengths(features[~out], truth[~out], n_classes, STRENGTHS) for out in outs]
        weights = class_weights(np.bincount(truth[held], minlength=n_classes))[truth[held]]
        least, logits = np.inf, np.zeros((len(truth), n_classes))
        for tried in STRENGTHS:
            for out, path in zip(outs, paths, strict=True):
                logits[out] = next(path).logits(features[out, 0])
            loss = _cross_entropy(logits[held], truth[held], weights)
            if loss >= least:
                break  # past the best strength the loss only grows, and fits take longest there
            least, strength = loss, tried
            temperature = fit_temperature(logits[held], truth[held])
    # The path leads to the strength chosen: a fit begins where a stronger penalty ended.
    leading = STRENGTHS[: STRENGTHS.index(strength) + 1]
    *_, last = fit_strengths(features, truth, n_classes, leading)
    return Probe(last.mean, last.sd, last.coefficients, last.intercepts, strength, temperature,
                 len(held))


def fit_nearest_mean(
    features: np.ndarray, labels: ArrayLike, n_classes: int, seed: int = 0
) -> Probe:
    """Classify an image by the nearest class mean of its features.

    Parameters
    ----------
    features, labels, n_classes, seed
        As for `fit_probe`.

    Returns
    -------
    Probe
        ``|x - m|^2`` differs between classes by ``m . m - 2 x . m``: a linear classifier. Its
        temperature is fitted on held-out images.

    Raises
    ------
    ValueError
        As `fit_probe`.
    """
    truth, present = check_labels(features, labels, n_classes)
    if len(present) < n_classes:
        return spread_classes(
            fit_nearest_mean(features, np.searchsorted(present, truth), len(present), seed),
            present, n_classes,
        )
    folds = hold_out_folds(truth, FOLDS, np.random.default_rng(seed))
    held, logits = folds >= 0, np.zeros((len(truth), n_classes))
    for fold in range(folds.max() + 1):
        out = folds == fold
        logits[out] = _means(features[~out], truth[~out], n_classes).logits(features[out, 0])
    found = _means(features, truth, n_classes)
    temperature = fit_temperature(logits[held], truth[held]) if held.any() else 1.0
    return Probe(found.mean, found.sd, found.coefficients, found.intercepts, None, temperature,
                 int(held.sum()))


def hold_out_folds(
    labels: np.ndarray, folds: int, generator: np.random.Generator
) -> np.ndarray:
    """Assign the images of every class to folds.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        The class of every image.
    folds : int
        How many at most; no more than the largest class has images.
    generator : numpy.random.Generator
        Chance.

    Returns
    -------
    ndarray of int64, shape (n,)
        The fold that holds an image out; -1 for the only image of a class, which is trained on in
        every fold.

    Examples
    --------
    >>> found = hold_out_folds(np.array([0, 0, 0, 1, 1, 2]), 2, np.random.default_rng(0))
    >>> np.bincount(found + 1).tolist(), int(found[5])
    ([1, 3, 2], -1)
    """
    found = np.full(len(labels), -1, dtype=np.int64)
    counts = np.bincount(labels)
    folds = min(folds, int(counts.max()))
    dealt = 0
    for label in np.flatnonzero(counts > 1):
        places = generator.permutation(np.flatnonzero(labels == label))
        found[places] = (dealt + np.arange(len(places))) % folds
        dealt += len(places)  # small classes do not all fall into the first folds
    return found


def check_labels(
    features: np.ndarray, labels: ArrayLike, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Check the data that a probe is fitted on.

    Parameters
    ----------
    features : ndarray of shape (n, views, features)
        Of the training images.
    labels : array_like of int, shape (n,)
        The class of every image.
    n_classes : int
        Classes.

    Returns
    -------
    labels : ndarray of int64, shape (n,)
        As an array.
    present : ndarray of int64
        The classes that have images, in order.

    Raises
    ------
    ValueError
        When shapes do not fit or fewer than two classes have images.
    """
    truth = np.asarray(labels, dtype=np.int64)
    if features.ndim != 3 or truth.shape != (len(features),):
        raise ValueError(
            f"expected features of shape (n, views, features) and a label for each image, got "
            f"{features.shape} and {truth.shape}"
        )
    present = np.unique(truth)
    if len(present) < 2 or present[-1] >= n_classes:
        raise ValueError(
            f"expected images of two classes or more out of {n_classes}, got {present.tolist()}"
        )
    return truth, present


def spread_classes(probe: Probe, present: np.ndarray, n_classes: int) -> Probe:
    """Number a probe's classes as the domain does; a class without images is never given.

    Parameters
    ----------
    probe : Probe
        Fitted on the classes that have images.
    present : ndarray of int64
        Their numbers in the domain.
    n_classes : int
        Classes of the domain.

    Returns
    -------
    Probe
        With ``n_classes`` rows.
    """
    coefficients = np.zeros((n_classes, probe.coefficients.shape[1]))
    intercepts = np.full(n_classes, NEVER)
    coefficients[present], intercepts[present] = probe.coefficients, probe.intercepts
    return replace(probe, coefficients=coefficients, intercepts=intercepts)


def _standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flatten views to rows and standardise them; give the rows, their mean and deviation."""
    rows = features.reshape(-1, features.shape[-1]).astype(np.float64)
    mean, sd = rows.mean(axis=0), rows.std(axis=0)
    # A feature that is the same but for single precision's rounding says nothing.
    sd[sd <= 1e-5 * np.abs(mean) + 1e-9] = 1.0
    return (rows - mean) / sd, mean, sd


def fit_strengths(
    features: np.ndarray, labels: np.ndarray, n_classes: int, strengths: Sequence[float]
) -> Iterator[Probe]:
    """Fit one probe for each strength, each begun where the one before ended.

    Parameters
    ----------
    features : ndarray of shape (n, views, features)
        Of the training images.
    labels : ndarray of int64, shape (n,)
        The class of every image; every class is there.
    n_classes : int
        Classes; they count alike, however many images they have.
    strengths : sequence of float
        Inverse strengths of the penalty, from strong to weak.

    Yields
    ------
    Probe
        Not calibrated.
    """
    from sklearn.linear_model import LogisticRegression

    rows, mean, sd = _standard(features)
    # Fewer rows than features: the solution lies in the rows' span, so fit there; it is the same.
    base = None
    if len(rows) < rows.shape[1]:
        # The eigenvectors of the rows' products span it, at a fraction of a decomposition's time.
        size, vectors = np.linalg.eigh(rows @ rows.T)
        kept = size > 1e-10 * size[-1]
        if kept.any():  # none where all images are the same
            base = (vectors[:, kept] / np.sqrt(size[kept])).T @ rows
            rows = rows @ base.T
    truth = np.repeat(labels, features.shape[1])
    weights = dict(enumerate(class_weights(np.bincount(labels, minlength=n_classes))))
    model = LogisticRegression(class_weight=weights, max_iter=500, tol=1e-3, warm_start=True)
    for strength in strengths:
        model.set_params(C=strength / features.shape[1]).fit(rows, truth)
        found, intercepts = model.coef_, model.intercept_
        if n_classes == 2:  # one row stands for both classes
            found = np.vstack([-found, found]) / 2
            intercepts = np.hstack([-intercepts, intercepts]) / 2
        yield Probe(mean, sd, found if base is None else found @ base, intercepts.copy(), strength)


def _means(features: np.ndarray, labels: np.ndarray, n_classes: int) -> Probe:
    rows, mean, sd = _standard(features)
    truth = np.repeat(labels, features.shape[1])
    means = np.stack([rows[truth == label].mean(axis=0) for label in range(n_classes)])
    return Probe(mean, sd, 2 * means, -(means**2).sum(axis=1), None)


def _cross_entropy(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Mean of ``-log p`` of the true class, weighted."""
    peak = logits.max(axis=1, keepdims=True)
    log_sum = peak[:, 0] + np.log(np.exp(logits - peak).sum(axis=1))
    losses = log_sum - logits[np.arange(len(labels)), labels]
    return float((weights * losses).sum() / weights.sum())
