"""Writing Ultralytics datasets: a new folder that plain Ultralytics trains on."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from aoi_tl.data.dataset import SPLITS, Dataset, Sample
from aoi_tl.data.images import (
    DEEP_SUFFIXES,
    MAX_IMAGE_BYTES,
    ULTRALYTICS_SUFFIXES,
    bits_of,
    has_jpeg_end,
    read_stored,
    unwritable_error,
    write_image,
)
from aoi_tl.data.yolo.label_rows import format_labels
from aoi_tl.errors import DataError
from aoi_tl.files.remote import is_remote
from aoi_tl.files.run_folder import UNFINISHED
from aoi_tl.files.untrusted import read_regular_file, real_path

_MARK = "# Written by aoi-tl:"


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
    becomes a PNG, and one that uses fewer than its 16 bits, by its sample's depth, a PNG of 8 bits.
    Without a ``val`` split the YAML names ``train`` in its place, without a ``train`` split an
    empty folder.

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
        raise unwritable_error(folder, error) from error
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return folder / "data.yaml"


def building_folder(folder: Path) -> Path:
    """Make a hidden folder that then replaces another one atomically.

    Parameters
    ----------
    folder : Path
        The final folder.

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
        return Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise unwritable_error(folder, error) from error


def place_images(
    samples: Sequence[Sample], folder: Path, copy: bool, taken: set[str]
) -> list[Path]:
    """Place the images of samples in a folder, each under a unique stem.

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
        _place_image(sample, folder, _unique_stem(sample.image, taken), copy)
        for sample in samples
    ]


def _place_image(sample: Sample, folder: Path, stem: str, copy: bool) -> Path:
    """Place an image in a folder; return its path."""
    image = sample.image
    original = Path(real_path(image))
    suffix = image.suffix.lower()
    try:
        if suffix not in ULTRALYTICS_SUFFIXES or _is_rewritten(original, suffix, sample.depth):
            place = folder / f"{stem}.png"
            write_image(place, read_stored(original, sample.depth))
            return place
        place = folder / f"{stem}{image.suffix}"
        if not has_jpeg_end(original):
            # The end marker is all that Ultralytics asks for; the pixels stay as they are.
            place.write_bytes(read_regular_file(original, MAX_IMAGE_BYTES) + b"\xff\xd9")
            return place
        if is_remote(original):  # Ultralytics reads files of this machine alone
            place.write_bytes(read_regular_file(original, MAX_IMAGE_BYTES))
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


def _is_rewritten(original: Path, suffix: str, depth: int) -> bool:
    """Whether Ultralytics would see an image darker than it is, or not at all."""
    bits = bits_of(original) if suffix in DEEP_SUFFIXES else 8
    packed = suffix.startswith(".tif") and 8 < bits < 16
    return packed or (bits > 8 and depth < 16)


def _unique_stem(image: Path, taken: set[str]) -> str:
    """Give label files distinct names, also on case-insensitive file systems."""
    # A name that is no Unicode cannot go into Ultralytics' cache, a hidden one is not found.
    stem = image.stem.encode("utf-8", "replace").decode().lstrip(".") or "image"
    unique, number = stem, 2
    while unique.casefold() in taken:
        unique, number = f"{stem}-{number}", number + 1
    taken.add(unique.casefold())
    return unique


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
    """Move a built folder to its place, so that a reader sees the old or the new one."""
    if not folder.exists():
        os.replace(building, folder)
    elif _exchange(building, folder):
        shutil.rmtree(building, ignore_errors=True)
    else:  # not every system and disk can: then there is a moment with neither
        old = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{folder.name}-", dir=folder.parent))
        os.replace(folder, old)
        os.replace(building, folder)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step, where supported (Linux since 2014)."""
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
    if dataset.depth < 16:
        comment += f"# Images that stored {dataset.depth} bits in 16 are copied as 8 bits.\n"
        ordered["depth"] = dataset.depth
    return comment + yaml.safe_dump(ordered, allow_unicode=True, sort_keys=False)
