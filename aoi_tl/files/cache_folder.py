"""The folder that holds the caches."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The folder of the caches, unless set otherwise.

    Returns
    -------
    Path
        ``AOI_TL_CACHE`` where it is set, else ``aoi-tl`` in the platform's cache folder.
    """
    given = os.environ.get("AOI_TL_CACHE")
    if given:
        return Path(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "aoi-tl"
