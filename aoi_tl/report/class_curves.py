"""Curves of one class on the test images: precision over recall, F1 over confidence, by arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from aoi_tl.report.charts import Chart, draw_curves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aoi_tl.evaluation.predictions import Predictions

#: Classes that are drawn, those with the most test boxes.
CLASSES = 6
_POINTS = 61
_GRID = np.linspace(0, 1, 201)


def class_curves(found: Mapping[str, Sequence[Predictions]]) -> list[Chart]:
    """Draw both curves of each of the commonest classes.

    Parameters
    ----------
    found : mapping of str to sequence of Predictions
        For each arm those of its seeds, all on the same test images.

    Returns
    -------
    list of Chart
        Two a class. The line is the mean over the seeds, the band their range.
    """
    first = next(iter(found.values()))[0]
    commonest = Counter(first.truth_class.tolist()).most_common(CLASSES)
    charts = []
    for label, boxes in commonest:
        name, words = first.names[label], f"{boxes} true boxes, IoU 0.5"
        charts += [
            draw_curves(
                f"class-{label}-precision-recall", f"{name}: precision over recall, {words}",
                {arm: [(_GRID, precision_at(p, label, _GRID)) for p in seeds]
                 for arm, seeds in found.items()}, "recall", "precision", _POINTS,
            ),
            draw_curves(
                f"class-{label}-f1-confidence", f"{name}: F1 over confidence, {words}",
                {arm: [(_GRID, f1_at(p, label, _GRID)) for p in seeds]
                 for arm, seeds in found.items()}, "confidence", "F1", _POINTS,
            ),
        ]
    return charts


def precision_at(
    predictions: Predictions, label: int, recall: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the highest precision of one class at each recall or beyond, at IoU 0.5.

    Parameters
    ----------
    predictions : Predictions
    label : int
        A class id.
    recall : float64 array of shape (n,)

    Returns
    -------
    float64 array of shape (n,)
        0 where the recall is not reached.
    """
    hits, true = _hits(predictions, label)
    reached, precision = hits / max(1, true), hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(reached, recall - 1e-9)
    return np.append(envelope, 0.0)[place]


def f1_at(
    predictions: Predictions, label: int, confidence: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the F1 of one class at each confidence, at IoU 0.5.

    Parameters
    ----------
    predictions : Predictions
    label : int
        A class id.
    confidence : float64 array of shape (n,)
        Boxes of a lower confidence are not counted as found.

    Returns
    -------
    float64 array of shape (n,)
    """
    hits, true = _hits(predictions, label)
    mine = np.sort(-predictions.confidence[predictions.class_id == label])
    kept = np.searchsorted(mine, -confidence, side="right")
    return 2 * np.concatenate([[0.0], hits])[kept] / np.maximum(kept + true, 1)


def _hits(predictions: Predictions, label: int) -> tuple[NDArray[np.float64], int]:
    """Count the right boxes of a class among the n most confident, and its true boxes."""
    rows = np.flatnonzero(predictions.class_id == label)
    rows = rows[np.argsort(-predictions.confidence[rows], kind="stable")]
    hits = predictions.correct[rows, 0].cumsum().astype(np.float64)
    return hits, int((predictions.truth_class == label).sum())
