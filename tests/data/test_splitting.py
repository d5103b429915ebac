from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aoi_tl.data.splitting import read_groups, split_by_group
from aoi_tl.errors import DataError


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 20), min_size=3, max_size=80), st.integers(0, 2**32 - 1))
def test_groups_stay_whole_and_no_split_is_empty(groups, seed):
    groups = np.array(groups)
    counts = np.random.default_rng(seed).integers(0, 3, (len(groups), 4))
    if len(set(groups.tolist())) < 3:
        with pytest.raises(DataError, match="groups to split"):
            split_by_group(groups, counts, (0.6, 0.2, 0.2), np.random.default_rng(seed))
        return
    split = split_by_group(groups, counts, (0.6, 0.2, 0.2), np.random.default_rng(seed))
    assert set(split.tolist()) == {0, 1, 2}
    for group in set(groups.tolist()):
        assert len(set(split[groups == group].tolist())) == 1
    again = split_by_group(groups, counts, (0.6, 0.2, 0.2), np.random.default_rng(seed))
    assert (again == split).all()


def test_classes_and_images_come_in_proportion():
    chance = np.random.default_rng(3)
    kinds = chance.choice(4, 1200, p=[0.5, 0.3, 0.15, 0.05])
    counts = np.eye(4, dtype=int)[kinds]
    counts[:300] = 0  # images without a defect are dealt out like a class
    groups = np.arange(1200) // 3
    split = split_by_group(groups, counts, (0.6, 0.2, 0.2), chance)
    for k, share in enumerate((0.6, 0.2, 0.2)):
        assert (split == k).mean() == pytest.approx(share, abs=0.02)
        assert (counts[split == k].sum(axis=0) / counts.sum(axis=0)) == pytest.approx(
            np.full(4, share), abs=0.06)
        assert (split[:300] == k).mean() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("shares", [(0.5, 0.2), (1.2, -0.2), (1.0,)])
def test_shares_that_make_no_whole_are_refused(shares):
    with pytest.raises(DataError, match="sum to 1"):
        split_by_group(np.arange(9), np.ones((9, 1), int), shares, np.random.default_rng(0))


def test_a_share_of_nothing_stays_empty():
    split = split_by_group(np.arange(10), np.ones((10, 1), int), (0.8, 0.2, 0.0),
                           np.random.default_rng(0))
    assert np.bincount(split, minlength=3).tolist() == [8, 2, 0]


def test_groups_come_from_a_csv(tmp_path):
    file = tmp_path / "index.csv"
    file.write_text("image,group\na.png,x\nb,y\nc.png,x\n")
    images = [Path("i/a.png"), Path("i/b.jpg"), Path("i/c.png")]
    assert read_groups(file, images).tolist() == [0, 1, 0]
    with pytest.raises(DataError, match=r"none for d\.png"):
        read_groups(file, [Path("d.png")])
    file.write_text("file,tile\na,b\n")
    with pytest.raises(DataError, match="columns image and group, got file, tile"):
        read_groups(file, images)
    with pytest.raises(DataError, match="expected a CSV"):
        read_groups(tmp_path / "none.csv", images)
