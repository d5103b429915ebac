"""Fewer labelled images: nested, seeded, balanced, parts kept whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoi_tl.adaptation.few_labels import nested_subsets
from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.errors import DataError


def made(classes: list[list[int]], held_out: int = 2) -> Dataset:
    """A training image for each list of classes, and a few of each other split."""
    samples = [
        Sample(Path(f"{i:03d}.png"), "train", np.array(held, dtype=np.int64),
               np.full((len(held), 4), 0.5))
        for i, held in enumerate(classes)
    ]
    samples += [Sample(Path(f"{split}{i}.png"), split, np.array([0]), np.full((1, 4), 0.5))
                for split in ("val", "test") for i in range(held_out)]
    return Dataset("t", Path("t.yaml"), ("a", "b", "c"), tuple(samples))


many = st.lists(st.lists(st.integers(0, 2), max_size=3), min_size=3, max_size=25)


@given(many, st.integers(0, 5), st.data())
def test_subsets_are_nested_training_images_alone(
    classes: list[list[int]], seed: int, data: st.DataObject
) -> None:
    sizes = data.draw(st.lists(st.integers(1, len(classes)), min_size=1, max_size=3))
    found = nested_subsets(made(classes), sizes, seed)
    assert list(found) == list(dict.fromkeys(sizes))
    images = {size: {s.image for s in d.samples} for size, d in found.items()}
    for size, dataset in found.items():
        assert len(dataset.samples) == size
        assert {s.split for s in dataset.samples} == {"train"}
        for other in found:
            assert size > other or images[size] <= images[other]
    again = nested_subsets(made(classes), sorted(sizes, reverse=True), seed)
    assert {n: {s.image for s in d.samples} for n, d in again.items()} == images


def test_every_class_is_shown_before_one_is_shown_often() -> None:
    # 20 images of a, two of b, one of c, and ten without a defect.
    classes = [[0]] * 20 + [[1]] * 2 + [[2]] + [[]] * 10
    for seed in range(5):
        found = nested_subsets(made(classes), [3, 6, 23, 24], seed)
        assert found[3].counts == {"a": 1, "b": 1, "c": 1}
        assert found[6].counts == {"a": 3, "b": 2, "c": 1}
        assert all(len(s.classes) for s in found[23].samples)  # images without boxes come last
        assert sum(1 for s in found[24].samples if not len(s.classes)) == 1


def test_another_seed_another_draw() -> None:
    drawn = {tuple(s.image.stem for s in nested_subsets(made([[0]] * 30), [5], seed)[5].samples)
             for seed in range(5)}
    assert len(drawn) == 5


@given(many, st.integers(0, 5), st.data())
def test_a_part_is_whole_or_absent(
    classes: list[list[int]], seed: int, data: st.DataObject
) -> None:
    dataset = made(classes)
    names = data.draw(st.lists(st.sampled_from("xyz"), min_size=len(classes),
                               max_size=len(classes)))
    groups = {s.image: name for s, name in
              zip(dataset.split("train").samples, names, strict=True)}
    size = data.draw(st.integers(1, len(classes)))
    smallest = min(names.count(name) for name in set(names))
    if smallest > size:
        with pytest.raises(DataError, match=f"parts of at most {size} images"):
            nested_subsets(dataset, [size], seed, groups)
        return
    kept = {s.image for s in nested_subsets(dataset, [size], seed, groups)[size].samples}
    assert 1 <= len(kept) <= size
    for name in set(names):
        part = {image for image, other in groups.items() if other == name}
        assert part <= kept or not part & kept


@pytest.mark.parametrize("size", [0, -1, 4])
def test_more_than_there_are_is_refused(size: int) -> None:
    with pytest.raises(DataError, match=f"from 1 to 3, .* got {size}"):
        nested_subsets(made([[0], [1], [2]]), [size], 0)
