"""Splitting into train, validation and test by group, with the classes in proportion."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aoi_tl.errors import DataError
from aoi_tl.files.untrusted import read_regular_file

_FAR_OFF = 0.1  # of the images: a share that is missed by more is reported
_MAX_BYTES = 256 * 1024 * 1024


def split_by_group(
    groups: NDArray[np.int64],
    counts: NDArray[np.int64],
    shares: Sequence[float],
    chance: np.random.Generator,
) -> NDArray[np.int64]:
    """Assign groups to splits so that each gets its share of images and of every class.

    The rarest classes are dealt first, the largest groups of each before the small ones, each to
    the split that lacks most of it (iterative stratification, by group).

    Parameters
    ----------
    groups : int64 array of shape (n,)
        Images of one group stay together.
    counts : int64 array of shape (n, c)
        Boxes of each class on each image; an image without any counts as a class of its own.
    shares : sequence of float
        What each split is to get; they sum to 1. A share of 0 makes an empty split.
    chance : Generator
        Decides between equals.

    Returns
    -------
    int64 array of shape (n,)
        The split of each image, from 0.

    Raises
    ------
    DataError
        The shares do not sum to 1, or there are fewer groups than splits.

    References
    ----------
    .. [1] Sechidis, Tsoumakas, Vlahavas. "On the Stratification of Multi-Label Data." ECML PKDD,
       2011.

    Examples
    --------
    >>> groups = np.array([0, 0, 1, 2, 3, 3])
    >>> boxes = np.ones((6, 1), int)
    >>> split = split_by_group(groups, boxes, (0.5, 0.25, 0.25), np.random.default_rng(0))
    >>> [len(set(split[groups == g].tolist())) for g in range(4)]
    [1, 1, 1, 1]
    >>> np.bincount(split).tolist()
    [3, 2, 1]
    """
    wanted = np.asarray(shares, dtype=float)
    if len(wanted) < 2 or (wanted < 0).any() or abs(wanted.sum() - 1) > 1e-6:
        raise DataError(
            f"expected shares of the splits that sum to 1, got {list(shares)}; write 0.6 0.2 0.2"
        )
    _, group_of = np.unique(groups, return_inverse=True)
    n_groups = int(group_of.max(initial=-1)) + 1
    if n_groups < (wanted > 0).sum():
        raise DataError(
            f"expected at least {int((wanted > 0).sum())} groups to split, got {n_groups}; "
            "take fewer splits or more images"
        )
    bare = (counts.sum(axis=1) == 0).astype(np.int64)
    table = np.zeros((n_groups, counts.shape[1] + 1))
    np.add.at(table, group_of, np.column_stack([counts, bare]))
    sizes = np.bincount(group_of, minlength=n_groups).astype(float)
    lacking = wanted[:, None] * table.sum(axis=0)  # (splits, classes)
    room = wanted * sizes.sum()
    chosen = np.full(n_groups, -1)
    order = chance.permutation(n_groups)
    while (open_ := order[chosen[order] < 0]).size:
        left = table[open_].sum(axis=0)
        rarest = int(np.where(left > 0, left, np.inf).argmin())
        holders = open_[table[open_, rarest] > 0]
        for group in holders[np.argsort(-table[holders, rarest], kind="stable")]:
            # Shares still missing, so that a small split is not always the last.
            need = np.where(wanted > 0, lacking[:, rarest] / np.maximum(wanted, 1e-9), -np.inf)
            space = np.where(wanted > 0, room / np.maximum(wanted, 1e-9), -np.inf)
            best = int(np.lexsort((-space, -need))[0])
            chosen[group] = best
            lacking[best] -= table[group]
            room[best] -= sizes[group]
    for split in np.flatnonzero(wanted > 0):
        if not (chosen == split).any():  # one group too large for its share took all the room
            donor = int(np.bincount(chosen, minlength=len(wanted)).argmax())
            members = np.flatnonzero(chosen == donor)
            chosen[members[sizes[members].argmin()]] = split
    return np.asarray(chosen[group_of], dtype=np.int64)


def shares_missed(
    groups: NDArray[np.int64], split: NDArray[np.int64], shares: Sequence[float]
) -> str:
    """Report a split that misses the requested shares by more than ten points, and why.

    Parameters
    ----------
    groups, split : int64 arrays of shape (n,)
        Of each image; what was asked of, and what was got from, ``split_by_group``.
    shares : sequence of float
        What each split was to get.

    Returns
    -------
    str
        Empty where all shares are met.

    Examples
    --------
    >>> shares_missed(np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 0, 1]), (0.5, 0.5))
    'asked for 0.50 0.50 of the images, got 0.80 0.20: one group holds 4 of 5 images'
    >>> shares_missed(np.arange(4), np.array([0, 0, 1, 1]), (0.5, 0.5))
    ''
    """
    got = np.bincount(split, minlength=len(shares)) / len(split)
    if np.abs(got - np.asarray(shares, dtype=float)).max() <= _FAR_OFF:
        return ""
    asked, given = (" ".join(f"{share:.2f}" for share in row) for row in (shares, got))
    sizes = np.unique(groups, return_counts=True)[1]
    return (f"asked for {asked} of the images, got {given}: one group holds {sizes.max()} of "
            f"{len(split)} images" + ("" if sizes.max() > 1 else ", and classes come first"))


def read_groups(
    path: str | os.PathLike[str], images: Sequence[Path]
) -> NDArray[np.int64]:
    """Read the groups of images.

    Parameters
    ----------
    path : path-like
        A CSV with the columns ``image`` (a file name, or its stem) and ``group``.
    images : sequence of Path
        The images to find in it.

    Returns
    -------
    int64 array of shape (n,)
        A number for each image, equal within a group.

    Raises
    ------
    DataError
        The file cannot be read, lacks a column, or lacks an image.
    """
    path = Path(path)
    try:
        text = read_regular_file(path, _MAX_BYTES).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text)))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path}: expected a CSV of image and group, got {error}; check the file"
        ) from error
    if not rows or not {"image", "group"} <= rows[0].keys():
        raise DataError(
            f"{path}: expected the columns image and group, got "
            f"{', '.join(map(str, rows[0])) if rows else 'no rows'}; name them in the first line"
        )
    known = {str(row["image"]): str(row["group"]) for row in rows}
    names: list[str] = []
    for image in images:
        group = known.get(image.name, known.get(image.stem))
        if group is None:
            raise DataError(
                f"{path}: expected a group for every image, got none for {image.name}; add its row"
            )
        names.append(group)
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.int64)
