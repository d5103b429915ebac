"""Measures computed by running the source's detector on the target's labelled images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from aoi_tl.evaluation.predictions import Predictions, Scorer, box_iou, match_boxes
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.jackknife import with_interval
from aoi_tl.ranking.measure import Measure, UndefinedMeasure, Value
from aoi_tl.transfer.viewing import View

_SAMPLES = 200  # of the bootstrap
_SURE = 0.25  # the confidence from which a predicted box counts as a find
_NEIGHBOURS = 5


def _zero_shot(target: Domain, source: Domain) -> Value:
    """MAP50 on the target's labelled training images, same-named classes only."""
    return _scored(_known_classes(target, source), "map50", "labelled defects as it is")


def _zero_shot_f1(target: Domain, source: Domain) -> Value:
    """The peak of F1 there."""
    return _scored(_known_classes(target, source), "f1", "")


def _class_blind(target: Domain, source: Domain) -> Value:
    """MAP50 there with all classes taken as one: for label spaces that do not match."""
    return _scored(predictions_of(target, _seen(target, source), blind=True), "map50",
                   "labelled defects as it is, under any class name")


def _log_me(target: Domain, source: Domain) -> Value:
    """Log of maximum evidence of a linear model on region features."""
    return _on_regions(target, source, log_me)


def _h_score(target: Domain, source: Domain) -> Value:
    """H-score of region features, with a shrunk covariance."""
    return _on_regions(target, source, h_score)


def _knn(target: Domain, source: Domain) -> Value:
    """Balanced leave-one-out accuracy of nearest neighbours on region features."""
    return _on_regions(target, source, nearest_neighbours)


def _energy(target: Domain, source: Domain) -> Value:
    """Mean negative free energy of the features of the labelled boxes."""
    from scipy.special import logsumexp

    energies = logsumexp(_seen_by_one(target, source).regions, axis=1)
    images = target.box_images
    return with_interval(lambda kept: float(energies[np.isin(images, kept)].mean()),
                         len(target.labelled))


def _on_regions(
    target: Domain, source: Domain,
    score: Callable[[NDArray[np.float64], NDArray[np.int64]], float],
) -> Value:
    """A score of region features and their classes, with its interval over images."""
    features, classes, images = _regions(target, _seen_by_one(target, source))

    def on(kept: NDArray[np.int64]) -> float:
        mine = np.isin(images, kept)
        return score(*_repeated(features[mine], classes[mine]))

    return with_interval(on, len(target.labelled))


def _seen(target: Domain, source: Domain) -> View:
    if not source.has_detector:
        raise UndefinedMeasure("no detector of this source is kept")
    if not target.labelled:
        raise UndefinedMeasure("the target has no labelled training image")
    return source.view_of(target)


def _seen_by_one(target: Domain, source: Domain) -> View:
    """The view of a single detector; features of several detectors are not comparable."""
    if source.detector is None and source.members:
        raise UndefinedMeasure("the detectors of several sources have no features in common")
    return _seen(target, source)


def _known_classes(target: Domain, source: Domain) -> Predictions:
    view = _seen(target, source)
    known = {_plain(name) for name in view.names}
    if not any(_plain(name) in known for name in target.box_classes):
        raise UndefinedMeasure(
            f"its detector knows none of your classes (it has {', '.join(view.names)}); map names "
            "with aliases, or rank by class-blind"
        )
    return predictions_of(target, view)


def predictions_of(target: Domain, view: View, blind: bool = False) -> Predictions:
    """Match a detector's predictions with the labels.

    Parameters
    ----------
    target : Domain
        Whose labelled samples the detector saw.
    view : View
    blind : bool
        Treat all classes as one; else drop predictions of classes that the target lacks.

    Returns
    -------
    Predictions
        Of those samples, in the target's label space.
    """
    names = ("defect",) if blind else target.names
    place = {_plain(name): i for i, name in enumerate(names)}
    ids = np.array([0 if blind else place.get(_plain(name), -1) for name in view.names])
    mapped = ids[view.class_id] if len(view.class_id) else view.class_id
    kept = mapped >= 0
    image, class_id = view.image[kept], mapped[kept]
    confidence, box = view.confidence[kept], view.box[kept]
    truth_image, truth_class, truth_box, correct = [], [], [], np.zeros((len(image), 10), bool)
    for number, sample in enumerate(target.labelled):
        centre, half = sample.boxes[:, :2], sample.boxes[:, 2:] / 2
        boxes = np.hstack([centre - half, centre + half])
        classes = np.zeros(len(boxes), np.int64) if blind else sample.classes
        mine = np.flatnonzero(image == number)
        if blind:
            mine = _without_doubles(mine, confidence, box)
        correct[mine] = match_boxes(classes, boxes, class_id[mine], box[mine])
        truth_image.append(np.full(len(boxes), number))
        truth_class.append(classes)
        truth_box.append(boxes)
    return Predictions(
        names, tuple(str(sample.image) for sample in target.labelled),
        np.concatenate(truth_image), np.concatenate(truth_class), np.concatenate(truth_box),
        image, class_id, confidence, box, correct,
    )


def _without_doubles(
    rows: NDArray[np.int64], confidence: NDArray[np.float64], box: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The rows without those that overlap a more confident row of another class."""
    kept: list[int] = []
    for row in rows[np.argsort(-confidence[rows], kind="stable")].tolist():
        if not kept or box_iou(box[[row]], box[kept]).max() <= 0.7:
            kept.append(row)
    return np.array(kept, dtype=np.int64)


def _scored(found: Predictions, score: str, words: str) -> Value:
    """A score of predictions with its interval over images, and how many defects were found."""
    scorer, n = Scorer(found), len(found.images)
    times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=_SAMPLES)
    drawn = [getattr(scorer.scores(row), score) for row in times]
    low, high = np.percentile(drawn, [2.5, 97.5])
    hits = int((found.correct[:, 0] & (found.confidence >= _SURE)).sum())
    remark = f"finds {hits} of your {len(found.truth_class)} {words}" if words else ""
    return Value(getattr(scorer.scores(), score), float(low), float(high), remark)


def zero_shot_map(target: Domain, source: Domain) -> float | None:
    """Give mAP50 on the target's labelled images, same-named classes only, without an interval.

    Parameters
    ----------
    target : Domain
    source : Domain
        With a detector of its own, or one of every member.

    Returns
    -------
    float or None
        None where it is undefined; 0 where the detector knows none of the target's classes.
    """
    if not source.has_detector or not target.labelled:
        return None
    try:
        return Scorer(_known_classes(target, source)).scores().map50
    except UndefinedMeasure:
        return 0.0


def regions_of(target: Domain, view: View) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give the features of labelled boxes and of background, and their classes.

    Parameters
    ----------
    target : Domain
    view : View

    Returns
    -------
    features : float64 array of shape (n, c)
    classes : int64 array of shape (n,)
        Background is a class as well.

    Raises
    ------
    UndefinedMeasure
        Where there are fewer than two classes of at least two regions each.
    """
    features, classes, _ = _regions(target, view)
    return _repeated(features, classes)


def _regions(
    target: Domain, view: View
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Features, classes and images of labelled boxes and of background."""
    names = sorted(set(target.box_classes))
    classes = [names.index(name) for name in target.box_classes]
    classes += [len(names)] * len(view.background)
    elsewhere = view.background_image
    if elsewhere is None:
        elsewhere = np.zeros(len(view.background), dtype=np.int64)
    return (np.concatenate([view.regions, view.background]), np.array(classes, dtype=np.int64),
            np.concatenate([target.box_images, elsewhere]))


def _repeated(
    features: NDArray[np.float64], classes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Those of the classes that have at least two regions."""
    counts = np.bincount(classes)
    if (counts > 1).sum() < 2:
        raise UndefinedMeasure("expected at least two labelled boxes of a class")
    kept = np.isin(classes, np.flatnonzero(counts > 1))
    return features[kept], classes[kept]


def log_me(features: NDArray[np.float64], classes: Sequence[int] | NDArray[np.int64]) -> float:
    """Give the log of maximum evidence, per sample, averaged over classes against the rest.

    Parameters
    ----------
    features : array of shape (n, c)
    classes : array_like of int, shape (n,)

    Returns
    -------
    float
        Higher: a linear model on these features separates the classes better.

    References
    ----------
    .. [1] You, Liu, Wang, Long. "LogME: Practical Assessment of Pre-trained Models for Transfer
       Learning." ICML 2021: the fixed-point iteration of alpha and beta.
    .. [2] Wang et al. "Det-LogME", arXiv 2403.09432: regions of a detector as its samples.
    """
    features = np.asarray(features, dtype=np.float64)
    n, c = features.shape
    u, s, _ = np.linalg.svd(features, full_matrices=False)
    square = s**2
    evidence = []
    for label in np.unique(classes):
        y = (np.asarray(classes) == label).astype(np.float64)
        along = (u.T @ y) ** 2
        rest = max(float(y @ y - along.sum()), 0.0)
        alpha, beta = 1.0, 1.0
        for _ in range(100):
            t = alpha / beta
            gamma = float((square / (square + t)).sum())
            weight = float((square * along / (square + t) ** 2).sum())  # |m|^2
            residual = float((along * (t / (square + t)) ** 2).sum()) + rest
            new_alpha = gamma / (weight + 1e-12)
            new_beta = (n - gamma) / (residual + 1e-12)
            done = abs(new_alpha / new_beta - t) <= 1e-6 * t
            alpha, beta = new_alpha, new_beta
            if done:
                break
        t = alpha / beta
        weight = float((square * along / (square + t) ** 2).sum())
        residual = float((along * (t / (square + t)) ** 2).sum()) + rest
        log_determinant = float(np.log(alpha + beta * square).sum()) + (c - len(s)) * np.log(alpha)
        evidence.append((
            c * np.log(alpha) + n * np.log(beta) - n * np.log(2 * np.pi)
            - beta * residual - alpha * weight - log_determinant
        ) / (2 * n))
    return float(np.mean(evidence))


def h_score(features: NDArray[np.float64], classes: Sequence[int] | NDArray[np.int64]) -> float:
    """Give the trace of (covariance of features)^-1 (covariance of class means).

    Parameters
    ----------
    features : array of shape (n, c)
    classes : array_like of int, shape (n,)

    Returns
    -------
    float
        0 where class means are equal; at most the number of classes less one.

    References
    ----------
    .. [1] Bao et al. "An Information-Theoretic Approach to Transferability." ICIP 2019.
    .. [2] Ibrahim, Ponomareva, Mazumder. "Newer is not always better", ECML 2022: the shrunk
       covariance (Ledoit and Wolf), without which few samples overestimate it.
    """
    from sklearn.covariance import ledoit_wolf

    features, classes = np.asarray(features, dtype=np.float64), np.asarray(classes)
    centred = features - features.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(centred, assume_centered=True)
    means = np.zeros_like(centred)
    for label in np.unique(classes):
        means[classes == label] = centred[classes == label].mean(axis=0)
    between = means.T @ means / len(means)
    return float((1 - shrinkage) * np.trace(np.linalg.pinv(covariance, hermitian=True) @ between))


def nearest_neighbours(
    features: NDArray[np.float64], classes: Sequence[int] | NDArray[np.int64]
) -> float:
    """Give the balanced leave-one-out accuracy of nearest neighbours by cosine.

    Parameters
    ----------
    features : array of shape (n, c)
    classes : array_like of int, shape (n,)

    Returns
    -------
    float
        0..1; the mean over classes of the share of their samples that are classified correctly.
    """
    features, classes = np.asarray(features, dtype=np.float64), np.asarray(classes)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    alike = (features / np.where(length > 0, length, 1)) @ (
        features / np.where(length > 0, length, 1)
    ).T
    np.fill_diagonal(alike, -np.inf)
    k = min(_NEIGHBOURS, len(features) - 1)
    nearest = np.argsort(-alike, axis=1, kind="stable")[:, :k]
    votes = np.zeros((len(features), classes.max() + 1))
    for column in nearest.T:
        votes[np.arange(len(features)), classes[column]] += 1
    right = votes.argmax(axis=1) == classes
    return float(np.mean([right[classes == label].mean() for label in np.unique(classes)]))


def _plain(name: str) -> str:
    return name.strip().lower()


ZERO_SHOT = Measure("zero-shot", "higher", "detector", _zero_shot)
ZERO_SHOT_F1 = Measure("zero-shot-f1", "higher", "detector", _zero_shot_f1)
CLASS_BLIND = Measure("class-blind", "higher", "detector", _class_blind)
LOG_ME = Measure("logme", "higher", "detector", _log_me)
H_SCORE = Measure("h-score", "higher", "detector", _h_score)
KNN = Measure("knn", "higher", "detector", _knn)
ENERGY = Measure("energy", "higher", "detector", _energy)
