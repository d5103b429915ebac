from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aoi_tl.checkpoints.trusted import rebuild_trusted, rebuild_trusted_state
from aoi_tl.classification.encoders import build_encoder
from aoi_tl.errors import CheckpointError
from aoi_tl.transfer.detector import (
    load_checkpoint,
    new_model,
    save_checkpoint,
    widen_class_branch,
)
from tests.fuzz.readers import TINY
from tests.hostile.corpus import Trap
from tests.hostile.files import as_missing

ENCODERS = ("classify", "detect")


def test_what_a_restricted_load_refuses_is_kept_as_tensors(tmp_path: Path) -> None:
    """A file that runs code beside its model: refused, or run once and never again."""
    mark, odd, clean = (tmp_path / name for name in ("sprung", "odd.pt", "run/weights/clean.pt"))
    model = new_model(TINY, ("dent", "划痕"), seed=3)
    save_checkpoint(model, odd)
    content = torch.load(odd, weights_only=False)
    torch.save({**content, "train_args": Trap(mark)}, odd)

    with pytest.raises(CheckpointError, match=r"would run (builtins|io|_io)\.open .*weights_may"):
        load_checkpoint(odd)
    assert not mark.exists()

    assert rebuild_trusted(odd, clean) == clean
    assert mark.exists()
    rebuilt = load_checkpoint(clean)
    assert rebuilt.names == {0: "dent", 1: "划痕"}
    for name, value in model.state_dict().items():
        assert rebuilt.state_dict()[name].equal(value), name

    mark.unlink()
    assert rebuild_trusted(odd, clean) == clean
    assert not mark.exists()


def test_a_fine_tuned_detector_keeps_its_wide_class_branches(tmp_path: Path) -> None:
    """Fine-tuning keeps the widths of a checkpoint of more classes; its description does not."""
    many = new_model("yolov8n.yaml", [str(i) for i in range(80)], seed=1)
    tuned = new_model("yolov8n.yaml", ["dent", "scratch"], seed=2)
    narrow = {name: value.shape for name, value in tuned.state_dict().items()}
    widen_class_branch(tuned, many, seed=3)
    assert any(value.shape != narrow[name] for name, value in tuned.state_dict().items())
    file = tmp_path / "tuned.pt"
    save_checkpoint(tuned, file)
    rebuilt = load_checkpoint(rebuild_trusted(file, tmp_path / "clean.pt"))
    assert rebuilt.names == {0: "dent", 1: "scratch"}
    for name, value in tuned.state_dict().items():
        assert rebuilt.state_dict()[name].equal(value), name


@pytest.mark.parametrize("kind", ["missing package", "no model", "damaged"])
def test_a_trusted_file_can_still_be_none(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.pt"
    if kind == "missing package":
        as_missing(file)
    elif kind == "no model":
        torch.save({"model": [1]}, file)
    else:
        file.write_bytes(b"PK\3\4" + bytes(50))
    with pytest.raises(CheckpointError, match="expected a"):
        rebuild_trusted(file, tmp_path / "clean.pt")
    assert not (tmp_path / "clean.pt").exists()


@pytest.mark.parametrize("architecture", ["yolov8n.yaml", "yolo11n-cls.yaml"])
def test_an_encoder_keeps_its_tensors_and_runs_once(architecture: str, tmp_path: Path) -> None:
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel

    kind = ClassificationModel if "cls" in architecture else DetectionModel
    model = kind(architecture, verbose=False)
    file, clean, mark = tmp_path / "loud.pt", tmp_path / "clean.pt", tmp_path / "mark"
    torch.save({"model": model, "extra": Trap(mark)}, file)
    with pytest.raises(CheckpointError, match=r"would run (builtins|_?io).open"):
        build_encoder(str(file))
    assert not mark.exists()
    assert rebuild_trusted(file, clean, ENCODERS) == clean
    assert mark.exists()
    mark.unlink()
    own = build_encoder(str(clean)).module.state_dict()
    for key, value in model.model.state_dict().items():
        if f"1.layers.{key}" in own:
            assert torch.equal(own[f"1.layers.{key}"], value)
    assert rebuild_trusted(file, clean, ENCODERS) == clean
    assert not mark.exists(), "opened again"


@pytest.mark.parametrize("form", ["state", "nested", "module"])
def test_weights_keep_their_tensors(form: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet18", pretrained=False, num_classes=3)
    held = {"state": model.state_dict(), "nested": {"state_dict": model.state_dict()},
            "module": model}[form]
    file, clean, mark = tmp_path / "loud.pth", tmp_path / "clean.pt", tmp_path / "mark"
    content = {"model": held, "extra": Trap(mark)} if form != "nested" else {
        **held, "extra": Trap(mark)}
    torch.save(content, file)
    with pytest.raises(CheckpointError, match="would run"):
        build_encoder("resnet18", str(file))
    assert not mark.exists()
    encoder = build_encoder("resnet18", str(rebuild_trusted_state(file, clean)))
    assert mark.exists()
    assert torch.equal(encoder.module.state_dict()["1.conv1.weight"], model.conv1.weight)
    assert encoder.loaded.initialised == ()


def test_what_is_no_encoder_all_the_same(tmp_path: Path) -> None:
    file, clean = tmp_path / "odd.pt", tmp_path / "clean.pt"
    file.write_bytes(b"half a file")
    for rebuild in (rebuild_trusted, rebuild_trusted_state):
        with pytest.raises(CheckpointError, match="cannot be loaded"):
            rebuild(file, clean)
    torch.save({"model": {"a": 1}}, file)
    with pytest.raises(CheckpointError, match=r"a classifier or a detector, got .*, a dict"):
        rebuild_trusted(file, clean, ENCODERS)
    with pytest.raises(CheckpointError, match=r"tensors by name, got .*, a dict without any"):
        rebuild_trusted_state(file, clean)
    assert not clean.exists()
