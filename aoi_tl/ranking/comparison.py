"""The common basis of all scores of a comparison: clusters, signatures, sampled images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.summary import Summary
from aoi_tl.data.yolo.read import DatasetReader
from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.measures import METHODS, looks_at_labels
from aoi_tl.similarity.emd import SOLVERS, Solver
from aoi_tl.similarity.signature import Signature, dataset_signature, elbow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aoi_tl.caches.signature_cache import SignatureCache

ELBOW_SAMPLE = 64  # images in all that the number of clusters is chosen on
ELBOW_SHARE = 8  # images of one dataset among them, at most
LABELS_READ = 200  # labelled images of one dataset that a measure looks at, at most

ImagesDone = Callable[[int, int], None]  # images done, images in all
Scored = Dataset | Summary
T = TypeVar("T")


class Comparison:
    """The common basis of the scores of a comparison: K, settings, and measured domains."""

    def __init__(
        self,
        targets: Sequence[Scored],
        sources: Sequence[Scored],
        n_clusters: int | Literal["auto"],
        method: str,
        solver: Solver,
        sample: int | Literal["all"],
        progress: ImagesDone,
        cache: SignatureCache,
        detectors: Mapping[str, Path] | None = None,
        weights: Path | None = None,
    ) -> None:
        _check_settings(n_clusters, method, solver, sample)
        _check_names({id(d): d for d in (*targets, *sources)}.values())
        self.method, self.solver, self.cache = method, solver, cache
        self.detectors, self.weights = detectors or {}, weights
        self.domains: dict[tuple[str, bool], Domain] = {}
        seen = [*(as_target(d) for d in targets), *sources]
        self.images: dict[Any, Sequence[str | Path]] = {
            _key(d): _spread(d.images, sample) for d in seen if d.images
        }
        self.states = {_key(d): _state(d, sample) for d in seen if d.images}
        self.depths = {_key(d): d.depth for d in seen if d.images}
        self.done, self.total = 0, sum(map(len, self.images.values()))
        self.progress = progress
        self.known: dict[Any, tuple[Signature | None, int]] = {}
        for dataset in seen:
            if not dataset.images:
                raise DataError(
                    f"{dataset.path}: expected images to score (a target's in train or val), "
                    "got none; add some"
                )
        self.n_clusters = self._elbow() if n_clusters == "auto" else int(n_clusters)

    def target(self, dataset: Scored) -> Domain:
        """The target's domain: without its test split, with its labelled training images.

        Raises
        ------
        DataError
            When no image of it has a box, or none can be read.
        """
        seen = as_target(dataset)
        if not seen.label_space:
            raise DataError(
                f"{dataset.path}: expected boxes in the target's train and val splits, got none; "
                "label some images"
            )
        return self._domain(seen, dataset.split("train"), is_target=True)

    def source(self, dataset: Scored) -> Domain:
        """The source's domain: with all its splits, and its kept detector if there is one.

        Raises
        ------
        DataError
            When none of its images can be read.
        """
        return self._domain(dataset, dataset, is_target=False)

    def _domain(self, dataset: Scored, labelled: Scored, is_target: bool) -> Domain:
        key = str(dataset.path), is_target
        if key not in self.domains:
            signature, unreadable = self.signature(dataset)
            samples = read_labelled(labelled) if looks_at_labels(self.method) else ()
            self.domains[key] = Domain(
                dataset.name, dataset.counts, len(dataset.images), signature, unreadable,
                dataset.names, samples, None if is_target else self.detectors.get(dataset.name),
                self.weights, self.solver,
            )
        return self.domains[key]

    def signature(self, dataset: Scored) -> tuple[Signature, int]:
        """The dataset's signature and the number of its images that could not be read."""
        if not self.known:  # all at once, so that all cores or machines share the work
            self.known = dict(zip(self.images, self.cache.datasets(
                list(self.images.values()),
                self.n_clusters,
                lambda found: dataset_signature(found, self.n_clusters),
                self._tell,
                list(self.states.values()),
                list(self.depths.values()),
            ), strict=True))
        signature, unreadable = self.known[_key(dataset)]
        if signature is None:
            raise _unreadable(dataset, unreadable)
        return signature, unreadable

    def _elbow(self) -> int:
        """The number of clusters, chosen once on a small sample of all datasets."""
        share = max(1, min(ELBOW_SHARE, ELBOW_SAMPLE // len(self.images)))
        curves = self._curves(share)
        if not curves:  # the sample is unreadable: use all images
            curves = self._curves("all")
        if not curves:
            raise DataError(
                f"expected readable images, got {self.total} that cannot be read; check the files"
            )
        return elbow(curves)

    def _curves(self, share: int | Literal["all"]) -> list[NDArray[np.float64]]:
        """The inertias of so many images of each dataset, of those that can be read."""
        chosen = [
            (image, self.depths[key])
            for key, images in self.images.items() for image in _spread(images, share)
        ]
        images, depths = zip(*chosen, strict=True)
        found = self.cache.curves(images, depths=depths)
        return [curve for curve in found if curve is not None]

    def _tell(self, more: int) -> None:
        self.done += more
        self.progress(min(self.done, self.total), self.total)


def as_target(dataset: Scored) -> Scored:
    """The train and val splits of a target; only the evaluation opens its test split."""
    return dataset.split("train", "val")


def read_labelled(dataset: Scored, number: int = LABELS_READ) -> tuple[Sample, ...]:
    """Give labelled images of a dataset, evenly spread over it.

    Parameters
    ----------
    dataset : Dataset or Summary
        Of a summary the labels of these images are read.
    number : int
        At most so many.

    Returns
    -------
    tuple of Sample
    """
    if isinstance(dataset, Dataset):
        return tuple(_spread(dataset.samples, number))
    reader = DatasetReader(dataset.path, dataset.aliases, depth=dataset.depth)
    places = [(split, image) for split in dataset.splits for image in dataset.files[split]]
    chosen = _spread(places, number)
    return tuple(
        sample for split in dataset.splits
        for sample in reader.labelled([image for s, image in chosen if s == split], split)
    )


def _key(dataset: Scored) -> tuple[str, tuple[str, ...]]:
    return str(dataset.path), dataset.splits


def _state(dataset: Scored, sample: int | Literal["all"]) -> str:
    """A key for the sampled images, if the dataset's state is known."""
    state = getattr(dataset, "state", "")
    return "\0".join([state, *dataset.splits, str(sample)]) if state else ""


def excluding(datasets: Sequence[Scored], others: Sequence[Scored]) -> list[Scored]:
    """The datasets without the others, each once."""
    seen = {dataset.path.resolve() for dataset in others}
    kept = []
    for dataset in datasets:
        if dataset.path.resolve() not in seen:
            seen.add(dataset.path.resolve())
            kept.append(dataset)
    return kept


def _spread(images: Sequence[T], number: int | Literal["all"]) -> Sequence[T]:
    """At most ``number`` images, evenly spread."""
    if number == "all" or number >= len(images):
        return images
    return [images[i * len(images) // number] for i in range(number)]


def _check_names(datasets: Iterable[Scored]) -> None:
    names = [dataset.name for dataset in datasets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise DataError(
            f"expected datasets of different names, got {twice!r} twice; "
            "rename one's YAML or folder"
        )


def _check_settings(n_clusters: object, method: str, solver: str, sample: object) -> None:
    if n_clusters != "auto" and not (isinstance(n_clusters, int) and n_clusters >= 1):
        raise ExperimentError(
            f"expected n_clusters to be auto or an integer >= 1, got {n_clusters}"
        )
    if method not in METHODS:
        raise ExperimentError(f"expected method to be one of {', '.join(METHODS)}, got {method!r}")
    if solver not in SOLVERS:
        raise ExperimentError(f"expected solver to be one of {', '.join(SOLVERS)}, got {solver!r}")
    if sample != "all" and not (isinstance(sample, int) and sample >= 1):
        raise ExperimentError(f"expected sample to be all or an integer >= 1, got {sample}")


def _unreadable(dataset: Scored, number: int) -> DataError:
    return DataError(
        f"{dataset.path}: expected readable images, got {number} that cannot be read; "
        "check the files"
    )


def open_cache(given: SignatureCache | None) -> AbstractContextManager[SignatureCache]:
    """The given cache, left open, or the user's own, closed at the end."""
    if given is not None:
        return nullcontext(given)
    from aoi_tl.caches.signature_cache import SignatureCache

    return SignatureCache()
