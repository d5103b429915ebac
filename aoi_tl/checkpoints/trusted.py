"""Trusted checkpoints: opened once without restriction, and kept as plain tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aoi_tl.checkpoints.opening import open_trusted, unreadable_error
from aoi_tl.checkpoints.ultralytics_setup import quiet_ultralytics
from aoi_tl.checkpoints.writing import save_state
from aoi_tl.errors import CheckpointError

NOUNS = {"detect": "a detector", "classify": "a classifier"}


def rebuild_trusted(path: Path, clean: Path, tasks: Sequence[str] = ("detect",)) -> Path:
    """Open an Ultralytics checkpoint, run any code in it, and write only its tensors.

    All later loading is of the new file and stays restricted. Nothing that the checkpoint
    asks for is installed.

    Parameters
    ----------
    path : Path
        A ``.pt`` file. It can do anything that its user can.
    clean : Path
        The new file: the same architecture, class names and tensors, nothing else. Where it exists
        it is taken as it is and `path` is not opened.
    tasks : sequence of {"detect", "classify"}
        The kinds of model that are accepted.

    Returns
    -------
    Path
        `clean`.

    Raises
    ------
    CheckpointError
        If the file is damaged, needs a package that is not installed, or holds another model.
    """
    if clean.is_file():
        return clean
    model = open_trusted(path)
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel

    classes: dict[str, Any] = {"detect": DetectionModel, "classify": ClassificationModel}
    # Models of other tasks are children of the detector, so the exact class is asked for.
    task = next((task for task in tasks if type(model) is classes[task]), None)
    if task is None:
        raise CheckpointError(
            f"expected {' or '.join(NOUNS[task] for task in tasks)}, got {path}, a "
            f"{type(model).__name__}; use another checkpoint"
        )
    rebuilt = _rebuild(model, path)
    rebuilt.task = task
    return save_state({"model": rebuilt, "train_args": {"task": task}}, clean)


def rebuild_trusted_state(path: Path, clean: Path) -> Path:
    """Open a file of weights, run any code in it, and write only its tensors.

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
        If the file is damaged, needs a package that is not installed, or holds no tensors.
    """
    if clean.is_file():
        return clean
    import torch

    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a damaged pickle can raise anything
        raise unreadable_error(path, error) from error
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


def _rebuild(model: Any, path: Path) -> Any:
    """Rebuild a model from its own description, and give it the old one's tensors."""
    import torch

    try:
        names = {i: str(model.names[key]) for i, key in enumerate(sorted(model.names))}
        with quiet_ultralytics(), torch.random.fork_rng(devices=[]):
            config = copy.deepcopy(dict(model.yaml))
            rebuilt: Any = type(model)(
                config, ch=config.get("channels", 3), nc=len(names), verbose=False
            )
            # Fine-tuned detectors have class branches as wide as their checkpoint's were; loading
            # makes them so. Without names that could match, it does no more to them.
            rebuilt.names = {i: f"new {i}" for i in names}
            rebuilt.load(copy.deepcopy(model), verbose=False)
        rebuilt.names = names
        rebuilt.load_state_dict(model.state_dict(), strict=True)
    except (OSError, AttributeError, RuntimeError, KeyError, TypeError, ValueError,
            IndexError) as error:
        raise CheckpointError(
            f"expected a model that matches its own description, got {path}, whose tensors differ; "
            "use an unfused, unpruned checkpoint"
        ) from error
    return rebuilt.float()
