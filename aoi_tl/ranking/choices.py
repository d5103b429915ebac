"""All that can be done for a target: learn from one source, from a set, from all, or from none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aoi_tl.ranking.auto import estimate
from aoi_tl.ranking.box_shapes import shape_distance
from aoi_tl.ranking.detector_measures import zero_shot_map
from aoi_tl.ranking.domain import Domain, pool

NONE = "none: fine-tune COCO"
TOGETHER = "all together"
#: Points of mAP50 that a union brings over what its pooled measures let expect.
UNION_BONUS = 2.5

Estimate = tuple[float, tuple[float, float]]


@dataclass(frozen=True)
class Choice:
    """Something that can be done for a target: learn from some sources, or from none.

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
    """List all that can be done, the best first: each source, a set, all together, none.

    Parameters
    ----------
    target : Domain
    sources : sequence of Domain
    estimates : mapping of str to (float, tuple of float) or None
        For each source by its name what `aoi_tl.ranking.auto.estimate` gave.

    Returns
    -------
    tuple of Choice
        Those that cannot be estimated stand last. Of equal estimates the one of fewer sources comes
        first.
    """
    by_name = {source.name: source for source in sources}

    def estimated(names: Sequence[str]) -> Estimate | None:
        return estimate_together(target, [by_name[name] for name in names])

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
    """Put sources together one by one, each the one that adds most; stop where none adds anything.

    Parameters
    ----------
    gains : mapping of str to float
        The estimated gain of each source alone; only those above 0 are taken.
    estimated : callable
        Estimates the gain of several sources together.

    Returns
    -------
    tuple of str
        In the order in which they were taken; empty where none helps.

    Examples
    --------
    >>> worth = {"a": 4.0, "b": 3.0, "c": -2.0}
    >>> greedy_set(worth, lambda names: (sum(worth[n] for n in names), (0.0, 0.0)))
    ('a', 'b')
    """
    left = sorted((name for name, gain in gains.items() if gain > 0), key=lambda n: (-gains[n], n))
    if not left:
        return ()
    taken, best = [left[0]], gains[left.pop(0)]
    while left:
        found = {name: estimated([*taken, name]) for name in left}
        known = {name: value[0] for name, value in found.items() if value is not None}
        if not known or max(known.values()) <= best:
            break
        taken.append(max(known, key=lambda name: known[name]))
        best = known[taken[-1]]
        left.remove(taken[-1])
    return tuple(taken)


def estimate_together(target: Domain, sources: Sequence[Domain]) -> Estimate | None:
    """Estimate the gain of learning from several sources together.

    Parameters
    ----------
    target : Domain
    sources : sequence of Domain
        At least two.

    Returns
    -------
    gain : float
        That of what their detectors see together, or of their pooled data where one has no
        detector, and `UNION_BONUS`.
    interval : tuple of float
        None in place of both where it cannot be estimated.
    """
    together = pool(sources)
    shared = target.shared_classes(together)
    overlap = sum(target.counts[label] for label in shared) / max(target.instances, 1)
    values: dict[str, float | None] = {
        "overlap": overlap, "zero-shot": zero_shot_map(target, together)
    }
    if len(target.shapes) and len(together.shapes):
        values["box"] = shape_distance(target.shapes, together.shapes)
    if (found := estimate(values)) is None:
        return None
    gain, (low, high) = found
    if not shared:
        return found
    return gain + UNION_BONUS, (low + UNION_BONUS, high + UNION_BONUS)


def _to_put_together(
    sources: Sequence[Domain], estimates: Mapping[str, Estimate | None]
) -> dict[str, float]:
    """The estimated gains that may be compared: by detectors where there are any, else by data."""
    seen = any(source.has_detector for source in sources)
    return {
        source.name: found[0] for source in sources
        if source.has_detector == seen and (found := estimates.get(source.name)) is not None
    }
