"""The common record of all formats: an image, its annotations, and notes on anything unusual."""

from __future__ import annotations

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.images import IMAGE_SUFFIXES, image_fault, image_size
from aoi_tl.data.labels import normal_name
from aoi_tl.errors import DataError

# Words that folders, files and columns use for the three splits.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
#: Folders that hold images, whatever is beside them.
IMAGE_FOLDERS = ("images", "JPEGImages", "image", "imgs", "img")
# A box that lies mostly outside its image belongs to another one, or to another size.
_INSIDE = 0.5
T = TypeVar("T")


@dataclass(frozen=True)
class Annotation:
    """A class name and a box: left, top, right, bottom edge in pixels from the upper left."""

    label: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Record:
    """The annotations of one image.

    ``where`` names the annotation in faults; ``size`` is height and width as the annotation claims
    them, if it does; ``share`` says that boxes are shares of the image instead of pixels; ``file``
    is the annotation file, whose folder may name a split. ``faulty`` says that some annotations of
    the image could not be used.
    """

    image: Path
    annotations: tuple[Annotation, ...]
    where: str
    split: str | None = None
    size: tuple[int, int] | None = None
    share: bool = False
    file: Path | None = None
    faulty: bool = False


#: The share of annotations that may be faulty where these are to be skipped.
MOST_FAULTY = 0.05


@dataclass
class Findings:
    """Faults, which stop the import unless a few may be skipped, and counted notes."""

    source: Path
    skip: bool = False
    most: float = MOST_FAULTY
    faults: list[str] = field(default_factory=list)
    odd: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    files: int = 0
    unreadable: list[str] = field(default_factory=list)

    def fault(self, where: str, text: str) -> None:
        """Add an annotation that cannot be used."""
        self.faults.append(f"{where}: {text}")

    def unusable(self, error: DataError) -> None:
        """Add what cannot be used, as an error tells it."""
        self.faults.append(str(error))

    def each(self, files: Sequence[Path], read: Callable[[Path], T]) -> Iterator[tuple[Path, T]]:
        """Read annotation files; of several, one that cannot be read is a fault.

        Parameters
        ----------
        files : sequence of Path
        read : callable
            Raises a ``DataError`` for a file as a whole.

        Yields
        ------
        Path
            A file that can be read.
        object
            What is in it.
        """
        self.files += len(files)
        for file in files:
            try:
                content = read(file)
            except DataError as error:
                if len(files) == 1:
                    raise
                self.unreadable.append(str(error))
                self.unusable(error)
                continue
            yield file, content

    def note(self, what: str, where: object) -> None:
        """Count something that was left out or mended."""
        self.odd[what] += 1
        self.first.setdefault(what, str(where))

    def refuse_faults(self, sound: int) -> None:
        """Raise a ``DataError`` with the first fault and their number, unless they are skipped.

        Parameters
        ----------
        sound : int
            How many annotations can be used.
        """
        total = len(self.faults)
        if not total:
            return
        if not self.skip:
            rest = f" (and {total - 1} more such faults)" if total > 1 else ""
            raise DataError(
                f"{self.faults[0]}{rest}, {total} in all; --skip-faulty leaves such out"
            )
        if total > self.most * (total + sound):
            raise DataError(
                f"{self.source}: expected at most {self.most:.0%} of the annotations to be faulty, "
                f"got {total} of {total + sound}, the first: {self.faults[0]}"
            )
        if len(self.unreadable) > self.most * self.files:  # each may hold many annotations
            raise DataError(
                f"{self.source}: expected at most {self.most:.0%} of the files to be unreadable, "
                f"got {len(self.unreadable)} of {self.files}, the first: {self.unreadable[0]}"
            )
        for fault in self.faults:
            self.note(f"annotations left out: {_kind_of(fault)}", fault)

    def notes(self) -> tuple[str, ...]:
        """Return a line for each kind of note."""
        return tuple(
            f"{count} {what}, the first {self.first[what]}" for what, count in self.odd.items()
        )


class ImageFinder:
    """Finds the images that annotations name, by as much of their path as is given.

    Names are only looked up among the images below one folder, so no name can lead out of it.

    Parameters
    ----------
    folder : Path
        Where images are looked for, subfolders included.
    skip : collection of Path
        Folders below it that hold something else.
    within : sequence of Path
        Folders below it that alone hold images; by default all do.
    """

    def __init__(
        self, folder: Path, skip: Collection[Path] = (), within: Sequence[Path] = ()
    ) -> None:
        self.folder = folder
        self.images: list[Path] = sorted(
            image for one in within or [folder] for image in _images_below(one, skip)
        )
        self.used: set[Path] = set()
        self.ambiguous: dict[str, list[Path]] = {}
        self._whole: dict[str, list[Path]] = defaultdict(list)
        self._by_tail: dict[str, list[Path]] = defaultdict(list)
        self._deepest = 1
        for image in self.images:
            parts = PurePosixPath(image.relative_to(folder).as_posix()).parts
            # No longer tail can fit, however many folders a name goes on about.
            self._deepest = max(self._deepest, len(parts) + 1)
            self._whole["/".join(parts)].append(image)
            self._whole["/".join(parts).rsplit(".", 1)[0]].append(image)
            for start in range(len(parts)):
                tail = "/".join(parts[start:])
                for key in {tail, tail.rsplit(".", 1)[0]}:
                    self._by_tail[key].append(image)

    def find(self, *names: str, file: Path | None = None, split: str | None = None) -> Path | None:
        """Return the image that the first fitting name means; None where none or several do.

        Of several, the one beside the annotation ``file`` is meant, else that in a folder named
        like the ``split``.
        """
        several: list[Path] = []
        for name in names:
            parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
            parts = parts[-self._deepest :]
            # The path from the folder on, then as much of its end as fits.
            places = [self._whole.get("/".join(parts), [])]
            places += [self._by_tail.get("/".join(parts[n:]), []) for n in range(len(parts))]
            found = next(filter(None, places), [])
            if len(found) > 1:
                beside = [image for image in found if file and image.parent == file.parent]
                alike = [image for image in found if split and self.split(image) == split]
                found = next((few for few in (beside, alike) if len(few) == 1), found)
            if len(found) == 1:
                self.used.add(found[0])
                return found[0]
            several = several or found
        if several:
            self.ambiguous["/".join(names[-1:])] = several
        return None

    def split(self, image: Path) -> str | None:
        """Return the split that the image's folders name."""
        return folder_split(image.relative_to(self.folder).parts[:-1])

    def unused(self) -> list[Path]:
        """Return the images that were never found."""
        return [image for image in self.images if image not in self.used]


def with_splits(
    records: Iterable[Record], source: Path, finder: ImageFinder, findings: Findings
) -> Iterator[Record]:
    """Give records their splits: the file's own, else its folder's, else the image's folder's.

    Parameters
    ----------
    records : iterable of Record
    source : Path
        The folder that annotations were read from; folders count below it.
    finder : ImageFinder
        Of the images.
    findings : Findings
        Gets a note where two of these differ.

    Yields
    ------
    Record
    """
    for record in records:
        inside = record.file is not None and record.file.is_relative_to(source)
        folders = record.file.relative_to(source).parts[:-1] if inside and record.file else ()
        embedded = not record.image.is_relative_to(finder.folder)
        said = {
            "the annotation": record.split,
            "the folder of the annotation": folder_split(folders),
            "the folder of the image": None if embedded else finder.split(record.image),
        }
        given = {who: split for who, split in said.items() if split}
        who, split = next(iter(given.items()), ("", None))
        for other in (other for other in given if given[other] != split):
            findings.note(f"splits in which {other} differs: {who} was followed", record.where)
        yield replace(record, split=split)


def image_folder(source: Path, images: Path | None) -> Path:
    """Choose the folder of the images: as given, beside the annotations, or near them."""
    if images is not None:
        if not images.is_dir():
            raise DataError(f"{images}: expected a folder of images, got none; correct the path")
        return images
    folder = source if source.is_dir() else source.parent
    if next(_images_below(folder), None) is not None:
        return folder
    for name in IMAGE_FOLDERS:
        if (folder.parent / name).is_dir():
            return folder.parent / name
    raise DataError(
        f"{source}: expected images beside the annotations, got none; name their folder as 'images'"
    )


def to_dataset(
    records: Iterable[Record],
    findings: Findings,
    name: str,
    names: Sequence[str] | None = None,
    split: str | None = None,
) -> Dataset:
    """Check all records against their images and make a dataset of them.

    Parameters
    ----------
    records : iterable of Record
        Several of one image are joined.
    findings : Findings
        Gets the notes and faults.
    name : str
        The dataset's.
    names : sequence of str, optional
        All class names in the order of their ids; by default, those found, sorted.
    split : str, optional
        Where all images go; by default where their records say, else to ``train``.

    Returns
    -------
    Dataset
        With the findings' notes.

    Raises
    ------
    DataError
        There are faults, or no images.
    """
    annotations: dict[Path, dict[Annotation, None]] = {}
    splits: dict[Path, str] = {}
    broken: set[Path] = set()
    spoiled: set[Path] = set()  # of whose annotations some cannot be used
    for record in records:
        image = record.image
        if image in broken:
            continue
        if image not in annotations:
            fault = image_fault(image)
            if fault is not None:
                findings.note(f"images left out: {fault}", image)
                broken.add(image)
                continue
            annotations[image] = {}
        splits[image] = split or record.split or splits.get(image, "train")
        before = len(findings.faults)
        for annotation in _checked(record, findings):
            if annotation in annotations[image]:
                findings.note("boxes left out: given twice", record.where)
            annotations[image][annotation] = None
        if record.faulty or len(findings.faults) > before:
            spoiled.add(image)
    found = sorted({annotation.label for every in annotations.values() for annotation in every})
    order = tuple(dict.fromkeys(map(normal_name, names))) if names is not None else tuple(found)
    for label in found:
        if label not in order:
            findings.fault(
                str(findings.source),
                f"expected the classes {', '.join(order)}, got {label!r}; add it to the names",
            )
    for image, every in list(annotations.items()):
        known = {annotation: None for annotation in every if annotation.label in order}
        if not known and (image in spoiled or every):  # it is not free of defects
            del annotations[image]
        else:
            annotations[image] = known
    findings.refuse_faults(sum(max(1, len(every)) for every in annotations.values()))
    if not annotations:
        raise DataError(
            f"{findings.source}: expected annotated images, got none that can be used; check the "
            "format and the folder of images"
        )
    if not order:
        raise DataError(
            f"{findings.source}: expected annotations of at least one class, got none; give the "
            "class names, or check the format"
        )
    ids = {label: number for number, label in enumerate(order)}
    samples = tuple(
        Sample(
            image,
            splits[image],
            np.array([ids[annotation.label] for annotation in every], dtype=np.int64),
            np.array([_centred(a.box) for a in every], dtype=np.float64).reshape(-1, 4),
        )
        for image, every in sorted(annotations.items())
    )
    return Dataset(name, findings.source, order, samples, findings.notes())


def _checked(record: Record, findings: Findings) -> Iterator[Annotation]:
    """Yield the record's annotations with boxes as shares of the image, clipped to it."""
    height, width = image_size(record.image)
    claimed = record.size
    if claimed is not None and min(claimed) > 0 and claimed != (height, width):
        findings.fault(
            record.where,
            f"expected an image of {claimed[1]} x {claimed[0]} pixels, got {width} x {height} in "
            f"{record.image}; annotate the image again or take the one that was annotated",
        )
        return
    for annotation in record.annotations:
        label = normal_name(annotation.label)
        if not label:
            findings.fault(record.where, "expected a class name, got an empty one; name the class")
            continue
        if not all(map(math.isfinite, annotation.box)):
            findings.fault(
                record.where, f"expected finite coordinates, got {annotation.box}; correct it"
            )
            continue
        x1, y1, x2, y2 = annotation.box
        if not record.share:
            x1, y1, x2, y2 = x1 / width, y1 / height, x2 / width, y2 / height
        left, top, right, bottom = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
        area = (right - left) * (bottom - top)
        if area <= 0 or not math.isfinite(area):
            findings.note("boxes left out: without area", record.where)
            continue
        clipped = max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
        inside = max(clipped[2] - clipped[0], 0.0) * max(clipped[3] - clipped[1], 0.0)
        if inside < _INSIDE * area:
            findings.fault(
                record.where,
                f"expected a box inside the image of {width} x {height} pixels, got "
                f"({', '.join(f'{v:g}' for v in annotation.box)}); correct the box",
            )
            continue
        if max(-left * width, -top * height, (right - 1) * width, (bottom - 1) * height) > 1e-6:
            findings.note("boxes clipped to their image", record.where)
        yield Annotation(label, clipped)


def _centred(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _images_below(folder: Path, skip: Collection[Path] = ()) -> Iterator[Path]:
    for current, folders, files in os.walk(folder):
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and Path(current, f) not in skip
        )
        for file in sorted(files):
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES:
                yield Path(current, file)


def folder_split(folders: Sequence[str]) -> str | None:
    """Recognise the split that folders name, the outermost first.

    Unlike a file's name, a folder's means a split only as a whole word (a year may follow it):
    ``Train`` and ``val2017`` do, ``test_pieces`` does not.

    Examples
    --------
    >>> folder_split(["set", "VALID", "images"]), folder_split(["test_pieces"])
    ('val', None)
    """
    for folder in folders:
        word = re.sub(r"(?<=[a-z])(19|20)\d\d$", "", folder.strip().casefold())
        if word in SPLIT_WORDS and word != "dev":
            return SPLIT_WORDS[word]
    return None


def _kind_of(fault: str) -> str:
    """The kind of a fault: its expectation without place and numbers."""
    expected = fault[fault.find("expected ") :].partition(", got")[0]
    return re.sub(r"\d+(\.\d+)?", "N", expected)[:100]


def split_of(text: str) -> str | None:
    """Recognise a split in a word: ``valid`` is ``val``, ``instances_test2017`` is ``test``."""
    word = text.strip().casefold()
    if word in SPLIT_WORDS:
        return SPLIT_WORDS[word]
    pieces = "".join(c if c.isalpha() else " " for c in word).split()
    found = {SPLIT_WORDS[piece] for piece in pieces if piece in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def bounding(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Return the box around points."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs), min(ys), max(xs), max(ys)
