from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aoi_tl.adaptation.balance import _cut, _raise, balance
from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.images import content_hash, read_stored, write_image
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.data.yolo.write import write_dataset
from aoi_tl.errors import AoiTlError, DataError
from aoi_tl.similarity.gini import gini

BOX = np.array([[0.5, 0.5, 0.2, 0.3]])


def dataset_of(folder: Path, rows, names=("dent", "stain", "crack"), dtype=np.uint8, splits=None):
    """An image for each row of class ids, all with the same box."""
    samples = []
    for number, row in enumerate(rows):
        image = folder / f"{number}.png"
        pixels = np.full((24, 32), 40 + number, dtype)
        pixels[8:16, 13:19] = 200
        write_image(image, pixels)
        split = splits[number] if splits else "train"
        samples.append(Sample(image, split, np.array(row), np.repeat(BOX, len(row), axis=0)))
    return Dataset("tiles", folder / "data.yaml", tuple(names), tuple(samples))


def train_counts(dataset):
    return list(dataset.split("train").counts.values())


def test_rare_classes_reach_a_share_of_the_largest(tmp_path):
    tiles = dataset_of(tmp_path, [[0]] * 20 + [[1]] * 3 + [[2]])
    done = balance(tiles, tmp_path / "new", minority_to=0.5)
    assert train_counts(done.dataset) == [20, 10, 10]
    assert [(r.name, r.before, r.after) for r in done.counts] == [
        ("dent", 20, 20),
        ("stain", 3, 10),
        ("crack", 1, 10),
    ]
    assert done.gini_before == pytest.approx(gini([20, 3, 1]))
    assert done.gini_after == pytest.approx(gini([20, 10, 10]))
    assert done.gini_after < done.gini_before
    assert (done.added, done.removed) == (16, 0)
    frame = done.to_frame()
    assert list(frame.columns) == ["class", "before", "after", "gini_before", "gini_after"]


def test_a_class_without_training_instances_is_no_part_of_the_gini(tmp_path):
    tiles = dataset_of(tmp_path, [[0]] * 4 + [[1]] * 2 + [[2]], splits=["train"] * 6 + ["val"])
    done = balance(tiles, tmp_path / "new", minority_to=1.0, seed=0)
    assert [(c.before, c.after) for c in done.counts] == [(4, 4), (2, 4), (0, 0)]
    assert done.gini_before == pytest.approx(gini([4, 2]))
    assert done.gini_after == 0


def test_a_count_is_a_goal_and_use_goes_round(tmp_path):
    tiles = dataset_of(tmp_path, [[0]] * 4 + [[1]] * 3)
    done = balance(tiles, tmp_path / "new", minority_to=9)
    assert train_counts(done.dataset) == [9, 9, 0]
    origins = Counter(s.image.stem.split("-")[1] for s in done.dataset.samples[7:])
    assert sorted(origins[str(n)] for n in range(4)) == [1, 1, 1, 2]
    assert [origins[str(n)] for n in range(4, 7)] == [2, 2, 2]
    assert "1 classes without a training instance cannot be raised: crack" in done.dataset.notes


def test_two_is_a_count_and_no_share(tmp_path):
    done = balance(dataset_of(tmp_path, [[0]] * 4 + [[1]]), tmp_path / "new", minority_to=2)
    assert train_counts(done.dataset) == [4, 2, 0]


def test_an_image_of_the_rare_class_alone_is_used_first(tmp_path):
    # One stain is missing: the image that holds one alone brings no dent along.
    tiles = dataset_of(tmp_path, [[0]] * 4 + [[0, 0, 1], [1]])
    done = balance(tiles, tmp_path / "new", minority_to=3)
    assert train_counts(done.dataset) == [6, 3, 0]


def test_images_full_of_common_classes_are_used_less(tmp_path):
    tiles = dataset_of(tmp_path, [[0]] * 30 + [[1], [0, 0, 0, 1]])
    done = balance(tiles, tmp_path / "new", minority_to=0.5)
    origins = Counter(s.image.stem.split("-")[1] for s in done.dataset.samples[32:])
    assert origins["30"] >= 3 * origins["31"]


def test_common_classes_are_cut_at_random_and_nothing_else_is(tmp_path):
    rows = [[0]] * 20 + [[1]] * 4 + [[0, 1]] * 2 + [[]] * 3
    tiles = dataset_of(tmp_path, rows)
    done = balance(tiles, tmp_path / "new", minority_to=0, majority_at_most=10)
    assert train_counts(done.dataset) == [10, 6, 0]
    assert done.removed == 12
    kept = {s.image.stem for s in done.dataset.samples}
    assert {str(n) for n in range(20, 29)} <= kept
    other = balance(tiles, tmp_path / "new", minority_to=0, majority_at_most=10, seed=1)
    assert {s.image.stem for s in other.dataset.samples} != kept


def test_goals_follow_the_cut(tmp_path):
    tiles = dataset_of(tmp_path, [[0]] * 40 + [[1]] * 2)
    done = balance(tiles, tmp_path / "new", minority_to=0.5, majority_at_most=0.5)
    assert train_counts(done.dataset) == [20, 10, 0]


def test_val_and_test_stay_as_they_are(tmp_path):
    splits = ["train"] * 6 + ["val", "test"]
    tiles = dataset_of(tmp_path, [[0]] * 5 + [[1]] + [[1]] * 2, splits=splits)
    done = balance(tiles, tmp_path / "new", minority_to=1.0)
    assert done.dataset.split("val", "test").samples == tiles.split("val", "test").samples
    assert train_counts(done.dataset) == [5, 5, 0]


def test_a_cut_that_is_out_of_reach_is_refused_with_the_cure(tmp_path):
    tiles = dataset_of(tmp_path, [[0, 0, 1]] * 5 + [[0]])
    with pytest.raises(AoiTlError, match=r"at most 6 .* got 10 of 'dent'.*at_most to 10 or more"):
        balance(tiles, tmp_path / "new", minority_to=0, majority_at_most=6)


def test_raising_does_not_break_the_cut(tmp_path):
    tiles = dataset_of(tmp_path, [[0]] * 8 + [[0, 0, 0, 1]])
    with pytest.raises(AoiTlError, match=r"expected 4 training instances of 'stain'.*above 8"):
        balance(tiles, tmp_path / "new", minority_to=4, majority_at_most=8)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"minority_to": 1.5}, "balance.minority.to"),
        ({"minority_to": -0.1}, "balance.minority.to"),
        ({"minority_to": 10**9}, "balance.minority.to"),
        ({"minority_to": float("nan")}, "balance.minority.to"),
        ({"majority_at_most": 0}, "balance.majority.at_most"),
        ({"majority_at_most": 2.5}, "balance.majority.at_most"),
        ({"minority_to": 6, "majority_at_most": 3}, "got 6 instances above 3"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path, knobs, words):
    tiles = dataset_of(tmp_path, [[0]] * 4 + [[1]])
    with pytest.raises(AoiTlError, match=words):
        balance(tiles, tmp_path / "new", **knobs)


def test_a_train_split_without_boxes_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected boxes in the train split"):
        balance(dataset_of(tmp_path, [[], []]), tmp_path / "new")


def test_equal_seeds_give_equal_files_and_originals_stay(tmp_path):
    tiles = dataset_of(tmp_path, [[0]] * 6 + [[1, 0]])
    before = [content_hash(s.image) for s in tiles.samples]
    runs = [
        balance(tiles, tmp_path / n, minority_to=1.0, seed=s)
        for n, s in (("a", 3), ("b", 3), ("c", 4))
    ]
    prints = [run.dataset.fingerprint() for run in runs]
    assert prints[0] == prints[1] != prints[2]
    assert [content_hash(s.image) for s in tiles.samples] == before


def test_new_files_keep_bit_depth(tmp_path):
    tiles = dataset_of(tmp_path, [[0]] * 4 + [[1]], dtype=np.uint16)
    done = balance(tiles, tmp_path / "new", minority_to=1.0)
    new = done.dataset.samples[5:]
    assert len(new) == 3
    assert all(s.image.suffix == ".png" for s in new)
    assert all(read_stored(s.image).dtype == np.uint16 for s in new)
    assert all(read_stored(s.image).ndim == 2 for s in new)


def test_what_was_written_is_what_was_balanced(tmp_path):
    tiles = dataset_of(tmp_path, [[0]] * 6 + [[1, 0], []])
    done = balance(tiles, tmp_path / "new", minority_to=0.8)
    back = load_dataset(write_dataset(done.dataset, tmp_path / "written"))
    assert back.fingerprint() == done.dataset.fingerprint()


def test_progress_counts_to_the_end(tmp_path):
    told = []
    tiles = dataset_of(tmp_path, [[0]] * 4 + [[1]])
    balance(tiles, tmp_path / "new", minority_to=1.0, progress=lambda *n: told.append(n))
    assert told == [(1, 3), (2, 3), (3, 3)]


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=40),
    cap=st.integers(1, 30),
    share=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_cut_and_raise_keep_their_promises(rows, cap, share, seed):
    held = np.array([np.bincount(np.array(r, int), minlength=4) for r in rows])
    tiles = Dataset("tiles", Path("data.yaml"), ("a", "b", "c", "d"), ())
    goal = int(share * cap)
    try:
        kept = _cut(tiles, held, cap, goal, np.random.default_rng(seed))
    except AoiTlError:
        kept = None
    counts = held.sum(axis=0)
    if kept is not None:
        after = held[kept].sum(axis=0)
        assert (after <= cap).all()
        # A class at or below its goal loses no image; none is cut below its goal.
        assert (after[counts <= goal] == counts[counts <= goal]).all()
        assert (after[counts > goal] >= goal).all()
        assert kept[held.sum(axis=1) == 0].all()
        if (counts <= cap).all():
            assert kept.all()
    copies = _raise(tiles, held, goal, None, np.random.default_rng(seed))
    raised = counts + held[copies].sum(axis=0)
    assert (raised[counts > 0] >= goal).all()
    # No copy is one too many: without the last, a class was still below its goal.
    if copies:
        assert ((raised - held[copies[-1]] < goal) & (counts > 0)).any()
