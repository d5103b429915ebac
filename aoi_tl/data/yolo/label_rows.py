"""YOLO label files: each row is a class with a box or a polygon."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aoi_tl.files.untrusted import read_regular_file

# Rounded labels reach a little over the edge; anything further out is a mistake.
EDGE_TOLERANCE = 1e-3
_ROUNDING = 1e-9
_MAX_BYTES = 16 * 1024 * 1024  # a quarter of a million boxes in one image
_MAX_FAULTS = 1000  # of one file; what has more is no label file, and the rest is not looked at


@dataclass(frozen=True)
class LabelFault:
    """One row that cannot be used: ``kind`` for counting, ``text`` for reading."""

    file: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.text}"


@dataclass(frozen=True, eq=False)
class LabelFile:
    """The rows of a label file.

    Parameters
    ----------
    classes : int64 array of shape (n,)
        Class ids.
    boxes : float64 array of shape (n, 4)
        x and y of the centre, width, height, as shares of the image.
    faults : tuple of LabelFault
        Rows that cannot be used.
    without_area : int
        Rows left out because their box has no width or no height.
    """

    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]
    faults: tuple[LabelFault, ...] = ()
    without_area: int = 0


def read_label_file(
    path: str | os.PathLike[str], n_classes: int, keypoint_columns: int = 0, first_id: int = 0
) -> LabelFile | None:
    """Read a YOLO label file.

    Parameters
    ----------
    path : path-like
        A text file with rows of ``class x y width height`` or ``class x1 y1 x2 y2 x3 y3 ...``.
    n_classes : int
        How many classes there are.
    keypoint_columns : int
        How many columns of keypoints follow each box in a pose dataset.
    first_id : {0, 1}
        The file's number of the first class, which is 0 in what is returned.

    Returns
    -------
    LabelFile or None
        None where there is no such file.

    Examples
    --------
    >>> read_label_file("nowhere.txt", 3) is None
    True
    """
    path = Path(path)
    try:
        content = read_regular_file(path, _MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        text = f"expected a readable label file, got {error.strerror}; correct the file"
        fault = LabelFault(path, 1, "unreadable", text)
        return LabelFile(np.zeros(0, np.int64), np.zeros((0, 4)), (fault,))
    return parse_labels(content, path, n_classes, keypoint_columns, first_id)


def parse_labels(
    content: bytes, path: Path, n_classes: int, keypoint_columns: int = 0, first_id: int = 0
) -> LabelFile:
    """Parse the bytes of a YOLO label file; ``path`` only names it in faults.

    Parameters
    ----------
    content : bytes
        UTF-8 text, with or without a byte-order mark.
    path : Path
        The file it came from.
    n_classes : int
        How many classes there are.
    keypoint_columns : int
        How many columns of keypoints follow each box in a pose dataset.
    first_id : {0, 1}
        The file's number of the first class, which is 0 in what is returned.

    Returns
    -------
    LabelFile
        Good rows as arrays, bad rows as faults.

    Examples
    --------
    >>> parse_labels(b"1 0.5 0.5 0.2 0.1", Path("a.txt"), 2).boxes.tolist()
    [[0.5, 0.5, 0.2, 0.1]]
    >>> parse_labels(b"0 .1 .1 .5 .1 .5 .7", Path("a.txt"), 2).boxes.round(6).tolist()
    [[0.3, 0.4, 0.4, 0.6]]
    >>> print(parse_labels(b"7 0.5 0.5 0.2 0.1", Path("a.txt"), 2).faults[0])
    a.txt line 1: expected a class id from 0 to 1, got 7; correct the id or add the class to names
    """
    classes: list[int] = []
    boxes: list[tuple[float, float, float, float]] = []
    faults: list[LabelFault] = []
    without_area = 0
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        row = _parse_row(words, n_classes, keypoint_columns, first_id)
        if isinstance(row[0], str):
            faults.append(LabelFault(path, number, *row))
            if len(faults) == _MAX_FAULTS:
                break
        elif row[1][2] <= 0 or row[1][3] <= 0:
            without_area += 1
        else:
            classes.append(row[0])
            boxes.append(row[1])
    return LabelFile(
        np.array(classes, dtype=np.int64),
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        tuple(faults),
        without_area,
    )


def format_labels(classes: NDArray[np.int64], boxes: NDArray[np.float64]) -> str:
    """Write rows of ``class x y width height`` that read back bit for bit.

    Parameters
    ----------
    classes : int64 array of shape (n,)
    boxes : float64 array of shape (n, 4)
        x and y of the centre, width, height, as shares of the image.

    Returns
    -------
    str
        The text of a label file; empty for n = 0.

    Examples
    --------
    >>> format_labels(np.array([2]), np.array([[0.5, 0.25, 0.1, 1.0]]))
    '2 0.5 0.25 0.1 1.0\\n'
    """
    return "".join(
        f"{label} {' '.join(map(repr, box))}\n"
        for label, box in zip(classes.tolist(), boxes.tolist(), strict=True)
    )


def _parse_row(
    words: list[bytes], n_classes: int, keypoint_columns: int, first_id: int
) -> tuple[str, str] | tuple[int, tuple[float, float, float, float]]:
    """Return (class, box), or (kind, text) of what is wrong."""
    try:
        numbers = [float(word) for word in words]
        if any(b"_" in word for word in words):  # float() takes 1_0 for 10
            raise ValueError
    except ValueError:
        return "not a number", (
            f"expected numbers, got {_shown(words)}; "
            "write a row as: class x_centre y_centre width height"
        )
    if not all(map(math.isfinite, numbers)):
        return "not finite", f"expected finite numbers, got {_shown(words)}; correct the row"
    columns = len(numbers)
    polygon = columns > 6 and columns % 2 == 1 and columns != 5 + keypoint_columns
    if not polygon and columns not in (5, 5 + keypoint_columns):
        return "columns", (
            "expected 5 columns (class x_centre y_centre width height) or a class and at least "
            f"3 points, got {columns} columns; correct the row"
        )
    if numbers[0] != int(numbers[0]) or not 0 <= numbers[0] - first_id < n_classes:
        shown = words[0].decode(errors="replace")
        return "class id", (
            f"expected a class id from {first_id} to {first_id + n_classes - 1}, got {shown}; "
            + ("correct the id, or number names from 0 if the labels are" if first_id else
               "correct the id or add the class to names")
        )
    if polygon:
        xs, ys = numbers[1::2], numbers[2::2]
        left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
        box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    else:
        box = (numbers[1], numbers[2], numbers[3], numbers[4])
        left, right = box[0] - box[2] / 2, box[0] + box[2] / 2
        top, bottom = box[1] - box[3] / 2, box[1] + box[3] / 2
    if box[2] < 0 or box[3] < 0:
        return "negative size", (
            f"expected a box of positive size, got {_shown(words)}; correct the row"
        )
    over = max(-left, -top, right - 1, bottom - 1)
    if over > EDGE_TOLERANCE:
        return "outside", (
            f"expected a box inside the image (shares of 0 to 1), got one {over:.3g} outside; "
            "divide pixels by the image's size or clip the box"
        )
    if over > _ROUNDING:
        left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
        box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return int(numbers[0]) - first_id, box


def _shown(words: list[bytes]) -> str:
    text = b" ".join(words).decode(errors="replace")
    return repr(text if len(text) <= 60 else text[:57] + "...")
