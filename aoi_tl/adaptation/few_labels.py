"""Fewer labelled images of a target: nested random subsets of its training split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from aoi_tl.data.dataset import Dataset
from aoi_tl.errors import DataError


def nested_subsets(
    dataset: Dataset, sizes: Sequence[int], seed: int, groups: Mapping[Path, str] | None = None
) -> dict[int, Dataset]:
    """Draw subsets of the training images, each within the next larger one.

    Images with boxes come first. Each draw takes, of the images left, one that shows the class
    with the fewest boxes so far, so that all classes grow together; among equals chance decides.

    Parameters
    ----------
    dataset : Dataset
        Its train split is drawn from; the other splits are left out.
    sizes : sequence of int
        How many images each subset holds at most; where groups are kept whole it may hold fewer.
    seed : int
        Of the draw.
    groups : mapping of Path to str, optional
        Images that show one part, by its name: a subset holds all of them or none.

    Returns
    -------
    dict of int to Dataset
        A dataset of training images for each size.

    Raises
    ------
    DataError
        If a size is below 1 or there are fewer training images.

    Examples
    --------
    >>> from aoi_tl.data.dataset import Sample
    >>> samples = [Sample(Path(f"{i}.png"), "train", np.array([i % 2]), np.full((1, 4), 0.5))
    ...            for i in range(6)]
    >>> found = nested_subsets(Dataset("t", Path("t.yaml"), ("a", "b"), tuple(samples)), [2, 4], 0)
    >>> found[2].counts, len(found[4].samples)
    ({'a': 1, 'b': 1}, 4)
    """
    train = dataset.split("train").samples
    for size in sizes:
        if not 1 <= size <= len(train):
            raise DataError(
                f"{dataset.path}: expected target_images from 1 to {len(train)}, the images of its "
                f"train split, got {size}; ask for fewer, or write all"
            )
    rng = np.random.default_rng((seed, 11))
    parts: dict[str, list[int]] = {}
    for place, sample in enumerate(train):
        parts.setdefault((groups or {}).get(sample.image, f"\0{place}"), []).append(place)
    order = list(parts.values())
    order = [order[i] for i in rng.permutation(len(order))]
    counts = [np.bincount(
        np.concatenate([train[i].classes for i in part]), minlength=len(dataset.names)
    ) for part in order]
    waiting, chosen = list(range(len(order))), list[int]()
    total = np.zeros(len(dataset.names), dtype=np.int64)
    found = {}
    for size in sorted(set(sizes)):
        while fitting := [i for i in waiting if len(chosen) + len(order[i]) <= size]:
            take = _next(fitting, counts, total)
            waiting.remove(take)
            chosen += order[take]
            total += counts[take]
        if not chosen:
            raise DataError(
                f"{dataset.path}: expected parts of at most {size} images to draw, got none; ask "
                "for more target_images"
            )
        found[size] = replace(dataset, samples=tuple(train[i] for i in sorted(chosen)))
    return {size: found[size] for size in sizes}


def _next(fitting: Sequence[int], counts: Sequence[np.ndarray], total: np.ndarray) -> int:
    """The first part in the drawn order that shows the rarest class of all parts."""
    shown = np.any([counts[i] > 0 for i in fitting], axis=0)
    if not shown.any():
        return fitting[0]
    rarest = int(np.where(shown, total, np.iinfo(np.int64).max).argmin())
    return next(i for i in fitting if counts[i][rarest])
