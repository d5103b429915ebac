"""Operating points: confidence thresholds, with their escape and overkill on held-out images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aoi_tl.evaluation.bootstrap import Interval
from aoi_tl.evaluation.predictions import Predictions

#: Fewer good images than this do not show an overkill: then classes of images are counted.
FEW_GOOD = 30
IMAGES, CLASSES = "images", "classes of images"
#: Predictions below this confidence are not kept, so that no threshold lies below it.
FLOOR = 0.001

_FOLDS = 10
_TIGHTENINGS = 8
_HALVINGS = 8

Objective = Callable[[NDArray[np.int64], NDArray[np.int64]], list[NDArray[np.float64]]]


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds, and the rates of thresholds chosen in the same way on held-out images.

    Attributes
    ----------
    thresholds : tuple of float
        One a class, 0..1: a box of that confidence or more rejects its image.
    counted : {"images", "classes of images"}
        The unit of counting. Each image is passed or rejected. With few good images, each
        image is passed or rejected for each class separately.
    defective, good : int
        How many of them there are.
    escaped, rejected : int
        The defective that pass, and the good that are rejected; each was held out once.
    is_met : bool
        If the limit holds on the held-out images; always true for a cost.
    """

    thresholds: tuple[float, ...]
    counted: str
    defective: int
    good: int
    escaped: int
    rejected: int
    is_met: bool

    @property
    def escape(self) -> float:
        """The share of the defective that pass."""
        return self.escaped / self.defective

    @property
    def escape_at_most(self) -> float:
        """The upper 95 % bound (Clopper and Pearson) of the escape rate that the counts show."""
        return _binomial(self.escaped, self.defective, 0.90).high

    @property
    def overkill(self) -> float | None:
        """The share of the good that are rejected."""
        return self.rejected / self.good if self.good else None


@dataclass(frozen=True)
class Rates:
    """Escape and overkill of thresholds on images that they were not chosen on.

    Attributes
    ----------
    name : str or None
        The class: an image is defective when it holds the class, and rejected when a box of the
        class reaches its threshold. None for the image as a whole: defective when it holds any box.
    threshold : float or None
        The class's.
    defective, good : int
        Images.
    escape : Interval or None
        The share of the defective images that pass; None where there are none.
    overkill : Interval or None
        The share of the good images that are rejected; None where there are none.
    """

    name: str | None
    threshold: float | None
    defective: int
    good: int
    escape: Interval | None
    overkill: Interval | None


def choose_thresholds(
    predictions: Predictions,
    *,
    escape: float | None = None,
    overkill: float | None = None,
    cost: tuple[float, float] | None = None,
) -> OperatingPoint:
    """Choose a confidence threshold for each class.

    An image is rejected when a box of any class reaches its threshold. The search starts with
    nothing rejected and lowers one threshold at a time, always the one with the most defective
    images caught per good image rejected. It takes the point that meets the aim best.
    Then it moves each threshold in turn while the aim improves. Each threshold ends half
    way between the lowest confidence that it must reject and the highest that it must pass.

    Thresholds do worse on new images than on those that they were chosen on. So they are chosen
    again without each tenth of the images, and applied to it. If the limit does not hold there, a
    stricter one is set, and after the strictest the thresholds are halved (for an overkill: their
    distances from 1), until it holds. For a cost, the cheapest halving there is taken.

    Parameters
    ----------
    predictions : Predictions
        Of images that the detector has not learned from.
    escape : float, optional
        As few good images rejected as can be, with at most this share of the defective passed.
    overkill : float, optional
        As few defective images passed as can be, with at most this share of the good rejected.
    cost : tuple of float, optional
        The lowest cost: what a passed defective and what a rejected good image cost.

    Returns
    -------
    OperatingPoint
        The strictest thresholds if no thresholds meet the limit.

    Raises
    ------
    ValueError
        If not exactly one aim is given, fewer than two images are defective, or none is good and
        the aim needs good ones.

    Examples
    --------
    >>> zero, box = np.zeros(2, np.int64), np.array([[0, 0, 0.5, 0.5]] * 2)
    >>> seen = Predictions(("pit",), ("a.png", "b.png"), np.array([0, 1]), zero, box,
    ...                    np.array([0, 1]), zero, np.array([0.8, 0.6]), box,
    ...                    np.ones((2, 10), bool))
    >>> point = choose_thresholds(seen, escape=0.5)
    >>> point.thresholds, point.defective, point.escaped
    ((0.7,), 2, 0)
    """
    if sum(aim is not None for aim in (escape, overkill, cost)) != 1:
        raise ValueError("expected one of escape, overkill and cost")
    scores, held = image_scores(predictions), true_classes(predictions)
    n_good = int((~_any(held)).sum())
    counted = IMAGES if n_good >= FEW_GOOD else CLASSES
    units = _Units(scores, held, counted)
    n_shown = int(_any(held).sum())
    if n_shown < 2:
        raise ValueError(
            f"expected two or more images with a defect to choose thresholds on, got {n_shown}"
        )
    if not units.n_good and escape is None:
        raise ValueError(
            "expected a good image to choose thresholds by an overkill or a cost, got none"
        )
    folds = _folds(_any(held))
    tried: list[tuple[float, _Level, int, int]] = []
    for level in _levels(units, escape, overkill):
        passed = rejected = 0
        for fold in range(folds.max() + 1):
            inside, outside = folds != fold, folds == fold
            chosen = _choose(_Units(scores[inside], held[inside], counted), level, cost)
            apart = _Units(scores[outside], held[outside], counted).counts(chosen)
            passed, rejected = passed + int(apart[0]), rejected + int(apart[1])
        if cost is not None:
            worth = cost[0] * passed + cost[1] * rejected
        elif escape is not None:
            worth = max(0.0, passed - _allowed(escape, units.n_defective))
        else:
            worth = max(0.0, rejected - _allowed(overkill, units.n_good))
        tried.append((worth, level, passed, rejected))
        if cost is None and not worth:
            break
    worth, level, passed, rejected = min(tried, key=lambda one: one[0])
    return OperatingPoint(
        tuple(float(t) for t in _choose(units, level, cost)), counted, units.n_defective,
        units.n_good, passed, rejected, is_met=cost is not None or not worth,
    )


def measure_rates(
    predictions: Predictions,
    thresholds: Sequence[float],
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Rates, ...]:
    """Apply thresholds to other images and measure escape and overkill.

    Parameters
    ----------
    predictions : Predictions
        Of images on which nothing was chosen.
    thresholds : sequence of float
        One a class.
    samples : int
        Bootstrap samples; each draws as many images as there are, with replacement.
    confidence : float
        The intervals' coverage.
    seed : int
        Of the resampling.

    Returns
    -------
    tuple of Rates
        The image as a whole, then each class. A rate of 0 or 1 never changes by resampling; its
        interval is the exact binomial one [2]_.

    Raises
    ------
    ValueError
        If there is not one threshold for each class.

    References
    ----------
    .. [1] Efron, Tibshirani. "An Introduction to the Bootstrap." Chapman & Hall, 1993.
    .. [2] Clopper, Pearson. "The use of confidence or fiducial limits illustrated in the case of
       the binomial." Biometrika 26(4), 1934.

    Examples
    --------
    >>> zero, box = np.zeros(1, np.int64), np.array([[0, 0, 0.5, 0.5]])
    >>> seen = Predictions(("pit",), ("a.png", "b.png"), zero, zero, box, zero, zero,
    ...                    np.array([0.8]), box, np.ones((1, 10), bool))
    >>> whole, pit = measure_rates(seen, [0.5])
    >>> whole.escape.value, whole.overkill.value, whole.overkill.high
    (0.0, 0.0, 0.975)
    """
    if len(thresholds) != len(predictions.names):
        raise ValueError(
            f"expected a threshold for each of {len(predictions.names)} classes, got "
            f"{len(thresholds)}"
        )
    n_images = len(predictions.images)
    held = true_classes(predictions)
    found = image_scores(predictions) >= np.asarray(thresholds, dtype=np.float64)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(n_images, np.full(n_images, 1 / n_images), size=samples) \
        if n_images else np.zeros((samples, 0), dtype=np.int64)

    def row(
        name: str | None, limit: float | None, defective: NDArray[Any], rejected: NDArray[Any]
    ) -> Rates:
        return Rates(
            name, limit, int(defective.sum()), int((~defective).sum()),
            _share(~rejected, defective, drawn, confidence),
            _share(rejected, ~defective, drawn, confidence),
        )

    return (
        row(None, None, _any(held), _any(found)),
        *(row(name, float(limit), held[:, c], found[:, c])
          for c, (name, limit) in enumerate(zip(predictions.names, thresholds, strict=True))),
    )


def true_classes(predictions: Predictions) -> NDArray[np.bool_]:
    """Give the true classes of each image as a bool array of shape (p, k)."""
    held = np.zeros((len(predictions.images), len(predictions.names)), dtype=bool)
    held[predictions.truth_image, predictions.truth_class] = True
    return held


def image_scores(predictions: Predictions) -> NDArray[np.float64]:
    """Give the highest confidence of each class on each image, 0 without a box: shape (p, k)."""
    scores = np.zeros((len(predictions.images), len(predictions.names)))
    np.maximum.at(scores, (predictions.image, predictions.class_id), predictions.confidence)
    return scores


def _any(table: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether anything is true in each row."""
    return np.asarray(table.any(axis=1))


# ------------------------------------------------------------------------------------- the search


@dataclass(frozen=True)
class _Level:
    """How strictly thresholds are chosen: the limit, and a factor that moves them towards it."""

    escape: float | None = None
    overkill: float | None = None
    factor: float = 1.0


def _levels(
    units: _Units, escape: float | None, overkill: float | None
) -> list[_Level]:
    """The levels from the one that was asked for to the strictest."""
    limit, total = (escape, units.n_defective) if escape is not None else (overkill, units.n_good)
    halved = [0.5**n for n in range(1, _HALVINGS + 1)]
    if limit is None:
        return [_Level(factor=factor) for factor in (1.0, *halved)]
    counts = np.linspace(_allowed(limit, total), 0, _TIGHTENINGS)
    shares = [limit, *(float(n) / total for n in dict.fromkeys(np.floor(counts[1:])))]
    if escape is not None:
        return [*map(_Level, shares), *(_Level(0.0, None, factor) for factor in halved)]
    return [*(_Level(None, share) for share in shares),
            *(_Level(None, 0.0, factor) for factor in halved)]


def _folds(defective: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Assign images to folds, the defective first, so that every fold gets its share of both."""
    n_folds = min(_FOLDS, int(defective.sum()))
    order = np.random.default_rng(0).permutation(len(defective))
    order = order[np.argsort(~defective[order], kind="stable")]
    folds = np.empty(len(defective), dtype=np.int64)
    folds[order] = np.arange(len(defective)) % n_folds
    return folds


def _choose(
    units: _Units, level: _Level, cost: tuple[float, float] | None
) -> NDArray[np.float64]:
    """The thresholds that meet the aim best on the given units."""
    objective = _objective(units, level.escape, level.overkill, cost)
    path = _path(units)
    best = min(path, key=lambda cuts: [float(part) for part in objective(*units.counts(cuts))])
    thresholds = _between(units, _descend(units, best, objective))
    if level.factor == 1:
        return thresholds
    if level.overkill is not None:
        return (1 - (1 - thresholds) * level.factor).round(6)
    return np.maximum((thresholds * level.factor).round(6), FLOOR)


class _Units:
    """The units that are passed or rejected, and the scores that decide.

    A threshold of a class rejects all units whose score of that class reaches it. Scores lie in
    rows, sorted by class and then from high to low.
    """

    def __init__(
        self, scores: NDArray[np.float64], held: NDArray[np.bool_], counted: str
    ) -> None:
        image, label = np.nonzero(scores)
        score = scores[image, label]
        n_classes = scores.shape[1]
        self.defective: NDArray[np.bool_]
        if counted == IMAGES:
            self.defective, unit = _any(held), image
        else:
            self.defective, unit = held.reshape(-1), image * n_classes + label
        order = np.lexsort((-score, label))
        self.unit, self.label, self.score = unit[order], label[order], score[order]
        self.first = np.searchsorted(self.label, np.arange(n_classes + 1))  # (k + 1,)
        last = np.ones(len(order), dtype=bool)  # of the rows with one class and score
        last[:-1] = (np.diff(self.label) != 0) | (np.diff(self.score) != 0)
        self.last = last
        self.n_classes = n_classes
        self.n_defective = int(self.defective.sum())
        self.n_good = len(self.defective) - self.n_defective

    def rejected(self, cuts: ArrayLike) -> NDArray[np.bool_]:
        """Which units are rejected."""
        hit = np.zeros(len(self.defective), dtype=bool)
        hit[self.unit[self.score >= np.asarray(cuts)[self.label]]] = True
        return hit

    def counts(self, cuts: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many defective units pass, and how many good ones are rejected."""
        hit = self.rejected(cuts)
        return (np.asarray(np.sum(self.defective & ~hit)),
                np.asarray(np.sum(~self.defective & hit)))

    def gains(self, hit: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many more defective and good units a cut at each row would reject."""
        fresh = ~hit[self.unit]
        both = []
        for counted in (fresh & self.defective[self.unit], fresh & ~self.defective[self.unit]):
            total = np.concatenate(([0], np.cumsum(counted)))
            both.append(total[1:] - total[self.first[self.label]])
        return both[0], both[1]


def _allowed(limit: float | None, total: int) -> int:
    # 0.07 * 100 is a hair over 7 in floating point, 0.29 * 100 a hair under 29.
    return int(np.floor(round((limit or 0.0) * total, 9)))


def _objective(
    units: _Units, escape: float | None, overkill: float | None, cost: tuple[float, float] | None
) -> Objective:
    """The objective to minimise, compared part by part."""
    def parts(passed: NDArray[np.int64], rejected: NDArray[np.int64]) -> list[Any]:
        if escape is not None:
            over = np.maximum(passed - _allowed(escape, units.n_defective), 0)
            # Without a good image nothing else keeps the thresholds from falling to the floor.
            return [over, rejected, passed if units.n_good else -passed]
        if overkill is not None:
            over = np.maximum(rejected - _allowed(overkill, units.n_good), 0)
            return [over, passed, rejected]
        assert cost is not None
        return [cost[0] * passed + cost[1] * rejected, passed]

    return parts


def _path(units: _Units) -> list[NDArray[np.float64]]:
    """The cuts from nothing rejected to everything caught, the best trade-off first."""
    cuts = np.full(units.n_classes, np.inf)
    found = [cuts]
    while True:
        caught, lost = units.gains(units.rejected(cuts))
        rows = np.flatnonzero(units.last & (caught > 0))
        if not len(rows):
            return found
        exchange = np.divide(
            caught[rows], lost[rows], out=np.full(len(rows), np.inf), where=lost[rows] > 0
        )
        row = rows[np.lexsort((-caught[rows], -exchange))[0]]
        cuts = cuts.copy()
        cuts[units.label[row]] = units.score[row]
        found.append(cuts)


def _descend(
    units: _Units, cuts: NDArray[np.float64], objective: Objective
) -> NDArray[np.float64]:
    """Move one cut at a time as long as the objective falls."""
    cuts = cuts.copy()
    moved = True
    while moved:
        moved = False
        for label in range(units.n_classes):
            others = cuts.copy()
            others[label] = np.inf
            passed, rejected = units.counts(others)
            caught, lost = units.gains(units.rejected(others))
            rows = np.arange(units.first[label], units.first[label + 1])
            rows = rows[units.last[rows]]
            values = np.array(objective(
                passed - np.concatenate(([0], caught[rows])),
                rejected + np.concatenate(([0], lost[rows])),
            ), dtype=np.float64)  # (parts, candidates), the first without this class
            candidates = np.concatenate(([np.inf], units.score[rows]))
            best = np.lexsort(values[::-1])[0]
            here = int(np.flatnonzero(candidates == cuts[label])[0])
            if tuple(values[:, best]) < tuple(values[:, here]):
                cuts[label] = candidates[best]
                moved = True
    return cuts


def _between(units: _Units, cuts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thresholds half way to the next lower score that would reject more, in few digits."""
    hit = units.rejected(cuts)
    matters = ~hit[units.unit]
    if units.n_good:
        matters &= ~units.defective[units.unit]
    thresholds = np.empty(units.n_classes)
    for label in range(units.n_classes):
        rows = slice(units.first[label], units.first[label + 1])
        below = units.score[rows][matters[rows] & (units.score[rows] < cuts[label])]
        low = max(FLOOR, float(below.max(initial=0.0)))
        thresholds[label] = _shortest(low, min(1.0, float(cuts[label])))
    return thresholds


def _shortest(low: float, high: float) -> float:
    """The middle of two confidences in as few digits as keep it above the one, not the other."""
    middle = (low + high) / 2
    for digits in range(2, 17):
        if low < (short := round(middle, digits)) <= high:
            return short
    return high


# ------------------------------------------------------------------------------------- intervals


def _share(
    counted: NDArray[Any], among: NDArray[Any], drawn: NDArray[np.int64], confidence: float
) -> Interval | None:
    """The share of some images that are counted, with its interval over draws of images."""
    total, number = int(among.sum()), int((counted & among).sum())
    if not total:
        return None
    if number in (0, total):
        return _binomial(number, total, confidence)
    sizes = drawn @ among
    shares = (drawn @ (counted & among))[sizes > 0] / sizes[sizes > 0]
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(shares, [tail, 100 - tail])
    return Interval(number / total, float(low), float(high))


def _binomial(number: int, total: int, confidence: float) -> Interval:
    """A share with the exact interval of Clopper and Pearson."""
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = beta.ppf(tail, number, total - number + 1) if number else 0.0
    high = beta.ppf(1 - tail, number + 1, total - number) if number < total else 1.0
    return Interval(number / total, float(low), float(high))
