"""Import and export of other tools' annotation formats."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.images import unwritable_error
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.data.yolo.write import building_folder, place_images, write_dataset
from aoi_tl.errors import DataError
from aoi_tl.formats import (
    archive,
    coco,
    cvat,
    deeppcb,
    folders,
    labelme,
    masks,
    table,
    voc,
    yolo,
)
from aoi_tl.formats.recognise import recognise
from aoi_tl.formats.record import (
    IMAGE_FOLDERS,
    MOST_FAULTY,
    Findings,
    ImageFinder,
    image_folder,
    to_dataset,
    with_splits,
)

__all__ = ["EXPORTS", "FORMATS", "Imported", "export_dataset", "import_dataset"]

FORMATS = ("coco", "voc", "labelme", "cvat", "yolo", "deeppcb", "masks", "folders", "csv")
EXPORTS = ("coco", "voc")


@dataclass(frozen=True, eq=False)
class Imported:
    """An imported dataset, with notes on everything unusual.

    ``faults`` are what was left out because it could not be used, a line each.
    """

    path: Path
    dataset: Dataset
    notes: tuple[str, ...]
    faults: tuple[str, ...] = ()


def import_dataset(
    format: str | None,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    names: Sequence[str] | None = None,
    split: str | None = None,
    link: bool = False,
    gap: int = 4,
    area: int = 8,
    threshold: int = 127,
    values: Mapping[int, str] | None = None,
    label: str = "defect",
    first_pixel: int = 0,
    skip_faulty: bool = False,
    most_faulty: float = MOST_FAULTY,
) -> Imported:
    """Convert annotations of another tool to an Ultralytics dataset.

    Parameters
    ----------
    format : {"coco", "voc", "labelme", "cvat", "yolo", "deeppcb", "masks", "folders", "csv"}
        What the source is; None to find out.
    source : path-like
        Annotation file, folder of them, or a .zip of either. Only read.
    out : path-like
        The new folder; it appears at once, complete.
    images : path-like, optional
        Where the images are; by default beside the annotations or in a folder ``images`` near them.
    names : sequence of str, optional
        All class names in the order of their ids. By default COCO's categories, CVAT's labels, else
        the names found, sorted.
    split : {"train", "val", "test"}, optional
        Where all images go; by default where the source says, else to ``train``.
    link : bool
        Link to the images instead of copying them.
    gap, area, threshold, values, label
        How masks become boxes, see ``masks.read``.
    first_pixel : {0, 1}
        What VOC files call the upper left pixel, see ``voc.read``.
    skip_faulty : bool
        Leave out what cannot be used, and an image of which nothing else is left; counted by kind
        in the notes.
    most_faulty : float
        The share of all annotations above which ``skip_faulty`` still refuses them.

    Returns
    -------
    Imported
        With ``notes``: images not found, boxes clipped, given twice or without area, ...

    Raises
    ------
    DataError
        The source cannot be used; the first fault is named and the others are counted. Nothing is
        written then.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from aoi_tl.data.images import write_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_image(Path(folder, "a.png"), np.zeros((40, 50), np.uint8))
    ...     table = Path(folder, "boxes.csv")
    ...     _ = table.write_text("filename,class,xmin,ymin,xmax,ymax\\na.png,dent,0,10,25,30\\n")
    ...     done = import_dataset("csv", table, Path(folder, "new"))
    ...     done.dataset.names, done.dataset.samples[0].boxes.tolist()
    (('dent',), [[0.25, 0.5, 0.5, 0.5]])
    """
    source, out = Path(source), Path(out)
    if format is not None and format not in FORMATS:
        raise DataError(f"expected a format of {', '.join(FORMATS)}, got {format!r}; choose one")
    if split not in (None, "train", "val", "test"):
        raise DataError(f"expected train, val or test as split, got {split!r}; choose one")
    if first_pixel not in (0, 1) or gap < 0 or area < 0:
        raise DataError(
            f"expected first_pixel 0 or 1 and gap, area of at least 0, got {first_pixel}, {gap}, "
            f"{area}; correct the setting"
        )
    if not source.exists():
        raise DataError(f"{source}: expected annotations, got nothing there; check the path")
    scratch = building_folder(out)
    try:
        findings = Findings(source, skip_faulty, most_faulty)
        place, copies = _opened(source, scratch, findings)
        if format is None:
            format = recognise(place)
        finder = _finder(format, place, Path(images) if images is not None else None)
        if format == "voc":
            records = voc.read(place, finder, findings, first_pixel)
        elif format == "labelme":
            records = labelme.read(place, finder, findings, scratch / "embedded")
        elif format == "masks":
            records = masks.read(place, finder, findings, gap, area, threshold, values, label)
        else:
            reader = {
                "coco": coco, "cvat": cvat, "yolo": yolo, "deeppcb": deeppcb, "folders": folders,
                "csv": table,
            }[format]
            records = reader.read(place, finder, findings)
        if names is None:
            names = _known_names(format, place, findings)
        below = place if place.is_dir() else place.parent
        every = list(with_splits(records, below, finder, findings))
        for name, several in finder.ambiguous.items():
            findings.fault(
                str(source),
                f"expected one image called {name!r}, got {len(several)}: {several[0]}, "
                f"{several[1]}; name a folder with only one of them as 'images'",
            )
        if not finder.ambiguous:
            _refuse_missing(findings, len({record.image for record in every}))
        dataset = to_dataset(every, findings, out.name, names, split)
        if format != "masks" and finder.unused():
            findings.note(
                f"images without an annotation left out ({len(finder.unused())} in all)",
                finder.unused()[0],
            )
        if "train" not in dataset.splits:
            raise DataError(
                f"{source}: expected images to train on, got only {', '.join(dataset.splits)}; "
                "set split to 'train'"
            )
        embedded = scratch / "embedded"
        path = write_dataset(dataset, out, copy=copies or not link or embedded.is_dir())
        notes = tuple(_as_given(note, source, scratch) for note in findings.notes())
    except DataError as error:
        raise DataError(_as_given(str(error), source, scratch)) from error
    except OSError as error:
        raise unwritable_error(out, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    faults = tuple(_as_given(fault, source, scratch) for fault in findings.faults)
    return Imported(path, load_dataset(path), notes, faults)


def export_dataset(
    dataset: Dataset,
    format: str,
    out: str | os.PathLike[str],
    link: bool = False,
    first_pixel: int = 0,
) -> Path:
    """Write a dataset for another tool.

    Parameters
    ----------
    dataset : Dataset
        Any dataset.
    format : {"coco", "voc"}
        ``coco``: ``images/<split>/`` and ``annotations/<split>.json``; ``voc``: ``JPEGImages/``,
        ``Annotations/`` and ``ImageSets/Main/<split>.txt``, edges rounded to whole pixels.
    out : path-like
        A new folder; it appears at once, complete.
    link : bool
        Link to the images instead of copying them.
    first_pixel : {0, 1}
        What VOC files call the upper left pixel, see ``voc.read``.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        Unknown format, no images, or a folder that is in use.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from aoi_tl.data.dataset import Sample
    >>> from aoi_tl.data.images import write_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_image(Path(folder, "a.png"), np.zeros((40, 50), np.uint8))
    ...     sample = Sample(Path(folder, "a.png"), "train", np.array([0]), np.full((1, 4), 0.5))
    ...     dataset = Dataset("line-1", Path("data.yaml"), ("dent",), (sample,))
    ...     written = export_dataset(dataset, "voc", Path(folder, "voc"))
    ...     sorted(path.name for path in written.iterdir())
    ['Annotations', 'ImageSets', 'JPEGImages']
    """
    out = Path(out)
    if format not in EXPORTS:
        raise DataError(f"expected a format of {', '.join(EXPORTS)}, got {format!r}; choose one")
    if not dataset.samples:
        raise DataError(f"{dataset.name}: expected images to write, got none; choose a dataset")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: expected a new folder, got one in use; name another folder")
    building = building_folder(out)
    try:
        files: dict[str, list[str]] = {}
        taken: set[str] = set()
        for split in dataset.splits:
            inside = f"images/{split}" if format == "coco" else "JPEGImages"
            # With depth 16, every file stays as it is.
            samples = [replace(sample, depth=16) for sample in dataset.split(split).samples]
            # VOC has one folder for all splits, so names must differ between them as well.
            placed = place_images(samples, building / inside, copy=not link, taken=taken)
            below = f"{split}/" if format == "coco" else ""
            files[split] = [f"{below}{path.name}" for path in placed]
        if format == "coco":
            coco.write(dataset, files, building)
        else:
            voc.write(dataset, files, building, first_pixel)
        building.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(building, out)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        raise unwritable_error(out, error) from error
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return out


def _as_given(words: str, source: Path, scratch: Path) -> str:
    """Name an archive's files relative to it; the temporary folder is removed afterwards."""
    return words.replace(str(scratch / "unpacked"), str(source))


def _opened(source: Path, scratch: Path, findings: Findings) -> tuple[Path, bool]:
    """Unpack a .zip; return the source's folder and whether it is temporary."""
    if source.suffix.lower() != ".zip":
        return source, False
    unpacked = scratch / "unpacked"
    unpacked.mkdir()
    others = archive.extract(source, unpacked)
    if others:
        findings.note(f"archive with members of other kinds left out ({others} in all)", source)
    # An archive often holds one folder with everything in it.
    inside = list(unpacked.iterdir())
    return (inside[0] if len(inside) == 1 and inside[0].is_dir() else unpacked), True


def _finder(format: str, source: Path, images: Path | None) -> ImageFinder:
    if format == "folders":
        return ImageFinder(source)
    if format != "masks":
        return ImageFinder(image_folder(source, images))
    if not source.is_dir():
        raise DataError(f"{source}: expected a folder of masks, got a file; name the folder")
    folders = masks.mask_folders(source)
    beside = [folder.parent / name for folder in folders for name in IMAGE_FOLDERS]
    beside = [folder for folder in beside if folder.is_dir()]
    if images is not None:
        return ImageFinder(image_folder(source, images), skip=folders)
    if folders != [source]:
        return ImageFinder(source, folders, beside)
    if not beside:
        raise DataError(
            f"{source}: expected a folder of images beside the masks, got none; name it as "
            "'images'"
        )
    return ImageFinder(beside[0], folders)


def _known_names(format: str, place: Path, findings: Findings) -> list[str] | None:
    """The class names that a source lists, those without instances included."""
    if format == "coco":
        return coco.category_names(place, findings) or None
    if format == "cvat":
        return cvat.label_names(place) or None
    if format == "yolo":
        return yolo.class_names(place)
    return list(deeppcb.NAMES) if format == "deeppcb" else None


def _refuse_missing(findings: Findings, found: int) -> None:
    what = "annotated images not found"
    missing = findings.odd[what]
    if missing > found:
        raise DataError(
            f"{findings.source}: expected the annotated images, got {missing} not found and "
            f"{found} found, the first {findings.first[what]}; name their folder as 'images'"
        )
