"""Checking datasets for faults and copies before training, and splitting them by group."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.data.dataset import SPLITS, Dataset, Sample
from aoi_tl.data.dataset_names import distinct_names
from aoi_tl.data.faults import (
    KINDS,
    Entry,
    Finding,
    Inspection,
    inspect_dataset,
    pixel_findings,
    same_labels,
)
from aoi_tl.duplicates.pairs import CERTAIN, Duplicates, find_duplicates
from aoi_tl.duplicates.parts import Defects
from aoi_tl.errors import DataError
from aoi_tl.files.untrusted import real_path
from aoi_tl.workflows.progress import Progress, silent

if TYPE_CHECKING:
    from aoi_tl.report.tables import Table

_LISTED = 1000  # findings of one kind that check.json lists; all are counted
_GRAVITY = ("error", "warning", "note")


@dataclass(frozen=True, eq=False)
class Checked:
    """The findings in one dataset.

    Parameters
    ----------
    name : str
        Of the dataset; extended by its path if another one has the same name.
    path : Path
        Its YAML.
    images, boxes : int
        How many could be read.
    findings : tuple of Finding
        The most severe first.
    """

    name: str
    path: Path
    images: int
    boxes: int
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found that makes results wrong."""
        return not any(finding.severity == "error" for finding in self.findings)

    def counts(self) -> dict[str, int]:
        """Findings of each kind that occurs, the most severe first."""
        kinds = [finding.kind for finding in self.findings]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def to_json(self) -> dict[str, Any]:
        """Give the content of ``check.json``."""
        listed: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            if len(listed[finding.kind]) < _LISTED:
                listed[finding.kind].append(finding)
        return {
            "dataset": self.name,
            "path": str(self.path),
            "images": self.images,
            "boxes": self.boxes,
            "sound": self.is_sound,
            "findings": [
                {
                    "kind": kind, "severity": KINDS[kind][0], "count": count,
                    "cure": KINDS[kind][1],
                    "places": [
                        {"where": f.where, "what": f.what, "split": f.split or None}
                        for f in listed[kind]
                    ],
                }
                for kind, count in self.counts().items()
            ],
        }

    def to_table(self) -> Table:
        """Give a row for each kind of finding."""
        from aoi_tl.report.tables import Table

        first = {finding.kind: finding for finding in reversed(self.findings)}
        rows = tuple(
            (KINDS[kind][0], kind, str(count), f"{first[kind].where}: {first[kind].what}",
             KINDS[kind][1])
            for kind, count in self.counts().items()
        )
        title = f"{self.name}: {self.images} images, {self.boxes} boxes"
        return Table(title if rows else f"{title}, nothing found",
                     ("gravity", "what", "count", "the first", "cure"), rows)


def run_check(
    paths: Sequence[str | Path],
    out: str | Path | None = None,
    duplicates: bool = True,
    progress: Progress = silent,
    workers: int = 2,
    depth: int | None = None,
) -> tuple[Checked, ...]:
    """Check datasets, each by itself and against the others.

    Parameters
    ----------
    paths : sequence of path-like
        ``data.yaml`` files, or folders: of such a file, or of annotations in another format.
    out : path-like, optional
        A folder: gets ``<dataset>/check.json`` for each, and ``<dataset>/imported`` where
        annotations are of another format.
    duplicates : bool
        Whether to read the pixels, and so find broken, blank and tiny images, copies and
        near-duplicates; else only files and labels are looked at.
    progress : callable
        Called with ``(what, done, total)`` during the work.
    workers : int
        Threads that read images.
    depth : int, optional
        How many bits the images use where their files store 16; else found for each dataset.

    Returns
    -------
    tuple of Checked
        In the order of ``paths``. Nothing is refused: faults are findings.
    """
    from aoi_tl.files.run_folder import folder_name, write_atomically

    files = list({os.path.abspath(path): Path(path) for path in paths}.values())
    inspections: list[Inspection] = []
    for number, (path, name) in enumerate(zip(files, distinct_names(files), strict=True)):
        progress("reading labels", number, len(files))
        inspections.append(replace(_inspected(path, name, out, depth), name=name))
    found: list[list[Finding]] = [list(one.findings) for one in inspections]
    if duplicates:
        shelf = _Shelf(inspections, workers, progress)
        for number in range(len(inspections)):
            found[number] += shelf.findings(number)
    checked: list[Checked] = []
    for inspection, findings in zip(inspections, found, strict=True):
        kinds = list(KINDS)
        findings.sort(key=lambda f: (_GRAVITY.index(f.severity), kinds.index(f.kind)))
        checked.append(Checked(
            inspection.name, inspection.path, len(inspection.entries),
            sum(len(entry.classes) for entry in inspection.entries), tuple(findings),
        ))
    if out is not None:
        import json

        for one in checked:
            text = json.dumps(one.to_json(), indent=2, ensure_ascii=False) + "\n"
            write_atomically(Path(out) / folder_name(one.name) / "check.json",
                             text.encode("utf-8", "backslashreplace"))
    return tuple(checked)


def _inspected(
    path: Path, name: str, out: str | Path | None, depth: int | None
) -> Inspection:
    """Inspect a dataset; that of a folder is its YAML, else what its annotations become."""
    from aoi_tl.files.run_folder import folder_name
    from aoi_tl.formats import import_dataset

    if not path.is_dir():
        return inspect_dataset(path, depth)
    inside = [file for file in (path / "data.yaml", path / "dataset.yaml") if file.is_file()]
    inside += sorted(path.glob("*.yaml"))
    if inside:
        return inspect_dataset(inside[0], depth)
    place = Path(out or tempfile.mkdtemp()) / folder_name(name) / "imported"
    if (place / "data.yaml").is_file():
        shutil.rmtree(place)  # of an earlier check
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = import_dataset(None, path, place, link=True, skip_faulty=True, most_faulty=1.0)
    except DataError as error:
        return Inspection(name, path, (), (), (Finding("dataset", str(path), str(error)),))
    found = inspect_dataset(done.path, depth)
    faults = [fault.partition(": expected") for fault in done.faults]
    return replace(found, path=path, findings=(
        *(Finding("annotation", where, (expected + what).removeprefix(": "))
          for where, expected, what in faults),
        *found.findings,
    ))


class _Shelf:
    """All images of several datasets, each read once, and which of them show the same thing."""

    def __init__(self, inspections: Sequence[Inspection], workers: int, progress: Progress) -> None:
        self.inspections = inspections
        places: dict[str, int] = {}
        self.positions = [
            np.array([
                places.setdefault(real_path(entry.image), len(places))
                for entry in inspection.entries
            ], dtype=np.int64)
            for inspection in inspections
        ]
        self.images = list(places)
        labelled = _Labelled()
        depths: dict[str, int] = {}
        for inspection in inspections:
            for entry in inspection.entries:
                labelled.add(entry, inspection.names)
                depths.setdefault(real_path(entry.image), inspection.depth.bits)
        self.found: Duplicates = find_duplicates(
            self.images, workers, lambda done, total: progress("reading images", done, total),
            defects=labelled.of(self.images), depths=[depths[image] for image in self.images],
        )

    def findings(self, number: int) -> Iterator[Finding]:
        entries, positions = self.inspections[number].entries, self.positions[number]
        known = {f.where for f in self.inspections[number].findings if f.kind == "unreadable image"}
        for entry, position in zip(entries, positions.tolist(), strict=True):
            if str(entry.image) not in known:
                yield from pixel_findings(
                    entry, self.found.sizes[position], bool(self.found.blank[position])
                )
        yield from self._copies(entries, positions)
        yield from self._across_splits(entries, positions)
        for other in range(len(self.inspections)):
            if other != number:
                yield from self._across_datasets(number, other)
        yield from self._repeated_design(number)

    def _mask(self, positions: np.ndarray) -> np.ndarray:
        mask = np.zeros(len(self.images), bool)
        mask[positions] = True
        return mask

    def _copies(self, entries: Sequence[Entry], positions: np.ndarray) -> Iterator[Finding]:
        first: dict[int, tuple[Entry, int]] = {}
        near: dict[int, int] = {}
        for entry, position in zip(entries, positions.tolist(), strict=True):
            copy = int(self.found.copy_of[position])
            original, its_position = first.setdefault(copy, (entry, position))
            if original is entry or its_position == position:
                continue  # the same file in two splits is another finding
            if not same_labels(original, entry):
                yield Finding("contradictory copies", str(entry.image),
                              f"other boxes than its copy {original.image}", entry.split)
            yield Finding("copy", str(entry.image), f"the bytes of {original.image}", entry.split)
        for pair in self.found.overlaps:
            near.setdefault(pair.second, pair.first)
        for entry, position in zip(entries, positions.tolist(), strict=True):
            if position in near and near[position] in first:
                original = first[near[position]][0]
                if original.split == entry.split:
                    yield Finding("near-duplicate", str(entry.image), f"like {original.image}",
                                  entry.split)

    def _across_splits(self, entries: Sequence[Entry], positions: np.ndarray) -> Iterator[Finding]:
        for later in (1, 2):
            for earlier in range(later):
                ours, theirs = (
                    self._mask(positions[[e.split == SPLITS[k] for e in entries]])
                    for k in (later, earlier)
                )
                for one, other, likeness in self.found.between(ours & ~theirs, theirs):
                    kind = "splits share a copy" if likeness > 1 else (
                        "splits share a near-duplicate" if likeness >= CERTAIN
                        else "splits may share a part"
                    )
                    yield Finding(
                        kind, self.images[one],
                        f"{_like(likeness)} {self.images[other]} in {SPLITS[earlier]}",
                        SPLITS[later],
                    )

    def _repeated_design(self, number: int) -> Iterator[Finding]:
        design = self.found.design[self.positions[number]]
        if (design < 0).all():
            return
        largest = int(np.bincount(design[design >= 0]).argmax())
        images = int((design == largest).sum())
        what = (f"one design, on several parts, makes {images / len(design):.0%} of the images "
                f"({images} of {len(design)})")
        others = [
            inspection.name for k, inspection in enumerate(self.inspections)
            if k != number and (self.found.design[self.positions[k]] == largest).any()
        ]
        if others:
            what += f"; it is also in {', '.join(others)}"
        yield Finding("repeated design", self.inspections[number].name, what)

    def _across_datasets(self, number: int, other: int) -> Iterator[Finding]:
        entries = self.inspections[number].entries
        theirs = self._mask(self.positions[other])
        seen = self._mask(self.positions[number][[e.split == "train" for e in entries]])
        unseen = self._mask(self.positions[number][[e.split != "train" for e in entries]])
        name = self.inspections[other].name
        split_of = {
            position: entry.split
            for position, entry in zip(self.positions[number].tolist(), entries, strict=True)
        }
        for kind, ours in (
            ("shared with another dataset", unseen), ("training images shared", seen & ~unseen),
        ):
            for one, like, likeness in self.found.between(ours, theirs):
                what = (
                    f"also in {name}" if one == like
                    else f"{_like(likeness)} {self.images[like]} of {name}"
                )
                split = split_of[one]
                doubtful = kind == "shared with another dataset" and likeness < CERTAIN
                yield Finding(
                    "may be shared with another dataset" if doubtful else kind,
                    self.images[one], what, split,
                )


class _Labelled:
    """What is labelled on the images of several datasets, classes numbered by their names."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._defects: dict[str, Defects] = {}

    def add(self, image: Entry | Sample, names: Sequence[str]) -> None:
        numbers = [self._numbers.setdefault(name, len(self._numbers)) for name in names]
        place = real_path(image.image)
        if len(image.classes) or place not in self._defects:
            classes = np.array(numbers, np.int64)[image.classes]
            self._defects[place] = Defects(classes, image.boxes)

    def of(self, images: Sequence[str]) -> list[Defects]:
        return [self._defects[image] for image in images]


def _like(likeness: float) -> str:
    return "equals" if likeness > 1 else f"like ({likeness:.2f})"


def unseen_images_in(
    target: Dataset, sources: Sequence[Dataset], workers: int = 2, progress: Progress = silent
) -> tuple[list[tuple[Path, Path, float]], ...]:
    """Find the images of each source that show what the target is validated or tested on.

    Parameters
    ----------
    target : Dataset
        Its val and test splits count.
    sources : sequence of Dataset
        Compared by pixels: other exposures and overlapping crops count as well as equal files;
        other parts of one design, with other defects, do not. Under the target's class names.
    workers : int
        Threads that read images.
    progress : callable
        Called with ``(what, done, total)`` during the work.

    Returns
    -------
    tuple of list of (Path, Path, float)
        For each source: its image, the most similar val or test image of the target, and the
        similarity: 2 for equal files, else a correlation, certain from ``duplicates.CERTAIN`` on.
    """
    unseen = {real_path(s.image): s.image for s in target.split("val", "test").samples}
    theirs = [
        {real_path(s.image): s.image for s in source.samples} for source in sources
    ]
    images = list(dict.fromkeys([*unseen, *(image for one in theirs for image in one)]))
    labelled = _Labelled()
    for dataset in (target, *sources):
        for sample in dataset.samples:
            labelled.add(sample, dataset.names)
    depths = {real_path(s.image): s.depth for d in (*sources, target) for s in d.samples}
    hidden = np.array([image in unseen for image in images], dtype=bool)
    found = find_duplicates(
        images, workers, lambda done, total: progress("looking for test images", done, total),
        across=hidden, defects=labelled.of(images),
        depths=[depths[image] for image in images],
    )
    return tuple(
        [
            (one[images[ours]], unseen[images[like]], likeness)
            for ours, like, likeness in found.between(
                np.array([image in one for image in images], dtype=bool), hidden
            )
        ]
        for one in theirs
    )


def run_split(
    path: str | Path,
    out: str | Path,
    shares: Sequence[float] = (0.6, 0.2, 0.2),
    groups: str | Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
    workers: int = 2,
) -> tuple[Path, Table]:
    """Split a dataset again; images of the same part stay together.

    Parameters
    ----------
    path : path-like
        A ``data.yaml``; its own splits are put together first.
    out : path-like
        A new folder: gets an Ultralytics dataset of links, and ``groups.csv``.
    shares : three floats
        Of train, val and test; they sum to 1.
    groups : path-like, optional
        A CSV with the columns ``image`` (file name, or its stem) and ``group``; without it,
        copies, exposures and overlapping crops are found and kept together; other parts of one
        design, with other defects, are not.
    seed : int
        Decides between equally good splits.
    progress : callable
        Called with ``(what, done, total)`` during the work.
    workers : int
        Threads that read images.

    Returns
    -------
    data : Path
        The new ``data.yaml``.
    table : Table
        Images, groups and boxes per class in each split. Its title says which shares were missed
        by more than ten points, and why.

    Raises
    ------
    DataError
        The dataset or the groups cannot be used, or there are fewer groups than splits.
    """
    from aoi_tl.data.splitting import read_groups, shares_missed, split_by_group
    from aoi_tl.data.yolo.read import load_dataset
    from aoi_tl.data.yolo.write import write_dataset
    from aoi_tl.report.tables import Table

    dataset = load_dataset(path)
    # An image in two splits counts once.
    samples = tuple({real_path(s.image): s for s in reversed(dataset.samples)}.values())
    samples = tuple(sorted(samples, key=lambda sample: str(sample.image)))
    images = [sample.image for sample in samples]
    if groups is None:
        found = find_duplicates(
            images, workers, lambda done, total: progress("reading images", done, total),
            defects=[Defects(sample.classes, sample.boxes) for sample in samples],
            depths=[sample.depth for sample in samples],
        )
        numbers = found.groups
    else:
        numbers = read_groups(groups, images)
    counts = np.stack([
        np.bincount(sample.classes, minlength=len(dataset.names)) for sample in samples
    ]) if samples else np.zeros((0, len(dataset.names)), int)
    chosen = split_by_group(numbers, counts, shares, np.random.default_rng(seed))
    missed = shares_missed(numbers, chosen, shares)
    anew = replace(dataset, notes=(), samples=tuple(
        replace(sample, split=SPLITS[split]) for sample, split in zip(samples, chosen, strict=True)
    ))
    lines = ["image,group,split"] + [
        f'"{image.name}",{group},{SPLITS[split]}'
        for image, group, split in zip(images, numbers.tolist(), chosen.tolist(), strict=True)
    ]
    written = write_dataset(anew, out, beside={"groups.csv": "\n".join(lines) + "\n"})
    rows = tuple(
        (split, str(int((chosen == k).sum())), str(len(set(numbers[chosen == k].tolist()))),
         *(str(int(n)) for n in counts[chosen == k].sum(axis=0)))
        for k, split in enumerate(SPLITS)
    )
    table = Table(f"{dataset.name}, split by group" + (f": {missed}" if missed else ""),
                  ("split", "images", "groups", *dataset.names), rows)
    return written, table
