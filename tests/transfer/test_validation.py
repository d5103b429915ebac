from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import DataError
from aoi_tl.evaluation.detection import smooth
from aoi_tl.evaluation.predictions import match_boxes, score_split
from aoi_tl.transfer.detector import new_model, save_checkpoint
from aoi_tl.transfer.training import train_detector
from aoi_tl.transfer.validation import validate_detector
from tests.one_line import one_line

from .conftest import draw_dataset

pytestmark = pytest.mark.slow


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


def test_the_predictions_kept_give_ultralytics_own_scores(
    detector: tuple[Path, Path], tmp_path: Path
) -> None:
    best, data = detector
    curves = validate_detector(best, data, tmp_path, arguments={"imgsz": 64, "device": "cpu"})
    kept = curves.predictions
    assert kept.names == ("dot", "hole")
    assert kept.images == tuple(sorted(f"{i}.png" for i in range(16)))
    scores = score_split(kept)
    assert scores.map50 == pytest.approx(curves.average_precision[:, 0].mean(), abs=1e-9)
    assert scores.map50_95 == pytest.approx(curves.average_precision.mean(), abs=1e-9)
    peak = smooth(curves.f1.mean(axis=0)).max()
    assert scores.f1 == pytest.approx(peak, abs=1e-9)
    # The true boxes are those of the label files.
    dataset = load_dataset(data).split("test")
    for index, name in enumerate(kept.images):
        [sample] = [s for s in dataset.samples if s.image.name == name]
        [x, y, w, h] = sample.boxes[0]
        [box] = kept.truth_box[kept.truth_image == index]
        assert box == pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2], abs=1e-3)
    # Matching the boxes again finds the same true positives.
    for index in range(16):
        true, found = kept.truth_image == index, kept.image == index
        again = match_boxes(kept.truth_class[true], kept.truth_box[true], kept.class_id[found],
                            kept.box[found])
        assert (again == kept.correct[found]).mean() > 0.99


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
