"""Embedded images: scaled down, encoded as WebP, with their boxes as numbers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Box:
    """A rectangle over a picture.

    Attributes
    ----------
    left, top, width, height : float
        In percent of the picture.
    label : str
        Its class.
    kind : str
        How it is drawn: ``truth`` or ``found``.
    """

    left: float
    top: float
    width: float
    height: float
    label: str
    kind: str = "truth"


@dataclass(frozen=True)
class Picture:
    """An embedded image.

    Attributes
    ----------
    src : str
        A data URI.
    width, height : int
        Pixels of the embedded image.
    name : str
        Its file's name.
    boxes : tuple of Box
    """

    src: str
    width: int
    height: int
    name: str
    boxes: tuple[Box, ...] = ()

    @property
    def alt(self) -> str:
        """The text alternative of the picture."""
        if not self.boxes:
            return f"{self.name}, no box"
        labels = [box.label for box in self.boxes]
        counted = ", ".join(f"{labels.count(label)} {label}" for label in dict.fromkeys(labels))
        return f"{self.name}: {counted}"


def embed(
    file: Path, side: int, boxes: Sequence[Box] = (), name: str = "", quality: int = 60,
    depth: int = 16,
) -> Picture | None:
    """Scale an image down and embed it.

    Parameters
    ----------
    file : Path
        Any image format that datasets may use.
    side : int
        Pixels of the longer side, at most.
    boxes : sequence of Box
    name : str
        Its name; the file's name unless given.
    quality : int
        Of the WebP, 1..100.
    depth : int
        How many bits the image uses where its file stores 16.

    Returns
    -------
    Picture or None
        None where the file cannot be read.
    """
    from aoi_tl.data.images import read_image
    from aoi_tl.errors import DataError

    try:
        pixels = shrink(read_image(file, depth), side)
    except (DataError, OSError):
        return None
    encoded = base64.b64encode(as_webp(pixels, quality)).decode()
    return Picture(
        f"data:image/webp;base64,{encoded}", pixels.shape[1], pixels.shape[0], name or file.name,
        tuple(boxes),
    )


def shrink(pixels: NDArray[np.uint8 | np.uint16], side: int) -> NDArray[np.uint8]:
    """Give an 8-bit image no side of which is longer than ``side``.

    Parameters
    ----------
    pixels : uint8 or uint16 array of shape (height, width) or (height, width, 3)
    side : int

    Returns
    -------
    uint8 array
        Never enlarged.
    """
    import cv2

    from aoi_tl.data.images import to_8_bits

    scale = min(1.0, side / max(pixels.shape[:2]))
    if scale < 1:
        width, height = (max(1, round(n * scale)) for n in (pixels.shape[1], pixels.shape[0]))
        pixels = np.asarray(
            cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), dtype=pixels.dtype
        )
    return to_8_bits(pixels)


def as_webp(pixels: NDArray[np.uint8], quality: int = 60) -> bytes:
    """Encode grey or RGB pixels as WebP.

    Parameters
    ----------
    pixels : uint8 array of shape (height, width) or (height, width, 3)
    quality : int
        1..100.

    Returns
    -------
    bytes
    """
    import cv2

    if pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    _, data = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])
    return bytes(data.tobytes())
