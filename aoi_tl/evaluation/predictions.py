"""Predictions of a detector on a split, and the scores computed from them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aoi_tl.evaluation.detection import f1_curve, smooth

#: The IoU thresholds of `Predictions.correct`.
IOUS = np.linspace(0.5, 0.95, 10)

_CONFIDENCES = np.linspace(0, 1, 1000)
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class Predictions:
    """True and predicted boxes of one split, for p images, m true and n predicted boxes.

    Parameters
    ----------
    names : tuple of str
        Class names; a class id is a position in it.
    images : tuple of str
        The names of the image files.
    truth_image, truth_class : int64 array of shape (m,)
        The image (a position in `images`) and the class of each true box.
    truth_box : float64 array of shape (m, 4)
        Left, top, right and bottom, each as a share of the image.
    image, class_id : int64 array of shape (n,)
        The image and the class of each predicted box.
    confidence : float64 array of shape (n,)
        0..1.
    box : float64 array of shape (n, 4)
        As `truth_box`.
    correct : bool array of shape (n, 10)
        Whether the box is a true positive at each of the `IOUS`.
    """

    names: tuple[str, ...]
    images: tuple[str, ...]
    truth_image: NDArray[np.int64]
    truth_class: NDArray[np.int64]
    truth_box: NDArray[np.float64]
    image: NDArray[np.int64]
    class_id: NDArray[np.int64]
    confidence: NDArray[np.float64]
    box: NDArray[np.float64]
    correct: NDArray[np.bool_]

    def to_bytes(self) -> bytes:
        """Give the content of an ``.npz`` file that `read_predictions` reads."""
        packed = io.BytesIO()
        arrays = {f.name: getattr(self, f.name) for f in fields(self)[2:]}
        words = json.dumps({"names": self.names, "images": self.images}, ensure_ascii=False)
        np.savez_compressed(
            packed, words=np.frombuffer(words.encode("utf-8"), np.uint8), **arrays
        )
        return packed.getvalue()


@dataclass(frozen=True)
class SplitScores:
    """Scores of predictions on a split; all values are 0..1.

    Parameters
    ----------
    f1 : float
        The peak over confidences of the class-mean F1, smoothed, at IoU 0.5.
    map50, map50_95 : float
        Mean average precision at IoU 0.5, and its mean over IoU 0.50..0.95.
    """

    f1: float
    map50: float
    map50_95: float


def read_predictions(content: bytes) -> Predictions:
    """Read what `Predictions.to_bytes` wrote.

    Parameters
    ----------
    content : bytes
        The content of the file.

    Returns
    -------
    Predictions

    Raises
    ------
    ValueError
        If the file has another content.

    Examples
    --------
    >>> none = np.zeros(0, np.int64)
    >>> before = Predictions(("pit",), ("a.png",), none, none, np.zeros((0, 4)), none, none,
    ...                      np.zeros(0), np.zeros((0, 4)), np.zeros((0, 10), bool))
    >>> read_predictions(before.to_bytes()).images
    ('a.png',)
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            words = json.loads(file["words"].tobytes().decode("utf-8"))
            arrays = {f.name: file[f.name] for f in fields(Predictions)[2:]}
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise ValueError(f"expected stored predictions, got {type(error).__name__}") from error
    return Predictions(tuple(words["names"]), tuple(words["images"]), **arrays)


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Concatenate predictions on several sets of images.

    Parameters
    ----------
    parts : sequence of Predictions
        At least one; all with the same class names.

    Returns
    -------
    Predictions

    Raises
    ------
    ValueError
        If the class names differ.

    Examples
    --------
    >>> none = np.zeros(0, np.int64)
    >>> one = Predictions(("pit",), ("a.png",), none, none, np.zeros((0, 4)), none, none,
    ...                   np.zeros(0), np.zeros((0, 4)), np.zeros((0, 10), bool))
    >>> join_predictions([one, one]).images
    ('a.png', 'a.png')
    """
    names = {part.names for part in parts}
    if len(names) != 1:
        raise ValueError(f"expected predictions of one list of classes, got {len(names)} lists")
    begin = np.cumsum([0, *(len(part.images) for part in parts)])

    def joined(name: str) -> NDArray:
        return np.concatenate([
            getattr(part, name) + (first if name in ("image", "truth_image") else 0)
            if name != "correct" else part.correct
            for part, first in zip(parts, begin, strict=False)
        ])

    return Predictions(
        names.pop(), tuple(image for part in parts for image in part.images),
        **{f.name: joined(f.name) for f in fields(Predictions)[2:]},
    )


@dataclass(frozen=True, eq=False)
class _ClassRows:
    """The predictions of one class, the most confident first."""

    image: NDArray[np.int64]
    confidence: NDArray[np.float64]
    correct: NDArray[np.float64]  # (n, n_ious)
    truth_image: NDArray[np.int64]


class Scorer:
    """Scores of one set of predictions under any multiplicity of its images.

    The predictions are sorted once; a bootstrap sample is a count of how often each image was
    drawn.

    Parameters
    ----------
    predictions : Predictions
        Of one split.
    """

    def __init__(self, predictions: Predictions) -> None:
        self.n_images = len(predictions.images)
        order = np.argsort(-predictions.confidence, kind="stable")
        classes = predictions.class_id[order]
        self._classes = []
        for label in np.unique(predictions.truth_class):
            rows = order[classes == label]
            self._classes.append(_ClassRows(
                predictions.image[rows], predictions.confidence[rows],
                predictions.correct[rows].astype(np.float64),
                predictions.truth_image[predictions.truth_class == label],
            ))

    def scores(self, times: ArrayLike | None = None) -> SplitScores:
        """Score the split as if it contained image i ``times[i]`` times.

        Parameters
        ----------
        times : array_like of float, shape (p,), optional
            1 for each image unless given.

        Returns
        -------
        SplitScores
            All zero where no true box is left. Classes without a true box do not count.

        References
        ----------
        .. [1] Everingham et al. "The PASCAL Visual Object Classes (VOC) Challenge." IJCV 88(2),
           2010.
        .. [2] Lin et al. "Microsoft COCO: Common Objects in Context." ECCV 2014 (101-point
           interpolation, as Ultralytics computes it).
        """
        weights = np.ones(self.n_images) if times is None else np.asarray(times, dtype=np.float64)
        precisions, f1s = [], []
        for rows in self._classes:
            n_true = float(weights[rows.truth_image].sum())
            if n_true == 0:
                continue
            weight = weights[rows.image]
            kept = weight > 0
            if not kept.any():
                precisions.append(np.zeros(len(IOUS)))
                f1s.append(np.zeros(len(_CONFIDENCES)))
                continue
            weight = weight[kept, None]
            hits = (rows.correct[kept] * weight).cumsum(axis=0)  # (n, 10)
            precision, recall = hits / weight.cumsum(axis=0), hits / n_true
            precisions.append(np.array([
                _average_precision(recall[:, j], precision[:, j]) for j in range(len(IOUS))
            ]))
            confidence = -rows.confidence[kept]
            f1s.append(f1_curve(
                np.interp(-_CONFIDENCES, confidence, precision[:, 0], left=1),
                np.interp(-_CONFIDENCES, confidence, recall[:, 0], left=0),
            ))
        if not precisions:
            return SplitScores(0.0, 0.0, 0.0)
        table = np.array(precisions)
        return SplitScores(
            float(smooth(np.mean(f1s, axis=0)).max()), float(table[:, 0].mean()),
            float(table.mean()),
        )


def _average_precision(
    recall: NDArray[np.float64], precision: NDArray[np.float64]
) -> float:
    ends = np.concatenate(([0.0], recall, [recall[-1], 1.0]))
    envelope = np.concatenate(([1.0], precision, [0.0, 0.0]))
    envelope = np.maximum.accumulate(envelope[::-1])[::-1]
    return float(np.trapezoid(np.interp(_RECALLS, ends, envelope), _RECALLS))


def score_split(predictions: Predictions) -> SplitScores:
    """Score predictions on their split.

    Parameters
    ----------
    predictions : Predictions
        Of one split.

    Returns
    -------
    SplitScores
        As `Scorer.scores` gives it for the split as it is.

    Examples
    --------
    >>> zero = np.zeros(1, np.int64)
    >>> one = Predictions(("pit",), ("a.png",), zero, zero, np.array([[0, 0, 0.5, 0.5]]), zero,
    ...                   zero, np.array([0.9]), np.array([[0, 0, 0.5, 0.5]]),
    ...                   np.ones((1, 10), bool))
    >>> round(score_split(one).map50, 3)  # the most that Ultralytics' interpolation gives
    0.995
    """
    return Scorer(predictions).scores()


def match_boxes(
    truth_class: ArrayLike, truth_box: ArrayLike, class_id: ArrayLike, box: ArrayLike,
    ious: Sequence[float] = tuple(IOUS),
) -> NDArray[np.bool_]:
    """Find which predicted boxes of one image are true positives.

    At each threshold, pairs of a true and a predicted box of one class are taken in the order of
    their IoU, each box at most once, as Ultralytics does.

    Parameters
    ----------
    truth_class : array_like of int, shape (m,)
    truth_box : array_like, shape (m, 4)
        Left, top, right, bottom.
    class_id : array_like of int, shape (n,)
    box : array_like, shape (n, 4)
        In the units of `truth_box`.
    ious : sequence of float
        The thresholds.

    Returns
    -------
    bool array of shape (n, len(ious))

    Examples
    --------
    >>> match_boxes([0], [[0, 0, 2, 2]], [0, 0], [[0, 0, 2, 2], [0, 0, 2, 1.2]],
    ...             ious=[0.5]).ravel().tolist()
    [True, False]
    """
    true, found = (np.asarray(b, dtype=np.float64).reshape(-1, 4) for b in (truth_box, box))
    correct = np.zeros((len(found), len(ious)), dtype=bool)
    if not len(true) or not len(found):
        return correct
    overlap = box_iou(true, found)
    overlap[np.asarray(truth_class)[:, None] != np.asarray(class_id)[None]] = 0.0
    for j, threshold in enumerate(ious):
        pairs = np.argwhere(overlap >= threshold)
        pairs = pairs[np.argsort(-overlap[pairs[:, 0], pairs[:, 1]], kind="stable")]
        used: tuple[set[int], set[int]] = (set(), set())
        for t, p in pairs.tolist():
            if t not in used[0] and p not in used[1]:
                used[0].add(t)
                used[1].add(p)
                correct[p, j] = True
    return correct


def box_iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of every pair of boxes.

    Parameters
    ----------
    one, other : array of shape (m, 4) and (n, 4)
        Left, top, right, bottom.

    Returns
    -------
    array of shape (m, n)
        0..1; 0 for boxes without area.

    Examples
    --------
    >>> box_iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]])).round(3).tolist()
    [[0.333]]
    """
    corner = np.maximum(one[:, None, :2], other[None, :, :2])
    opposite = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(opposite - corner, 0, None).prod(axis=2)
    area = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (one, other)]
    union = area[0][:, None] + area[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
