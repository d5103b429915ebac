"""Averages of two checkpoints, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aoi_tl.errors import CheckpointError, ExperimentError
from aoi_tl.transfer.averaging import _average, average_checkpoints
from aoi_tl.transfer.detector import load_checkpoint, new_model, save_checkpoint

NAMES = ("crack", "hole", "pit")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("two")
    for seed in (0, 1):
        model = new_model("yolov8n.yaml", NAMES, seed)
        for name, value in model.state_dict().items():
            if "running" in name:
                value.fill_(1.0 + seed)
            elif not value.is_floating_point():
                value.fill_(7 + seed)
        save_checkpoint(model, folder / f"{seed}.pt")
    return folder / "0.pt", folder / "1.pt"


def test_a_quarter_by_hand() -> None:
    before = {"w": torch.tensor([[0.0, 4.0], [8.0, 0.0]]), "n": torch.tensor(3)}
    after = {"w": torch.tensor([[4.0, 0.0], [0.0, 8.0]]), "n": torch.tensor(5)}
    found = _average(before, after, 0.25, {})
    assert found["w"].tolist() == [[1.0, 3.0], [6.0, 2.0]]
    assert found["n"].item() == 5


def test_rows_that_only_the_fine_tuned_has_are_its_own() -> None:
    before = {"w": torch.tensor([[0.0], [100.0], [2.0]])}
    after = {"w": torch.tensor([[4.0], [6.0], [8.0]])}
    assert _average(before, after, 0.5, {"w": (1,)})["w"].tolist() == [[2.0], [6.0], [5.0]]
    assert _average(before, after, 0.5, {"w": ()})["w"].tolist() == [[2.0], [53.0], [5.0]]


def test_batchnorm_is_averaged_and_counters_are_the_fine_tuned(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    mean = load_checkpoint(average_checkpoints(*two, tmp_path / "mean.pt", 0.25)).state_dict()
    before, after = (load_checkpoint(file).state_dict() for file in two)
    running = [name for name in mean if "running" in name]
    assert running
    assert all(torch.equal(mean[name], torch.full_like(mean[name], 1.25)) for name in running)
    counters = [name for name, value in mean.items() if not value.is_floating_point()]
    assert counters
    assert all(mean[name].item() == 8 for name in counters)
    for name, value in mean.items():
        if value.is_floating_point():
            assert torch.equal(value, 0.75 * before[name] + 0.25 * after[name])


def test_the_average_of_a_checkpoint_and_itself_is_itself(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    same = load_checkpoint(average_checkpoints(two[0], two[0], tmp_path / "same.pt")).state_dict()
    for name, value in load_checkpoint(two[0]).state_dict().items():
        assert torch.equal(same[name], value)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_a_share_out_of_range_is_refused(two: tuple[Path, Path], share: float) -> None:
    with pytest.raises(ExperimentError, match=f"got {share}"):
        average_checkpoints(*two, Path("never.pt"), share)


@pytest.mark.parametrize(
    ("architecture", "names"), [("yolov8n.yaml", ("crack", "hole", "dent")),
                                ("yolo11n.yaml", NAMES)]
)
def test_what_was_not_trained_from_it_is_refused(
    two: tuple[Path, Path], tmp_path: Path, architecture: str, names: tuple[str, ...]
) -> None:
    other = tmp_path / "other.pt"
    save_checkpoint(new_model(architecture, names, 0), other)
    with pytest.raises(CheckpointError, match="one architecture with the same classes"):
        average_checkpoints(two[0], other, tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()
