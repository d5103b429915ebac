from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aoi_tl.classification.encoders import build_encoder
from aoi_tl.classification.trusted import rebuild_trusted_encoder, rebuild_trusted_state
from aoi_tl.errors import CheckpointError


class Loud:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.mark), "w"))


@pytest.mark.parametrize("architecture", ["yolov8n.yaml", "yolo11n-cls.yaml"])
def test_an_encoder_keeps_its_tensors_and_runs_once(architecture: str, tmp_path: Path) -> None:
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel

    kind = ClassificationModel if "cls" in architecture else DetectionModel
    model = kind(architecture, verbose=False)
    file, clean, mark = tmp_path / "loud.pt", tmp_path / "clean.pt", tmp_path / "mark"
    torch.save({"model": model, "extra": Loud(mark)}, file)
    with pytest.raises(CheckpointError, match=r"would run (builtins|_?io).open"):
        build_encoder(str(file))
    assert not mark.exists()
    assert rebuild_trusted_encoder(file, clean) == clean
    assert mark.exists()
    mark.unlink()
    own = build_encoder(str(clean)).module.state_dict()
    for key, value in model.model.state_dict().items():
        if f"1.layers.{key}" in own:
            assert torch.equal(own[f"1.layers.{key}"], value)
    assert rebuild_trusted_encoder(file, clean) == clean
    assert not mark.exists(), "opened again"


@pytest.mark.parametrize("form", ["state", "nested", "module"])
def test_weights_keep_their_tensors(form: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet18", pretrained=False, num_classes=3)
    held = {"state": model.state_dict(), "nested": {"state_dict": model.state_dict()},
            "module": model}[form]
    file, clean, mark = tmp_path / "loud.pth", tmp_path / "clean.pt", tmp_path / "mark"
    content = {"model": held, "extra": Loud(mark)} if form != "nested" else {
        **held, "extra": Loud(mark)}
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
    for rebuild in (rebuild_trusted_encoder, rebuild_trusted_state):
        with pytest.raises(CheckpointError, match="cannot be loaded"):
            rebuild(file, clean)
    torch.save({"model": {"a": 1}}, file)
    with pytest.raises(CheckpointError, match=r"a classifier or a detector, got .*, a dict"):
        rebuild_trusted_encoder(file, clean)
    with pytest.raises(CheckpointError, match=r"tensors by name, got .*, a dict without any"):
        rebuild_trusted_state(file, clean)
    assert not clean.exists()
