"""Images that show the same thing: equal files, other exposures, and crops that overlap.

Not all pairs are compared. Each image is reduced to its fine structure, which exposure, light
falloff and grinding marks do not affect. Patches around its strongest points and a thumbnail are
hashed so that similar ones share a bucket. Images that share enough patches under one shift are
aligned, and their correlation is measured. It counts only beyond what any two images of the folder
have in common, such as a fixture or a printed layout.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.images import MAX_IMAGE_BYTES
from aoi_tl.duplicates.agreement import Agreement, align
from aoi_tl.duplicates.candidates import find_candidates
from aoi_tl.duplicates.descriptor import Descriptor, describe
from aoi_tl.duplicates.parts import Defects, connected, decide_parts
from aoi_tl.duplicates.structure import decode
from aoi_tl.errors import DataError
from aoi_tl.files.untrusted import read_regular_file

#: From here on it is beyond doubt: different parts in one fixture, under one lamp, reach 0.9.
CERTAIN = 0.9


@dataclass(frozen=True)
class Overlap:
    """Two images that show the same area: one part, or one design.

    Parameters
    ----------
    first, second : int
        Their positions in the list of images, ``first < second``.
    similarity : float
        Correlation of their fine structure where they overlap, up to 1.
    share : float
        How much of the smaller image the common ground is, up to 1.
    """

    first: int
    second: int
    similarity: float
    share: float


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Which of n images show the same thing.

    Parameters
    ----------
    copy_of : int64 array of shape (n,)
        The first image with the same bytes; its own position where there is none before it.
    overlaps : tuple of Overlap
        Between images that are nobody's copy: those of one part.
    designs : tuple of Overlap
        The same, of one design on several parts.
    sizes : int64 array of shape (n, 2)
        Height and width in pixels; zeros where an image cannot be read.
    blank : bool array of shape (n,)
        Images of one single grey level.
    """

    copy_of: NDArray[np.int64]
    overlaps: tuple[Overlap, ...]
    sizes: NDArray[np.int64]
    blank: NDArray[np.bool_]
    designs: tuple[Overlap, ...] = ()

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """A number for each image, int64 of shape (n,); equal for images of one part."""
        return connected(self._links(self.overlaps), len(self.copy_of))

    @cached_property
    def design(self) -> NDArray[np.int64]:
        """A number for each image, int64 of shape (n,); equal for one design; -1 where none is
        known to be on several parts."""
        number = connected(self._links((*self.overlaps, *self.designs)), len(self.copy_of))
        repeated = np.unique(number[[pair.first for pair in self.designs]])
        return np.where(np.isin(number, repeated), number, -1)

    def _links(self, pairs: Sequence[Overlap]) -> NDArray[np.int64]:
        return np.concatenate([
            np.column_stack([np.arange(len(self.copy_of)), self.copy_of]),
            np.array([(pair.first, pair.second) for pair in pairs], dtype=np.int64).reshape(-1, 2),
        ])

    def between(
        self, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]
    ) -> list[tuple[int, int, float]]:
        """Pair each of our images with the most similar one of theirs.

        Parameters
        ----------
        ours, theirs : bool arrays of shape (n,)
            Which images belong to whom.

        Returns
        -------
        list of (int, int, float)
            One of ours, one of theirs, their similarity (2 for equal files, so that these come
            first); none of ours comes twice.
        """
        members: dict[int, int] = {}
        for position in np.flatnonzero(theirs)[::-1].tolist():
            members[int(self.copy_of[position])] = position
        likest = {copy: (position, 2.0) for copy, position in members.items()}
        for pair in self.overlaps:
            for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
                if other in members and likest.get(one, (0, 0.0))[1] < pair.similarity:
                    likest[one] = (members[other], pair.similarity)
        return [
            (position, *likest[copy])
            for position in np.flatnonzero(ours).tolist()
            if (copy := int(self.copy_of[position])) in likest
        ]


def find_duplicates(
    images: Sequence[str | os.PathLike[str]],
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    across: NDArray[np.bool_] | None = None,
    defects: Sequence[Defects] | None = None,
    depths: Sequence[int] | None = None,
) -> Duplicates:
    """Find equal files, exposure copies and overlapping crops among images.

    Parameters
    ----------
    images : sequence of path-like
        Image files; those that cannot be read are like nothing but their own copies.
    workers : int
        Threads that read.
    progress : callable, optional
        Called with how many images are read, and of how many.
    across : bool array of shape (n,), optional
        Look only for overlaps of a marked image with one that is not, which is quicker.
    defects : sequence of Defects, optional
        The labels of each image, to distinguish one part from several parts of one design; without
        labels whatever agrees counts as one part.
    depths : sequence of int, optional
        How many bits each image uses where its file stores 16; 16 unless given.

    Returns
    -------
    Duplicates
        Crops are found where they share at least ``OVERLAP`` of the smaller image at the same
        scale; whole images at any scale, mirrored or turned by right angles as well.

    Notes
    -----
    20,000 images take minutes: time and memory grow with the number of images, not of pairs.

    Examples
    --------
    >>> import tempfile
    >>> import cv2
    >>> surface = np.random.default_rng(0).normal(0, 20, (120, 160))
    >>> surface = cv2.GaussianBlur(surface, (0, 0), 1.5) * 3 + 100
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     left, right = Path(folder, "left.png"), Path(folder, "right.png")
    ...     _ = cv2.imwrite(str(left), surface[:, :110]), cv2.imwrite(str(right), surface[:, 50:])
    ...     pair, = find_duplicates([left, right]).overlaps
    >>> pair.similarity > 0.9, round(pair.share, 1)
    (True, 0.5)
    """
    paths = [Path(image) for image in images]
    depths = depths or [16] * len(paths)
    copy_of = np.arange(len(paths))
    sizes, blank = np.zeros((len(paths), 2), np.int64), np.zeros(len(paths), np.bool_)
    seen: dict[bytes, int] = {}
    firsts: list[int] = []
    described: list[Descriptor] = []
    with ThreadPoolExecutor(workers) as pool:
        for position, (key, description) in enumerate(
            pool.map(describe, paths, depths)
        ):
            first = seen.setdefault(key, position)
            copy_of[position] = first
            if description is not None:
                sizes[position], blank[position] = description.size, description.blank
            # Below 8 pixels there is too little to compare.
            if first == position and description is not None and min(description.size) >= 8:
                firsts.append(position)
                described.append(description)
            if progress is not None:
                progress(position + 1, len(paths))
    marked = None if across is None else across[firsts]
    longest = [max(one.size) for one in described]
    candidates = find_candidates(described, marked) if len(described) > 1 else []
    described.clear()  # most of what lies in memory

    def read(position: int) -> NDArray[np.float32]:
        path, depth = paths[firsts[position]], depths[firsts[position]]
        grey = decode(read_regular_file(path, MAX_IMAGE_BYTES), depth)
        if grey is None:
            raise DataError(f"{path}: expected the image, got another file; try again")
        return grey

    found = align(candidates, [paths[first] for first in firsts], longest, read, workers)
    one_part = np.ones(len(found), np.bool_)
    if defects is not None:
        folders = np.unique([str(paths[first].parent) for first in firsts], return_inverse=True)[1]
        one_part = decide_parts(found, [defects[first] for first in firsts], folders, read,
                                workers)

    def overlap(one: Agreement) -> Overlap:
        return Overlap(firsts[one.first], firsts[one.second], one.similarity, one.share)

    return Duplicates(
        copy_of,
        tuple(overlap(found[k]) for k in np.flatnonzero(one_part).tolist()),
        sizes, blank,
        tuple(overlap(found[k]) for k in np.flatnonzero(~one_part).tolist()),
    )
