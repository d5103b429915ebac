"""Faults of a dataset on disk: found, named and counted, without stopping at the first."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.dataset import SPLITS
from aoi_tl.data.dataset_names import dataset_name
from aoi_tl.data.depth import Depth, find_depth
from aoi_tl.data.images import IMAGE_SUFFIXES, image_fault
from aoi_tl.data.yolo.label_rows import read_label_file
from aoi_tl.data.yolo.layout import find_root, find_split, label_path, split_entry
from aoi_tl.data.yolo.read import (
    first_id,
    keypoint_columns,
    read_depth,
    read_names,
    read_yaml_map,
)
from aoi_tl.errors import DataError
from aoi_tl.files.untrusted import real_path

#: What each kind of finding means: how grave it is, and what to do.
KINDS = {
    "dataset": ("error", "correct the YAML"),
    "data.yaml": ("warning", "correct the YAML: other tools may read it otherwise"),
    "annotation": ("error", "correct it, or leave it out: aoi-tl import --skip-faulty"),
    "missing image": ("error", "correct 'path' or the list"),
    "unreadable image": ("error", "replace the file or take it off the list"),
    "tiny image": ("error", "take it out: detectors leave out images under 10 pixels"),
    "small image": ("warning", "check that it is no thumbnail"),
    "blank image": ("warning", "take it out, unless it is meant"),
    "label row": ("error", "correct the row"),
    "missing label": ("warning", "label it, or add an empty file to say that it has no defect"),
    "orphan label": ("warning", "add the image or remove the label file"),
    "box without area": ("warning", "remove the row or draw the box"),
    "box under one pixel": ("warning", "remove the row or draw the box"),
    "duplicate box": ("warning", "remove one of the rows"),
    "contradictory boxes": ("error", "keep the class that is right"),
    "contradictory copies": ("error", "make the labels of equal images equal"),
    "class without instances": ("warning", "remove the name, or label some"),
    "class only outside train": ("warning", "bring some into train: it cannot be learnt"),
    "splits share an image": ("error", "split again by group: aoi-tl split"),
    "splits share a copy": ("error", "split again by group: aoi-tl split"),
    "splits share a near-duplicate": ("error", "split again by group: aoi-tl split"),
    "splits may share a part": ("warning", "compare the two: if it is one part, split by group"),
    "may be shared with another dataset": ("warning", "compare the two images"),
    "copy": ("warning", "keep one of them"),
    "near-duplicate": ("note", "keep them in one split: aoi-tl split"),
    "shared with another dataset": ("error", "never use one as source of the other: the test "
                                             "images would be known"),
    "mixed depths": ("warning", "keep one depth in a dataset, or set 'depth' in the data.yaml"),
    "depth": ("note", "if it is wrong: 'depth: 12' or the like in the data.yaml"),
    "repeated design": ("note", "no leak: results hold for this design, not for a new one"),
    "training images shared": ("note", "count them once"),
}
TINY, SMALL = 10, 32


@dataclass(frozen=True)
class Finding:
    """One fault, or one unusual property.

    Parameters
    ----------
    kind : str
        A key of ``KINDS``.
    where : str
        The file (with its line), or the class.
    what : str
        What was found, in words.
    split : str
        The split, empty where it concerns none or several.
    """

    kind: str
    where: str
    what: str
    split: str = ""

    @property
    def severity(self) -> str:
        """``error``, ``warning`` or ``note``."""
        return KINDS[self.kind][0]


@dataclass(frozen=True, eq=False)
class Entry:
    """One image that a dataset names, with its readable labels."""

    image: Path
    split: str
    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Inspection:
    """All images of a dataset, faulty ones included.

    Parameters
    ----------
    name : str
        As ``load_dataset`` would call it.
    path : Path
        The YAML.
    names : tuple of str
        Class names.
    entries : tuple of Entry
        Images that exist, ordered by split and path.
    findings : tuple of Finding
        From files and labels alone; what needs pixels is in ``pixel_findings``.
    depth : Depth
        Of its images.
    """

    name: str
    path: Path
    names: tuple[str, ...]
    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]
    depth: Depth = field(default=Depth())


def inspect_dataset(path: str | os.PathLike[str], depth: int | None = None) -> Inspection:
    """Read a dataset and note every fault, while ``load_dataset`` stops at the first.

    Parameters
    ----------
    path : path-like
        An Ultralytics ``data.yaml``.
    depth : int, optional
        As for `load_dataset`.

    Returns
    -------
    Inspection
        A YAML that cannot be used gives no entries and one finding.

    Examples
    --------
    >>> inspect_dataset("no-such.yaml").findings[0].kind
    'dataset'
    """
    path = Path(path)
    name = dataset_name(path)
    findings: list[Finding] = []
    notes: list[str] = []
    try:
        content = read_yaml_map(path)
        names = read_names(content, path, notes)
        root = find_root(content, path, notes)
        given = read_depth(content, path) if depth is None else depth
    except DataError as error:
        return Inspection(name, path, (), (), (Finding("dataset", str(path), str(error)),))
    entries: list[Entry] = []
    labels: set[Path] = set()
    for split in SPLITS:
        entry = split_entry(content, split)
        if not entry:
            if split == "train":
                findings.append(Finding("dataset", str(path), "no train entry", split))
            continue
        try:
            images = find_split(split, entry, root, path, notes)
        except DataError as error:
            findings.append(Finding("dataset", str(path), str(error), split))
            continue
        if split == "val" and images == [str(e.image) for e in entries if e.split == "train"]:
            continue  # Ultralytics asks for a val entry; naming train again says there is none
        columns, first = keypoint_columns(content), first_id(content)
        for image in map(Path, images):
            fault = image_fault(image)
            if fault == "no such file":
                findings.append(Finding("missing image", str(image), fault, split))
                continue
            if fault:
                findings.append(Finding("unreadable image", str(image), fault, split))
            labels.add(label_path(image))
            found, read = _read_entry(image, split, len(names), columns, first)
            findings += read
            entries.append(found)
    findings += [
        Finding("dataset" if note.startswith("'test:") else "data.yaml", str(path), note)
        for note in notes
    ]
    findings += _orphans(labels)
    findings += _class_findings(names, entries)
    findings += _named_twice(entries)
    found_depth = find_depth([entry.image for entry in entries], given)
    for kind, what in (("depth", found_depth.note), ("mixed depths", found_depth.mixed)):
        findings += [Finding(kind, str(path), what)] if what else []
    return Inspection(name, path, names, tuple(entries), tuple(findings), found_depth)


def _read_entry(
    image: Path, split: str, n_classes: int, columns: int, first: int
) -> tuple[Entry, list[Finding]]:
    label = label_path(image)
    rows = read_label_file(label, n_classes, columns, first)
    if rows is None:
        finding = Finding("missing label", str(image), f"no file {label.name}", split)
        return Entry(image, split, np.zeros(0, np.int64), np.zeros((0, 4))), [finding]
    findings = [
        Finding("label row", f"{fault.file} line {fault.line}", fault.text, split)
        for fault in rows.faults
    ]
    if rows.without_area:
        what = f"{rows.without_area} boxes without width or height"
        findings.append(Finding("box without area", str(label), what, split))
    findings += [
        Finding(kind, str(label), what, split)
        for kind, what in _same_boxes(rows.classes, rows.boxes)
    ]
    return Entry(image, split, rows.classes, rows.boxes), findings


def _same_boxes(
    classes: NDArray[np.int64], boxes: NDArray[np.float64]
) -> Iterator[tuple[str, str]]:
    """Find boxes that are drawn twice, with one class or with two."""
    if len(boxes) < 2:
        return
    order = np.lexsort(boxes.T[::-1].round(4))
    for one, other in pairwise(order):
        if np.abs(boxes[one] - boxes[other]).max() > 1e-3 * boxes[one, 2:].max():
            continue
        if classes[one] == classes[other]:
            yield "duplicate box", f"class {classes[one]} at {boxes[one].round(4).tolist()} twice"
        else:
            both = f"{classes[one]} and {classes[other]}"
            yield "contradictory boxes", f"classes {both} at {boxes[one].round(4).tolist()}"


def _orphans(labels: set[Path]) -> Iterator[Finding]:
    """Label files without an image at the expected place."""
    for folder in sorted({label.parent for label in labels}):
        parts = list(folder.parts)
        if "labels" not in parts:
            continue
        last = len(parts) - 1 - parts[::-1].index("labels")
        images = Path(*parts[:last], "images", *parts[last + 1 :])
        try:
            stems = {
                os.path.splitext(entry)[0] for entry in os.listdir(images)
                if os.path.splitext(entry)[1].lower() in IMAGE_SUFFIXES
            }
            files = sorted(os.listdir(folder))
        except OSError:
            continue
        for file in files:
            stem, suffix = os.path.splitext(file)
            if suffix == ".txt" and stem not in stems and file != "classes.txt":
                yield Finding("orphan label", str(folder / file), f"no image in {images}")


def _class_findings(names: tuple[str, ...], entries: list[Entry]) -> Iterator[Finding]:
    counts = {split: Counter[int]() for split in SPLITS}
    for entry in entries:
        counts[entry.split].update(entry.classes.tolist())
    for number, name in enumerate(names):
        per_split = {split: counts[split][number] for split in SPLITS}
        if not any(per_split.values()):
            yield Finding("class without instances", name, "no box in any split")
        elif not per_split["train"]:
            where = ", ".join(f"{count} in {split}" for split, count in per_split.items() if count)
            yield Finding("class only outside train", name, where)


def _named_twice(entries: list[Entry]) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for entry in entries:
        real = real_path(entry.image)
        first = seen.setdefault(real, entry.split)
        if first != entry.split:
            yield Finding("splits share an image", str(entry.image), f"in {first} as well",
                          entry.split)


def pixel_findings(entry: Entry, size: Any, blank: bool) -> Iterator[Finding]:
    """Find the faults of an image that its pixels show.

    Parameters
    ----------
    entry : Entry
        An image and its labels.
    size : pair of int
        Height and width; zeros where it cannot be read.
    blank : bool
        Whether it holds one single grey level.

    Yields
    ------
    Finding
        None for a sound image.
    """
    height, width = int(size[0]), int(size[1])
    where = str(entry.image)
    if not height:
        yield Finding("unreadable image", where, "cannot be decoded", entry.split)
        return
    shape = f"{width} x {height} pixels"
    if min(height, width) < TINY:
        yield Finding("tiny image", where, shape, entry.split)
    elif min(height, width) < SMALL:
        yield Finding("small image", where, shape, entry.split)
    if blank:
        yield Finding("blank image", where, "one single grey level", entry.split)
    small = (entry.boxes[:, 2:] * (width, height)).min(axis=1, initial=np.inf) < 1
    if small.any():
        what = f"{int(small.sum())} boxes under one pixel wide or high"
        yield Finding("box under one pixel", str(label_path(entry.image)), what, entry.split)


def same_labels(one: Entry, other: Entry) -> bool:
    """Whether two images carry the same boxes, in any order, to a thousandth of the image.

    Parameters
    ----------
    one, other : Entry
        Images and their labels.

    Examples
    --------
    >>> bare = Entry(Path("a.png"), "train", np.zeros(0, np.int64), np.zeros((0, 4)))
    >>> same_labels(bare, bare)
    True
    """
    if len(one.classes) != len(other.classes):
        return False
    rows = []
    for entry in (one, other):
        table = np.column_stack([entry.classes, entry.boxes.round(3)])
        rows.append(table[np.lexsort(table.T[::-1])])
    return bool(np.allclose(rows[0], rows[1], atol=2e-3))
