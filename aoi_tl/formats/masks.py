"""Pixel masks: every connected piece becomes a box. OpenCV finds the pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.images import IMAGE_SUFFIXES, image_fault, read_image
from aoi_tl.errors import DataError
from aoi_tl.formats.record import Findings, ImageFinder, Mark, Record, split_of

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
    overlooked). Its class is the folder it lies in, or ``label`` where it lies in ``source``.

    Parameters
    ----------
    source : Path
        The folder of masks; subfolders are classes (within ``train``, ``val``, ``test`` or not).
    finder : ImageFinder
        Of the images.
    findings : Findings
    gap : int
        Pieces with at most this many clear pixels between them are one defect.
    area : int
        Pieces of fewer marked pixels are no defect.
    threshold : int
        Pixels above it are marked.
    values : mapping of int to str, optional
        Pixel values and the classes they mean, for masks that hold several; ``threshold`` and the
        folders then do not matter.
    label : str
        The class of masks without a folder of their own.
    """
    files = sorted(
        path
        for path in source.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    if not files:
        raise DataError(
            f"{source}: expected mask images in the folder, got none; name their folder"
        )
    for file in files:
        folders = file.relative_to(source).parts[:-1]
        split = next((found for folder in folders if (found := split_of(folder))), None)
        classes = [folder for folder in folders if split_of(folder) is None]
        image = _image_of(file, folders, finder)
        if image is None:
            findings.note("masks without an image", file)
            continue
        fault = image_fault(file)
        if fault is not None:
            findings.fault(str(file), f"expected a whole mask, got {fault}; replace the file")
            continue
        mask = read_image(file)
        mask = mask.max(axis=2) if mask.ndim == 3 else mask
        marks: list[Mark] = []
        if values is None:
            highest = int(mask.max())
            if 0 < highest <= threshold:
                findings.fault(
                    str(file),
                    f"expected marked pixels above {threshold}, got values up to "
                    f"{highest}; set the threshold lower, or say which value is which class",
                )
                continue
            name = classes[-1] if classes else label
            marks += (Mark(name, box) for box in pieces(mask > threshold, gap, area))
        else:
            unknown = sorted(set(np.unique(mask).tolist()) - {0, *values})
            if unknown:
                findings.fault(
                    str(file),
                    f"expected pixel values {sorted(values)}, got {unknown[:5]}; say "
                    "which class they are",
                )
                continue
            for value, name in values.items():
                marks += (Mark(name, box) for box in pieces(mask == value, gap, area))
        yield Record(image, tuple(marks), str(file), split, mask.shape[:2])
    for image in finder.unused():
        findings.note("images without a mask taken as free of defects", image)
        folders = image.relative_to(finder.folder).parts[:-1]
        yield Record(image, (), str(image), next((s for f in folders if (s := split_of(f))), None))


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


def _image_of(mask: Path, folders: tuple[str, ...], finder: ImageFinder) -> Path | None:
    stems = [mask.stem]
    stems += [mask.stem[: -len(tail)] for tail in _TAILS if mask.stem.lower().endswith(tail)]
    # MVTec and its like repeat names in every class, so the folders count first.
    names = [
        f"{'/'.join(folders[start:])}/{stem}" for start in range(len(folders)) for stem in stems
    ]
    return finder.find(*names, *stems)
