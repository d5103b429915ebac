"""Headers of image files: how many bits a channel they store, and how many of them are used."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from aoi_tl.files.untrusted import open_binary

#: Bytes from a file's beginning that are enough for `stored_bits`, TIFF aside.
HEADER_BYTES = 512

_PNG, _JPEG, _TIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", (b"II*\0", b"MM\0*")
_PNM = re.compile(rb"P[2356](?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+(\d+)\s")
_LOOKED_AT = 1 << 16  # bytes of a PNG that are looked at: its tags come before its pixels
_BITS, _LARGEST, _SHORT, _LONG = 258, 281, 3, 4  # tags and types of TIFF
_MOST_TAGS, _MOST_BITS = 512, 255


def stored_bits(start: bytes, path: str | os.PathLike[str]) -> int:
    """Say how many bits a channel an image file stores, by its header alone.

    Parameters
    ----------
    start : bytes
        The first ``HEADER_BYTES`` of the file, or all of a shorter one.
    path : path-like
        The file, which is looked into once more where it is a TIFF.

    Returns
    -------
    int
        8 to 255: 8 where the header says no more, and for formats that hold no more.

    Examples
    --------
    >>> stored_bits(b"P5 640 480 4095 ", Path("a.pgm"))
    12
    """
    if start.startswith(_PNG):
        return max(start[24], 8) if len(start) > 24 else 8
    if start.startswith(_JPEG):
        return 8
    if start.startswith(_TIFF):
        return min(max(_tiff_tags(Path(path)).get(_BITS, 8), 8), _MOST_BITS)
    if found := _PNM.match(start):
        return min(max(int(found[1]).bit_length(), 8), _MOST_BITS)
    for mark, place in ((b"ihdr", 14), (b"pixi", 9)):  # JPEG 2000 and AVIF
        at = start.find(mark) + place
        if at >= place and at < len(start) and start[4:8] in (b"jP  ", b"ftyp"):
            # JPEG 2000 counts from 0, and keeps a sign in the highest bit.
            return max((start[at] & 0x7F) + 1 if mark == b"ihdr" else start[at], 8)
    return 8


def largest_by_tag(path: Path) -> int | None:
    """Read which value an image's writer says that a channel can reach.

    Parameters
    ----------
    path : Path
        An image file.

    Returns
    -------
    int or None
        By TIFF's ``MaxSampleValue``, PNG's ``sBIT`` or PGM's largest grey; None where there is no
        such tag, or one that says no more than the 16 bits stored.
    """
    try:
        with open_binary(path) as file:
            start = file.read(_LOOKED_AT)
    except OSError:
        return None
    largest = 0
    if start.startswith(_TIFF):
        largest = _tiff_tags(path).get(_LARGEST, 0)
    elif start.startswith(_PNG):
        largest = next(((1 << data[0]) - 1 for kind, data in _png_chunks(start)
                        if kind == b"sBIT" and data), 0)
    elif found := _PNM.match(start):
        largest = int(found[1])
    return largest if 255 < largest < 65535 else None


def _png_chunks(start: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks before the pixels, as far as they were read."""
    at = len(_PNG)
    while at + 8 <= len(start):
        length, kind = int.from_bytes(start[at : at + 4], "big"), start[at + 4 : at + 8]
        if kind == b"IDAT":
            return
        yield kind, start[at + 8 : at + 8 + length]
        at += length + 12


def _tiff_tags(path: Path) -> dict[int, int]:
    """The first number of each tag of short or long numbers in a TIFF's first directory."""
    tags: dict[int, int] = {}
    try:
        with open_binary(path) as file:
            start = file.read(8)
            order = "<" if start.startswith(b"II") else ">"
            file.seek(struct.unpack(f"{order}I", start[4:])[0])
            [number] = struct.unpack(f"{order}H", file.read(2))
            entries = file.read(12 * min(number, _MOST_TAGS))
            for at in range(0, len(entries) - 11, 12):
                tag, kind, count, value = struct.unpack_from(f"{order}HHII", entries, at)
                short = kind == _SHORT
                if tag not in (_BITS, _LARGEST) or kind not in (_SHORT, _LONG) or not count:
                    continue
                if count * (2 if short else 4) > 4:  # the numbers lie elsewhere
                    file.seek(value)
                    held = file.read(4)
                else:
                    held = entries[at + 8 : at + 12]
                tags[tag] = struct.unpack_from(f"{order}{'H' if short else 'I'}", held)[0]
    except (OSError, struct.error, ValueError, OverflowError):
        return tags
    return tags
