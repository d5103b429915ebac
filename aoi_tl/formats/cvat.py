"""CVAT for images 1.1: one XML file for all images. We know no library that reads it as boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aoi_tl.errors import DataError
from aoi_tl.formats.document import number, read_xml
from aoi_tl.formats.record import Annotation, Findings, ImageFinder, Record, bounding, split_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_CURE = "correct the file"
_NO_AREA = ("points", "polyline", "tag", "skeleton", "cuboid")


def read(source: Path, finder: ImageFinder, findings: Findings) -> Iterator[Record]:
    """Read a CVAT file, or all XML files below a folder.

    Boxes (turned ones too), polygons, ellipses and masks count as their box; the ``subset`` of an
    image is its split.
    """
    for file, root in findings.each(annotation_files(source), _root):
        for position, entry in enumerate(root.iter("image"), start=1):
            name = entry.get("name", "")
            split = split_of(entry.get("subset", ""))
            image = finder.find(name, file=file, split=split)
            if image is None:
                findings.note("annotated images not found", name or f"{file} image {position}")
                continue
            height, width = number(entry.get("height")), number(entry.get("width"))
            where = f"{file} image {name!r}"
            before = len(findings.faults)
            annotations = tuple(_annotations(entry, where, findings))
            yield Record(
                image,
                annotations,
                where,
                split,
                (int(height), int(width)) if height and width else None,
                file=file,
                faulty=len(findings.faults) > before,
            )


def annotation_files(source: Path) -> list[Path]:
    """Return the CVAT files of a source."""
    found = sorted(source.rglob("*.xml")) if source.is_dir() else [source]
    if not found:
        raise DataError(f"{source}: expected a CVAT .xml in the folder, got none; name the file")
    return found


def label_names(source: Path) -> list[str]:
    """Return the labels in the order of the task, those without instances included."""
    names: dict[str, None] = {}
    # Whatever cannot be used is told as the file is read for its shapes.
    for _, root in Findings(source).each(annotation_files(source), _root):
        for label in root.iterfind(".//labels/label/name"):
            if label.text and label.text.strip():
                names[label.text.strip()] = None
    return list(names)


def _root(file: Path) -> Element:
    root = read_xml(file)
    if root.tag != "annotations":
        raise DataError(f"{file}: expected <annotations>, got <{root.tag[:40]}>; {_CURE}")
    if root.find("track") is not None:
        raise DataError(
            f"{file}: expected CVAT for images, got tracks of a video; export the task as "
            "'CVAT for images 1.1'"
        )
    return root


def _annotations(image: Element, where: str, findings: Findings) -> Iterator[Annotation]:
    for position, shape in enumerate(image, start=1):
        place = f"{where} shape {position}"
        if shape.tag in _NO_AREA:
            findings.note("shapes left out: points, lines, tags and solids", place)
            continue
        reader = {"box": _box, "polygon": _polygon, "ellipse": _ellipse, "mask": _mask}.get(
            shape.tag
        )
        if reader is None:
            continue
        try:
            box = reader(shape)
        except (TypeError, ValueError):
            findings.fault(
                place,
                f"expected a {shape.tag} with numbers, got {str(dict(shape.attrib))[:80]}; {_CURE}",
            )
            continue
        yield Annotation(shape.get("label", ""), box)


def _values(shape: Element, *keys: str) -> list[float]:
    values = [number(shape.get(key)) for key in keys]
    numbers = [value for value in values if value is not None]
    if len(numbers) != len(keys):
        raise ValueError
    return numbers


def _box(shape: Element) -> tuple[float, float, float, float]:
    left, top, right, bottom = _values(shape, "xtl", "ytl", "xbr", "ybr")
    turn = math.radians(number(shape.get("rotation")) or 0.0)
    if not turn:
        return left, top, right, bottom
    # The upright box around the turned one.
    half_w, half_h = abs(right - left) / 2, abs(bottom - top) / 2
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    return _around(
        (left + right) / 2,
        (top + bottom) / 2,
        half_w * cos + half_h * sin,
        half_w * sin + half_h * cos,
    )


def _ellipse(shape: Element) -> tuple[float, float, float, float]:
    x, y, radius_x, radius_y = _values(shape, "cx", "cy", "rx", "ry")
    turn = math.radians(number(shape.get("rotation")) or 0.0)
    cos, sin = math.cos(turn), math.sin(turn)
    return _around(
        x, y, math.hypot(radius_x * cos, radius_y * sin), math.hypot(radius_x * sin, radius_y * cos)
    )


def _polygon(shape: Element) -> tuple[float, float, float, float]:
    points = [pair.split(",") for pair in (shape.get("points") or "").split(";") if pair.strip()]
    numbers = [(float(x), float(y)) for x, y in points]
    if len(numbers) < 3 or not all(math.isfinite(v) for pair in numbers for v in pair):
        raise ValueError
    return bounding(numbers)


def _mask(shape: Element) -> tuple[float, float, float, float]:
    left, top, width, height = _values(shape, "left", "top", "width", "height")
    return left, top, left + width, top + height


def _around(x: float, y: float, half_w: float, half_h: float) -> tuple[float, float, float, float]:
    return x - half_w, y - half_h, x + half_w, y + half_h
