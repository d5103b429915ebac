"""A dataset as a measure sees it: classes, colours, labelled images, a kept detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from aoi_tl.data.dataset import Sample
from aoi_tl.ranking.box_shapes import BoxShapes, box_shapes
from aoi_tl.similarity.emd import Flow, Solver, earth_movers_distance
from aoi_tl.similarity.signature import Signature


@dataclass(frozen=True, eq=False)
class Domain:
    """A target or a source; the same for both, so that any measure takes any pair.

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
    solver : str
        How its colours are carried onto a target's, as for `earth_movers_distance`.
    """

    name: str
    counts: Mapping[str, int]
    images: int
    signature: Signature
    unreadable: int = 0
    names: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    detector: Path | None = None
    solver: Solver = "exact"
    _flows: dict[int, Flow] = field(default_factory=dict, repr=False)

    @property
    def label_space(self) -> tuple[str, ...]:
        """The class names with at least one instance."""
        return tuple(name for name, count in self.counts.items() if count)

    @property
    def instances(self) -> int:
        """Boxes in all."""
        return sum(self.counts.values())

    @cached_property
    def shapes(self) -> BoxShapes:
        """The shapes of the boxes of the samples."""
        return box_shapes(self.samples)

    def shared_classes(self, source: Domain) -> tuple[str, ...]:
        """The classes with an instance in both, in this domain's order."""
        return tuple(label for label in self.label_space if source.counts.get(label))

    def flow_to(self, target: Domain) -> Flow:
        """Carry this domain's colours onto the target's; worked out once."""
        key = id(target.signature)
        if key not in self._flows:
            self._flows[key] = earth_movers_distance(self.signature, target.signature, self.solver)
        return self._flows[key]
