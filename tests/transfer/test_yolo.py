from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from aoi_tl.errors import CheckpointError, DataError, ExperimentError
from aoi_tl.transfer import yolo
from aoi_tl.transfer.yolo import (
    OPTIMIZERS,
    check_device,
    check_train_arguments,
    data_names,
    find_checkpoint,
    load_checkpoint,
    new_model,
    read_registry,
    save_checkpoint,
    train_detector,
    validate_detector,
)

from .conftest import draw_dataset


class Trap:
    """A pickle that runs code when it is loaded without restriction."""

    def __reduce__(self) -> tuple:
        return (os.mkdir, ("sprung",))


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("expected ")
    return message


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


def test_checkpoints_are_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    (second / "a.pt").write_bytes(b"2")
    assert find_checkpoint("a.pt", [first, second]) == second / "a.pt"
    (first / "a.pt").write_bytes(b"1")
    assert find_checkpoint("a.pt", [first, second]) == first / "a.pt"
    assert find_checkpoint("second/a.pt", [first]) == second / "a.pt"
    with pytest.raises(CheckpointError, match="no such file in third"):
        find_checkpoint("third/a.pt", [first])
    digest = hashlib.sha256(b"1").hexdigest()
    assert find_checkpoint("a.pt", [first], {"a.pt": digest}) == first / "a.pt"
    with pytest.raises(CheckpointError, match=f"with SHA-256 {digest}, got "):
        find_checkpoint("a.pt", [second], {"a.pt": digest})
    with pytest.raises(CheckpointError, match=r"did you mean yolov8n\.pt"):
        find_checkpoint("yolov8nn.pt", [first])


def test_offline_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yolo.prepare_ultralytics()
    from ultralytics.utils import downloads

    def refuse(*args: object, **kwargs: object) -> str:
        raise ConnectionError("offline\nin two lines")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(downloads, "attempt_download_asset", refuse)
    with pytest.raises(CheckpointError) as error:
        find_checkpoint("yolo11n.pt", [tmp_path / "weights"])
    assert re.search(r"could not be downloaded \(ConnectionError\); put yolo11n\.pt there",
                     one_line(error))


def test_the_registry_holds_the_real_files(shared: Path) -> None:
    registry = read_registry(Path(__file__).parents[2] / "weights" / "registry.yaml")
    assert find_checkpoint("yolov8n.pt", [shared / "weights"], registry).name == "yolov8n.pt"
    # The yolo11n.pt there is not Ultralytics' own file: its checksum must refuse nobody's download.
    assert "yolo11n.pt" not in registry


def test_new_models_come_from_their_seed_alone() -> None:
    before = torch.get_rng_state()
    a, b, c = (new_model("yolov8n.yaml", ("x",), seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["model.0.conv.weight"], c["model.0.conv.weight"])
    for wrong in ("yolov77n.yaml", "rtdetr-l.yaml", "yolov8n-cls.yaml"):
        with pytest.raises(CheckpointError, match=r"use one such as yolov8n\.yaml"):
            new_model(wrong, ("x",), 0)


def test_train_arguments_are_checked() -> None:
    given = {"epochs": 3, "imgsz": 320, "mosaic": 0.0, "device": "0,1", "amp": False}
    assert check_train_arguments(given) == given
    for wrong, message in [
        ({"learning_rate": 1}, "got 'learning_rate'; did you mean"),
        ({"epoch": 1}, "did you mean 'epochs'"),
        ({"data": "x.yaml"}, "under `target`"),
        ({"seed": 3}, "under `seeds`"),
        ({"split": "test"}, "only the evaluation opens the test split"),
        ({"pretrained": False}, "transfer.modules"),
        ({"epochs": "many"}, "'epochs=many'"),
        ({"mosaic": 3.0}, "'mosaic=3.0'"),
    ]:
        with pytest.raises(ExperimentError) as error:
            check_train_arguments(wrong)
        assert message in one_line(error)


def test_names_of_the_data(tmp_path: Path) -> None:
    data = tmp_path / "data.yaml"
    data.write_text("names: {1: b, 0: a, 10: c}\n")
    assert data_names(data) == ("a", "b", "c")
    data.write_text("names: [划痕, 7]\n", encoding="utf-8")
    assert data_names(data) == ("划痕", "7")
    for wrong in ("nc: 3\n", "[]\n", "names: [a\n"):
        data.write_text(wrong)
        with pytest.raises(DataError) as error:
            data_names(data)
        one_line(error)
    with pytest.raises(DataError):
        data_names(tmp_path / "none.yaml")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A detector that finds something, and its data."""
    folder = tmp_path_factory.mktemp("detector")
    data = draw_dataset(folder / "data", 16, splits=("train", "test"), val="train", size=64)
    save_checkpoint(new_model("yolov8n.yaml", ("dot", "hole"), 0), folder / "initial.pt")
    still = dict.fromkeys(("mosaic", "scale", "translate", "fliplr", "hsv_v"), 0.0)
    arguments = {
        "epochs": 30, "imgsz": 64, "batch": 4, "nbs": 4, "optimizer": "AdamW", "lr0": 0.004,
        "warmup_epochs": 1, "device": "cpu", **still,
    }
    result = train_detector(folder / "initial.pt", data, folder / "run", 0, arguments)
    return result.best, data


def test_best_gives_the_same_map50_in_the_plain_command(
    detector: tuple[Path, Path], tmp_path: Path
) -> None:
    best, data = detector
    arguments = {"imgsz": 64, "batch": 8, "device": "cpu"}
    curves = validate_detector(best, data, tmp_path / "ours", arguments=arguments)
    assert curves.n_images == 16
    assert curves.class_index.tolist() == [0, 1]
    assert curves.instances.tolist() == [8, 8]
    assert curves.images.tolist() == [8, 8]
    assert curves.precision.shape == curves.pr_precision.shape == (2, 1000)
    assert not list((tmp_path / "ours").iterdir())
    assert not list(data.parent.rglob("*.cache"))

    command = [
        str(Path(sys.executable).with_name("yolo")), "val", f"model={best}", f"data={data}",
        "split=test", "imgsz=64", "batch=8", "device=cpu", "plots=False",
        f"project={tmp_path}", "name=plain",
    ]
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(tmp_path), "YOLO_OFFLINE": "true"}
    ended = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
    )
    plain = re.search(r"^\s*all\s+16\s+16\s+\S+\s+\S+\s+(\S+)\s+(\S+)\s*$", ended.stdout, re.M)
    assert plain, ended.stdout
    ap = curves.average_precision
    assert ap[:, 0].mean() > 0.3  # zeros would agree with anything
    assert float(plain[1]) == float(f"{ap[:, 0].mean():.3g}")
    assert float(plain[2]) == float(f"{ap.mean():.3g}")


def test_validation_leaves_the_world_as_it_was(
    detector: tuple[Path, Path], tmp_path: Path
) -> None:
    best, data = detector
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    curves = [
        validate_detector(best, data, tmp_path / "v", arguments={"imgsz": 64, "device": "cpu"})
        for _ in range(2)
    ]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert np.array_equal(curves[0].average_precision, curves[1].average_precision)


def test_a_split_that_is_not_there_is_named(detector: tuple[Path, Path], tmp_path: Path) -> None:
    data = tmp_path / "data.yaml"
    data.write_text(detector[1].read_text().replace("test: images/test\n", ""))
    with pytest.raises(DataError) as error:
        validate_detector(detector[0], data, tmp_path / "v", arguments={"device": "cpu"})
    assert "expected a test split" in one_line(error)


def test_the_users_settings_are_left_alone(tmp_path: Path) -> None:
    """In a process of its own: nothing appears in the user's configuration folder."""
    code = "from aoi_tl.transfer.yolo import new_model; new_model('yolov8n.yaml', ['a'], 0)"
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("YOLO_", "AOI_TL"))
    }
    environment |= {
        "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"), "MPLCONFIGDIR": str(tmp_path / "mpl"),
    }
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stdout == ended.stderr == ""
    assert not (tmp_path / "config" / "Ultralytics").exists()
    assert (tmp_path / "cache" / "aoi-tl" / "ultralytics").is_dir()


def test_careful_even_where_ultralytics_was_imported_before() -> None:
    code = (
        "import ultralytics.nn.tasks as t, ultralytics.utils as u, ultralytics.utils.events as e;"
        "from ultralytics.utils import checks as c;"
        "before = u.SETTINGS.file.read_bytes();"
        "from aoi_tl.transfer.yolo import prepare_ultralytics as p; p();"
        "assert before == u.SETTINGS.file.read_bytes();"
        "print(t.SAFE_LOAD, u.AUTOINSTALL, c.AUTOINSTALL, c.ONLINE, e.events.enabled,"
        " u.SETTINGS['sync'])"
    )
    environment = {**os.environ, "YOLO_OFFLINE": "true"}
    for name in ("ULTRALYTICS_SAFE_LOAD", "YOLO_AUTOINSTALL"):
        environment.pop(name, None)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert ended.stdout.splitlines()[-1] == "True False False False False False"


def test_the_optimisers_are_those_of_ultralytics() -> None:
    from ultralytics.engine.trainer import BaseTrainer

    with pytest.raises(NotImplementedError) as caught:
        BaseTrainer.build_optimizer(None, new_model("yolov8n.yaml", ("x",), 0), name="nothing")
    listed = re.search(r"\{(.*)\}", str(caught.value))
    assert listed is not None
    assert set(OPTIMIZERS) == set(re.findall(r"'(\w+)'", listed.group(1)))


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(ExperimentError) as caught:
        check_device("77")
    assert "expected a device of this machine, got '77'" in one_line(caught)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_batch_of_one_small_image_is_told_in_plain_words() -> None:
    norm = torch.nn.BatchNorm2d(3)
    with (
        pytest.raises(ExperimentError, match=r"64 pixels or more.*imgsz 32 and batch 4"),
        yolo._in_plain_words({"imgsz": 32, "batch": 4}),
    ):
        norm(torch.zeros(1, 3, 1, 1))
    with pytest.raises(ValueError, match="another"), yolo._in_plain_words({}):
        raise ValueError("another")
