from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.evaluation.rejection import measure_coverage


def test_the_curve_ends_at_the_accuracy_of_all_images() -> None:
    generator = np.random.default_rng(0)
    chances = generator.dirichlet(np.ones(3), 200)
    labels = np.array([generator.choice(3, p=row) for row in chances])
    found = measure_coverage(chances, labels)
    assert found.coverage[-1] == 1
    assert found.accuracy[-1] == pytest.approx((chances.argmax(axis=1) == labels).mean())
    assert (np.diff(found.coverage) > 0).all()
    assert (np.diff(found.threshold) < 0).all()
    # Calibrated probabilities: the surest tenth is right more often than all are.
    assert found.accuracy[19] > found.accuracy[-1]
    for threshold, coverage, accuracy in zip(
        found.threshold, found.coverage, found.accuracy, strict=True
    ):
        decided = chances.max(axis=1) >= threshold
        assert decided.mean() == pytest.approx(coverage)
        assert (chances.argmax(axis=1) == labels)[decided].mean() == pytest.approx(accuracy)


def test_equal_probabilities_are_decided_together() -> None:
    found = measure_coverage([[0.5, 0.5]] * 4, [0, 0, 1, 1])
    assert (found.coverage.tolist(), found.accuracy.tolist()) == ([1.0], [0.5])


def test_an_accuracy_that_no_threshold_reaches() -> None:
    assert measure_coverage([[0.9, 0.1], [0.8, 0.2]], [1, 0]).at_accuracy(0.6) is None
    assert measure_coverage([[0.9, 0.1], [0.8, 0.2]], [0, 1]).at_accuracy(0.5) == (0.8, 1.0)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="n labels"):
        measure_coverage(np.ones((2, 2)), [0])
    with pytest.raises(ValueError, match="n labels"):
        measure_coverage(np.empty((0, 2)), [])
