"""All measures by name, and the measures that each method uses."""

from __future__ import annotations

from collections.abc import Container

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
from aoi_tl.ranking.measure import Direction, Measure
from aoi_tl.ranking.proxy import PROXY

MEASURES: dict[str, Measure] = {m.name: m for m in (
    PAPER, EMD, SIZE, OVERLAP, BOX, RANDOM, FRECHET, MMD, OTDD, ZERO_SHOT, ZERO_SHOT_F1,
    CLASS_BLIND, LOG_ME, H_SCORE, KNN, ENERGY, PROXY,
)}
#: The valid values of ``--method``.
METHODS = (*MEASURES, "auto")
#: What `Measure.needs` of those that begin with a source's detector.
DETECTOR_NEEDS = ("detector", "training")
_FREE = (PAPER, EMD, SIZE, OVERLAP)


def measures_of(method: str, data_only: bool = False) -> list[Measure]:
    """Give the measures of a ranking: the free ones, and those of its method.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    data_only : bool
        Leave out those that look through a detector.

    Returns
    -------
    list of Measure

    Examples
    --------
    >>> [measure.name for measure in measures_of("box")]
    ['paper', 'emd', 'size', 'overlap', 'box']
    """
    own = (BOX, ZERO_SHOT, CLASS_BLIND) if method == "auto" else (MEASURES[method],)
    return [
        *_FREE,
        *(measure for measure in own if measure not in _FREE
          and not (data_only and measure.needs in DETECTOR_NEEDS)),
    ]


def looks_at_labels(method: str) -> bool:
    """Whether a method needs labelled images and not their counts alone."""
    return any(measure.needs != "data" for measure in measures_of(method))


def looks_through_detectors(method: str) -> bool:
    """Whether a method needs the sources' kept detectors."""
    return any(measure.needs in DETECTOR_NEEDS for measure in measures_of(method))


def directions(known: Container[str]) -> dict[str, Direction]:
    """Give the measures that a table has, in their usual order, with their directions.

    Parameters
    ----------
    known : container of str
        The names of its columns; a DataFrame is one.

    Returns
    -------
    dict of str to {"higher", "lower"}
        Which values speak for a source; also of the estimates ``auto`` and ``auto-data``.

    Examples
    --------
    >>> directions(["size", "emd", "target"])
    {'emd': 'lower', 'size': 'higher'}
    """
    found = {name: measure.direction for name, measure in MEASURES.items() if name in known}
    estimates: dict[str, Direction] = {
        name: "higher" for name in ("auto", "auto-data") if name in known
    }
    return found | estimates
