"""Image sets read from files: a folder per class, or a CSV table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aoi_tl.classification.image_set import ImageSet
from aoi_tl.errors import DataError
from aoi_tl.files.untrusted import read_regular_file

_MAX_BYTES = 256 * 1024 * 1024  # a table of a million images has less
SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test",
}


def read_image_folders(root: str | Path) -> ImageSet:
    """Read the form with a folder per class.

    ``root/train/<class>/``, ``root/test/<class>/`` and, where there is one, ``root/val/<class>/``;
    without split folders all of it is for training. A class may span two levels, as in
    ``NCM811/100 cycles``: its name is then both, joined by a space.

    Parameters
    ----------
    root : str or Path
        The folder.

    Returns
    -------
    ImageSet
        Classes in the order of their names; every image is its own group.

    Raises
    ------
    DataError
        When there is no such folder, no class in it, or a class folder without images.
    """
    root = Path(root).absolute()
    if not root.is_dir():
        raise DataError(
            f"expected a folder with a folder per class at {root}, got "
            f"{'a file' if root.exists() else 'nothing there'}; correct the path"
        )
    tops = {
        child: SPLIT_NAMES[child.name.lower()]
        for child in sorted(root.iterdir())
        if child.is_dir() and child.name.lower() in SPLIT_NAMES
    } or {root: "train"}
    rows: list[tuple[Path, str, str]] = []
    for top, split in tops.items():
        for folder in _class_folders(top):
            name = " ".join(folder.relative_to(top).parts)
            found = [
                file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES
            ]
            if not found:
                raise DataError(
                    f"expected images of class {name!r} in {folder}, got an empty folder; add "
                    "images or delete the folder"
                )
            rows += [(file, name, split) for file in found]
    if not rows:
        raise DataError(f"expected a folder per class in {root}, got none; see datasets/ for forms")
    return _image_set(root.name, rows, [str(image) for image, _, _ in rows])


def _class_folders(top: Path) -> list[Path]:
    """The folders that hold no further folder: one class each."""
    found = []
    for child in sorted(top.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            found += _class_folders(child) or [child]
    return found


def read_image_csv(
    path: str | Path,
    image: str = "image",
    classes: Sequence[str] = ("class",),
    split: str = "split",
    group: str | None = None,
    pattern: str = "{}",
) -> ImageSet:
    """Read the form with a row per image.

    Parameters
    ----------
    path : str or Path
        The CSV file, with a header.
    image : str
        The column of the image's name.
    classes : sequence of str
        The columns that make the class, such as ``composition`` and ``state``; joined by a space.
    split : str
        The column of the split; where the file has none, all images are for training.
    group : str, optional
        The column that says what was photographed.
    pattern : str
        How a name becomes a path relative to the CSV file, as ``images/{}.jpg``.

    Returns
    -------
    ImageSet
        Classes in the order of their names.

    Raises
    ------
    DataError
        When a column or an image is missing, a split is unknown, or a group is in two splits.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise DataError(f"expected a CSV table at {path}, got nothing there; correct the path")
    try:
        text = read_regular_file(path, _MAX_BYTES).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
        header = list(reader.fieldnames or [])
        table = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"expected a CSV table at {path}, got {error}; correct the file") from error
    for column in (image, *classes, *([group] if group else [])):
        if column not in header:
            raise DataError(
                f"expected a column {column!r} in {path}, got {', '.join(header) or 'no header'}; "
                "name the column in the experiment file"
            )
    rows, groups = [], []
    for line, row in enumerate(table, start=2):
        file_ = path.parent / pattern.replace("{}", row[image])
        if not _is_file(file_):
            raise DataError(
                f"{path}:{line}: expected an image at {file_}, got none; correct the row"
            )
        word = row[split].strip().lower() if split in header else "train"
        if word not in SPLIT_NAMES:
            raise DataError(
                f"{path}:{line}: expected train, val or test as the split, got {word!r}; correct it"
            )
        name = " ".join(row[column].strip() for column in classes)
        if not name:
            raise DataError(f"{path}:{line}: expected a class, got nothing; fill in the row")
        rows.append((file_, name, SPLIT_NAMES[word]))
        groups.append(row[group] if group else str(file_))
    if not rows:
        raise DataError(f"expected a row per image in {path}, got none; fill the table")
    return _image_set(path.parent.name if path.stem in {"index", "labels"} else path.stem,
                      rows, groups)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long
        return False


def _image_set(
    name: str, rows: Sequence[tuple[Path, str, str]], groups: Sequence[str]
) -> ImageSet:
    classes = tuple(sorted({label for _, label, _ in rows}))
    place = {label: index for index, label in enumerate(classes)}
    return ImageSet(
        name, classes,
        tuple(image for image, _, _ in rows),
        np.array([place[label] for _, label, _ in rows], dtype=np.int64),
        tuple(split for _, _, split in rows),
        tuple(groups),
    )
