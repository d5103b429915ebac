from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.images import write_image
from aoi_tl.errors import DataError
from aoi_tl.formats import import_dataset


@pytest.fixture
def picture(tmp_path) -> Callable[..., Path]:
    """Draw an image of 80 x 60 pixels below the test's folder."""
    count = iter(range(200))

    def draw(name: str, height: int = 60, width: int = 80) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, np.full((height, width), 20 + next(count), np.uint8))
        return path

    return draw


@pytest.fixture
def put(tmp_path) -> Callable[[str, object], Path]:
    """Write text, bytes or JSON below the test's folder."""

    def write(name: str, content: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def refused(tmp_path) -> Callable[..., str]:
    """Import what cannot be used; return the one line that says so."""

    def attempt(format: str, source: Path, **settings) -> str:
        before = set(tmp_path.iterdir())
        with pytest.raises(DataError) as caught:
            import_dataset(format, source, tmp_path / "never", **settings)
        assert set(tmp_path.iterdir()) == before, "half-written"
        message = str(caught.value)
        assert "\n" not in message
        assert "expected" in message
        assert ";" in message
        return message

    return attempt


def edges(dataset: Dataset) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    """Class and pixel edges of every box, by the image's stem; images are 80 x 60."""
    return {
        sample.image.stem: [
            (
                dataset.names[label],
                tuple(
                    round(float(v), 3)
                    for v in (
                        (x - w / 2) * 80,
                        (y - h / 2) * 60,
                        (x + w / 2) * 80,
                        (y + h / 2) * 60,
                    )
                ),
            )
            for label, (x, y, w, h) in zip(sample.classes, sample.boxes, strict=True)
        ]
        for sample in dataset.samples
    }


def random_dataset(folder: Path, seed: int = 0, images: int = 12) -> Dataset:
    """Boxes anywhere, to a fraction of a pixel; equal file names in two splits; negatives."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(images):
        split = ("train", "val", "test")[number % 3]
        path = folder / split / f"划痕 {number // 3}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(40, 200, 2)
        write_image(path, rng.integers(0, 255, (height, width), np.uint8))
        boxes = []
        for _ in range(rng.integers(0, 5)):
            left, top = rng.uniform(0, 0.8, 2)
            right, bottom = rng.uniform(left + 0.05, 1), rng.uniform(top + 0.05, 1)
            boxes.append([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
        samples.append(
            Sample(path, split, rng.integers(0, 3, len(boxes)), np.array(boxes).reshape(-1, 4))
        )
    return Dataset(
        "random", folder / "data.yaml", ("scratch", "划痕: ü", "dent & <hole>"), tuple(samples)
    )
