"""The settings of a training: Ultralytics' arguments, the device, the threads."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from aoi_tl.checkpoints.ultralytics_setup import prepare_ultralytics, preserved_random_state
from aoi_tl.errors import ExperimentError
from aoi_tl.experiment.settings import did_you_mean

#: Training arguments that a stage sets itself, and what to write instead.
OWNED_ARGUMENTS = {
    "data": "name the data under `target` and `sources`",
    "model": "name the checkpoint under `weights`",
    "pretrained": "choose the arm (`scratch`, `stock`, ...) or `transfer.modules`",
    "project": "choose the run's folder with --out",
    "name": "choose the run's folder with --out",
    "save_dir": "choose the run's folder with --out",
    "exist_ok": "choose the run's folder with --out",
    "resume": "use --resume",
    "seed": "write the seeds under `seeds`",
    "task": "only detection is trained here",
    "mode": "only training is done here",
    "cfg": "write the arguments themselves under `train`",
    "split": "training validates on the val split; only the evaluation opens the test split",
    "single_cls": "make all classes one with `aliases`",
}

#: The optimisers of Ultralytics' `build_optimizer`, which checks them only after training starts.
OPTIMIZERS = ("auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop")

#: Device files of Linux if a GPU can be used: NVIDIA, WSL, AMD, NVIDIA's small boards.
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/nvmap")


def check_train_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Check training arguments before anything is trained.

    Parameters
    ----------
    arguments : mapping
        Names and values as Ultralytics documents them.

    Returns
    -------
    dict
        A copy, with values in the types that Ultralytics wants.

    Raises
    ------
    ExperimentError
        If an argument is unknown, set by the stage itself, or has a value of the wrong kind.

    Examples
    --------
    >>> check_train_arguments({"epochs": 3, "lr0": 0.01})
    {'epochs': 3, 'lr0': 0.01}
    >>> check_train_arguments({"epoch": 3})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    aoi_tl.errors.ExperimentError: expected a training argument of Ultralytics, got 'epoch'; ...
    """
    prepare_ultralytics()
    from ultralytics.cfg import check_cfg
    from ultralytics.utils import DEFAULT_CFG_DICT

    checked = dict(arguments)
    for name in checked:
        if name in OWNED_ARGUMENTS:
            raise ExperimentError(
                f"expected no training argument {name!r}, got {checked[name]!r}; "
                f"{OWNED_ARGUMENTS[name]}"
            )
        if name not in DEFAULT_CFG_DICT:
            hint = did_you_mean(name, list(DEFAULT_CFG_DICT)) or "; its documentation lists them"
            raise ExperimentError(
                f"expected a training argument of Ultralytics, got {name!r}{hint}"
            )
    optimizer = str(checked.get("optimizer", "auto"))
    if optimizer.lower() not in map(str.lower, OPTIMIZERS):
        raise ExperimentError(
            f"expected 'optimizer' to be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}"
        )
    try:
        check_cfg(checked)
    except (TypeError, ValueError) as error:
        raise ExperimentError(
            f"expected a valid training argument, got {' '.join(str(error).split())}"
        ) from error
    return checked


def ignored_arguments(arguments: Mapping[str, Any]) -> list[str]:
    """Name the training arguments that Ultralytics does not use because of another one.

    Parameters
    ----------
    arguments : mapping
        Those that the user gave.

    Returns
    -------
    list of str
        ``lr0`` and ``momentum``, where it chooses the optimizer and with it both.

    Examples
    --------
    >>> ignored_arguments({"lr0": 0.001}), ignored_arguments({"lr0": 0.001, "optimizer": "AdamW"})
    (['lr0'], [])
    """
    if str(arguments.get("optimizer", "auto")).lower() != "auto":
        return []
    return [name for name in ("lr0", "momentum") if name in arguments]


def check_device(device: str) -> None:
    """Check that this machine has a device before anything is trained on it.

    Parameters
    ----------
    device : str
        ``cpu``, ``0``, ``0,1``, ``mps``, ..., as in Ultralytics.

    Raises
    ------
    ExperimentError
        If the machine does not have it.

    Examples
    --------
    >>> check_device("cpu")
    """
    if _is_absent(device):
        raise _no_such_device(device, 0)
    prepare_ultralytics()
    from ultralytics.utils.torch_utils import select_device

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        with preserved_random_state():
            select_device(device, verbose=False)
    except (AssertionError, RuntimeError, ValueError) as error:
        import torch

        raise _no_such_device(device, torch.cuda.device_count()) from error
    finally:  # Ultralytics hides the GPUs from the whole process when it is asked for the CPU
        if visible is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible


def _is_absent(device: str) -> bool:
    """Whether a device cannot be here, seen without importing torch."""
    if device.startswith("mps"):
        return sys.platform != "darwin"
    if not re.fullmatch(r"[\d,]+|cuda(:\d+)?", device) or sys.platform != "linux":
        return False  # only torch knows
    return not any(map(os.path.exists, DRIVERS))


def _no_such_device(device: str, gpus: int) -> ExperimentError:
    return ExperimentError(
        f"expected a device of this machine, got {device!r}: it has {gpus} GPUs that torch can "
        "use; set 'device: cpu', or a GPU's number"
    )


def training_threads(number: int | None = None) -> int:
    """Get the number of threads of a training on CPU; set it if a number is given.

    Float sums depend on it: machines that must produce the same tensors use the same number.

    Parameters
    ----------
    number : int, optional
        >= 1; by default the choice of Ultralytics for this machine is kept.

    Returns
    -------
    int
    """
    prepare_ultralytics()
    from ultralytics.utils import torch_utils

    if number is not None:
        torch_utils.NUM_THREADS = number  # `select_device` hands it to torch
    return int(torch_utils.NUM_THREADS)
