from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from aoi_tl.errors import CheckpointError, ExperimentError
from aoi_tl.transfer.detector import backbone_length, load_checkpoint, new_model, save_checkpoint
from aoi_tl.transfer.stage import Stage, build_start, train_stage, transfer_backbone

from .conftest import FAMILIES, perturb

pytestmark = pytest.mark.slow

SOURCE = ("crack", "Hole ", "pit")
TARGET = ("dot", "hole")
FAST = {"epochs": 2, "imgsz": 64, "batch": 4, "nbs": 4, "device": "cpu", "optimizer": "AdamW"}
GROUPS = {
    "none": set(), "backbone": {"backbone"}, "backbone+neck": {"backbone", "neck"},
    "all": {"backbone", "neck", "head"},
}


def is_constant(tensor: str) -> bool:
    """The head's ramp of distances is the same in every model."""
    return tensor.endswith("dfl.conv.weight")


def is_new(fresh: torch.Tensor, former: torch.Tensor) -> bool:
    """No value is the checkpoint's, but for a few in a large tensor that agree by chance."""
    assert fresh.shape == former.shape
    return (fresh == former).float().mean().item() < 1e-3


def as_ultralytics_begins(checkpoint: Path, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The state that a plain ``YOLO(checkpoint).train(...)`` begins with."""
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    weights = YOLO(str(checkpoint)).model
    model = DetectionModel(weights.yaml, nc=len(names), verbose=False)
    model.names = dict(enumerate(names))
    model.load(weights, verbose=False)
    return model.state_dict()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("modules", ["backbone", "backbone+neck", "all"])
def test_copied_tensors_are_the_checkpoints_bit_for_bit(
    family: str, modules: str, checkpoint_of: Callable[[str], Path], tmp_path: Path
) -> None:
    old = load_checkpoint(checkpoint_of(family)).state_dict()
    ledger = transfer_backbone(checkpoint_of(family), TARGET, tmp_path / "new.pt", modules, seed=3)
    model = load_checkpoint(tmp_path / "new.pt")
    new = model.state_dict()

    assert backbone_length(model) == FAMILIES[family]
    assert [record.tensor for record in ledger.records] == list(new)
    assert tuple(model.names.values()) == TARGET
    by_group: dict[str, set[str]] = {}
    for record in ledger.records:
        by_group.setdefault(record.group, set()).add(record.origin)
        fresh, former = new[record.tensor], old.get(record.tensor)
        if record.origin == "copied":
            assert torch.equal(fresh, former), record.tensor
        elif record.origin == "rows copied":
            assert torch.equal(fresh[1], former[1]), record.tensor  # hole
            assert is_new(fresh[0], former[0]), record.tensor  # dot
        elif not is_constant(record.tensor):
            assert former is not None
            assert former.shape != fresh.shape or is_new(fresh, former), record.tensor
    for group, origins in by_group.items():
        if modules == "all" and group == "head":
            assert origins == {"copied", "rows copied"}
        else:
            assert origins == {"copied" if group in GROUPS[modules] else "initialised"}, group

    begun = as_ultralytics_begins(tmp_path / "new.pt", TARGET)  # takes over every tensor of ours
    assert list(begun) == list(new)
    assert all(torch.equal(begun[name], new[name]) for name in new)


@pytest.mark.parametrize(
    ("family", "names"),
    [(family, names) for family in FAMILIES for names in (TARGET, ("pit", "crack", "hole"))]
    + [("yolov8n.yaml", ("x", "y", "z")), ("yolo26n.yaml", ("x", "y"))],
)
def test_the_stock_ledger_is_what_ultralytics_loads(
    family: str, names: tuple[str, ...], checkpoint_of: Callable[[str], Path]
) -> None:
    old = load_checkpoint(checkpoint_of(family)).state_dict()
    _, ledger = build_start(checkpoint_of(family), names, "stock", seed=3)
    begun = as_ultralytics_begins(checkpoint_of(family), names)
    assert [(r.tensor, r.shape) for r in ledger.records] == [
        (name, tuple(value.shape)) for name, value in begun.items()
    ]
    for record in ledger.records:
        former, fresh = old[record.tensor], begun[record.tensor]
        if record.rows:
            for row, other in record.rows:
                assert torch.equal(fresh[row], former[other]), record.tensor
            for row in set(range(len(fresh))) - set(dict(record.rows)):
                assert is_new(fresh[row], former[row]), record.tensor
        elif record.origin == "initialised":
            assert fresh.shape != former.shape, record.tensor
        else:
            assert torch.equal(fresh, former), record.tensor


def test_new_tensors_come_from_the_seed_alone(checkpoint_of: Callable[[str], Path]) -> None:
    path = checkpoint_of("yolov8n.yaml")
    before = torch.get_rng_state()
    states = [build_start(path, TARGET, "all", seed)[0].state_dict() for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_from_scratch_takes_nothing(checkpoint_of: Callable[[str], Path]) -> None:
    path = checkpoint_of("yolov8n.yaml")
    ledger = build_start(path, TARGET, "none", seed=0)[1]
    assert ledger.counts == {"copied": 0, "rows copied": 0, "initialised": len(ledger.records)}
    again, same = build_start("yolov8n.yaml", TARGET, "backbone", seed=0)  # nothing to hand on
    assert same.counts == ledger.counts
    assert tuple(again.names.values()) == TARGET


def test_what_cannot_begin_says_so(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"leave the arm `stock` out"):
        build_start("yolov8n.yaml", TARGET, "stock", seed=0)
    with pytest.raises(ExperimentError, match=r"one of none, backbone, .*stock, got 'spine'"):
        train_stage(Stage("yolov8n.yaml", tiny, tmp_path / "s", modules="spine"))
    with pytest.raises(ValueError, match="got 'stock'"):
        transfer_backbone("yolov8n.pt", TARGET, tmp_path / "x.pt", "stock")
    with pytest.raises(ExperimentError, match="did you mean 'epochs'"):
        train_stage(Stage("yolov8n.yaml", tiny, tmp_path / "s", arguments={"epoch": 1}))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def trained(
    tiny: Path, checkpoint_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Stage, Any]:
    folder = tmp_path_factory.mktemp("stages") / "target"
    stage = Stage(checkpoint_of("yolov8n.yaml"), tiny, folder, freeze=10, seed=2, arguments=FAST)
    return stage, train_stage(stage)


def test_a_stage_leaves_a_run_and_a_ledger(trained: tuple[Stage, Any], tiny: Path) -> None:
    stage, result = trained
    found = {path.name for path in stage.folder.iterdir()}
    assert found == {
        "args.yaml", "done", "initial.pt", "ledger.csv", "results.csv", "weights",
    }
    assert {path.name for path in (stage.folder / "weights").iterdir()} == {"best.pt", "last.pt"}
    assert (result.best, result.epochs, result.notes) == (
        stage.folder / "weights" / "best.pt", 2, (),
    )
    assert sum(result.counts.values()) == len(list(csv.DictReader(result.ledger.open())))
    assert json.loads((stage.folder / "done").read_text())["counts"] == result.counts
    left = {path.suffix for path in tiny.parent.rglob("*") if path.is_file()}
    assert left == {".png", ".txt", ".yaml"}  # no label caches


def test_frozen_modules_keep_every_tensor(trained: tuple[Stage, Any]) -> None:
    stage, result = trained
    before = load_checkpoint(stage.folder / "initial.pt").state_dict()
    after = load_checkpoint(result.best).state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name].half().float())}
    frozen = {name for name in after if int(name.split(".")[1]) < 10}
    assert any(name.endswith("running_mean") for name in frozen)
    assert not moved & frozen
    weights = {name for name in after if name.endswith("conv.weight")} - frozen
    assert weights - moved == {"model.22.dfl.conv.weight"}, "all but the constant ramp are trained"
    assert any(name.endswith("running_mean") for name in moved)


def test_a_stage_that_is_done_is_not_trained_again(trained: tuple[Stage, Any]) -> None:
    stage, result = trained
    written = result.best.stat().st_mtime_ns
    assert train_stage(stage, resume=True) == result
    assert result.best.stat().st_mtime_ns == written


def test_the_next_stage_takes_the_trained_backbone(
    trained: tuple[Stage, Any], tmp_path: Path
) -> None:
    ledger = transfer_backbone(trained[1].best, ("dot", "hole", "rim"), tmp_path / "next.pt")
    former = load_checkpoint(trained[1].best).state_dict()
    new = load_checkpoint(tmp_path / "next.pt").state_dict()
    copied = [record.tensor for record in ledger.records if record.origin == "copied"]
    assert len(copied) > 100
    assert all(torch.equal(new[name], former[name]) for name in copied)


def test_the_stock_arm_is_plain_ultralytics(
    tiny: Path, checkpoint_of: Callable[[str], Path], tmp_path: Path
) -> None:
    from ultralytics import YOLO

    start = checkpoint_of("yolov8n.yaml")
    arguments = {**FAST, "epochs": 1}
    stage = Stage(start, tiny, tmp_path / "ours", modules="stock", seed=2, arguments=arguments)
    result = train_stage(stage)
    assert not (stage.folder / "initial.pt").exists()
    YOLO(str(start)).train(
        data=str(tiny), project=str(tmp_path), name="plain", seed=2, val=False, plots=False,
        **arguments,
    )
    for cache in tiny.parent.rglob("*.cache"):  # plain Ultralytics leaves them
        cache.unlink()
    ours = load_checkpoint(result.best).state_dict()
    plain = load_checkpoint(tmp_path / "plain" / "weights" / "last.pt").state_dict()
    assert all(torch.equal(ours[name], plain[name]) for name in plain)


def test_real_checkpoints_hand_on_their_backbone(shared: Path, tmp_path: Path) -> None:
    for name, length in {"yolov8n.pt": 10, "yolo11n.pt": 11, "yolov5nu-backbone.pt": 10}.items():
        old = load_checkpoint(shared / "weights" / name)
        ledger = transfer_backbone(shared / "weights" / name, TARGET, tmp_path / name)
        new = load_checkpoint(tmp_path / name)
        assert backbone_length(new) == length
        copied = [record for record in ledger.records if record.origin == "copied"]
        assert {record.module for record in copied} <= set(range(length))
        state = old.state_dict()
        assert copied
        assert all(torch.equal(new.state_dict()[r.tensor], state[r.tensor]) for r in copied)


def test_classes_that_differ_by_case_keep_their_rows(tiny: Path, tmp_path: Path) -> None:
    """Ultralytics pairs rows by lower-cased names; a stage's own file is taken as it is."""
    data = tmp_path / "data.yaml"
    data.write_text(tiny.read_text().replace("[dot, hole]", "[Hole, hole]"))
    save_checkpoint(perturb(new_model("yolov8n.yaml", ("Hole", "hole"), 0)), tmp_path / "i.pt")
    arguments = {**FAST, "epochs": 1, "lr0": 0.0, "warmup_bias_lr": 0.0, "weight_decay": 0.0}
    stage = Stage(tmp_path / "i.pt", data, tmp_path / "s", modules="all", arguments=arguments)
    result = train_stage(stage)
    bias = "model.22.cv3.0.2.bias"
    before = load_checkpoint(tmp_path / "i.pt").state_dict()[bias]
    assert before[0] != before[1]
    assert torch.equal(load_checkpoint(result.best).state_dict()[bias], before.half().float())
