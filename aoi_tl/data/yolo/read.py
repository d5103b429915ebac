"""Reading Ultralytics datasets: a ``data.yaml`` and its images, sample by sample."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import compress, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from aoi_tl.data.dataset import SPLITS, Dataset, Sample
from aoi_tl.data.dataset_names import dataset_name
from aoi_tl.data.depth import Depth, check_depth, depth_of_deep, spread
from aoi_tl.data.images import look_at_image
from aoi_tl.data.labels import merged_names, normal_name
from aoi_tl.data.yolo.file_list import FileList
from aoi_tl.data.yolo.label_rows import LabelFault, LabelFile, read_label_file
from aoi_tl.data.yolo.layout import find_root, find_split, label_path, split_entry
from aoi_tl.errors import DataError
from aoi_tl.files.remote import is_remote
from aoi_tl.files.yaml_file import read_yaml

_REQUESTS = 32  # to object storage at once: each is mostly waiting
_MOST_FAULTY = 0.05  # the share of label rows that may be skipped
_TOGETHER = 1000  # files of object storage that are asked for before the first is used
#: More class names than this are a file of another kind.
MOST_CLASSES = 10_000
_NO_ROWS = LabelFile(np.zeros(0, np.int64), np.zeros((0, 4)))
T = TypeVar("T")


def load_dataset(
    path: str | os.PathLike[str],
    aliases: Mapping[str, str] | None = None,
    skip_faulty: bool = False,
    depth: int | None = None,
) -> Dataset:
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
    skip_faulty : bool
        Leave out label rows that cannot be used, and an image of which none else is left, unless
        they are more than 5 % of all.
    depth : int, optional
        How many bits the images use where their files store 16; else what ``depth`` in the YAML
        says, else found by `depth_of_deep`.

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
    >>> import tempfile
    >>> from aoi_tl.data.images import write_image
    >>> from aoi_tl.data.yolo.write import write_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_image(Path(folder, "a.png"), np.zeros((32, 32), np.uint8))
    ...     sample = Sample(Path(folder, "a.png"), "train", np.array([0]), np.full((1, 4), 0.5))
    ...     dataset = Dataset("line-1", Path("data.yaml"), ("dent",), (sample,))
    ...     written = write_dataset(dataset, Path(folder, "line-1"))
    ...     load_dataset(written).counts
    {'dent': 1}
    """
    reader = DatasetReader(path, aliases or {}, skip_faulty, depth)
    samples = tuple(reader.samples())
    return Dataset(reader.name, reader.path, reader.names, samples, reader.notes())


class DatasetReader:
    """A dataset on disk, read sample by sample: no more than one is in memory.

    Parameters
    ----------
    path : path-like
        The ``data.yaml``, which is read at once.
    aliases : mapping of str to str
        Class names and the canonical ones that replace them.
    skip_faulty : bool
        As for `load_dataset`.
    depth : int, optional
        As for `load_dataset`.

    Attributes
    ----------
    name : str
        As tables call it.
    path : Path
        The ``data.yaml``.
    aliases : mapping of str to str
        As given.
    given : tuple of str
        Class names as the YAML has them.
    names : tuple of str
        Canonical names, each once.
    depth : Depth
        Of the images; found when the first sample is read.

    Raises
    ------
    DataError
        The YAML cannot be used.
    """

    def __init__(
        self, path: str | os.PathLike[str], aliases: Mapping[str, str], skip_faulty: bool = False,
        depth: int | None = None,
    ) -> None:
        self.path = Path(path)
        self._skip = skip_faulty
        self._sound = 0
        self._faulty_kinds: Counter[str] = Counter()
        self._first_of_kind: dict[str, LabelFault] = {}
        self.name = dataset_name(self.path)
        self.aliases = aliases
        self._content = read_yaml_map(self.path)
        self._written_depth = read_depth(self._content, self.path)
        self._given_depth = self._written_depth if depth is None else depth
        self.depth = Depth(self._given_depth or 16)
        self._notes: list[str] = []
        self.given = read_names(self._content, self.path, self._notes)
        self._root = find_root(self._content, self.path, self._notes)
        # A name given twice has one meaning; its boxes are merged under its first id.
        self.names, self._ids = merged_names(self.given, aliases)
        columns = keypoint_columns(self._content)
        self._read = partial(
            read_label_file, n_classes=len(self.given), keypoint_columns=columns,
            first_id=first_id(self._content),
        )
        self._images: dict[str, FileList] = {}
        self._looked: dict[str, bytearray] = {}  # the bits of each image, 0 for a broken one
        self._left_out: set[str] = set()
        self._broken: Counter[str] = Counter()
        self._first_broken: dict[str, str] = {}
        self._unlabelled: Counter[str] = Counter()
        self._labelled = self._without_area = self._faults = 0
        self._first_fault: LabelFault | None = None
        self._faulty: set[Path] = set()
        self._missing_label: Path | None = None

    def samples(self) -> Iterator[Sample]:
        """Read the samples, ordered by split and path; once.

        Yields
        ------
        Sample

        Raises
        ------
        DataError
            The images as a whole, or a label row, cannot be used; with label rows it is raised
            behind the last sample.
        """
        for split in SPLITS:
            images = self._find(split)
            if images is None:
                continue
            if split == "val" and images == self._images["train"]:
                # Ultralytics asks for a val entry; naming train again says that there is none.
                self._notes.append("'val' names the images of 'train'; it is treated as absent")
                continue
            self._images[split] = images
            self._looked[split] = self._look_at(split, images)
        self.depth = self._find_depth()
        for split, images in self._images.items():
            yield from self._read_split(split, images)
        self._refuse_faults()
        self._refuse_unlabelled()

    def labelled(self, images: Sequence[str | os.PathLike[str]], split: str) -> list[Sample]:
        """Read the labels of some images alone.

        Parameters
        ----------
        images : sequence of path-like
            Images of the dataset.
        split : {"train", "val", "test"}
            Theirs.

        Returns
        -------
        list of Sample
            Rows that cannot be used are skipped.
        """
        rows = [found or _NO_ROWS for found in _each(self._read, map(label_path, images))]
        return [
            Sample(Path(image), split, self._ids[found.classes], found.boxes, self.depth.bits)
            for image, found in zip(images, rows, strict=True)
        ]

    def notes(self) -> tuple[str, ...]:
        """Counted notes on omitted or unusual data; complete after the last sample."""
        notes = [
            f"{count} images left out: {fault}, the first {self._first_broken[fault]}"
            for fault, count in self._broken.items()
        ]
        if self._unlabelled:
            where = ", ".join(f"{split} {count}" for split, count in self._unlabelled.items())
            notes.append(f"{self._unlabelled.total()} images without a label file ({where})")
        if self._without_area:
            notes.append(f"{self._without_area} boxes without area left out")
        for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
            shared = self._images.get(a, FileList()).common(self._images.get(b, FileList()))
            if count := sum(image not in self._left_out for image in shared):
                notes.append(f"{count} images are in both {a} and {b}")
        if count := len(self.given) - len(set(self.given)):
            notes.append(f"{count} class names given twice were merged")
        if self.depth.note:
            cure = "; 'depth: 12' or the like, in the data.yaml or the experiment, sets it"
            notes.append(self.depth.note + (cure if self._given_depth is None else ""))
        if self.depth.mixed:
            notes.append(f"mixed depths: {self.depth.mixed}")
        return (*self._notes, *notes)

    def _find(self, split: str) -> FileList | None:
        if entry := split_entry(self._content, split):
            return find_split(split, entry, self._root, self.path, self._notes)
        if split == "train":
            raise DataError(
                f"{self.path}: expected a train entry, got none; "
                "add 'train:' with a folder of images or a .txt list"
            )
        return None

    def _look_at(self, split: str, images: FileList) -> bytearray:
        """How many bits each image stores, 0 for one that cannot be read."""
        stored = bytearray()
        missing, first_missing = 0, ""
        for image, (fault, bits) in zip(images, _each(look_at_image, images), strict=True):
            stored.append(0 if fault else bits)
            if fault is None:
                continue
            if fault == "no such file":
                missing, first_missing = missing + 1, first_missing or image
            self._left_out.add(image)
            self._broken[f"{fault} ({split})"] += 1
            self._first_broken.setdefault(f"{fault} ({split})", image)
        if missing * 2 > len(images):
            raise DataError(
                f"{self.path}: expected the images of {split}, got {missing} missing of "
                f"{len(images)}, the first {first_missing}; correct 'path' or the list"
            )
        if images and not any(stored):
            fault, first = next(iter(self._first_broken.items()))
            raise DataError(
                f"{self.path}: expected images for {split}, got none that can be read, the first "
                f"{first}: {fault}; replace the files"
            )
        return stored

    def _find_depth(self) -> Depth:
        stored = b"".join(self._looked[split] for split in self._images)
        if max(stored, default=0) <= 8:  # of such images, a depth is remembered at most
            return Depth(self._written_depth or 16)
        deep = np.flatnonzero(np.frombuffer(stored, np.uint8) > 8)
        every = FileList.joined(self._images.values())
        looked_at = [every[place] for place in spread(deep.tolist())]
        return depth_of_deep(looked_at, len(deep), stored.count(8), self._given_depth)

    def _read_split(self, split: str, images: FileList) -> Iterator[Sample]:
        stored = self._looked[split]
        labels = map(label_path, compress(images, stored))
        for image, rows in zip(
            compress(images, stored), _each(self._read, labels), strict=True
        ):
            labels_of = self._rows(image, split, rows)
            if self._skip and rows is not None and rows.faults and not len(rows.classes):
                continue  # what is left is no image without defects
            yield Sample(Path(image), split, *labels_of, self.depth.bits)

    def _rows(self, image: str, split: str, rows: LabelFile | None) -> tuple[Any, Any]:
        if rows is None:
            self._unlabelled[split] += 1
            self._missing_label = self._missing_label or label_path(image)
            rows = _NO_ROWS
        else:
            self._labelled += 1
        if rows.faults:
            self._first_fault = self._first_fault or rows.faults[0]
            self._faults += len(rows.faults)
            for fault in rows.faults:
                self._faulty_kinds[fault.kind] += 1
                self._first_of_kind.setdefault(fault.kind, fault)
            self._faulty.add(rows.faults[0].file)
        self._sound += max(1, len(rows.classes)) if not rows.faults else len(rows.classes)
        self._without_area += rows.without_area
        return self._ids[rows.classes], rows.boxes

    def _refuse_faults(self) -> None:
        if self._first_fault is None:
            return
        more, files, total = self._faults - 1, len(self._faulty), self._faults + self._sound
        if not self._skip:
            rest = f" (and {more} more such rows, {files} files in all)" if more else ""
            raise DataError(
                f"{self._first_fault}{rest}; 'faulty: skip' in an experiment leaves such out"
            )
        if self._faults > _MOST_FAULTY * total:
            raise DataError(
                f"{self.path}: expected at most {_MOST_FAULTY:.0%} of the label rows to be faulty, "
                f"got {self._faults} of {total}, the first: {self._first_fault}"
            )
        self._notes += [
            f"{count} label rows left out ({kind}), the first {self._first_of_kind[kind]}"
            for kind, count in self._faulty_kinds.items()
        ]

    def _refuse_unlabelled(self) -> None:
        if self._unlabelled and not self._labelled:
            raise DataError(
                f"{self.path}: expected label files beside the images, got none for "
                f"{self._unlabelled.total()} images, the first would be {self._missing_label}; put "
                "the labels there (an empty file marks an image without defects)"
            )


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
    content = read_yaml(path, look=_keep_names_as_written)
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: expected a map with train, val and names, got {_kind(content)}; "
            "see the dataset page of Ultralytics"
        )
    return content


def _keep_names_as_written(root: Any) -> None:
    """Keep class names as text that YAML 1.1 converts: ``on``, ``no``, ``1e3``."""
    import yaml

    if not isinstance(root, yaml.MappingNode):
        return
    for key, names in root.value:
        if key.value != "names" or not isinstance(names, yaml.CollectionNode):
            continue
        for one in names.value:
            name = one[1] if isinstance(one, tuple) else one
            if isinstance(name, yaml.ScalarNode) and name.tag.startswith("tag:yaml.org,2002:"):
                name.tag = "tag:yaml.org,2002:str"


def read_names(
    content: dict[Any, Any], path: Path, notes: list[str] | None = None
) -> tuple[str, ...]:
    """Read the class names of a dataset.

    Parameters
    ----------
    content : dict
        The YAML.
    path : Path
        Its file, for the message.
    notes : list of str, optional
        Gets a line where the YAML has no names but ``nc``, or numbers them from 1.

    Returns
    -------
    tuple of str
        In the order of their ids, which begin with `first_id`; ``class_0``, ``class_1``, ... where
        there is ``nc`` alone.

    Raises
    ------
    DataError
        No names, or not one for each id.
    """
    names = content.get("names")
    cure = "write names as a list, or as a map from 0, 1, 2, ... to the names"
    count = content.get("nc")
    if names is None and type(count) is int and 0 < count <= MOST_CLASSES:
        if notes is not None:
            notes.append(f"no 'names': the {count} classes of 'nc' are class_0, class_1, ...")
        return tuple(f"class_{number}" for number in range(count))
    if names is None:
        raise DataError(f"{path}: expected class names, got no 'names'; {cure}")
    if isinstance(names, dict):
        try:
            numbered = {int(key): name for key, name in names.items()}
        except (TypeError, ValueError):
            raise DataError(
                f"{path}: expected class ids as keys of names, got {list(names)[:3]}; {cure}"
            ) from None
        first = first_id(content)
        if sorted(numbered) != list(range(first, first + len(names))):
            raise DataError(
                f"{path}: expected class ids 0 to {len(names) - 1} in names, got "
                f"{sorted(numbered)[:20]}; {cure}"
            )
        if first and notes is not None:
            notes.append(f"'names' are numbered from 1: class id 1 is {numbered[1]}")
        names = [numbered[number] for number in sorted(numbered)]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: expected class names, got {_kind(names)}; {cure}")
    if any(isinstance(name, list | dict) or not normal_name(name) for name in names):
        raise DataError(f"{path}: expected every class name to be text; {cure}")
    if isinstance(count, int) and count != len(names):
        raise DataError(
            f"{path}: expected as many names as 'nc: {count}', got {len(names)}; correct one"
        )
    return tuple(normal_name(name) for name in names)


def read_depth(content: dict[Any, Any], path: Path) -> int | None:
    """Read how many of 16 stored bits the images of a dataset use, where its YAML says so.

    Parameters
    ----------
    content : dict
        The YAML.
    path : Path
        Its file, for the message.

    Returns
    -------
    int or None

    Raises
    ------
    DataError
        No camera has such a depth.
    """
    given = content.get("depth")
    return None if given is None else check_depth(given, f"{path}: depth")


def first_id(content: dict[Any, Any]) -> int:
    """Say which number the first class has in the label files.

    Parameters
    ----------
    content : dict
        The YAML.

    Returns
    -------
    int
        1 where names are a map from 1, 2, ..., else 0.

    Examples
    --------
    >>> first_id({"names": {1: "dent", 2: "hole"}}), first_id({"names": ["dent", "hole"]})
    (1, 0)
    """
    names = content.get("names")
    keys = {str(key) for key in names} if isinstance(names, dict) else set()
    return int("1" in keys and "0" not in keys)


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


def _each(read: Callable[[str | Path], T], paths: Iterable[str | Path]) -> Iterator[T]:
    """Read files in order; from object storage, many at once."""
    paths = iter(paths)
    while several := list(islice(paths, _TOGETHER)):
        if not any(map(is_remote, several)):
            yield from map(read, several)
            continue
        with ThreadPoolExecutor(_REQUESTS) as pool:
            yield from list(pool.map(read, several))


def _kind(value: object) -> str:
    return "nothing" if value in (None, "", [], {}) else f"a {type(value).__name__}"
