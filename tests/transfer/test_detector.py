from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from aoi_tl.errors import CheckpointError
from aoi_tl.transfer.detector import load_checkpoint, new_model, save_checkpoint
from tests.one_line import one_line


class Trap:
    """A pickle that runs code when it is loaded without restriction."""

    def __reduce__(self) -> tuple:
        return (os.mkdir, ("sprung",))


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = new_model("yolo11n.yaml", ("pit", "Kratzer ä"), seed=1)
    save_checkpoint(model, tmp_path / "a" / "x.pt")
    loaded = load_checkpoint(tmp_path / "a" / "x.pt")
    assert loaded.names == {0: "pit", 1: "Kratzer ä"}
    assert all(torch.equal(loaded.state_dict()[k], v) for k, v in model.state_dict().items())


def test_code_in_a_checkpoint_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Trap(), "epoch": -1}, tmp_path / "trap.pt")
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / "trap.pt")
    assert "trap.pt" in one_line(error)
    assert not (tmp_path / "sprung").exists()
    torch.load(tmp_path / "trap.pt", weights_only=False)  # the trap is a real one
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", b"PK\x03\x04 torn archive"], ids=["empty", "text", "torn"]
)
def test_damaged_checkpoints_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / "bad.pt")
    assert "damaged" in one_line(error)


def test_cut_checkpoints_are_refused(
    checkpoint_of: Callable[[str], Path], tmp_path: Path
) -> None:
    whole = checkpoint_of("yolov8n.yaml").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / "cut.pt")
    assert "damaged" in one_line(error)


def test_other_models_are_refused(
    tmp_path: Path, checkpoint_of: Callable[[str], Path]
) -> None:
    from ultralytics.nn.tasks import SegmentationModel

    other = SegmentationModel("yolov8n-seg.yaml", verbose=False)
    other.task = "segment"
    save_checkpoint(other, tmp_path / "seg.pt")
    with pytest.raises(CheckpointError, match=r"a SegmentationModel for the task 'segment'"):
        load_checkpoint(tmp_path / "seg.pt")
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "dict.pt")
    with pytest.raises(CheckpointError, match=r"dict\.pt"):
        load_checkpoint(tmp_path / "dict.pt")
    with pytest.raises(CheckpointError, match="got no file"):
        load_checkpoint(tmp_path / "none.pt")
    (tmp_path / "yolov5n.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"use yolov5nu\.pt"):
        load_checkpoint(tmp_path / "yolov5n.pt")
    model = load_checkpoint(checkpoint_of("yolov8n.yaml"))
    save_checkpoint(model.fuse(verbose=False), tmp_path / "fused.pt")
    with pytest.raises(CheckpointError, match="fused for prediction"):
        load_checkpoint(tmp_path / "fused.pt")
    model = new_model("yolov8n.yaml", ("a",), 0)
    model.state_dict()["model.3.conv.weight"][0, 0, 0, 0] = float("nan")
    save_checkpoint(model, tmp_path / "nan.pt")
    with pytest.raises(CheckpointError, match=r"infinity in model\.3\.conv\.weight"):
        load_checkpoint(tmp_path / "nan.pt")


def test_a_real_classifier_is_refused(shared: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a detector, .*yolo26n-cls\.pt"):
        load_checkpoint(shared / "weights" / "yolo26n-cls.pt")


def test_new_models_come_from_their_seed_alone() -> None:
    before = torch.get_rng_state()
    a, b, c = (new_model("yolov8n.yaml", ("x",), seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["model.0.conv.weight"], c["model.0.conv.weight"])
    for wrong in ("yolov77n.yaml", "rtdetr-l.yaml", "yolov8n-cls.yaml"):
        with pytest.raises(CheckpointError, match=r"use one such as yolov8n\.yaml"):
            new_model(wrong, ("x",), 0)
