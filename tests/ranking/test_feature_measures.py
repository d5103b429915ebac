from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.covariance import ledoit_wolf

from aoi_tl.data.dataset import Sample
from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.feature_measures import frechet_distance, squared_mmd, transport_distance
from aoi_tl.ranking.measures import MEASURES
from aoi_tl.similarity.signature import Signature
from aoi_tl.transfer.viewing import View

CHANCE = np.random.default_rng(0)
ONE, OTHER = CHANCE.normal(size=(30, 4)), CHANCE.normal(1, 2, size=(40, 4))


def test_frechet_is_the_formula_with_the_matrix_root():
    first, second = ledoit_wolf(ONE)[0], ledoit_wolf(OTHER)[0]
    means = ONE.mean(axis=0) - OTHER.mean(axis=0)
    expected = means @ means + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(ONE, OTHER) == pytest.approx(expected)
    assert frechet_distance(ONE, ONE) == pytest.approx(0, abs=1e-9)


def test_mmd_by_hand():
    points, others = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]])
    pairs = [1, 0, 4, 1, 1, 4]  # squared distances of all pairs; their median is 1
    assert np.median(pairs) == 1
    kernel = [np.exp(-1), np.exp(-4)]
    expected = kernel[0] + kernel[1] - 2 * np.mean([1, kernel[1], kernel[0], kernel[0]])
    assert squared_mmd(points, others) == pytest.approx(expected)


def test_transport_counts_features_and_classes():
    classes = ["a"] * 15 + ["b"] * 15
    assert transport_distance(ONE, classes, ONE, classes) == pytest.approx(0, abs=1e-7)
    # Two points a class each, moved by 3: features 9, means of classes 9.
    assert transport_distance(
        np.zeros((1, 1)), ["a"], np.full((1, 1), 3.0), ["z"]
    ) == pytest.approx(18**0.5)


def test_says_what_is_missing():
    bare = Domain("t", {"dent": 1}, 1, Signature([[99, 99, 99]], [1]))
    assert "COCO checkpoint" in str(MEASURES["frechet"](bare, bare).undefined)


def seen(name, images, far):
    """A dataset of so many images with two boxes each, whose features lie around a point."""
    samples = tuple(Sample(f"{name}{i}.png", "train", np.array([0, 1]), np.full((2, 4), 0.5))
                    for i in range(images))
    found = Domain(name, {"dent": images, "crack": images}, images, Signature([[9, 9, 9]], [1]), 0,
                   ("dent", "crack"), samples, weights="coco.pt")
    rng, none = np.random.default_rng(images), np.empty(0)
    found.__dict__["coco_view"] = View(
        ("dent",), none, none, none, none, rng.normal(far, 1, (2 * images, 4)), none,
        rng.normal(far, 1, (images, 4)),
    )
    return found


@pytest.mark.parametrize("name", ["frechet", "mmd", "otdd"])
def test_the_nearer_is_told_from_the_farther_and_intervals_say_by_how_much(name):
    target, near, far = seen("t", 12, 0.0), seen("a", 20, 0.0), seen("b", 20, 3.0)
    close, apart = MEASURES[name](target, near), MEASURES[name](target, far)
    for found in (close, apart):
        assert found.low < found.value < found.high
    assert close.value < apart.value
    assert not close.reaches(apart)
    assert close.reaches(MEASURES[name](target, seen("c", 21, 0.0)))
    assert MEASURES[name](seen("few", 2, 0.0), near).low is None
