"""Reading a user's YAML file as plain values."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aoi_tl.errors import DataError
from aoi_tl.files.plain_yaml import MAX_BYTES, YamlFault, parse_plain
from aoi_tl.files.untrusted import decode_text, read_regular_file


def read_yaml(path: Path, look: Callable[[Any], None] = lambda node: None) -> Any:
    """Read a YAML file safely.

    Parameters
    ----------
    path : Path
        UTF-8 text, with or without a byte-order mark, or UTF-16 with one.
    look : callable, optional
        Shown the document's root node before values are made of it.

    Returns
    -------
    Any
        Plain values: maps, lists, text, numbers, None.

    Raises
    ------
    DataError
        No such file (the message names the nearest existing file), a folder, not UTF-8, or broken
        YAML (the message names the line).

    Examples
    --------
    >>> read_yaml(Path("no-such.yaml"))
    Traceback (most recent call last):
    ...
    aoi_tl.errors.DataError: no-such.yaml: expected a YAML file, got no such file; check the path
    """
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in (".yaml", ".yml"))
        cure = f"name {path / inside[0]}" if inside else "name the YAML file of a dataset"
        raise DataError(f"{path}: expected a YAML file, got a folder; {cure}")
    try:
        content = read_regular_file(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: expected a YAML file, got no such file; {_nearest(path)}"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a YAML file, got {error}; check the path") from error
    try:
        return parse_plain(decode_text(content), look=look)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} line {line}: expected UTF-8 text, got byte 0x{content[error.start]:02x}; "
            "save the file as UTF-8"
        ) from error
    except YamlFault as error:
        where, what = (f" line {error.line}", "line") if error.line else ("", "file")
        raise DataError(
            f"{path}{where}: expected valid YAML, got: {error}; correct the {what}"
        ) from error


def _nearest(path: Path) -> str:
    try:
        siblings = [p.name for p in path.parent.iterdir()]
    except OSError:
        return f"there is no folder {path.parent} either"
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f"did you mean {path.with_name(near[0])}?" if near else "check the path"
