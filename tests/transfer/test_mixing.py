"""Several datasets as one: label space, repetitions, and what the files say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.transfer.mixing import (
    ANNOTATED,
    Member,
    joint_names,
    optimiser_steps,
    source_times,
    target_times,
    write_mix,
)
from tests.drawn import draw_dataset, tree_hash


@given(st.integers(1, 500), st.integers(1, 5000), st.floats(0.05, 0.95))
def test_the_target_makes_up_about_its_share(n_target: int, n_source: int, share: float) -> None:
    times = target_times(n_target, n_source, share)
    wanted = share / (1 - share) * n_source / n_target
    assert times >= 1
    assert times == 1 or abs(times - wanted) <= 0.5


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=6), st.floats(0, 1))
def test_sources_are_repeated_towards_the_largest(sizes: list[int], evenness: float) -> None:
    times = source_times(sizes, evenness)
    assert times[sizes.index(max(sizes))] == 1
    assert all(t >= 1 for t in times)
    # A smaller source never comes less often an image, nor more often in all than half a step.
    for size, n in zip(sizes, times, strict=True):
        assert size * n <= max(sizes) + size / 2
    assert source_times(sizes, 0) == [1] * len(sizes)


@pytest.mark.parametrize("share", [0, 1, -1, 2])
def test_a_share_of_nothing_or_all_is_refused(share: float) -> None:
    with pytest.raises(ExperimentError, match="above 0 and below 1"):
        target_times(10, 100, share)


def test_an_evenness_out_of_range_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"0\.\.1"):
        source_times([1, 2], 1.1)


def test_the_mix_on_disk(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "a", {"dent": 2, "stain": 1}, splits=("train", "val", "test"), empty=0)
    draw_dataset(tmp_path / "b", {"stain": 2, "burr": 1}, splits=("train", "test"), seed=1, empty=1)
    before = tree_hash(tmp_path)
    a, b = (load_dataset(tmp_path / name / "data.yaml") for name in "ab")
    file = write_mix([Member(a, 3), Member(b)], tmp_path / "mix")

    content = yaml.safe_load(file.read_text())
    assert content["names"] == {0: "dent", 1: "stain", 2: "burr"}
    assert content[ANNOTATED] == {"00": [0, 1], "01": [1, 2]}
    lines = (file.parent / "train.txt").read_text().split()
    assert len(lines) == 3 * 3 + 4
    assert sum("/00/" in line for line in lines) == 9

    mixed = load_dataset(file).split("train")
    boxes = {(s.image.parent.name, s.image.stem): s for s in mixed.samples}
    for part, dataset in (("00", a), ("01", b)):
        for sample in dataset.split("train").samples:
            found = boxes[part, sample.image.stem]
            assert found.image.resolve() == sample.image.resolve()
            assert [mixed.names[i] for i in found.classes] == \
                [dataset.names[i] for i in sample.classes]
            np.testing.assert_allclose(found.boxes, sample.boxes, atol=1e-6)
    assert {name: found for name, found in tree_hash(tmp_path).items()
            if not name.startswith("mix")} == before


def test_agreeing_label_spaces_need_no_masks(tmp_path: Path) -> None:
    for name in "ab":
        draw_dataset(tmp_path / name, {"dent": 1, "stain": 1}, splits=("train", "test"))
    members = [Member(load_dataset(tmp_path / name / "data.yaml")) for name in "ab"]
    content = yaml.safe_load(write_mix(members, tmp_path / "mix").read_text())
    assert ANNOTATED not in content


def test_classes_that_cannot_be_told_apart_leave_nothing_behind(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "a", {"Dent": 1}, splits=("train", "test"))
    draw_dataset(tmp_path / "b", {"dent": 1}, splits=("train", "test"))
    datasets = [load_dataset(tmp_path / name / "data.yaml") for name in "ab"]
    with pytest.raises(DataError, match="'Dent' and 'dent'"):
        joint_names(datasets)
    with pytest.raises(DataError, match="told apart"):
        write_mix([Member(d) for d in datasets], tmp_path / "mix")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 32))
def test_steps_grow_with_images_and_epochs(n: int, epochs: int, batch: int) -> None:
    steps = optimiser_steps(n, epochs, batch, batch)
    assert steps == -(-n // batch) * epochs
    assert optimiser_steps(n + 1, epochs, batch, batch) >= steps
    assert optimiser_steps(n, epochs + 1, batch, batch) > steps
