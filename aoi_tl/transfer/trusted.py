"""A checkpoint that its user answers for: opened without restriction once, kept as tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aoi_tl.checkpoints.opening import open_trusted
from aoi_tl.errors import CheckpointError
from aoi_tl.transfer.detector import new_model, save_checkpoint, widen_class_branch


def rebuild_trusted(path: Path, clean: Path) -> Path:
    """Open a checkpoint, running whatever code is in it, and write its tensors as an ordinary one.

    All later loading is of the new file and restricted as ever. Nothing is installed, whatever the
    checkpoint asks for.

    Parameters
    ----------
    path : Path
        A ``.pt`` file of a detector. It can do anything that its user can.
    clean : Path
        The new file: the same architecture, class names and tensors, nothing else. Where it exists
        it is taken as it is and `path` is not opened.

    Returns
    -------
    Path
        `clean`.

    Raises
    ------
    CheckpointError
        If the file is damaged, needs a package that is not here, or is no detector.
    """
    if clean.is_file():
        return clean
    model = open_trusted(path)
    from ultralytics.nn.tasks import DetectionModel

    if type(model) is not DetectionModel:
        raise CheckpointError(
            f"expected a detector, got {path}, a {type(model).__name__}; use a detection checkpoint"
        )
    architecture: Any = model.yaml
    names = [str(model.names[i]) for i in sorted(model.names)]
    rebuilt = new_model(architecture, names, seed=0)
    widen_class_branch(rebuilt, model, seed=0)
    try:
        rebuilt.load_state_dict(model.state_dict(), strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"expected a detector as its own description has it, got {path}, whose tensors differ; "
            "use an unfused, unpruned checkpoint"
        ) from error
    save_checkpoint(rebuilt, clean)
    return clean
