"""Ultralytics datasets: a ``data.yaml`` in, a ``data.yaml`` out, the user's folders untouched."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aoi_tl.data.dataset import SPLITS, Dataset, Sample
from aoi_tl.data.images import (
    IMAGE_SUFFIXES,
    MAX_IMAGE_BYTES,
    ULTRALYTICS_SUFFIXES,
    ends_as_jpeg_should,
    image_fault,
    read_stored,
    unwritable,
    write_image,
)
from aoi_tl.data.label_file import LabelFault, LabelFile, format_labels, read_label_file
from aoi_tl.data.labels import apply_aliases, normal_name
from aoi_tl.data.yaml_file import read_yaml
from aoi_tl.errors import DataError
from aoi_tl.ordinary import read_ordinary, real_path
from aoi_tl.remote import is_remote, kind_of, list_remote, place_of, url_of

_MARK = "# Written by aoi-tl:"
_UNFINISHED = ".unfinished-"  # runs.UNFINISHED: a resumed run removes what a killed one left
_MAX_LIST = 256 * 1024 * 1024  # bytes; a list of a million images has less
_REQUESTS = 32  # to object storage at once: each is mostly waiting
_NO_ROWS = LabelFile(np.zeros(0, np.int64), np.zeros((0, 4)))


def load_dataset(path: str | os.PathLike[str], aliases: Mapping[str, str] | None = None) -> Dataset:
    """Load a detection dataset from an Ultralytics ``data.yaml``, reading only.

    ``train``, ``val`` and ``test`` are folders, lists of folders, or ``.txt`` lists; ``path`` is
    absolute, relative to the YAML (else to the working folder), a URL (``s3://``, ``gs://``,
    ``memory://``, ``file://``), or absent; ``names`` is a list or a map. Labels lie where
    Ultralytics looks for them: the last ``images`` folder of the path becomes ``labels``. Polygons
    count as their box. ``download`` is never run, no label cache is read.

    Parameters
    ----------
    path : path-like
        The YAML file.
    aliases : mapping of str to str, optional
        Class names and the canonical ones that replace them.

    Returns
    -------
    Dataset
        Samples ordered by split and path. What was left out is counted in ``notes``: missing and
        broken images, images without a label file, boxes without area.

    Raises
    ------
    DataError
        The YAML, the images as a whole, or a label row cannot be used.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_image(Path(folder, "a.png"), np.zeros((32, 32), np.uint8))
    ...     sample = Sample(Path(folder, "a.png"), "train", np.array([0]), np.full((1, 4), 0.5))
    ...     dataset = Dataset("line-1", Path("data.yaml"), ("dent",), (sample,))
    ...     written = write_dataset(dataset, Path(folder, "line-1"))
    ...     load_dataset(written).counts
    {'dent': 1}
    """
    path = Path(path)
    content = read_yaml_map(path)
    notes: list[str] = []
    names = read_names(content, path)
    root = find_root(content, path, notes)
    reading = _Reading(path, len(names), keypoint_columns(content))
    samples: list[Sample] = []
    train_images: list[Path] = []
    for split in SPLITS:
        entry = content.get("validation") if split == "val" and "val" not in content else None
        entry = content.get(split, entry)
        if not entry:
            if split == "train":
                raise DataError(
                    f"{path}: expected a train entry, got none; "
                    "add 'train:' with a folder of images or a .txt list"
                )
            continue
        images = find_split(split, entry, root, path, notes)
        if split == "val" and images == train_images:
            # Ultralytics asks for a val entry; naming train again says that there is none.
            notes.append("'val' names the images of 'train'; it is taken as absent")
            continue
        train_images = images if split == "train" else train_images
        samples += reading.read_split(split, images)
    reading.refuse_faults()
    notes += reading.notes()
    reading.refuse_unlabelled(len(samples))
    notes += _overlap_notes(samples)
    name = dataset_name(path)
    # A name given twice has one meaning; its boxes are merged under its first id.
    positions = list(dict.fromkeys(names))
    if len(positions) < len(names):
        notes.append(f"{len(names) - len(positions)} class names given twice were merged")
    dataset = apply_aliases(Dataset(name, path, names, tuple(samples), tuple(notes)), {})
    return apply_aliases(dataset, aliases) if aliases else dataset


def read_yaml_map(path: Path) -> dict[Any, Any]:
    """Read a ``data.yaml``.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        What it says.

    Raises
    ------
    DataError
        It cannot be read, or is no map.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: expected a map with train, val and names, got {_kind(content)}; "
            "see the dataset page of Ultralytics"
        )
    return content


def dataset_name(path: Path) -> str:
    """Name a dataset by its YAML, or by the YAML's folder where that says no more than "data".

    Parameters
    ----------
    path : Path
        The ``data.yaml``; it need not exist.

    Returns
    -------
    str
        What tables and reports call the dataset.

    Examples
    --------
    >>> dataset_name(Path("shelf/line-1/data.yaml")), dataset_name(Path("shelf/line-1.yaml"))
    ('line-1', 'line-1')
    """
    if path.stem not in ("data", "dataset"):
        return path.stem
    return Path(os.path.abspath(path)).parent.name  # unlike resolve(), at ease with a loop of links


def write_dataset(
    dataset: Dataset,
    folder: str | os.PathLike[str],
    copy: bool = False,
    beside: Mapping[str, str] | None = None,
) -> Path:
    """Write a dataset that plain Ultralytics trains on: links to the images, own label files.

    Ultralytics may write what it likes into the folder without reaching the originals: a JPEG
    without its end marker, which Ultralytics would save again through the link, is copied and
    completed; an image on object storage is copied in; one in a format that only OpenCV reads
    becomes a PNG. Without a ``val`` split
    the YAML names ``train`` in its place, without a ``train`` split an empty folder.

    Parameters
    ----------
    dataset : Dataset
        At least one sample.
    folder : path-like
        A new folder, or one that this function wrote before (it is replaced). It appears at once,
        complete.
    copy : bool
        Copy all images instead of linking to them.
    beside : mapping of str to str, optional
        Further files of the folder: their names, and what they hold.

    Returns
    -------
    Path
        The new ``data.yaml``.

    Raises
    ------
    DataError
        No samples, a missing image, a folder with somebody's files in it, or one that cannot be
        written to.

    Examples
    --------
    See ``load_dataset``.
    """
    folder = Path(folder)
    if not dataset.samples:
        raise DataError(
            f"{dataset.name}: expected images to write, got none; choose a dataset with images"
        )
    _refuse_foreign(folder)
    building = building_folder(folder)
    try:
        linked = copied = 0
        (building / "images" / "train").mkdir(parents=True)
        for split in dataset.splits:
            images, labels = building / "images" / split, building / "labels" / split
            labels.mkdir(parents=True)
            samples = dataset.split(split).samples
            placed = place_images(samples, images, copy, set())
            for sample, place in zip(samples, placed, strict=True):
                linked, copied = linked + place.is_symlink(), copied + (not place.is_symlink())
                rows = format_labels(sample.classes, sample.boxes)
                (labels / f"{place.stem}.txt").write_text(rows, encoding="utf-8")
        text = _yaml_text(dataset, linked, copied)
        for name, content in {"data.yaml": text, **(beside or {})}.items():
            (building / name).write_text(content, encoding="utf-8")
        building.chmod(0o755)  # mkdtemp's folders are closed to everybody else
        _swap_in(building, folder)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        raise unwritable(folder, error) from error
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return folder / "data.yaml"


def building_folder(folder: Path) -> Path:
    """Make a hidden folder beside one that shall appear at once, complete.

    Parameters
    ----------
    folder : Path
        The folder that shall appear.

    Returns
    -------
    Path
        Where to build it; on the same disk, so that it can be renamed.

    Raises
    ------
    DataError
        Nothing can be written there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{_UNFINISHED}{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise unwritable(folder, error) from error


@dataclass
class _Reading:
    """The samples read so far, and what was wrong with the rest."""

    yaml: Path
    n_classes: int
    keypoint_columns: int
    faults: list[LabelFault] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)
    first_broken: dict[str, Path] = field(default_factory=dict)
    unlabelled: Counter[str] = field(default_factory=Counter)
    labelled: int = 0
    without_area: int = 0
    missing_label: Path | None = None

    def read_split(self, split: str, images: list[Path]) -> Iterator[Sample]:
        found: list[Path] = []
        missing: list[Path] = []
        for image, fault in zip(images, _each(image_fault, images), strict=True):
            if fault is None:
                found.append(image)
                continue
            if fault == "no such file":
                missing.append(image)
            self.broken[f"{fault} ({split})"] += 1
            self.first_broken.setdefault(f"{fault} ({split})", image)
        if len(missing) * 2 > len(images):
            raise DataError(
                f"{self.yaml}: expected the images of {split}, got {len(missing)} missing of "
                f"{len(images)}, the first {missing[0]}; correct 'path' or the list"
            )
        if images and not found:
            fault, first = next(iter(self.first_broken.items()))
            raise DataError(
                f"{self.yaml}: expected images for {split}, got none that can be read, the first "
                f"{first}: {fault}; replace the files"
            )
        labels = [label_path(image) for image in found]
        read = partial(
            read_label_file, n_classes=self.n_classes, keypoint_columns=self.keypoint_columns
        )
        for image, label, rows in zip(found, labels, _each(read, labels), strict=True):
            if rows is None:
                self.unlabelled[split] += 1
                self.missing_label = self.missing_label or label
                rows = _NO_ROWS
            else:
                self.labelled += 1
            self.faults += rows.faults
            self.without_area += rows.without_area
            yield Sample(image, split, rows.classes, rows.boxes)

    def refuse_faults(self) -> None:
        if not self.faults:
            return
        more = len(self.faults) - 1
        files = len({fault.file for fault in self.faults})
        rest = f" (and {more} more such rows, {files} files in all)" if more else ""
        raise DataError(f"{self.faults[0]}{rest}")

    def refuse_unlabelled(self, images: int) -> None:
        if images and not self.labelled:
            raise DataError(
                f"{self.yaml}: expected label files beside the images, got none for {images} "
                f"images, the first would be {self.missing_label}; put the labels there (an empty "
                "file marks an image without defects)"
            )

    def notes(self) -> list[str]:
        notes = [
            f"{count} images left out: {fault}, the first {self.first_broken[fault]}"
            for fault, count in self.broken.items()
        ]
        if self.unlabelled:
            where = ", ".join(f"{split} {count}" for split, count in self.unlabelled.items())
            notes.append(f"{self.unlabelled.total()} images without a label file ({where})")
        if self.without_area:
            notes.append(f"{self.without_area} boxes without area left out")
        return notes


def _each(read: Callable[[Path], Any], paths: list[Path]) -> Iterator[Any]:
    """Read files in order; from object storage, many at once."""
    if not any(map(is_remote, paths)):
        return map(read, paths)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return iter(list(pool.map(read, paths)))


def label_path(image: Path) -> Path:
    """Where Ultralytics looks for the label file of an image.

    Parameters
    ----------
    image : Path
        An image file.

    Returns
    -------
    Path
        The last folder called ``images`` becomes ``labels``, the suffix ``.txt``.

    Examples
    --------
    >>> label_path(Path("/data/images/old/images/train/a.b.png")).as_posix()
    '/data/images/old/labels/train/a.b.txt'
    """
    old, new = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return Path(new.join(os.fspath(image).rsplit(old, 1)).rsplit(".", 1)[0] + ".txt")


def read_names(content: dict[Any, Any], path: Path) -> tuple[str, ...]:
    """Read the class names of a dataset.

    Parameters
    ----------
    content : dict
        The YAML.
    path : Path
        Its file, for the message.

    Returns
    -------
    tuple of str
        In the order of their ids.

    Raises
    ------
    DataError
        No names, or not one for each id.
    """
    names = content.get("names")
    cure = "write names as a list, or as a map from 0, 1, 2, ... to the names"
    if names is None:
        raise DataError(f"{path}: expected class names, got no 'names'; {cure}")
    if isinstance(names, dict):
        try:
            numbered = {int(key): name for key, name in names.items()}
        except (TypeError, ValueError):
            raise DataError(
                f"{path}: expected class ids as keys of names, got {list(names)[:3]}; {cure}"
            ) from None
        if sorted(numbered) != list(range(len(names))):
            raise DataError(
                f"{path}: expected class ids 0 to {len(names) - 1} in names, got "
                f"{sorted(numbered)[:20]}; {cure}"
            )
        names = [numbered[i] for i in range(len(numbered))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: expected class names, got {_kind(names)}; {cure}")
    if any(isinstance(name, list | dict) or not normal_name(name) for name in names):
        raise DataError(f"{path}: expected every class name to be text; {cure}")
    count = content.get("nc")
    if isinstance(count, int) and count != len(names):
        raise DataError(
            f"{path}: expected as many names as 'nc: {count}', got {len(names)}; correct one"
        )
    return tuple(normal_name(name) for name in names)


def find_root(content: dict[Any, Any], path: Path, notes: list[str]) -> Path:
    """Find the folder that a dataset's entries are relative to.

    Parameters
    ----------
    content : dict
        The YAML.
    path : Path
        Its file.
    notes : list of str
        Gets a line where ``path`` names no folder and the YAML's own is taken.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        There is no such folder.
    """
    here = path.parent if is_remote(path) else Path(os.path.abspath(path)).parent
    entry = content.get("path")
    if entry is None or entry == "":
        return here
    if not isinstance(entry, str):
        raise DataError(f"{path}: expected 'path' to be a folder, got {_kind(entry)}; correct it")
    place = place_of(entry, f"{path}, path")
    if place is not None:
        if not _kind_at(place):
            raise DataError(
                f"{path}: expected the folder 'path: {entry}', got nothing there; correct 'path'"
            )
        return place
    for root in (here / entry, Path.cwd() / entry):
        if os.path.exists(root):
            return root
    # Datasets are copied between machines with the old machine's 'path' in them.
    train = content.get("train")
    first = train[0] if isinstance(train, list) and train else train
    if isinstance(first, str) and os.path.exists(here / first):
        notes.append(f"'path: {entry}' does not exist; the folder of the YAML was taken instead")
        return here
    raise DataError(
        f"{path}: expected the folder 'path: {entry}', got no such folder in {here}; correct 'path'"
    )


def keypoint_columns(content: dict[Any, Any]) -> int:
    """Count the columns of keypoints behind each box of a pose dataset.

    Parameters
    ----------
    content : dict
        The YAML.

    Returns
    -------
    int
        0 for any other dataset.
    """
    shape = content.get("kpt_shape")
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, int) for n in shape):
        return max(0, shape[0] * shape[1])
    return 0


def find_split(split: str, entry: object, root: Path, yaml: Path, notes: list[str]) -> list[Path]:
    """Find the images of a split.

    Parameters
    ----------
    split : {"train", "val", "test"}
    entry : object
        What the YAML says: a folder, a ``.txt`` list, or a list of them.
    root : Path
        From ``find_root``.
    yaml : Path
        The YAML file, for the message.
    notes : list of str
        Gets a line for what was passed over.

    Returns
    -------
    list of Path
        Sorted, each once; those that a list names need not exist.

    Raises
    ------
    DataError
        The entry is of another kind, or names nothing.
    """
    entries = entry if isinstance(entry, list) else [entry]
    images: list[Path] = []
    for item in entries:
        if not isinstance(item, str) or "\0" in item:
            raise DataError(
                f"{yaml}: expected {split} to be a folder, a .txt list or a list of them, got "
                f"{_kind(item)}; correct '{split}'"
            )
        place = place_of(item, f"{yaml}, {split}") or root / item
        if is_remote(place):
            images += _find_remote(place, root, notes, f"{yaml}, {split}")
            continue
        if not os.path.exists(place) and item.startswith("../"):
            place = root / item[3:]  # Roboflow writes one folder too high; Ultralytics forgives it
        # Ultralytics resolves folders before it looks for /images/ in them.
        place = Path(os.path.realpath(place))
        if os.path.isdir(place):
            images += _scan(place)
        elif os.path.isfile(place) and place.suffix.lower() in IMAGE_SUFFIXES:
            images.append(place)
        elif os.path.isfile(place):
            images += _read_list(place, root, notes)
        elif split == "test":
            notes.append(f"'test: {item}' does not exist; there is no such part of the test split")
        else:
            raise DataError(
                f"{yaml}: expected a folder or .txt list for {split}, got nothing at {place}; "
                f"correct '{split}' or 'path'"
            )
    if not images and split != "test":
        raise DataError(
            f"{yaml}: expected images for {split}, got none in {entry!r}; "
            f"name a folder or list with images ({', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    ordered = sorted(set(images))
    if len(ordered) < len(images):
        count = len(images) - len(ordered)
        notes.append(f"{count} images named more than once in {split} were taken once")
    return ordered


def _find_remote(place: Path, root: Path, notes: list[str], where: str) -> list[Path]:
    """Find the images of one entry that stands for a URL, as `find_split` does for local ones."""
    kind = _kind_at(place)
    if kind == "file" and place.suffix.lower() in IMAGE_SUFFIXES:
        return [place]
    if kind == "file":
        return _read_list(place, root, notes)
    if kind == "directory":
        return [
            path for path in list_remote(place)
            if path.suffix.lower() in IMAGE_SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(place).parts)
        ]
    raise DataError(
        f"{where}: expected a folder or .txt list, got nothing at {url_of(place)}; correct it, or "
        "'path'"
    )


def _kind_at(place: Path) -> str | None:
    """What lies at a place: "file", "directory" or nothing."""
    if not is_remote(place):
        return "directory" if os.path.isdir(place) else "file" if os.path.isfile(place) else None
    try:
        return kind_of(place)
    except OSError as error:
        raise DataError(
            f"{url_of(place)}: expected to look there, got {error.strerror}; check the address, "
            "your rights and the network"
        ) from error


def _scan(folder: Path) -> Iterator[Path]:
    """Yield the images below a folder, as Ultralytics' ``**/*.*`` does: nothing hidden."""
    seen: set[str] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        current = waiting.pop()
        real = os.path.realpath(current)
        if real in seen:  # a link to a folder above would never end
            continue
        seen.add(real)
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        waiting.append(entry.path)
                    elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                        yield Path(entry.path)
        except OSError as error:
            raise DataError(
                f"{current}: expected a readable folder, got {error.strerror}; change its rights"
            ) from error


def _read_list(path: Path, root: Path, notes: list[str]) -> list[Path]:
    try:
        text = read_ordinary(path, _MAX_LIST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x}; "
            "save the list as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: expected a list, got {error.strerror}; check it") from error
    images: list[Path] = []
    others = 0
    # One listing costs less than a question for each image.
    exists = set(list_remote(root)).__contains__ if is_remote(root) else os.path.exists
    for line in text.splitlines():
        entry = line.strip().replace("\\", "/") if os.sep == "/" else line.strip()
        if not entry:
            continue
        if "\0" in entry or os.path.splitext(entry)[1].lower() not in IMAGE_SUFFIXES:
            others += 1
        elif entry.startswith("./"):
            images.append(path.parent / entry[2:])
        elif (place := place_of(entry, str(path))) is not None:
            images.append(place)
        else:
            images.append(
                next((p for p in (root / entry, path.parent / entry) if exists(p)), root / entry)
            )
    if others:
        notes.append(f"{others} lines of {path.name} name no image and were passed over")
    return [image if is_remote(image) else Path(os.path.normpath(image)) for image in images]


def _overlap_notes(samples: list[Sample]) -> list[str]:
    by_split = {split: {s.image for s in samples if s.split == split} for split in SPLITS}
    return [
        f"{len(by_split[a] & by_split[b])} images are in both {a} and {b}"
        for a, b in (("train", "val"), ("train", "test"), ("val", "test"))
        if by_split[a] & by_split[b]
    ]


def _unique_stem(image: Path, taken: set[str]) -> str:
    """Name label files apart, also on file systems that do not tell A from a."""
    # A name that is no Unicode cannot go into Ultralytics' cache, a hidden one is not found.
    stem = image.stem.encode("utf-8", "replace").decode().lstrip(".") or "image"
    unique, number = stem, 2
    while unique.casefold() in taken:
        unique, number = f"{stem}-{number}", number + 1
    taken.add(unique.casefold())
    return unique


def place_images(
    samples: Sequence[Sample], folder: Path, copy: bool, taken: set[str]
) -> list[Path]:
    """Put the images of samples into a folder, each under a stem of its own.

    Parameters
    ----------
    samples : sequence of Sample
        Their images.
    folder : Path
        Made where it is missing.
    copy : bool
        Copy instead of linking.
    taken : set of str
        Stems (casefolded) that are in use; those given here are added.

    Returns
    -------
    list of Path
        Where each image is now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _place_image(sample.image, folder, _unique_stem(sample.image, taken), copy)
        for sample in samples
    ]


def _place_image(image: Path, folder: Path, stem: str, copy: bool) -> Path:
    """Put an image into a folder; return where."""
    original = Path(real_path(image))
    suffix = image.suffix.lower()
    try:
        if suffix not in ULTRALYTICS_SUFFIXES:
            place = folder / f"{stem}.png"
            write_image(place, read_stored(original))
            return place
        place = folder / f"{stem}{image.suffix}"
        if not ends_as_jpeg_should(original):
            # The end marker is all that Ultralytics asks for; the pixels stay as they are.
            place.write_bytes(read_ordinary(original, MAX_IMAGE_BYTES) + b"\xff\xd9")
            return place
        if is_remote(original):  # Ultralytics reads files of this machine alone
            place.write_bytes(read_ordinary(original, MAX_IMAGE_BYTES))
            return place
        if not copy:
            try:
                place.symlink_to(original)
                return place
            except (OSError, NotImplementedError):  # Windows without the right to link
                place.unlink(missing_ok=True)
        shutil.copyfile(original, place)
        return place
    except FileNotFoundError as error:
        raise DataError(
            f"{image}: expected the image, got no such file; load the dataset again"
        ) from error


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a new folder, got a file; name another folder")
    ours = folder / "data.yaml"
    if ours.is_file():
        with open(ours, "rb") as file:
            if file.read(len(_MARK)) == _MARK.encode():
                return
    if any(folder.iterdir()):
        raise DataError(
            f"{folder}: expected a new folder, got one with other files in it; name another folder"
        )


def _swap_in(building: Path, folder: Path) -> None:
    """Put a built folder in its place: whoever looks finds the old one or the new one there."""
    if not folder.exists():
        os.replace(building, folder)
    elif _exchange(building, folder):
        shutil.rmtree(building, ignore_errors=True)
    else:  # not every system and disk can: then there is a moment with neither
        old = Path(tempfile.mkdtemp(prefix=f"{_UNFINISHED}{folder.name}-", dir=folder.parent))
        os.replace(folder, old)
        os.replace(building, folder)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names in one step, where the system can: Linux, since 2014."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and not rename(
        here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(swap)
    )


def _yaml_text(dataset: Dataset, linked: int, copied: int) -> str:
    import yaml

    lines: dict[str, object] = {split: f"images/{split}" for split in dataset.splits}
    comment = f"{_MARK} {linked} links to the original images, {copied} new image files.\n"
    if "train" not in lines:
        lines["train"] = "images/train"
        comment += (
            "# There is no train split: images/train is empty, Ultralytics asks for an entry.\n"
        )
    if "val" not in lines:
        lines["val"] = "images/train"
        comment += "# There is no val split: Ultralytics asks for an entry, train stands in.\n"
    ordered = {split: lines[split] for split in SPLITS if split in lines}
    ordered["names"] = dict(enumerate(dataset.names))
    return comment + yaml.safe_dump(ordered, allow_unicode=True, sort_keys=False)


def _kind(value: object) -> str:
    return "nothing" if value in (None, "", [], {}) else f"a {type(value).__name__}"
