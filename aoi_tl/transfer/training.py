"""Training a detector with Ultralytics in one folder, or resuming there."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aoi_tl.checkpoints.ultralytics_setup import (
    prepare_ultralytics,
    preserved_random_state,
    quiet_ultralytics,
    trackers_on,
)
from aoi_tl.errors import CheckpointError, DataError, ExperimentError, RunError
from aoi_tl.files.run_folder import UNFINISHED, write_atomically
from aoi_tl.transfer.arguments import check_train_arguments
from aoi_tl.transfer.data_yaml import has_own_val
from aoi_tl.transfer.detector import load_checkpoint
from aoi_tl.transfer.trackers import Tracked


@dataclass(frozen=True)
class Trained:
    """A training that has ended.

    Parameters
    ----------
    best : Path
        The checkpoint to test: the best epoch on the val split, or the last epoch without one.
    epochs : int
        How many epochs were trained, those before a resume included.
    notes : tuple of str
        Changes of the protocol: a batch size reduced for lack of memory, a repeated epoch, ...
    """

    best: Path
    epochs: int
    notes: tuple[str, ...]


def train_detector(
    start: Path,
    data: Path,
    folder: Path,
    seed: int = 0,
    arguments: Mapping[str, Any] | None = None,
    resume: bool = False,
    verbose: bool = False,
    tracked: Tracked | None = None,
) -> Trained:
    """Train a detector with Ultralytics into exactly one folder.

    Where the data has no val split of its own (absent, or the training images again), no validation
    is done unless the arguments ask for it, and `best.pt` is the last epoch.

    Parameters
    ----------
    start : Path
        The checkpoint to start from; with the same class names as the data's, every tensor is
        taken.
    data : Path
        An Ultralytics ``data.yaml``.
    folder : Path
        The run's folder; what an earlier training left in it is replaced.
    seed : int
        Decides the order of the images and their augmentation.
    arguments : mapping, optional
        Any training argument of Ultralytics, see `check_train_arguments`. Plots are off by default.
    resume : bool
        Go on from the last epoch in `folder`, if there is one and what it leads to can still be
        had: where the best epoch's checkpoint is gone, training begins again. On CPU the result is
        that of an unbroken training, bit for bit.
    verbose : bool
        Show Ultralytics' own lines and progress bars.
    tracked : Tracked, optional
        What the user's own trackers of experiments call it, where one is on.

    Returns
    -------
    Trained
        The checkpoint to test.

    Raises
    ------
    CheckpointError, DataError, ExperimentError
        If the checkpoint, the data or an argument cannot be used.
    RunError
        If there is no memory for the smallest batch, or the losses are no numbers.
    """
    checked = check_train_arguments(arguments or {})  # with Ultralytics made careful
    from aoi_tl.transfer.trainer import NOTES, StageTrainer, finish

    folder = Path(folder).resolve()
    weights = folder / "weights"
    last = weights / "last.pt"
    settings = {"plots": False, "val": has_own_val(Path(data)), **checked}
    go_on = False
    if resume and last.exists():
        epoch, stopped, batch = _progress(last)
        # Only a training without validation has no best epoch before its end.
        go_on = (weights / "best.pt").exists() or (epoch >= 0 and not settings["val"])
        if go_on and (epoch < 0 or stopped):
            with quiet_ultralytics():
                finish(weights)
            return _trained(folder)
    if go_on:
        settings["batch"] = batch  # possibly reduced for lack of memory
    load_checkpoint(last if go_on else start)
    from ultralytics import YOLO

    if go_on:
        _cut_results(folder / "results.csv", epoch + 1)
    else:
        for old in (*weights.glob("*.pt"), folder / "results.csv", folder / NOTES):
            old.unlink(missing_ok=True)
    if tracked is not None and trackers_on():
        tracked.save(folder)
    for torn in weights.glob(f"{UNFINISHED}*"):  # left by a kill in the middle of a write
        _remove(torn)
    with quiet_ultralytics(verbose), preserved_random_state(), _in_plain_words(settings):
        model = YOLO(str(last if go_on else start), task="detect")
        model.train(
            trainer=StageTrainer,
            **settings,
            data=str(data),
            project=str(folder.parent),
            name=folder.name,
            save_dir=str(folder),
            exist_ok=True,
            seed=seed,
            resume=str(last) if go_on else False,
        )
    return _trained(folder)


@contextmanager
def _in_plain_words(settings: Mapping[str, Any]) -> Iterator[None]:
    """Put into one line what a training meets that its user can correct."""
    try:
        yield
    except ValueError as error:
        # Batch normalisation of one image whose features are a single pixel.
        if "more than 1 value per channel" not in str(error):
            raise
        raise ExperimentError(
            f"expected images of 64 pixels or more, or no last batch of one image, got imgsz "
            f"{settings.get('imgsz', 640)} and batch {settings.get('batch', 16)}; raise imgsz, or "
            "choose another batch"
        ) from error
    except (FileNotFoundError, RuntimeError) as error:
        lost = error if isinstance(error, FileNotFoundError) else error.__cause__
        # Ultralytics' own has no number; that of a data-loading process ends with the first line.
        if isinstance(lost, FileNotFoundError) and lost.errno is None:
            lines = [line for line in str(lost).splitlines() if not line.startswith("Note ")]
            raise DataError(
                f"expected all images of the data, got: {lines[-1]}; put back what is gone and try "
                "again (a run continues with --resume)"
            ) from error
        if "out of memory" not in str(error).lower():
            raise
        raise RunError(
            f"expected memory to train with batches of {settings.get('batch', 16)} images of "
            f"{settings.get('imgsz', 640)} pixels, got none left; free some and try again (a run "
            "continues with --resume), or lower batch or imgsz"
        ) from error


def _progress(last: Path) -> tuple[int, bool, int]:
    """Read the last epoch (-1 once stripped) of a run, whether it was to be the last, its batch."""
    prepare_ultralytics()
    import torch
    from ultralytics.nn.tasks import torch_safe_load

    try:
        checkpoint, _ = torch_safe_load(str(last), safe_only=True)
    except Exception as error:  # see load_checkpoint
        raise CheckpointError(
            f"expected a checkpoint to resume from, got {last}, which is damaged; "
            "delete the stage's folder and resume again"
        ) from error
    epoch = int(checkpoint.get("epoch", -1))
    used = checkpoint.get("train_args", {})
    batch = int(used.get("batch", 16))
    state = last.parent / f"state-{epoch}.pt"
    if state.exists():
        stopped = bool(torch.load(state, map_location="cpu", weights_only=True)["stop"])
        return epoch, stopped, batch
    return epoch, epoch + 1 >= int(used.get("epochs", 0)), batch


def _trained(folder: Path) -> Trained:
    from aoi_tl.transfer.trainer import NOTES

    best = folder / "weights" / "best.pt"
    if not best.exists():
        raise RunError(f"expected {best} after the training, got none; look at the lines above")
    with open(folder / "results.csv", encoding="utf-8", newline="") as file:
        epochs = sum(1 for _ in csv.DictReader(file))
    notes = folder / NOTES
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    return Trained(best, epochs, tuple(lines))


def _cut_results(path: Path, epochs: int) -> None:
    """Drop lines of epochs that were logged but not saved before the kill."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        write_atomically(path, "".join(lines[: epochs + 1]))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
