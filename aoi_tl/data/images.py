"""Image files: pixels, size, integrity and content hash."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.headers import HEADER_BYTES, stored_bits
from aoi_tl.errors import DataError
from aoi_tl.files.remote import is_remote
from aoi_tl.files.untrusted import open_binary, read_regular_file

# What Ultralytics picks up from a folder, less what OpenCV cannot read.
ULTRALYTICS_SUFFIXES = frozenset(
    {".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
)
# What OpenCV reads besides; such images are handed to Ultralytics as PNG.
OPENCV_SUFFIXES = frozenset({".jpe", ".pbm", ".pgm", ".pnm", ".ppm", ".ras", ".sr"})
IMAGE_SUFFIXES = ULTRALYTICS_SUFFIXES | OPENCV_SUFFIXES
# What may store more than 8 bits a channel.
DEEP_SUFFIXES = frozenset({".avif", ".jp2", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"})

MAX_IMAGE_BYTES = 1 << 30
_LARGE, _LARGE_FILE = 1 << 24, 1 << 20  # pixels, bytes
_STRIP = 256  # rows whose channels are turned round at a time

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xae\x42\x60\x82"
_WRITTEN_DEEP = frozenset({".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"})
_EXIF_ORIENTATION = 274
_NO_IMAGE = "no image, or only part of one"


def read_image(
    path: str | os.PathLike[str], depth: int = 16
) -> NDArray[np.uint8 | np.uint16]:
    """Read the pixels of an image, upright, without its alpha.

    Parameters
    ----------
    path : path-like
        An image in a format that OpenCV reads; any Unicode path.
    depth : int
        How many of 16 stored bits are used, from the lowest on.

    Returns
    -------
    uint8 or uint16 array of shape (height, width) or (height, width, 3)
        Grey where the file is grey, else RGB. 16 bits where the file uses all of them; what uses
        fewer is brought to 8.

    Raises
    ------
    DataError
        The file is missing, truncated, no image, or of another bit depth.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "fläche.png")
    ...     write_image(file, np.full((4, 6), 7, dtype=np.uint16))
    ...     pixels = read_image(file)
    >>> pixels.shape, pixels.dtype, int(pixels.max())
    ((4, 6), dtype('uint16'), 7)
    """
    # These flags turn the image upright by its EXIF tag, as Ultralytics' reading does.
    pixels = _decode(Path(path), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = np.ascontiguousarray(pixels[..., :3])
    if pixels.ndim == 3 and pixels.shape[2] in (1, 2):
        pixels = pixels[..., 0]
    if pixels.ndim == 3:
        for top in range(0, len(pixels), _STRIP):  # a whole copy would double the memory
            strip = pixels[top : top + _STRIP]
            strip[:] = cv2.cvtColor(strip, cv2.COLOR_BGR2RGB)
    return pixels if depth == 16 else to_8_bits(pixels, depth)


def read_stored(
    path: str | os.PathLike[str], depth: int = 16
) -> NDArray[np.uint8 | np.uint16]:
    """Read an image with all its channels in OpenCV's order, upright, for editing.

    Parameters
    ----------
    path : path-like
        An image in a format that OpenCV reads; any Unicode path.
    depth : int
        How many of 16 stored bits are used, from the lowest on.

    Returns
    -------
    uint8 or uint16 array of shape (height, width), (height, width, 3) or (height, width, 4)
        Grey, BGR or BGRA; 16 bits or 8, as of `read_image`.

    Raises
    ------
    DataError
        The file is missing, truncated, no image, or of another bit depth.
    """
    pixels = _decode(Path(path), cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    # This flag, alone of all, leaves the EXIF orientation to the caller.
    pixels = np.ascontiguousarray(_upright(pixels, _orientation(Path(path))))
    return pixels if depth == 16 else to_8_bits(pixels, depth)


def to_8_bits(pixels: NDArray[np.uint8 | np.uint16], depth: int = 16) -> NDArray[np.uint8]:
    """Keep the highest 8 of the bits that an image uses.

    So Ultralytics brings 16 bits to 8; and what was brought from 8 bits to more, by a factor or by
    shifting, becomes what it was.

    Parameters
    ----------
    pixels : uint8 or uint16 array
        8 bits stay as they are.
    depth : int
        How many of 16 stored bits are used, from the lowest on: 8 to 16. Values that need more are
        cut.

    Returns
    -------
    uint8 array of the same shape

    Examples
    --------
    >>> to_8_bits(np.array([0, 16, 2048, 4095, 60000], dtype=np.uint16), 12).tolist()
    [0, 1, 128, 255, 255]
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    highest = pixels >> (depth - 8)
    return (highest if depth == 16 else np.minimum(highest, 255)).astype(np.uint8)


def write_image(path: str | os.PathLike[str], pixels: NDArray[Any]) -> None:
    """Write grey, BGR or BGRA pixels in the format that the path's suffix names.

    Parameters
    ----------
    path : path-like
        Where to; any Unicode path. PNG and TIFF keep 16 bits, PNG keeps alpha.
    pixels : uint8 or uint16 array of shape (height, width[, 3 or 4])
        OpenCV's channel order.

    Raises
    ------
    DataError
        OpenCV cannot write such pixels in that format, or the place cannot be written to.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 1] if suffix == ".png" else []
    # OpenCV itself would quietly squeeze deeper pixels into 8 bits.
    fits = pixels.dtype == np.uint8 or (pixels.dtype == np.uint16 and suffix in _WRITTEN_DEEP)
    with _silent_opencv():
        try:
            done, encoded = cv2.imencode(suffix, pixels, settings) if fits else (False, None)
        except cv2.error:
            done = False
    if not done or encoded is None:
        raise DataError(
            f"{path}: expected a format that holds {pixels.dtype} pixels of shape {pixels.shape}, "
            f"got {suffix!r}; write a .png"
        )
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise unwritable_error(path, error) from error


def unwritable_error(path: Path, error: OSError) -> DataError:
    """The error of a full disk, or of a folder without write permission.

    Parameters
    ----------
    path : Path
        What was to be written.
    error : OSError
        What came instead.

    Returns
    -------
    DataError
        To be raised.
    """
    reason = error.strerror or str(error)
    return DataError(
        f"{path}: expected to write there, got {reason!r}; make room, or name a folder you may "
        "write to"
    )


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read an image's size, as it stands upright, from its header.

    Parameters
    ----------
    path : path-like
        An image file.

    Returns
    -------
    tuple of int
        Height and width in pixels.

    Raises
    ------
    DataError
        The file is missing or no image.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_image(Path(folder, "a.png"), np.zeros((4, 6), dtype=np.uint8))
    ...     image_size(Path(folder, "a.png"))
    (4, 6)
    """
    from PIL import Image

    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a large image is not yet a decompression bomb
            with open_binary(path) as file, Image.open(file) as image:
                width, height = image.size
                turned = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
                format_ = image.format
    except Exception:  # Pillow raises many kinds on broken headers, and misses formats of OpenCV's
        format_, turned = None, True
    if turned and format_ != "JPEG":  # Pillow's versions differ on which formats it turns itself
        height, width = read_image(path).shape[:2]
        return height, width
    return (width, height) if turned else (height, width)


def content_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes.

    Parameters
    ----------
    path : path-like
        Any file.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    DataError
        The file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a").write_bytes(b"")
    ...     content_hash(Path(folder, "a"))[:8]
    'e3b0c442'
    """
    try:
        if is_remote(path):  # in one request, not in many small ones
            return hashlib.sha256(read_regular_file(path, MAX_IMAGE_BYTES)).hexdigest()
        with open_binary(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        raise DataError(_unreadable(Path(path), error.strerror or "no readable file")) from error


class Looked(NamedTuple):
    """What a look at an image file shows without decoding it.

    Attributes
    ----------
    fault : str or None
        "no such file", "empty file", "truncated", "no image, or only part of one"; None for a
        whole image.
    bits : int
        That its file stores a channel: 8, or more.
    """

    fault: str | None
    bits: int = 8


def look_at_image(path: str | os.PathLike[str]) -> Looked:
    """Look at an image file, decoding it only where its first or last bytes are odd.

    Parameters
    ----------
    path : path-like
        An image file.

    Returns
    -------
    Looked
    """
    try:
        with open_binary(path) as file:
            start = file.read(HEADER_BYTES)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 12))
            end = file.read()
    except FileNotFoundError:
        return Looked("no such file")
    except OSError as error:
        return Looked(error.strerror or "no readable file")
    bits = stored_bits(start, path)
    if _looks_whole(start, end, size) or _tiff_looks_whole(start, size, Path(path)):
        return Looked(None, bits)
    try:
        return Looked(_bytes_fault(read_regular_file(path, MAX_IMAGE_BYTES)), bits)
    except OSError as error:
        return Looked(error.strerror or "no readable file")


def bits_of(path: str | os.PathLike[str]) -> int:
    """Say how many bits a channel an image file stores, by its header: 8, or more.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with open_binary(path) as file:
        return stored_bits(file.read(HEADER_BYTES), path)


def image_fault(path: str | os.PathLike[str]) -> str | None:
    """Say what is wrong with an image file; None for a whole one.

    Parameters
    ----------
    path : path-like
        An image file.

    Returns
    -------
    str or None
        As `Looked.fault`.
    """
    return look_at_image(path).fault


def has_jpeg_end(path: str | os.PathLike[str]) -> bool:
    """Whether a file is not a JPEG, or a JPEG that ends with the end marker FFD9.

    Ultralytics rewrites all other JPEGs where they lie.

    Parameters
    ----------
    path : path-like
        An image file.
    """
    with open_binary(path) as file:
        if not file.read(3).startswith(_JPEG_START[:2]):
            return True
        file.seek(-2, os.SEEK_END)
        return file.read() == _JPEG_END


def _decode(path: Path, flags: int) -> NDArray[Any]:
    content = _content(path)
    # OpenCV fills what a truncated file lacks with grey and says nothing.
    whole = _looks_whole(content[:16], content[-12:], len(content))
    fault = None if whole else _bytes_fault(content)
    into = None if fault else _place_for_large(content)
    pixels = None
    if into is not None and os.path.isfile(path):
        del content
        pixels = _imread(path, into, flags)
        content = b"" if pixels is not None else _content(path)
    if pixels is None and not fault:
        pixels = _imdecode(content, flags)
    if pixels is None:
        raise DataError(_unreadable(path, fault or _NO_IMAGE))
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path}: expected 8 or 16 bits a channel, got {pixels.dtype}; convert the image"
        )
    return pixels


def _content(path: Path) -> bytes:
    try:
        return read_regular_file(path, MAX_IMAGE_BYTES)
    except OSError as error:
        raise DataError(_unreadable(path, error.strerror or "no readable file")) from error


def _imdecode(content: bytes, flags: int) -> NDArray[Any] | None:
    with _silent_opencv():
        try:
            return cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
        except cv2.error:
            return None


def _place_for_large(content: bytes) -> NDArray[Any] | None:
    """An array for the pixels of a large image; None for a small or an unusual one.

    OpenCV returns a copy of what it decodes, twice the memory, unless given an output array.
    """
    if len(content) < _LARGE_FILE:  # to look is a tenth of the time of reading a small one
        return None
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                (width, height), mode = image.size, image.mode
                is_deep = "16" in str(image.tile)  # Pillow calls 16 bits a colour RGB too
        if width * height < _LARGE or mode not in ("L", "I;16", "RGB"):
            return None
        shape = (height, width, 3) if mode == "RGB" else (height, width)
        return np.empty(shape, np.uint16 if is_deep else np.uint8)
    # Pillow raises many kinds on broken headers, and a header may ask for more than there is.
    except Exception:
        return None


def _imread(path: Path, into: NDArray[Any], flags: int) -> NDArray[Any] | None:
    """Decode into an array; None if it does not fit, such as a rotated image."""
    with _silent_opencv():
        try:
            return cv2.imread(str(path), into, flags)
        except cv2.error:
            return None


@contextmanager
def _silent_opencv() -> Iterator[None]:
    """Keep OpenCV from printing what an error is about to report."""
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def _looks_whole(start: bytes, end: bytes, size: int) -> bool:
    """Judge a file by its first bytes, its last 12 and its size; when in doubt, say no."""
    if start.startswith(_JPEG_START):
        return end.endswith(_JPEG_END)
    if start.startswith(_PNG_START):
        return end.endswith(_PNG_END)
    if start.startswith(b"BM"):
        return 54 <= int.from_bytes(start[2:6], "little") <= size
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return int.from_bytes(start[4:8], "little") + 8 <= size
    return False


def _tiff_looks_whole(start: bytes, size: int, path: Path) -> bool:
    """Whether all strips or tiles that a TIFF's header names lie within the file."""
    from PIL import Image

    if not start.startswith((b"II*\0", b"MM\0*")):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_binary(path) as file, Image.open(file) as image:
                tags: Any = image.getexif()
                offsets, lengths = tags.get(273, tags.get(324)), tags.get(279, tags.get(325))
    except Exception:  # Pillow raises many kinds on broken headers
        return False
    starts = np.atleast_1d(np.asarray(offsets if offsets is not None else [], dtype=np.int64))
    counts = np.atleast_1d(np.asarray(lengths if lengths is not None else [], dtype=np.int64))
    fits = len(starts) > 0 and len(starts) == len(counts) and (starts + counts <= size).all()
    return bool(fits)


def _bytes_fault(content: bytes) -> str | None:
    from PIL import Image

    if not content:
        return "empty file"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                image.load()
    except Exception as error:  # Pillow raises many kinds on broken files
        if "truncated" in str(error).lower() or content.startswith((_JPEG_START, _PNG_START)):
            return "truncated"
    # Pillow forgives some files that OpenCV does not, and does not know all that OpenCV reads.
    return _NO_IMAGE if _imdecode(content, cv2.IMREAD_UNCHANGED) is None else None


def _unreadable(path: Path, fault: str) -> str:
    return f"{path}: expected a whole image, got {fault}; replace the file or take it off the list"


def _orientation(path: Path) -> int:
    from PIL import Image

    try:
        with open_binary(path) as file, Image.open(file) as image:
            # OpenCV turns TIFFs whatever the flag.
            return 1 if image.format == "TIFF" else int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # a format that Pillow does not know has no orientation that OpenCV would use
        return 1


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    # https://exiftool.org/TagNames/EXIF.html, tag 0x0112
    if orientation in (2, 3, 4):
        return {2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}[orientation]
    if orientation in (5, 6, 7, 8):
        turned = pixels.swapaxes(0, 1)
        return {
            5: turned,
            6: turned[:, ::-1],
            7: turned[::-1, ::-1],
            8: turned[::-1],
        }[orientation]
    return pixels
