"""The fine structure of an image, which exposure, light and machining marks do not affect."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.images import to_8_bits

_HIGH_PASS = 25  # pixels: what is wider, or a longer stripe, is light or machining, not identity


def decode(content: bytes, depth: int = 16) -> NDArray[np.float32] | None:
    """Decode an image file into grey pixels over 0 to 255; None where it cannot be read.

    The depth says how many bits the image uses where it stores 16. With all of them, its brightest
    pixels become 255: what is known of it is little.
    """
    try:
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
        grey = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error:
        return None
    if grey is None:
        return None
    if grey.dtype != np.uint8:
        if depth < 16:
            return to_8_bits(grey.astype(np.uint16, copy=False), depth).astype(np.float32)
        top = max(float(np.quantile(grey[::4, ::4], 0.999)), 1.0)
        return np.minimum(grey.astype(np.float32) * (255 / top), 255)
    return grey.astype(np.float32)


def halved(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale an image to half its size."""
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    return np.asarray(cv2.resize(pixels[:height, :width], (max(width // 2, 1), max(height // 2, 1)),
                                 interpolation=cv2.INTER_AREA))


def fine_structure(pixels: NDArray[Any], width: int = _HIGH_PASS) -> NDArray[np.float32]:
    """The fine structure in both directions, normalised; stripes and shading are removed."""
    fine = pixels - cv2.blur(pixels, (width, 1), borderType=cv2.BORDER_REFLECT)
    fine = fine - cv2.blur(fine, (1, width), borderType=cv2.BORDER_REFLECT)
    strength = cv2.blur(fine * fine, (width, width), borderType=cv2.BORDER_REFLECT)
    fine = fine / (np.sqrt(np.maximum(strength, 0)) + np.float32(1))  # one grey level is noise
    return np.asarray(cv2.GaussianBlur(fine, (0, 0), 1.2))


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Give rows mean 0 and length 1; rows of one value become zeros."""
    rows = rows - rows.mean(axis=-1, keepdims=True)
    length = np.sqrt((rows * rows).sum(axis=-1, keepdims=True))
    return np.where(length > 1e-6, rows / np.maximum(length, 1e-6), 0)


def turned(pixels: NDArray[Any], turn: int) -> NDArray[Any]:
    """Flip and rotate the last two axes: eight ways, the first of which changes nothing."""
    pixels = pixels.swapaxes(-1, -2) if turn & 4 else pixels
    pixels = pixels[..., ::-1, :] if turn & 2 else pixels
    return np.ascontiguousarray(pixels[..., ::-1] if turn & 1 else pixels)
