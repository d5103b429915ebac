"""Pixel masks: every connected component becomes a box. OpenCV finds the components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.images import IMAGE_SUFFIXES, image_fault, read_image
from aoi_tl.errors import DataError
from aoi_tl.formats.document import read_text
from aoi_tl.formats.record import Annotation, Findings, ImageFinder, Record, folder_split

#: Names of folders that hold masks.
MASK_FOLDERS = ("mask", "masks", "ground_truth", "segmentationclass", "gt")
_TAILS = ("_mask", "-mask", "_gt", "-gt", "_label", "_seg", "_mask0")


def read(
    source: Path,
    finder: ImageFinder,
    findings: Findings,
    gap: int = 4,
    area: int = 8,
    threshold: int = 127,
    values: Mapping[int, str] | None = None,
    label: str = "defect",
) -> Iterator[Record]:
    """Read all mask images below a folder; images without a mask are negatives.

    A mask belongs to the image of the same name (``_mask``, ``_gt`` and the like at its end are
    overlooked). Its class is the folder it lies in, or ``label`` where it lies in ``source``. Where
    a ``labelmap.txt`` (CVAT's, VOC's) lies in ``source`` or beside it, the colours are the classes.

    Parameters
    ----------
    source : Path
        The folder of masks, or one with such folders in it (``masks``, ``train/masks``, ...); the
        folders below are classes (within ``train``, ``val``, ``test`` or not).
    finder : ImageFinder
        Of the images.
    findings : Findings
    gap : int
        Pieces with at most this many clear pixels between them are one defect.
    area : int
        Pieces of fewer marked pixels are no defect.
    threshold : int
        Pixels above it are marked; in a mask of nothing but 0 and 1, those of 1.
    values : mapping of int to str, optional
        Pixel values and the classes they mean, for masks that hold several; ``threshold`` and the
        folders then do not matter. Of a palette image, the places in its palette.
    label : str
        The class of masks without a folder of their own.
    """
    files = sorted(
        path
        for folder in mask_folders(source)
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    if not files:
        raise DataError(
            f"{source}: expected mask images in the folder, got none; name their folder"
        )
    colours = _label_map(source) if values is None else {}
    for file in files:
        folders = tuple(folder for folder in file.relative_to(source).parts[:-1]
                        if folder.casefold() not in MASK_FOLDERS)
        split = folder_split(folders)
        classes = [folder for folder in folders if folder_split([folder]) is None]
        image = _image_of(file, folders, split, finder)
        if image is None:
            findings.note("masks without an image", file)
            continue
        try:
            mask, annotations = _annotations(
                file, gap, area, threshold, values, colours, classes[-1] if classes else label
            )
        except DataError as error:
            findings.unusable(error)
            yield Record(image, (), str(file), split, file=file, faulty=True)
            continue
        yield Record(image, tuple(annotations), str(file), split, mask.shape[:2], file=file)
    for image in finder.unused():
        findings.note("images without a mask treated as free of defects", image)
        yield Record(image, (), str(image))


def mask_folders(source: Path) -> list[Path]:
    """Return the folders of masks in a folder or its splits; the folder itself where none is.

    Parameters
    ----------
    source : Path
        A folder.
    """
    if source.name.casefold() in MASK_FOLDERS:
        return [source]
    below = sorted([*source.glob("*"), *source.glob("*/*")])
    found = [one for one in below if one.name.casefold() in MASK_FOLDERS and one.is_dir()]
    return found or [source]


def _annotations(
    file: Path, gap: int, area: int, threshold: int, values: Mapping[int, str] | None,
    colours: Mapping[tuple[int, ...], str], name: str,
) -> tuple[NDArray[Any], list[Annotation]]:
    """Read one mask; ``name`` is the class of its marked pixels where it has only one."""
    fault = image_fault(file)
    if fault is not None:
        raise DataError(f"{file}: expected a complete mask, got {fault}; replace the file")
    mask, palette = read_image(file), _palette(file)
    meant = values
    if values is None and colours:
        mask, meant = _by_colour(mask, colours), dict(enumerate(colours.values(), start=1))
    elif values is not None and palette is not None:
        mask = _by_colour(mask, palette)
    else:
        kinds = _kinds(mask, palette) if palette is not None and values is None else []
        if len(kinds) > 1:
            raise DataError(
                f"{file}: expected a mask of one class, got the palette's values {kinds[:5]}; say "
                "which class each is, such as --values '1: scratch, 2: dent'"
            )
        mask = mask.max(axis=2) if mask.ndim == 3 else mask
    if meant is None:
        highest = int(mask.max())
        if 1 < highest <= threshold:
            raise DataError(
                f"{file}: expected marked pixels above {threshold}, got values up to {highest}; "
                "set the threshold lower, or say which value is which class, such as --values "
                "'1: scratch, 2: dent'"
            )
        marked = mask > (threshold if highest > 1 else 0)
        return mask, [Annotation(name, box) for box in pieces(marked, gap, area)]
    if unknown := sorted(set(np.unique(mask).tolist()) - {0, *meant}):
        raise DataError(
            f"{file}: expected pixel values {sorted(meant)}, got {unknown[:5]}; say which class "
            "they are"
        )
    return mask, [
        Annotation(class_name, box) for value, class_name in meant.items()
        for box in pieces(mask == value, gap, area)
    ]


def _palette(file: Path) -> dict[tuple[int, ...], int] | None:
    """The places of a PNG's colours in its palette; None where it has none, or one of greys."""
    with open(file, "rb") as opened:
        head = opened.read(64 * 1024)
    at = head.find(b"PLTE")
    if not head.startswith(b"\x89PNG") or len(head) < 26 or head[25] != 3 or at < 0:
        return None
    size = int.from_bytes(head[at - 4 : at], "big")
    values = np.frombuffer(head[at + 4 : at + 4 + min(size, 768) // 3 * 3], np.uint8).reshape(-1, 3)
    if (values == np.arange(len(values), dtype=np.uint8)[:, None]).all():
        return None
    places: dict[tuple[int, ...], int] = {}
    for place, colour in enumerate(values.tolist()):
        places.setdefault(tuple(colour), place)
    return places


def _by_colour(
    mask: NDArray[Any], places: Mapping[tuple[int, ...], int | str]
) -> NDArray[np.uint16]:
    """Give every pixel its colour's place: in the palette, else in order; others get 65535."""
    flat = mask if mask.ndim == 3 else np.repeat(mask[:, :, None], 3, axis=2)
    found = np.full(flat.shape[:2], 65535, np.uint16)
    found[(flat == 0).all(axis=2)] = 0
    for order, (colour, place) in enumerate(places.items(), start=1):
        found[(flat == np.array(colour)).all(axis=2)] = place if isinstance(place, int) else order
    return found


def _kinds(mask: NDArray[Any], palette: Mapping[tuple[int, ...], int]) -> list[int]:
    return [value for value in np.unique(_by_colour(mask, palette)).tolist() if value]


def _label_map(source: Path) -> dict[tuple[int, ...], str]:
    """The classes of a ``labelmap.txt`` by colour: lines of ``name:red,green,blue:...``."""
    for file in (source / "labelmap.txt", source.parent / "labelmap.txt"):
        if not file.is_file():
            continue
        found: dict[tuple[int, ...], str] = {}
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, rest = line.partition(":")
            colour = [int(word) for word in rest.partition(":")[0].split(",")
                      if word.strip().isdecimal() and len(word) < 5]
            if len(colour) != 3 or max(colour) > 255:
                raise DataError(
                    f"{file} line {number}: expected name:red,green,blue, got {line[:60]!r}; "
                    "correct the file"
                )
            if any(colour) and name.strip().casefold() != "background":
                found[tuple(colour)] = name.strip()
        return found
    return {}


def pieces(
    marked: NDArray[np.bool_], gap: int = 4, area: int = 8
) -> list[tuple[float, float, float, float]]:
    """Find the boxes around the pieces of a mask.

    Parameters
    ----------
    marked : bool array of shape (height, width)
    gap : int
        Pieces with at most this many clear pixels between them, in either direction, are one.
    area : int
        Pieces of fewer marked pixels are left out.

    Returns
    -------
    list of tuple
        Left, top, right, bottom edge in pixels.

    Examples
    --------
    >>> marked = np.zeros((9, 20), dtype=bool)
    >>> marked[2:4, 1:5] = marked[2:4, 9:13] = True
    >>> pieces(marked, gap=4), len(pieces(marked, gap=3))
    ([(1.0, 2.0, 13.0, 4.0)], 2)
    """
    grown: NDArray[Any] = marked.astype(np.uint8)
    if gap > 0:
        # Grown by gap/2 on each side, pieces that far apart touch.
        grown = cv2.dilate(grown, np.ones((gap + 1, gap + 1), np.uint8))
    count, labels = cv2.connectedComponents(grown, connectivity=8)
    rows, columns = np.nonzero(marked)
    members = labels[rows, columns]
    boxes = []
    for piece in range(1, count):
        ys, xs = rows[members == piece], columns[members == piece]
        if len(ys) >= max(area, 1):
            boxes.append(
                (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
            )
    return boxes


def _image_of(
    mask: Path, folders: tuple[str, ...], split: str | None, finder: ImageFinder
) -> Path | None:
    stems = [mask.stem]
    stems += [mask.stem[: -len(tail)] for tail in _TAILS if mask.stem.lower().endswith(tail)]
    # MVTec and its like repeat names in every class, so the folders count first.
    names = [
        f"{'/'.join(folders[start:])}/{stem}" for start in range(len(folders)) for stem in stems
    ]
    return finder.find(*names, *stems, split=split)
