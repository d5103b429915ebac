from __future__ import annotations

import compileall
import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from aoi_tl.files.run_folder import UNFINISHED
from aoi_tl.transfer import trainer
from aoi_tl.transfer.detector import load_checkpoint, new_model, save_checkpoint
from aoi_tl.transfer.trainer import StageTrainer
from aoi_tl.transfer.training import train_detector

from .conftest import perturb

pytestmark = pytest.mark.slow

EPOCHS = 4
# Three batches an epoch, a step every fourth: gradients wait across the epochs' borders.
ARGUMENTS = {
    "epochs": EPOCHS, "imgsz": 64, "batch": 3, "nbs": 12, "warmup_epochs": 1, "optimizer": "SGD",
    "lr0": 0.05, "device": "cpu",
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "initial.pt"
    save_checkpoint(perturb(new_model("yolov8n.yaml", ("dot", "hole"), 0)), path)
    return path


@pytest.fixture(scope="module")
def interrupt() -> Callable[[pytest.MonkeyPatch, str, int], None]:
    original = StageTrainer.run_callbacks

    def at(monkeypatch: pytest.MonkeyPatch, event: str, epoch: int) -> None:
        def run(self: StageTrainer, happened: str) -> None:
            if happened == event and self.epoch == epoch:
                raise KeyboardInterrupt
            original(self, happened)

        monkeypatch.setattr(StageTrainer, "run_callbacks", run)

    return at


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).state_dict()


def same(first: Path, second: Path) -> bool:
    a, b = state_of(first), state_of(second)
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def unbroken(
    start: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    made: dict[int, Path] = {}

    def train(close_mosaic: int) -> Path:
        if close_mosaic not in made:
            folder = tmp_path_factory.mktemp("unbroken")
            arguments = {**ARGUMENTS, "close_mosaic": close_mosaic}
            made[close_mosaic] = train_detector(start, tiny, folder, 1, arguments).best
        return made[close_mosaic]

    return train


@pytest.mark.parametrize(
    ("close_mosaic", "event", "epoch"),
    [
        (1, "on_fit_epoch_end", 1),  # saved; the mosaic is still to close
        (2, "on_train_epoch_end", 2),  # not saved; the mosaic closes with the resumed epoch
        (3, "on_train_batch_start", 2),  # within an epoch; the mosaic is closed
    ],
)
def test_a_resumed_training_ends_with_the_same_weights(
    close_mosaic: int,
    event: str,
    epoch: int,
    start: Path,
    tiny: Path,
    tmp_path: Path,
    unbroken: Callable[[int], Path],
    interrupt: Callable[[pytest.MonkeyPatch, str, int], None],
) -> None:
    arguments = {**ARGUMENTS, "close_mosaic": close_mosaic}
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, event, epoch)
        with pytest.raises(KeyboardInterrupt):
            train_detector(start, tiny, run, 1, arguments)
    (run / "weights" / f"{UNFINISHED}last.pt-1").write_bytes(b"torn")
    moved = tmp_path / "moved"  # a run folder may be moved between the two
    shutil.move(run, moved)

    began: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        restore = StageTrainer._restore_chance
        patch.setattr(
            StageTrainer, "_restore_chance", lambda self: (began.append(self.epoch), restore(self))
        )
        result = train_detector(start, tiny, moved, 1, arguments, resume=True)
    assert began == list(range(2, EPOCHS))
    assert result.epochs == EPOCHS
    assert result.notes == ()
    rows = list(csv.DictReader((moved / "results.csv").open(encoding="utf-8")))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert sorted(path.name for path in (moved / "weights").iterdir()) == ["best.pt", "last.pt"]
    assert not run.exists()
    assert same(result.best, unbroken(close_mosaic))


def test_without_the_exact_state_it_goes_on_and_says_so(
    start: Path,
    tiny: Path,
    tmp_path: Path,
    unbroken: Callable[[int], Path],
    interrupt: Callable[[pytest.MonkeyPatch, str, int], None],
) -> None:
    arguments = {**ARGUMENTS, "close_mosaic": 1}
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, "on_fit_epoch_end", 1)
        with pytest.raises(KeyboardInterrupt):
            train_detector(start, tiny, tmp_path, 1, arguments)
    (tmp_path / "weights" / "state-1.pt").unlink()
    result = train_detector(start, tiny, tmp_path, 1, arguments, resume=True)
    assert result.notes == ("resumed after epoch 2 from half-precision averages",)
    assert not same(result.best, unbroken(1))  # so the test above can fail


def test_a_kill_before_the_last_touches_costs_no_epoch(
    start: Path, tiny: Path, tmp_path: Path, unbroken: Callable[[int], Path]
) -> None:
    arguments = {**ARGUMENTS, "close_mosaic": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageTrainer, "final_eval", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_detector(start, tiny, tmp_path, 1, arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageTrainer, "train", _interrupted)  # nothing is left to train
        result = train_detector(start, tiny, tmp_path, 1, arguments, resume=True)
        again = train_detector(start, tiny, tmp_path, 1, arguments, resume=True)
    assert result == again
    assert same(result.best, unbroken(1))


def _interrupted(self: StageTrainer) -> None:
    raise KeyboardInterrupt


def test_checkpoints_are_never_written_in_place(
    start: Path, tiny: Path, tmp_path: Path
) -> None:
    """A kill while the second epoch is being written leaves the first one, whole."""
    save = torch.save
    calls = 0

    def torn(thing: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal calls
        save(thing, target, *args, **kwargs)
        calls += 1
        if calls == 4:  # state, checkpoint, state, checkpoint
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", torn)
        with pytest.raises(KeyboardInterrupt):
            train_detector(start, tiny, tmp_path, 1, ARGUMENTS)
    last = torch.load(tmp_path / "weights" / "last.pt", weights_only=False)
    assert last["epoch"] == 0
    assert (tmp_path / "weights" / "state-0.pt").exists()


def test_a_batch_cut_for_memory_is_reported(
    start: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = StageTrainer.preprocess_batch

    def short(self: StageTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        if len(batch["img"]) > 2:
            raise RuntimeError("out of memory")
        return prepare(self, batch)

    monkeypatch.setattr(StageTrainer, "preprocess_batch", short)
    arguments = {**ARGUMENTS, "epochs": 1, "batch": 4}
    result = train_detector(start, tiny, tmp_path, 1, arguments)
    assert result.notes == ("batch cut from 4 to 2: out of memory",)


def test_several_gpus_import_the_trainer_by_name(
    start: Path, tiny: Path, tmp_path: Path
) -> None:
    """The file that Ultralytics writes for its workers compiles and names an importable class."""
    from ultralytics.utils import dist

    made = StageTrainer(
        overrides={"model": str(start), "data": str(tiny), "save_dir": str(tmp_path / "run"),
                   "device": "cpu", "task": "detect", "mode": "train", "plots": False}
    )
    file = Path(dist.generate_ddp_file(made))
    try:
        assert compileall.compile_file(file, quiet=1)
        state = torch.load(file.with_suffix(".pt"), weights_only=False)
        assert state["trainer"] is StageTrainer
        assert StageTrainer.__module__ == "aoi_tl.transfer.trainer"
    finally:
        dist.ddp_cleanup(made, str(file))
        shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)
    assert not file.exists()


def test_several_gpus_do_not_clear_the_folder(tmp_path: Path) -> None:
    from ultralytics.utils import dist

    (tmp_path / "ledger.csv").write_text("kept")
    with pytest.MonkeyPatch.context() as patch:
        # What Ultralytics does first of all when it starts workers.
        patch.setattr(
            trainer.DetectionTrainer, "train", lambda self: dist.shutil.rmtree(self.save_dir)
        )
        blank = StageTrainer.__new__(StageTrainer)
        blank.save_dir = tmp_path
        blank.train()
    assert (tmp_path / "ledger.csv").read_text() == "kept"
    assert dist.shutil is shutil


def test_nothing_is_fetched_for_fonts_or_mixed_precision() -> None:
    assert trainer.font_on_this_machine("No-Such-Font.ttf") is None
    found = trainer.font_on_this_machine("DejaVuSans.ttf")  # comes with Matplotlib
    assert found is not None
    assert Path(found).exists()
    assert trainer.amp_is_sound(new_model("yolov8n.yaml", ("a",), 0)) is False  # on a CPU
