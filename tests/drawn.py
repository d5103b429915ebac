"""Small datasets for tests: bright or dark marks on a grey ground, in exact boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml


def draw_dataset(
    folder: Path,
    classes: Mapping[str, int],
    splits: Sequence[str] = ("train", "val", "test"),
    empty: int = 1,
    size: int = 64,
    ground: int = 120,
    seed: int = 0,
) -> Path:
    """Write a dataset with ``classes[name]`` one-box images of each class in each split."""
    chance = np.random.default_rng(seed)
    names = list(classes)
    for split in splits:
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        kinds = [names.index(name) for name, n in classes.items() for _ in range(n)]
        for number, kind in enumerate([*kinds, *[None] * empty]):
            image = chance.normal(ground, 12, (size, size)).clip(0, 255).astype(np.uint8)
            rows = ""
            if kind is not None:
                x, y = chance.integers(4, size - 28, 2)
                width, height = (20, 8) if kind % 2 else (10, 20)
                image[y:y + height, x:x + width] = 250 if kind % 3 else 5
                rows = (f"{kind} {(x + width / 2) / size} {(y + height / 2) / size} "
                        f"{width / size} {height / size}\n")
            cv2.imwrite(str(images / f"{split}{number}.png"), image)
            (labels / f"{split}{number}.txt").write_text(rows)
    data = {"path": ".", **{split: f"images/{split}" for split in splits},
            "names": dict(enumerate(names))}
    file = folder / "data.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def tree_hash(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, so that a test can show that nothing changed."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*")) if file.is_file()
    }
