"""All measures by name, and which of them a method looks at."""

from __future__ import annotations

from aoi_tl.ranking.data_measures import BOX, EMD, OVERLAP, PAPER, RANDOM, SIZE
from aoi_tl.ranking.measure import Measure

MEASURES: dict[str, Measure] = {m.name: m for m in (PAPER, EMD, SIZE, OVERLAP, BOX, RANDOM)}
#: What ``--method`` may be.
METHODS = tuple(MEASURES)


def measures_of(method: str) -> list[Measure]:
    """Give the measures that a ranking shows: those that cost nothing, and the one it is by.

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
    shown = [PAPER, EMD, SIZE, OVERLAP]
    return shown if MEASURES[method] in shown else [*shown, MEASURES[method]]


def looks_at_labels(method: str) -> bool:
    """Whether a method needs labelled images and not their counts alone."""
    return any(measure.needs != "data" for measure in measures_of(method))
