"""Ranking the sources of a signature index, and adding datasets to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import DataError
from aoi_tl.ranking.comparison import (
    Comparison,
    ImagesDone,
    Scored,
    excluding,
    open_cache,
    read_labelled,
)
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.measures import looks_at_labels
from aoi_tl.ranking.race import Doing
from aoi_tl.ranking.ranking import Ranking
from aoi_tl.ranking.scoring import make_ranking
from aoi_tl.similarity.emd import Solver

if TYPE_CHECKING:
    from aoi_tl.caches.signature_cache import SignatureCache
    from aoi_tl.caches.signature_index import IndexRow


def index_datasets(
    file: str | Path,
    datasets: Sequence[Scored],
    n_clusters: int | Literal["auto"] = "auto",
    sample: int | Literal["all"] = "all",
    progress: ImagesDone = lambda done, total: None,
    cache: SignatureCache | None = None,
) -> int:
    """Add datasets to a signature index; known ones are measured and written again.

    Parameters
    ----------
    file : str or Path
        The index; made where it does not exist.
    datasets : sequence of Dataset or Summary
        At least one; seen with all their splits.
    n_clusters : int or "auto", default "auto"
        Clusters of a new index: "auto" chooses them on these datasets. An index that exists
        keeps its number.
    sample : int or "all", default "all"
        Images of each dataset that are used.
    progress : callable, optional
        Called with how many images are done, and of how many.
    cache : SignatureCache, optional
        The cache of known signatures; the user's own unless given.

    Returns
    -------
    int
        Number of datasets in the index now.

    Raises
    ------
    DataError
        When there is no dataset, one has no readable image, or the index does not fit.
    """
    from aoi_tl.caches.signature_index import IndexRow, SignatureIndex

    kept = excluding(datasets, [])
    if not kept:
        raise DataError("expected at least one dataset for the index, got none; name some")
    if n_clusters == "auto" and Path(file).is_file():
        with SignatureIndex(file) as index:
            n_clusters = index.n_clusters
    with open_cache(cache) as signatures:
        comparison = Comparison(
            [], kept, n_clusters, "paper", "exact", sample, progress, signatures
        )
        rows = []
        for dataset in kept:
            signature, unreadable = comparison.signature(dataset)
            path = str(dataset.path.resolve())
            rows.append(
                IndexRow(
                    path, dataset.name, len(dataset.images), dataset.counts, signature, unreadable
                )
            )
    with SignatureIndex(file, comparison.n_clusters) as index:
        index.add(rows)
        return len(index)


def score_index(
    target: Scored,
    file: str | Path,
    top: int = 10,
    solver: Solver = "slsqp",
    sample: int | Literal["all"] = "all",
    progress: ImagesDone = lambda done, total: None,
    cache: SignatureCache | None = None,
    method: str = "paper",
    detector_of: Callable[[Dataset], Path | None] = lambda source: None,
    weights: Path | None = None,
    budget: float | None = None,
    doing: Doing = lambda what, done, total: None,
) -> Ranking:
    """Rank the sources of an index that are closest to a target, and pick one.

    Parameters
    ----------
    target : Dataset or Summary
        What a detector is wanted for; its test split is not opened, and it is skipped where
        the index holds it.
    file : str or Path
        The index, from `index_datasets`.
    top : int, default 10
        The number of sources to rank; with at least 3 the selection is that of all sources.
    solver : {"slsqp", "exact", "auto"}, default "slsqp"
        For the rows returned; the search itself is exact.
    sample : int or "all", default "all"
        Images of the target that are used.
    progress : callable, optional
        Called with how many images are done, and of how many.
    cache : SignatureCache, optional
        The cache of known signatures; the user's own unless given.
    method : str, default "paper"
        The ranking criterion of those found, see `aoi_tl.ranking.measures.METHODS`. The search
        itself uses the paper's score.
    detector_of : callable, optional
        Gives the kept detector of a source, or None.
    weights : Path, optional
        The COCO checkpoint of the measures that compare features, and of short trainings.
    budget, doing
        As for `aoi_tl.ranking.scoring.make_ranking`.

    Returns
    -------
    Ranking
        The closest sources with a defined score; `notes` says how many of the index were pruned.

    Raises
    ------
    DataError
        When the index cannot be read, or the target has no boxes or no readable image.
    """
    from aoi_tl.caches.signature_index import SignatureIndex

    if top < 1:
        raise DataError(f"expected --top of at least 1, got {top}")
    with SignatureIndex(file) as index, open_cache(cache) as signatures:
        comparison = Comparison(
            [target], [], index.n_clusters, method, solver, sample, progress, signatures,
            weights=weights,
        )
        wanted = comparison.target(target)
        found = index.search(
            wanted.signature, wanted.label_space, top, [str(target.path.resolve())]
        )
    aliases = getattr(target, "aliases", {})
    sources = [replace(_domain(row, method, solver, aliases, detector_of), weights=weights)
               for row in found.rows]
    notes = (
        [f"{target.name}: {wanted.unreadable} unreadable images left out"]
        if wanted.unreadable else []
    )
    pruned = 100 * (1 - found.solved / found.searched) if found.searched else 0.0
    notes.append(
        f"{found.searched} sources with a defined score in the index, "
        f"{pruned:.1f} % of them pruned by lower bounds"
    )
    return make_ranking(
        method, wanted, sources, comparison.n_clusters, tuple(notes), budget, doing
    )


def _domain(
    row: IndexRow, method: str, solver: Solver, aliases: Mapping[str, str],
    detector_of: Callable[[Dataset], Path | None],
) -> Domain:
    """A source as the index knows it; its labels are read where the method looks at them."""
    known = Domain(
        row.name, row.counts, row.images, row.signature, row.unreadable, solver=solver
    )
    if not looks_at_labels(method):
        return known
    dataset = load_dataset(row.path, aliases)
    return replace(known, names=dataset.names, samples=read_labelled(dataset),
                   detector=detector_of(dataset))
