"""A detection dataset in memory: its images and their labelled boxes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image.

    Parameters
    ----------
    image : Path
        The image file.
    split : {"train", "val", "test"}
        The split it belongs to.
    classes : int64 array of shape (n,)
        Class ids into ``Dataset.names``; n is 0 for an image without a defect.
    boxes : float64 array of shape (n, 4)
        x and y of the centre, width, height, each as a share of the image.
    depth : int
        How many bits the image uses where its file stores 16 a channel.

    Examples
    --------
    >>> Sample(Path("a.png"), "train", np.array([0]), np.array([[0.5, 0.5, 0.2, 0.1]])).boxes.shape
    (1, 4)
    """

    image: Path
    split: str
    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]
    depth: int = 16

    def __post_init__(self) -> None:
        classes = np.array(self.classes, dtype=np.int64).reshape(-1)
        boxes = np.array(self.boxes, dtype=np.float64).reshape(-1, 4)
        if self.split not in SPLITS:
            raise ValueError(f"expected a split of {SPLITS}, got {self.split!r}")
        if len(classes) != len(boxes):
            raise ValueError(f"expected a class for each of {len(boxes)} boxes, got {len(classes)}")
        # Samples are shared between datasets, so nobody may edit them in place.
        classes.setflags(write=False)
        boxes.setflags(write=False)
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "boxes", boxes)

    def digest(self, content: str) -> bytes:
        """Hash the sample to 32 bytes.

        Parameters
        ----------
        content : str
            The SHA-256 of the image file, in hexadecimal digits.

        Returns
        -------
        bytes
            The SHA-256 of split, content, labels and a depth below 16.
        """
        classes, boxes = self.classes.astype("<i8"), self.boxes.astype("<f8")
        parts = [self.split.encode(), content.encode(), classes.tobytes(), boxes.tobytes()]
        if self.depth != 16:
            parts.append(str(self.depth).encode())
        return hashlib.sha256(b"\0".join(parts)).digest()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images with their class names.

    Parameters
    ----------
    name : str
        What tables and reports call it.
    path : Path
        The ``data.yaml`` it came from.
    names : tuple of str
        Class names; a class id is a position in it.
    samples : tuple of Sample
        The images, in a fixed order.
    notes : tuple of str
        What was left out or looked odd while loading, one counted line each.

    Examples
    --------
    >>> dented = Sample(Path("a.png"), "train", np.array([0]), np.array([[0.5, 0.5, 0.2, 0.1]]))
    >>> clean = Sample(Path("b.png"), "val", np.zeros(0), np.zeros((0, 4)))
    >>> dataset = Dataset("line-1", Path("data.yaml"), ("dent", "stain"), (dented, clean))
    >>> dataset.counts, dataset.label_space, dataset.splits
    ({'dent': 1, 'stain': 0}, ('dent',), ('train', 'val'))
    >>> dataset.split("val").instances
    0
    """

    name: str
    path: Path
    names: tuple[str, ...]
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = field(default=())

    def split(self, *splits: str) -> Dataset:
        """Keep the samples of some splits.

        Parameters
        ----------
        *splits : {"train", "val", "test"}
            The splits to keep.

        Returns
        -------
        Dataset
            The same names and notes, fewer samples.

        Raises
        ------
        ValueError
            A word is no split.
        """
        for name in splits:
            if name not in SPLITS:
                raise ValueError(f"expected a split of {SPLITS}, got {name!r}")
        return replace(self, samples=tuple(s for s in self.samples if s.split in splits))

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits that have an image, in the order train, val, test."""
        present = {sample.split for sample in self.samples}
        return tuple(name for name in SPLITS if name in present)

    @property
    def images(self) -> tuple[Path, ...]:
        """The image files, in order."""
        return tuple(sample.image for sample in self.samples)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Instances (boxes) of every class name, zeros included."""
        classes = [sample.classes for sample in self.samples]
        flat = np.concatenate(classes) if classes else np.zeros(0, dtype=np.int64)
        counts = np.bincount(flat, minlength=len(self.names))
        return {name: int(count) for name, count in zip(self.names, counts, strict=True)}

    @cached_property
    def depth(self) -> int:
        """How many bits its images use where their files store 16 a channel; the fewest."""
        return min((sample.depth for sample in self.samples), default=16)

    @property
    def instances(self) -> int:
        """Boxes in all."""
        return sum(len(sample.classes) for sample in self.samples)

    @property
    def label_space(self) -> tuple[str, ...]:
        """The class names with at least one instance."""
        return tuple(name for name, count in self.counts.items() if count)

    def fingerprint(self, hash_of: Callable[[Path], str] | None = None) -> str:
        """Return the SHA-256 of the names, splits, image contents and labels.

        Where the files lie, and in which order they were found, does not matter.

        Parameters
        ----------
        hash_of : callable, optional
            Gives the SHA-256 of an image file, where it is known already; read unless given.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        from aoi_tl.data.images import content_hash

        hash_of = hash_of or content_hash
        return fingerprint_of(self.names, [s.digest(hash_of(s.image)) for s in self.samples])


def fingerprint_of(names: Iterable[str], digests: Iterable[bytes]) -> str:
    """Hash the names and the samples of a dataset.

    Parameters
    ----------
    names : iterable of str
        Class names, in order.
    digests : iterable of bytes
        Of its samples, in any order.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    whole = hashlib.sha256()
    for name in names:
        whole.update(name.encode("utf-8", "surrogatepass") + b"\0")
    for digest in sorted(digests):
        whole.update(digest)
    return whole.hexdigest()
