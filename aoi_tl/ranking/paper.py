"""The published score of a source: EMD, Gini over the shared classes, discrepancy."""

from __future__ import annotations

from aoi_tl.data.synonyms import spelt_apart
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.selection import SourceScore
from aoi_tl.similarity.discrepancy import discrepancy
from aoi_tl.similarity.gini import gini


def paper_score(target: Domain, source: Domain) -> SourceScore:
    """Score one source for the target: EMD, Gini over the shared classes, discrepancy.

    Parameters
    ----------
    target, source : Domain

    Returns
    -------
    SourceScore
        Without a rank and without further measures.

    Examples
    --------
    >>> from aoi_tl.similarity.signature import Signature
    >>> grey, white = Signature([[99, 99, 99]], [1]), Signature([[255, 255, 255]], [1])
    >>> target = Domain("t", {"a": 1, "b": 1}, 2, grey)
    >>> row = paper_score(target, Domain("s", {"a": 3, "b": 1}, 4, white))
    >>> row.gini, row.instances, round(row.discrepancy, 2)
    (0.25, 4, 33.77)
    """
    flow = source.flow_to(target)
    shared = target.shared_classes(source)
    delta = gini([source.counts[label] for label in shared]) if shared else 0.0
    score = discrepancy(flow.distance, delta, len(shared))
    notes = [score.note, flow.note, spelt_apart(target.label_space, source.label_space)]
    notes += [f"{source.unreadable} unreadable images left out"] if source.unreadable else []
    return SourceScore(
        name=source.name,
        emd=flow.distance,
        gini=delta,
        shared_classes=shared,
        discrepancy=score.value,
        undefined=score.undefined,
        rank=None,
        images=source.images,
        instances=source.instances,
        solver=flow.solver,
        gap=flow.gap,
        note="; ".join(note for note in notes if note) or None,
    )
