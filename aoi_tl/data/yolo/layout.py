"""Finding the images and labels of an Ultralytics dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from aoi_tl.data.images import IMAGE_SUFFIXES
from aoi_tl.data.yolo.file_list import FileList
from aoi_tl.errors import DataError
from aoi_tl.files.remote import is_remote, list_remote, parse_location, remote_kind, url_of
from aoi_tl.files.untrusted import decode_text, read_regular_file

_MAX_LIST = 256 * 1024 * 1024  # bytes; a list of a million images has less


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
    place = parse_location(entry, f"{path}, path")
    if place is not None:
        if not _kind_at(place):
            raise DataError(
                f"{path}: expected the folder 'path: {entry}', got nothing there; correct 'path'"
            )
        return place
    if not os.path.exists(here / entry):
        entry = _forward(entry)
    for root in (here / entry, Path.cwd() / entry):
        if os.path.exists(root):
            return root
    # Datasets are copied between machines with the old machine's 'path' in them.
    train = content.get("train")
    first = train[0] if isinstance(train, list) and train else train
    if isinstance(first, str) and _below(here, first) is not None:
        notes.append(f"'path: {entry}' does not exist; the folder of the YAML was used instead")
        return here
    raise DataError(
        f"{path}: expected the folder 'path: {entry}', got no such folder in {here}; correct 'path'"
    )


def split_entry(content: dict[Any, Any], split: str) -> Any:
    """Look up the entry of a split in a YAML.

    Parameters
    ----------
    content : dict
        The YAML.
    split : {"train", "val", "test"}

    Returns
    -------
    object
        For `find_split`; nothing true where the split is absent.

    Examples
    --------
    >>> split_entry({"validation": "images/valid"}, "val")
    'images/valid'
    """
    if split == "val" and "val" not in content:
        return content.get("validation")
    return content.get(split)


def find_split(split: str, entry: object, root: Path, yaml: Path, notes: list[str]) -> FileList:
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
        Gets a line for what was skipped.

    Returns
    -------
    FileList
        Sorted, each once; those that a list names need not exist.

    Raises
    ------
    DataError
        The entry is of another kind, or names nothing.
    """
    named = 0

    def every() -> Iterator[str]:
        nonlocal named
        for item in entry if isinstance(entry, list) else [entry]:
            for image in _find_entry(split, item, root, yaml, notes):
                named += 1
                yield image

    ordered = FileList.sorted(every())
    if not named and split != "test":
        raise DataError(
            f"{yaml}: expected images for {split}, got none in {entry!r}; "
            f"name a folder or list with images ({', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    if count := named - len(ordered):
        notes.append(f"{count} images named more than once in {split} were used once")
    return ordered


def _find_entry(
    split: str, item: object, root: Path, yaml: Path, notes: list[str]
) -> Iterable[str]:
    """Find the images that one entry of a split names."""
    if not isinstance(item, str) or "\0" in item:
        raise DataError(
            f"{yaml}: expected {split} to be a folder, a .txt list or a list of them, got "
            f"{_kind(item)}; correct '{split}'"
        )
    place = parse_location(item, f"{yaml}, {split}") or root / item
    if is_remote(place):
        return _find_remote(place, root, notes, f"{yaml}, {split}")
    if not os.path.exists(place) and item.startswith("../"):
        place = root / item[3:]  # Roboflow writes one folder too high; Ultralytics forgives it
    if not os.path.exists(place) and (below := _below(root, item)) is not None:
        if below != root / _forward(item):
            notes.append(f"'{split}: {item}' does not exist; {below} was used instead")
        place = below
    # Ultralytics resolves folders before it looks for /images/ in them.
    place = Path(os.path.realpath(place))
    if os.path.isdir(place):
        return _scan(place)
    if os.path.isfile(place) and place.suffix.lower() in IMAGE_SUFFIXES:
        return [str(place)]
    if os.path.isfile(place):
        return _read_list(place, root, notes)
    if split == "test":
        notes.append(f"'test: {item}' does not exist; there is no such part of the test split")
        return []
    raise DataError(
        f"{yaml}: expected a folder or .txt list for {split}, got nothing at {place}; "
        f"correct '{split}' or 'path'"
    )


def _forward(entry: str) -> str:
    """Convert the backslashes of a Windows path."""
    return entry.replace("\\", "/") if os.sep == "/" else entry


def _below(root: Path, item: str) -> Path | None:
    """Find what a path written on another machine, or from the folder above, names in a folder."""
    parts = Path(_forward(item)).parts
    own = parts.index(root.name) + 1 if root.name in parts else 0
    places = (root.joinpath(*parts), root.joinpath(*parts[own:]))
    return next((place for place in places if os.path.exists(place)), None)


def label_path(image: str | os.PathLike[str]) -> Path:
    """The place where Ultralytics looks for the label file of an image.

    Parameters
    ----------
    image : path-like
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


def _find_remote(place: Path, root: Path, notes: list[str], where: str) -> Iterable[str]:
    """Find the images of one entry that stands for a URL, as `find_split` does for local ones."""
    kind = _kind_at(place)
    if kind == "file" and place.suffix.lower() in IMAGE_SUFFIXES:
        return [str(place)]
    if kind == "file":
        return _read_list(place, root, notes)
    if kind == "directory":
        return [
            str(path) for path in list_remote(place)
            if path.suffix.lower() in IMAGE_SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(place).parts)
        ]
    raise DataError(
        f"{where}: expected a folder or .txt list, got nothing at {url_of(place)}; correct it, or "
        "'path'"
    )


def _kind_at(place: Path) -> str | None:
    """The kind of a place: "file", "directory" or None."""
    if not is_remote(place):
        return "directory" if os.path.isdir(place) else "file" if os.path.isfile(place) else None
    try:
        return remote_kind(place)
    except OSError as error:
        raise DataError(
            f"{url_of(place)}: expected to look there, got {error.strerror}; check the address, "
            "your rights and the network"
        ) from error


def _scan(folder: Path) -> Iterator[str]:
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
                        yield entry.path
        except OSError as error:
            raise DataError(
                f"{current}: expected a readable folder, got {error.strerror}; change its rights"
            ) from error


def _read_list(path: Path, root: Path, notes: list[str]) -> Iterator[str]:
    """Yield the images that a list names."""
    try:
        text = decode_text(read_regular_file(path, _MAX_LIST))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x}; "
            "save the list as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: expected a list, got {error.strerror}; check it") from error
    others = 0
    strange, tries = 0, 20  # folders that lines begin with and that are not there
    # One listing costs less than a question for each image.
    exists = set(list_remote(root)).__contains__ if is_remote(root) else os.path.exists
    for line in text.splitlines():
        entry = _forward(line.strip())
        if not entry:
            continue
        if "\0" in entry or os.path.splitext(entry)[1].lower() not in IMAGE_SUFFIXES:
            others += 1
            continue
        if entry.startswith("./"):
            image = path.parent / entry[2:]
        elif (place := parse_location(entry, str(path))) is not None:
            image = place
        else:
            image = _listed(entry, root, path.parent, exists, 0) or root / entry
            if not strange and tries and not exists(image):
                tries -= 1
                strange = next(
                    (k for k in range(1, len(Path(entry).parts) - 1)
                     if _listed(entry, root, path.parent, exists, k)), 0
                )
                if strange:
                    notes.append(f"lines of {path.name} begin with the folder "
                                 f"{Path(*Path(entry).parts[:strange])}, which does not exist; it "
                                 "was skipped")
            if strange and not exists(image):
                image = _listed(entry, root, path.parent, exists, strange) or image
        yield str(image if is_remote(image) else os.path.normpath(image))
    if others:
        notes.append(f"{others} lines of {path.name} name no image and were skipped")


def _listed(
    entry: str, root: Path, beside: Path, exists: Callable[[Any], bool], strange: int
) -> Path | None:
    """Find the image that a line names without so many folders at its beginning."""
    below = Path(*Path(entry).parts[strange:])
    return next((p for p in (root / below, beside / below) if exists(p)), None)


def _kind(value: object) -> str:
    return "nothing" if value in (None, "", [], {}) else f"a {type(value).__name__}"
