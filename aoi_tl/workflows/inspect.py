"""Inspecting images with a detector and its thresholds: one verdict per image."""

from __future__ import annotations

import glob
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoi_tl.errors import CheckpointError, DataError, RunError
from aoi_tl.files.run_folder import write_atomically
from aoi_tl.workflows.progress import Progress, silent

if TYPE_CHECKING:
    from aoi_tl.transfer.inspector import Inspector


@dataclass(frozen=True)
class Verdict:
    """The verdict on one image.

    Attributes
    ----------
    image : Path
    verdict : {"pass", "reject", "unreadable"}
    boxes : tuple of dict
        ``class``, ``confidence`` and ``box`` (left, top, right and bottom in pixels) of each box
        that reaches its class's threshold, the most confident first.
    fault : str
        Why it cannot be read.
    """

    image: Path
    verdict: str
    boxes: tuple[dict[str, Any], ...] = ()
    fault: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that reject it."""
        return tuple(dict.fromkeys(box["class"] for box in self.boxes))

    def to_json(self) -> dict[str, Any]:
        """Give a line of ``verdicts.jsonl``."""
        found = {"image": str(self.image), "verdict": self.verdict, "boxes": list(self.boxes)}
        return {**found, "fault": self.fault} if self.fault else found


def run_inspection(
    model: Path,
    images: Sequence[Path],
    out: Path,
    progress: Progress = silent,
    say: Callable[[Verdict], None] = lambda verdict: None,
    note: Callable[[str], None] = lambda line: None,
) -> list[Verdict]:
    """Inspect images.

    Parameters
    ----------
    model : Path
        A checkpoint with thresholds, or what ``aoi-tl export-model`` wrote.
    images : sequence of Path
        Images, and folders or patterns of them.
    out : Path
        A new folder. Gets ``verdicts.csv``, ``verdicts.jsonl`` and, in ``pictures/``, each image
        with its boxes.
    progress : callable
        Called with how many images are done, and of how many.
    say : callable
        Called with each verdict at once.
    note : callable
        Called with what looks odd about the images, before the first verdict.

    Returns
    -------
    list of Verdict
        In the order of the images.

    Raises
    ------
    AoiTlError
        If the model, its thresholds, the images or the folder cannot be used. One image that cannot
        be read is a verdict, not an error.
    """
    from aoi_tl.transfer.inspector import Inspector
    from aoi_tl.transfer.thresholds import read_thresholds

    thresholds, place = read_thresholds(model)
    files = find_images(images)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"expected a new folder, got {out}, which is there; choose another --out")
    inspector = Inspector(model, thresholds.image_size)
    differing = set(inspector.names) ^ set(thresholds.values)
    if differing:
        raise CheckpointError(
            f"expected a threshold for each class of {model} ({', '.join(inspector.names)}), got "
            f"{', '.join(thresholds.values)} in {place}; correct {', '.join(sorted(differing))}"
        )
    depth = thresholds.depth or depth_of(files, note)
    names = picture_names(files)
    verdicts = []
    for number, file in enumerate(files):
        verdict = inspect_image(
            inspector, thresholds.values, file, out / "pictures" / names[file], depth
        )
        say(verdict)
        verdicts.append(verdict)
        progress("inspecting", number + 1, len(files))
    lines = (json.dumps(verdict.to_json(), ensure_ascii=False) for verdict in verdicts)
    write_atomically(out / "verdicts.jsonl", "".join(f"{line}\n" for line in lines))
    write_atomically(out / "verdicts.csv", as_csv(verdicts))
    return verdicts


def find_images(given: Sequence[Path]) -> list[Path]:
    """List the images of some files, folders and patterns, each once.

    Parameters
    ----------
    given : sequence of Path
        Files, folders (with all folders in them) and patterns.

    Returns
    -------
    list of Path

    Raises
    ------
    DataError
        If one of them has no image.
    """
    from aoi_tl.data.images import IMAGE_SUFFIXES

    def inside(place: Path) -> Iterator[Path]:
        if place.is_dir():
            yield from sorted(
                file for file in place.rglob("*")
                if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
            )
        elif place.is_file():
            yield place

    found: dict[Path, None] = {}
    for word in given:
        places = [word]
        if not word.exists() and glob.has_magic(str(word)):
            places = [Path(file) for file in sorted(glob.glob(str(word), recursive=True))]
        files = [file for place in places for file in inside(place)]
        if not files:
            what = "a folder without one" if word.is_dir() else "nothing there"
            raise DataError(f"expected an image at {word}, got {what}; correct the path")
        found |= dict.fromkeys(files)
    return list(found)


def depth_of(files: Sequence[Path], note: Callable[[str], None]) -> int:
    """Find how many bits images use that store 16, where their detector does not know it.

    Parameters
    ----------
    files : sequence of Path
    note : callable
        Called with how it was found.

    Returns
    -------
    int
        16 where none of the images stores more than 8 bits.
    """
    from aoi_tl.data.depth import find_depth

    found = find_depth(files)
    if found.note:
        note(f"{found.note}; \"depth\": 12 or the like, in the thresholds.json, sets it")
    return found.bits


def picture_names(files: Sequence[Path]) -> dict[Path, Path]:
    """Name a picture for each image, in the same folder structure as the images.

    Parameters
    ----------
    files : sequence of Path

    Returns
    -------
    dict of Path to Path
        Relative, by image.

    Examples
    --------
    >>> [str(p) for p in picture_names([Path("/a/x/1.png"), Path("/a/y/1.png")]).values()]
    ['x/1.png.jpg', 'y/1.png.jpg']
    """
    absolute = {file: Path(os.path.abspath(file)) for file in files}
    root = os.path.commonpath([file.parent for file in absolute.values()])
    return {
        file: place.relative_to(root).with_name(f"{place.name}.jpg")
        for file, place in absolute.items()
    }


def inspect_image(
    inspector: Inspector, thresholds: dict[str, float], file: Path, picture: Path, depth: int = 16
) -> Verdict:
    """Pass or reject one image, and draw its picture."""
    from aoi_tl.data.images import read_image
    from aoi_tl.report.verdict_image import verdict_image

    try:
        pixels = read_image(file, depth)
    except DataError as error:
        return Verdict(file, "unreadable", fault=str(error))
    height, width = pixels.shape[:2]
    found = inspector.find_boxes(pixels)
    boxes = tuple(
        {
            "class": inspector.names[label], "confidence": round(float(confidence), 4),
            "box": [round(float(side), 1) for side in box * (width, height, width, height)],
        }
        for label, confidence, box in zip(found.class_id, found.confidence, found.box, strict=True)
        if confidence >= thresholds[inspector.names[label]]
    )
    verdict = Verdict(file, "reject" if boxes else "pass", boxes)
    labels = [(f"{box['class']} {box['confidence']:.2f}", box["box"]) for box in boxes]
    write_atomically(picture, verdict_image(pixels, verdict.verdict, labels))
    return verdict


def as_csv(verdicts: Sequence[Verdict]) -> str:
    """Give ``verdicts.csv``: image, verdict, boxes, classes, and the highest confidence."""
    import csv

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "verdict", "boxes", "classes", "confidence"])
    for one in verdicts:
        table.writerow([
            one.image, one.verdict, len(one.boxes), ";".join(one.classes),
            one.boxes[0]["confidence"] if one.boxes else "",
        ])
    return text.getvalue()
