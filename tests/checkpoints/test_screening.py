from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from aoi_tl.checkpoints.screening import pickled_names, screen_detector
from aoi_tl.errors import CheckpointError
from tests.one_line import one_line


class Trap:
    """A pickle that runs code when it is loaded without restriction."""

    def __reduce__(self) -> tuple:
        return (os.mkdir, ("sprung",))


def model_of(task: str, architecture: str) -> Any:
    from ultralytics.nn import tasks

    return getattr(tasks, task)(architecture, verbose=False)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        screen_detector(path)
    message = one_line(error)
    assert path.name in message
    return message


def test_a_detector_passes(tmp_path: Path) -> None:
    file = tmp_path / "best.pt"
    torch.save({"model": model_of("DetectionModel", "yolov8n.yaml")}, file)
    screen_detector(file)
    assert "ultralytics.nn.tasks.DetectionModel" in (pickled_names(file) or [])


@pytest.mark.parametrize(("content", "words"), [
    (b"", "neither a .zip nor a pickle"),
    (b"not a checkpoint", "it is damaged"),
    (b"PK\3\4 torn archive", "a damaged .zip"),
], ids=["empty", "text", "torn"])
def test_what_is_no_checkpoint_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.pt"
    file.write_bytes(content)
    assert words in refusal(file)


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "book.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/text", "b")
    assert "a .zip without data.pkl" in refusal(file)


def test_other_models_are_refused(tmp_path: Path) -> None:
    classifier = tmp_path / "cls.pt"
    torch.save({"model": model_of("ClassificationModel", "yolov8n-cls.yaml")}, classifier)
    assert "a ClassificationModel for the task 'classify'" in refusal(classifier)
    tensors = tmp_path / "tensors.pt"
    torch.save({"model": {"a": torch.zeros(1)}}, tensors)
    assert "holds no model of Ultralytics" in refusal(tensors)
    original = tmp_path / "yolov5n6.pt"
    original.write_bytes(b"")
    assert "use yolov5n6u.pt" in refusal(original)
    assert "got no file" in refusal(tmp_path / "none.pt")


def test_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "trap.pt"
    torch.save({"model": Trap()}, file)
    assert f"would run {os.mkdir.__module__}.mkdir when it is opened" in refusal(file)
    assert not (tmp_path / "sprung").exists()


def test_what_only_the_loader_can_judge_passes(tmp_path: Path) -> None:
    old = tmp_path / "old.pt"
    torch.save({"model": Trap()}, old, _use_new_zipfile_serialization=False)
    damaged = tmp_path / "damaged.pt"
    with zipfile.ZipFile(damaged, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\2nonsense")
    for file in (old, damaged):
        assert pickled_names(file) is None
        screen_detector(file)


def test_the_names_of_the_originals_are_those_of_ultralytics() -> None:
    from ultralytics.utils.checks import check_yolov5u_filename

    names = [f"yolov5{size}{resolution}{u}.pt" for size in "nsmlxa" for resolution in ("", "6", "7")
             for u in ("", "u")]
    names += [f"yolov3{kind}{u}.pt" for kind in ("", "-spp", "-tiny", "-x") for u in ("", "u")]
    for name in [*names, "my-yolov5n.pt", "yolov8n.pt"]:
        original = Path(name)
        renamed = check_yolov5u_filename(name, verbose=False) != name
        with pytest.raises(CheckpointError) as error:
            screen_detector(original)
        # A longer name of the user's own is for the loader to judge.
        assert ("original YOLOv5" in str(error.value)) == (renamed and name.startswith("yolo"))


def test_the_real_checkpoints_pass(shared: Path) -> None:
    for file in (shared / "weights").glob("*.pt"):
        if "-cls" in file.name:
            assert "a ClassificationModel" in refusal(file)
        else:
            screen_detector(file)
