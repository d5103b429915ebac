"""Recognising the format of a folder or file of annotations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from aoi_tl.data.images import IMAGE_SUFFIXES
from aoi_tl.errors import DataError
from aoi_tl.formats import deeppcb, masks
from aoi_tl.formats.document import read_json, read_xml
from aoi_tl.formats.record import IMAGE_FOLDERS, folder_split

_LOOKED_AT = 5  # files of a kind


def recognise(source: Path) -> str:
    """Detect the format of annotations.

    Parameters
    ----------
    source : Path
        An annotation file, or a folder of them.

    Returns
    -------
    str
        One of `aoi_tl.formats.FORMATS`.

    Raises
    ------
    DataError
        None fits, several do, or it is an Ultralytics dataset already.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.xml").write_text("<annotation></annotation>")
    ...     recognise(Path(folder))
    'voc'
    """
    found = list(dict.fromkeys(_formats(source)))
    if not found and source.is_dir():
        for file in sorted(source.glob("*.yaml")):
            raise DataError(
                f"{source}: expected annotations of another tool, got {file.name}, a YAML "
                "file; if it describes an Ultralytics dataset, use it without an import"
            )
        found = list(_formats_of_images(source))
    if len(found) != 1:
        raise DataError(
            f"{source}: expected annotations of one format, got {' and '.join(found) or 'none'}; "
            "name the format, such as: aoi-tl import voc SOURCE --out NEW"
        )
    return found[0]


def _formats(source: Path) -> Iterator[str]:
    for file in _first(source, ".xml"):
        tag = _quietly(lambda: read_xml(file).tag)  # noqa: B023 - called at once
        yield from {"annotation": ["voc"], "annotations": ["cvat"]}.get(str(tag), [])
    for file in _first(source, ".json"):
        content = _quietly(lambda: read_json(file))  # noqa: B023 - called at once
        keys = set(content) if isinstance(content, dict) else set()
        if {"images", "annotations", "categories"} <= keys:
            yield "coco"
        elif "shapes" in keys:
            yield "labelme"
    if list(_first(source, ".csv", ".tsv")):
        yield "csv"
    if deeppcb.label_files(source):
        yield "deeppcb"
    elif source.is_dir() and any(
        next(source.rglob(name), None) for name in ("*.names", "classes.txt", "_darknet.labels")
    ):
        yield "yolo"


def _formats_of_images(source: Path) -> Iterator[str]:
    """Masks, or a folder for each class, where there is nothing but images."""
    if any(folder.name.casefold() in masks.MASK_FOLDERS for folder in masks.mask_folders(source)):
        yield "masks"
        return
    around = {file.parent.relative_to(source).parts for file in source.rglob("*")
              if file.suffix.lower() in IMAGE_SUFFIXES}
    classes = {[*parts, ""][1 if folder_split(parts[:1]) else 0] for parts in around if parts}
    if classes and not classes & {"", *IMAGE_FOLDERS}:
        yield "folders"


def _first(source: Path, *suffixes: str) -> Iterator[Path]:
    files = [source] if source.is_file() else sorted(source.rglob("*"))
    return islice((file for file in files if file.suffix.lower() in suffixes), _LOOKED_AT)


def _quietly(read: object) -> object:
    try:
        return read()  # type: ignore[operator]
    except DataError:  # the reader reports it, once it is known which
        return None
