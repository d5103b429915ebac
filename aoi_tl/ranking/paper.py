"""The published score of one source: EMD, Gini over the shared classes, discrepancy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aoi_tl.ranking.selection import SourceScore
from aoi_tl.similarity.discrepancy import discrepancy
from aoi_tl.similarity.emd import Solver, earth_movers_distance
from aoi_tl.similarity.gini import gini
from aoi_tl.similarity.signature import Signature


def score_one(
    label_space: Sequence[str],
    wanted: Signature,
    name: str,
    counts: Mapping[str, int],
    signature: Signature,
    solver: Solver,
    images: int,
    unreadable: int = 0,
) -> SourceScore:
    """Hold one source against the target: EMD, Gini over the shared classes, discrepancy.

    Parameters
    ----------
    label_space : sequence of str
        Classes with an instance in the target, in its order.
    wanted : Signature
        The target's signature.
    name : str
        The source's name.
    counts : mapping
        The source's instances of each class.
    signature : Signature
        The source's signature.
    solver : str
        As for `earth_movers_distance`.
    images : int
        Images of the source.
    unreadable : int, default 0
        How many of them could not be read.

    Returns
    -------
    SourceScore
        Without a rank.

    Examples
    --------
    >>> grey, white = Signature([[99, 99, 99]], [1]), Signature([[255, 255, 255]], [1])
    >>> row = score_one(["a", "b"], grey, "s", {"a": 3, "b": 1}, white, "exact", 4)
    >>> row.gini, row.instances, round(row.discrepancy, 2)
    (0.25, 4, 33.77)
    """
    flow = earth_movers_distance(signature, wanted, solver)
    shared = tuple(label for label in label_space if counts.get(label))
    delta = gini([counts[label] for label in shared]) if shared else 0.0
    score = discrepancy(flow.distance, delta, len(shared))
    notes = [score.note, flow.note]
    notes += [f"{unreadable} unreadable images left out"] if unreadable else []
    return SourceScore(
        name=name,
        emd=flow.distance,
        gini=delta,
        shared_classes=shared,
        discrepancy=score.value,
        undefined=score.undefined,
        rank=None,
        images=images,
        instances=sum(counts.values()),
        solver=flow.solver,
        gap=flow.gap,
        note="; ".join(note for note in notes if note) or None,
    )
