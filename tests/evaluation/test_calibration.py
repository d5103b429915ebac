from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.evaluation.calibration import fit_temperature, measure_reliability, softmax


def test_the_temperature_of_a_known_case() -> None:
    """Labels drawn from a softmax whose logits were then made three times too large."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20000, 4))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
    found = fit_temperature(3 * logits, labels)
    assert found == pytest.approx(3, rel=0.03)
    before, after = (measure_reliability(softmax(array), labels).error
                     for array in (3 * logits, 3 * logits / found))
    assert before > 0.15
    assert after < 0.015


def test_reliability_by_hand() -> None:
    chances = [[0.95, 0.05], [0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.0, 1.0]]
    found = measure_reliability(chances, [0, 1, 1, 1, 1])
    assert found.images.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 0, 3]
    assert found.accuracy[6:8].tolist() == [1, 1]
    assert found.confidence[9] == pytest.approx(0.95)
    # (|1 - 0.6| + |1 - 0.7| + 3 |2/3 - 0.95|) / 5
    assert found.error == pytest.approx((0.4 + 0.3 + 0.85) / 5)


def test_against_torchmetrics() -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    generator = np.random.default_rng(1)
    chances = softmax(generator.normal(size=(500, 3)))
    labels = generator.integers(0, 3, 500)
    theirs = multiclass_calibration_error(torch.tensor(chances), torch.tensor(labels), 3, n_bins=10)
    assert measure_reliability(chances, labels).error == pytest.approx(float(theirs), abs=1e-6)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="n labels"):
        fit_temperature(np.zeros((3, 2)), [0, 1])
    with pytest.raises(ValueError, match="n labels"):
        measure_reliability(np.zeros((0, 2)), [])
