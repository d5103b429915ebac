"""Signatures and class counts of many datasets in one file, and the search for the closest."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aoi_tl.errors import DataError
from aoi_tl.similarity.emd_batch import SignatureTable, emd_pairs, lower_bounds, sketch
from aoi_tl.similarity.signature import Signature

Floats = NDArray[np.float64]

_FORMAT = 1
_MOST_CLUSTERS = 4096
_BLOCK = 256  # sources whose exact distance is worked out before the bounds are looked at again


@dataclass(frozen=True, eq=False)
class IndexRow:
    """The entry of one dataset in the index.

    Attributes
    ----------
    path : str
        Its absolute ``data.yaml``, which identifies the dataset.
    name : str
        What reports call it.
    images : int
        Number of its images.
    counts : dict of str to int
        Instances per class name; zeros are left out.
    signature : Signature
        Of all its splits, with the index's number of clusters.
    unreadable : int
        Images that could not be read and are not in the signature.
    """

    path: str
    name: str
    images: int
    counts: dict[str, int]
    signature: Signature
    unreadable: int = 0


@dataclass(frozen=True)
class Search:
    """The sources closest to a target.

    Attributes
    ----------
    rows : tuple of IndexRow
        The closest first.
    emds : tuple of float
        Their exact distances.
    searched : int
        Sources in the index that have a defined score.
    solved : int
        Sources whose exact distance had to be worked out; the others were pruned by bounds.
    """

    rows: tuple[IndexRow, ...]
    emds: tuple[float, ...]
    searched: int
    solved: int


class SignatureIndex:
    """A file of datasets' signatures: one row a dataset, appended or replaced by its path.

    Several processes may write one file. What is read stays in memory until the file changes.

    Parameters
    ----------
    file : path-like
        The index; made where it does not exist and ``n_clusters`` is given.
    n_clusters : int, optional
        Clusters of every signature in it; must agree with an index that exists.

    Raises
    ------
    DataError
        When the file is no index, does not exist, or has another number of clusters.

    Examples
    --------
    >>> import tempfile
    >>> grey = Signature([[9, 9, 9]], [1.0])
    >>> row = IndexRow("/a/data.yaml", "a", 3, {"dent": 5, "crack": 2}, grey)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with SignatureIndex(Path(folder, "shelf.index"), n_clusters=5) as index:
    ...         index.add([row])
    ...         found = index.search(grey, ("dent", "crack"), top=10)
    >>> [row.name for row in found.rows], found.emds
    (['a'], (0.0,))
    """

    def __init__(self, file: str | os.PathLike[str], n_clusters: int | None = None) -> None:
        self.file = Path(file)
        if n_clusters is None and not self.file.is_file():
            raise DataError(
                f"expected a signature index at {self.file}, got none; "
                "make it by adding datasets to it first"
            )
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.file, timeout=60)
            self.n_clusters = self._prepare(n_clusters)
        except (sqlite3.Error, OSError) as error:
            raise DataError(
                f"expected a signature index at {self.file}, got {error}; name another file"
            ) from error
        self._loaded: tuple[Any, _Table] | None = None

    def __enter__(self) -> SignatureIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def __len__(self) -> int:
        return int(self._database.execute("SELECT COUNT(*) FROM datasets").fetchone()[0])

    def add(self, rows: Iterable[IndexRow]) -> None:
        """Append datasets; one whose path is known is replaced.

        Parameters
        ----------
        rows : iterable of IndexRow
            All are written, or none.

        Raises
        ------
        DataError
            When a signature has more clusters than the index.
        """
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            known = dict(self._database.execute("SELECT name, id FROM classes"))
            for row in rows:
                if len(row.signature.weights) > self.n_clusters:
                    raise DataError(
                        f"{row.path}: expected a signature of at most {self.n_clusters} clusters, "
                        f"got {len(row.signature.weights)}; score it with the index's number"
                    )
                for name in row.counts:
                    if name not in known:
                        known[name] = len(known)
                        self._database.execute(
                            "INSERT INTO classes VALUES (?,?)", (known[name], name)
                        )
                # Ascending counts: the Lorenz curve wants them so, and any choice keeps the order.
                pairs = sorted((count, known[n]) for n, count in row.counts.items() if count)
                table = SignatureTable.of([row.signature])
                values = np.zeros((self.n_clusters, 4))
                held = len(row.signature.weights)
                values[:held, :3], values[held:, :3] = table.centroids[0], table.centroids[0, -1]
                values[:held, 3] = table.weights[0]
                self._database.execute(
                    "INSERT OR REPLACE INTO datasets VALUES (?,?,?,?,?,?)",
                    (
                        row.path,
                        row.name,
                        row.images,
                        row.unreadable,
                        np.array(pairs, dtype="<i8").reshape(-1, 2).tobytes(),
                        values.astype("<f8").tobytes(),
                    ),
                )

    def remove(self, paths: Iterable[str]) -> None:
        """Take datasets out.

        Parameters
        ----------
        paths : iterable of str
            Their ``data.yaml``, absolute; unknown ones are skipped.
        """
        with self._database:
            self._database.executemany(
                "DELETE FROM datasets WHERE path = ?", [(path,) for path in paths]
            )

    def search(
        self,
        target: Signature,
        label_space: Sequence[str],
        top: int = 10,
        without: Sequence[str] = (),
    ) -> Search:
        """Find the sources of the lowest discrepancy while computing few distances.

        The result is that of scoring every source: a source is skipped only where a lower
        bound of its distance already puts it behind ``top`` others.

        Parameters
        ----------
        target : Signature
            The target's, of the index's number of clusters.
        label_space : sequence of str
            Class names with an instance in the target.
        top : int, default 10
            How many sources are wanted, >= 1.
        without : sequence of str
            Paths to pass over, such as the target's own.

        Returns
        -------
        Search
            At most ``top`` sources with a defined score, by score, then EMD, then name.

        Raises
        ------
        ValueError
            When ``top`` is below 1.
        """
        if top < 1:
            raise ValueError(f"expected top >= 1, got {top}")
        table = self._table()
        factors = table.factors(label_space)
        for path in without:
            if path in table.places:
                factors[table.places[path]] = np.nan
        candidates = np.flatnonzero(np.isfinite(factors))
        wanted = SignatureTable.of([target])
        bounds = lower_bounds(table.sketches, sketch(wanted))[candidates]
        scores = bounds * factors[candidates]
        order = np.lexsort((bounds, scores))
        best: list[tuple[float, float, str, int]] = []
        solved = 0
        for first in range(0, len(order), _BLOCK):
            block = order[first : first + _BLOCK]
            if len(best) == top and (scores[block[0]], bounds[block[0]]) > best[-1][:2]:
                break
            rows = candidates[block]
            emds = emd_pairs(table.signatures.take(rows), wanted)
            solved += len(rows)
            found = [
                (float(emd * factors[row]), float(emd), table.names[row], int(row))
                for emd, row in zip(emds, rows, strict=True)
            ]
            best = sorted(best + found)[:top]
        return Search(
            tuple(self._row(table.paths[row]) for *_, row in best),
            tuple(emd for _, emd, _, _ in best),
            len(candidates),
            solved,
        )

    def class_names(self) -> set[str]:
        """Give the class names of all datasets."""
        return {str(name) for (name,) in self._database.execute("SELECT name FROM classes")}

    def rows(self) -> list[IndexRow]:
        """Give all datasets, in the order of their paths."""
        paths = self._database.execute("SELECT path FROM datasets ORDER BY path").fetchall()
        return [self._row(path) for (path,) in paths]

    def _row(self, path: str) -> IndexRow:
        _, name, images, unreadable, pairs, values = self._database.execute(
            "SELECT * FROM datasets WHERE path = ?", (path,)
        ).fetchone()
        names = dict(self._database.execute("SELECT id, name FROM classes"))
        counted = np.frombuffer(pairs, "<i8").reshape(-1, 2)
        counts = {names[label]: int(count) for count, label in counted.tolist()}
        table = np.frombuffer(values, "<f8").reshape(-1, 4)
        held = table[:, 3] > 0
        return IndexRow(
            path, name, images, counts, Signature(table[held, :3], table[held, 3]), unreadable
        )

    def _prepare(self, n_clusters: int | None) -> int:
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and n_clusters is not None:
                self._database.execute("CREATE TABLE settings (n_clusters INTEGER)")
                self._database.execute("INSERT INTO settings VALUES (?)", (n_clusters,))
                self._database.execute("CREATE TABLE classes (id INTEGER PRIMARY KEY, name TEXT)")
                self._database.execute(
                    "CREATE TABLE datasets (path TEXT PRIMARY KEY, name TEXT, images INTEGER, "
                    "unreadable INTEGER, counts BLOB, signature BLOB)"
                )
                self._database.execute(f"PRAGMA user_version = {_FORMAT}")
            elif version != _FORMAT:
                raise DataError(
                    f"{self.file}: expected a signature index of format {_FORMAT}, got {version}; "
                    "build it again"
                )
            rows = self._database.execute("SELECT n_clusters FROM settings").fetchall()
        known = rows[0][0] if rows else None
        if not isinstance(known, int) or not 1 <= known <= _MOST_CLUSTERS:
            raise DataError(
                f"{self.file}: expected an index's number of clusters, got {known!r}; build it "
                "again"
            )
        if n_clusters not in (None, known):
            raise DataError(
                f"{self.file}: expected {known} clusters, as in this index, got {n_clusters}; "
                f"score with {known} or make another index"
            )
        return known

    def _table(self) -> _Table:
        # The first number changes with another connection's writes, the second with our own.
        state = (
            self._database.execute("PRAGMA data_version").fetchone()[0],
            self._database.total_changes,
        )
        if self._loaded is None or self._loaded[0] != state:
            try:
                self._loaded = state, _Table.read(self._database, self.n_clusters)
            except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
                raise DataError(
                    f"expected a signature index at {self.file}, got a damaged one ({error}); "
                    "build it again"
                ) from error
        return self._loaded[1]


@dataclass(frozen=True, eq=False)
class _Table:
    """All rows as arrays, for the search."""

    paths: list[str]
    names: list[str]
    places: dict[str, int]
    signatures: SignatureTable
    sketches: NDArray[np.float32]
    classes: dict[str, int]
    owners: NDArray[np.intp]  # the row of each count
    labels: NDArray[np.int64]  # its class
    counts: NDArray[np.int64]  # ascending within a row

    @classmethod
    def read(cls, database: sqlite3.Connection, n_clusters: int) -> _Table:
        found = database.execute(
            "SELECT path, name, counts, signature, images, unreadable FROM datasets ORDER BY path"
        ).fetchall()
        values = np.frombuffer(b"".join(row[3] for row in found), "<f8").reshape(-1, n_clusters, 4)
        pairs = np.frombuffer(b"".join(row[2] for row in found), "<i8").reshape(-1, 2)
        lengths = np.array([len(row[2]) // 16 for row in found], dtype=np.intp)
        signatures = SignatureTable(
            np.ascontiguousarray(values[:, :, :3]), np.ascontiguousarray(values[:, :, 3])
        )
        paths = [row[0] for row in found]
        classes = dict(database.execute("SELECT name, id FROM classes"))
        texts = [*paths, *(row[1] for row in found), *classes]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("names that are not text")
        if not all(isinstance(number, int) for row in found for number in row[4:]):
            raise ValueError("image counts that are not numbers")
        if sorted(classes.values()) != list(range(len(classes))):
            raise ValueError("classes out of order")
        if (pairs < 0).any() or (pairs[:, 1] >= len(classes)).any():
            raise ValueError("instances without a class")
        shares = values[:, :, 3]
        if not np.isfinite(values).all() or (shares < 0).any() or not np.allclose(shares.sum(1), 1):
            raise ValueError("invalid signatures")
        return cls(
            paths,
            [row[1] for row in found],
            {path: place for place, path in enumerate(paths)},
            signatures,
            sketch(signatures),
            classes,
            np.repeat(np.arange(len(found)), lengths),
            np.ascontiguousarray(pairs[:, 1]),
            np.ascontiguousarray(pairs[:, 0]),
        )

    def factors(self, label_space: Sequence[str]) -> Floats:
        """Gini over the number of shared classes for each row; NaN where the score is undefined."""
        wanted = np.zeros(max(len(self.classes), 1), dtype=bool)
        wanted[[self.classes[name] for name in label_space if name in self.classes]] = True
        shared = wanted[self.labels]
        owner, count = self.owners[shared], self.counts[shared].astype(np.float64)
        n = np.bincount(owner, minlength=len(self.paths))
        total = np.bincount(owner, count, len(self.paths))
        # Counts ascend, so the sum of the cumulated counts weighs each by the number behind it.
        behind = np.cumsum(n)[owner] - np.arange(len(owner)) - 1
        cumulated = np.bincount(owner, count * behind, len(self.paths))
        with np.errstate(invalid="ignore", divide="ignore"):
            delta = (0.5 - (cumulated + total / 2) / (n * total)) / 0.5
            return np.where(n > 1, delta / n, np.nan)
