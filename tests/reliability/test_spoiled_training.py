"""Losses that are no numbers, and memory that runs out: mended exactly, and never in silence."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from aoi_tl.errors import CheckpointError, RunError
from aoi_tl.transfer.detector import load_checkpoint
from aoi_tl.transfer.trainer import StageTrainer
from aoi_tl.transfer.training import Trained, train_detector
from tests.reliability.conftest import World

pytestmark = pytest.mark.slow

EPOCHS = 4
# Two batches an epoch, a step every third: gradients wait across the epochs' borders.
ARGUMENTS = {
    "epochs": EPOCHS, "imgsz": 64, "batch": 4, "nbs": 12, "workers": 0, "device": "cpu",
    "optimizer": "AdamW", "lr0": 0.0005, "warmup_epochs": 1, "close_mosaic": 2,
}
Spoil = Callable[[StageTrainer, dict[str, Any]], None]


@contextmanager
def spoiled(spoil: Spoil) -> Iterator[None]:
    """Let something happen to every batch just before the model sees it."""
    prepare = StageTrainer.preprocess_batch

    def spoilt(self: StageTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        prepared = prepare(self, batch)
        spoil(self, prepared)
        return prepared

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageTrainer, "preprocess_batch", spoilt)
        yield


class NanOnce:
    """One batch of an epoch gives NaN; when the epoch is repeated, no more.

    The process ends in epoch `interrupt`, in that of the NaN only once it is repeated.
    """

    def __init__(self, epoch: int, batch: int, interrupt: int = -1) -> None:
        self.epoch, self.batch, self.interrupt = epoch, batch, interrupt
        self.seen: list[int] = []
        self.repeated_from: dict[str, torch.Tensor] = {}

    def __call__(self, trainer: StageTrainer, batch: dict[str, Any]) -> None:
        number = self.seen.count(trainer.epoch)
        self.seen.append(trainer.epoch)
        if (trainer.epoch, number) == (self.epoch, self.batch):
            batch["img"] = batch["img"] * float("nan")
        if trainer.epoch == self.epoch and number == 2:  # the first batch of the repetition
            state = trainer._inner.state_dict()
            self.repeated_from = {name: value.clone() for name, value in state.items()}
        happened = trainer.epoch > self.epoch or (trainer.epoch == self.epoch and number >= 2)
        if happened and trainer.epoch == self.interrupt:
            raise KeyboardInterrupt


def short_of_memory(trainer: StageTrainer, batch: dict[str, Any]) -> None:
    if len(batch["img"]) > 2:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def train(world: World, folder: Path, spoil: Spoil, resume: bool = False, **more: Any) -> Trained:
    data = folder.parent / "data.yaml"
    new = world.folder / "shelf" / "new"
    data.write_text((new / "data.yaml").read_text().replace("path: .", f"path: {new}"))
    with spoiled(spoil):
        return train_detector(
            world.folder / "shelf" / "start.pt", data, folder, 1, {**ARGUMENTS, **more}, resume
        )


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).state_dict()


def same(first: Path, second: Path) -> bool:
    a, b = state_of(first), state_of(second)
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("epoch", [0, 2, EPOCHS - 1])
@pytest.mark.parametrize("batch", [0, 1])
def test_an_epoch_with_nan_is_repeated_from_the_very_state_before_it(
    world: World, tmp_path: Path, epoch: int, batch: int
) -> None:
    nan = NanOnce(epoch, batch)
    before: dict[str, torch.Tensor] = {}

    def spoil(trainer: StageTrainer, images: dict[str, Any]) -> None:
        if trainer.epoch == epoch and not before:
            state = trainer._inner.state_dict()
            before.update({name: value.clone() for name, value in state.items()})
        nan(trainer, images)

    result = train(world, tmp_path / "run", spoil)
    assert result.notes == (f"epoch {epoch + 1} gave NaN and was repeated from the epoch before",)
    assert nan.seen.count(epoch) == 4
    assert all(torch.equal(value, nan.repeated_from[name]) for name, value in before.items())
    with (tmp_path / "run" / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert "nan" not in str(rows)
    assert all(value.isfinite().all() for value in state_of(result.best).values())


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_killed_after_nan_it_ends_the_same_and_says_it_once(
    world: World, tmp_path: Path, moment: int
) -> None:
    """Within the repetition, and later: the first epoch after a resume is mended as well."""
    unbroken = train(world, tmp_path / "unbroken", NanOnce(1, 0))
    with pytest.raises(KeyboardInterrupt):
        train(world, tmp_path / "run", NanOnce(1, 0, moment))
    result = train(world, tmp_path / "run", NanOnce(1, 0), resume=True)
    assert result.notes == unbroken.notes
    assert len(result.notes) == 1
    assert same(result.best, unbroken.best)


def test_weights_lost_in_the_last_step_are_taken_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses of such an epoch are all numbers."""
    step, lost = StageTrainer.optimizer_step, []

    def lose(self: StageTrainer) -> None:
        step(self)
        if self.epoch == 1 and not lost:
            lost.append(True)
            next(iter(self._inner.parameters())).data.fill_(float("inf"))

    monkeypatch.setattr(StageTrainer, "optimizer_step", lose)
    result = train(world, tmp_path / "run", lambda trainer, batch: None, batch=6, nbs=6)
    assert result.notes == ("epoch 2 gave NaN and was repeated from the epoch before",)
    assert all(value.isfinite().all() for value in state_of(result.best).values())


def test_nan_again_and_again_is_one_line(world: World, tmp_path: Path) -> None:
    def always(trainer: StageTrainer, batch: dict[str, Any]) -> None:
        if trainer.epoch == 1:
            batch["img"] = batch["img"] * float("nan")

    with pytest.raises(RunError, match=r"got NaN or infinity in epoch 2, .*; lower lr0") as caught:
        train(world, tmp_path / "run", always)
    assert "\n" not in str(caught.value)
    result = train(world, tmp_path / "run", lambda trainer, batch: None, resume=True)
    assert result.epochs == EPOCHS


def test_killed_with_a_batch_that_was_cut_it_ends_the_same(world: World, tmp_path: Path) -> None:
    note = ("batch cut from 4 to 2: out of memory",)
    unbroken = train(world, tmp_path / "unbroken", short_of_memory)
    assert unbroken.notes == note

    def interrupt(trainer: StageTrainer, batch: dict[str, Any]) -> None:
        short_of_memory(trainer, batch)
        if trainer.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(world, tmp_path / "run", interrupt)
    result = train(world, tmp_path / "run", short_of_memory, resume=True)
    assert result.notes == note
    assert same(result.best, unbroken.best)


def test_the_last_epoch_never_stands_in_for_a_lost_best_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate = StageTrainer.validate

    def ever_worse(self: StageTrainer) -> tuple[Any, float]:
        fitness = 1 / (self.epoch + 1)
        metrics, _ = validate(self)
        self.best_fitness = max(fitness, self.best_fitness if self.epoch else 0.0)
        return metrics, fitness

    def lose(trainer: StageTrainer, batch: dict[str, Any]) -> None:
        if trainer.epoch == EPOCHS - 1:
            trainer.best.unlink(missing_ok=True)

    monkeypatch.setattr(StageTrainer, "validate", ever_worse)
    unbroken = train(world, tmp_path / "unbroken", lambda trainer, batch: None)
    with pytest.raises(CheckpointError, match=r"best\.pt from an epoch before, got no such file"):
        train(world, tmp_path / "run", lose)
    result = train(world, tmp_path / "run", lambda trainer, batch: None, resume=True)
    assert same(result.best, unbroken.best)
    last = torch.load(tmp_path / "run" / "weights" / "last.pt", weights_only=False)["model"]
    assert not all(
        torch.equal(value.float(), last.state_dict()[name].float())
        for name, value in state_of(result.best).items()
    )


def test_no_memory_at_all_is_one_line(world: World, tmp_path: Path) -> None:
    def none(trainer: StageTrainer, batch: dict[str, Any]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB.")

    with pytest.raises(RunError, match="expected memory to train with batches of 4 ") as caught:
        train(world, tmp_path / "run", none)
    assert "\n" not in str(caught.value)


def test_arms_csv_the_page_and_the_terminal_tell_of_both(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from aoi_tl import cli, run_experiment

    nan = NanOnce(1, 1)

    def spoil(trainer: StageTrainer, batch: dict[str, Any]) -> None:
        if trainer.save_dir.name == "stock-s0-target":
            short_of_memory(trainer, batch)
        elif trainer.save_dir.name == "method-all-s0-source":
            nan(trainer, batch)

    with spoiled(spoil):
        outcome = run_experiment(world.experiment, tmp_path / "run")
    notes = dict(zip(outcome.arms["arm"], outcome.arms["notes"], strict=True))
    assert notes == {
        "stock": "stock-s0-target: batch cut from 4 to 2: out of memory",
        "method-all": "method-all-s0-source: epoch 2 gave NaN and was repeated from the epoch "
                      "before",
    }
    table = (tmp_path / "run" / "arms.csv").read_text()
    page = (tmp_path / "run" / "report.html").read_text()
    for note in notes.values():
        assert note in table
        assert note in page
    again = run_experiment(world.experiment, tmp_path / "run", resume=True)
    assert again.arms["notes"].tolist() == outcome.arms["notes"].tolist()
    cli._show_outcome(again)
    assert capsys.readouterr().err.splitlines() == [f"note: {note}" for note in notes.values()]
