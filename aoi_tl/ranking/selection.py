"""Selecting a source: the order by score, and the choice among the closest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from aoi_tl.ranking.measure import Measured

CANDIDATES = 3  # the papers choose among the three closest sources


@dataclass(frozen=True)
class SourceScore:
    """The score of one source for the target; the fields are those of ``scores.json``.

    Attributes
    ----------
    name : str
        The source's name.
    emd : float
        Earth mover's distance between the signatures of source and target, in RGB units.
    gini : float
        Gini coefficient of the source's counts over the shared classes; 0 where none is shared.
    shared_classes : tuple of str
        Classes with an instance in both datasets, in the target's order.
    discrepancy : float or None
        The score, lower is closer; None where it is undefined.
    undefined : str or None
        Why there is no score.
    rank : int or None
        1 for the closest; None until ranked and where the score is undefined.
    images, instances : int
        Images and boxes of the whole source.
    solver : str
        The solver whose flow was kept.
    gap : float
        The flow's gap to the dual bound, in RGB units.
    note : str or None
        A remark on this row.
    measures : mapping of str to Measured
        Every measure that was taken, by its name.
    estimated_gain : float or None
        How many points of mAP50 this source is expected to bring over plain fine-tuning; None
        where the method does not estimate it.
    interval : tuple of float or None
        The ends of the estimate's interval.
    explanation : str
        One sentence on how this source relates to the target.
    tied : bool
        Whether it cannot be distinguished from the first: their intervals overlap, or the values
        are equal.
    places : tuple of int or None
        The first and the last rank that it may have: those of the sources that it cannot be
        distinguished from. None without a rank.
    """

    name: str
    emd: float
    gini: float
    shared_classes: tuple[str, ...]
    discrepancy: float | None
    undefined: str | None
    rank: int | None
    images: int
    instances: int
    solver: str = ""
    gap: float = 0.0
    note: str | None = None
    measures: Mapping[str, Measured] = field(default_factory=dict)
    estimated_gain: float | None = None
    interval: tuple[float, float] | None = None
    explanation: str = ""
    tied: bool = False
    places: tuple[int, int] | None = None


def rank_sources(scores: Iterable[SourceScore]) -> tuple[SourceScore, ...]:
    """Order sources from the closest to the farthest and number them.

    Ties (all sources with a delta of 0, say) are ordered by EMD, then by name. Sources without
    a score stand last, by EMD, and get no rank.

    Parameters
    ----------
    scores : iterable of SourceScore
        One row per source, in any order; ranks in them are ignored.

    Returns
    -------
    tuple of SourceScore
        The same rows in rank order, each with its ``rank``.

    Examples
    --------
    >>> near = SourceScore("near", 9.0, 0.5, ("a", "b"), 2.25, None, None, 10, 20)
    >>> blind = SourceScore("blind", 1.0, 0.0, ("a",), None, "one class", None, 10, 20)
    >>> [(s.name, s.rank) for s in rank_sources([blind, near])]
    [('near', 1), ('blind', None)]
    """
    rows = sorted(scores, key=_order)
    return tuple(
        replace(row, rank=None if row.discrepancy is None else place)
        for place, row in enumerate(rows, start=1)
    )


def select_source(scores: Iterable[SourceScore]) -> str | None:
    """Select the source with the most instances among the three lowest defined scores.

    Parameters
    ----------
    scores : iterable of SourceScore
        One row per source, in any order.

    Returns
    -------
    str or None
        The source's name; of equal instances the closer one. None where no score is defined.

    Examples
    --------
    >>> small = SourceScore("small", 9.0, 0.5, ("a", "b"), 2.25, None, None, 10, 20)
    >>> large = SourceScore("large", 9.9, 0.5, ("a", "b"), 2.48, None, None, 90, 400)
    >>> select_source([small, large])
    'large'
    """
    closest = [s for s in sorted(scores, key=_order) if s.discrepancy is not None][:CANDIDATES]
    if not closest:
        return None
    return max(closest, key=lambda score: score.instances).name  # max keeps the first of equals


def _order(score: SourceScore) -> tuple[bool, float, float, str]:
    return score.discrepancy is None, score.discrepancy or 0.0, score.emd, score.name
