"""Opening a checkpoint: restricted by default, unrestricted if the user trusts the file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from aoi_tl.checkpoints.ultralytics_setup import prepare_ultralytics, quiet_ultralytics
from aoi_tl.errors import CheckpointError
from aoi_tl.files.untrusted import unpacked_size


def refuse_packed(path: Path) -> None:
    """Refuse a compressed checkpoint: torch does not compress.

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


def refusal_reason(error: BaseException) -> str:
    """Explain why a restricted load failed, with the cure.

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
            return runs_code_reason(found[1])
        cause = cause.__cause__ or cause.__context__
    return damage_reason(type(error).__name__)


def runs_code_reason(name: str) -> str:
    """Explain that a checkpoint refers to code of its own, with the cure; follows "which"."""
    return (
        f"would run {name} when it is opened; take one from its maker. Only if you trust this file "
        "as you would a program: set 'weights_may_run_code: true'"
    )


def damage_reason(why: str) -> str:
    """Explain that a checkpoint cannot be read, with the cure; follows "which"."""
    return (
        f"cannot be loaded ({why}): it is damaged, or holds more than a known model; download or "
        "save it again"
    )


def open_restricted(path: Path, hint: str = "") -> Any:
    """Open an Ultralytics checkpoint, reconstructing known model classes only.

    Parameters
    ----------
    path : Path
        A ``.pt`` file.
    hint : str
        Put behind the line that refuses a file that is none.

    Returns
    -------
    torch.nn.Module
        The model in full precision, in evaluation mode, on the CPU.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, or refers to anything but known model classes.
    """
    # Looked at here, because Ultralytics downloads what it does not find.
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint, got no file {path}; check the path")
    refuse_packed(path)
    prepare_ultralytics()
    from ultralytics.nn.tasks import load_checkpoint

    try:
        with quiet_ultralytics():
            return load_checkpoint(str(path))[0]
    except Exception as error:  # a damaged or hostile pickle can raise anything
        raise CheckpointError(
            f"expected an Ultralytics checkpoint, got {path}, which {refusal_reason(error)}{hint}"
        ) from error


def open_trusted(path: Path) -> Any:
    """Open an Ultralytics checkpoint and run any code in it; nothing is installed for it.

    Parameters
    ----------
    path : Path
        A ``.pt`` file. It can do anything that its user can.

    Returns
    -------
    object
        What it holds as its model: a module in full precision, if it is an Ultralytics checkpoint.

    Raises
    ------
    CheckpointError
        If the file is damaged, or needs a package that is not here.
    """
    prepare_ultralytics()
    import torch
    from ultralytics.nn.tasks import torch_safe_load

    try:
        checkpoint, _ = torch_safe_load(str(path), safe_only=False)
        model = checkpoint.get("ema") or checkpoint["model"]
    except Exception as error:  # a damaged pickle can raise anything
        raise unreadable_error(path, error) from error
    return model.float() if isinstance(model, torch.nn.Module) else model


def unreadable_error(path: Path, error: Exception) -> CheckpointError:
    """The error of a trusted file that still cannot be opened.

    Parameters
    ----------
    path : Path
        The file.
    error : Exception
        What opening it raised.

    Returns
    -------
    CheckpointError
        To be raised.
    """
    return CheckpointError(
        f"expected a checkpoint, got {path}, which cannot be loaded ({type(error).__name__}: "
        f"{' '.join(str(error).split())[:200]}); save it again"
    )
