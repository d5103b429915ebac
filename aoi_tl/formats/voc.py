"""Pascal VOC: one XML file per image.

supervision's loader is not used: it takes one from ``xmin`` and ``ymin`` of every file, as the VOC
devkit counts pixels but most tools do not, and does not say where a fault is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.images import image_size
from aoi_tl.errors import DataError
from aoi_tl.formats.document import number, read_text, read_xml
from aoi_tl.formats.record import (
    SPLIT_WORDS,
    Annotation,
    Findings,
    ImageFinder,
    Record,
    bounding,
    folder_split,
)

_CURE = "correct the file"


def read(
    source: Path, finder: ImageFinder, findings: Findings, first_pixel: int = 0
) -> Iterator[Record]:
    """Read an XML file, or all XML files below a folder.

    The image is the one that is named like the XML file, else the one its ``filename`` says (which
    goes stale when files are renamed). ``ImageSets/Main/train.txt`` and its like give the splits.

    Parameters
    ----------
    source : Path
        The file or folder.
    finder : ImageFinder
    findings : Findings
    first_pixel : {0, 1}
        What the upper left pixel is called: most tools (labelImg, CVAT) say 0, the VOC devkit 1.
    """
    files = _files(source)
    splits = _splits(source)
    for file, root in findings.each(files, read_xml):
        if root.tag != "annotation":
            findings.fault(str(file), f"expected <annotation>, got <{root.tag[:40]}>; {_CURE}")
            continue
        named = (root.findtext("filename") or "").strip()
        split = splits.get(file.stem)
        image = finder.find(
            f"{file.parent.name}/{file.stem}", file.stem, named, file=file,
            split=split or folder_split(file.parts[:-1][-3:]),
        )
        if image is None:
            findings.note("annotated images not found", file)
            continue
        height, width = number(root.findtext("size/height")), number(root.findtext("size/width"))
        before = len(findings.faults)
        annotations = tuple(_annotations(root, file, findings, first_pixel))
        yield Record(
            image,
            annotations,
            str(file),
            split,
            (int(height), int(width)) if height and width else None,
            file=file,
            faulty=len(findings.faults) > before,
        )


def write(
    dataset: Dataset,
    files_by_split: Mapping[str, Sequence[str]],
    folder: Path,
    first_pixel: int = 0,
) -> None:
    """Write ``Annotations/*.xml`` and ``ImageSets/Main/<split>.txt``; edges are rounded to pixels.

    Parameters
    ----------
    dataset : Dataset
    files_by_split : mapping of str to sequence of str
        For each split the file name of each image, unlike all others.
    folder : Path
        An existing folder.
    first_pixel : {0, 1}
        What the upper left pixel is called.
    """
    (folder / "Annotations").mkdir()
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for split, files in files_by_split.items():
        stems = []
        for sample, file in zip(dataset.split(split).samples, files, strict=True):
            name = Path(file).name
            stems.append(Path(name).stem)
            height, width = image_size(sample.image)
            root = Element("annotation")
            _add(root, "filename", name)
            size = SubElement(root, "size")
            _add(size, "width", width)
            _add(size, "height", height)
            for label, (x, y, w, h) in zip(
                sample.classes.tolist(), sample.boxes.tolist(), strict=True
            ):
                left, top = round((x - w / 2) * width), round((y - h / 2) * height)
                # A sliver that rounds to nothing would be lost: it gets the pixel it lies in.
                right = max(round((x + w / 2) * width), left + 1)
                bottom = max(round((y + h / 2) * height), top + 1)
                entry = SubElement(root, "object")
                _add(entry, "name", dataset.names[label])
                _add(entry, "difficult", 0)
                box = SubElement(entry, "bndbox")
                _add(box, "xmin", left + first_pixel)
                _add(box, "ymin", top + first_pixel)
                _add(box, "xmax", right)
                _add(box, "ymax", bottom)
            indent(root)
            ElementTree(root).write(
                folder / "Annotations" / f"{Path(name).stem}.xml", encoding="utf-8"
            )
        listed = "".join(f"{stem}\n" for stem in stems)
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(listed, encoding="utf-8")


def _files(source: Path) -> Sequence[Path]:
    if not source.is_dir():
        return [source]
    folder = source / "Annotations" if (source / "Annotations").is_dir() else source
    found = sorted(folder.rglob("*.xml"))
    if not found:
        raise DataError(
            f"{source}: expected VOC .xml files in the folder, got none; name the folder of the "
            "annotations"
        )
    return found


def _splits(source: Path) -> dict[str, str]:
    splits = {}
    for root in (source, source.parent):
        for word, split in SPLIT_WORDS.items():
            listing = root / "ImageSets" / "Main" / f"{word}.txt"
            if listing.is_file():
                for line in filter(None, map(str.strip, read_text(listing).splitlines())):
                    splits[line] = split
                    head, _, flag = line.rpartition(" ")
                    if flag in ("1", "0", "-1"):  # the devkit's lists of one class end so
                        splits.setdefault(head.strip(), split)
        if splits:
            break
    return splits


def _annotations(
    root: Element, file: Path, findings: Findings, first_pixel: int
) -> Iterator[Annotation]:
    for position, entry in enumerate(root.iter("object"), start=1):
        where = f"{file} object {position}"
        name = (entry.findtext("name") or "").strip()
        edges = [number(entry.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")]
        left, top, right, bottom = edges
        if left is None or top is None or right is None or bottom is None:
            points = (_turned(entry) or _polygon(entry)) if entry.find("bndbox") is None else []
            if not points:
                findings.fault(
                    where, f"expected xmin, ymin, xmax, ymax as numbers, got {edges}; {_CURE}"
                )
                continue
            left, top, right, bottom = bounding(points)
        yield Annotation(name, (left - first_pixel, top - first_pixel, right, bottom))


def _turned(entry: Element) -> list[tuple[float, float]]:
    """Return the corners of roLabelImg's <robndbox>: centre, size, and an angle in radians."""
    values = [number(entry.findtext(f"robndbox/{key}")) for key in ("cx", "cy", "w", "h", "angle")]
    numbers = [value for value in values if value is not None]
    if len(numbers) != len(values):
        return []
    x, y, width, height, angle = numbers
    cos, sin = math.cos(angle), math.sin(angle)
    return [
        (x + (right * width * cos - down * height * sin) / 2,
         y + (right * width * sin + down * height * cos) / 2)
        for right in (-1, 1) for down in (-1, 1)
    ]


def _polygon(entry: Element) -> list[tuple[float, float]]:
    """Return the points of <polygon><x1>..</x1><y1>..</y1>...</polygon>."""
    points: list[tuple[float, float]] = []
    while True:
        number_ = len(points) + 1
        x = number(entry.findtext(f"polygon/x{number_}"))
        y = number(entry.findtext(f"polygon/y{number_}"))
        if x is None or y is None:
            return points
        points.append((x, y))


def _add(parent: Element, tag: str, value: object) -> None:
    # XML has no way to write control characters.
    SubElement(parent, tag).text = "".join(c for c in str(value) if c.isprintable())
