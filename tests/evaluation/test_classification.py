from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)

from aoi_tl.evaluation.classification import score_predictions

NAMES = ("No Defect", "Over Melting", "Damaged")


@pytest.mark.parametrize("seed", range(5))
def test_second_opinions_agree(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, 80, p=[0.7, 0.2, 0.1])
    given = np.where(generator.random(80) < 0.6, labels, generator.integers(0, 3, 80))
    scores = score_predictions(labels, given, NAMES)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(labels, given))
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(labels, given, average="macro"))
    assert scores.balanced_accuracy == pytest.approx(
        metrics.balanced_accuracy_score(labels, given))
    there, named = torch.from_numpy(labels), torch.from_numpy(given)
    np.testing.assert_allclose(
        scores.per_class, multiclass_accuracy(named, there, 3, average=None), rtol=1e-6)
    np.testing.assert_allclose(
        scores.f1, multiclass_f1_score(named, there, 3, average=None), rtol=1e-6)
    assert np.array_equal(scores.confusion, multiclass_confusion_matrix(named, there, 3))


def test_by_hand() -> None:
    scores = score_predictions([0, 0, 0, 1, 2, 2], [0, 0, 1, 1, 0, 2], NAMES)
    assert scores.confusion.tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.majority_share == pytest.approx(3 / 6)
    assert scores.f1.tolist() == pytest.approx([4 / 6, 2 / 3, 2 / 3])
    assert scores.f1_of(["Damaged", "No Defect"]) == pytest.approx(2 / 3)


def test_class_that_is_neither_there_nor_named_counts_for_nothing() -> None:
    scores = score_predictions([0, 1], [0, 1], NAMES)
    assert np.isnan(scores.per_class[2])
    assert (scores.balanced_accuracy, scores.macro_f1, scores.f1[2]) == (1, 1, 0)


def test_always_the_largest_class_has_its_share_and_little_else() -> None:
    labels = np.repeat([0, 1, 2], [56, 13, 13])
    scores = score_predictions(labels, np.zeros(82, int), NAMES)
    assert scores.accuracy == scores.majority_share == pytest.approx(56 / 82)
    assert scores.balanced_accuracy == pytest.approx(1 / 3)


def test_faults() -> None:
    with pytest.raises(ValueError, match="as many predictions"):
        score_predictions([0, 1], [0], NAMES)
    with pytest.raises(ValueError, match="at least one"):
        score_predictions([], [], NAMES)
    with pytest.raises(ValueError, match=r"0\.\.2"):
        score_predictions([0, 3], [0, 1], NAMES)
    with pytest.raises(ValueError, match="got Inked"):
        score_predictions([0], [0], NAMES).f1_of(["Inked"])


def test_a_single_image_of_a_class_counts() -> None:
    scores = score_predictions([0, 0, 1], [0, 0, 0], NAMES)
    assert scores.f1.tolist() == pytest.approx([4 / 5, 0, 0])
    assert scores.macro_f1 == pytest.approx(2 / 5)


def test_a_class_that_is_named_but_never_there_counts() -> None:
    scores = score_predictions([0, 0, 1], [0, 2, 1], NAMES)
    assert scores.f1.tolist() == pytest.approx([2 / 3, 1, 0])
    assert scores.macro_f1 == pytest.approx(5 / 9)
