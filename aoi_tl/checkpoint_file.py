"""A checkpoint from somebody: why it is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

from aoi_tl.errors import CheckpointError
from aoi_tl.ordinary import unpacked_size


def refuse_packed(path: Path) -> None:
    """Refuse a checkpoint that unpacks to more than it is: torch packs nothing.

    Parameters
    ----------
    path : Path
        A ``.pt`` file.

    Raises
    ------
    CheckpointError
        If it does, or cannot be read.
    """
    try:
        size, unpacked = os.path.getsize(path), unpacked_size(path)
    except OSError as error:
        raise CheckpointError(
            f"expected a checkpoint, got {error.strerror} at {path}; check the file"
        ) from error
    if unpacked > size:
        raise CheckpointError(
            f"expected a checkpoint as torch writes it, got {path}, {unpacked} bytes packed into "
            f"{size}; do not use it"
        )


def why_refused(error: BaseException) -> str:
    """Say why a restricted load failed, and the cure.

    Parameters
    ----------
    error : Exception
        What Ultralytics or torch raised.

    Returns
    -------
    str
        To be put behind "which".
    """
    cause: BaseException | None = error
    while cause is not None:
        if found := re.search(r"GLOBAL ([\w.]+)", str(cause)):
            return (
                f"would run {found[1]} when it is opened; take one from its maker. Only if you "
                "trust this file as you would a program: set 'weights_may_run_code: true'"
            )
        cause = cause.__cause__ or cause.__context__
    return (
        f"cannot be loaded ({type(error).__name__}): it is damaged, or holds more than a known "
        "model; download or save it again"
    )
