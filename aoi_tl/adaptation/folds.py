"""Cross-validation folds of a dataset's training images: what one is trained on and held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from aoi_tl.data.dataset import Dataset
from aoi_tl.errors import DataError


def folds(
    dataset: Dataset, number: int, seed: int, groups: Mapping[Path, str] | None = None
) -> tuple[Dataset, ...]:
    """Hold out each part of the training images once.

    Parts are dealt out class by class, the rarest first, each to the fold that has the fewest boxes
    of that class. So every fold holds out some boxes, which scikit-learn's ``StratifiedGroupKFold``
    does not promise.

    Parameters
    ----------
    dataset : Dataset
        Its train split is dealt out; its val split stays, its test split is left out.
    number : int
        How many folds, at least 2.
    seed : int
        Of the order in which images are dealt out.
    groups : mapping of Path to str, optional
        Images that show one part, by its name: they are held out together.

    Returns
    -------
    tuple of Dataset
        One for each fold: its test split holds the training images that were held out.

    Raises
    ------
    DataError
        If fewer groups with boxes than folds are there.

    Examples
    --------
    >>> from aoi_tl.data.dataset import Sample
    >>> samples = [Sample(Path(f"{i}.png"), "train", np.array([i % 2]), np.full((1, 4), 0.5))
    ...            for i in range(8)]
    >>> dataset = Dataset("t", Path("t.yaml"), ("a", "b"), tuple(samples))
    >>> [fold.split("test").counts for fold in folds(dataset, 2, 0)]
    [{'a': 2, 'b': 2}, {'a': 2, 'b': 2}]
    """
    train = dataset.split("train").samples
    parts: dict[str, list[int]] = {}
    for place, sample in enumerate(train):
        parts.setdefault((groups or {}).get(sample.image, f"\0{place}"), []).append(place)
    shown = sum(any(len(train[i].classes) for i in part) for part in parts.values())
    if shown < number:
        raise DataError(
            f"{dataset.path}: expected at least {number} training images of different parts with "
            f"boxes to hold out in turn, got {shown}; label more images"
        )
    held_out = _dealt(
        list(parts.values()), [np.bincount(s.classes, minlength=len(dataset.names)) for s in train],
        number, np.random.default_rng((seed, 13)),
    )
    return tuple(
        replace(dataset, samples=(
            *(replace(sample, split="test" if i in test else "train")
              for i, sample in enumerate(train)),
            *dataset.split("val").samples,
        ))
        for test in held_out
    )


def _dealt(
    parts: list[list[int]], boxes: list[np.ndarray], number: int, rng: np.random.Generator
) -> list[set[int]]:
    """Deal out the parts, given the boxes of each class on each image."""
    counts = [np.sum([boxes[i] for i in part], axis=0) for part in parts]
    total = np.sum(boxes, axis=0)
    # The parts' rarest classes first; of one class the larger parts first.
    order = [
        (min(np.flatnonzero(counts[k]), key=lambda c: total[c], default=None), k)
        for k in rng.permutation(len(parts))
    ]
    order.sort(key=lambda item: (
        np.inf if item[0] is None else total[item[0]], -len(parts[item[1]])
    ))
    held_out: list[set[int]] = [set() for _ in range(number)]
    dealt = np.zeros((number, len(total)), dtype=np.int64)
    for rarest, k in order:
        fewest = min(range(number), key=lambda fold: (
            0 if rarest is None else dealt[fold, rarest], len(held_out[fold])
        ))
        held_out[fewest].update(parts[k])
        dealt[fewest] += counts[k]
    return held_out
