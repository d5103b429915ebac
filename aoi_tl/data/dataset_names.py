"""Names of datasets: taken from their paths, distinct within one comparison."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def dataset_name(path: Path, folders: int = 0) -> str:
    """Name a dataset by its YAML, or by the YAML's folder if the file is only called "data".

    Parameters
    ----------
    path : Path
        The ``data.yaml``; it need not exist.
    folders : int
        How many folders above are put before the name.

    Returns
    -------
    str
        What tables and reports call the dataset.

    Examples
    --------
    >>> dataset_name(Path("shelf/line-1/data.yaml")), dataset_name(Path("shelf/line-1.yaml"))
    ('line-1', 'line-1')
    >>> dataset_name(Path("shelf/line-1/data.yaml"), folders=1)
    'shelf/line-1'
    """
    whole = Path(os.path.abspath(path))  # unlike resolve(), at ease with a loop of links
    parts = whole.parts[1:-1]
    if path.stem not in ("data", "dataset"):
        parts = (*parts, path.stem)
    return "/".join(parts[-1 - folders:])


def distinct_names(paths: Sequence[Path], given: Sequence[str | None] = ()) -> list[str]:
    """Name datasets; equal names are extended by as much of the path as distinguishes them.

    Parameters
    ----------
    paths : sequence of Path
        Their ``data.yaml`` files.
    given : sequence of str or None
        Names that are kept as they are; None where there is none.

    Returns
    -------
    list of str
        In the order of ``paths``. Two are equal only where the paths or the given names are.

    Examples
    --------
    >>> distinct_names([Path("lineA/dataset/data.yaml"), Path("lineB/dataset/data.yaml")])
    ['lineA/dataset', 'lineB/dataset']
    """
    fixed = list(given) or [None] * len(paths)
    names = [name or dataset_name(path) for path, name in zip(paths, fixed, strict=True)]
    for folders in range(1, max((len(Path(os.path.abspath(path)).parts) for path in paths),
                                default=0)):
        count = Counter(names)
        if max(count.values()) == 1:
            break
        names = [
            name if known is not None or count[name] == 1 else dataset_name(path, folders)
            for name, known, path in zip(names, fixed, paths, strict=True)
        ]
    return names
