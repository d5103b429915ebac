"""The depth of a dataset: how many bits its camera gave each of the 16 that a file stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TypeVar

import numpy as np

from aoi_tl.data.headers import largest_by_tag
from aoi_tl.data.images import DEEP_SUFFIXES, bits_of, read_image
from aoi_tl.errors import DataError

T = TypeVar("T")

#: The depths that cameras have.
DEPTHS = (8, 10, 12, 14, 16)
_SAMPLE = 40  # images that are decoded
_THREADS = 2
_DARK_BITS = 4  # an image that leaves so many of a dataset's bits unused is nearly black


@dataclass(frozen=True)
class Depth:
    """How many bits the images of a dataset use, where their files store 16.

    Attributes
    ----------
    bits : int
        8, 10, 12, 14 or 16, counted from the lowest.
    note : str
        How that was found; empty where no image stores more than 8 bits.
    mixed : str
        Why the images seem to be of several depths; empty where they do not.
    """

    bits: int = 16
    note: str = ""
    mixed: str = ""


def check_depth(value: object, place: str) -> int:
    """Check a depth that somebody set.

    Parameters
    ----------
    value : object
        What was given.
    place : str
        Where, for the message.

    Returns
    -------
    int
        The depth.

    Raises
    ------
    DataError
        It is none of `DEPTHS`.
    """
    if isinstance(value, bool) or value not in DEPTHS:
        raise DataError(
            f"{place}: expected a depth of {', '.join(map(str, DEPTHS[:-1]))} or {DEPTHS[-1]} "
            f"bits, got {repr(value)[:60]}; correct it, or leave it out to have it found"
        )
    return int(str(value))


def spread(images: Sequence[T]) -> list[T]:
    """Choose the images, evenly spread, that a depth is found by: 40, or all of fewer.

    Parameters
    ----------
    images : sequence
        In the dataset's order.
    """
    if len(images) <= _SAMPLE:
        return list(images)
    return [images[i * len(images) // _SAMPLE] for i in range(_SAMPLE)]


def find_depth(images: Sequence[str | PathLike[str]], given: int | None = None) -> Depth:
    """Find how many bits images use, looking at the header of each.

    Parameters
    ----------
    images : sequence of path-like
        Image files; those that cannot be read are passed over.
    given : int, optional
        As for `depth_of_deep`.

    Returns
    -------
    Depth
        16 bits, or those given, where no image stores more than 8.

    Examples
    --------
    >>> find_depth([Path("no-such.jpg")])
    Depth(bits=16, note='', mixed='')
    """
    deep = [image for image in images if _stores_more_than_8(Path(image))]
    return depth_of_deep(spread(deep), len(deep), len(images) - len(deep), given)


def _stores_more_than_8(image: Path) -> bool:
    try:
        return image.suffix.lower() in DEEP_SUFFIXES and bits_of(image) > 8
    except OSError:
        return False


def depth_of_deep(
    images: Sequence[str | PathLike[str]], deep: int, shallow: int = 0, given: int | None = None
) -> Depth:
    """Find how many bits images use that are stored with 16, by their tags and largest values.

    A tag is TIFF's ``MaxSampleValue``, PNG's ``sBIT`` or the largest grey of a PGM. The largest
    value over the images gives a depth of 10 bits up to 1023, 12 up to 4095, 14 up
    to 16383. Where it is above the tag's, it counts, and not the tag: PNG's, for one, is often
    meant for values that were spread over all 16 bits.

    Parameters
    ----------
    images : sequence of path-like
        A sample of those whose files store more than 8 bits a channel, as `spread` chooses it.
    deep, shallow : int
        How many images of the dataset store more than 8 bits, and how many 8.
    given : int, optional
        The depth, where it is known already: it is taken, and the images are only looked at for
        values above it.

    Returns
    -------
    Depth
        Of images of which none can be read: 16 bits, or those given.
    """
    if not images:
        return Depth(given or 16)
    looked_at = [Path(image) for image in images]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = [value for value in pool.map(_largest, looked_at) if value is not None]
        tags = [tag for tag in pool.map(largest_by_tag, looked_at) if tag is not None]
    largest = max(found, default=0)
    return _judged(largest, tags, found, deep, shallow, given)


def _judged(
    largest: int, tags: list[int], found: list[int], deep: int, shallow: int, given: int | None
) -> Depth:
    seen = f"largest value {largest:,} in {len(found)} images"
    tag = max(tags, default=0)
    if given is not None:
        note = f"{given} bits of 16, as set; {seen}"
        if largest >= 1 << given:
            note += f", above {(1 << given) - 1:,}: what is brighter is cut"
        return Depth(given, note, _mixed(given, [], found, deep, shallow))
    if not largest:
        return Depth(16, f"16 bits: the {len(found)} images looked at are black")
    if tag >= largest:
        bits, how = _bits(tag), f"the files' tag says {tag:,}, {seen}"
    else:
        bits, how = _bits(largest), seen
    note = f"{bits} bits" + (" of 16" if bits < 16 else "") + f": {how}"
    return Depth(bits, note, _mixed(bits, tags, found, deep, shallow))


def _mixed(bits: int, tags: Iterable[int], found: list[int], deep: int, shallow: int) -> str:
    """Say why images seem to be of several depths."""
    if shallow:
        return f"{deep} images store more than 8 bits, {shallow} store 8"
    if len(kinds := sorted({_bits(tag) for tag in tags})) > 1:
        return f"the files' tags say {' and '.join(map(str, kinds))} bits"
    top = (1 << max(bits - _DARK_BITS, 0)) - 1
    dark = sum(value <= top for value in found)
    if top >= 255 and 0 < dark < len(found):
        return (f"{dark} of {len(found)} images have no value above {top:,}, which is nearly "
                f"black at {bits} bits")
    return ""


def _bits(largest: int) -> int:
    return next(bits for bits in DEPTHS if largest < 1 << bits)


def _largest(image: Path) -> int | None:
    """The largest value of an image; None where it cannot be read, or is of 8 bits after all."""
    try:
        pixels = read_image(image)
    except DataError:
        return None
    return int(pixels.max()) if pixels.dtype == np.uint16 else None
