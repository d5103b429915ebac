"""Writing checkpoints with torch, atomically."""

from __future__ import annotations

import io
from pathlib import Path

from aoi_tl.files.run_folder import write_atomically


def save_state(state: object, path: Path) -> Path:
    """Write a state as ``torch.save`` does, atomically.

    torch's own error on a full disk names neither the disk nor the file.

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
