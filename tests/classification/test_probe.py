from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from aoi_tl.classification.batches import Pixels
from aoi_tl.classification.classifier import predict, probe_classifier
from aoi_tl.classification.encoders import Encoder
from aoi_tl.classification.features import compute_features
from aoi_tl.classification.imbalance import class_weights
from aoi_tl.classification.probe import (
    FOLDS,
    STRENGTHS,
    _standard,
    fit_nearest_mean,
    fit_probe,
    hold_out_folds,
)

COUNTS = (14, 2, 2, 1, 1)


def clouds(counts: tuple[int, ...] = COUNTS, views: int = 1, apart: float = 4.0, size: int = 8):
    """Features around one mean a class."""
    generator = np.random.default_rng(5)
    labels = np.repeat(np.arange(len(counts)), counts)
    means = apart * np.eye(len(counts), size)
    return means[labels][:, None] + generator.normal(size=(len(labels), views, size)), labels


@pytest.mark.parametrize("fit", [fit_probe, fit_nearest_mean])
@pytest.mark.parametrize("views", [1, 3])
def test_classes_apart_are_told_apart_though_some_have_one_image(fit, views: int) -> None:
    features, labels = clouds(views=views)
    fresh, truth = clouds((30,) * 5)
    probe = fit(features, labels, 5)
    assert (probe.logits(fresh[:, 0]).argmax(axis=1) == truth).mean() > 0.85
    assert probe.held_out == 18  # the two classes with a single image are never held out
    chances = probe.probabilities(fresh[:, 0])
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert (chances.argmax(axis=1) == probe.logits(fresh[:, 0]).argmax(axis=1)).all()


def test_only_classes_of_one_image_leave_nothing_to_hold_out() -> None:
    features, labels = clouds((1, 1, 1))
    probe = fit_probe(features, labels, 3)
    assert (probe.held_out, probe.strength, probe.temperature) == (0, STRENGTHS[2], 1.0)
    assert probe.logits(features[:, 0]).argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("size", [3, 40])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_probe_is_weighted_logistic_regression(size: int, n_classes: int) -> None:
    """Held against scikit-learn on all features, also where it is solved in the rows' span."""
    from sklearn.linear_model import LogisticRegression

    features, labels = clouds((9, 4, 3)[:n_classes], apart=1.0, size=size)
    probe = fit_probe(features, labels, n_classes)
    rows, _, _ = _standard(features)
    direct = LogisticRegression(C=probe.strength, class_weight="balanced", tol=1e-8,
                                max_iter=5000).fit(rows, labels)
    expected = direct.predict_proba(rows)
    shown = np.exp(probe.logits(features[:, 0]))
    np.testing.assert_allclose(shown / shown.sum(axis=1, keepdims=True), expected, atol=0.01)


def test_class_weights_by_hand() -> None:
    # 20 images of 5 classes: a class of 14 counts 20 / (5 * 14), one of a single image 20 / 5.
    np.testing.assert_allclose(class_weights(np.array(COUNTS)), [2 / 7, 2, 2, 4, 4])


def test_nearest_mean_by_hand() -> None:
    features = np.array([[0.0, 0], [0, 2], [10, 0], [10, 2]])[:, None]
    probe = fit_nearest_mean(features, [0, 0, 1, 1], 2)
    asked = np.array([[4.9, 1.0], [5.1, 1.0]])
    assert probe.logits(asked).argmax(axis=1).tolist() == [0, 1]


def test_folds_hold_every_image_out_once_and_leave_each_class_something() -> None:
    labels = np.repeat(np.arange(5), COUNTS)
    folds = hold_out_folds(labels, FOLDS, np.random.default_rng(0))
    assert (folds == -1).sum() == 2
    for fold in range(FOLDS):
        assert set(labels[folds != fold]) == set(range(5))
    assert np.ptp(np.bincount(folds[folds >= 0])) <= 1
    again = hold_out_folds(labels, FOLDS, np.random.default_rng(0))
    np.testing.assert_array_equal(folds, again)


def test_views_of_an_image_never_stand_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image's views all carry its number; what is fitted must never hold a number tested."""
    import aoi_tl.classification.probe as room

    features, labels = clouds((6, 6), views=4)
    features[:, :, -1] = np.arange(12)[:, None]
    fitted = []
    inner = room.fit_strengths
    monkeypatch.setattr(room, "fit_strengths", lambda some, *rest: (
        fitted.append({int(number) for number in some[:, :, -1].ravel()}), inner(some, *rest))[1])
    room.fit_probe(features, labels, 2)
    folds = hold_out_folds(labels, FOLDS, np.random.default_rng(0))
    assert fitted[:-1] == [set(np.flatnonzero(folds != fold)) for fold in range(FOLDS)]
    assert fitted[-1] == set(range(12))


@pytest.mark.parametrize("fit", [fit_probe, fit_nearest_mean])
def test_a_class_without_images_is_never_given(fit) -> None:
    features, labels = clouds((6, 6))
    probe, among = fit(features, labels, 2), fit(features, 2 * labels, 4)
    expected, found = (p.probabilities(features[:, 0]) for p in (probe, among))
    np.testing.assert_allclose(found[:, [0, 2]], expected, atol=1e-9)
    assert (found[:, [1, 3]] == 0).all()


def test_features_that_only_rounding_tells_apart_say_nothing() -> None:
    generator = np.random.default_rng(3)
    noise = (1e6 * (1 + 1e-7 * generator.normal(size=(6, 1, 40)))).astype(np.float32)
    same = np.ones((6, 1, 40), np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1])
    for features in (noise, same):
        probe = fit_probe(features, labels, 2)
        assert (probe.sd == 1).all()
    np.testing.assert_allclose(probe.probabilities(same[:, 0]), 0.5, atol=1e-6)


def test_bad_input() -> None:
    features, labels = clouds((3, 2))
    with pytest.raises(ValueError, match="two classes or more"):
        fit_probe(features[:3], labels[:3], 2)
    with pytest.raises(ValueError, match="a label for each image"):
        fit_probe(features[:, 0], labels, 2)


def test_a_probe_on_its_encoder_says_what_the_probe_says(
    make_encoder: Callable[..., Encoder]
) -> None:
    generator = np.random.default_rng(0)
    pixels = Pixels(generator.integers(0, 256, (9, 1, 12, 12), dtype=np.uint8),
                    np.arange(9, dtype=np.int64) % 3)
    encoder = make_encoder()
    features = compute_features(encoder.module, pixels)
    probe = fit_probe(features, pixels.labels, 3)
    np.testing.assert_allclose(predict(probe_classifier(encoder, probe), pixels),
                               probe.probabilities(features[:, 0]), atol=1e-5)
