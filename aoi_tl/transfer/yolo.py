"""The room that knows Ultralytics: find, load, build, train and validate its detectors.

Everything here runs without a network (but for `find_checkpoint`, which may download what it does
not find), loads checkpoints with restrictions, installs no packages, sends no usage events and
leaves the user's own Ultralytics settings alone.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from aoi_tl.checkpoint_file import refuse_packed, why_refused
from aoi_tl.errors import CheckpointError, DataError, ExperimentError, RunError
from aoi_tl.runs import UNFINISHED, write_atomically

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


#: What Ultralytics' `build_optimizer` knows; it says so only once training has begun.
OPTIMIZERS = ("auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop")


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
        What changed the protocol on the way: a batch cut for want of memory, a repeated epoch, ...
    """

    best: Path
    epochs: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Curves:
    """What a detector does on one split, for k classes that have instances there.

    Parameters
    ----------
    names : tuple of str
        All class names of the checkpoint.
    class_index : ndarray of int, shape (k,)
        Which of `names` each row below belongs to.
    confidence : ndarray, shape (1000,)
        The grid of confidence thresholds, 0..1.
    precision, recall, f1 : ndarray, shape (k, 1000)
        Per class over `confidence`, at IoU 0.5.
    pr_recall : ndarray, shape (1000,)
        The grid of recalls, 0..1.
    pr_precision : ndarray, shape (k, 1000)
        Per class over `pr_recall`, at IoU 0.5.
    average_precision : ndarray, shape (k, 10)
        Per class at IoU 0.50, 0.55, ..., 0.95.
    instances : ndarray of int, shape (k,)
        Boxes per class.
    images : ndarray of int, shape (k,)
        Images that hold each class.
    n_images : int
        All images of the split.
    """

    names: tuple[str, ...]
    class_index: np.ndarray
    confidence: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    pr_recall: np.ndarray
    pr_precision: np.ndarray
    average_precision: np.ndarray
    instances: np.ndarray
    images: np.ndarray
    n_images: int


def prepare_ultralytics() -> None:
    """Make Ultralytics careful: restricted loading, no installs, no network, no events.

    Sets environment variables before its first import (multi-GPU workers inherit them) and, where
    it was imported before, the same switches in memory. Its settings are kept in our own cache
    folder, or where ``YOLO_CONFIG_DIR`` says.
    """
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "1"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    os.environ.setdefault("YOLO_CONFIG_DIR", str(_cache_folder() / "ultralytics"))
    Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    fresh = "ultralytics" not in sys.modules
    verbose = os.environ.get("YOLO_VERBOSE")
    if fresh:  # its import announces the settings file it makes
        os.environ["YOLO_VERBOSE"] = "false"
    try:
        from ultralytics import utils
    except ImportError as error:
        raise RunError(
            f"expected the package ultralytics, got none ({error}); install it: pip install aoi-tl"
        ) from error
    from ultralytics.nn import tasks
    from ultralytics.utils import checks, events

    if fresh:
        utils.VERBOSE = True  # our own switch is the logger's level
        del os.environ["YOLO_VERBOSE"]
        if verbose is not None:
            os.environ["YOLO_VERBOSE"] = verbose
    tasks.SAFE_LOAD = True
    utils.ONLINE = checks.ONLINE = events.ONLINE = False
    utils.AUTOINSTALL = checks.AUTOINSTALL = False
    events.events.enabled = False
    # Past the manager's own setter, which would write the user's settings file.
    off = (
        "sync",
        "clearml",
        "comet",
        "dvc",
        "mlflow",
        "raytune",
        "tensorboard",
        "wandb",
        "vscode_msg",
    )
    dict.update(utils.SETTINGS, dict.fromkeys(off, False))


def find_checkpoint(
    name: str, folders: Sequence[Path] = (), checksums: Mapping[str, str] | None = None
) -> Path:
    """Find a checkpoint file.

    Parameters
    ----------
    name : str
        A path, or a file name such as ``yolo11n.pt`` that is looked for in `folders` and then
        downloaded by Ultralytics into the first of them. Names of architectures (``yolo11n.yaml``)
        name no file: see `new_model`.
    folders : sequence of Path
        Where to look, in order.
    checksums : mapping of str to str, optional
        SHA-256 by file name; a file of that name must have it.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        If it is nowhere and cannot be downloaded, or is not the file of its checksum.
    """
    given = Path(os.path.expanduser(name))  # a home that nobody has stays a name
    candidates = [given] if given.parent != Path() else [given, *(Path(f) / name for f in folders)]
    found = next((path for path in candidates if os.path.isfile(path)), None)
    if found is None:
        looked = ", ".join(str(path.parent) for path in candidates)
        cure = f"put {given.name} there, or give its path"
        if given.parent != Path() or not folders:
            raise CheckpointError(
                f"expected a checkpoint {name}, got no such file in {looked}; {cure}"
            )
        found = _download(given.name, Path(folders[0]), f"got no such file in {looked}", cure)
    wanted = (checksums or {}).get(found.name)
    if wanted is not None:
        actual = hashlib.sha256(found.read_bytes()).hexdigest()
        if actual != wanted:
            raise CheckpointError(
                f"expected {found} with SHA-256 {wanted}, got {actual}; "
                "download it again, or correct weights/registry.yaml"
            )
    return found.resolve()


def read_registry(path: Path) -> dict[str, str]:
    """Read the checksums of known checkpoints.

    Parameters
    ----------
    path : Path
        A YAML map: file name to ``{origin, sha256, licence}``.

    Returns
    -------
    dict of str to str
        SHA-256 by file name, of those that give one.

    Raises
    ------
    CheckpointError
        If the file is not such a map.
    """
    import yaml

    try:
        registry = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {
            name: str(entry["sha256"]).lower()
            for name, entry in registry.items()
            if entry.get("sha256")
        }
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise CheckpointError(
            f"expected a map of file names in {path}, got {type(error).__name__}; "
            "see weights/README.md"
        ) from error


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
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint, got no file {path}; check the path")
    refuse_packed(path)
    prepare_ultralytics()
    from ultralytics.nn.modules import Detect
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.nn.tasks import load_checkpoint as load
    from ultralytics.utils.downloads import checks

    if Path(checks.check_yolov5u_filename(path.name, verbose=False)).name != path.name:
        raise CheckpointError(
            f"expected an Ultralytics checkpoint, got {path}, named like an original YOLOv5; "
            f"use {path.stem}u.pt"
        )
    try:
        with _quietly():
            model: Any = load(str(path))[0]
    except Exception as error:  # a damaged or hostile pickle can raise anything
        raise CheckpointError(
            f"expected an Ultralytics checkpoint, got {path}, which {why_refused(error)}"
        ) from error
    head = model.model[-1] if isinstance(getattr(model, "model", None), _sequential()) else None
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
        Decides the tensors; the world's own seed is left as it was.

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
        with _quietly(), torch.random.fork_rng(devices=[]):
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
    with _quietly(), torch.random.fork_rng(devices=[]):
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
    """Write an ordinary Ultralytics checkpoint, in full precision.

    Parameters
    ----------
    model : DetectionModel
        The model; it keeps its class names and its description.
    path : Path
        The file; written whole or not at all.
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
    write_atomically(path, packed(checkpoint))


def packed(state: object) -> bytes:
    """Put a state into bytes as ``torch.save`` writes it.

    Written to a file by itself it would tell of a full disk in words that name neither.

    Parameters
    ----------
    state : object
        Anything that ``torch.save`` takes.

    Returns
    -------
    bytes
    """
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def train_detector(
    start: Path,
    data: Path,
    folder: Path,
    seed: int = 0,
    arguments: Mapping[str, Any] | None = None,
    resume: bool = False,
    verbose: bool = False,
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
        had: where the best epoch's checkpoint is gone, training begins anew. On CPU the result is
        that of an unbroken training, bit for bit.
    verbose : bool
        Show Ultralytics' own lines and progress bars.

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
    checked = check_train_arguments(arguments or {})
    folder = Path(folder).resolve()
    weights = folder / "weights"
    last = weights / "last.pt"
    settings = {"plots": False, "val": _has_own_val(Path(data)), **checked}
    go_on = False
    if resume and last.exists():
        epoch, stopped, batch = _progress(last)
        # Only a training without validation has no best epoch before its end.
        go_on = (weights / "best.pt").exists() or (epoch >= 0 and not settings["val"])
        if go_on and (epoch < 0 or stopped):
            _finish(weights)
            return _trained(folder)
    if go_on:
        settings["batch"] = batch  # cut, perhaps, for want of memory
    load_checkpoint(last if go_on else start)
    from ultralytics import YOLO

    from aoi_tl.transfer.trainer import NOTES, StageTrainer

    if go_on:
        _cut_results(folder / "results.csv", epoch + 1)
    else:
        for old in (*weights.glob("*.pt"), folder / "results.csv", folder / NOTES):
            old.unlink(missing_ok=True)
    for torn in weights.glob(f"{UNFINISHED}*"):  # left by a kill in the middle of a write
        _remove(torn)
    with _quietly(verbose), _own_chance(), _in_plain_words(settings):
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


def validate_detector(
    checkpoint: Path,
    data: Path,
    folder: Path,
    split: str = "test",
    arguments: Mapping[str, Any] | None = None,
    verbose: bool = False,
) -> Curves:
    """Run a detector over one split, as ``yolo val`` does, and keep the numbers.

    Parameters
    ----------
    checkpoint : Path
        The detector.
    data : Path
        An Ultralytics ``data.yaml`` with that split.
    folder : Path
        Where Ultralytics may write; nothing else is written.
    split : str
        ``train``, ``val`` or ``test``.
    arguments : mapping, optional
        Validation arguments of Ultralytics, such as ``imgsz``, ``batch``, ``device``. By default
        the image size is that of the checkpoint's training.
    verbose : bool
        Show Ultralytics' own lines and progress bars.

    Returns
    -------
    Curves
        The curves and average precisions, as plain arrays.

    Raises
    ------
    CheckpointError, DataError
        If the checkpoint or the data cannot be used.
    """
    load_checkpoint(checkpoint)  # its errors are one line; Ultralytics then loads it its own way
    from ultralytics import YOLO

    from aoi_tl.transfer.trainer import QuietValidator

    with _quietly(verbose), _own_chance():
        settings = {"plots": False, "workers": 0, **(arguments or {})}
        try:
            metrics = YOLO(str(checkpoint)).val(
                validator=QuietValidator,
                data=str(data),
                split=split,
                save_dir=str(folder),
                **settings,
            )
        except (FileNotFoundError, SyntaxError) as error:
            raise DataError(
                f"expected a {split} split in {data}, got: {' '.join(str(error).split())}; "
                "check the data's YAML"
            ) from error
    box = metrics.box
    index = np.asarray(box.ap_class_index, dtype=np.int64).reshape(-1)
    k = len(index)
    grid = np.linspace(0, 1, 1000)

    def rows(values: Any) -> np.ndarray:
        return np.asarray(values, dtype=np.float64)[:k].reshape(k, -1) if k else np.zeros((0, 1000))

    return Curves(
        names=tuple(metrics.names[i] for i in sorted(metrics.names)),
        class_index=index,
        confidence=grid,
        precision=rows(box.p_curve),
        recall=rows(box.r_curve),
        f1=rows(box.f1_curve),
        pr_recall=grid.copy(),
        pr_precision=rows(box.prec_values),
        average_precision=rows(box.all_ap) if k else np.zeros((0, 10)),
        instances=np.asarray(metrics.nt_per_class)[index],
        images=np.asarray(metrics.nt_per_image)[index],
        n_images=int(metrics.n_images),
    )


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
            near = get_close_matches(name, DEFAULT_CFG_DICT, n=1, cutoff=0.0)
            raise ExperimentError(
                f"expected a training argument of Ultralytics, got {name!r}; "
                f"did you mean {near[0]!r}?"
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


def check_device(device: str) -> None:
    """Check that this machine has a device before anything is trained on it.

    Parameters
    ----------
    device : str
        ``cpu``, ``0``, ``0,1``, ``mps``, ..., as Ultralytics has it.

    Raises
    ------
    ExperimentError
        If the machine does not have it.

    Examples
    --------
    >>> check_device("cpu")
    """
    prepare_ultralytics()
    from ultralytics.utils.torch_utils import select_device

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        with _own_chance():
            select_device(device, verbose=False)
    except (AssertionError, RuntimeError, ValueError) as error:
        import torch

        raise ExperimentError(
            f"expected a device of this machine, got {device!r}: it has "
            f"{torch.cuda.device_count()} GPUs that torch can use; set 'device: cpu', or a GPU's "
            "number"
        ) from error
    finally:  # Ultralytics hides the GPUs from the whole process when it is asked for the CPU
        if visible is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible


def training_threads(number: int | None = None) -> int:
    """Say how many threads a training on CPU uses; given a number, use so many from now on.

    Float sums depend on it: machines that shall find the same tensors use the same number.

    Parameters
    ----------
    number : int, optional
        >= 1; unless given, what Ultralytics chose for this machine stays.

    Returns
    -------
    int
    """
    prepare_ultralytics()
    from ultralytics.utils import torch_utils

    if number is not None:
        torch_utils.NUM_THREADS = number  # `select_device` hands it to torch
    return int(torch_utils.NUM_THREADS)


def data_names(data: Path) -> tuple[str, ...]:
    """Read the class names of an Ultralytics ``data.yaml``.

    Parameters
    ----------
    data : Path
        The file; ``names`` is a list, or a map from number to name.

    Returns
    -------
    tuple of str
        The names in the order of their numbers.

    Raises
    ------
    DataError
        If the file has no names.
    """
    names = _read_yaml(data).get("names")
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    if not isinstance(names, list) or not names:
        raise DataError(f"expected class names in {data}, got {names!r}; add `names:`")
    return tuple(map(str, names))


# -- small helpers
# -------------------------------------------------------------------------------------


def _cache_folder() -> Path:
    if os.environ.get("AOI_TL_CACHE"):
        return Path(os.environ["AOI_TL_CACHE"])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "aoi-tl"


def _sequential() -> type:
    from torch import nn

    return nn.Sequential


def _download(name: str, folder: Path, got: str, cure: str) -> Path:
    prepare_ultralytics()
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

    if name not in GITHUB_ASSETS_NAMES:
        near = get_close_matches(name, sorted(GITHUB_ASSETS_NAMES), n=1)
        hint = f"did you mean {near[0]}? else " if near else ""
        raise CheckpointError(f"expected a checkpoint {name}, {got}; {hint}{cure}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _quietly(verbose=sys.stderr.isatty()):
            return Path(attempt_download_asset(str(folder / name), retry=0))
    except Exception as error:  # offline, refused, disk full: the cure is the same
        raise CheckpointError(
            f"expected a checkpoint {name}, {got}, and it could not be downloaded "
            f"({type(error).__name__}); {cure}"
        ) from error


@contextmanager
def _quietly(verbose: bool = False) -> Iterator[None]:
    """Show Ultralytics' warnings only; its progress bars go by the same level."""
    import logging

    from ultralytics.utils import LOGGER

    level = LOGGER.level
    LOGGER.setLevel(logging.INFO if verbose else logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(level)


@contextmanager
def _in_plain_words(settings: Mapping[str, Any]) -> Iterator[None]:
    """Put into one line what a training meets that its user can mend."""
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
                "again (a run goes on with --resume)"
            ) from error
        if "out of memory" not in str(error).lower():
            raise
        raise RunError(
            f"expected memory to train with batches of {settings.get('batch', 16)} images of "
            f"{settings.get('imgsz', 640)} pixels, got none left; free some and try again (a run "
            "goes on with --resume), or lower batch or imgsz"
        ) from error


@contextmanager
def _own_chance() -> Iterator[None]:
    """Let Ultralytics seed the world, and put the world back afterwards."""
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        torch.set_num_threads(threads)


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(
            f"expected an Ultralytics data.yaml, got {path} ({type(error).__name__}); "
            "check the file"
        ) from error
    if not isinstance(loaded, dict):
        raise DataError(f"expected a map in {path}, got {type(loaded).__name__}; check the file")
    return loaded


def _has_own_val(data: Path) -> bool:
    loaded = _read_yaml(data)
    return bool(loaded.get("val")) and loaded.get("val") != loaded.get("train")


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


def _finish(weights: Path) -> None:
    from aoi_tl.transfer.trainer import finish

    with _quietly():
        finish(weights)


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
    import shutil

    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
