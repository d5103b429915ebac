"""An encoder's file that its user answers for: opened without restriction once, kept as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aoi_tl.checkpoints.opening import open_trusted, unreadable
from aoi_tl.checkpoints.writing import save_state
from aoi_tl.errors import CheckpointError


def rebuild_trusted_encoder(path: Path, clean: Path) -> Path:
    """Open an Ultralytics checkpoint, running whatever is in it, and write its tensors alone.

    Parameters
    ----------
    path : Path
        A ``.pt`` file of a classifier or a detector. It can do anything that its user can.
    clean : Path
        The new file: the same architecture and tensors, nothing else. Where it exists it is taken
        as it is and `path` is not opened.

    Returns
    -------
    Path
        `clean`, which is read with restrictions.

    Raises
    ------
    CheckpointError
        If the file is damaged, needs a package that is not here, or is of another kind.
    """
    if clean.is_file():
        return clean
    model = open_trusted(path)
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel

    if type(model) not in (ClassificationModel, DetectionModel):
        raise CheckpointError(
            f"expected a classifier or a detector, got {path}, a {type(model).__name__}; name "
            "another file"
        )
    rebuilt = type(model)(model.yaml, verbose=False)
    try:
        rebuilt.load_state_dict(model.state_dict(), strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"expected a model as its own description has it, got {path}, whose tensors differ; "
            "use an unfused, unpruned checkpoint"
        ) from error
    return save_state({"model": rebuilt}, clean)


def rebuild_trusted_state(path: Path, clean: Path) -> Path:
    """Open a file of weights, running whatever is in it, and write its tensors alone.

    Parameters
    ----------
    path : Path
        What `torch.save` wrote: a state dict, a checkpoint that holds one, or a whole module. It
        can do anything that its user can.
    clean : Path
        The new file: a state dict. Where it exists it is taken as it is.

    Returns
    -------
    Path
        `clean`, which is read with restrictions.

    Raises
    ------
    CheckpointError
        If the file is damaged, needs a package that is not here, or holds no tensors.
    """
    if clean.is_file():
        return clean
    import torch

    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a damaged pickle can raise anything
        raise unreadable(path, error) from error
    for key in ("model_ema", "state_dict_ema", "state_dict", "model"):  # where trainers put it
        if isinstance(found, Mapping) and key in found:
            found = found[key]
    found = found.state_dict() if isinstance(found, torch.nn.Module) else found
    tensors = {
        str(key): value.detach().clone() for key, value in found.items()
        if isinstance(value, torch.Tensor)
    } if isinstance(found, Mapping) else {}
    if not tensors:
        raise CheckpointError(
            f"expected tensors by name, got {path}, a {type(found).__name__} without any; save the "
            "model's state dict"
        )
    return save_state(tensors, clean)
