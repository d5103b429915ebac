"""Candidate alignments of two images, found without comparing all pairs.

Patches and thumbnails are hashed so that similar ones share a bucket. A pair is a candidate if it
shares enough patches under one shift, or if its thumbnails are similar, also mirrored or rotated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aoi_tl.duplicates.descriptor import Descriptor
from aoi_tl.duplicates.structure import turned

#: Below this correlation no candidate is followed.
LIKELY = 0.5

_KEPT = 20  # principal directions of the patches that are hashed
_TABLES, _FEWEST_BITS = 10, 16  # of the hashes
_NEIGHBOURS = 24  # in a crowded bucket each patch meets only so many others
_BIN = 8  # pixels: shifts closer than this agree
_VOTES = 3
_CHECKS = 24  # per image: the candidates with the most votes are laid over each other
_AT_ONCE = 2_000_000  # pairs of patches

_MayMeet = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Candidate:
    """A candidate alignment: the shift of the second image, in pixels halved so many times.

    Halved -1 times stands for two whole images brought to one size, the second turned.
    """

    first: int
    second: int
    halvings: int
    dx: int
    dy: int
    turn: int = 0


def find_candidates(
    described: Sequence[Descriptor], across: NDArray[np.bool_] | None = None
) -> list[Candidate]:
    """Find the pairs of images that are worth aligning.

    Parameters
    ----------
    described : sequence of Descriptor
        Two at least.
    across : bool array of shape (n,), optional
        Look only for pairs of a marked image with one that is not.

    Returns
    -------
    list of Candidate
        Sorted by pairs; a pair may have several.
    """
    def may_meet(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        apart = one != other
        return apart if across is None else apart & (across[one] != across[other])

    return sorted(
        [*_whole_candidates(described, may_meet), *_crop_candidates(described, may_meet)],
        key=lambda candidate: (candidate.first, candidate.second),
    )


def _whole_candidates(described: Sequence[Descriptor], may_meet: _MayMeet) -> Iterator[Candidate]:
    thumbs = np.stack([one.thumb for one in described]).astype(np.float32)
    alive = np.flatnonzero(thumbs.any(axis=1))
    if len(alive) < 2:
        return
    n, thumbs = len(alive), thumbs[alive]
    squares = thumbs.reshape(n, 16, 16)
    for turn in range(8):
        # Each image as it is, and all others turned behind them.
        rows = thumbs if turn == 0 else np.concatenate([thumbs, turned(squares, turn).reshape(
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
        close = (likeness > LIKELY) & (low < high % n)
        first, second = alive[low[close]], alive[high[close] % n]
        for k in _strongest(first, second, likeness[close]):
            yield Candidate(int(first[k]), int(second[k]), -1, 0, 0, turn)


def _crop_candidates(described: Sequence[Descriptor], may_meet: _MayMeet) -> Iterator[Candidate]:
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
        yield Candidate(int(first[k]), int(second[k]), int(halved[k]), int(dx[k]), int(dy[k]))


def _voted(
    pairs: NDArray[np.int64], owner: NDArray[np.int64], points: NDArray[np.int64]
) -> NDArray[np.int64]:
    """From pairs of patches: images, votes, halvings and shift of each pair of images, (6, k)."""
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


def _hashes(
    rows: NDArray[Any], bits: int, tables: int, prefix: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """Hash rows by random hyperplanes, so that similar rows often get equal numbers."""
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
