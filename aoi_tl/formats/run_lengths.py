"""Run-length encoded masks, column by column, as COCO and Severstal write them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_LONGEST = 12  # groups of five bits in one number


def decode_counts(text: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Each number is written in groups of five bits, the lowest first, as characters from "0" on; from
    the fourth on it is the difference from the last but one [1]_.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of int
        Clear and marked pixels in turn, column by column.

    Raises
    ------
    ValueError
        It is no such text.

    References
    ----------
    .. [1] COCO API, ``maskApi.c``, ``rleFrString``.

    Examples
    --------
    >>> decode_counts("52")
    [5, 2]
    """
    counts: list[int] = []
    value = place = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or place >= _LONGEST:
            raise ValueError("no run lengths")
        value |= (bits & 0x1F) << (5 * place)
        place += 1
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << (5 * place)
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = place = 0
    if place:
        raise ValueError("run lengths that break off")
    return counts


def box_around(
    counts: Sequence[object], height: int, width: int
) -> tuple[float, float, float, float] | None:
    """Find the box around a mask without drawing it.

    Parameters
    ----------
    counts : sequence of int
        Clear and marked pixels in turn, column by column.
    height, width : int
        Of the image; nothing of that size is made.

    Returns
    -------
    tuple or None
        Left, top, right, bottom edge in pixels, without extent where nothing is marked; None where
        the counts are no such numbers or do not fill the image.

    Examples
    --------
    >>> box_around([5, 2, 2, 2, 5], height=4, width=4)
    (1.0, 1.0, 3.0, 3.0)
    """
    numbers = [n for n in counts if isinstance(n, int) and not isinstance(n, bool) and n >= 0]
    if len(numbers) != len(counts) or sum(numbers) != height * width:
        return None
    edges = [0]
    for count in numbers:
        edges.append(edges[-1] + count)
    runs = [(first, end) for n, (first, end) in enumerate(pairwise(edges)) if n % 2 and end > first]
    if not runs:
        return 0.0, 0.0, 0.0, 0.0
    left, right = runs[0][0] // height, (runs[-1][1] - 1) // height + 1
    top, bottom = height, 0
    for first, end in runs:
        if first // height != (end - 1) // height:  # it goes on in the next column
            top, bottom = 0, height
            break
        top, bottom = min(top, first % height), max(bottom, (end - 1) % height + 1)
    return float(left), float(top), float(right), float(bottom)


def draw_runs(text: str, height: int, width: int) -> NDArray[np.bool_]:
    """Draw Severstal's run lengths: pairs of first pixel (from 1) and length, down the columns.

    Parameters
    ----------
    text : str
    height, width : int
        Of the image, which exists.

    Returns
    -------
    bool array of shape (height, width)

    Raises
    ------
    ValueError
        They are no pairs of whole numbers, or lead out of the image.

    Examples
    --------
    >>> draw_runs("1 2 5 1", height=3, width=2).astype(int).tolist()
    [[1, 0], [1, 1], [0, 0]]
    """
    numbers = [int(word) for word in text.split()]
    if not numbers or len(numbers) % 2:
        raise ValueError("no pairs")
    marked = np.zeros(height * width, dtype=bool)
    for first, length in zip(numbers[::2], numbers[1::2], strict=True):
        if first < 1 or length < 1 or first - 1 + length > len(marked):
            raise ValueError("a run outside the image")
        marked[first - 1 : first - 1 + length] = True
    return marked.reshape(width, height).T
