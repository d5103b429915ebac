"""Ultralytics detectors as models: loaded, built, written."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aoi_tl.checkpoints.opening import open_restricted
from aoi_tl.checkpoints.screening import screen_detector
from aoi_tl.checkpoints.ultralytics_setup import prepare_ultralytics, quiet_ultralytics
from aoi_tl.checkpoints.writing import save_state
from aoi_tl.errors import CheckpointError


def load_checkpoint(path: Path) -> Any:
    """Load an Ultralytics detector, reconstructing known model classes only.

    Parameters
    ----------
    path : Path
        A ``.pt`` file.

    Returns
    -------
    DetectionModel
        The model in full precision, in evaluation mode, on the CPU.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, refers to anything but known model classes, or is not a
        detector that can be trained further.
    """
    path = Path(path)
    screen_detector(path)
    model = open_restricted(path)
    from torch import nn
    from ultralytics.nn.modules import Detect
    from ultralytics.nn.tasks import DetectionModel

    head = model.model[-1] if isinstance(getattr(model, "model", None), nn.Sequential) else None
    # Models of other tasks are children of the detector, so the exact class is asked for.
    if type(model) is not DetectionModel or not isinstance(head, Detect):
        raise CheckpointError(
            f"expected a detector, got {path}, a {type(model).__name__} for the task "
            f"{getattr(model, 'task', None)!r}; use a detection checkpoint such as yolo11n.pt"
        )
    if model.is_fused():
        raise CheckpointError(
            f"expected a checkpoint for training, got {path}, fused for prediction; "
            "use the unfused checkpoint"
        )
    bad = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise CheckpointError(
            f"expected finite numbers in {path}, got NaN or infinity in {bad[0]}; train it again"
        )
    return model


def new_model(architecture: str | Mapping[str, Any], names: Sequence[str], seed: int) -> Any:
    """Build a detector with newly initialised tensors.

    Parameters
    ----------
    architecture : str or mapping
        The name of an Ultralytics model such as ``yolov8n.yaml``, or a loaded model's ``yaml``.
    names : sequence of str
        The class names.
    seed : int
        Seed of the tensors; the global random state is unchanged.

    Returns
    -------
    DetectionModel
        The model in full precision, in training mode, on the CPU.

    Raises
    ------
    CheckpointError
        If there is no such architecture, or it is not a detector.
    """
    prepare_ultralytics()
    import torch
    from ultralytics.nn.modules import Detect
    from ultralytics.nn.tasks import DetectionModel, yaml_model_load

    try:
        config = (
            yaml_model_load(architecture)
            if isinstance(architecture, str)
            else copy.deepcopy(dict(architecture))
        )
        with quiet_ultralytics(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: Any = DetectionModel(
                config, ch=config.get("channels", 3), nc=len(names), verbose=False
            )
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"expected the name of an Ultralytics model, got {architecture!r} ({error}); "
            "use one such as yolov8n.yaml"
        ) from error
    if not isinstance(model.model[-1], Detect):
        raise CheckpointError(
            f"expected a detector, got {architecture!r}; use one such as yolov8n.yaml"
        )
    model.names = dict(enumerate(names))
    model.nc = len(names)
    model.task = "detect"
    return model


def backbone_length(model: Any) -> int:
    """Count the modules of a model's backbone, as its own description lists them.

    Parameters
    ----------
    model : DetectionModel
        The model.

    Returns
    -------
    int
        The number of modules, such as 10 for YOLOv8.
    """
    return len(model.yaml["backbone"])


def widen_class_branch(model: Any, source: Any, seed: int) -> None:
    """Give a new model class branches as wide as the checkpoint's, as Ultralytics' fine-tuning
    does.

    The width of the hidden layers there depends on the number of classes, so that without this none
    of them would fit a checkpoint of another number.

    Parameters
    ----------
    model : DetectionModel
        The new model, changed in place. Its other tensors keep their values.
    source : DetectionModel
        The checkpoint's model.
    seed : int
        Decides the last layers' new tensors.
    """
    import torch

    before = {name: value.clone() for name, value in model.state_dict().items()}
    with quiet_ultralytics(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Without names that could match: only the structure is wanted of this.
        names, model.names = model.names, {i: str(i) for i in model.names}
        model.load(copy.deepcopy(source), verbose=False)
        model.names = names
    after = model.state_dict()
    for name, value in before.items():
        if after[name].shape == value.shape:
            after[name].copy_(value)


def save_checkpoint(model: Any, path: Path) -> None:
    """Write a plain Ultralytics checkpoint, in full precision.

    Parameters
    ----------
    model : DetectionModel
        The model; it keeps its class names and its description.
    path : Path
        The file; written atomically.
    """
    from ultralytics import __version__

    checkpoint = {
        "epoch": -1,
        "best_fitness": None,
        "model": copy.deepcopy(model).float(),
        "ema": None,
        "updates": None,
        "optimizer": None,
        "train_args": {"task": "detect"},
        "version": __version__,
        "license": "AGPL-3.0 (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com",
    }
    save_state(checkpoint, path)
