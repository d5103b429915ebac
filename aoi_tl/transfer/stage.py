"""One stage of the chain: copy tensors from a checkpoint, train, give a checkpoint.

A stage starts from ``initial.pt``, a plain Ultralytics checkpoint with the class names of the
stage's data. Its tensors are partly copied from the previous checkpoint and partly new. Plain
Ultralytics training loads every tensor of this file, so all arguments, multi-GPU training and
resuming work as usual.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aoi_tl.errors import CheckpointError, ExperimentError
from aoi_tl.files.run_folder import write_atomically
from aoi_tl.transfer.arguments import check_train_arguments
from aoi_tl.transfer.data_yaml import data_names
from aoi_tl.transfer.detector import (
    backbone_length,
    load_checkpoint,
    new_model,
    save_checkpoint,
    widen_class_branch,
)
from aoi_tl.transfer.trackers import Tracked
from aoi_tl.transfer.training import train_detector
from aoi_tl.transfer.weights import MODULES, Ledger, apply_transfer, plan_transfer

#: Ways to begin a stage: those of `MODULES`, and plain Ultralytics fine-tuning of the checkpoint.
STARTS = (*MODULES, "stock")


@dataclass(frozen=True)
class Stage:
    """A training that starts from a checkpoint.

    Parameters
    ----------
    start : Path or str
        The checkpoint (``.pt``), or the name of an architecture such as ``yolov8n.yaml``, which has
        no tensors to hand on.
    data : Path
        An Ultralytics ``data.yaml``.
    folder : Path
        The stage's folder: a plain Ultralytics run plus `initial.pt`, `ledger.csv` and `done`.
    modules : str
        ``none`` (from scratch), ``backbone``, ``backbone+neck``, ``all``, or ``stock``: plain
        fine-tuning of the checkpoint by Ultralytics.
    freeze : int
        How many modules, from the first, keep their tensors; their BatchNorm statistics stand still
        as well.
    seed : int
        Decides new tensors, the order of the images and their augmentation.
    arguments : mapping
        Any training argument of Ultralytics.
    tracked : Tracked or None
        What the user's own trackers of experiments call it.
    """

    start: Path | str
    data: Path
    folder: Path
    modules: str = "backbone"
    freeze: int = 0
    seed: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)
    tracked: Tracked | None = None


@dataclass(frozen=True)
class StageResult:
    """The result of a stage.

    Parameters
    ----------
    best : Path
        The checkpoint to test or to hand on.
    ledger : Path
        The CSV with the origin of every initial tensor.
    counts : dict of str to int
        How many tensors were copied, copied in rows, initialised.
    epochs : int
        How many epochs were trained.
    seconds : float
        The duration since the stage was started or last resumed.
    notes : tuple of str
        Changes of the protocol, such as a batch size reduced for lack of memory.
    """

    best: Path
    ledger: Path
    counts: dict[str, int]
    epochs: int
    seconds: float
    notes: tuple[str, ...]


def train_stage(stage: Stage, resume: bool = False, verbose: bool = False) -> StageResult:
    """Train one stage of the chain.

    Parameters
    ----------
    stage : Stage
        Its initial checkpoint, data and folder.
    resume : bool
        Reuse a finished stage, and resume an unfinished one from its last epoch.
    verbose : bool
        Show Ultralytics' own lines and progress bars.

    Returns
    -------
    StageResult
        The trained checkpoint and the ledger.

    Raises
    ------
    CheckpointError, DataError, ExperimentError, RunError
        If the checkpoint, the data, an argument or the folder cannot be used.
    """
    if stage.modules not in STARTS:
        raise ExperimentError(
            f"expected transfer.modules to be one of {', '.join(STARTS)}, got {stage.modules!r}"
        )
    check_train_arguments(stage.arguments)
    folder = Path(stage.folder).resolve()
    best, ledger_file, done = folder / "weights" / "best.pt", folder / "ledger.csv", folder / "done"
    if resume and done.exists() and best.exists():
        return StageResult(best=best, ledger=ledger_file, **_read_done(done))
    done.unlink(missing_ok=True)
    began = time.monotonic()
    names = data_names(stage.data)
    model, ledger = build_start(stage.start, names, stage.modules, stage.seed)
    ledger.save(ledger_file)
    if stage.modules == "stock":
        initial = Path(stage.start)
    else:
        initial = folder / "initial.pt"
        save_checkpoint(model, initial)
    arguments = {"freeze": stage.freeze} if stage.freeze else {}
    trained = train_detector(
        initial, stage.data, folder, stage.seed, {**arguments, **stage.arguments}, resume, verbose,
        stage.tracked,
    )
    seconds = round(time.monotonic() - began, 1)
    result = {
        "counts": ledger.counts, "epochs": trained.epochs, "seconds": seconds,
        "notes": list(trained.notes),
    }
    write_atomically(done, json.dumps(result, indent=1) + "\n")
    return StageResult(
        trained.best, ledger_file, ledger.counts, trained.epochs, seconds, trained.notes
    )


def transfer_backbone(
    checkpoint: Path | str,
    names: Sequence[str],
    out: Path,
    modules: str = "backbone",
    seed: int = 0,
) -> Ledger:
    """Write a new checkpoint that copies a part of another one.

    Parameters
    ----------
    checkpoint : Path or str
        An Ultralytics detection checkpoint.
    names : sequence of str
        The class names of the new model.
    out : Path
        The new checkpoint: train it with ``yolo train model=<out> data=...``.
    modules : str
        ``backbone`` (the papers' way), ``backbone+neck``, ``all`` (every tensor whose shape fits,
        rows of same-named classes included) or ``none``.
    seed : int
        Decides the new tensors.

    Returns
    -------
    Ledger
        Every tensor of the new model: copied or initialised, and why.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be used.
    ValueError
        If `modules` is not known.

    Examples
    --------
    >>> ledger = transfer_backbone("yolov8n.pt", ["scratch"], Path("initial.pt"))  # doctest: +SKIP
    >>> ledger.counts  # doctest: +SKIP
    {'copied': 186, 'rows copied': 0, 'initialised': 169}
    """
    if modules not in MODULES:
        raise ValueError(f"expected modules to be one of {', '.join(MODULES)}, got {modules!r}")
    model, ledger = build_start(checkpoint, names, modules, seed)
    save_checkpoint(model, Path(out))
    return ledger


def build_start(
    start: Path | str, names: Sequence[str], modules: str, seed: int
) -> tuple[Any, Ledger]:
    """Build the initial model of a stage.

    Parameters
    ----------
    start : Path or str
        A checkpoint, or the name of an architecture.
    names : sequence of str
        The class names of the stage's data.
    modules : str
        One of `STARTS`. For ``stock`` the model shows what Ultralytics will load by itself: that is
        what ``all`` copies.
    seed : int
        Decides the new tensors.

    Returns
    -------
    tuple of DetectionModel and Ledger
        The model, and the origin of each of its tensors.
    """
    if Path(start).suffix in {".yaml", ".yml"}:
        if modules == "stock":
            raise CheckpointError(
                f"expected a checkpoint to fine-tune, got the architecture {start}; "
                "give a .pt file, or leave the arm `stock` out"
            )
        model = new_model(str(start), names, seed)
        plan = plan_transfer(
            {}, model.state_dict(), backbone_length(model), len(model.model), "none"
        )
        return model, plan
    source = load_checkpoint(Path(start))
    taken = "all" if modules == "stock" else modules
    model = new_model(source.yaml, names, seed)
    if taken == "all":
        widen_class_branch(model, source, seed)
    old, new = source.state_dict(), model.state_dict()
    source_names = tuple(source.names[i] for i in sorted(source.names))
    plan = plan_transfer(
        old, new, backbone_length(model), len(model.model), taken, source_names, tuple(names)
    )
    model.load_state_dict(apply_transfer(plan, old, new), strict=True)
    return model, plan


def _read_done(path: Path) -> dict[str, Any]:
    done = json.loads(path.read_text(encoding="utf-8"))
    return {**done, "notes": tuple(done["notes"])}
