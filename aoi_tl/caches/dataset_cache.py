"""Cache of dataset summaries: computed once, reused while no file changed.

A dataset is read from several places: its YAML, its lists, and its image and label folders.
Their state is the name, size and time stamps of every file in them. If the state is unchanged, the
cached summary is used. Otherwise the dataset is read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aoi_tl.caches.disk_state import State, state_of, states_of
from aoi_tl.caches.signature_cache import SETTLED_NS, SignatureCache
from aoi_tl.data.dataset import SPLITS
from aoi_tl.data.images import IMAGE_SUFFIXES
from aoi_tl.data.labels import check_aliases
from aoi_tl.data.summary import Summary, summarise
from aoi_tl.data.yolo.file_list import FileList
from aoi_tl.data.yolo.layout import find_root, find_split, label_path, split_entry
from aoi_tl.data.yolo.read import DatasetReader, read_names, read_yaml_map
from aoi_tl.engine import available_cores
from aoi_tl.errors import DataError
from aoi_tl.files.remote import is_remote, parse_location
from aoi_tl.files.yaml_file import read_yaml

_FORMAT = 2  # raised when datasets come to be read in another way: what was kept is forgotten


@dataclass(frozen=True)
class Places:
    """The places that a dataset was read from, or that were searched.

    Parameters
    ----------
    asked : tuple of str
        Paths of which it mattered whether there is a folder or file, and under which real name.
    read : tuple of str
        Files and folders of which everything mattered.
    """

    asked: tuple[str, ...]
    read: tuple[str, ...]


def read_summaries(
    paths: Sequence[str | os.PathLike[str]],
    aliases: Mapping[str, str],
    cache: SignatureCache,
    known_names: Collection[str] = (),
    depth: int | None = None,
) -> list[Summary]:
    """Summarise datasets, reading only those that changed since their last summary.

    Parameters
    ----------
    paths : sequence of path-like
        Their ``data.yaml`` files.
    aliases : mapping of str to str
        Class names and the common ones that replace them.
    cache : SignatureCache
        Where summaries and the contents of images are kept.
    known_names : collection of str
        Names, beside those of the datasets, that an alias may have.
    depth : int, optional
        As for `load_dataset`.

    Returns
    -------
    list of Summary
        What `load_dataset` would have given, summed up.

    Raises
    ------
    DataError
        One of them cannot be used, or an alias names no class of any of them.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from aoi_tl.data.dataset import Dataset, Sample
    >>> from aoi_tl.data.images import write_image
    >>> from aoi_tl.data.yolo.write import write_dataset
    >>> with tempfile.TemporaryDirectory() as folder, SignatureCache(folder) as cache:
    ...     write_image(Path(folder, "a.png"), np.zeros((8, 8), np.uint8))
    ...     sample = Sample(Path(folder, "a.png"), "train", np.array([0]), np.full((1, 4), 0.5))
    ...     dataset = Dataset("line-1", Path("data.yaml"), ("dent",), (sample,))
    ...     written = write_dataset(dataset, Path(folder, "line-1"))
    ...     read_summaries([written], {"dent": "scratch"}, cache)[0].counts
    {'scratch': 1}
    """
    began = time.time_ns()
    keys = [_key(path, aliases, depth) for path in paths]
    kept = cache.recall(keys)
    known = [_read(kept.get(key)) for key in keys]
    places_of = {path: None for found in known if found for path in found.places.read}
    files = sum(2 * len(found.summary.images) for found in known if found)  # and their labels
    seen = states_of(list(places_of), files, available_cores())
    known = [
        found if found and _state(found.places, seen)[0] == found.summary.state else None
        for found in known
    ]
    if aliases:
        check_aliases(aliases, [*known_names, *(
            name for path, found in zip(map(Path, paths), known, strict=True)
            for name in (found.before if found else read_names(read_yaml_map(path), path))
        )])
    summaries = []
    for key, path, found in zip(keys, map(Path, paths), known, strict=True):
        if found:
            summaries.append(replace(found.summary, path=path, aliases=aliases))
            continue
        # Looked for once more by the reader: what comes between the two changes the state.
        places = _places_of(path)
        state, newest = _state(places, seen) if places else ("", 0)
        reader = DatasetReader(path, aliases, depth=depth)
        summary = summarise(reader, cache.contents)
        # What is this young may change once more without a new time stamp.
        if places and newest < began - SETTLED_NS:
            summary = replace(summary, state=state)
            cache.keep(key, _written(summary, reader.given, places))
        summaries.append(summary)
    return summaries


def _key(
    path: str | os.PathLike[str], aliases: Mapping[str, str], depth: int | None = None
) -> str:
    words = [
        str(_FORMAT), os.path.abspath(path), json.dumps(sorted(aliases.items())), str(depth or "")
    ]
    return "dataset:" + hashlib.sha256(os.fsencode("\0".join(words))).hexdigest()


# ----------------------------------------------------------------------------- the state on disk


def _places_of(path: Path) -> Places | None:
    """The places that a dataset is read from; too many are harmless, too few are not.

    None where that is not only this machine's files, or the dataset cannot be read.
    """
    try:
        content = read_yaml(path)
        root = find_root(content, path, [])
        asked, read = [*_asked_for_root(content, path)], {os.path.abspath(path)}
        for split in SPLITS:
            entry = split_entry(content, split)
            if not entry:
                continue
            images = find_split(split, entry, root, path, [])
            one_each = [folder + names.partition("/")[0] for folder, names in images.folders()]
            folders = {os.path.dirname(file) for file in one_each}
            folders |= {os.path.dirname(label_path(file)) for file in one_each}
            if is_remote(root) or any(map(is_remote, folders)):
                return None
            read |= folders
            for item in entry if isinstance(entry, list) else [entry]:
                named: Path = parse_location(item, "") or root / item
                if is_remote(named):
                    return None
                forgiven = root / item.removeprefix("../")
                asked += [str(named), str(forgiven)]
                place = os.path.realpath(named if os.path.exists(named) else forgiven)
                if os.path.isdir(place):
                    read |= _folders_below(place)
                elif os.path.splitext(place)[1].lower() in IMAGE_SUFFIXES:
                    read.add(place)
                else:
                    read |= {place, *_folders_named(Path(place), root)}
    except (DataError, AttributeError, OSError, UnicodeError):
        return None  # whoever loads it says why
    return Places(tuple(dict.fromkeys(asked)), tuple(sorted(read)))


def _asked_for_root(content: dict[Any, Any], path: Path) -> Iterable[str]:
    """The folders that `find_root` searches."""
    entry = content.get("path")
    if isinstance(entry, str) and entry:
        place = parse_location(entry, "")
        # The last is relative: it means another place in another working folder.
        here = os.path.join(os.path.dirname(os.path.abspath(path)), entry)
        for candidate in [str(place)] if place else [here, entry]:
            yield candidate
            if os.path.exists(candidate):
                return


def _folders_below(folder: str) -> set[str]:
    found: set[str] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        if os.path.realpath(current) not in found:
            found.add(os.path.realpath(current))
            with os.scandir(current) as entries:
                waiting += [e.path for e in entries if not e.name.startswith(".") and e.is_dir()]
    return found


def _folders_named(file: Path, root: Path) -> set[str]:
    """The folders that the lines of a list may name: below the root, or beside the list."""
    if not file.is_file():
        return set()
    text = file.read_text(encoding="utf-8-sig")
    named = {os.path.dirname(line.strip().replace("\\", "/")) for line in text.splitlines()}
    return {
        os.path.normpath(base / name) for base in (root, file.parent) for name in named
        if "\0" not in name
    }


def _state(places: Places, seen: dict[str, State]) -> tuple[str, int]:
    """Hash the state of places; also give the newest time stamp, in nanoseconds.

    What is in ``seen`` is not looked at again.
    """
    whole, newest = hashlib.sha256(), 0
    for path in places.asked:
        kind = "folder" if os.path.isdir(path) else "file" if os.path.exists(path) else "nothing"
        whole.update(os.fsencode(f"{path}\0{os.path.realpath(path)}\0{kind}\n"))
    for path in places.read:
        if path not in seen:
            seen[path] = state_of(path)
        state, changed = seen[path]
        newest = max(newest, changed)
        whole.update(os.fsencode(f"{path}\0{os.path.realpath(path)}\0") + state)
    return whole.hexdigest(), newest


# ------------------------------------------------------------------------------- as it is kept


def _written(summary: Summary, names: tuple[str, ...], places: Places) -> bytes:
    folders = {split: list(files.folders()) for split, files in summary.files.items()}
    body = json.dumps({
        "state": summary.state, "asked": places.asked, "read": places.read, "before": names,
        "name": summary.name, "names": summary.names, "files": folders, "boxes": summary.boxes,
        "notes": summary.notes, "fingerprint": summary.fingerprint, "depth": summary.depth,
    }).encode()
    return hashlib.sha256(body).digest() + body


@dataclass(frozen=True)
class _Kept:
    """A dataset as of its last summary."""

    summary: Summary
    before: tuple[str, ...]  # class names before aliases
    places: Places


def _read(data: bytes | None) -> _Kept | None:
    """The cached entry; None if it is missing or damaged."""
    if data is None or hashlib.sha256(data[32:]).digest() != data[:32]:
        return None
    kept = json.loads(data[32:])
    files = {split: FileList.of_folders(parts) for split, parts in kept["files"].items()}
    boxes = {split: tuple(counts) for split, counts in kept["boxes"].items()}
    summary = Summary(
        kept["name"], Path(), tuple(kept["names"]), files, boxes, kept["fingerprint"],
        tuple(kept["notes"]), kept["state"], depth=kept["depth"],
    )
    places = Places(tuple(kept["asked"]), tuple(kept["read"]))
    return _Kept(summary, tuple(kept["before"]), places)
