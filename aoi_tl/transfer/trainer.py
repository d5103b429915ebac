"""The Ultralytics trainer, made to resume exactly after it was killed.

The classes are at module level so that the workers of a multi-GPU training can import them.
Importing this module imports Ultralytics and torch; `aoi_tl.transfer.training` does so on training.
"""

from __future__ import annotations

import copy
import math
import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aoi_tl.checkpoints.ultralytics_setup import prepare_ultralytics
from aoi_tl.checkpoints.writing import save_state
from aoi_tl.errors import CheckpointError, DataError, RunError
from aoi_tl.files.run_folder import UNFINISHED, write_atomically
from aoi_tl.transfer.mixing import ANNOTATED

prepare_ultralytics()  # before the first import of Ultralytics: it reads the environment once

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ultralytics.data import build as ultralytics_build  # noqa: E402
from ultralytics.data import dataset as ultralytics_dataset  # noqa: E402
from ultralytics.data import utils as ultralytics_data  # noqa: E402
from ultralytics.engine import trainer as ultralytics_trainer  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator  # noqa: E402
from ultralytics.utils import RANK, dist, ops, plotting  # noqa: E402
from ultralytics.utils.torch_utils import ModelEMA, strip_optimizer, unwrap_model  # noqa: E402

from aoi_tl.transfer.masking import PartlyAnnotatedDataset, mask_class_loss  # noqa: E402
from aoi_tl.transfer.trackers import named_for_trackers, read_tracked  # noqa: E402

#: Things that changed the protocol of a training, one line each, written when they happen.
NOTES = "notes.txt"


@contextmanager
def patched_attributes(owner: Any, **names: Any) -> Iterator[None]:
    """Give attributes of a module other values for a while.

    Parameters
    ----------
    owner : module or class
        Where the attributes are.
    **names : object
        Attribute names and their values.
    """
    before = {name: getattr(owner, name) for name in names}
    for name, value in names.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def font_on_this_machine(font: str = "Arial.ttf") -> str | None:
    """Look for a font without downloading it.

    Parameters
    ----------
    font : str
        Part of the file's name.

    Returns
    -------
    str or None
        The path, or None where this machine has no such font (a plain one is drawn with then).
    """
    from matplotlib import font_manager

    paths = (entry.fname for entry in font_manager.fontManager.ttflist)
    return next((path for path in paths if font in path and os.path.exists(path)), None)


def _no_label_cache(path: Path) -> Any:
    raise FileNotFoundError(path)


def _keep_label_cache(prefix: str, path: Path, labels: dict[str, Any], version: str) -> None:
    labels["version"] = version  # all that Ultralytics does beside writing the file


_read_labels = ultralytics_dataset.YOLODataset.cache_labels


def _read_labels_of_all(dataset: Any, *args: Any) -> Any:
    # Ultralytics would silently continue without a missing image.
    for image in dataset.im_files:
        if not os.path.exists(image):
            raise DataError(
                f"expected the image {os.path.realpath(image)}, got no such file; put it back and "
                "try again (a run continues with --resume)"
            )
    return _read_labels(dataset, *args)


@contextmanager
def own_dataset_files() -> Iterator[None]:
    """Let Ultralytics read a dataset without downloading fonts and without its label caches.

    The caches lie in the dataset's folder and are unpickled without restriction, so they are
    neither written nor read. Fonts are looked for on this machine alone. An image that is gone is
    an error.
    """
    with (
        patched_attributes(ultralytics_data, check_font=font_on_this_machine),
        patched_attributes(ultralytics_dataset.YOLODataset, cache_labels=_read_labels_of_all),
        patched_attributes(
            ultralytics_dataset,
            load_dataset_cache_file=_no_label_cache,
            save_dataset_cache_file=_keep_label_cache,
        ),
    ):
        yield


def amp_is_sound(model: torch.nn.Module) -> bool:
    """Check mixed precision with the model itself, where Ultralytics would download another.

    Parameters
    ----------
    model : torch.nn.Module
        The model that is to be trained, on its device.

    Returns
    -------
    bool
        False on CPU, and where half precision gives anything but finite numbers near the full ones.
    """
    device = next(model.parameters()).device
    if device.type != "cuda":
        return False
    inner: Any = unwrap_model(model)
    channels = inner.yaml.get("channels", 3)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, channels, 256, 256, generator=generator).to(device)
    last_of_neck = [len(inner.model) - 2]
    training = inner.training
    inner.eval()
    try:
        with torch.no_grad():
            full = torch.stack(list(inner.predict(image, embed=last_of_neck)))
            with torch.autocast(device.type):
                half = torch.stack(list(inner.predict(image, embed=last_of_neck))).float()
    finally:
        inner.train(training)
    close = (full - half).norm() <= 0.1 * full.norm() + 1e-3
    return bool(half.isfinite().all() and close)


class QuietValidator(DetectionValidator):
    """A detection validator that leaves no files in the dataset's folder and keeps what it saw."""

    def init_metrics(self, model: Any) -> None:
        """Begin with nothing seen."""
        super().init_metrics(model)
        self.kept: list[dict[str, Any]] = []  # one image each: truth and predictions

    def update_metrics(self, preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        """Score a batch, and keep its boxes as shares of their images."""
        super().update_metrics(preds, batch)
        if self.training:
            return
        correct = self.metrics.stats["tp"][-len(preds):] if preds else []
        for index, pred in enumerate(preds):
            prepared: Any = self._prepare_batch(index, batch)
            height, width = prepared["ori_shape"]
            size = np.array([width, height, width, height], dtype=np.float64)
            boxes = {}
            for name, found in (("truth_box", prepared["bboxes"]), ("box", pred["bboxes"])):
                scaled: Any = ops.scale_boxes(
                    prepared["imgsz"], found.clone().float(), prepared["ori_shape"],
                    ratio_pad=prepared["ratio_pad"],
                )
                boxes[name] = scaled.cpu().numpy().reshape(-1, 4) / size
            self.kept.append({
                "image": Path(prepared["im_file"]).name,
                "truth_class": prepared["cls"].cpu().numpy().astype(np.int64).reshape(-1),
                "class_id": pred["cls"].cpu().numpy().astype(np.int64).reshape(-1),
                "confidence": pred["conf"].cpu().numpy().astype(np.float64).reshape(-1),
                "correct": np.asarray(correct[index], dtype=bool).reshape(-1, self.niou),
                **boxes,
            })

    def __call__(self, trainer: Any = None, model: Any = None, **kwargs: Any) -> Any:
        """Validate."""
        with own_dataset_files():
            return super().__call__(trainer, model, **kwargs)

    def finalize_metrics(self) -> None:
        """Keep how many images were seen beside the metrics."""
        super().finalize_metrics()
        metrics: Any = self.metrics
        metrics.n_images = self.seen
        metrics.kept = self.kept


class StageTrainer(DetectionTrainer):
    """Ultralytics' detection trainer, made safe to kill and to resume.

    Beside `last.pt`, which holds half-precision averages only, each epoch leaves
    ``state-<epoch>.pt``: the weights, the averages and the optimiser in full precision, gradients
    that wait for more batches, the state of every random generator and which images the mosaic
    holds. A resumed training on CPU so ends with the very weights of an unbroken one. (Data-loading
    worker processes, which only accelerators use, draw from generators of their own: there it goes
    on, but not bit for bit.) From the same state an epoch is repeated in which a loss or a weight
    was no number.
    """

    ema: Any  # Ultralytics sets these three to None first
    optimizer: Any
    scheduler: Any
    epoch = -1  # until the first one begins
    _exact: dict[str, Any] | None = None
    _batch = -1  # counts all batches since the first epoch
    _last_step = -1  # the batch after which the optimiser last moved
    _albumentations: list[Any] | None = None  # to be put back once the mosaic is closed
    _held: int | None = None  # the true accumulation, while a resumed run waits to fall into step
    _first: dict[str, Any] | None = None  # the state before the first epoch, which no file holds

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with own_dataset_files():
            super().__init__(*args, **kwargs)
        self._asked_batch = self.args.batch
        file = self.save_dir / NOTES
        self._notes = file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    # -- offline, and without traces ---------------------------------------------------------------

    def train(self) -> None:
        """Train; with several GPUs, without Ultralytics deleting the stage's folder first."""
        with (
            patched_attributes(dist, shutil=SimpleNamespace(rmtree=lambda path: None)),
            patched_attributes(plotting, check_font=font_on_this_machine),
        ):
            super().train()

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        """Build a dataset without label caches; a mixed one knows which classes are annotated."""
        with own_dataset_files(), ExitStack() as stack:
            if mode == "train" and self.data.get(ANNOTATED):
                stack.enter_context(
                    patched_attributes(ultralytics_build, YOLODataset=PartlyAnnotatedDataset)
                )
            return super().build_dataset(img_path, mode, batch)

    def _setup_train(self) -> None:
        with patched_attributes(ultralytics_trainer, check_amp=amp_is_sound):
            super()._setup_train()
        if not self._state_file(self.start_epoch - 1).exists():
            self._first = copy.deepcopy(self._state())

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """Build the model; a checkpoint of the same classes is taken over tensor by tensor."""
        model = super().get_model(cfg, weights, verbose)
        if weights is not None and list(weights.names.values()) == list(
            self.data["names"].values()
        ):
            # Ultralytics pairs class rows by lower-cased name, which mixes up "Crack" and "crack".
            model.load_state_dict(weights.state_dict(), strict=True)
        return model

    # -- what is reported --------------------------------------------------------------------------

    def _note(self, line: str) -> None:
        self._keep_notes([*self._notes, line])

    def _keep_notes(self, lines: list[str]) -> None:
        before, self._notes = self._notes, lines
        file = self.save_dir / NOTES
        if RANK in {-1, 0} and lines != before:
            write_atomically(file, "".join(f"{line}\n" for line in lines))
            if not lines:
                file.unlink()

    def _build_train_pipeline(self) -> None:
        cut = self.batch_size != self._asked_batch and self._asked_batch >= 1
        if cut:
            self._note(f"batch cut from {self._asked_batch} to {self.batch_size}: out of memory")
            self._asked_batch = self.batch_size
        super()._build_train_pipeline()
        if cut:
            self._begin_epoch_again(self.epoch)

    def _begin_epoch_again(self, epoch: int) -> None:
        # Ultralytics then counts its steps as if the optimiser had never moved.
        self._held, self._last_step = None, self._batch - epoch * len(self.train_loader)

    # -- losses that are no numbers ----------------------------------------------------------------

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Repeat an epoch that went wrong, exactly from the state before it and with other chance.

        Ultralytics looks at the last batch alone, goes back to half-precision averages, and in the
        first epoch of a process, hence after each resume, goes on with weights that are lost.
        """
        again = [RANK in {-1, 0} and not self._is_sound()]
        if RANK != -1:
            torch.distributed.broadcast_object_list(again, 0)
        if not again[0]:
            return False
        self.nan_recovery_attempts += 1
        if self.nan_recovery_attempts > 3:
            raise RunError(
                f"expected losses that are numbers, got NaN or infinity in epoch {epoch + 1}, "
                "repeated 3 times; lower lr0, or look for odd images"
            )
        self._note(f"epoch {epoch + 1} gave NaN and was repeated from the epoch before")
        self._model_train()
        self.ema = ModelEMA(self.model)  # validation has made its tensors unfit to be changed
        first = self._first if epoch == self.start_epoch else None
        self._take_over(first or self._load(epoch - 1))
        criterion: Any = getattr(self._inner, "criterion", None)
        if hasattr(criterion, "update"):  # counts epochs, this one included
            criterion.updates = epoch - 1
            criterion.update()
        self.scheduler.last_epoch = epoch - 1
        self._begin_epoch_again(epoch)
        return True

    def _is_sound(self) -> bool:
        losses: list[Any] = [self.loss, *(self.tloss or {}).values()]
        return (
            all(bool(torch.as_tensor(loss).isfinite().all()) for loss in losses if loss is not None)
            and (self.fitness is None or math.isfinite(self.fitness))
            # The last step may have lost the weights; statistics that overflow are cut when saved.
            and all(bool(value.isfinite().all()) for value in self._inner.parameters())
        )

    # -- validation --------------------------------------------------------------------------------

    def validate(self) -> tuple[dict[str, Any] | None, Any]:
        """Validate, unless disabled: Ultralytics would still do so after the last epoch."""
        if not self.args.val:
            return self.metrics, None
        return super().validate()

    def final_eval(self) -> None:
        """Shrink the checkpoints; the test that counts comes later, on images never seen."""
        if RANK in {-1, 0}:
            if self.args.val and self.args.save and not self.best.exists():
                raise CheckpointError(
                    f"expected {self.best} from an epoch before, got no such file any more; try "
                    "again (a run continues with --resume, and trains this stage again)"
                )
            finish(self.wdir)

    # -- saving ------------------------------------------------------------------------------------

    def save_model(self) -> bool:
        """Save the exact state, then `last.pt` and `best.pt`, each atomically."""
        self.wdir.mkdir(parents=True, exist_ok=True)
        state = self._state_file(self.epoch)
        save_state(self._state(), state)
        last, best, wdir = self.last, self.best, self.wdir
        # Without validation every epoch counts as best; only the last one is worth the writing.
        wanted = self.best_fitness == self.fitness and (self.args.val or self.stop)
        with _atomic_folder(wdir) as inside:
            try:
                self.last, self.best, self.wdir = inside / last.name, inside / best.name, inside
                super().save_model()
                if not wanted:
                    self.best.unlink(missing_ok=True)
            finally:
                self.last, self.best, self.wdir = last, best, wdir
        for old in wdir.glob("state-*.pt"):
            if old != state:
                old.unlink()
        self._first = None
        return True

    def _state_file(self, epoch: int) -> Path:
        return self.wdir / f"state-{epoch}.pt"

    @property
    def _inner(self) -> Any:
        model: Any = self.model
        return unwrap_model(model)

    def _state(self) -> dict[str, Any]:
        model = self._inner
        waiting = self._last_step < self._batch  # gradients of a step that needs more batches
        numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - what Ultralytics draws from
        state: dict[str, Any] = {
            "epoch": self.epoch,
            "stop": bool(self.stop),
            "notes": list(self._notes),
            "model": model.state_dict(),
            "ema": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_fitness": None if self.best_fitness is None else float(self.best_fitness),
            "best_epoch": self.stopper.best_epoch,
            "stopper_fitness": float(self.stopper.best_fitness),
            "batch": self._batch,
            "last_step": self._last_step,
            "gradients": {
                name: value.grad
                for name, value in model.named_parameters()
                if value.grad is not None
            }
            if waiting
            else {},
        }
        if RANK == -1:
            state["chance"] = {
                "random": random.getstate(),
                "numpy": _plain(numpy_state),
                "torch": torch.get_rng_state(),
                "loader": self.train_loader.generator.get_state(),
                "mosaic": list(getattr(self.train_loader.dataset, "buffer", ())),
                "albumentations": _albumentations_state(self.train_loader.dataset),
            }
        return state

    # -- resuming ----------------------------------------------------------------------------------

    def resume_training(self, ckpt: Any) -> None:
        """Go on from `last.pt`, and exactly so where its state file is there."""
        super().resume_training(ckpt)
        if ckpt is None or not self.resume:
            return
        if not self._state_file(self.start_epoch - 1).exists():
            self._note(f"resumed after epoch {self.start_epoch} from half-precision averages")
            return
        state = self._load(self.start_epoch - 1)
        self._take_over(state)
        self._keep_notes(state["notes"])  # what was noted later is about to happen again, or not
        self._batch, self._last_step = state["batch"], state["last_step"]
        self._exact = state

    def _load(self, epoch: int) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(
            self._state_file(epoch), map_location=self.device, weights_only=True
        )
        return state

    def _take_over(self, state: dict[str, Any]) -> None:
        self._inner.load_state_dict(state["model"])
        self.ema.ema.load_state_dict(state["ema"])
        self.ema.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.best_fitness = state["best_fitness"]
        self.stopper.best_epoch = state["best_epoch"]
        self.stopper.best_fitness = state["stopper_fitness"]

    def _restore_chance(self) -> None:
        state, self._exact = self._exact, None
        if state is None:
            return
        for name, value in self._inner.named_parameters():
            if name in state["gradients"]:
                value.grad = state["gradients"][name].to(value.dtype)
        self._held = -1
        chance = state.get("chance")
        if RANK != -1 or chance is None or self.train_loader.num_workers:
            return
        self._restore_loader(chance)
        version, keys, gauss = chance["random"]
        random.setstate((version, tuple(keys), gauss))
        np.random.set_state(_with_keys(chance["numpy"]))  # noqa: NPY002
        torch.set_rng_state(chance["torch"].cpu())

    def _restore_loader(self, chance: dict[str, Any]) -> None:
        loader, dataset = self.train_loader, self.train_loader.dataset
        for index in chance["mosaic"]:  # loading an image puts it into the mosaic's buffer
            dataset.load_image(index)
        # Closing the mosaic makes the loader begin anew with new transforms; Ultralytics closes
        # it again when it resumes after that. Each beginning draws one number from the loader's
        # generator, as an unbroken run did at its start and in the epoch of the closing only.
        closing = self.epochs - self.args.close_mosaic if self.args.close_mosaic else self.epochs
        generator = loader.generator
        if self.epoch < closing:  # begin now, so that the draw is over
            loader.iterator = loader._get_iterator()
            _restore_albumentations(dataset, chance.get("albumentations"))
        elif self.epoch > closing:  # let the draw fall on a generator that nothing else uses
            generator = torch.Generator()
            loader.batch_sampler.sampler.sampler.generator = generator
            self._albumentations = chance.get("albumentations")
        generator.set_state(chance["loader"].cpu())

    def _close_dataloader_mosaic(self) -> None:
        super()._close_dataloader_mosaic()
        state, self._albumentations = self._albumentations, None
        _restore_albumentations(self.train_loader.dataset, state)

    # -- keeping step: Ultralytics counts batches from the start of the process ------------------

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Prepare a batch; hold back an optimiser step that an unbroken run would not take yet."""
        self._batch += 1
        if self._held is not None and self._batch - self._last_step < self.accumulate:
            self._held, self.accumulate = self.accumulate, sys.maxsize
        batch = super().preprocess_batch(batch)
        if ANNOTATED in batch:
            mask_class_loss(self._inner, batch[ANNOTATED])
        return batch

    def run_callbacks(self, event: str) -> None:
        """Run the callbacks of an event, ours first."""
        if event == "on_train_epoch_start":
            self._restore_chance()
        elif event == "on_train_batch_end" and self._held is not None and self._held > 0:
            self.accumulate, self._held = self._held, -1
        if not event.startswith("on_pretrain_routine"):
            super().run_callbacks(event)
            return
        # Here trackers of experiments begin their runs.
        with named_for_trackers(self.args, read_tracked(self.save_dir)):
            super().run_callbacks(event)

    def optimizer_step(self) -> None:
        """Step, and remember when."""
        self._last_step, self._held = self._batch, None
        super().optimizer_step()


@contextmanager
def _atomic_folder(folder: Path) -> Iterator[Path]:
    # Ultralytics writes its checkpoints one after another: let it do so in a folder aside, and move
    # each over its predecessor in one step. ``last.pt`` comes last: its epoch is what a resume
    # believes.
    aside = folder / f"{UNFINISHED}{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        for file in sorted(aside.iterdir(), key=lambda file: file.name == "last.pt"):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def finish(folder: Path) -> None:
    """Strip what only training needs from a run's checkpoints, in an order that a kill cannot harm.

    Parameters
    ----------
    folder : Path
        The run's ``weights`` folder. `last.pt` goes last: as long as it still has its epoch, a
        resumed run knows that there is work left.
    """
    if not (folder / "best.pt").exists() and (folder / "last.pt").exists():
        write_atomically(folder / "best.pt", (folder / "last.pt").read_bytes())
    for name in ("best.pt", "last.pt"):
        if (folder / name).exists():  # it saves what it returns, which we do better
            save_state(strip_optimizer(folder / name, os.devnull), folder / name)
    for state in folder.glob("state-*.pt"):
        state.unlink()


def _plain(state: Any) -> dict[str, Any]:
    # NumPy's state holds an array, which a restricted load would refuse.
    inner = {name: value for name, value in state["state"].items() if name != "key"}
    return {**state, "state": {**inner, "key": state["state"]["key"].tolist()}}


def _with_keys(state: Any) -> dict[str, Any]:
    key = np.array(state["state"]["key"], dtype=np.uint32)
    return {**state, "state": {**state["state"], "key": key}}


def _albumentations_parts(dataset: Any) -> Iterator[Any]:
    # Albumentations draws from generators of its own: one pair in each transform.
    waiting = [getattr(dataset, "transforms", None)]
    while waiting:
        part = waiting.pop(0)
        inner = getattr(
            part, "transform", None
        )  # Ultralytics' wrapper holds an Albumentations pipe
        waiting += [inner] if inner is not None else list(getattr(part, "transforms", None) or ())
        if hasattr(part, "py_random") and hasattr(part, "random_generator"):
            yield part


def _albumentations_state(dataset: Any) -> list[Any]:
    return [
        (
            getattr(part, "seed", None),
            part.py_random.getstate(),
            part.random_generator.bit_generator.state,
        )
        for part in _albumentations_parts(dataset)
    ]


def _restore_albumentations(dataset: Any, state: list[Any] | None) -> None:
    if state is None:
        return
    for part, (seed, python, numpy) in zip(_albumentations_parts(dataset), state, strict=True):
        if hasattr(part, "seed"):  # Ultralytics seeds it anew when this is not torch's seed
            part.seed = seed
        version, keys, gauss = python
        part.py_random.setstate((version, tuple(keys), gauss))
        part.random_generator.bit_generator.state = numpy
