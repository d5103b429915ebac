"""Reading the ``data.yaml`` of a stage: class names exactly as Ultralytics reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aoi_tl.errors import DataError


def data_names(data: Path) -> tuple[str, ...]:
    """Read the class names of an Ultralytics ``data.yaml``.

    Parameters
    ----------
    data : Path
        The file; ``names`` is a list, or a map from number to name.

    Returns
    -------
    tuple of str
        The names in the order of their numbers.

    Raises
    ------
    DataError
        If the file has no names.
    """
    names = _read_yaml(data).get("names")
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    if not isinstance(names, list) or not names:
        raise DataError(f"expected class names in {data}, got {names!r}; add `names:`")
    return tuple(map(str, names))


def has_own_val(data: Path) -> bool:
    """Check if a ``data.yaml`` has a val split other than its training images.

    Parameters
    ----------
    data : Path
        The file.

    Returns
    -------
    bool

    Raises
    ------
    DataError
        If it cannot be read.
    """
    loaded = _read_yaml(data)
    return bool(loaded.get("val")) and loaded.get("val") != loaded.get("train")


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(
            f"expected an Ultralytics data.yaml, got {path} ({type(error).__name__}); "
            "check the file"
        ) from error
    if not isinstance(loaded, dict):
        raise DataError(f"expected a map in {path}, got {type(loaded).__name__}; check the file")
    return loaded
