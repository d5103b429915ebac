"""LabelMe: one JSON file per image, with its shapes.

supervision's loader is not used: it rasterises every polygon, and needs the image beside the file
even where the file holds it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from reprlib import repr as short
from typing import Any

from aoi_tl.errors import DataError
from aoi_tl.formats.document import number, read_json
from aoi_tl.formats.record import Annotation, Findings, ImageFinder, Record, bounding, folder_split

_CURE = "correct the file"


def read(source: Path, finder: ImageFinder, findings: Findings, scratch: Path) -> Iterator[Record]:
    """Read a JSON file, or all JSON files below a folder.

    Rectangles, polygons, rotated boxes, circles and masks count as their box; points and lines have
    no area and are left out. An image that is only in the JSON is taken from there.

    Parameters
    ----------
    source : Path
        The file or folder.
    finder : ImageFinder
    findings : Findings
    scratch : Path
        A folder for the images that were embedded.
    """
    files = sorted(source.rglob("*.json")) if source.is_dir() else [source]
    if not files:
        raise DataError(
            f"{source}: expected LabelMe .json files in the folder, got none; name their folder"
        )
    for position, (file, content) in enumerate(findings.each(files, read_json)):
        shapes = content.get("shapes") if isinstance(content, dict) else None
        if not isinstance(shapes, list):
            findings.fault(str(file), f"expected a LabelMe file with shapes, got none; {_CURE}")
            continue
        named = content.get("imagePath")
        image = finder.find(
            *([named] if isinstance(named, str) else []),
            f"{file.parent.name}/{file.stem}",
            file.stem, file=file, split=folder_split(file.parts[:-1][-3:]),
        ) or _embedded(content, scratch / f"{position:06d}-{file.stem[:80]}")
        if image is None:
            findings.note("annotated images not found", file)
            continue
        height, width = number(content.get("imageHeight")), number(content.get("imageWidth"))
        before = len(findings.faults)
        annotations = tuple(_annotations(shapes, file, findings))
        yield Record(
            image,
            annotations,
            str(file),
            None,
            (int(height), int(width)) if height and width else None,
            file=file,
            faulty=len(findings.faults) > before,
        )


def _annotations(shapes: list[Any], file: Path, findings: Findings) -> Iterator[Annotation]:
    for position, shape in enumerate(shapes, start=1):
        where = f"{file} shape {position}"
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str | int):
            got = short(shape)[:40]
            findings.fault(where, f"expected a shape with a label, got {got}; {_CURE}")
            continue
        kind = str(shape.get("shape_type") or "polygon")
        points = _points(shape.get("points"))
        if kind in ("point", "line", "linestrip", "points"):
            findings.note("shapes left out: points and lines", where)
            continue
        needed = {"rectangle": 2, "circle": 2, "mask": 2}.get(kind, 3)
        if points is None or len(points) < needed:
            findings.fault(
                where,
                f"expected at least {needed} points for a {kind[:20]}, got "
                f"{short(shape.get('points'))[:60]}; {_CURE}",
            )
            continue
        if kind == "circle":
            (x, y), (edge_x, edge_y) = points[:2]
            radius = ((edge_x - x) ** 2 + (edge_y - y) ** 2) ** 0.5
            points = [(x - radius, y - radius), (x + radius, y + radius)]
        left, top, right, bottom = bounding(points)
        if kind == "mask":  # its points are the first and the last pixel
            right, bottom = right + 1, bottom + 1
        yield Annotation(str(shape["label"]), (left, top, right, bottom))


def _points(value: object) -> list[tuple[float, float]] | None:
    if not isinstance(value, list):
        return None
    points = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            return None
        x, y = number(pair[0]), number(pair[1])
        if x is None or y is None:
            return None
        points.append((x, y))
    return points


def _embedded(content: dict[str, Any], stem: Path) -> Path | None:
    data = content.get("imageData")
    if not isinstance(data, str) or not data:
        return None
    try:
        image = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
    suffix = ".jpg" if image.startswith(b"\xff\xd8") else ".png"
    path = stem.with_name(f"{stem.name}{suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image)
    return path
