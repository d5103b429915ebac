"""What a score needs to know of a dataset: its images by name, its boxes by number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from aoi_tl.data.dataset import SPLITS, Dataset
from aoi_tl.data.file_list import FileList


@dataclass(frozen=True, eq=False)
class Summary:
    """A dataset without its boxes; stands for it where it is scored.

    Parameters
    ----------
    name, path, names, notes
        As of `Dataset`.
    files : mapping of str to FileList
        The images of every split that has one, in the dataset's order.
    boxes : mapping of str to tuple of int
        Instances of each class in that split.
    fingerprint : str
        Of the dataset with all its splits.
    state : str
        Stands for the state of everything on disk that the dataset was read from; empty where that
        is not known.
    """

    name: str
    path: Path
    names: tuple[str, ...]
    files: Mapping[str, FileList]
    boxes: Mapping[str, tuple[int, ...]]
    fingerprint: str
    notes: tuple[str, ...] = field(default=())
    state: str = ""

    def split(self, *splits: str) -> Summary:
        """Keep some splits; the fingerprint and the state stay those of the whole."""
        return replace(
            self,
            files={split: images for split, images in self.files.items() if split in splits},
            boxes={split: counts for split, counts in self.boxes.items() if split in splits},
        )

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have an image, in the order train, val, test."""
        return tuple(split for split in SPLITS if split in self.files)

    @cached_property
    def images(self) -> FileList:
        """The image files, in the dataset's order."""
        return FileList.joined(self.files[split] for split in self.splits)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Instances (boxes) of every class name, zeros included."""
        each = [self.boxes[split] for split in self.splits]
        return {name: sum(counts[i] for counts in each) for i, name in enumerate(self.names)}

    @property
    def label_space(self) -> tuple[str, ...]:
        """The class names with at least one instance."""
        return tuple(name for name, count in self.counts.items() if count)


def summarise(dataset: Dataset, hash_of: Callable[[Path], str], state: str = "") -> Summary:
    """Sum up a dataset.

    Parameters
    ----------
    dataset : Dataset
        Any dataset.
    hash_of : callable
        Gives the hash of an image's content.
    state : str
        As of `Summary`.

    Returns
    -------
    Summary

    Examples
    --------
    >>> import numpy as np
    >>> from aoi_tl.data.dataset import Sample
    >>> dented = Sample(Path("a.png"), "train", np.array([0]), np.array([[0.5, 0.5, 0.2, 0.1]]))
    >>> dataset = Dataset("line-1", Path("data.yaml"), ("dent", "stain"), (dented,))
    >>> found = summarise(dataset, str)
    >>> found.images, found.counts, found.fingerprint == dataset.fingerprint(str)
    (FileList(['a.png']), {'dent': 1, 'stain': 0}, True)
    """
    parts = {split: dataset.split(split) for split in dataset.splits}
    return Summary(
        dataset.name, dataset.path, dataset.names,
        {split: FileList(map(str, part.images)) for split, part in parts.items()},
        {split: tuple(part.counts.values()) for split, part in parts.items()},
        dataset.fingerprint(hash_of), dataset.notes, state,
    )
