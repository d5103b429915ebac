"""All measures by name, and the measures that each method uses."""

from __future__ import annotations

from aoi_tl.ranking.data_measures import BOX, EMD, OVERLAP, PAPER, RANDOM, SIZE
from aoi_tl.ranking.detector_measures import (
    CLASS_BLIND,
    ENERGY,
    H_SCORE,
    KNN,
    LOG_ME,
    ZERO_SHOT,
    ZERO_SHOT_F1,
)
from aoi_tl.ranking.feature_measures import FRECHET, MMD, OTDD
from aoi_tl.ranking.measure import Measure

MEASURES: dict[str, Measure] = {m.name: m for m in (
    PAPER, EMD, SIZE, OVERLAP, BOX, RANDOM, FRECHET, MMD, OTDD, ZERO_SHOT, ZERO_SHOT_F1,
    CLASS_BLIND, LOG_ME, H_SCORE, KNN, ENERGY,
)}
#: What ``--method`` may be.
METHODS = (*MEASURES, "auto")
_FREE = (PAPER, EMD, SIZE, OVERLAP)


def measures_of(method: str) -> list[Measure]:
    """Give the measures that a ranking takes: those that cost nothing, and those it is by.

    Parameters
    ----------
    method : str
        One of `METHODS`.

    Returns
    -------
    list of Measure

    Examples
    --------
    >>> [measure.name for measure in measures_of("box")]
    ['paper', 'emd', 'size', 'overlap', 'box']
    """
    own = (BOX, ZERO_SHOT, CLASS_BLIND) if method == "auto" else (MEASURES[method],)
    return [*_FREE, *(measure for measure in own if measure not in _FREE)]


def looks_at_labels(method: str) -> bool:
    """Whether a method needs labelled images and not their counts alone."""
    return any(measure.needs != "data" for measure in measures_of(method))


def looks_through_detectors(method: str) -> bool:
    """Whether a method needs the sources' kept detectors."""
    return any(measure.needs == "detector" for measure in measures_of(method))
