"""Folds of labelled images: held out once, parts whole, every fold with something to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aoi_tl.adaptation.folds import folds
from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.errors import DataError


def dataset(shown: list[list[int]]) -> Dataset:
    """A training image for each list of classes, and one image of each other split."""
    samples = [
        Sample(Path(f"{i}.png"), "train", np.array(classes, dtype=np.int64),
               np.full((len(classes), 4), 0.5))
        for i, classes in enumerate(shown)
    ]
    others = [Sample(Path(f"{split}.png"), split, np.array([0]), np.full((1, 4), 0.5))
              for split in ("val", "test")]
    return Dataset("t", Path("t.yaml"), ("a", "b", "c"), (*samples, *others))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 2), max_size=3), st.integers(0, 9)),
             min_size=4, max_size=40),
    st.integers(2, 5), st.integers(0, 3),
)
def test_every_image_is_held_out_once_and_parts_stay_whole(
    images: list[tuple[list[int], int]], number: int, seed: int
) -> None:
    whole = dataset([classes for classes, _ in images])
    groups = {Path(f"{i}.png"): str(part) for i, (_, part) in enumerate(images)}
    labelled = {str(part) for classes, part in images if classes}
    if len(labelled) < number:
        with pytest.raises(DataError, match="label more images"):
            folds(whole, number, seed, groups)
        return
    found = folds(whole, number, seed, groups)
    assert len(found) == number
    held_out = [sample.image for fold in found for sample in fold.split("test").samples]
    assert sorted(held_out) == sorted(groups)
    for fold in found:
        sides = [fold.split(split).samples for split in ("train", "test")]
        assert all(any(len(sample.classes) for sample in side) for side in sides)
        parts = [{groups[sample.image] for sample in side} for side in sides]
        assert not parts[0] & parts[1]
        assert [sample.image for sample in fold.split("val").samples] == [Path("val.png")]


def test_images_without_defects_do_not_crowd_out_those_with() -> None:
    # 10 images with boxes among 50: half of the boxes are trained on, half are held out.
    found = folds(dataset([[0, 1]] * 10 + [[]] * 40), 2, 0)
    assert [fold.split("train").counts for fold in found] == [{"a": 5, "b": 5, "c": 0}] * 2


def test_a_rare_class_is_on_both_sides() -> None:
    found = folds(dataset([[0]] * 20 + [[0, 0, 2]] * 2), 2, 0)
    assert [fold.split("test").counts["c"] for fold in found] == [1, 1]
