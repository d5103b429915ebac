"""YOLO exports without a ``data.yaml``: darknet, CVAT's "YOLO 1.1" and Label Studio's YOLO."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from aoi_tl.data.labels import normal_name
from aoi_tl.data.yolo.label_rows import read_label_file
from aoi_tl.data.yolo.read import MOST_CLASSES
from aoi_tl.errors import DataError
from aoi_tl.formats.document import read_text
from aoi_tl.formats.record import SPLIT_WORDS, Annotation, Findings, ImageFinder, Record

_NAMES = ("obj.names", "classes.txt", "classes.names", "_darknet.labels")
#: Text files that hold no boxes.
_NO_LABELS = ("classes.txt", "readme.txt", "notes.txt", "labels.txt", "predefined_classes.txt")


def read(source: Path, finder: ImageFinder, findings: Findings) -> Iterator[Record]:
    """Read label files below a folder, with the class names beside them.

    Names are in the file that ``obj.data`` says, else in ``obj.names``, ``classes.txt`` or another
    ``.names``, a line each. Lists such as ``train.txt`` are splits. A listed image without a label
    file is free of defects.

    Parameters
    ----------
    source : Path
        The folder.
    finder : ImageFinder
    findings : Findings
    """
    names = class_names(source)
    lists = split_lists(source)
    listed = {
        image: split for split, file in lists for line in read_text(file).splitlines()
        if line.strip() and (image := finder.find(line.strip())) is not None
    }
    images = _by_stem(finder)
    unlabelled = set(listed)
    for file in sorted(source.rglob("*.txt")):
        if file.name.lower() in _NO_LABELS or file in [place for _, place in lists]:
            continue
        image = _image_of(file, images, finder)
        if image is None:
            findings.note("annotated images not found", file)
            continue
        unlabelled.discard(image)
        rows = read_label_file(file, len(names))
        if rows is None:
            continue
        for fault in rows.faults:
            findings.fault(f"{file} line {fault.line}", fault.text)
        if rows.without_area:
            findings.note("boxes left out: without area", file)
        annotations = tuple(
            Annotation(names[label], (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
            for label, (x, y, w, h) in zip(rows.classes.tolist(), rows.boxes.tolist(), strict=True)
        )
        yield Record(image, annotations, str(file), listed.get(image), share=True, file=file,
                     faulty=bool(rows.faults))
    for image in sorted(unlabelled):
        findings.note("listed images without a label file treated as free of defects", image)
        finder.used.add(image)
        yield Record(image, (), str(image), listed[image], share=True)


def class_names(source: Path) -> list[str]:
    """Return the class names in the order of their ids."""
    if not source.is_dir():
        raise DataError(f"{source}: expected a folder of YOLO labels, got a file; name the folder")
    file = _names_file(source)
    if file is None:
        raise DataError(
            f"{source}: expected class names in obj.names or classes.txt, got none; put the file "
            "there, a name on each line"
        )
    names = [name for line in read_text(file).splitlines() if (name := normal_name(line))]
    if len(names) > MOST_CLASSES:
        raise DataError(
            f"{file}: expected at most {MOST_CLASSES} class names, got {len(names)}; check the file"
        )
    if not names or len(set(names)) < len(names):
        raise DataError(
            f"{file}: expected a class name on each line, each once, got "
            f"{', '.join(names)[:80] or 'none'}; correct the file"
        )
    return names


def _names_file(source: Path) -> Path | None:
    for described in sorted(source.rglob("*.data")):
        said = _settings(described).get("names")
        if said is not None:
            tail = PurePosixPath(said.replace("\\", "/")).name
            if found := sorted(file for file in source.rglob("*") if file.name == tail):
                return found[0]
    for name in (*_NAMES, "*.names"):
        if found := sorted(source.rglob(name)):
            return found[0]
    return None


def _settings(file: Path) -> dict[str, str]:
    """The ``key = value`` lines of a ``.data`` file."""
    pairs = (line.partition("=") for line in read_text(file).splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def split_lists(source: Path) -> list[tuple[str, Path]]:
    """Return the lists of images with the splits that their names mean."""
    found = [(file.stem.casefold(), file) for file in sorted(source.rglob("*.txt"))]
    return [(SPLIT_WORDS[word], file) for word, file in found if word in SPLIT_WORDS]


def _by_stem(finder: ImageFinder) -> dict[str, list[Path]]:
    images: dict[str, list[Path]] = defaultdict(list)
    for image in finder.images:
        images[image.stem].append(image)
    return images


def _image_of(label: Path, images: dict[str, list[Path]], finder: ImageFinder) -> Path | None:
    """The image beside a label file, or in the folder that ``labels`` stands beside."""
    near = [image for image in images.get(label.stem, ()) if image.parent in (
        label.parent, *(Path(*label.parts[:at], "images", *label.parts[at + 1 : -1])
                        for at, part in enumerate(label.parts) if part == "labels"),
    )]
    if len(near) == 1:
        finder.used.add(near[0])
        return near[0]
    return finder.find(f"{label.parent.name}/{label.stem}", label.stem, file=label)
