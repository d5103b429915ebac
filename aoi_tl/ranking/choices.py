"""The choices for a target: learn from one source, from a set, from all, or from none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aoi_tl.ranking.box_shapes import shape_distance
from aoi_tl.ranking.detector_measures import zero_shot_map
from aoi_tl.ranking.domain import Domain, pool
from aoi_tl.ranking.expected_gain import FITTED, estimate

NONE = "none: fine-tune COCO"
TOGETHER = "all together"
#: Points of mAP50 that learning from several sources at once added to the estimate, as measured.
UNION_BONUS = 4.5
#: Points of mAP50 that one more source may seem to cost: so much did the fused detectors fall where
#: a union of all related sources was as good as its best member or better.
TOLERANCE = 1.5
#: A set is chosen from this many of the best single sources.
CANDIDATES = 10

Estimate = tuple[float, tuple[float, float]]


@dataclass(frozen=True)
class Choice:
    """One choice for a target: learn from some sources, or from none.

    Attributes
    ----------
    name : str
        A source, several joined by " + ", `NONE` or `TOGETHER`.
    sources : tuple of str
    estimated_gain : float or None
        Points of mAP50 over plain fine-tuning; None where it cannot be estimated.
    interval : tuple of float or None
        Its ends.
    """

    name: str
    sources: tuple[str, ...]
    estimated_gain: float | None
    interval: tuple[float, float] | None


def list_choices(
    target: Domain, sources: Sequence[Domain], estimates: Mapping[str, Estimate | None]
) -> tuple[Choice, ...]:
    """List the choices, the best first: each source, a set, all together, none.

    Parameters
    ----------
    target : Domain
    sources : sequence of Domain
    estimates : mapping of str to (float, tuple of float) or None
        For each source by its name what `aoi_tl.ranking.expected_gain.estimate` gave.

    Returns
    -------
    tuple of Choice
        Those that cannot be estimated stand last. Of equal estimates the one of fewer sources comes
        first.
    """
    by_name = {source.name: source for source in sources}

    def estimated(names: Sequence[str]) -> Estimate | None:
        return estimate_together(target, {by_name[name]: estimates[name] for name in names})

    listed: dict[tuple[str, ...], Choice] = {(): Choice(NONE, (), 0.0, (0.0, 0.0))}
    for name, value in estimates.items():
        listed[(name,)] = Choice(name, (name,), *(value or (None, None)))
    sets = [greedy_set(_to_put_together(sources, estimates), estimated)]
    sets += [tuple(sorted(by_name))] if len(by_name) > 1 else []
    for names in sets:
        if len(names) > 1 and not any(set(names) == set(known) for known in listed):
            shown = TOGETHER if len(names) == len(by_name) else " + ".join(names)
            listed[names] = Choice(shown, names, *(estimated(names) or (None, None)))
    return tuple(sorted(listed.values(), key=lambda choice: (
        choice.estimated_gain is None, -(choice.estimated_gain or 0.0), len(choice.sources)
    )))


def greedy_set(
    gains: Mapping[str, float], estimated: Callable[[Sequence[str]], Estimate | None]
) -> tuple[str, ...]:
    """Build a set greedily: add the source with the highest gain until no source adds any.

    Parameters
    ----------
    gains : mapping of str to float
        The estimated gain of each source alone; only those above 0 are taken.
    estimated : callable
        Estimates the gain of several sources together.

    Returns
    -------
    tuple of str
        In the order in which they were taken; empty where none helps. It ends where one more would
        bring the estimate `TOLERANCE` below the best so far.

    Examples
    --------
    >>> worth = {"a": 4.0, "b": 3.0, "c": -2.0}
    >>> greedy_set(worth, lambda names: (sum(worth[n] for n in names), (0.0, 0.0)))
    ('a', 'b')
    """
    left = sorted((name for name, gain in gains.items() if gain > 0), key=lambda n: (-gains[n], n))
    left = left[:CANDIDATES]
    if not left:
        return ()
    taken, best = [left[0]], gains[left.pop(0)]
    while left:
        found = {name: estimated([*taken, name]) for name in left}
        known = {name: value[0] for name, value in found.items() if value is not None}
        if not known or max(known.values()) < best - TOLERANCE:
            break
        taken.append(max(known, key=lambda name: known[name]))
        best = max(best, known[taken[-1]])
        left.remove(taken[-1])
    return tuple(taken)


def estimate_together(target: Domain, sources: Mapping[Domain, Estimate | None]) -> Estimate | None:
    """Estimate the gain of learning from several sources together.

    Parameters
    ----------
    target : Domain
    sources : mapping of Domain to (float, tuple of float) or None
        At least two, each with its own estimate.

    Returns
    -------
    gain : float
        That of the best of them, and what their detectors find together beyond what that one finds
        (see `aoi_tl.transfer.viewing.fuse_views`); where one has no detector, that of their data
        taken as one. `UNION_BONUS` comes on top where a class is shared.
    interval : tuple of float
        None in place of both where it cannot be estimated.
    """
    together = pool(tuple(sources))
    shared = target.shared_classes(together)
    known = {source: found for source, found in sources.items() if found is not None}
    if together.has_detector and target.labelled and len(known) == len(sources):
        best = max(known, key=lambda source: known[source][0])
        one, all_ = (zero_shot_map(target, seen) or 0.0 for seen in (pool([best]), together))
        gain, (low, high) = known[best]
        added = FITTED["detector"].weights[1] * (all_ - one)
    else:
        values: dict[str, float | None] = {
            "overlap": sum(target.counts[label] for label in shared) / max(target.instances, 1)
        }
        if len(target.shapes) and len(together.shapes):
            values["box"] = shape_distance(target.shapes, together.shapes)
        if (found := estimate(values)) is None:
            return None
        gain, (low, high) = found
        added = 0.0
    added += UNION_BONUS if shared else 0.0
    return gain + added, (low + added, high + added)


def _to_put_together(
    sources: Sequence[Domain], estimates: Mapping[str, Estimate | None]
) -> dict[str, float]:
    """The estimated gains that are comparable: by detectors if there are any, else by data."""
    seen = any(source.has_detector for source in sources)
    return {
        source.name: found[0] for source in sources
        if source.has_detector == seen and (found := estimates.get(source.name)) is not None
    }
