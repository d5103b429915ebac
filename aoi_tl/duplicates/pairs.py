"""Images that show the same thing: equal files, other exposures, and crops that overlap.

Found without comparing all with all. Each image is flattened to its fine structure, which neither
exposure nor light falloff nor grinding marks reach; patches around its strongest points, and one
thumbnail of the whole, are hashed so that like falls to like; images that share enough patches
under one shift are laid over each other, and what counts is how well they correlate there, beyond
what any two images of their folder have in common (a fixture, a printed layout).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.images import MAX_IMAGE_BYTES
from aoi_tl.errors import DataError
from aoi_tl.files.untrusted import read_ordinary

#: Laid over each other, unrelated images of one process reach 0.3, exposures of one part 0.7 to 1.
SIMILAR = 0.6
#: From here on it is beyond doubt: different parts in one fixture, under one lamp, reach 0.9.
CERTAIN = 0.9
#: Less common ground than this share of the smaller image proves nothing.
OVERLAP = 0.15

_LONGEST = 512  # longer images are halved until they fit
_SHORTEST = 128  # ... and once more, so that sizes to either side of a limit still meet
_HIGH_PASS = 25  # pixels: what is wider, or a longer stripe, is light or machining, not identity
_MARGIN = 9
_SPACING = 13
_POINTS = 160  # per image
_GRID, _STEP = 8, 2  # a patch is 8 x 8 samples, 2 pixels apart
_KEPT = 20  # principal directions of the patches that are hashed
_TABLES, _FEWEST_BITS = 10, 16  # of the hashes
_NEIGHBOURS = 24  # in a crowded bucket each patch meets only so many others
_BIN = 8  # pixels: shifts closer than this agree
_VOTES = 3
_LIKELY = 0.5
_CHECKS = 24  # per image: the candidates with the most votes are laid over each other
_THUMB, _WHOLE = 64, 160  # pixels: whole images, to be hashed and to be laid over each other
_AT_ONCE = 2_000_000  # pairs of patches
_REACH = 3  # pixels: how far off a guessed shift may be
_LOCAL = 24  # pixels: the window of a local correlation
_FAINT = 0.02  # below this energy there is nothing to compare
_MANY, _CONTROLS = 20, 7  # images in a folder that make a series, and how many stand for it

_MayMeet = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Overlap:
    """Two images that show the same ground.

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
        Between images that are nobody's copy.
    sizes : int64 array of shape (n, 2)
        Height and width in pixels; zeros where an image cannot be read.
    blank : bool array of shape (n,)
        Images of one single grey level.
    """

    copy_of: NDArray[np.int64]
    overlaps: tuple[Overlap, ...]
    sizes: NDArray[np.int64]
    blank: NDArray[np.bool_]

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """A number for each image, int64 of shape (n,); equal for whatever hangs together."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        n = len(self.copy_of)
        rows = np.concatenate([np.arange(n), [pair.first for pair in self.overlaps]])
        columns = np.concatenate([self.copy_of, [pair.second for pair in self.overlaps]])
        links = coo_array((np.ones(len(rows), bool), (rows.astype(int), columns.astype(int))),
                          shape=(n, n))
        return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)

    def between(
        self, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]
    ) -> list[tuple[int, int, float]]:
        """Pair each of our images with its likest of theirs.

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
    copy_of = np.arange(len(paths))
    sizes, blank = np.zeros((len(paths), 2), np.int64), np.zeros(len(paths), np.bool_)
    seen: dict[bytes, int] = {}
    firsts: list[int] = []
    described: list[_Description] = []
    with ThreadPoolExecutor(workers) as pool:
        for position, (key, description) in enumerate(pool.map(_describe, paths)):
            first = seen.setdefault(key, position)
            copy_of[position] = first
            if description is not None:
                sizes[position], blank[position] = description.size, description.blank
            # Below 8 pixels there is nothing to tell one image from another by.
            if first == position and description is not None and min(description.size) >= 8:
                firsts.append(position)
                described.append(description)
            if progress is not None:
                progress(position + 1, len(paths))
    marked = None if across is None else across[firsts]
    found = _lay_over([paths[first] for first in firsts], described, marked, workers)
    overlaps = tuple(
        Overlap(firsts[i], firsts[j], similarity, share) for i, j, similarity, share in found
    )
    return Duplicates(copy_of, overlaps, sizes, blank)


@dataclass(frozen=True, eq=False)
class _Description:
    points: NDArray[np.int16]  # (k, 3): x, y in halved pixels, halvings
    patches: NDArray[np.int8]  # (k, 64), zero mean, equal length
    thumb: NDArray[np.float16]  # (256,), likewise; zeros for an image without structure
    size: tuple[int, int]  # height, width
    blank: bool


def _describe(path: Path) -> tuple[bytes, _Description | None]:
    try:
        content = read_ordinary(path, MAX_IMAGE_BYTES)
    except OSError:
        return os.fsencode(path), None
    key = hashlib.sha256(content).digest()
    grey = _decode(content)
    if grey is None:
        return key, None
    points, patches = [np.zeros((0, 3), np.int16)], [np.zeros((0, _GRID * _GRID), np.int8)]
    for halvings, pixels in _octaves(grey) if min(grey.shape) >= 2 * _MARGIN else ():
        where, what = _patches(_structure(pixels))
        points.append(np.column_stack([where, np.full(len(where), halvings)]).astype(np.int16))
        patches.append(what)
    thumb = _unit(cv2.resize(_thumbnail(grey), (16, 16), interpolation=cv2.INTER_AREA).ravel())
    return key, _Description(
        np.concatenate(points), np.concatenate(patches), thumb.astype(np.float16),
        (grey.shape[0], grey.shape[1]), bool(grey.min() == grey.max()),
    )


def _decode(content: bytes) -> NDArray[np.float32] | None:
    """Grey pixels over 0 to 255."""
    try:
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
        grey = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error:
        return None
    if grey is None:
        return None
    if grey.dtype != np.uint8:  # 12 bits often lie in the lower end of 16
        top = max(float(np.quantile(grey[::4, ::4], 0.999)), 1.0)
        return np.minimum(grey.astype(np.float32) * (255 / top), 255)
    return grey.astype(np.float32)


def _octaves(grey: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The one or two sizes at which an image is compared, with how often it was halved."""
    halvings = 0
    while max(grey.shape) > _LONGEST:
        grey, halvings = _halved(grey), halvings + 1
    yield halvings, grey
    if max(grey.shape) >= 2 * _SHORTEST:
        yield halvings + 1, _halved(grey)


def _halved(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    return np.asarray(cv2.resize(pixels[:height, :width], (max(width // 2, 1), max(height // 2, 1)),
                                 interpolation=cv2.INTER_AREA))


def _structure(pixels: NDArray[Any], width: int = _HIGH_PASS) -> NDArray[np.float32]:
    """What is fine in both directions, of equal strength everywhere: stripes and light are gone."""
    fine = pixels - cv2.blur(pixels, (width, 1), borderType=cv2.BORDER_REFLECT)
    fine = fine - cv2.blur(fine, (1, width), borderType=cv2.BORDER_REFLECT)
    strength = cv2.blur(fine * fine, (width, width), borderType=cv2.BORDER_REFLECT)
    fine = fine / (np.sqrt(np.maximum(strength, 0)) + np.float32(1))  # one grey level is noise
    return np.asarray(cv2.GaussianBlur(fine, (0, 0), 1.2))


def _patches(structure: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    strength = np.abs(structure)
    kernel = np.ones((_SPACING, _SPACING), np.uint8)
    peak = (strength == cv2.dilate(strength, kernel)) & (strength > 0.05)
    peak[:_MARGIN], peak[-_MARGIN:], peak[:, :_MARGIN], peak[:, -_MARGIN:] = (False,) * 4
    ys, xs = np.nonzero(peak)
    strongest = np.argsort(-strength[ys, xs], kind="stable")[:_POINTS]
    ys, xs = ys[strongest], xs[strongest]
    reach = (np.arange(_GRID) - (_GRID - 1) / 2) * _STEP
    reach = reach.astype(np.int64)
    samples = structure[
        (ys[:, None] + reach)[:, :, None], (xs[:, None] + reach)[:, None, :]
    ].reshape(len(ys), _GRID * _GRID)
    return np.column_stack([xs, ys]), (_unit(samples) * 300).clip(-127, 127).astype(np.int8)


def _unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    rows = rows - rows.mean(axis=-1, keepdims=True)
    length = np.sqrt((rows * rows).sum(axis=-1, keepdims=True))
    return np.where(length > 1e-6, rows / np.maximum(length, 1e-6), 0)


def _thumbnail(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    small = cv2.resize(grey, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    return _structure(small, 21)


# ---------------------------------------------------------------------------------- candidates


def _hashes(
    rows: NDArray[Any], bits: int, tables: int, prefix: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """Hash rows so that like rows often get equal numbers (random hyperplanes)."""
    chance = np.random.default_rng(7)
    sample = rows[chance.permutation(len(rows))[:50_000]].astype(np.float32)
    values, directions = np.linalg.eigh(np.cov(sample, rowvar=False))
    # Half-way to equal variances: more than noise in each bit, less of it than fully whitened.
    scale = np.maximum(values[-_KEPT:], 1e-9) ** -0.25
    basis = directions[:, -_KEPT:] * scale
    planes = (basis @ chance.normal(size=(_KEPT, tables * bits))).astype(np.float32)
    centre = sample.mean(axis=0)
    for table in range(tables):
        part = planes[:, table * bits : (table + 1) * bits]
        key = np.zeros((len(rows), 4), np.uint8)
        for start in range(0, len(rows), 200_000):
            block = rows[start : start + 200_000].astype(np.float32) - centre
            packed = np.packbits(block @ part > 0, axis=1)
            key[start : start + 200_000, : packed.shape[1]] = packed
        yield key.view("<u4")[:, 0] + (prefix << 32)


def _equal_pairs(
    rows: NDArray[Any],
    tables: int,
    prefix: NDArray[np.int64],
    may_meet: _MayMeet,
) -> NDArray[np.int64]:
    """Rows that share a hash, as unique numbers ``low * n + high``, sorted."""
    n = len(rows)
    # Buckets for the square of the rows, so that chance meetings do not outgrow the rows.
    bits = min(max(round(2 * np.log2(n)) - 18, _FEWEST_BITS), 32)
    found = [np.zeros(0, np.int64)]
    for key in _hashes(rows, bits, tables * bits // _FEWEST_BITS, prefix):
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        for step in range(1, _NEIGHBOURS + 1):
            same = np.flatnonzero(ordered[step:] == ordered[:-step])
            if not len(same):
                break
            one, other = order[same], order[same + step]
            meet = may_meet(one, other)
            one, other = one[meet], other[meet]
            found.append(np.minimum(one, other) * n + np.maximum(one, other))
    pairs = np.empty(sum(map(len, found)), np.int64)
    end = len(pairs)
    while found:  # they are most of what lies in memory: each goes as soon as it is copied
        part = found.pop()
        pairs[end - len(part) : end] = part
        end -= len(part)
    pairs.sort()
    first = np.ones(len(pairs), np.bool_)
    np.not_equal(pairs[1:], pairs[:-1], out=first[1:])
    return pairs[first]


def _strongest(
    first: NDArray[np.int64], second: NDArray[np.int64], strength: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Which pairs are among the ``_CHECKS`` strongest of either image."""
    images = np.concatenate([first, second])
    order = np.lexsort((-np.concatenate([strength, strength]), images))
    starts = np.flatnonzero(np.diff(images[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return np.flatnonzero(rank.reshape(2, -1).min(axis=0) < _CHECKS)


@dataclass(frozen=True)
class _Guess:
    """How the second image may lie over the first: (dx, dy) in pixels halved so many times.

    Halved -1 times stands for two whole images brought to one size, the second turned.
    """

    first: int
    second: int
    halvings: int
    dx: int
    dy: int
    turn: int = 0


def _guesses(described: list[_Description], across: NDArray[np.bool_] | None) -> list[_Guess]:
    def may_meet(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        apart = one != other
        return apart if across is None else apart & (across[one] != across[other])

    return sorted(
        [*_whole_guesses(described, may_meet), *_crop_guesses(described, may_meet)],
        key=lambda guess: (guess.first, guess.second),
    )


def _turned(pixels: NDArray[Any], turn: int) -> NDArray[Any]:
    """Mirror and turn the last two axes: eight ways, the first of which changes nothing."""
    pixels = pixels.swapaxes(-1, -2) if turn & 4 else pixels
    pixels = pixels[..., ::-1, :] if turn & 2 else pixels
    return np.ascontiguousarray(pixels[..., ::-1] if turn & 1 else pixels)


def _whole_guesses(described: list[_Description], may_meet: _MayMeet) -> Iterator[_Guess]:
    thumbs = np.stack([one.thumb for one in described]).astype(np.float32)
    alive = np.flatnonzero(thumbs.any(axis=1))
    if len(alive) < 2:
        return
    n, thumbs = len(alive), thumbs[alive]
    squares = thumbs.reshape(n, 16, 16)
    for turn in range(8):
        # Each image as it is, and all others turned behind them.
        rows = thumbs if turn == 0 else np.concatenate([thumbs, _turned(squares, turn).reshape(
            n, -1)])

        def meet(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
            halves = True if len(rows) == n else (one < n) != (other < n)  # noqa: B023
            return may_meet(alive[one % n], alive[other % n]) & halves

        pairs = _equal_pairs(rows, 16, np.zeros(len(rows), np.int64), meet)
        low, high = np.divmod(pairs, len(rows))
        likeness = np.concatenate([
            np.einsum("ij,ij->i", rows[low[k : k + 100_000]], rows[high[k : k + 100_000]])
            for k in range(0, len(low) or 1, 100_000)
        ])
        close = (likeness > _LIKELY) & (low < high % n)
        first, second = alive[low[close]], alive[high[close] % n]
        for k in _strongest(first, second, likeness[close]):
            yield _Guess(int(first[k]), int(second[k]), -1, 0, 0, turn)


def _crop_guesses(described: list[_Description], may_meet: _MayMeet) -> Iterator[_Guess]:
    counts = [len(one.points) for one in described]
    if sum(counts) < 2:
        return
    n = len(described)
    owner = np.repeat(np.arange(n), counts)
    points = np.concatenate([one.points for one in described]).astype(np.int64)
    pairs = _equal_pairs(
        np.concatenate([one.patches for one in described]), _TABLES, points[:, 2],
        lambda one, other: may_meet(owner[one], owner[other]),
    )
    # All pairs of one image lie together: so many at a time are voted on.
    ends = np.searchsorted(pairs, np.cumsum(counts) * len(owner))
    best = [np.zeros((6, 0), np.int64)]
    start = 0
    for end, next_ in zip(ends, [*ends[1:], np.inf], strict=True):
        if next_ - start > _AT_ONCE:
            best.append(_voted(pairs[start:end], owner, points))
            start = end
    first, second, votes, halved, dx, dy = np.concatenate(best, axis=1)
    for k in _strongest(first, second, votes.astype(np.float64)).tolist():
        yield _Guess(int(first[k]), int(second[k]), int(halved[k]), int(dx[k]), int(dy[k]))


def _voted(
    pairs: NDArray[np.int64], owner: NDArray[np.int64], points: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Of pairs of patches: images, votes, halvings and shift of each pair of images, (6, k)."""
    low, high = np.divmod(pairs, len(owner))
    images = owner[low] * (owner[-1] + 1) + owner[high]
    # Where the second image's corner lies in the first.
    shift = points[low, :2] - points[high, :2]
    found: list[NDArray[np.int64]] = []
    for offset in (0, _BIN // 2):  # a true shift near the edge of one grid lies inside the other
        cell = (shift + offset) // _BIN + 256
        code = ((images * 8 + points[low, 2]) * 512 + cell[:, 0]) * 512 + cell[:, 1]
        order = np.argsort(code, kind="stable")
        starts = np.flatnonzero(np.diff(code[order], prepend=-1))
        votes = np.diff(starts, append=len(code))
        starts, votes = starts[votes >= _VOTES], votes[votes >= _VOTES]
        one = order[starts]
        mean = [
            np.add.reduceat(np.append(shift[order, axis], 0), np.column_stack(
                [starts, starts + votes]).ravel())[::2] / votes
            for axis in (0, 1)
        ] if len(starts) else np.zeros((2, 0))
        found.append(np.stack([owner[low[one]], owner[high[one]], votes, points[low[one], 2],
                               *np.rint(mean).astype(np.int64)]))
    every = np.concatenate(found, axis=1)
    # The shift with the most votes of each pair.
    order = np.lexsort((-every[2], every[1], every[0]))
    changes = np.diff(every[:2, order], axis=1, prepend=-1).any(axis=0)
    return every[:, order[changes]]


# ---------------------------------------------------------------------------------- laying over


def _lay_over(
    paths: list[Path],
    described: list[_Description],
    across: NDArray[np.bool_] | None,
    workers: int,
) -> list[tuple[int, int, float, float]]:
    if len(described) < 2:
        return []
    guesses = _guesses(described, across)
    sizes = [max(one.size) for one in described]
    described.clear()

    @lru_cache(maxsize=2048)
    def structure(position: int, halvings: int) -> NDArray[np.float32]:
        grey = _decode(read_ordinary(paths[position], MAX_IMAGE_BYTES))
        if grey is None:
            raise DataError(f"{paths[position]}: expected the image, got another file; try again")
        for _ in range(halvings):
            grey = _halved(grey)
        return _structure(grey)

    @lru_cache(maxsize=2048)
    def whole(position: int) -> NDArray[np.float32]:
        grey = _decode(read_ordinary(paths[position], MAX_IMAGE_BYTES))
        if grey is None:
            raise DataError(f"{paths[position]}: expected the image, got another file; try again")
        return _structure(cv2.resize(grey, (_WHOLE, _WHOLE), interpolation=cv2.INTER_AREA))

    def lay(guess: _Guess) -> _Laid | None:
        if guess.halvings < 0:
            return _lay(whole(guess.first), _turned(whole(guess.second), guess.turn), 0, 0)
        # The coarser size serves as well and costs a quarter.
        more = int(sizes[guess.first] >> guess.halvings >= 2 * _SHORTEST)
        return _lay(
            structure(guess.first, guess.halvings + more),
            structure(guess.second, guess.halvings + more),
            guess.dx >> more, guess.dy >> more,
        )

    series = _series(paths)

    @cache
    def usual(position: int, turn: int = 0, others_turn: int = 0) -> NDArray[np.float32] | None:
        """How far any image of the same series agrees with this one, (160, 160)."""
        others = series[position]
        if others is None:
            return None
        pixels = _turned(whole(position), turn)
        maps = [_local_map(pixels, _turned(whole(other), others_turn)) for other in others]
        return np.median(maps, axis=0).clip(0, 0.99).astype(np.float32)

    def judge(guess: _Guess) -> tuple[float, float]:
        laid = lay(guess)
        if laid is None or laid.share < OVERLAP or np.median(laid.local) < SIMILAR:
            return 0.0, 0.0
        ordinary = np.maximum(
            _looked_up(usual(guess.first, 0, guess.turn), laid.in_first),
            _looked_up(usual(guess.second, guess.turn, 0), laid.in_second),
        )
        excess = (laid.local - ordinary) / (1 - ordinary)
        return min(float(np.median(excess)), 1.0), laid.share

    best: dict[tuple[int, int], tuple[float, float]] = {}
    with ThreadPoolExecutor(workers) as pool:
        for guess, found in zip(guesses, pool.map(judge, guesses), strict=True):
            pair = guess.first, guess.second
            if found[0] >= SIMILAR:
                best[pair] = max(found, best.get(pair, (0.0, 0.0)))
    return [(i, j, *found) for (i, j), found in sorted(best.items())]


@dataclass(frozen=True, eq=False)
class _Laid:
    """One image over another: their local correlations, n of them, and where."""

    local: NDArray[np.float32]  # (n,)
    in_first: NDArray[np.float64]  # (n, 2): row and column as shares of the image
    in_second: NDArray[np.float64]
    share: float


def _lay(
    first: NDArray[np.float32], second: NDArray[np.float32], dx: int, dy: int
) -> _Laid | None:
    """Lay the second image over the first, its corner at about (dx, dy)."""
    left, top = max(dx, 0), max(dy, 0)
    right = min(dx + second.shape[1], first.shape[1])
    bottom = min(dy + second.shape[0], first.shape[0])
    width, height = right - left - 2 * _REACH, bottom - top - 2 * _REACH
    if min(width, height) < 2 * _REACH:
        return None
    ground = first[top:bottom, left:right]
    inner = second[top - dy + _REACH :, left - dx + _REACH :][:height, :width]
    scores = cv2.matchTemplate(ground, np.ascontiguousarray(inner), cv2.TM_CCORR_NORMED)
    down, across = np.unravel_index(int(np.nan_to_num(scores).argmax()), scores.shape)
    if not scores[down, across] >= _LIKELY / 2:
        return None
    local, strong = _local_correlation(
        ground[down : down + height, across : across + width], inner
    )
    rows, columns = np.mgrid[_LOCAL // 4 : height : _LOCAL // 2, _LOCAL // 4 : width : _LOCAL // 2]
    rows, columns = rows[strong[rows, columns]], columns[strong[rows, columns]]
    if not len(rows):
        return None
    return _Laid(
        local[rows, columns],
        np.column_stack([rows + top + down, columns + left + across]) / first.shape,
        np.column_stack([rows + top - dy + _REACH, columns + left - dx + _REACH]) / second.shape,
        min((right - left) * (bottom - top) / min(first.size, second.size), 1.0),
    )


def _local_correlation(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Correlation around each pixel, and where there is anything to correlate."""
    both, one, other = (
        cv2.blur(product, (_LOCAL, _LOCAL))
        for product in (first * second, first * first, second * second)
    )
    strong = (one > _FAINT) & (other > _FAINT)
    return np.where(strong, both / np.sqrt(np.where(strong, one * other, 1)), 0), strong


def _local_map(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Local correlation over the whole of two images of one size, best small shift."""
    inner = np.ascontiguousarray(second[_REACH:-_REACH, _REACH:-_REACH])
    scores = cv2.matchTemplate(first, inner, cv2.TM_CCORR_NORMED)
    down, across = np.unravel_index(int(np.nan_to_num(scores).argmax()), scores.shape)
    height, width = inner.shape
    found = np.zeros_like(first)
    found[down : down + height, across : across + width] = _local_correlation(
        first[down : down + height, across : across + width], inner
    )[0]
    return found


def _looked_up(
    map_: NDArray[np.float32] | None, places: NDArray[np.float64]
) -> NDArray[np.float32]:
    if map_ is None:
        return np.zeros(len(places), np.float32)
    rows, columns = np.minimum((places * map_.shape).astype(int), np.array(map_.shape) - 1).T
    return map_[rows, columns]


def _series(paths: list[Path]) -> list[list[int] | None]:
    """For each image some others of its folder, to learn from what all images of it share.

    A fixture or a printed layout is the same in all; only what goes beyond it tells that two images
    show one part. Small folders give none: there, all may well be copies.
    """
    folders: dict[Path, list[int]] = {}
    for position, path in enumerate(paths):
        folders.setdefault(path.parent, []).append(position)
    chance = np.random.default_rng(11)
    chosen: list[list[int] | None] = [None] * len(paths)
    for members in folders.values():
        if len(members) < _MANY:
            continue
        some = chance.permutation(members)[: 4 * _CONTROLS].tolist()
        for place, position in enumerate(members):
            turn = place % len(some)
            others = [other for other in some[turn:] + some[:turn] if other != position]
            chosen[position] = others[:_CONTROLS]
    return chosen
