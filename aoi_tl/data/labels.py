"""Class names, made comparable between datasets by aliases."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.dataset import Dataset
from aoi_tl.errors import DataError
from aoi_tl.files.yaml_file import read_yaml


def normal_name(name: object) -> str:
    """Normalise a class name: no surrounding blanks, accents composed (Unicode NFC).

    Parameters
    ----------
    name : object
        What the YAML holds; numbers and booleans become text.

    Returns
    -------
    str
        The class name.

    Examples
    --------
    >>> normal_name(" Fla\\u0308che ") == "Fl\\u00e4che"
    True
    """
    return unicodedata.normalize("NFC", str(name)).strip()


def load_aliases(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a map of aliases.

    Each entry of the YAML map is either ``canonical: [name, name, ...]`` or ``name: canonical``;
    both kinds may stand in one file.

    Parameters
    ----------
    path : path-like
        A YAML file.

    Returns
    -------
    dict of str to str
        Every other name and the canonical one that replaces it.

    Raises
    ------
    DataError
        The file is missing, broken, no map, or gives one name two meanings.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "aliases.yaml")
    ...     text = "scratch: [scratches, 划痕]\\npinhole: blowhole\\n"
    ...     _ = file.write_text(text, encoding="utf-8")
    ...     load_aliases(file)
    {'scratches': 'scratch', '划痕': 'scratch', 'pinhole': 'blowhole'}
    """
    path = Path(path)
    content = read_yaml(path)
    if content is None:
        return {}
    cure = "write 'canonical: [name, ...]' or 'name: canonical'"
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: expected a map of names, got {_kind(content)}; {cure}")
    pairs: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, list):
            if any(isinstance(name, list | dict) or name is None for name in value):
                raise DataError(f"{path}: expected a list of names for {key!r}; {cure}")
            pairs += [(normal_name(name), normal_name(key)) for name in value]
        elif value is None or isinstance(value, dict):
            raise DataError(f"{path}: expected names for {key!r}, got {_kind(value)}; {cure}")
        else:
            pairs.append((normal_name(key), normal_name(value)))
    return _checked(pairs, path)


def check_aliases(aliases: Mapping[str, str], names: Iterable[str]) -> None:
    """Refuse a map with a name that no dataset has, since it is most likely a typing error.

    Parameters
    ----------
    aliases : mapping of str to str
        From ``load_aliases``.
    names : iterable of str
        All class names of the datasets it is meant for.

    Raises
    ------
    DataError
        A name on the left is unknown; the message names the nearest known one.

    Examples
    --------
    >>> check_aliases({"scratches": "scratch"}, ["scratches", "dirt"])
    """
    known = {normal_name(name) for name in names}
    for name in aliases:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            raise DataError(
                f"aliases: expected class names of the given datasets, got {name!r}; {hint}"
            )


def apply_aliases(dataset: Dataset, aliases: Mapping[str, str]) -> Dataset:
    """Merge the class names that mean the same.

    Parameters
    ----------
    dataset : Dataset
        Any dataset.
    aliases : mapping of str to str
        A name and the canonical one that replaces it.

    Returns
    -------
    Dataset
        Canonical names in the order of their first appearance; the same boxes in the same order.

    Examples
    --------
    >>> from aoi_tl.data.dataset import Sample
    >>> sample = Sample(Path("a.png"), "train", np.array([2]), np.array([[0.5, 0.5, 0.1, 0.1]]))
    >>> steel = Dataset("steel", Path("data.yaml"), ("dirt", "scratch", "scratches"), (sample,))
    >>> apply_aliases(steel, {"scratches": "scratch"}).counts
    {'dirt': 0, 'scratch': 1}
    """
    names, ids = merged_names(dataset.names, aliases)
    if names == dataset.names:
        return dataset
    samples = tuple(replace(sample, classes=ids[sample.classes]) for sample in dataset.samples)
    return replace(dataset, names=names, samples=samples)


def merged_names(
    names: Sequence[str], aliases: Mapping[str, str]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Merge the class names that mean the same.

    Parameters
    ----------
    names : sequence of str
        Class names; one may be there twice.
    aliases : mapping of str to str
        A name and the canonical one that replaces it.

    Returns
    -------
    names : tuple of str
        Canonical names in the order of their first appearance.
    ids : int64 array of shape (n,)
        The new class id of each old one.

    Examples
    --------
    >>> names, ids = merged_names(("dirt", "scratch", "scratches"), {"scratches": "scratch"})
    >>> names, ids.tolist()
    (('dirt', 'scratch'), [0, 1, 1])
    """
    renamed = [aliases.get(name, name) for name in names]
    merged = tuple(dict.fromkeys(renamed))
    return merged, np.array([merged.index(name) for name in renamed], dtype=np.int64)


def _checked(pairs: list[tuple[str, str]], path: Path) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for name, canonical in pairs:
        if not name or not canonical:
            raise DataError(f"{path}: expected class names, got an empty one; remove it")
        if aliases.get(name, canonical) != canonical:
            raise DataError(
                f"{path}: expected one meaning for {name!r}, got {aliases[name]!r} and "
                f"{canonical!r}; remove one"
            )
        if name != canonical:
            aliases[name] = canonical
    for name, canonical in aliases.items():
        if canonical in aliases:
            raise DataError(
                f"{path}: expected {canonical!r}, which {name!r} stands for, to be final, got an "
                f"alias of {aliases[canonical]!r}; map {name!r} to {aliases[canonical]!r}"
            )
    return aliases


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
