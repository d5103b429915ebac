"""Writing checkpoints with torch, atomically."""

from __future__ import annotations

import io
from pathlib import Path

from aoi_tl.files.run_folder import write_atomically


def save_state(state: object, path: Path) -> Path:
    """Write a state as ``torch.save`` does, whole or not at all.

    Written by torch itself it would tell of a full disk in words that name neither disk nor file.

    Parameters
    ----------
    state : object
        Anything that ``torch.save`` takes.
    path : Path
        The file.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    return write_atomically(path, buffer.getvalue())
