"""COCO JSON: one file that lists images, categories and boxes.

supervision's loader is not used: it rasterises masks at whatever size the file claims, keeps boxes
in single precision and does not say where a fault is; its writer states a licence of its own.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.images import image_size
from aoi_tl.errors import DataError
from aoi_tl.formats.document import number, read_json
from aoi_tl.formats.record import (
    Annotation,
    Findings,
    ImageFinder,
    Record,
    bounding,
    folder_split,
    split_of,
)
from aoi_tl.formats.run_lengths import box_around, decode_counts

_CURE = "correct the file"


def read(source: Path, finder: ImageFinder, findings: Findings) -> Iterator[Record]:
    """Read a COCO file, or all COCO files below a folder.

    A split in a file's name (``instances_val.json``) is taken over. Where there is no ``bbox``, the
    box of the polygons counts. Crowd regions are no instances and are left out.
    """
    for file, content in findings.each(annotation_files(source), _content):
        yield from _read_file(file, content, finder, findings)


def annotation_files(source: Path) -> list[Path]:
    """Return the COCO files of a source."""
    if not source.is_dir():
        return [source]
    found = sorted(source.rglob("*.json"))
    if not found:
        raise DataError(f"{source}: expected a COCO .json in the folder, got none; name the file")
    return found


def category_names(source: Path, findings: Findings) -> list[str]:
    """Return the categories by their ids, those without instances included.

    One that is only the supercategory of others, and that no annotation uses, is left out with a
    note: Roboflow writes such a one as id 0.
    """
    names: dict[str, None] = {}
    used: set[str] = set()
    above: dict[str, Path] = {}
    # Whatever cannot be used is told as the file is read for its annotations.
    for file, content in Findings(source).each(annotation_files(source), _content):
        categories = _categories(content)
        for _, name in sorted(categories.items(), key=_by_id):
            names[name] = None
        for entry in content["annotations"]:
            category = entry.get("category_id") if isinstance(entry, dict) else None
            if _is_id(category) and category in categories:
                used.add(categories[category])
        for entry in filter(_is_category, content["categories"]):
            parent = entry.get("supercategory")
            if isinstance(parent, str) and parent != str(entry["name"]):
                above.setdefault(parent, file)
    for name in [name for name in names if name in above and name not in used]:
        findings.note(f"category {name!r} left out: only a supercategory of others", above[name])
        if len(names) > 1:
            del names[name]
    return list(names)


def write(dataset: Dataset, files_by_split: Mapping[str, Sequence[str]], folder: Path) -> None:
    """Write ``annotations/<split>.json``.

    Parameters
    ----------
    dataset : Dataset
        Class id 0 becomes category 1.
    files_by_split : mapping of str to sequence of str
        For each split the path of each image, as the file names it.
    folder : Path
        An existing folder.
    """
    (folder / "annotations").mkdir()
    image_id = annotation_id = 0
    for split, files in files_by_split.items():
        images, annotations = [], []
        for sample, file in zip(dataset.split(split).samples, files, strict=True):
            height, width = image_size(sample.image)
            image_id += 1
            images.append(
                {
                    "id": image_id,
                    "file_name": file,
                    "width": width,
                    "height": height,
                }
            )
            for label, (x, y, w, h) in zip(
                sample.classes.tolist(), sample.boxes.tolist(), strict=True
            ):
                annotation_id += 1
                box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
                annotations.append(
                    {
                        "id": annotation_id,
                        "image_id": image_id,
                        "category_id": label + 1,
                        "bbox": [round(value, 4) for value in box],
                        "area": round(box[2] * box[3], 4),
                        "iscrowd": 0,
                    }
                )
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [
                {"id": number_ + 1, "name": name} for number_, name in enumerate(dataset.names)
            ],
        }
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (folder / "annotations" / f"{split}.json").write_text(text, encoding="utf-8")


def _read_file(
    file: Path, content: Mapping[str, Any], finder: ImageFinder, findings: Findings
) -> Iterator[Record]:
    categories = _categories(content)
    for entry in content["categories"]:
        if not _is_category(entry):
            findings.fault(
                str(file), f"expected categories with id and name, got {_kind(entry)}; {_CURE}"
            )
    annotations, spoiled = _annotations(content, categories, file, findings)
    split = split_of(file.stem)
    for position, image in enumerate(content["images"]):
        where = f"{file} image {position + 1}"
        name = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(name, str) or not _is_id(image.get("id")):
            findings.fault(
                where, f"expected an image with id and file_name, got {_kind(image)}; {_CURE}"
            )
            continue
        height, width = number(image.get("height")), number(image.get("width"))
        found = finder.find(name, file=file, split=split or folder_split(file.parent.parts[-1:]))
        if found is None:
            findings.note("annotated images not found", name)
            annotations.pop(image["id"], None)
            continue
        yield Record(
            found,
            tuple(annotations.pop(image["id"], ())),
            f"{file} image {name!r}",
            split,
            (int(height), int(width)) if height and width else None,
            file=file,
            faulty=image["id"] in spoiled,
        )
    for image_id in annotations:
        findings.fault(str(file), f"expected image_id of a listed image, got {image_id!r}; {_CURE}")


def _content(file: Path) -> dict[str, Any]:
    content = read_json(file)
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(not isinstance(content.get(k), list) for k in lists):
        got = ", ".join(map(str, content)) if isinstance(content, dict) else _kind(content)
        raise DataError(
            f"{file}: expected a COCO file with lists of images, annotations and categories, got "
            f"{got[:80] or 'nothing'}; check the format"
        )
    return content


def _categories(content: Mapping[str, Any]) -> dict[Any, str]:
    sound = filter(_is_category, content["categories"])
    return {entry["id"]: str(entry["name"]) for entry in sound}


def _is_category(entry: object) -> bool:
    return isinstance(entry, dict) and _is_id(entry.get("id")) and bool(entry.get("name"))


def _annotations(
    content: Mapping[str, Any], categories: Mapping[Any, str], file: Path, findings: Findings
) -> tuple[dict[Any, list[Annotation]], set[Any]]:
    """Return the annotations by image id, and the ids of images with a faulty annotation."""
    annotations: dict[Any, list[Annotation]] = defaultdict(list)
    spoiled: set[Any] = set()
    for position, entry in enumerate(content["annotations"]):
        where = f"{file} annotation {position + 1}"
        if not isinstance(entry, dict) or not _is_id(entry.get("image_id")):
            findings.fault(where, f"expected an entry with image_id, got {_kind(entry)}; {_CURE}")
            continue
        category = entry.get("category_id")
        if not _is_id(category) or category not in categories:
            shown = repr(category)[:40]
            findings.fault(where, f"expected category_id of a category, got {shown}; {_CURE}")
            spoiled.add(entry["image_id"])
            continue
        if entry.get("iscrowd") in (1, True):
            findings.note("crowd regions left out", where)
            continue
        box = _box(entry)
        if box is None:
            findings.fault(
                where,
                "expected bbox as x, y, width, height (not negative), run lengths or polygons, got "
                f"{short(entry.get('bbox'))[:60]}; {_CURE}",
            )
            spoiled.add(entry["image_id"])
            continue
        annotations[entry["image_id"]].append(Annotation(categories[category], box))
    return annotations, spoiled


def _box(entry: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    box = entry.get("bbox")
    if isinstance(box, list) and box:
        values = [number(value) for value in box]
        if len(values) != 4 or None in values:
            return None
        x, y, width, height = (value for value in values if value is not None)
        return (x, y, x + width, y + height) if width >= 0 and height >= 0 else None
    polygons = entry.get("segmentation")
    if isinstance(polygons, dict):
        return _box_of_runs(polygons)
    if not isinstance(polygons, list) or not polygons:
        return None
    points: list[tuple[float, float]] = []
    for polygon in polygons if isinstance(polygons[0], list) else [polygons]:
        flat = [number(value) for value in polygon] if isinstance(polygon, list) else []
        numbers = [value for value in flat if value is not None]
        if len(numbers) != len(flat) or len(flat) < 6 or len(flat) % 2:
            return None
        points += zip(numbers[::2], numbers[1::2], strict=True)
    return bounding(points)


def _box_of_runs(mask: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """The box around a mask of run lengths, as a list or as text."""
    size, counts = mask.get("size"), mask.get("counts")
    if (
        not isinstance(size, list) or len(size) != 2
        or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in size)
    ):
        return None
    try:
        runs = decode_counts(counts) if isinstance(counts, str) else counts
        return box_around(runs, *size) if isinstance(runs, list) else None
    except ValueError:
        return None


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _by_id(item: tuple[Any, str]) -> tuple[bool, Any]:
    return isinstance(item[0], str), item[0]


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
