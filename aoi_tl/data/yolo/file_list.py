"""Compact lists of many files."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import overload

import numpy as np
from numpy.typing import NDArray


class FileList(Sequence[str]):
    """Paths that are built on demand: folders are stored once, names in one text.

    Parameters
    ----------
    paths : iterable of str
        Paths or URLs; those of one folder best one after the other.

    Examples
    --------
    >>> files = FileList(["/a/1.png", "/a/2.png", "/b/1.png"])
    >>> len(files), files[-1], files[:2] == ["/a/1.png", "/a/2.png"]
    (3, '/b/1.png', True)
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._parts: list[_Part] = []
        self._upto: list[int] = []
        for folder, files in groupby(paths, _folder):
            self._add(_Part(folder, "/".join(file[len(folder) :] for file in files)))

    @classmethod
    def of_folders(cls, folders: Iterable[tuple[str, str]]) -> FileList:
        """Make a list of folders and the names in each, as `folders` gives them."""
        made = cls()
        for folder, names in folders:
            made._add(_Part(folder, names))
        return made

    @classmethod
    def joined(cls, lists: Iterable[FileList]) -> FileList:
        """Concatenate lists without copying their content."""
        made = cls()
        for part in (part for each in lists for part in each._parts):
            made._add(part)
        return made

    @classmethod
    def sorted(cls, paths: Iterable[str]) -> FileList:
        """Sort paths as `pathlib` does, part by part, and keep each once.

        Parameters
        ----------
        paths : iterable of str
            In any order; only their names are held in memory.

        Returns
        -------
        FileList

        Examples
        --------
        >>> list(FileList.sorted(["b/1", "b-c/1", "b/1", "a", "b/0/9"]))
        ['a', 'b/0/9', 'b/1', 'b-c/1']
        """
        names_in: dict[str, set[str]] = {}
        for path in paths:
            folder = _folder(path)
            names_in.setdefault(folder, set()).add(path[len(folder) :])
        places = {folder: tuple(folder.split(os.sep)[:-1]) for folder in names_in}
        above = {place[:depth] for place in places.values() for depth in range(len(place))}
        units: list[tuple[tuple[str, ...], bool, str, str]] = []
        for folder, names in names_in.items():
            if places[folder] in above:  # its files stand between its folders
                units += [((*places[folder], name), False, folder, name) for name in names]
            else:
                units.append((places[folder], True, folder, "/".join(sorted(names))))
            names.clear()
        units.sort()
        return cls.of_folders(
            (folder, "/".join(unit[3] for unit in several))
            for folder, several in groupby(units, lambda unit: unit[2])
        )

    def folders(self) -> list[tuple[str, str]]:
        """Give each folder with its separator, and the names in it, joined by slashes."""
        return [(part.folder, part.names) for part in self._parts]

    def common(self, other: FileList) -> Iterator[str]:
        """Give the paths that another list contains too.

        Examples
        --------
        >>> list(FileList(["/a/1.png", "/a/2.png"]).common(FileList(["/a/2.png", "/b/1.png"])))
        ['/a/2.png']
        """
        theirs: dict[str, list[_Part]] = {}
        for part in other._parts:
            theirs.setdefault(part.folder, []).append(part)
        for part in self._parts:
            if part.folder in theirs:
                known = {path for each in theirs[part.folder] for path in each}
                yield from (path for path in part if path in known)

    def __len__(self) -> int:
        return self._upto[-1] if self._upto else 0

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index += len(self) if index < 0 else 0
        if not 0 <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        number = bisect_right(self._upto, index)
        return self._parts[number][index - (self._upto[number - 1] if number else 0)]

    def __iter__(self) -> Iterator[str]:
        for part in self._parts:
            yield from part

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"FileList({self[:3]!r}{'...' if len(self) > 3 else ''})"

    def _add(self, part: _Part) -> None:
        self._upto.append(len(self) + part.number)
        self._parts.append(part)


class _Part:
    """The files of one folder; the offsets of their names are computed on demand."""

    def __init__(self, folder: str, names: str) -> None:
        self.folder, self.names = folder, names
        self.number = names.count("/") + 1
        self._ends: NDArray[np.int64] | None = None

    def __getitem__(self, index: int) -> str:
        if self._ends is None:
            letters = np.frombuffer(f"{self.names}/".encode("utf-32-le", "surrogatepass"), "<u4")
            self._ends = np.flatnonzero(letters == ord("/"))
        start = self._ends[index - 1] + 1 if index else 0
        return self.folder + self.names[start : self._ends[index]]

    def __iter__(self) -> Iterator[str]:
        start = 0
        while (end := self.names.find("/", start)) >= 0:
            yield self.folder + self.names[start:end]
            start = end + 1
        yield self.folder + self.names[start:]


def _folder(path: str) -> str:
    """The part of a path up to its last separator."""
    return path[: max(path.rfind("/"), path.rfind(os.sep)) + 1]
