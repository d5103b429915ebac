"""Dataset summaries: the image names and class counts that a score needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.dataset import SPLITS, fingerprint_of
from aoi_tl.data.yolo.file_list import FileList
from aoi_tl.data.yolo.read import DatasetReader

_TOGETHER = 4096  # samples in memory at a time
FileName = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Summary:
    """A dataset without its boxes, sufficient for scoring.

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
    aliases : mapping of str to str
        Class names and the canonical ones that replaced them.
    state : str
        Stands for the state of everything on disk that the dataset was read from; empty where that
        is not known.
    depth : int
        How many bits the images use where their files store 16.
    """

    name: str
    path: Path
    names: tuple[str, ...]
    files: Mapping[str, FileList]
    boxes: Mapping[str, tuple[int, ...]]
    fingerprint: str
    notes: tuple[str, ...] = field(default=())
    state: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    depth: int = 16

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


def summarise(
    reader: DatasetReader,
    contents: Callable[[Sequence[FileName]], Mapping[FileName, str]],
) -> Summary:
    """Read a dataset and summarise it; few samples are in memory at a time.

    Parameters
    ----------
    reader : DatasetReader
        Of a dataset that was not read yet.
    contents : callable
        Gives the SHA-256 of the contents of image files, in hexadecimal digits.

    Returns
    -------
    Summary
        What `load_dataset` would have given, summed up; its state is not known.

    Raises
    ------
    DataError
        The dataset cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from aoi_tl.data.dataset import Dataset, Sample
    >>> from aoi_tl.data.images import write_image
    >>> from aoi_tl.data.yolo.write import write_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_image(Path(folder, "a.png"), np.zeros((8, 8), np.uint8))
    ...     sample = Sample(Path(folder, "a.png"), "train", np.array([0]), np.full((1, 4), 0.5))
    ...     dataset = Dataset("line-1", Path("data.yaml"), ("dent", "stain"), (sample,))
    ...     written = write_dataset(dataset, Path(folder, "line-1"))
    ...     found = summarise(DatasetReader(written, {}), lambda files: dict.fromkeys(files, "0"))
    >>> len(found.images), found.counts
    (1, {'dent': 1, 'stain': 0})
    """
    files: dict[str, list[FileList]] = {}
    boxes: dict[str, NDArray[np.int64]] = {}
    digests: list[bytes] = []
    samples = reader.samples()
    while several := list(islice(samples, _TOGETHER)):
        hashes = contents([sample.image for sample in several])
        digests += [sample.digest(hashes[sample.image]) for sample in several]
        for split, group in groupby(several, lambda sample: sample.split):
            mine = list(group)
            files.setdefault(split, []).append(FileList(str(sample.image) for sample in mine))
            classes = np.concatenate([sample.classes for sample in mine])
            counts = np.bincount(classes, minlength=len(reader.names))
            boxes[split] = boxes.get(split, 0) + counts
    return Summary(
        reader.name, reader.path, reader.names,
        {split: FileList.joined(lists) for split, lists in files.items()},
        {split: tuple(counts.tolist()) for split, counts in boxes.items()},
        fingerprint_of(reader.names, digests), reader.notes(), aliases=reader.aliases,
        depth=reader.depth.bits,
    )
