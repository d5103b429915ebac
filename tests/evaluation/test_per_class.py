from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.evaluation.classification import score_predictions
from aoi_tl.evaluation.per_class import bootstrap_classes, bootstrap_difference

CLASSES = ("fine", "torn", "bent")


def answers(draws: int = 3, n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], [n // 2, n // 3, n - n // 2 - n // 3])
    wrong = generator.random((draws, n)) < 0.3
    return labels, np.where(wrong, generator.integers(3, size=(draws, n)), labels)


def test_values_are_the_means_over_the_draws() -> None:
    labels, given = answers()
    found = bootstrap_classes(labels, given, CLASSES, samples=200)
    scores = [score_predictions(labels, row, CLASSES) for row in given]
    assert found.accuracy.value == pytest.approx(np.mean([s.accuracy for s in scores]))
    assert found.balanced_accuracy.value == pytest.approx(
        np.mean([s.balanced_accuracy for s in scores]))
    assert found.above_majority.value == pytest.approx(
        np.mean([s.accuracy - s.majority_share for s in scores]))
    assert found.recall["torn"].value == pytest.approx(np.mean([s.per_class[1] for s in scores]))
    precision = np.mean([s.confusion[1, 1] / s.confusion[:, 1].sum() for s in scores])
    assert found.precision["torn"].value == pytest.approx(precision)
    for interval in (*found.precision.values(), *found.recall.values(), found.accuracy):
        assert interval.low < interval.value < interval.high


def test_images_of_one_thing_say_less_than_as_many_things() -> None:
    labels, given = answers(draws=1)
    labels, given = np.repeat(labels, 6), np.repeat(given, 6, axis=1)
    alone = bootstrap_classes(labels, given, CLASSES, samples=400).accuracy
    things = [str(place // 6) for place in range(len(labels))]
    together = bootstrap_classes(labels, given, CLASSES, things, samples=400).accuracy
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert together.value == alone.value


def test_a_class_that_is_never_given_has_no_precision() -> None:
    found = bootstrap_classes(np.array([0, 0, 1]), np.zeros((2, 3), int), CLASSES, samples=20)
    assert np.isnan(found.precision["torn"].value)
    assert np.isnan(found.precision["torn"].low)
    assert found.recall["torn"].value == 0
    assert np.isnan(found.recall["bent"].value)
    assert found.above_majority.value == pytest.approx(0)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="draws, n"):
        bootstrap_classes(np.zeros(3, int), np.zeros(3, int), CLASSES)


def test_a_difference_is_paired_by_image_and_draw() -> None:
    labels, given = answers(draws=4)
    better = given.copy()
    better[:, :9] = labels[:9]  # the same but for nine images of the first class
    found = bootstrap_difference(labels, better, given, CLASSES, samples=300)
    gained = ((better == labels).mean() - (given == labels).mean())
    assert found["accuracy"].value == pytest.approx(gained)
    assert found["balanced_accuracy"].value == pytest.approx(gained * 90 / 45 / 3)
    # Alone each accuracy is far less certain than their difference, which is never below 0.
    alone = bootstrap_classes(labels, given, CLASSES, samples=300).accuracy
    assert 0 <= found["accuracy"].low <= gained <= found["accuracy"].high
    assert found["accuracy"].high - found["accuracy"].low < (alone.high - alone.low) / 2
    same = bootstrap_difference(labels, given, given, CLASSES, samples=50)["accuracy"]
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_differences_of_unlike_draws_are_refused() -> None:
    labels, given = answers()
    with pytest.raises(ValueError, match="same draws"):
        bootstrap_difference(labels, given, given[:2], CLASSES)
