"""Ranking sources for a target: signatures, measures, order, selection."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.ranking.choices import list_choices
from aoi_tl.ranking.comparison import (
    Comparison,
    ImagesDone,
    Scored,
    excluding,
    open_cache,
)
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.expected_gain import estimate
from aoi_tl.ranking.explanation import explain
from aoi_tl.ranking.measure import Measured
from aoi_tl.ranking.measures import MEASURES, measures_of
from aoi_tl.ranking.paper import paper_score
from aoi_tl.ranking.race import Doing, Race, in_words, race, train_missing
from aoi_tl.ranking.ranking import Ranking, rank_by
from aoi_tl.ranking.selection import SourceScore
from aoi_tl.similarity.emd import Solver

if TYPE_CHECKING:
    from aoi_tl.caches.signature_cache import SignatureCache


def score_sources(
    target: Scored,
    sources: Sequence[Scored],
    n_clusters: int | Literal["auto"] = "auto",
    method: str = "paper",
    solver: Solver = "slsqp",
    sample: int | Literal["all"] = "all",
    progress: ImagesDone = lambda done, total: None,
    cache: SignatureCache | None = None,
    detectors: Mapping[str, Path] | None = None,
    weights: Path | None = None,
    budget: float | None = None,
    doing: Doing = lambda what, done, total: None,
) -> Ranking:
    """Rank sources for a target, and select one.

    The target is seen with its train and val splits, the sources with all of theirs. A source
    that is the target itself, or comes twice, is skipped.

    Parameters
    ----------
    target : Dataset or Summary
        The target of the new detector; its test split is not opened.
    sources : sequence of the same
        The candidate sources, at least one besides the target.
    n_clusters : int or "auto", default "auto"
        Clusters of each signature; "auto" chooses them at the elbow of a small sample.
    method : str, default "paper"
        The ranking criterion, see `aoi_tl.ranking.measures.METHODS`: "paper" is EMD times Gini over
        the number of shared classes.
    solver : {"slsqp", "exact", "auto"}, default "slsqp"
        As for `earth_movers_distance`.
    sample : int or "all", default "all"
        Images of each dataset that are used, evenly spread over it.
    progress : callable, optional
        Called with how many images are done, and of how many.
    cache : SignatureCache, optional
        The cache of known signatures; the user's own unless given.
    detectors : mapping of str to Path, optional
        Kept detectors by the name of their source.
    weights : Path, optional
        The COCO checkpoint of the measures that compare features, and of short trainings.
    budget, doing
        As for `make_ranking`.

    Returns
    -------
    Ranking
        The sources in rank order and the name of the one picked.

    Raises
    ------
    DataError
        If there is no source, no box in the target, or no readable image.
    ExperimentError
        When a setting is out of range.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from aoi_tl.data.dataset import Dataset, Sample
    >>> from aoi_tl.data.images import write_image
    >>> from aoi_tl.caches.signature_cache import SignatureCache
    >>> def drawn(folder, name, grey):
    ...     image = Path(folder, f"{name}.png")
    ...     write_image(image, np.full((8, 8), grey, dtype=np.uint8))
    ...     sample = Sample(image, "train", np.array([0, 0, 1]), np.full((3, 4), 0.5))
    ...     return Dataset(name, Path(folder, name, "data.yaml"), ("dent", "crack"), (sample,))
    >>> with tempfile.TemporaryDirectory() as folder, SignatureCache(folder) as cache:
    ...     target, far, near = (drawn(folder, *d) for d in (("t", 9), ("far", 99), ("near", 19)))
    ...     ranking = score_sources(target, [far, near], cache=cache)
    >>> [(row.name, round(row.emd, 2), round(row.discrepancy, 3)) for row in ranking.sources]
    [('near', 17.32, 1.443), ('far', 155.88, 12.99)]
    """
    kept = excluding(sources, [target])
    if not kept:
        raise DataError(
            f"expected at least one source besides {target.name}, got none; name other datasets"
        )
    with open_cache(cache) as signatures:
        comparison = Comparison(
            [target], kept, n_clusters, method, solver, sample, progress, signatures, detectors,
            weights,
        )
        return _rank(comparison, target, kept, budget, doing)


def score_matrix(
    datasets: Sequence[Scored],
    n_clusters: int | Literal["auto"] = "auto",
    method: str = "paper",
    solver: Solver = "slsqp",
    sample: int | Literal["all"] = "all",
    progress: ImagesDone = lambda done, total: None,
    cache: SignatureCache | None = None,
    detectors: Mapping[str, Path] | None = None,
    weights: Path | None = None,
    budget: float | None = None,
    doing: Doing = lambda what, done, total: None,
) -> tuple[Ranking, ...]:
    """Rank, for each dataset as a target, all others as its sources.

    Parameters
    ----------
    datasets : sequence of Dataset or Summary
        At least two; one that comes twice is skipped.
    n_clusters, method, solver, sample, progress, cache, detectors, weights, budget, doing
        As for `score_sources`; the number of clusters is the same for all, and each target has the
        budget.

    Returns
    -------
    tuple of Ranking
        One per dataset, in order.

    Raises
    ------
    DataError
        When there are fewer than two datasets, or one has no boxes or no readable image.
    ExperimentError
        When a setting is out of range.
    """
    kept = excluding(datasets, [])
    if len(kept) < 2:
        raise DataError(f"expected at least two datasets, got {len(kept)}; name more")
    with open_cache(cache) as signatures:
        comparison = Comparison(
            kept, kept, n_clusters, method, solver, sample, progress, signatures, detectors,
            weights,
        )
        return tuple(
            _rank(comparison, target, excluding(kept, [target]), budget, doing) for target in kept
        )


def _rank(
    comparison: Comparison, target: Scored, sources: Sequence[Scored], budget: float | None,
    doing: Doing,
) -> Ranking:
    """Measure every source, order them, select one."""
    wanted = comparison.target(target)
    notes = (
        [f"{target.name}: {wanted.unreadable} unreadable images left out"]
        if wanted.unreadable else []
    )
    notes += [comparison.cache.note] if comparison.cache.note else []
    return make_ranking(
        comparison.method, wanted, [comparison.source(source) for source in sources],
        comparison.n_clusters, tuple(notes), budget, doing,
    )


def make_ranking(
    method: str, target: Domain, sources: Sequence[Domain], n_clusters: int,
    notes: tuple[str, ...] = (), budget: float | None = None,
    doing: Doing = lambda what, done, total: None,
) -> Ranking:
    """Measure and order sources; with ``auto`` also list the choices.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    target : Domain
    sources : sequence of Domain
    n_clusters : int
        Of the signatures.
    notes : tuple of str
    budget : float, optional
        Seconds for short trainings, without what the cheap measures take: of proxies with ``auto``
        and ``proxy``, of missing detectors with other measures. 0: no detector is looked through
        either. Without it kept detectors are, and nothing is trained but fixed-length proxies where
        the method is ``proxy``.
    doing : callable
        Called with what is being done, how much of it is done, and of how much.

    Returns
    -------
    Ranking

    Raises
    ------
    DataError
        When a method is by the target's labelled training images, and there is none.
    ExperimentError
        When the budget is not enough for one training.
    """
    wanted = measures_of(method, data_only=budget == 0)
    if any(measure.needs != "data" for measure in wanted) and not target.labelled:
        raise DataError(
            f"expected labelled images in the train split of {target.name} for {method}, got none; "
            "label some, or rank by --method paper"
        )
    with tempfile.TemporaryDirectory(prefix="aoi-tl-race-") as folder:
        spent = _spend(method, target, sources, budget, Path(folder), doing)
        rows = _measure_all(method, target, spent, budget, doing)
    ranked, picked = rank_by(method, rows)
    listed = list_choices(target, spent.sources, {
        row.name: None if row.estimated_gain is None or row.interval is None
        else (row.estimated_gain, row.interval) for row in ranked
    }) if method == "auto" else ()
    return Ranking(
        target.name, n_clusters, method, ranked, picked, (*notes, *spent.notes), listed,
        {domain.name: domain.signature for domain in (target, *sources)},
    )


def _spend(
    method: str, target: Domain, sources: Sequence[Domain], budget: float | None, folder: Path,
    doing: Doing,
) -> Race:
    """Spend a time budget where places are open."""
    if not budget:
        return Race(tuple(sources), {}, ())
    if target.weights is None:
        raise ExperimentError(
            "expected a COCO checkpoint that short trainings begin with, got none; name one"
        )
    cheap = [measure_source("auto", target, source) for source in sources]
    ordered, _ = rank_by("auto", cheap)
    by_name = {source.name: source for source in sources}
    if method not in ("auto", "proxy"):
        return train_missing(target, [by_name[r.name] for r in ordered], budget, folder, doing)
    open_places = [row.name for row in ordered if method == "proxy" or row.rank == 1 or row.tied]
    if method == "auto" and len(open_places) < 2:
        return Race(tuple(sources), {}, (
            "no place is within noise of the first: the budget was not spent",
        ))
    return race(target, sources, open_places, budget, folder, doing)


def _measure_all(
    method: str, target: Domain, spent: Race, budget: float | None, doing: Doing
) -> list[SourceScore]:
    """Measure every source; say how long it takes where detectors are looked through."""
    rows, began = [], time.monotonic()
    n = sum(source.has_detector for source in spent.sources)
    looked = 0
    for source in spent.sources:
        rows.append(measure_source(method, target, source, budget, spent.proxies))
        if source.has_detector:
            looked += 1
            left = (time.monotonic() - began) / looked * (n - looked)
            doing(f"looking through kept detectors, about {in_words(left)} left", looked, n)
    return rows


def measure_source(
    method: str, target: Domain, source: Domain, budget: float | None = None,
    proxies: Mapping[str, Measured] | None = None,
) -> SourceScore:
    """Compute all measures of one source that a method reports.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    target, source : Domain
    budget : float, optional
        As for `make_ranking`.
    proxies : mapping of str to Measured, optional
        What a race found, by the name of the source.

    Returns
    -------
    SourceScore
        Without a rank.
    """
    measured = {
        measure.name: measure(target, source)
        for measure in measures_of(method, data_only=budget == 0)
        if not (budget and measure.name == "proxy")
    }
    if proxies and source.name in proxies:
        measured["proxy"] = proxies[source.name]
    elif budget and method == "proxy":
        measured["proxy"] = Measured(
            None, MEASURES["proxy"].direction, undefined="the budget was not enough for it"
        )
    values = {name: found.value for name, found in measured.items()}
    gain, interval = (method == "auto" and estimate(values)) or (None, None)
    return replace(
        paper_score(target, source), measures=measured, estimated_gain=gain, interval=interval,
        explanation=explain(target, source, measured),
    )
