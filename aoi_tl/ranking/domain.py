"""Domains: the classes, colours, labelled images and kept detector of a target or source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.dataset import Sample
from aoi_tl.ranking.box_shapes import BoxShapes, box_shapes
from aoi_tl.similarity.emd import Flow, Solver, earth_movers_distance
from aoi_tl.similarity.signature import Signature

if TYPE_CHECKING:
    from aoi_tl.evaluation.predictions import Predictions
    from aoi_tl.transfer.viewing import View

IMAGES_VIEWED = 60  # labelled images of one dataset that a detector is shown, at most
COCO_SIZE = 320  # pixels of their longer side where COCO's features are compared


@dataclass(frozen=True, eq=False)
class Domain:
    """A target or a source, as measures use it.

    Parameters
    ----------
    name : str
        The dataset's name.
    counts : mapping of str to int
        Instances of each class.
    images : int
        How many images it has.
    signature : Signature
        Of its colours.
    unreadable : int
        How many of its images could not be read.
    names : tuple of str
        Class names; the class ids of `samples` are positions in it.
    samples : tuple of Sample
        Labelled images for the measures that look at them: a source's, evenly spread over it; of a
        target those of its train split. Empty where no measure wants them.
    detector : Path or None
        A kept detector of the dataset.
    weights : Path or None
        The COCO checkpoint whose features datasets are compared by.
    solver : str
        The solver of the flow to a target, as for `earth_movers_distance`.
    members : tuple of Domain
        The sources that it was pooled from; empty for a single dataset.
    plain_proxies : dict of (int, int) to Predictions
        Of a target: what short fine-tunings of the COCO checkpoint found, by their steps and size.
    """

    name: str
    counts: Mapping[str, int]
    images: int
    signature: Signature
    unreadable: int = 0
    names: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    detector: Path | None = None
    weights: Path | None = None
    solver: Solver = "exact"
    members: tuple[Domain, ...] = ()
    plain_proxies: dict[tuple[int, int], Predictions] = field(default_factory=dict, repr=False)
    _flows: dict[int, Flow] = field(default_factory=dict, repr=False)
    _views: dict[int, View] = field(default_factory=dict, repr=False)

    @property
    def label_space(self) -> tuple[str, ...]:
        """The class names with at least one instance."""
        return tuple(name for name, count in self.counts.items() if count)

    @property
    def instances(self) -> int:
        """Boxes in all."""
        return sum(self.counts.values())

    @property
    def has_detector(self) -> bool:
        """Whether a detector is available: its own, or one of every member."""
        return self.detector is not None or (
            bool(self.members) and all(member.has_detector for member in self.members)
        )

    @cached_property
    def shapes(self) -> BoxShapes:
        """The shapes of the boxes of the samples."""
        return box_shapes(self.samples)

    def shared_classes(self, source: Domain) -> tuple[str, ...]:
        """The classes with an instance in both, in this domain's order."""
        return tuple(label for label in self.label_space if source.counts.get(label))

    @cached_property
    def labelled(self) -> tuple[Sample, ...]:
        """The samples that have a box, evenly spread, as many as are shown to a detector."""
        marked = [sample for sample in self.samples if len(sample.boxes)]
        number = min(len(marked), IMAGES_VIEWED)
        return tuple(marked[i * len(marked) // number] for i in range(number))

    @cached_property
    def box_classes(self) -> tuple[str, ...]:
        """The class of every box of the labelled samples, in their order."""
        return tuple(self.names[i] for sample in self.labelled for i in sample.classes.tolist())

    @cached_property
    def box_images(self) -> NDArray[np.int64]:
        """The image (a position in `labelled`) of every box of the labelled samples."""
        return np.repeat(np.arange(len(self.labelled)), [len(s.boxes) for s in self.labelled])

    @cached_property
    def coco_view(self) -> View:
        """The COCO checkpoint's view of the labelled samples; needs `weights` and a sample."""
        from aoi_tl.transfer.viewing import view_images

        assert self.weights is not None
        return view_images(self.weights, self.labelled, COCO_SIZE)

    def view_of(self, target: Domain) -> View:
        """The view of the target's labelled samples by this domain's detector; computed once.

        Without a detector of its own, the fused view of all its members' detectors.
        """
        from aoi_tl.transfer.viewing import fuse_views, view_images

        if id(target) not in self._views:
            if self.detector is not None:
                found = view_images(self.detector, target.labelled)
            else:
                found = fuse_views([member.view_of(target) for member in self.members])
            self._views[id(target)] = found
        return self._views[id(target)]

    def flow_to(self, target: Domain) -> Flow:
        """The optimal flow from this domain's colours to the target's; computed once."""
        key = id(target.signature)
        if key not in self._flows:
            self._flows[key] = earth_movers_distance(self.signature, target.signature, self.solver)
        return self._flows[key]


def pool(sources: Sequence[Domain]) -> Domain:
    """Pool several sources into one domain: the training data of a joint detector.

    Parameters
    ----------
    sources : sequence of Domain
        At least one.

    Returns
    -------
    Domain
        With the images, boxes and samples of all; its signature is their mixture.

    Examples
    --------
    >>> grey, white = Signature([[99, 99, 99]], [1]), Signature([[255, 255, 255]], [1])
    >>> both = pool([Domain("a", {"dent": 3}, 1, grey), Domain("b", {"dent": 1, "crack": 2}, 3,
    ...              white)])
    >>> both.name, both.counts, both.signature.weights.tolist()
    ('a + b', {'dent': 4, 'crack': 2}, [0.25, 0.75])
    """
    counts: dict[str, int] = {}
    for source in sources:
        for label, count in source.counts.items():
            counts[label] = counts.get(label, 0) + count
    names = tuple(dict.fromkeys(name for source in sources for name in source.names))
    images = sum(source.images for source in sources)
    samples = []
    for source in sources:
        places = np.array([names.index(name) for name in source.names], dtype=np.int64)
        samples += [replace(sample, classes=places[sample.classes]) for sample in source.samples]
    signature = Signature(
        np.concatenate([source.signature.centroids for source in sources]),
        np.concatenate([source.signature.weights * source.images / images for source in sources]),
    )
    return Domain(
        " + ".join(source.name for source in sources), counts, images, signature,
        sum(source.unreadable for source in sources), names, tuple(samples),
        weights=sources[0].weights, solver=sources[0].solver, members=tuple(sources),
    )
