from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from aoi_tl.evaluation.predictions import Predictions
from aoi_tl.report.class_curves import class_curves, f1_at, precision_at


def seen(confidence: list[float], right: list[bool], true: int = 2) -> Predictions:
    """Boxes of the first of two classes on one image; of the second there is nothing."""
    n = len(confidence)
    correct = np.zeros((n, 10), dtype=bool)
    correct[:, 0] = right
    return Predictions(
        ("dent", "stain"), ("a.png",), np.zeros(true, np.int64), np.zeros(true, np.int64),
        np.tile([0, 0, 0.5, 0.5], (true, 1)), np.zeros(n, np.int64), np.zeros(n, np.int64),
        np.array(confidence), np.tile([0, 0, 0.5, 0.5], (n, 1)), correct,
    )


def test_precision_is_the_best_at_a_recall_or_beyond() -> None:
    found = seen([0.9, 0.8, 0.7], [True, False, True])
    values = precision_at(found, 0, np.array([0.0, 0.5, 0.51, 1.0]))
    assert values == pytest.approx([1, 1, 2 / 3, 2 / 3])
    half = seen([0.9], [True])
    assert precision_at(half, 0, np.array([0.5, 0.6])).tolist() == [1, 0]
    assert precision_at(half, 1, np.array([0.0, 1.0])).tolist() == [0, 0]


def test_f1_counts_the_boxes_of_a_confidence_or_more() -> None:
    found = seen([0.8, 0.9, 0.7], [False, True, True])
    values = f1_at(found, 0, np.array([0.0, 0.75, 0.8, 0.9, 0.95]))
    assert values == pytest.approx([4 / 5, 2 / 4, 2 / 4, 2 / 3, 0])
    assert f1_at(found, 1, np.array([0.0, 0.5])).tolist() == [0, 0]


def test_a_band_shows_the_range_of_the_seeds() -> None:
    better, worse = seen([0.9, 0.8], [True, True]), seen([0.9, 0.8], [True, False])
    precision, f1 = class_curves({"stock": [better, worse]})
    table = pd.read_csv(io.StringIO(precision.csv)).set_index("recall")
    assert table.loc[1.0, ["mean", "low", "high"]].tolist() == [0.5, 0, 1]
    assert "dent: F1 over confidence, 2 true boxes" in f1.title
