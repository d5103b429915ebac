from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aoi_tl.data.dataset import Dataset, Sample

BOX = np.array([[0.5, 0.5, 0.2, 0.3]])


def sample(name="a.png", split="train", classes=(0,), folder=Path(".")):
    return Sample(folder / name, split, np.array(classes), np.repeat(BOX, len(classes), axis=0))


def test_counts_label_space_and_splits():
    samples = (sample(classes=(0, 2, 2)), sample("b.png", "test", ()), sample("c.png", "val"))
    dataset = Dataset("a", Path("data.yaml"), ("x", "y", "z"), samples)
    assert dataset.counts == {"x": 2, "y": 0, "z": 2}
    assert dataset.label_space == ("x", "z")
    assert dataset.instances == 4
    assert dataset.splits == ("train", "val", "test")
    seen = dataset.split("train", "val")
    assert seen.splits == ("train", "val")
    assert seen.instances == 4
    assert seen.names == dataset.names
    assert dataset.split("test").counts == {"x": 0, "y": 0, "z": 0}


def test_an_empty_dataset_counts_nothing():
    dataset = Dataset("a", Path("data.yaml"), ("x",), ())
    assert dataset.counts == {"x": 0}
    assert dataset.label_space == ()
    assert dataset.splits == ()
    assert dataset.instances == 0


def test_samples_are_checked_and_cannot_be_edited():
    with pytest.raises(ValueError, match="expected a split"):
        sample(split="training")
    with pytest.raises(ValueError, match="expected a class for each of 1 boxes, got 2"):
        Sample(Path("a"), "train", np.array([0, 1]), BOX)
    with pytest.raises(ValueError, match="expected a split"):
        Dataset("a", Path("data.yaml"), ("x",), ()).split("dev")
    boxes = BOX.copy()
    one = Sample(Path("a"), "train", np.array([0]), boxes)
    boxes[:] = 0
    assert one.boxes.tolist() == BOX.tolist()
    with pytest.raises(ValueError, match="read-only"):
        one.boxes[0, 0] = 1


def test_the_fingerprint_sees_contents_and_not_places(tmp_path):
    for name, content in (("a.png", b"1"), ("b.png", b"2"), ("copy.png", b"1")):
        (tmp_path / name).write_bytes(content)
    a, b = sample("a.png", folder=tmp_path), sample("b.png", "val", folder=tmp_path)
    dataset = Dataset("x", Path("x.yaml"), ("dent", "stain"), (a, b))
    moved = Dataset(
        "y", Path("y.yaml"), dataset.names, (b, replace(a, image=tmp_path / "copy.png"))
    )
    assert moved.fingerprint() == dataset.fingerprint()
    others = [
        replace(dataset, names=("dent", "rust")),
        replace(dataset, samples=(a, replace(b, split="test"))),
        replace(dataset, samples=(a, replace(b, image=a.image))),
        replace(dataset, samples=(replace(a, classes=np.array([1])), b)),
        replace(dataset, samples=(replace(a, boxes=BOX + 1e-9), b)),
        replace(dataset, samples=(a,)),
    ]
    prints = {other.fingerprint() for other in others}
    assert len(prints) == 6
    assert dataset.fingerprint() not in prints
