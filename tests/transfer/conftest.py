from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

#: The smallest model of each family, and the length of its backbone.
FAMILIES = {
    "yolov5n.yaml": 10, "yolov8n.yaml": 10, "yolov9t.yaml": 10, "yolov10n.yaml": 11,
    "yolo11n.yaml": 11, "yolo12n.yaml": 9, "yolo26n.yaml": 11,
}


def draw_dataset(root: Path, n: int, splits: tuple[str, ...], val: str, size: int = 96) -> Path:
    """Bright dots and dark holes on a grey grain: an Ultralytics dataset of n images per split."""
    rng = np.random.default_rng(0)
    for split in splits:
        images, labels = root / "images" / split, root / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for i in range(n):
            image = rng.integers(90, 120, (size, size), dtype=np.uint8)
            x, y = (int(value) for value in rng.integers(20, size - 20, 2))
            if i % 2:
                cv2.rectangle(image, (x - 12, y - 12), (x + 12, y + 12), 10, -1)
            else:
                cv2.circle(image, (x, y), 12, 220, -1)
            cv2.imwrite(str(images / f"{i}.png"), image)
            line = f"{i % 2} {x / size} {y / size} {24 / size} {24 / size}\n"
            (labels / f"{i}.txt").write_text(line)
    data = root / "data.yaml"
    data.write_text(
        f"path: {root}\ntrain: images/train\nval: images/{val}\ntest: images/test\n"
        "names: [dot, hole]\n"
    )
    return data


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images to train on, no val split of their own, eight to test on."""
    folder = tmp_path_factory.mktemp("tiny")
    return draw_dataset(folder, 8, splits=("train", "test"), val="train")


def perturb(model: Any, seed: int = 1) -> Any:
    """Move every tensor, BatchNorm's included, so that no two models agree by their defaults."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            # The head's ramp of distances is a constant of the architecture, not a parameter.
            if not name.endswith("dfl.conv.weight"):
                value.add_(0.05 + 0.1 * noise)
        else:
            value.fill_(7)
    return model


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make a checkpoint of an architecture, with perturbed tensors and three classes."""
    from aoi_tl.transfer.detector import new_model, save_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints")

    def make(architecture: str) -> Path:
        path = folder / Path(architecture).with_suffix(".pt").name.replace("v5n", "v5nu")
        if not path.exists():
            model = new_model(architecture, ("crack", "Hole ", "pit"), seed=5)
            save_checkpoint(perturb(model), path)
        return path

    return make
