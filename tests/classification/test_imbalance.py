from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from aoi_tl.classification.imbalance import class_weights, epoch_order, oversampled_counts

LABELS = np.repeat([0, 1, 2], [14, 4, 1])


@pytest.mark.parametrize("factors", [{}, {1: 2}, {2: 7}, {1: 2.5, 2: 10}, {1: 1.3}])
def test_an_epoch_holds_the_asked_counts(factors: dict[int, float]) -> None:
    order = epoch_order(LABELS, factors, np.random.default_rng(0))
    wanted = oversampled_counts(np.bincount(LABELS), factors)
    assert np.bincount(LABELS[order]).tolist() == wanted.tolist()


def test_asked_counts_by_hand() -> None:
    assert oversampled_counts([14, 4, 1], {1: 2.5, 2: 10}).tolist() == [14, 10, 10]


def test_a_fraction_takes_different_images_in_different_epochs() -> None:
    extra = []
    for number in range(20):
        order = epoch_order(LABELS, {1: 1.5}, np.random.default_rng(number))
        counts = np.bincount(order, minlength=len(LABELS))[14:18]
        assert sorted(counts.tolist()) == [1, 1, 2, 2]
        extra.append(tuple(counts.tolist()))
    assert len(set(extra)) > 1


def test_factor_below_one_and_unknown_class_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        oversampled_counts([3, 2], {0: 0.5})
    with pytest.raises(ValueError, match=r"0\.\.1"):
        oversampled_counts([3, 2], {5: 2})


def test_class_weights_agree_with_scikit_learn() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(class_weights(np.bincount(LABELS)), expected)


def test_class_weights_make_classes_count_the_same_and_keep_the_mean() -> None:
    counts = np.array([14, 4, 1, 0])
    weights = class_weights(counts)
    assert (counts * weights)[:3] == pytest.approx([19 / 3] * 3)
    assert weights[3] == 0
    assert (counts * weights).sum() / counts.sum() == pytest.approx(1)
