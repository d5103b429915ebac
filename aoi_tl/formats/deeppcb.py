"""DeepPCB: each photograph has a text file of boxes and a template image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from aoi_tl.errors import DataError
from aoi_tl.formats.document import number, read_text
from aoi_tl.formats.record import Annotation, Findings, ImageFinder, Record

#: What the numbers 1 to 6 mean, as the set's authors name them.
NAMES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
_LISTS = {"trainval.txt": "train", "train.txt": "train", "val.txt": "val", "test.txt": "test"}
_TEMPLATE = "_temp"


def read(source: Path, finder: ImageFinder, findings: Findings) -> Iterator[Record]:
    """Read ``<group>_not/<stem>.txt`` for ``<group>/<stem>_test.jpg``; templates are left out.

    A line is ``x1 y1 x2 y2 type`` with blanks or commas. ``trainval.txt`` and ``test.txt`` give the
    splits.

    Parameters
    ----------
    source : Path
        The folder of the set, or of a group.
    finder : ImageFinder
    findings : Findings
    """
    files = label_files(source)
    if not files:
        raise DataError(
            f"{source}: expected DeepPCB's folders such as 00041_not with a .txt for each image, "
            "got none; name the folder of the set"
        )
    splits = _splits(source)
    for file, text in findings.each(files, read_text):
        group = file.parent.name.removesuffix("_not")
        names = [f"{group}/{file.stem}_test", f"{file.stem}_test", f"{group}/{file.stem}"]
        image = finder.find(*names)
        if image is None:
            findings.note("annotated images not found", file)
            continue
        before = len(findings.faults)
        annotations = tuple(_annotations(file, text, findings))
        yield Record(image, annotations, str(file), splits.get(file.stem), file=file,
                     faulty=len(findings.faults) > before)
    for image in finder.unused():
        if image.stem.endswith(_TEMPLATE):  # what a part without a defect looks like: no photograph
            finder.used.add(image)
            findings.note("template images left out", image)


def label_files(source: Path) -> list[Path]:
    """Return the text files in folders whose names end with ``_not``."""
    if not source.is_dir():
        return []
    return sorted(file for file in source.rglob("*.txt") if file.parent.name.endswith("_not"))


def _splits(source: Path) -> dict[str, str]:
    splits = {}
    for folder in (source, source.parent):
        for name, split in _LISTS.items():
            if (folder / name).is_file():
                for line in read_text(folder / name).splitlines():
                    for word in line.split()[:1]:
                        splits[PurePosixPath(word).stem] = split
        if splits:
            break
    return splits


def _annotations(file: Path, text: str, findings: Findings) -> Iterator[Annotation]:
    for line, row in enumerate(text.splitlines(), start=1):
        words = row.replace(",", " ").split()
        if not words:
            continue
        values = [value for word in words if (value := number(word)) is not None]
        if len(values) != 5 or len(words) != 5 or values[4] not in range(1, len(NAMES) + 1):
            findings.fault(
                f"{file} line {line}",
                f"expected x1 y1 x2 y2 and a type of 1 to {len(NAMES)}, got {row[:60]!r}; correct "
                "the row",
            )
            continue
        left, top, right, bottom, kind = values
        yield Annotation(NAMES[int(kind) - 1], (left, top, right, bottom))
