"""Labelled image sets for classification: checks, and draws of a few images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aoi_tl.data.images import image_fault
from aoi_tl.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with one class each.

    Attributes
    ----------
    name : str
        What tables and figures call it.
    classes : tuple of str
        Class names; a label is a place in it.
    images : tuple of Path
        One file an image.
    labels : ndarray of int64, shape (n,)
        The class of every image.
    splits : tuple of str
        ``train``, ``val`` or ``test`` for every image.
    groups : tuple of str
        What was photographed: images of one group show the same thing and must share a split.
    depth : int
        How many bits the images use where their files store 16 a channel.
    notes : tuple of str
        What looks odd, one line each.

    Examples
    --------
    >>> tiny = ImageSet("tiny", ("fine", "torn"), (Path("a.png"), Path("b.png")),
    ...                 np.array([0, 1]), ("train", "test"), ("a", "b"))
    >>> len(tiny), tiny.counts, tiny.split("test").counts
    (2, {'fine': 1, 'torn': 1}, {'fine': 0, 'torn': 1})
    """

    name: str
    classes: tuple[str, ...]
    images: tuple[Path, ...]
    labels: np.ndarray
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    depth: int = 16
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def counts(self) -> dict[str, int]:
        """Images of every class, classes without any included."""
        found = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, found.tolist(), strict=True))

    def take(self, indices: Sequence[int] | np.ndarray) -> ImageSet:
        """Keep the images at these places, in this order."""
        places = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            images=tuple(self.images[place] for place in places),
            labels=self.labels[places],
            splits=tuple(self.splits[place] for place in places),
            groups=tuple(self.groups[place] for place in places),
        )

    def split(self, *names: str) -> ImageSet:
        """Keep the images of these splits."""
        return self.take([place for place, split in enumerate(self.splits) if split in names])

    def fingerprint(self) -> str:
        """SHA-256 over classes, labels, splits, groups, depth and the bytes of every image."""
        digest = hashlib.sha256(repr((self.classes, self.splits, self.groups)).encode())
        if self.depth != 16:
            digest.update(str(self.depth).encode())
        digest.update(self.labels.astype("<i8").tobytes())
        for image in self.images:
            with image.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def keep_classes(images: ImageSet, classes: Sequence[str]) -> ImageSet:
    """Keep the images of these classes and number the classes in this order.

    Parameters
    ----------
    images : ImageSet
        Any set.
    classes : sequence of str
        Names out of ``images.classes``, or all names of a set that shares some of them.

    Returns
    -------
    ImageSet
        ``classes`` as asked, without the other images.

    Raises
    ------
    DataError
        When a class is not there.
    """
    for name in classes:
        if name not in images.classes:
            raise DataError(
                f"expected class {name!r} in {images.name}, got {', '.join(images.classes)}; "
                "correct the list of classes"
            )
    place = {images.classes.index(name): index for index, name in enumerate(classes)}
    kept = images.take([i for i, label in enumerate(images.labels) if int(label) in place])
    labels = np.array([place[int(label)] for label in kept.labels], dtype=np.int64)
    return replace(kept, classes=tuple(classes), labels=labels)


def hold_out(images: ImageSet, share: float, generator: np.random.Generator) -> ImageSet:
    """Make a test split where there is none, groups kept together and classes in proportion.

    Parameters
    ----------
    images : ImageSet
        All its images are looked at as one.
    share : float
        About how much of it is tested on, in 0..0.5.
    generator : numpy.random.Generator
        Chance.

    Returns
    -------
    ImageSet
        The same images with the splits ``train`` and ``test``.

    Raises
    ------
    ValueError
        When ``share`` is not in 0..0.5.
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"expected a share in 0..0.5, got {share}")
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(
        round(1 / share), shuffle=True, random_state=int(generator.integers(2**31))
    )
    _, tested = next(iter(folds.split(images.labels, images.labels, images.groups)))
    chosen = set(tested.tolist())
    return replace(
        images, splits=tuple("test" if i in chosen else "train" for i in range(len(images)))
    )


def draw_shots(
    images: ImageSet, shots: Mapping[str, int], generator: np.random.Generator
) -> ImageSet:
    """Draw a few training images of every class, each from a different group.

    Parameters
    ----------
    images : ImageSet
        Its training split is drawn from; the other splits stay.
    shots : mapping of class to int
        How many training images of each class.
    generator : numpy.random.Generator
        Chance.

    Returns
    -------
    ImageSet
        With ``sum(shots.values())`` training images, no two of one group.

    Raises
    ------
    DataError
        When a class is unknown or has too few groups.
    """
    chosen: list[int] = []
    taken: set[str] = set()
    # The class with the fewest images chooses first, so that no other takes its only thing.
    rarity = Counter(
        images.classes[label]
        for label, split in zip(images.labels, images.splits, strict=True) if split == "train"
    )
    for name in sorted(shots, key=lambda name: rarity[name]):
        if name not in images.classes:
            raise DataError(
                f"expected shots of {', '.join(images.classes)}, got {name!r}; correct the name"
            )
        label = images.classes.index(name)
        places = [
            i for i in range(len(images))
            if images.labels[i] == label and images.splits[i] == "train"
        ]
        drawn: list[int] = []
        for place in generator.permutation(places).tolist() if places else []:
            if len(drawn) == shots[name]:
                break
            if images.groups[place] not in taken:
                taken.add(images.groups[place])
                drawn.append(place)
        if len(drawn) < shots[name]:
            raise DataError(
                f"expected {shots[name]} training images of {name!r} of different groups in "
                f"{images.name}, got {len(drawn)}; ask for fewer"
            )
        chosen += drawn
    others = [i for i, split in enumerate(images.splits) if split != "train"]
    return images.take(sorted(chosen + others))


def check_target(images: ImageSet) -> ImageSet:
    """Check that a set can be a target: trained on and tested in every class.

    Parameters
    ----------
    images : ImageSet
        With training and test images.

    Returns
    -------
    ImageSet
        The same set.

    Raises
    ------
    DataError
        When there is one class only, a class without training or test images, or a group that is
        both trained on and tested.
    """
    if len(images.classes) < 2:
        raise DataError(
            f"expected two classes or more in {images.name}, got only "
            f"{', '.join(images.classes)}; a classifier needs something to distinguish"
        )
    for split in ("train", "test"):
        counts = images.split(split).counts
        missing = [name for name, count in counts.items() if count == 0]
        if missing:
            raise DataError(
                f"expected {split} images of every class in {images.name}, got none of "
                f"{', '.join(missing)}; add some, or leave the class out by listing the others"
            )
    return check_groups(images)


def check_source(images: ImageSet) -> ImageSet:
    """Check that a set can be a source: two classes or more with training images.

    Parameters
    ----------
    images : ImageSet
        With training images.

    Returns
    -------
    ImageSet
        The same set.

    Raises
    ------
    DataError
        When there is one class only, or a class without training images.
    """
    counts = images.split("train").counts
    if len(counts) < 2 or min(counts.values()) == 0:
        counted = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(
            f"expected training images of two classes or more in {images.name}, got {counted}; add "
            "some, or leave the empty class out by listing the others"
        )
    return check_groups(images)


def check_files(images: ImageSet) -> ImageSet:
    """Check that every image file is complete, by its first and last bytes.

    Parameters
    ----------
    images : ImageSet
        Any set.

    Returns
    -------
    ImageSet
        The same set.

    Raises
    ------
    DataError
        Naming the first file that is not, and how many there are.
    """
    faults = [(path, fault) for path in images.images if (fault := image_fault(path))]
    if faults:
        path, fault = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise DataError(
            f"expected complete images in {images.name}, got {fault} at {path}{more}; replace the "
            "file or delete it"
        )
    return images


def check_groups(images: ImageSet) -> ImageSet:
    """Check that no group is both trained on and tested.

    Parameters
    ----------
    images : ImageSet
        Any set.

    Returns
    -------
    ImageSet
        The same set.

    Raises
    ------
    DataError
        When a group is in two splits.
    """
    seen: dict[str, str] = {}
    for group, split in zip(images.groups, images.splits, strict=True):
        if seen.setdefault(group, split) != split:
            raise DataError(
                f"expected every group of {images.name} in one split, got {group!r} in "
                f"{seen[group]} and {split}; a test on training images says nothing"
            )
    return images
